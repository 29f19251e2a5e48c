"""Intel's MKL: numpy brings a library of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from flambeau.compat.unchanged import no

__all__ = ["VERBOSE_OFF", "VERBOSE_ON", "is_available", "verbose"]

VERBOSE_OFF, VERBOSE_ON = 0, 1
is_available = no


class verbose(AbstractContextManager["verbose"]):  # PyTorch's name
    """A block in which the library would tell what it does; RuntimeError at its begin unless it is to be silent."""

    def __init__(self, enable: int):
        self.enable = enable

    def __enter__(self) -> verbose:
        if self.enable != VERBOSE_OFF:
            raise RuntimeError("torch.backends.mkl.verbose: MKL is not used, and cannot tell anything")
        return self

    __exit__ = nullcontext.__exit__
