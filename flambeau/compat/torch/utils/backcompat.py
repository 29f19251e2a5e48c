"""Warnings about what long ago meant something else: off, unless a program asks for them."""

from __future__ import annotations

__all__ = ["Warning", "broadcast_warning", "keepdim_warning"]


class Warning:  # PyTorch's name
    """A warning that can be asked for by ``enabled``; nothing here has an older meaning to warn of."""

    def __init__(self) -> None:
        self.enabled = False

    def set_enabled(self, value: bool) -> None:
        """Ask for it, or not."""
        self.enabled = value

    def get_enabled(self) -> bool:
        """Whether it was asked for."""
        return self.enabled


broadcast_warning, keepdim_warning = Warning(), Warning()
