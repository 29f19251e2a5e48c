"""Interpolation, adaptive means and grid_sample as machine code against what they are composed of, at every width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
import flambeau.nn.functional as F
from flambeau.backends.cpu.native import grid, resample
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.core import config
from flambeau.core.ops.nn.grid import grid_sample_p
from flambeau.core.ops.nn.resample import resample_p
from flambeau.core.ops.nn.rules import served
from tests.backends.cpu.composed import agree, computed, floats

Array = Any
Case = tuple[Callable[..., Any], list[Array], tuple[int, ...]]

every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
MODES = {1: ("nearest", "linear"), 2: ("nearest-exact", "bilinear", "bicubic"), 3: ("nearest", "trilinear")}


def _resampled() -> Iterator[Case]:
    for shape, size in (
        ((3, 7, 211), (97,)), ((3, 5, 300), (401,)), ((2, 3, 30, 27), (41, 60)), ((2, 4, 30, 37), (17, 5)),
        ((2, 3, 9, 13, 14), (12, 9, 20)), ((70, 64, 1, 1), (1, 3)),
    ):  # fmt: skip
        x, n = floats(*shape), len(size)
        for mode in MODES[n]:
            yield lambda x, m=mode, s=size: F.interpolate(x, s, mode=m), [x], (0,)
        yield lambda x, m=mode, s=size: F.interpolate(x, s, mode=m, align_corners=True), [x], (0,)
        yield lambda x, m=mode: F.interpolate(x, scale_factor=1.3, mode=m), [x], (0,)
        if n == 2:
            yield lambda x, s=size: F.interpolate(x, s, mode="bilinear", antialias=True), [x], (0,)
        yield lambda x, s=size: F.interpolate(x, s, mode="area"), [x], (0,)
    yield lambda x: F.adaptive_avg_pool2d(x, (7, 5)), [floats(4, 5, 32, 33)], (0,)


def _sampled() -> Iterator[Case]:
    for shape, place in (
        ((3, 5, 20, 17), (3, 23, 21, 2)),
        ((2, 3, 6, 7, 8), (2, 9, 10, 11, 3)),
        ((2, 3, 1, 1), (2, 33, 21, 2)),
    ):
        x, where = floats(*shape), floats(*place, low=-1.6, high=1.6)
        for mode in ("bilinear", "nearest"):
            for padding in ("zeros", "border", "reflection"):
                for corner in (True, False):
                    options: Any = dict(mode=mode, padding_mode=padding, align_corners=corner)
                    yield lambda x, g, o=options: F.grid_sample(x, g, **o), [x, where], (0, 1)


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {"resampled": _resampled, "sampled": _sampled}


@every_width
@every_dtype
@pytest.mark.parametrize("family", FAMILIES)
def test_they_give_what_they_are_composed_of(family: str, dtype: str, target: Target) -> None:
    cases = list(FAMILIES[family]())
    for fn, ins, wanted in cases if target.name == "host" else cases[::5]:  # a kernel each is compiled
        agree(fn, ins, wanted, dtype, target.name)


def test_they_are_one_op_where_there_is_machine_code_and_enough_to_do() -> None:
    ops: Any = (resample_p, grid_sample_p)
    for op in ops:
        for code, dtype, there in (("host", fb.float32, True), ("none", fb.float32, False), ("host", fb.int64, False)):
            with config.override(cpu_code=code):
                assert served(op, fb.zeros(100, 100, dtype=dtype)) is there
        with config.override(cpu_code="host"):
            assert not served(op, fb.zeros(2, 2))


def test_operands_lie_in_memory_as_they_like() -> None:
    x, where = floats(6, 5, 20, 30), floats(6, 11, 12, 2, low=-1, high=1)
    for turned in (
        x.transpose(0, 1, 3, 2).copy().swapaxes(2, 3),
        x[::-1],
        x.repeat(2, 3)[..., ::2],
        np.broadcast_to(x[:1], x.shape),
    ):
        dense = np.ascontiguousarray(turned)
        for fn in (lambda x, g: F.interpolate(x, (30, 20), mode="bilinear"), lambda x, g: F.grid_sample(x, g)):
            exact = computed(fn, [dense, where], (), "float64", "none")[0]
            with config.override(cpu_code="host"):
                found = fn(fb.from_numpy(turned.astype("f4", "K")), fb.tensor(where.astype("f4")))
            np.testing.assert_allclose(found.numpy(), exact, 0, 1e-4)


def test_an_infinity_stays_where_it_counts() -> None:
    x = floats(4, 5, 30, 30)
    x[0, 0, 3, 4], x[1, 1, 29, 29], x[2, 2, 0, 0] = np.inf, np.nan, -np.inf
    agree(lambda x: F.interpolate(x, (44, 50), mode="bilinear"), [x], (0,), "float32", "host")
    agree(lambda x: F.adaptive_avg_pool2d(x, 7), [x], (0,), "float32", "host")


def test_nearest_copies_bit_by_bit() -> None:
    x = floats(4, 5, 30, 30)
    x[0, 0, 0] = -0.0
    with config.override(cpu_code="host"):
        found = F.interpolate(fb.tensor(x.astype("f4")), scale_factor=2).numpy()
    assert found.tobytes() == x.astype("f4").repeat(2, 2).repeat(2, 3).tobytes()


def test_positions_far_outside_and_of_nan_touch_no_foreign_memory() -> None:
    x, where = floats(2, 3, 20, 17), floats(2, 40, 21, 2, low=-1, high=1)
    where[0, ::3], where[0, 1::3], where[1, ::2, :, 0] = 1e30, -3e38, np.inf
    where[1, 1, 1] = np.nan
    for mode in ("bilinear", "nearest"):
        for padding in ("zeros", "border", "reflection"):
            with config.override(cpu_code="host"):
                tensors = [fb.tensor(v.astype("f4")).requires_grad_() for v in (x, where)]
                F.grid_sample(*tensors, mode, padding, False).sum().backward()
                assert tensors[0].grad.shape == x.shape


@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_threads_is_no_part_of_the_result(family: str) -> None:
    for fn, ins, wanted in list(FAMILIES[family]())[::3]:
        found = []
        for count in (1, 3):
            with config.override(num_threads=count):
                found.append([v.tobytes() for v in computed(fn, ins, wanted, "float32", "host")])
        assert found[0] == found[1]


def test_a_second_derivative() -> None:
    x, where = floats(2, 3, 20, 17), floats(2, 40, 21, 2, low=-0.9, high=0.9)

    def twice(x: Any, g: Any) -> Any:
        of_x, of_grid = fb.autograd.grad(
            F.grid_sample(x, g, align_corners=True).square().sum(), (x, g), create_graph=True
        )
        return of_x.square().sum() + of_grid.square().sum()

    agree(twice, [x, where], (0, 1), "float64", "host")


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def compiled(*fs: Any) -> list[Any]:
        return [made.append(Compiler(target).compile(fs[0].module.text()))]

    for module in (resample, grid):
        monkeypatch.setattr(module, "jobs", compiled)
    resample.resampled.__wrapped__(target, "float32")
    grid.forward.__wrapped__(target, grid.Kind("float32", 2, "bilinear", "reflection", False))
    grid.backward.__wrapped__(target, grid.Kind("float64", 3, "nearest", "border", True))
    assert len(made) == 3
