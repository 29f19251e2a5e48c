"""Random numbers: the published known answers, the definitions in plain integers, machine code of every width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.cpu import normal
from flambeau.backends.cpu import random as module
from flambeau.backends.cpu.native import random as native
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.maths import coefficients
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.backends.xp import random as shared
from flambeau.core import config, random
from flambeau.core import dtype as dt
from tests.backends.cpu.arrays import kernel

DRAWS = [(0, 0, 9), (2**64 - 1, 2**64 - 2, 17), (12345, 2**32 - 1, 1001), (7, 0, 3), (-3, 5, 4), (7, 5, 0)]


def test_the_known_answers_of_random123() -> None:
    words = np.empty((1, 4), np.uint32)
    shared.fill(np, words, 0, 0)
    assert [f"{w:08x}" for w in words[0]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


@pytest.mark.parametrize(("seed", "offset", "length"), DRAWS)
def test_the_definition(seed: int, offset: int, length: int) -> None:
    found = kernel("random_bits")(seed, offset, length=length, index=0)
    assert found.dtype == np.uint32 and found.shape == (length,)
    assert found.tolist() == random.random_words(seed % 2**64, offset, length)


def test_a_large_draw_is_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCKS", 100)
    draws = []
    for count in (1, 2, 3):
        with config.override(num_threads=count):
            draws.append(kernel("random_bits")(11, 2**64 - 300, length=5003))
    assert (draws[0] == draws[1]).all() and (draws[0] == draws[2]).all()
    assert draws[0].tolist() == random.random_words(11, 2**64 - 300, 5003)


def test_small_draws_share_words_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    fill = shared.fill
    monkeypatch.setattr(shared, "fill", lambda xp, words, *a: made.append(len(words)) or fill(xp, words, *a))
    monkeypatch.setattr(module, "_made", -(1 << 40))  # numpy makes them
    draw = kernel("random_bits")
    offsets = [0, 4, 8, 9, 300, 2, 0, 2**64 - 1, 0]
    for offset in offsets:
        for length in (16, 3, 255):
            found = draw(21, offset, length=length)
            assert found.tolist() == random.random_words(21, offset, length)
            found[:] = 0  # nobody else's
    made.clear()
    for i in range(100):
        draw(22, i, length=4)
    assert made == [1, 256]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.3, 0.7)])
def test_uniform_numbers_are_those_of_the_steps(dtype: type, low: float, high: float) -> None:
    double = dtype is np.float64
    found = kernel("uniform_numbers", dt.float64 if double else dt.float32)(
        5, 6, low, high, shape=(3, 7), dtype=dt.float64 if double else dt.float32
    )
    words = random.random_words(5, 6, 42 if double else 21)
    steps = (
        [random.uniform_double(*words[2 * i : 2 * i + 2]) for i in range(21)]
        if double
        else [random.uniform(w) for w in words]
    )
    wanted = np.array(steps, dtype).reshape(3, 7)
    assert (found == (wanted * dtype(high - low) + dtype(low))).all() and found.dtype == dtype


# -- samplers ----------------------------------------------------------------------------------------
FLOATS = (dt.float16, dt.bfloat16, dt.float32, dt.float64)
WHOLE = tuple(d for d in dt.ALL if not d.is_complex)
SIZES = (0, 1, 2, 5, 31, 257, 1000, 40_003)
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


def _by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_made", -(1 << 40))


def _same(found: Any, wanted: Any) -> None:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == wanted.tobytes()


def _numpy(fill: Callable[..., None], n: int, dtype: Any, *args: Any) -> Any:
    out = np.empty(n, dtype.numpy)
    fill(out, *args)
    return out


@every_width
def test_machine_code_makes_the_words_of_the_definition(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    _by_numpy(monkeypatch)
    for seed, offset, length in DRAWS:
        found = native.words(target, np.empty(length, np.uint32), seed, offset)
        assert found.tolist() == random.random_words(seed % 2**64, offset, length)
    for n in SIZES:
        for limit in (0, 1 << 31, 2**32 - 1):
            wanted = _numpy(module._fill_mask, n, dt.bool_, 5, 2**64 - 7, limit)
            _same(native.mask(target, np.empty(n, bool), 5, 2**64 - 7, limit), wanted)


@every_width
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_machine_code_makes_the_numbers_of_numpy_to_the_bit(
    target: Target, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uniform and normal ones, whatever the size, the limits, the mean and the deviation."""
    _by_numpy(monkeypatch)
    for n in SIZES:
        for low, high in ((0.0, 1.0), (-0.3, 0.7), (2.0, 2.0), (-3.0, 1000.0)):
            args = (2**64 - 1, 2**32 - 9, low, high)
            found = native.uniform(target, np.empty(n, dtype.numpy), *args, dtype)
            _same(found, _numpy(module._fill_uniform, n, dtype, *args))
        for mean, std in ((0.0, 1.0), (-2.5, 0.3)):
            args = (7, 2**64 - 3, mean, std)
            found = native.normals(target, np.empty(n, dtype.numpy), *args, dtype)
            _same(found, _numpy(module._fill_normal, n, dtype, *args))


