"""Tracing below autograd, which flambeau has not."""

__all__ = ["get_proxy_mode"]


def get_proxy_mode() -> None:
    """None: no such trace is at work."""
