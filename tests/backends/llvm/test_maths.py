"""The vector functions: their errors over all numbers, at every width, and what they make of special values."""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from benchmarks import accuracy
from benchmarks.accuracy import BINARY, LONG_DOUBLE, compiled, errors, exact, numbers, operands, patterns
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.ir import Function
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.llvm.types import F32, F64, PTR
from flambeau.core import expr

NAMES = list(maths.FUNCTIONS)
STEP = 20011  # of bit patterns of float32
THOROUGH = ("exp", "log", "tanh", "erf", "gelu", "sigmoid", "sin", "cos")

every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_format = pytest.mark.parametrize("code", ["f4", "f8"])


@cache
def runs(target: Target, code: str, lanes: int = 0) -> dict[str, Callable[..., Any]]:
    """All functions, compiled once for the tests here."""
    return compiled(target, [*NAMES, "exp_nonpositive"], code, lanes)


def bound(name: str, code: str) -> float:
    return maths.BOUNDS[name].single if code == "f4" else maths.BOUNDS[name].double


def worst(name: str, found: Any, wanted: Any, samples: tuple[Any, ...]) -> tuple[float, str]:
    away = errors(found, wanted)
    at = int(np.argmax(away))
    return float(away[at]), f"{name}{tuple(float(x[at]) for x in samples)} = {found[at]!r}, not {wanted[at]!r}"


@every_format
def test_errors_are_within_their_bounds_and_fused_registers_agree(code: str) -> None:
    """The bits are the same on all registers that have a fused multiply-add."""
    if code == "f8" and not LONG_DOUBLE:
        pytest.skip("long double is no wider than float64 here")
    found_by = {target: runs(target, code) for target in runnable()}
    for name in NAMES:
        samples = operands(name, code, STEP if code == "f4" else 8 * STEP)
        wanted = exact(name, *samples)
        fused: Any = None
        for target, run in found_by.items():
            found = run[name](*samples)
            if target.fma and fused is not None:
                np.testing.assert_array_equal(found, fused, err_msg=f"{name} on {target.name}")
                continue
            away, where = worst(name, found, wanted, samples)
            assert away <= bound(name, code), f"{where}: {away} units on {target.name}"
            fused = found if target.fma else fused


@pytest.mark.slow
@pytest.mark.parametrize("name", THOROUGH)
def test_errors_over_all_of_float32(name: str) -> None:
    """One number in 61; with ALL=1 in the environment every one, which takes minutes for each function."""
    step = 1 if os.environ.get("ALL") else 61
    both = [compiled(target, [name], "f4")[name] for target in {t.fma: t for t in runnable()}.values()]
    for start in range(0, 1 << 32, step << 22):
        x = np.arange(start, min(start + (step << 22), 1 << 32), step, dtype=np.uint64).astype(np.uint32).view("f4")
        x = x[: x.size // 64 * 64]
        wanted = exact(name, x)
        for run in both:
            away, where = worst(name, run(x), wanted, (x,))
            assert away <= bound(name, "f4"), f"{where}: {away} units"


def special(code: str) -> Any:
    limits = np.finfo(code)
    positive = [
        0.0, limits.smallest_subnormal, 3 * limits.smallest_subnormal, limits.tiny, 1e-5, 0.25, 0.5, 1.0, 1.5, 2.0,
        2.5, 3.0, math.pi, 10.0, 16777215.0, 1e10, limits.max, math.inf, math.nan,
    ]  # fmt: skip
    return np.array([s * v for v in positive for s in (1, -1)], code)


@every_width
@every_format
def test_special_values_are_those_of_the_c_library(target: Target, code: str) -> None:
    """nan, infinities, and the sign of zeros; numpy's scalar functions are libm's, or follow it."""
    x, y = (v.ravel() for v in np.meshgrid(special(code), special(code)))
    for name in NAMES:
        samples = (x, y) if name in BINARY else (special(code),)
        found, wanted = runs(target, code, 1)[name](*samples), exact(name, *samples)
        away, where = worst(name, found, wanted, samples)
        assert away <= bound(name, code) + (code == "f8" and not LONG_DOUBLE), where
        zeros = (found == 0) & (wanted == 0)
        wrong = zeros & (np.signbit(found) != np.signbit(wanted))
        assert not wrong.any(), f"{name}{tuple(v[wrong][:4] for v in samples)}: zeros of the wrong sign"


@every_width
@every_format
def test_one_lane_gives_the_same_as_many(target: Target, code: str) -> None:
    for name in NAMES:
        samples = tuple(numbers(code, 256, seed) for seed in range(2 if name in BINARY else 1))
        one, many = (runs(target, code, lanes)[name](*samples) for lanes in (1, 0))
        np.testing.assert_array_equal(one, many, err_msg=name)


def test_more_lanes_than_a_register_has_give_the_same() -> None:
    many = compiled(host(), NAMES, "f4", lanes=2 * host().lanes(F32))
    for name in NAMES:
        samples = tuple(numbers("f4", 256, seed) for seed in range(2 if name in BINARY else 1))
        np.testing.assert_array_equal(many[name](*samples), runs(host(), "f4")[name](*samples), err_msg=name)


@every_width
@every_format
def test_large_angles_are_reduced_exactly(target: Target, code: str) -> None:
    """Beside large angles stand small ones; 6381956970095103 * 2**797 is the float64 nearest to a multiple of pi/2."""
    if code == "f8" and not LONG_DOUBLE:
        pytest.skip("long double is no wider than float64 here")
    rng = np.random.default_rng(2)
    x = (2.0 ** rng.uniform(-5, 127 if code == "f4" else 1023, 4096) * rng.choice([-1, 1], 4096)).astype(code)
    if code == "f8":
        x[:64] = math.ldexp(6381956970095103, 797)
    for name in ("sin", "cos", "tan"):
        away, where = worst(name, runs(target, code)[name](x), exact(name, x), (x,))
        assert away <= bound(name, code), where


@every_width
@every_format
def test_exp_for_softmax_has_no_denormal_results(target: Target, code: str) -> None:
    run = runs(target, code)["exp_nonpositive"]
    low = np.log(float(np.finfo(code).tiny))
    x = np.concatenate([np.linspace(1.1 * low, 0, 8192 - 64), [-np.inf] * 32, [np.nan] * 32]).astype(code)
    found, wanted = run(x), exact("exp", x)
    assert not ((found > 0) & (found < np.finfo(code).tiny)).any()
    normal = ~(x < low * 0.9999)
    assert errors(found[normal], wanted[normal]).max() <= bound("exp", code)
    assert (found[x < low * 1.0001] == 0).all() and (found[-64:-32] == 0).all() and np.isnan(found[-32:]).all()


@every_width
def test_numbers_keep_their_remainders_at_the_ends_of_the_range(target: Target) -> None:
    limits = np.finfo("f8")
    ends = np.array([limits.max, limits.tiny, limits.smallest_subnormal, 1e300, 7e-310, 3.0, 1.5e-300, 0.1])
    x, y = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(ends, ends))
    run = runs(target, "f8")["fmod"]
    assert run(x, y).tolist() == [math.fmod(a, b) for a, b in zip(x, y, strict=True)]


