"""``python -m flambeau coverage --device D``: how a device serves each op, by dtype.

An op is native (a kernel of the device serves it), composite (its body does, whose ops the device has),
partial (its body does for some arguments, and for others it lacks an op), fallback (it would run on the cpu,
as the setting `fallback` allows) or missing. Whether a body's ops are there is found out by running the op's
samples (:mod:`flambeau.plugins.gaps`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flambeau.core import config, registry
from flambeau.core import dtype as dt
from flambeau.core.device import device, located
from flambeau.core.dtype import DType
from flambeau.core.record import Op
from flambeau.core.state import layer, no_grad
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb import Sample
from flambeau.plugins.conformance.opdb.run import run, samples_of
from flambeau.plugins.gaps import Gap, Watch, gap, has_kernel

NATIVE, COMPOSITE, PARTIAL, FALLBACK, MISSING = "native", "composite", "partial", "fallback", "missing"
_LETTERS = {NATIVE: "N", COMPOSITE: "c", PARTIAL: "p", FALLBACK: "F", MISSING: "-"}


class Cover(NamedTuple):
    """How one op is served for one dtype, and the (op, dtype) names that the device lacks for it."""

    state: str
    lacks: tuple[tuple[str, str], ...] = ()


def coverage(target: device) -> dict[str, dict[str, Cover]]:
    """For each op by name, and each dtype by name that the op takes and the device has: how it is served."""
    backend = registry.resolve(target)
    dtypes = [d for d in dt.ALL if backend.offers(d, target.number)]
    return {
        name: {d.name: found for d in dtypes if (found := cover(op, d, target)) is not None}
        for name, op in opdb.load().items()
    }


def cover(op: Op, dtype: DType, target: device) -> Cover | None:
    """How ``target`` serves ``op`` on operands of ``dtype``.

    None where the op does not take them, or gives a dtype that the device does not have.
    """
    computed = op.dtype.compute(dtype)
    if computed not in op.dtype.accepts or not _has_results(op, computed, target):
        return None
    if has_kernel(op, computed, target):
        return Cover(NATIVE)
    if not op.decomposes or not registry.resolve(target).offers(computed, target.number):
        return _cover([[gap(op, computed, target)]])
    opdb.load()  # gives the record its samples
    cases = [lacking(op, s, target) for s in samples_of(op, dtype)] if op.samples is not None else [[]]
    taken = [gaps for gaps in cases if gaps is not None]
    return _cover(taken) if taken else None


def _has_results(op: Op, computed: DType, target: device) -> bool:
    """Whether the device has the dtypes of the results, as far as params do not choose them."""
    backend = registry.resolve(target)
    for i in range(len(op.schema.outputs)):
        try:
            result = op.dtype.out(i, computed, {})
        except KeyError:
            continue
        if result is not computed and not backend.offers(result, target.number):
            return False
    return True


def _cover(cases: list[list[Gap]]) -> Cover:
    """What the gaps of each case come to."""
    gaps = {(g.op, g.dtype): g for case in cases for g in case}
    if not gaps:
        return Cover(COMPOSITE)
    state = FALLBACK if all(g.kind == FALLBACK for g in gaps.values()) else MISSING
    return Cover(PARTIAL if state == MISSING and not all(cases) else state, tuple(sorted(gaps)))


def lacking(op: Op, sample: Sample, target: device) -> list[Gap] | None:
    """What the device lacks for one call of an op; None where the body refuses the arguments."""
    watch = Watch(target)
    try:
        with no_grad(), layer(watch):
            run(op, sample)
    except (RuntimeError, TypeError, ValueError):  # as it would on the cpu
        return None
    return list(watch.gaps.values())


# -- for people and programs -----------------------------------------------------------------------------------
def as_json(target: device, found: Mapping[str, Mapping[str, Cover]]) -> dict[str, Any]:
    """The whole of it, as values that JSON can hold."""
    ops = {name: {d: _cell(c) for d, c in row.items()} for name, row in found.items()}
    return {"device": str(target), "fallback": config.get("fallback"), "counts": dict(_counts(found)), "ops": ops}


def _cell(cover: Cover) -> dict[str, Any]:
    return {"state": cover.state} | ({"lacks": [list(pair) for pair in cover.lacks]} if cover.lacks else {})


def _counts(found: Mapping[str, Mapping[str, Cover]]) -> Counter[str]:
    return Counter(c.state for row in found.values() for c in row.values())


def short(dtype: str) -> str:
    """A dtype's name as the head of a column.

    >>> short("uint8"), short("bfloat16"), short("complex64")
    ('u8', 'bf16', 'c64')
    """
    for word, letter in (("complex", "c"), ("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i")):
        dtype = dtype.replace(word, letter)
    return dtype


def table(target: device, found: Mapping[str, Mapping[str, Cover]]) -> str:
    """A line for each op and a column for each dtype."""
    return "\n".join(_lines(target, found))


def _lines(target: device, found: Mapping[str, Mapping[str, Cover]]) -> Iterator[str]:
    dtypes = [d.name for d in dt.ALL if any(d.name in row for row in found.values())]
    width = max(map(len, found))
    legend = ", ".join(f"{letter} {state}" for state, letter in _LETTERS.items())
    yield f"{target}: {legend}; a dot where an op does not take the dtype"
    yield f"{'':{width}}  {' '.join(f'{short(d):>4}' for d in dtypes)}"
    for name, row in found.items():
        cells = (_LETTERS[row[d].state] if d in row else "." for d in dtypes)
        lacks = sorted({f"{op} ({d})" for c in row.values() for op, d in c.lacks if op != name})
        yield f"{name:{width}}  {' '.join(f'{c:>4}' for c in cells)}" + (f"  lacks {', '.join(lacks)}" if lacks else "")
    counts = _counts(found)
    yield f"{len(found)} ops; op and dtype pairs: {', '.join(f'{counts[s]} {s}' for s in _LETTERS)}"


def main(name: str, as_json_text: bool = False) -> int:
    """Print the coverage of the device called ``name``."""
    target = located(name)
    found = coverage(target)
    print(json.dumps(as_json(target, found), indent=1) if as_json_text else table(target, found))
    return 0
