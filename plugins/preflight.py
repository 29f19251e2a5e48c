"""Preflight: what a device cannot do of a model, found on tensors without data before any training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core import state
from flambeau.core.autograd.modes import module_path
from flambeau.core.device import device
from flambeau.core.dispatch import call, decompose, key_for
from flambeau.core.errors import DTypeError
from flambeau.core.explain import serves
from flambeau.core.record import Op
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten


@dataclass(frozen=True)
class Gap:
    """One op and dtype that the device has no kernel for: ``kind`` is "fallback", "missing" or "dtype"."""

    op: str
    dtype: str
    kind: str
    reason: str
    module: str

    def __str__(self) -> str:
        where = f", first in module {self.module}" if self.module else ""
        return f"{self.op} ({self.dtype}): {self.kind}: {self.reason}{where}"


@dataclass(frozen=True)
class Report:
    """How many different ops and dtypes the model uses, and those that the device cannot do."""

    device: str
    ops: int
    gaps: tuple[Gap, ...]

    @property
    def ok(self) -> bool:
        return not self.gaps

    def __str__(self) -> str:
        if self.ok:
            return f"{self.device} can do all {self.ops} ops of the model"
        return "\n".join(
            [f"{self.device} cannot do {len(self.gaps)} of {self.ops} ops:", *(f"  {g}" for g in self.gaps)]
        )


def preflight(model: Callable[..., Any], *inputs: Any, device: Any, backward: bool = True) -> Report:
    """Run ``model(*inputs)``, and the gradient of its outputs, on meta tensors; list what ``device`` cannot do.

    A model whose control flow reads values cannot be run without them: the error says which op read one.

    >>> import flambeau as fb
    >>> model = fb.nn.Linear(4, 2)
    >>> preflight(model, fb.ones(1, 4), device="cpu").ok
    True
    """
    check = _Check(_device(device))
    flat, structure = flatten(tuple(inputs))
    moved = unflatten([_on_meta(v) for v in flat], structure)
    twin = copy.deepcopy(model).to("meta") if hasattr(model, "named_parameters") else model
    with state.layer(check.see):
        out = twin(*moved)
        losses = [t for t in flatten(out)[0] if isinstance(t, Tensor) and t.requires_grad]
        if backward and losses:
            total = losses[0].sum()  # type: ignore[attr-defined]
            for t in losses[1:]:
                total = total + t.sum()  # type: ignore[attr-defined]
            total.backward()
    return Report(str(check.device), len(check.seen), tuple(check.gaps.values()))


def _device(value: Any) -> device:
    return device(value)


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("meta").requires_grad_(value.requires_grad)  # type: ignore[attr-defined]
    return value


class _Check:
    """A layer that asks, for each op, who would serve it on the device."""

    def __init__(self, d: device):
        self.device = d
        self.seen: set[tuple[str, dt.DType]] = set()
        self.gaps: dict[tuple[str, dt.DType], Gap] = {}

    def see(self, op: Op, args: Any, params: dict[str, Any]) -> Any:
        tensors = [t for t in flatten(tuple(args))[0] if isinstance(t, Tensor)]
        if not tensors:
            return call(op, args, params)
        dtype = tensors[0].dtype
        functional = op.functional or op
        kind = self._note(functional, dtype)
        if kind == "composite" and functional.body is not None and op.functional is None:
            with state.layer(self.see):  # its body is what will run
                return decompose(op, list(args), dict(params), tensors[0]._key)
        return call(op, args, params)

    def _note(self, op: Op, dtype: dt.DType) -> str:
        try:
            kind, why = serves(key_for(self.device, dtype), op)
        except DTypeError as error:
            kind, why = "dtype", str(error)
        self.seen.add((op.name, dtype))
        if kind in ("fallback", "missing", "dtype"):
            self.gaps.setdefault((op.name, dtype), Gap(op.name, dtype.name, kind, why, str(module_path)))
        return kind
