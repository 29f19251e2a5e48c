"""Copies and pickles of tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, SupportsIndex

from flambeau.core import dispatch
from flambeau.core.errors import GradientError
from flambeau.core.from_data import rebuild
from flambeau.core.overrides import Overridden
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor, in_class


@public("__deepcopy__", function=False)
def deep_copy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if not self.is_leaf:
        raise GradientError("deepcopy: only leaf tensors can be copied; detach() or clone() first")
    found: Tensor | None = memo.get(id(self))
    if found is None:
        found = dispatch.call(OPS["clone"], (self.detach(),), {"order": "K"})
        found = self._same_kind(found)
        memo[id(self)] = found
        if self.__dict__ and not self._is_parameter:
            found.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if self.grad is not None:
            found._grad = self.grad.__deepcopy__(memo)
    return found


@public("__reduce_ex__", function=False)
def reduce_ex(self: Tensor, protocol: SupportsIndex) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
    if not self.is_leaf:
        raise GradientError("pickle: only leaf tensors can be pickled; detach() first")
    plain = in_class(self, Tensor)
    host = plain.detach().cpu()._host()
    values = (host.tobytes(), plain.dtype, tuple(plain.shape), str(plain.device), plain.requires_grad)
    if type(self) is Tensor and not self.__dict__:
        return rebuild, values
    return with_state, (rebuild, values, type(self), state_of(self))


def state_of(t: Tensor) -> Any:  # Any: what the class's own __getstate__ gives
    """What a pickle keeps of a tensor beside its values: its attributes."""
    own = getattr(type(t), "__getstate__", None)
    if own is not None and own is not getattr(object, "__getstate__", None):
        return own(t)
    slots = {n: getattr(t, n) for c in type(t).__mro__ if c not in _OWN for n in _slots_of(c) if hasattr(t, n)}
    return (dict(t.__dict__), slots) if slots else dict(t.__dict__)


def with_state(make: Callable[..., Tensor], args: tuple[Any, ...], cls: type, state: Any) -> Tensor:  # Any: its state
    """A tensor as ``make`` gives it, of its class and with its attributes."""
    found = make(*args)
    if type(found) is not cls:
        found = in_class(found, cls)
    if hasattr(cls, "__setstate__"):
        cls.__setstate__(found, state)
        return found
    attributes, slots = state if isinstance(state, tuple) else (state, {})
    found.__dict__.update(attributes)
    for name, value in slots.items():
        setattr(found, name, value)
    return found


_OWN = frozenset({object, Tensor, Overridden, *Tensor.__mro__})


def _slots_of(cls: type) -> tuple[str, ...]:
    names = vars(cls).get("__slots__", ())
    return tuple(n for n in ((names,) if isinstance(names, str) else names) if n not in ("__dict__", "__weakref__"))
