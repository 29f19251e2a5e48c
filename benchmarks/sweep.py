"""Every op of the op database that PyTorch has too, beside it, at three sizes.

    python -m benchmarks.sweep [--seconds 300] [--rounds 11] [--worst 20] [-k TEXT] [--json FILE]

The samples are those of the tests: as they stand (tiny: at most 64 elements), and grown to some 16 thousand (ordinary)
and a million elements (large). One op at a time, on one thread, forward alone, within about --seconds in all. Ops that
fail on one side, give other results there, or do not grow, are listed with the reason.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import flambeau
from benchmarks import frameworks, grown, report
from benchmarks.measure import Program, Row
from benchmarks.suite import Settings, difference, measured
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.record import Op
from flambeau.plugins.conformance import large, opdb
from flambeau.plugins.conformance.opdb import Maker, Sample, Samples
from flambeau.plugins.conformance.opdb.run import dtypes_of, to_tensors

#: Elements of the largest array, at most.
SIZES = {"tiny": 64, "ordinary": 1 << 14, "large": 1 << 20}
PLACES = ("", "nn.functional", "linalg", "special", "fft")
#: PyTorch's names of arguments.
RENAMED = {
    "axis": "dim", "axes": "dims", "axis1": "dim1", "axis2": "dim2", "keepdims": "keepdim", "kernel": "kernel_size",
    "ceil": "ceil_mode", "divisor": "divisor_override", "causal": "is_causal",
}  # fmt: skip
#: Ops whose counterpart is not the first function of their name.
ELSEWHERE = {
    "conv": "nn.functional.conv2d", "max_pool": "nn.functional.max_pool2d", "avg_pool": "nn.functional.avg_pool2d",
    "attention": "nn.functional.scaled_dot_product_attention", "batch_norm": "nn.functional.batch_norm",
    "pad": "nn.functional.pad", "hardtanh": "nn.functional.hardtanh", "elu": "nn.functional.elu",
    "threshold": "nn.functional.threshold", "unfold": "Tensor.unfold", "shl": "bitwise_left_shift",
    "shr": "bitwise_right_shift", "solve": "linalg.solve", "solve_triangular": "linalg.solve_triangular",
    "pinv": "linalg.pinv", "eig": "linalg.eig", "svd": "linalg.svd",
}  # fmt: skip
#: Names for the arguments by position, of functions that take them in another order.
NAMED = {
    "gather": "input index dim", "index_select": "input index dim",
    "scatter": "input index src dim", "scatter_reduce": "input index src dim reduce include_self",
    "index_add": "input index source dim", "index_put": "input values indices",
    "layer_norm": "input weight bias", "rms_norm": "input weight",
}  # fmt: skip
#: Samples of ops that record numbers as operands, or nothing that PyTorch has in the same form.
OWN: dict[str, Samples] = {
    "leaky_relu": lambda m: [Sample(m(3, 4), 0.1)],
    "softplus": lambda m: [Sample(m(3, 4), 1.0, 20.0)],
    "elu": lambda m: [Sample(m(3, 4), 1.0)],
    "hardtanh": lambda m: [Sample(m(3, 4), -1.0, 1.0)],
    "softshrink": lambda m: [Sample(m(3, 4), 0.5)],
    "hardshrink": lambda m: [Sample(m(3, 4), 0.5)],
    "threshold": lambda m: [Sample(m(3, 4), 0.1, 0.0)],
    "addcmul": lambda m: [Sample(m(3, 4), m(3, 4), m(3, 4))],
    "addcdiv": lambda m: [Sample(m(3, 4), m(3, 4), m(3, 4, low=0.5, high=2))],
    "polygamma": lambda m: [Sample(2, m(3, 4, low=0.5, high=4))],
    "pad": lambda m: [Sample(m(3, 4), (1, 2, 0, 1))],
    "conv": lambda m: [Sample(m(2, 3, 5, 5), m(4, 3, 3, 3), m(4), padding=1)],
    "batch_norm": lambda m: [Sample(m(4, 3, 2, 2), None, None, m(3), m(3), True)],
    "solve_triangular": lambda m: [Sample(m(3, 3, low=0.01, high=0.02) + np.eye(3, dtype="f"), m(3, 2), upper=True)],
    "pinv": lambda m: [Sample(m(4, 3))],
}
#: A call that would take longer than this, by what the size below took, is left out.
LONGEST = 2.0
BURST = 0.001
#: Whose results may differ: any of equal elements may come first, and eigenvalues have no order.
_FREE = ("empty", "argsort", "eig")


def suite_of(size: str) -> str:
    return f"sweep, {size}"


@dataclass
class Sweep:
    """``left_out`` says of an op and a size why it has no row; ``settings.failures`` what is wrong with flambeau."""

    settings: Settings
    left_out: list[str] = field(default_factory=list)
    took: dict[str, tuple[str, float]] = field(default_factory=dict)  #: by op: the last size, and seconds a call

    def expected(self, op: Op, size: str) -> float:
        """Seconds a call at a size, by what it took at a smaller one: more than linear, as products of matrices are."""
        before, seconds = self.took.get(op.name, (size, 0.0))
        power = 1.0 if before == "tiny" else 1.3
        return seconds * float((SIZES[size] / SIZES[before]) ** power)


def path_of(op: Op, torch: Any) -> str:
    """The name of PyTorch's function, such as "nn.functional.conv2d"; empty without one."""
    if op.name in ELSEWHERE:
        return ELSEWHERE[op.name]
    names = dict.fromkeys((*op.public, op.name))
    paths = (f"{place}.{name}".strip(".") for name in names for place in PLACES)
    return next((path for path in paths if callable(resolved(torch, path))), "")


