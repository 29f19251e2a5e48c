"""``debug.compare``: one function on several devices in lockstep, and the first op whose results differ."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core import state
from flambeau.core.device import device, located
from flambeau.core.dispatch import _detached, call
from flambeau.core.generator import get_rng_state, manual_seed, set_rng_state
from flambeau.core.record import Op
from flambeau.core.tape.modes import module_path
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.batching import Batched
from flambeau.core.transforms.forward import Dual
from flambeau.core.tree import flatten, unflatten

#: (rtol, atol) by dtype, as wide as differently ordered sums of that precision need.
TOLERANCES = {dt.float16: (1e-2, 1e-3), dt.bfloat16: (3e-2, 1e-2), dt.float32: (1e-4, 1e-5), dt.float64: (1e-9, 1e-11),
              dt.complex64: (1e-4, 1e-5), dt.complex128: (1e-9, 1e-11)}  # fmt: skip

Host: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Step:
    """One op as one device computed it."""

    op: str
    module: str
    shapes: tuple[tuple[int, ...], ...]
    results: tuple[Host, ...]
    dtypes: tuple[dt.DType, ...]


@dataclass(frozen=True)
class Difference:
    """Where two devices part: the op, the module that called it, shapes of its operands, the size of the difference."""

    index: int
    op: str
    module: str
    shapes: tuple[tuple[int, ...], ...]
    devices: tuple[str, str]
    max_abs: float
    max_rel: float
    reason: str

    def __str__(self) -> str:
        where = f" in module {self.module}" if self.module else ""
        shapes = ", ".join(str(s) for s in self.shapes)
        return (
            f"op {self.index} `{self.op}`{where} on operands {shapes} differs between {self.devices[0]} and "
            f"{self.devices[1]}: {self.reason} (max abs {self.max_abs:.3g}, max rel {self.max_rel:.3g})"
        )


@dataclass(frozen=True)
class Report:
    """The outcome of a comparison: how many ops were compared, and the first difference or None."""

    ops: int
    difference: Difference | None

    @property
    def ok(self) -> bool:
        return self.difference is None

    def __str__(self) -> str:
        return f"{self.ops} ops agree" if self.difference is None else str(self.difference)


def compare(
    fn: Callable[..., Any], *args: object, devices: Sequence[device | str],
    tolerances: Mapping[dt.DType, tuple[float, float]] | None = None,
) -> Report:  # fmt: skip
    """Run ``fn(*args)`` on each device and compare every op's results with those of the first device.

    ``fn`` and its arguments may be modules: each device gets a copy. Tensors made inside must be made on
    the device of the arguments. Random numbers are reset to one seed before each run.

    >>> str(fb.debug.compare(lambda x: (x * 2).sum(), fb.ones(3), devices=("cpu", "cpu")))
    '2 ops agree'
    """
    if len(devices) < 2:
        raise ValueError(f"compare: give at least two devices, got {len(devices)}")
    first, *rest = [located(d) for d in devices]
    expected = _run(fn, args, first)
    widths = dict(TOLERANCES) | dict(tolerances or {})
    for d in rest:
        found = _run(fn, args, d)
        difference = _first_difference(expected, found, (str(first), str(d)), widths)
        if difference is not None:
            return Report(len(expected), difference)
    return Report(len(expected), None)


def _on(value: Any, d: device) -> Any:
    """A copy on the device of a tensor or of anything with parameters: what ``fn`` writes to stays in its run."""
    if isinstance(value, Tensor):
        there = _detached(value).to(d)
        return (there if there.device is not value.device else there.clone()).requires_grad_(value.requires_grad)
    if hasattr(value, "named_parameters"):
        return copy.deepcopy(value).to(d)
    return value


def _run(fn: Callable[..., Any], args: Sequence[Any], d: device) -> list[Step]:
    steps: list[Step] = []

    def see(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
        result = call(op, operands, params)
        outs = [t for out in flatten(result)[0] for t in _plain(out)]
        ins = [t for t in flatten(tuple(operands))[0] if isinstance(t, Tensor)]
        hosts = tuple(np.array(t._host()) for t in outs)
        steps.append(
            Step(op.name, str(module_path), tuple(tuple(t.shape) for t in ins), hosts, tuple(t.dtype for t in outs))
        )
        return result

    flat, structure = flatten(tuple(args))
    moved, there = unflatten([_on(v, d) for v in flat], structure), _on(fn, d)
    seeded = get_rng_state()
    manual_seed(0)
    try:
        with d, state.layer(see):
            there(*moved)
    finally:
        set_rng_state(seeded)
    return steps


def _plain(value: object) -> list[Tensor]:
    """The tensors with values of their own that a result stands for: inside vmap the batch, in forward mode both."""
    if not isinstance(value, Tensor):
        return []
    payload = value._array
    if isinstance(payload, Batched):
        return _plain(payload.value)
    if isinstance(payload, Dual):
        return _plain(payload.primal) + _plain(payload.direction())
    return [_detached(value)]


def _first_difference(
    expected: list[Step], found: list[Step], names: tuple[str, str], widths: Mapping[dt.DType, tuple[float, float]]
) -> Difference | None:
    def at(i: int, step: Step, reason: str, size: tuple[float, float] = (math.nan, math.nan)) -> Difference:
        return Difference(i, step.op, step.module, step.shapes, names, *size, reason)

    for i, (a, b) in enumerate(zip(expected, found, strict=False)):
        if a.op != b.op:
            return at(i, a, f"the other device ran `{b.op}` here")
        if a.dtypes != b.dtypes:
            return at(i, a, f"dtypes {_names(a.dtypes)} and {_names(b.dtypes)}")
        for x, y, dtype in zip(a.results, b.results, a.dtypes, strict=True):
            if x.shape != y.shape:
                return at(i, a, f"shapes {x.shape} and {y.shape}")
            size = _distance(x, y, *widths.get(dtype, (0.0, 0.0)))
            if size is not None:
                return at(i, a, "values differ", size)
    if len(expected) != len(found):
        i = min(len(expected), len(found))
        return at(i, (expected if len(expected) > i else found)[i], "only one device ran this op")
    return None


def _names(dtypes: Sequence[dt.DType]) -> str:
    return ", ".join(d.name for d in dtypes)


def _distance(x: Host, y: Host, rtol: float, atol: float) -> tuple[float, float] | None:
    """(max abs, max rel) when the arrays differ by more than the tolerances; relative to the larger of the two."""
    same = (x == y) | ((x != x) & (y != y))  # in their own dtype: wide integers would round as floats
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    x, y = x.astype(wide), y.astype(wide)
    with np.errstate(all="ignore"):
        off = np.where(same, 0.0, np.abs(x - y))
        off = np.where(np.isfinite(off), off, np.inf)
        if (same | (np.isfinite(off) & (off <= atol + rtol * np.abs(x)) & (rtol + atol > 0))).all():
            return None
        largest = np.maximum(np.abs(x), np.abs(y))
        relative = np.where(off > 0, np.where(np.isfinite(off), off / largest, np.inf), 0.0)
        return float(off.max()), float(relative.max())


__all__ = ["Difference", "Report", "compare"]
