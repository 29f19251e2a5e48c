"""The largest errors of the vector functions of generated code, as a table in docs/results/accuracy.md.

    python -m benchmarks.accuracy [--step 1009]

float32 is compared with numpy's and scipy's float64 on every ``step``-th bit pattern and on numbers between -20 and 20,
float64 with the long double of x86 (a mantissa of 64 bits) on random bit patterns and on numbers of everyday size. Both
are run on every kind of register that this machine has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.special

from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target, runnable
from flambeau.backends.llvm.types import F32, F64, I64, PTR, Type

PAGE: Final = Path(__file__).parent.parent / "docs" / "results" / "accuracy.md"
BINARY: Final = frozenset({"pow", "atan2", "hypot", "copysign", "fmod", "remainder", "idiv"})
TYPES: Final[dict[str, Type]] = {"f4": F32, "f8": F64}
#: Whether there is a format to compare float64 with.
LONG_DOUBLE: Final = np.finfo(np.longdouble).nmant >= 63


# -- references, in the format of their operands -------------------------------------------------------
def _series_erf(x: Any) -> Any:
    """The series of terms of one sign, for small x."""
    term = total = np.ones_like(x)
    for n in range(1, 70):
        term = term * (2 * x * x) / (2 * n + 1)
        total = total + term
    return 2 * x * np.exp(-x * x) * total / np.sqrt(_long_pi())


def _fraction_erfc(a: Any) -> Any:
    """The continued fraction, for a from 2 on; exp(-a * a) by parts."""
    below = a
    for n in range(100, 0, -1):
        below = a + n / (2 * below)
    rough = np.round(a * 1024) / 1024
    return np.exp(-rough * rough) * np.exp(-(a - rough) * (a + rough)) / (below * np.sqrt(_long_pi()))


def _long_pi() -> Any:
    return 4 * np.arctan(np.longdouble(1))


def _long_erfc(x: Any) -> Any:
    a = np.abs(x)
    far = _fraction_erfc(np.clip(a, 2, 120))
    near = 1 - _series_erf(np.clip(x, -2, 2))
    return np.where(a < 2, near, np.where(x < 0, 2 - far, np.where(np.isnan(x), x, far)))


def _erfc(x: Any) -> Any:
    return scipy.special.erfc(x) if x.dtype == "f8" else _long_erfc(x)


def _erf(x: Any) -> Any:
    if x.dtype == "f8":
        return scipy.special.erf(x)
    return np.where(np.abs(x) < 2, _series_erf(np.clip(x, -2, 2)), np.copysign(1 - _long_erfc(np.abs(x)), x))


def _gelu(x: Any) -> Any:
    return np.where(x == -np.inf, -0.0, x * _ndtr(x))


def _ndtr(x: Any) -> Any:
    return scipy.special.ndtr(x) if x.dtype == "f8" else _long_ndtr(x)


def _long_ndtr(x: Any) -> Any:
    """Half of erfc(-x / sqrt(2)); the square is that of x."""
    a = np.abs(x) / np.sqrt(np.longdouble(2))
    below = np.clip(a, 2, 120)
    s = np.clip(np.abs(x), 0, 160)
    rough = np.round(s * 1024) / 1024
    gauss = np.exp(-rough * rough / 2) * np.exp(-(s - rough) * (s + rough) / 2)
    for n in range(100, 0, -1):
        below = np.clip(a, 2, 120) + n / (2 * below)
    far = gauss / (below * np.sqrt(_long_pi())) / 2
    near = (1 + _series_erf(np.clip(x / np.sqrt(np.longdouble(2)), -2, 2))) / 2
    return np.where(a < 2, near, np.where(x > 0, 1 - far, far))


def _sigmoid(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def _remainder(x: Any, y: Any) -> Any:
    r = np.fmod(x, y)
    return np.where((r != 0) & ((r < 0) != (y < 0)), r + y, r)


REFERENCES: Final[dict[str, Callable[..., Any]]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "pow": np.power, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "erf": _erf, "erfc": _erfc, "sigmoid": _sigmoid,
    "gelu": _gelu, "ndtr": _ndtr, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "hypot": np.hypot,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint, "round_half_even": np.rint,
    "copysign": np.copysign, "fmod": np.fmod, "remainder": _remainder, "idiv": np.floor_divide,
}  # fmt: skip


def exact(name: str, *operands: Any) -> Any:
    """What a function should give, in a wider format than its operands; floor division, which is a rule, in theirs."""
    wide = np.float64 if operands[0].dtype == "f4" else np.longdouble
    with np.errstate(all="ignore"):
        if name == "idiv":
            return np.floor_divide(*operands).astype(wide)
        return REFERENCES[name](*(x.astype(wide) for x in operands))


def errors(found: Any, wanted: Any) -> Any:
    """Units in the last place between results and exact values, element by element; infinite where nan differs."""
    limits = np.finfo(found.dtype)
    wide = wanted.dtype.type
    top = np.ldexp(wide(1), limits.maxexp)  # what an infinity stands for

    def finite(x: Any) -> Any:
        return np.where(np.abs(x) >= top, np.copysign(top, x), x)

    with np.errstate(all="ignore"):
        exponent = np.clip(np.frexp(wanted)[1] - 1, limits.minexp, limits.maxexp - 1)
        exponent = np.where(np.isfinite(wanted), exponent, limits.maxexp - 1)
        away = np.abs(finite(found.astype(wide)) - finite(wanted)) / np.ldexp(wide(1), exponent - limits.nmant)
        nan = np.isnan(found), np.isnan(wanted)
    return np.where(nan[0] & nan[1], 0, np.where(nan[0] ^ nan[1], np.inf, away))


# -- running -----------------------------------------------------------------------------------------
def compiled(target: Target, names: Iterable[str], code: str, lanes: int = 0) -> dict[str, Callable[..., Any]]:
    """Functions of arrays of float32 (code f4) or float64 (f8) whose sizes are multiples of the lanes."""
    type, names = TYPES[code], list(names)
    wide = type.vector(lanes or target.lanes(type))
    module = Module(target)
    written = []
    for name in names:
        function = getattr(maths, name) if name not in maths.FUNCTIONS else maths.FUNCTIONS[name]
        f = JobFunction(module, f"{name}_{code}", [PTR] * (3 if name in BINARY else 2) + [I64])
        out, *ins, count = f.values
        for i in f.range(0, count, wide.lanes):
            operands: list[Value] = [f.load(wide, x, i) for x in ins]
            f.store(function(f, *operands), out, i)
        f.ret()
        written.append(f)
    return {name: _on_arrays(job, wide.lanes) for name, job in zip(names, jobs(*written), strict=True)}


def _on_arrays(job: Job, lanes: int) -> Callable[..., Any]:
    def run(*operands: Any, out: Any = None) -> Any:
        found = np.empty_like(operands[0]) if out is None else out
        assert found.size % lanes == 0 and all(x.flags.c_contiguous for x in operands)
        job(1, found.ctypes.data, *(x.ctypes.data for x in operands), found.size)
        return found

    return run


def patterns(step: int) -> Any:
    """Every ``step``-th float32 by its bits, a multiple of 64 of them."""
    bits = np.arange(0, 1 << 32, step, dtype=np.uint64).astype(np.uint32)
    return bits[: bits.size // 64 * 64].view("f4")


def numbers(code: str, count: int, seed: int = 0) -> Any:
    """Random numbers: a half of them any bits, the others between 1e-3 and 1e3."""
    rng = np.random.default_rng(seed)
    half = count // 2
    words = rng.integers(0, 256, half * int(code[1]), dtype=np.uint8).view(code)
    everyday = rng.choice([-1, 1], count - half) * 10 ** rng.uniform(-3, 3, count - half)
    return rng.permutation(np.concatenate([words, everyday.astype(code)]))


def pairs(code: str, count: int, seed: int = 0) -> tuple[Any, Any]:
    """Two arrays of those, the second of them in an eighth of the places next to the first."""
    x, y = numbers(code, count, seed), numbers(code, count, seed + 1)
    y[::8] = x[::8] * np.linspace(0.5, 2, y[::8].size, dtype=code)
    return x, y


def operands(name: str, code: str, step: int) -> tuple[Any, ...]:
    """The samples on which a function is measured."""
    count = max(1 << 12, (1 << 32) // step >> 6 << 6)
    if name in BINARY:
        with np.errstate(all="ignore"):
            return pairs(code, count)
    chosen = patterns(step) if code == "f4" else numbers(code, max(1 << 12, count >> 10 << 6))
    everyday = np.random.default_rng(1).uniform(-20, 20, max(1 << 14, count >> 9 << 6) if code == "f4" else 1 << 14)
    return (np.concatenate([chosen, everyday.astype(code)]),)


def largest(code: str, step: int) -> dict[str, float]:
    """The largest error of each function on any register of this machine."""
    found = dict.fromkeys(maths.FUNCTIONS, 0.0)
    runs = [compiled(target, maths.FUNCTIONS, code) for target in runnable()]
    for name in found:
        samples = operands(name, code, step)
        wanted = exact(name, *samples)
        seen: list[Any] = []
        for run in runs:
            got = run[name](*samples)
            if not any(np.array_equal(got.view(f"i{code[1]}"), other) for other in seen):
                seen.append(got.view(f"i{code[1]}"))
                found[name] = max(found[name], float(errors(got, wanted).max()))
    return found


def page(single: dict[str, float], double: dict[str, float], step: int) -> str:
    """The page of results."""
    rows = "\n".join(
        f"| {name} | {single[name]:.2f} | {bound.single:g} | {double[name]:.2f} | {bound.double:g} |"
        for name, bound in maths.BOUNDS.items()
    )
    text = (__doc__ or "").partition("step 1009]\n\n")[2].strip()
    return f"""# Accuracy of the vector functions

    python -m benchmarks.accuracy --step {step}

The largest errors of the functions that generated code for processors is made of, in units in the last place of the
exact result (denormal results have the spacing of their kind). What may not be exceeded stands beside what was found,
and is tested; 0 is exact, 0.5 the nearest number. The samples that a run takes do not find the very largest error: for
the functions of neural networks a slow test looks at all float32 numbers.

{text}

| function | float32 | at most | float64 | at most |
| --- | --- | --- | --- | --- |
{rows}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="accuracy of the vector functions")
    parser.add_argument("--step", type=int, default=1009, help="how far bit patterns of float32 are apart")
    options = parser.parse_args()
    if not LONG_DOUBLE:
        print("long double is no wider than float64 here: nothing to compare with")
        return 1
    single, double = largest("f4", options.step), largest("f8", options.step)
    PAGE.write_text(page(single, double, options.step))
    print(PAGE.read_text())
    over = [n for n, b in maths.BOUNDS.items() if single[n] > b.single or double[n] > b.double]
    print("over their bounds:", ", ".join(over) or "none")
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
