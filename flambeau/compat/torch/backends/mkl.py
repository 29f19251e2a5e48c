"""Intel's MKL: numpy brings a library of its own."""

from __future__ import annotations

from flambeau.compat.flags import Silent
from flambeau.compat.unchanged import no

__all__ = ["VERBOSE_OFF", "VERBOSE_ON", "is_available", "verbose"]

VERBOSE_OFF, VERBOSE_ON = 0, 1
is_available = no


class verbose(Silent):  # PyTorch's name
    """A block in which MKL would tell what it does; RuntimeError unless it is to be silent."""

    library = "MKL"

    def __init__(self, enable: int):
        super().__init__(enable)
        self.enable = enable