@every_width
@pytest.mark.parametrize("dtype", WHOLE, ids=lambda d: d.name)
def test_machine_code_makes_the_whole_numbers_of_numpy(
    target: Target, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _by_numpy(monkeypatch)
    for n in SIZES:
        for low, high in ((0, 10), (3, 4), (0, 100), (0, 2), (-(2**63), 2**63 - 1), (-7, 2**32 - 7), (0, 2**40)):
            if (low < 0 or high > 100) and dtype.category != dt.INTEGER:
                continue  # what a float rounds, casts are tested for
            found = native.integers(target, np.empty(n, dtype.numpy), 11, 5, low, high - low, dtype)
            _same(found, _numpy(module._fill_integers, n, dtype, 11, 5, low, high))


def test_whole_numbers_of_the_largest_span() -> None:
    found = kernel("integer_numbers", dt.uint64)(3, 4, 0, 2**64, shape=(2, 500), dtype=dt.uint64)
    words = random.random_words(3, 4, 2000)
    assert found.reshape(-1).tolist() == [random.uniform_int(*words[2 * i : 2 * i + 2], 2**64) for i in range(1000)]


def test_normal_numbers_have_small_errors_and_the_first_uniform_number_may_be_0() -> None:
    for dtype, most in ((np.float32, 1e-6), (np.float64, 2e-15)):
        rng = np.random.default_rng(0)
        u, v = (np.floor(rng.random(10_000) * 2**23) * 2.0**-23 for _ in range(2))
        u[:3] = 0, 2.0**-23, 1 - 2.0**-23
        found = normal.pairs(u.astype(dtype), v.astype(dtype))
        radius = np.sqrt(-2 * np.log(1 - u.astype(np.longdouble)))
        angle = v * (8 * np.arctan(np.longdouble(1)))
        for got, wanted in zip(found, (radius * np.cos(angle), radius * np.sin(angle)), strict=True):
            assert got.dtype == dtype and np.abs(got - wanted).max() < most


def test_coefficients_stand_in_two_places_and_are_the_same() -> None:
    for name in ("LOG", "LOG_SINGLE", "SIN", "SIN_SINGLE", "COS", "COS_SINGLE"):
        assert getattr(normal, name) == getattr(coefficients, name)


@pytest.mark.parametrize("name", ["uniform_numbers", "normal_numbers"])
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_a_draw_is_the_same_however_it_is_made(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ahead of small draws, by numpy, by machine code, over threads, and to given memory."""
    draw = kernel(name, dtype)
    monkeypatch.setattr(module, "_made", 1 << 40)
    with config.override(cpu_code="host"):
        whole = draw(9, 2**64 - 40, 0.0, 1.0, shape=(200_004,), dtype=dtype)
        with config.override(num_threads=3):
            _same(draw(9, 2**64 - 40, 0.0, 1.0, shape=(200_004,), dtype=dtype), whole)
        out = np.zeros((3, 4001), dtype.numpy)
        assert draw(9, 2**64 - 40, 0.0, 1.0, shape=out.shape, dtype=dtype, out=out) is out
        _same(out.reshape(-1), whole[: out.size])
    with config.override(cpu_code="none"):
        _same(draw(9, 2**64 - 40, 0.0, 1.0, shape=(200_004,), dtype=dtype), whole)
    _by_numpy(monkeypatch)
    per_block = 2 if dtype is dt.float64 else 4
    for block in range(0, 200, 2):  # small ones, each after the last
        found = draw(9, 2**64 - 40 + block, 0.0, 1.0, shape=(1, 5), dtype=dtype)
        _same(found[0], whole[block * per_block :][:5])
        found[:] = 0  # nobody else's


def test_the_compiler_starts_when_numpy_made_much(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(module, "active", lambda: asked.append(None))
    monkeypatch.setattr(module, "_made", 0)
    for i in range(1000):
        kernel("random_bits")(31, i, length=4)
    assert not asked
    kernel("random_bits")(32, 0, length=module._WORTH)
    assert asked


def test_draws_into_a_tensor() -> None:
    """To the memory where that is all there is to do; views, graphs and layouts as before."""
    for name, args in (("uniform_", (-1, 2)), ("normal_", (3, 0.5)), ("random_", (0, 100))):
        for shape in ((3,), (40, 50)):
            fb.manual_seed(5)
            wanted = getattr(fb.empty(*shape), name)(*args)
            assert wanted._version == 1
            fb.manual_seed(5)
            turned = fb.zeros(*shape[::-1]).T
            assert getattr(turned, name)(*args).tolist() == wanted.tolist()
            fb.manual_seed(5)
            tracked = fb.zeros(*shape, requires_grad=True) * 1
            assert getattr(tracked, name)(*args).tolist() == wanted.tolist() and tracked.grad_fn is not None
        base = fb.zeros(6)
        getattr(base[2:4], name)(*args)
        assert base[:2].tolist() == [0, 0] and base[4:].tolist() == [0, 0]


def test_permutations_are_the_order_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = kernel("permutation")
    for made in (-(1 << 40), 1 << 40):  # by numpy, by machine code
        monkeypatch.setattr(module, "_made", made)
        for n in (0, 1, 2, 100, 257, 3000):
            with config.override(cpu_code="host"):
                assert draw(7, 2**64 - 3, length=n).tolist() == random.permutation(7, 2**64 - 3, n)


@every_width
def test_keys_are_ordered_and_equal_ones_stay_as_they_were(target: Target) -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 7, 500, 40_000):
        pairs = rng.integers(0, 2**32, (n, 2), dtype=np.uint32)
        pairs[::3] = pairs[n // 2 : n // 2 + 1]
        keys = pairs[:, 0].astype(np.int64) << 32 | pairs[:, 1]
        assert (native.order(target, pairs) == np.argsort(keys, kind="stable")).all()


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_machine_code_for_other_processors(target: Target) -> None:
    for name, dtype, option in (("bits", dt.uint32, False), ("mask", dt.bool_, False), ("uniform", dt.float16, True),
                                ("normal", dt.float64, True), ("normal", dt.bfloat16, False),
                                ("integers", dt.int8, True)):  # fmt: skip
        job = native.write(target, native.kind(name, dtype, option))
        assert compiler_for(target).compile(job.module.text())
    assert compiler_for(target).compile(native.write_order(target).module.text())
