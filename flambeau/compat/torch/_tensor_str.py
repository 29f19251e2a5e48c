"""How tensors print."""

from __future__ import annotations

from flambeau.core.printing import get_printoptions
from flambeau.core.tensor import Tensor

__all__ = ["PRINT_OPTS"]


class _Options:
    """The options in force, read when they are asked for."""

    def __getattr__(self, name: str) -> object:
        return getattr(get_printoptions(), name)


PRINT_OPTS = _Options()


def _tensor_str(self: Tensor, indent: int) -> str:
    """The numbers of a tensor, without "tensor(...)" around them."""
    return str(self.detach()).removeprefix("tensor(").rpartition("]")[0] + "]" if self.dim() else str(self.item())


def _str(self: Tensor, *, tensor_contents: str | None = None) -> str:
    return repr(self)