def resolved(module: Any, path: str) -> Any:
    """What the module has under a path; None if nothing."""
    found = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def compared(torch: Any) -> dict[str, Op]:
    """The ops that have samples and a counterpart."""
    return {name: op for name, op in opdb.load().items() if op.samples is not None and path_of(op, torch)}


def dtype_for(op: Op) -> DType | None:
    """float32 where the op takes it; None where it takes nothing that is measured here."""
    offered = dtypes_of(op)
    return next((d for d in (dt.float32, dt.int64, dt.bool_, dt.complex64) if d in offered), None)


def by_record(op: Op, sample: Sample) -> Program:
    """A call of the op as its record has it."""
    args, kwargs = [to_tensors(a) for a in sample.args], to_tensors(sample.kwargs)
    return lambda: op.function(*args, **kwargs)


def by_path(T: Any, op: Op, path: str, sample: Sample) -> Program:
    """A call of a module's function, with PyTorch's names of arguments."""
    function = resolved(T, path)
    args = [_of_module(T, a) for a in sample.args]
    kwargs = {RENAMED.get(k, k): _of_module(T, v) for k, v in sample.kwargs.items()}
    if op.name in NAMED:
        kwargs |= dict(zip(NAMED[op.name].split(), args, strict=False))
        args = []
    return lambda: function(*args, **kwargs)


def _of_module(T: Any, value: Any) -> Any:
    """An argument as the module takes it."""
    if isinstance(value, np.ndarray):
        return T.tensor(value)
    if isinstance(value, list):
        return [_of_module(T, v) for v in value]
    if isinstance(value, DType):
        return getattr(T, value.name)
    return T.device(value.type) if isinstance(value, Device) else value


# -- one op ------------------------------------------------------------------------------------------
def row_of(sweep: Sweep, op: Op, size: str, torch: Any) -> Row | None:
    """The op at a size; None, and the reason among what was left out, where a side does not take it."""
    long = sweep.expected(op, size) > LONGEST
    programs, reason = (
        ([], "would take too long") if long else _first(op, path_of(op, torch), torch, _samples(op, size))
    )
    if not programs:
        sweep.left_out.append(f"{op.name}, {size}: {reason or 'no sample of this size'}")
        if size == "tiny" and reason.startswith(("flambeau", "results")):
            sweep.settings.failures.append(f"{op.name}: {reason}")
        return None
    row = measured(sweep.settings, suite_of(size), op.name, programs, burst=BURST)
    sweep.took[op.name] = size, max(report.median(row.ours), report.median(row.theirs or (0.0,)))
    return row


def _samples(op: Op, size: str) -> Iterator[Sample]:
    assert op.samples is not None
    dtype = dtype_for(op)
    if dtype is None:
        return
    samples = OWN.get(op.name, op.samples)
    realistic = [] if op.name in OWN or op.name not in large.LARGE else [large.LARGE[op.name]]
    if size != "tiny":
        yield from grown.candidates([*realistic, samples], dtype, SIZES[size])
    elif (sample := grown.plainest(samples, Maker(dtype))) is not None:
        yield sample