@pytest.mark.parametrize("target", [host(), *ELSEWHERE], ids=lambda t: t.name)
def test_it_compiles_elsewhere_without_the_c_library(target: Target) -> None:
    module = Module(target)
    for type in (F32, F64):
        f = Function(module, f"all_{type}", [PTR])
        wide = type.vector(target.lanes(type))
        x, y = f.load(wide, f.args[0]), f.load(wide, f.args[0], wide.lanes)
        for i, (name, function) in enumerate(maths.FUNCTIONS.items()):
            f.store(function(f, x, y) if name in BINARY else function(f, x), f.args[0], (2 + i) * wide.lanes)
        f.ret()
    assembly = Compiler(target).assembly(module.text())
    called = {line.split()[1].lstrip("_") for line in assembly.splitlines() if line.split()[:1] in (["callq"], ["bl"])}
    assert called == {"reduce_angles"}


def test_the_page_of_results_has_every_function_and_its_bounds() -> None:
    lines = accuracy.PAGE.read_text().splitlines()
    for name, (single, double) in maths.BOUNDS.items():
        (row,) = (line for line in lines if line.startswith(f"| {name} |"))
        _, _, first, first_bound, second, second_bound, _ = (cell.strip() for cell in row.split("|"))
        assert (float(first_bound), float(second_bound)) == (single, double)
        assert float(first) <= single and float(second) <= double


def test_the_coefficients_are_those_of_the_script() -> None:
    """A file that was changed by hand has other names, or more."""
    root = Path(__file__).parents[3]
    script = ast.parse((root / ".ci" / "polynomials.py").read_text())
    written = ast.parse((root / "backends" / "llvm" / "maths" / "coefficients.py").read_text())
    names = {n.target.id for n in written.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    told = {n.value for n in ast.walk(script) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    made = {f"{name}_START" for name in told if name.startswith(("ERFC", "GELU"))}
    assert names <= told | made | {"ERFC_CENTRE", "GELU_CENTRE", "ERF_NEAR"}


def test_the_language_is_told_what_there_is() -> None:
    assert maths.native("tanh", fb.float32) and maths.native("erf", fb.float64)
    assert not maths.native("tanh", fb.int32) and not maths.native("tanh", fb.complex64)
    assert not maths.native("lgamma", fb.float32)
    program = expr.lower(expr.parse("x * tanh(erf(x))", ("x",)), (fb.float32,), native=maths.native)
    assert [step.op for step in program.steps] == ["input", "erf", "tanh", "mul"]


def test_samples_hold_every_kind_of_number() -> None:
    x = patterns(STEP)
    tiny = np.finfo("f4").tiny
    assert np.isnan(x).any() and (np.abs(x) < tiny).any() and (x > 1e30).any() and (x < -1e-30).any()
