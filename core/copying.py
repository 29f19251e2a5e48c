"""Copies and pickles of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

from flambeau.core import dispatch
from flambeau.core.errors import GradientError
from flambeau.core.from_data import rebuild
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor


@public("__deepcopy__", function=False)
def deep_copy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if not self.is_leaf:
        raise GradientError("deepcopy: only leaf tensors can be copied; detach() or clone() first")
    found: Tensor | None = memo.get(id(self))
    if found is None:
        found = dispatch.call(OPS["clone"], (self.detach(),), {"order": "K"})
        found = self._same_kind(found)
        memo[id(self)] = found
        if self.grad is not None:
            found._grad = self.grad.__deepcopy__(memo)
    return found


@public("__reduce_ex__", function=False)
def reduce_ex(self: Tensor, protocol: SupportsIndex) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
    if not self.is_leaf:
        raise GradientError("pickle: only leaf tensors can be pickled; detach() first")
    host = self.detach().cpu()._host()
    return rebuild, (host.tobytes(), self.dtype, tuple(self.shape), str(self.device), self.requires_grad)
