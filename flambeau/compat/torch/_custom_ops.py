"""The old home of torch.library's functions."""

from flambeau.core.library import get_ctx, impl_abstract

__all__ = ["get_ctx", "impl_abstract"]
