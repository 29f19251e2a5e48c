"""Products in machine code, at every width that this machine runs, against float64.

The bound on errors is that of a sum in any order: the number of terms times the rounding of one, times the sum of the
sizes (Higham, "Accuracy and Stability of Numerical Algorithms", 3.1).
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.backends.cpu.native import few, gemm, matmul
from flambeau.backends.cpu.native.matmul import product
from flambeau.backends.cpu.native.micro import tile
from flambeau.backends.cpu.native.pack import NUMBERS
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import kernel

Array = Any
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)

#: Shapes (n, k, m) at the edges of tiles, panels, strips, blocks of terms and chunks.
SHAPES = [
    (1, 1, 1), (3, 7, 5), (8, 16, 48), (9, 17, 49), (17, 65, 33), (48, 40, 1), (1, 40, 48), (2, 70, 600), (5, 90, 513),
    (12, 514, 50), (25, 900, 96), (400, 20, 31), (33, 12, 500), (10, 1030, 9),
]  # fmt: skip


def numbers(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype.numpy)


def laid(x: Array, layout: str) -> Array:
    """The values of a matrix, or of a batch, in a layout."""
    *batch, rows, columns = x.shape
    if layout == "turned":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "part":
        wide = np.full((*batch, rows + 2, columns + 3), np.nan, x.dtype)
        wide[..., 1:-1, 2:-1] = x
        return wide[..., 1:-1, 2:-1]
    if layout == "turned part":
        return laid(x.swapaxes(-1, -2), "part").swapaxes(-1, -2)
    if layout == "reversed":
        return np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :]
    if layout == "gapped":
        wide = np.full((*batch, rows, 2 * columns), np.nan, x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    assert layout == "dense"
    return x


LAYOUTS = ["dense", "turned", "part", "turned part", "reversed", "gapped"]


def check(found: Array | None, x: Array, y: Array, bias: Array | None = None) -> None:
    """Near enough to the product in float64; nan and inf where numpy has them."""
    assert found is not None and found.dtype == x.dtype
    wide = [np.asarray(v, np.float64) for v in (x, y, 0 if bias is None else bias)]
    with np.errstate(all="ignore"):
        wanted = wide[0] @ wide[1] + wide[2]
        sizes = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
    computed = np.finfo(np.float64 if x.dtype == np.float64 else np.float32).eps
    rounded = {dt.float16.numpy: 2.0**-11, dt.bfloat16.numpy: 2.0**-8}.get(x.dtype, 0.0)
    assert found.shape == wanted.shape
    bound = (x.shape[-1] + 2) * computed * sizes + rounded * np.abs(wanted) + (6e-8 if rounded else 0)
    special = ~np.isfinite(wanted)
    np.testing.assert_array_equal(np.asarray(found, np.float64)[special], wanted[special])
    error = np.abs(np.asarray(found, np.float64) - wanted)[~special]
    assert (error <= bound[~special]).all()


def able(target: Target, dtype: DType) -> None:
    if dtype is dt.float16 and not target.half:
        pytest.skip("this width has no instruction for float16")


# -- values ------------------------------------------------------------------------------------------
@every_width
@every_dtype
def test_shapes_at_the_edges(target: Target, dtype: DType) -> None:
    able(target, dtype)
    layouts = itertools.cycle(itertools.product(LAYOUTS, repeat=2))
    for n, k, m in SHAPES:
        x, y, bias = numbers((n, k), dtype, 1), numbers((k, m), dtype, 2), numbers((m,), dtype, 3)
        for left, right in itertools.islice(layouts, 5):
            check(product(laid(x, left), laid(y, right), target=target), x, y)
            check(product(laid(x, left), laid(y, right), bias, target=target), x, y, bias)


sizes = st.integers(1, 130)


BATCHES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()), ((), ()), ((3,), (3,)), ((2, 3), ()), ((), (2,)), ((3, 1), (1, 2)), ((2, 3), (3,)), ((2, 1), (2, 3)),
]  # fmt: skip


@given(
    sizes, sizes, sizes, st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.sampled_from(dt.FLOATS),
    st.sampled_from(runnable()), st.sampled_from(BATCHES), st.booleans(),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_any_shape_and_layout(
    n: int, k: int, m: int, left: str, right: str, dtype: DType, target: Target,
    batches: tuple[tuple[int, ...], tuple[int, ...]], shifted: bool,
) -> None:  # fmt: skip
    if dtype is dt.float16 and not target.half:
        return
    x, y = numbers((*batches[0], n, k), dtype, 1), numbers((*batches[1], k, m), dtype, 2)
    bias = numbers((2 * m,), dtype, 3)[::2] if shifted else None
    check(product(laid(x, left), laid(y, right), bias, target=target), x, y, bias)


@every_width
def test_expanded_batches_are_read_where_they_lie(target: Target) -> None:
    row, y = numbers((2, 1, 9, 20), dt.float32), numbers((1, 3, 20, 33), dt.float32)
    x = np.broadcast_to(row, (2, 3, 9, 20))
    check(product(x, y, target=target), x, y)
    same_row = np.broadcast_to(numbers((1, 20), dt.float32), (9, 20))
    check(product(same_row, y[0], target=target), same_row, y[0])
    one = np.broadcast_to(np.float32(2), (9, 20))
    check(product(one, y[0], target=target), one, y[0])


@every_width
def test_many_small_products_of_a_batch(target: Target) -> None:
    for shape in ((2000, 5, 6, 7), (300, 1, 16, 9), (7, 40, 64, 64)):
        x, y = numbers(shape[:-1], dt.float32, 1), numbers((shape[0], *shape[2:]), dt.float32, 2)
        check(product(x, y, target=target), x, y)


@every_width
@every_dtype
@pytest.mark.parametrize("n", [1, 4, 60])
def test_nan_and_infinity_go_where_they_must(target: Target, dtype: DType, n: int) -> None:
    able(target, dtype)
    x, y = np.ones((n, 33), dtype.numpy), np.ones((33, 50), dtype.numpy)
    x[0, 32] = 0
    y[32, 49], y[5, 0], y[7, 3], y[8, 3] = np.nan, np.inf, np.inf, -np.inf
    y[32, 20] = np.inf
    for left, right in itertools.product(("dense", "turned"), repeat=2):
        found = product(laid(x, left), laid(y, right), target=target)
        check(found, x, y)
        assert found is not None and np.isnan(found[0, 20]) and np.isnan(found[0, 49]) and np.isposinf(found[-1, 0])


@every_width
@pytest.mark.parametrize("dtype", dt.LOW_PRECISION, ids=lambda d: d.name)
def test_sixteen_bits_are_rounded_once(target: Target, dtype: DType) -> None:
    """Blocks of terms that cancel, of which the sum in 16 bits would be nothing."""
    able(target, dtype)
    for n in (1, 20):
        x = np.ones((n, 1200), dtype.numpy)
        x[:, 600:] = -1
        x[:, -1] = -1 + 2.0**-7
        y = np.ones((1200, 33), dtype.numpy)
        found = product(x, y, target=target)
        assert found is not None and (found == np.asarray(2.0**-7, dtype.numpy)).all()


@every_width
def test_the_epilogue_sees_finished_sums(target: Target) -> None:
    for n, right in itertools.product((1, 2, 30), ("dense", "turned")):
        x, y, bias = numbers((n, 700), dt.float32, 1), numbers((700, 50), dt.float32, 2), numbers((50,), dt.float32)
        plain = product(x, laid(y, right), bias, target=target)
        found = product(x, laid(y, right), bias, epilogue=relu, target=target)
        np.testing.assert_array_equal(found, np.maximum(plain, 0))


def relu(f: Function, x: Value) -> Value:
    return f.select(x < 0, 0.0, x)


def test_the_same_bits_at_every_width_that_multiplies_and_adds_at_once() -> None:
    for n, k, m in SHAPES:
        x, y = numbers((n, k), dt.float32, 1), numbers((k, m), dt.float32, 2)
        for right in ("dense", "turned"):
            found = [product(x, laid(y, right), target=t) for t in runnable() if t.fma]
            assert all(np.array_equal(found[0], other) for other in found)


# -- threads -----------------------------------------------------------------------------------------
@every_width
def test_any_threads_in_any_order_make_the_same_bits(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks from last to first, by three threads that each have a number and thus a workspace."""
    cases = [
        (numbers(x, dtype, 1), numbers(y, dtype, 2))
        for dtype in (dt.float32, dt.bfloat16)
        for x, y in (((800, 530), (530, 400)), ((2, 1000), (1000, 3000)), ((90, 30, 40), (90, 40, 50)))
    ]
    cases += [(laid(x, "turned"), laid(y, "turned")) for x, y in cases]
    with config.override(num_threads=1):
        alone = [product(x, y, target=target) for x, y in cases]
    with config.override(num_threads=2):
        for (x, y), wanted in zip(cases, alone, strict=True):
            np.testing.assert_array_equal(product(x, y, target=target), wanted)
    done: dict[int, int] = {}

    def spread(self: Job, chunks: int, *values: int | float, most: int = 1) -> None:
        packed = self.pack(*values)
        call = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64)(self.address)

        def some(thread: int) -> None:
            for chunk in range(chunks - 1 - thread, -1, -3):
                call(packed, chunk, thread if chunks > 1 else 0)
                done[thread] = done.get(thread, 0) + 1

        workers = [threading.Thread(target=some, args=(t,)) for t in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    monkeypatch.setattr(Job, "__call__", spread)
    with config.override(num_threads=3):
        for (x, y), wanted in zip(cases, alone, strict=True):
            np.testing.assert_array_equal(product(x, y, target=target), wanted)
    assert len(done) == 3


def test_calls_of_several_threads_have_their_own_memory() -> None:
    shapes = [(60, 300, 200), (200, 70, 90), (30, 600, 100), (100, 100, 100)] * 4
    cases = [(numbers((n, k), dt.float32, 1), numbers((k, m), dt.float32, 2)) for n, k, m in shapes]
    wanted = [product(x, y, target=host()) for x, y in cases]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, right in zip(pool.map(lambda v: product(*v, target=host()), cases), wanted, strict=True):
                np.testing.assert_array_equal(found, right)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.booleans(),
    st.booleans(), st.sampled_from([*runnable(), *ELSEWHERE]), st.sampled_from(sorted(NUMBERS)),
)  # fmt: skip
def test_no_cut_leaves_the_workspace(
    n: int, m: int, k: int, batch: int, turned: bool, row_major: bool, target: Target, name: str
) -> None:
    shape, low = tile(target, NUMBERS[name]), NUMBERS[name].is_low
    plan = gemm.plan(shape, low, n, m, k, batch, turned, row_major)
    panels = -(-plan.columns // shape.width) * shape.width
    assert panels * plan.terms + shape.lanes * shape.width <= gemm._BLOCK
    strip = -(-64 // NUMBERS[name].memory.bytes // shape.rows) * shape.rows
    assert strip * plan.terms + shape.lanes * shape.rows <= gemm._STRIP
    if low:
        assert min(plan.rows, n) * min(plan.columns, m) <= gemm._SUMS
    parts = -(-n // plan.rows) * -(-m // plan.columns)
    assert plan.batch == 1 or parts == 1
    assert plan.chunks == -(-batch // plan.batch) * parts


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("row_major", [False, True])
@pytest.mark.parametrize(
    "n, m, k", [(256, 256, 256), (512, 512, 512), (768, 128, 768), (128, 512, 768), (1024, 1024, 64)]
)
def test_two_threads_have_about_as_much_to_do(n: int, m: int, k: int, turned: bool, row_major: bool) -> None:
    shape = tile(runnable()[0], NUMBERS["float32"])
    plan = gemm.plan(shape, False, n, m, k, 1, turned, row_major)
    rows, columns = (
        [min(step, size - i) for i in range(0, size, step)] for step, size in ((plan.rows, n), (plan.columns, m))
    )
    done = [0, 0]
    for chunk in (r * c for c in columns for r in rows):  # each is taken by who is ready first
        done[done.index(min(done))] += chunk
    assert sum(done) == n * m
    assert max(done) <= 0.57 * n * m


# -- memory ------------------------------------------------------------------------------------------
@contextmanager
def pages(x: Array, end: bool) -> Iterator[Array]:
    """``x`` with its strides between pages that may not be touched: its last byte, or its first, at their edge."""
    span = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True)) + x.itemsize
    page = mmap.PAGESIZE
    room = -(-span // page) * page
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    length = ctypes.c_size_t(room + 2 * page)
    start = libc.mmap(None, length, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, ctypes.c_long(0))
    for edge in (start, start + page + room):
        assert libc.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(page), 0) == 0
    raw = (ctypes.c_char * room).from_address(start + page)
    view = np.ndarray(x.shape, x.dtype, raw, room - span if end else 0, x.strides)
    view[...] = x
    try:
        yield view
    finally:
        libc.munmap(ctypes.c_void_p(start), length)


@every_width
@every_dtype
@pytest.mark.parametrize("end", [True, False], ids=["end", "start"])
def test_no_byte_beside_an_operand_is_touched(target: Target, dtype: DType, end: bool) -> None:
    able(target, dtype)
    shapes = [(1, 37, 21), (3, 37, 601), (9, 17, 49), (23, 530, 50), (5, 3, 2), (40, 7, 15)]
    for (n, k, m), left, right in itertools.product(shapes, ("dense", "turned"), ("dense", "turned", "part")):
        x, y = laid(numbers((n, k), dtype, 1), left), laid(numbers((k, m), dtype, 2), right)
        bias, out = numbers((m,), dtype, 3), np.zeros((n, m), dtype.numpy)
        with pages(x, end) as a, pages(y, end) as b, pages(bias, end) as c, pages(out, end) as d:
            check(product(a, b, c, out=d, target=target), x, y, bias)


@every_width
@every_dtype
def test_results_stand_in_part_of_an_array(target: Target, dtype: DType) -> None:
    able(target, dtype)
    for n, k, m in ((9, 530, 50), (1, 30, 20), (3, 30, 700), (20, 30, 1)):
        x, y = numbers((2, n, k), dtype, 1), numbers((2, k, m), dtype, 2)
        room = np.full((2, n + 2, m + 3), 7, dtype.numpy)
        out = room[:, 1:-1, 2:-1] if m > 1 else room.reshape(2, m + 3, n + 2)[:, 1, 1:-1][..., None]
        assert product(x, y, out=out, target=target) is out
        check(out, x, y)
        assert (np.asarray(room, np.float64) == 7).sum() >= room.size - out.size


def test_steps_of_four_gigabytes() -> None:
    """Offsets beyond 32 bits: rows far apart in memory of which a few pages are there."""
    step = (1 << 31) + 64
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    with mmap.mmap(-1, 2 * step + (1 << 16), flags=flags) as room:
        x = np.ndarray((2, 10), np.float32, room, 0, (step, 4))
        x[...] = numbers((2, 10), dt.float32)
        y = numbers((10, 30), dt.float32)
        check(product(x, y, target=host()), np.array(x), y)
        check(product(np.ascontiguousarray(y.T), x.T, target=host()), y.T, np.array(x.T))
        batch = np.ndarray((2, 1, 10), np.float32, room, 0, (step, step, 4))
        check(product(batch, y, target=host()), np.array(batch), y)
        del x, batch


# -- what is left to numpy ---------------------------------------------------------------------------
def test_what_is_not_served_is_none() -> None:
    x, y = numbers((20, 30), dt.float32), numbers((30, 40), dt.float32)
    t = host()
    assert product(x[:0], y, target=t) is product(x[:, :0], y[:0], target=t) is product(x, y[:, :0], target=t) is None
    assert product(np.zeros((0, 2, 3), "f4"), np.zeros((3, 2), "f4"), target=t) is None
    assert product(x, y.astype("f8"), target=t) is product(x.astype(">f4"), y.astype(">f4"), target=t) is None
    assert (
        product(x.astype("i4"), y.astype("i4"), target=t) is product(x.astype("c8"), y.astype("c8"), target=t) is None
    )
    skewed = np.ndarray((20, 30), np.float32, np.zeros(4 * 601, np.uint8), 1)
    assert product(skewed, y, target=t) is product(x, y, np.zeros(40), target=t) is None
    assert product(x, y, numbers((41,), dt.float32), target=t) is None


def test_a_result_that_cannot_be_written_is_none() -> None:
    t = host()
    x, y = numbers((20, 30), dt.float32), numbers((30, 40), dt.float32)
    fixed = np.zeros((20, 40), "f4")
    fixed.flags.writeable = False
    within = np.zeros(1200, "f4")
    operand = within[:600].reshape(20, 30)
    wrong = [
        fixed, np.zeros((20, 41), "f4"), np.zeros((20, 40)), np.zeros((40, 20), "f4").T, np.zeros((20, 40), "f4")[::-1],
        np.lib.stride_tricks.as_strided(np.zeros(60, "f4"), (20, 40), (4, 4)), np.zeros((20, 80), "f4")[:, ::2],
    ]  # fmt: skip
    for out in wrong:
        assert product(x, y, out=out, target=t) is None and not out.any()
    assert product(operand, y, out=within[400:].reshape(20, 40), target=t) is None
    uneven = np.zeros((2, 3, 20, 80), "f4")[:, :2, :, :40]
    assert product(np.stack([[x, x]] * 2), y, out=uneven, target=t) is None and not uneven.any()


def test_small_products_load_no_compiler() -> None:
    program = """if True:
        import sys
        import flambeau as fb
        from flambeau.core import config
        config.set(cpu_code="host")
        x = fb.ones(60, 60)
        (x @ x).sum()
        fb.nn.functional.linear(x, x, x[0])
        fb.ones(9, 20, 20) @ fb.ones(20, 20)
        assert not [name for name in sys.modules if name.startswith(("llvmlite", "flambeau.backends.llvm"))]
        """
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("there", [True, False], ids=["native", "numpy"])
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("matmul", [(130, 140), (140, 150)]), ("matmul", [(40, 70, 60), (60, 90)]),
        ("matmul", [(9, 90, 90), (9, 90, 90)]), ("matmul", [(2, 1024), (1024, 1024)]),
        ("linear", [(64, 300), (200, 300), (200,)]),
        ("linear", [(2, 40, 300), (200, 300), (200,)]), ("linear", [(3, 1024), (1024, 1024), (1024,)]),
    ],
)  # fmt: skip
@every_dtype
def test_kernels_with_and_without_machine_code(
    name: str, shapes: list[tuple[int, ...]], dtype: DType, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[bool] = []

    def counted(*operands: Any) -> Any:
        found = product(*operands)
        called.append(found is not None)
        return found

    monkeypatch.setattr(matmul, "product", counted)
    x, y, *bias = [numbers(s, dtype, i) for i, s in enumerate(shapes)]
    with config.override(cpu_code="host" if there else "none"):
        found = kernel(name, dtype)(x, y, *bias)
    assert any(called) == there
    check(found, x, y if name == "matmul" else y.T, *bias)


@pytest.mark.parametrize("shape", [(40, 70_000, 30), (2, 140_000, 40)])
def test_long_sums_are_made_in_parts(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    x, y = (numbers(s, dt.float32, i) % 0.2 + 0.9 for i, s in enumerate(((n, k), (k, m))))
    wanted = x.astype("f8") @ y.astype("f8")
    with config.override(cpu_code="host"):
        for left, right in itertools.product(("dense", "turned"), repeat=2):
            found = kernel("matmul", dt.float32)(laid(x, left), laid(y, right))
            np.testing.assert_allclose(found, wanted, 40 * np.finfo("f4").eps)


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_they_compile_elsewhere(target: Target) -> None:
    for name, define in (("float32", gemm.define), ("bfloat16", few_rows), ("float16", few_columns)):
        module = Module(target)
        define(module, name)
        assert len(Compiler(target).compile(module.text())) > 1000


def few_rows(module: Module, name: str) -> None:
    few.define(module, name, False)


def few_columns(module: Module, name: str) -> None:
    few.define(module, name, True)
