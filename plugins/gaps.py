"""What a device cannot do of a model or a call, found out on the cpu or on tensors without data.

A layer decides at each op as the device would: a kernel serves it, or its body stands in (and is looked at in
turn), or nothing does. The answer holds for the branches that the arguments take.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flambeau.backends.base import MINIMUM
from flambeau.backends.meta.backend import NoDataError
from flambeau.core import config, dispatch, keys, registry, state
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.device import located
from flambeau.core.dtype import DType
from flambeau.core.errors import DTypeError
from flambeau.core.record import OPS, VIEW, Op
from flambeau.core.tape.modes import module_path
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten

#: Ops that are a storage call of every backend (`copy_into`) and need no kernel.
STORAGE_OPS = frozenset({"copy"})


@dataclass(frozen=True)
class Gap:
    """One op and dtype that a device has nothing for.

    ``kind`` is "dtype" (the device has no such arrays), "fallback" (it would run on the cpu, as the setting
    `fallback` allows) or "missing"; ``module`` is the path of the nn.Module that first met it, or empty.
    """

    op: str
    dtype: str
    kind: str
    reason: str
    module: str

    def __str__(self) -> str:
        where = f", first in module {self.module}" if self.module else ""
        return f"{self.op} ({self.dtype}): {self.kind}: {self.reason}{where}"


def has_kernel(op: Op, dtype: DType, target: Device) -> bool:
    """Whether the device has a kernel for an op on operands of ``dtype``: its own, generated, or an overlay."""
    held = registry.resolve(target).stored(dtype, target.number)
    if held is None:
        return False
    if held.is_floating_point:
        dtype = held  # the same kernels, and nobody is told that float64 is held as float32
    return op.name in STORAGE_OPS or getattr(keys.key_for(target, dtype), op.name) is not None


def dtype_of(kernel: str) -> DType:
    """The dtype that stands for a kernel of the minimum: float32, or int64, bool, uint32 where it takes no floats."""
    return next((d for d in (dt.float32, dt.int64, dt.bool_) if OPS[kernel].accepts(d)), dt.uint32)


def lacks_of_minimum(target: Device) -> list[str]:
    """The kernels that every backend must have and this one has not."""
    return [name for name in MINIMUM if not has_kernel(OPS[name], dtype_of(name), target)]


def gap(op: Op, dtype: DType, target: Device) -> Gap:
    """The gap that an op without kernel and body is."""
    kind, reason = "missing", "no kernel, and no body of other ops"
    try:
        keys.key_for(target, dtype)
    except DTypeError as error:
        kind, reason = "dtype", str(error)
    else:
        if config.get("fallback") != "error" and op.family is not VIEW:
            kind = "fallback"
    return Gap(op.name, dtype.name, kind, reason, str(module_path))


class Watch:
    """A layer (:class:`flambeau.core.state.layer`): the (op, dtype) names that it has seen, and the gaps among them."""

    def __init__(self, target: Device):
        self.target = target
        self.seen: set[tuple[str, str]] = set()
        self.gaps: dict[tuple[str, str], Gap] = {}
        self.last = ""  # the op that ran last, for people

    def __call__(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> object:
        self.last = f"`{op.name}`" + (f" in module {module_path}" if str(module_path) else "")
        functional = op.functional or op
        operands, key = dispatch.normalise(functional, list(args), params)
        if key.level is not None:
            return NotImplemented
        recording = state.is_grad_enabled()
        out = self._note(functional, operands, params, key)
        if op.functional is not None:  # an in-place form still has to write
            return NotImplemented
        if recording or out is NotImplemented:  # with the op's own gradient, as on the device
            return dispatch.execute(op, operands, params, key, state.current())
        return out

    def _note(self, op: Op, operands: list[Any], params: dict[str, Any], key: keys.Key) -> Any:
        """Note how the device serves an op; the result where its body had to run for that."""
        met = (op.name, key.dtype.name)
        self.seen.add(met)
        if has_kernel(op, key.dtype, self.target):
            return NotImplemented
        if op.decomposes and registry.resolve(self.target).stored(key.dtype, self.target.number) is not None:
            with state.no_grad(), state.layer(self):
                return dispatch.decompose(op, operands, params, key)
        self.gaps.setdefault(met, gap(op, key.dtype, self.target))
        return NotImplemented


@dataclass(frozen=True)
class Report:
    """How many different ops and dtypes a model uses, and those that the device cannot do."""

    device: str
    ops: int
    gaps: tuple[Gap, ...]

    @property
    def ok(self) -> bool:
        return not self.gaps

    def __str__(self) -> str:
        if self.ok:
            return f"{self.device} can do all {self.ops} ops of the model"
        head = f"{self.device} cannot do {len(self.gaps)} of {self.ops} ops:"
        return "\n".join([head, *(f"  {g}" for g in self.gaps)])


def preflight(model: Callable[..., Any], *inputs: object, device: Device | str, backward: bool = True) -> Report:
    """Run ``model(*inputs)``, and the gradient of its outputs, on meta tensors; list what ``device`` cannot do.

    A model whose control flow reads values cannot be run without them: NoDataError names the op that gave one.

    >>> model = fb.nn.Linear(4, 2)
    >>> fb.plugins.preflight(model, fb.ones(1, 4), device="cpu").ok
    True
    """
    watch = Watch(located(device))
    flat, structure = flatten(tuple(inputs))
    moved = unflatten([_on_meta(v) for v in flat], structure)
    twin: Any = model
    if hasattr(model, "named_parameters"):
        twin = copy.deepcopy(twin).to("meta")
    try:
        with state.layer(watch):
            out = twin(*moved)
            losses = [t.sum() for t in flatten(out)[0] if isinstance(t, Tensor) and t.requires_grad]
            if backward and losses:
                sum(losses[1:], losses[0]).backward()
    except NoDataError as error:
        raise NoDataError(
            f"preflight: the model needs a value that {watch.last} gave, but preflight runs it on tensors without "
            "data; choose with where() in place of an `if`, or run the model on the device itself"
        ) from error
    return Report(str(watch.target), len(watch.seen), tuple(watch.gaps.values()))


def _on_meta(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().to("meta").requires_grad_(value.requires_grad)
    return value
