"""What a call needs from a device: the ops it comes down to there, and those that the device lacks.

The call runs on the cpu, with a layer that decides at each op as the device would: a kernel serves it, or its
body stands in (and is looked at in turn), or nothing does. So the answer holds for the branch that the call's
arguments take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core import dispatch, registry, state
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.record import Op

#: Ops that are a storage call of every backend (`copy_into`) and need no kernel.
STORAGE_OPS = frozenset({"copy"})


class Needs:
    """A layer (:class:`flambeau.core.state.layer`) that notes what each op would meet on ``target``.

    ``native`` and ``missing`` hold (op name, dtype) pairs.
    """

    def __init__(self, target: device):
        self.target = target
        self.native: set[tuple[str, DType]] = set()
        self.missing: set[tuple[str, DType]] = set()

    def __call__(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        functional = op.functional or op
        operands, key = dispatch.normalise(functional, list(args), params)
        if key.level is not None:
            return NotImplemented
        wanted = (functional.name, key.dtype)
        out: Any = NotImplemented
        if functional.name in STORAGE_OPS or has_kernel(functional, key.dtype, self.target):
            self.native.add(wanted)
        elif functional.decomposes and self._supports(key.dtype):
            with state.layer(self):
                out = dispatch.decompose(functional, operands, params, key)
        else:
            self.missing.add(wanted)
        if op.functional is not None:  # an in-place form still has to write
            return NotImplemented
        return dispatch.execute(op, operands, params, key, state.current()) if out is NotImplemented else out

    def _supports(self, dtype: DType) -> bool:
        return registry.resolve(self.target).supports(dtype, self.target.index)

    def of(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn`` and note what its ops need; its arguments live on the cpu."""
        with state.layer(self):
            return fn(*args, **kwargs)


def has_kernel(op: Op, dtype: DType, target: device) -> bool:
    """Whether the device has a kernel for an op on operands of ``dtype``: its own, generated, or an overlay."""
    if not registry.resolve(target).supports(dtype, target.index):
        return False
    return getattr(dispatch.key_for(target, dtype), op.name) is not None