def _first(op: Op, path: str, torch: Any, samples: Iterable[Sample]) -> tuple[list[Program], str]:
    """The programs of the first sample that both sides take with the same results, or else what was wrong with it."""
    fixed = not op.random and op.name not in (*opdb.settled, *_FREE)
    reasons = []
    for sample in samples:
        try:
            other, wanted = _tried("PyTorch", by_path, torch, op, path, sample)
            mine, found = _ours(op, path, sample)
        except _Refused as error:
            reasons.append(str(error))
            continue
        text = difference(found, wanted) if fixed else None
        if text is None:
            return [mine, other], ""
        reasons.append(f"results differ: {text}")
    return [], reasons[0] if reasons else ""


def _ours(op: Op, path: str, sample: Sample) -> tuple[Program, object]:
    """The same call as PyTorch's where flambeau has it, else the op's own."""
    try:
        return _tried("flambeau", by_path, flambeau, op, path, sample)
    except _Refused:
        return _tried("flambeau", by_record, op, sample)


class _Refused(Exception):
    """A side does not take a sample."""


def _tried(side: str, make: Callable[..., Program], *args: Any) -> tuple[Program, object]:
    """The program and what it gives."""
    try:
        program = make(*args)
        return program, program()
    except Exception as error:
        raise _Refused(f"{side} raised {type(error).__name__}: {str(error).partition(chr(10))[0]}") from None


# -- all of them -------------------------------------------------------------------------------------
def worst(rows: Iterable[Row], count: int) -> list[tuple[str, float]]:
    """The names and ratios of the rows with the largest ratios, the largest first."""
    found = [(row.name, row.ratio.median) for row in rows if row.ratio is not None]
    return sorted(found, key=lambda entry: -entry[1])[:count]


def run(sweep: Sweep, torch: Any, seconds: float) -> Iterator[Row]:
    """All rows, size by size. What a row may take is an equal part of the seconds that are left."""
    ops = {name: op for name, op in compared(torch).items() if sweep.settings.wanted(name)}
    frameworks.set_threads(sweep.settings.modules, 1)
    end = time.perf_counter() + seconds
    todo = [(op, size) for size in SIZES for op in ops.values()]
    for i, (op, size) in enumerate(todo):
        if size != "tiny" and op.name not in sweep.took:
            continue  # PyTorch does not take it
        left = end - time.perf_counter()
        if left <= 0:
            sweep.left_out += [f"{op.name}, {size}: the time was over" for op, size in todo[i:]]
            return
        sweep.settings.seconds = left / (len(todo) - i) / 2  # the other half goes to its samples
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = row_of(sweep, op, size, torch)
        if row is not None:
            yield row


def summary(sweep: Sweep, rows: list[Row], count: int) -> Iterator[str]:
    """The lines that are printed at the end."""
    for size in SIZES:
        chosen = [row for row in rows if row.suite == suite_of(size)]
        mean = report.mean(chosen)
        if mean is None:
            yield f"\n{size}: nothing was measured"
            continue
        yield f"\n{size}: geometric mean {mean:.2f} over {len(chosen)} ops; the largest ratios:"
        held = {row.name: row for row in chosen}
        yield from (report.line(held[name]) for name, _ in worst(chosen, count))
    if sweep.left_out:
        yield f"\nleft out ({len(sweep.left_out)}):"
        yield from (f"  {text}" for text in sweep.left_out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="for all of it, about: 300")
    parser.add_argument("--rounds", type=report.rounds, default=11, help="of each op and size at most: 11")
    parser.add_argument("--worst", type=int, default=20, metavar="COUNT", help="how many to list: 20")
    parser.add_argument("-k", dest="part", default="", metavar="TEXT", help="only the ops with this in their names")
    parser.add_argument("--note", default="", help="what else is to be known of the machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the run")
    options = parser.parse_args()
    torch = frameworks.torch_or_none()
    if torch is None:
        parser.error("the sweep compares with PyTorch, which is not installed: pip install torch==2.13.0")
    facts = frameworks.facts() | {"note": options.note}
    print(frameworks.described(facts))
    sweep = Sweep(Settings(options.rounds, wanted=lambda name: options.part in name))
    rows = []
    for row in run(sweep, torch, options.seconds):
        rows.append(row)
        print(f"{row.suite.rpartition(' ')[2]:10}{report.line(row)}", flush=True)
    print("\n".join(summary(sweep, rows, options.worst)))
    if options.json:
        report.write(options.json, report.Run(facts, rows, sweep.settings.failures))
    return int(bool(sweep.settings.failures))


if __name__ == "__main__":
    sys.exit(main())
