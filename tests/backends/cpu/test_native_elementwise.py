"""Elementwise kernels in machine code against numpy's: every record, dtype, layout, size and register width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.cpu.native import elementwise as native
from flambeau.backends.cpu.native import walk
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.calls import CHUNK
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.core import config, keys
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, parse
from flambeau.core.expr.arrays import to_numpy
from flambeau.core.record import ELEMENTWISE, OPS, Op
from flambeau.core.special import EXPRESSIONS as SPECIAL_FUNCTIONS
from tests.backends.cpu.arrays import BACKEND, close, kernel, layouts, same, values


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


_COMPUTED = tuple(d for d in dt.ALL if not d.is_complex)
#: What is exact whatever computes it; of other functions some units in the last place may differ.
_EXACT = frozenset({
    "add", "sub", "mul", "div", "neg", "abs", "sqrt", "square", "floor", "ceil", "trunc", "positive", "maximum",
    "minimum", "fmax", "fmin", "reciprocal", "copysign", "relu", "clamp", "clamp_min", "clamp_max", "hardtanh",
    "threshold", "fmod", "nextafter", "sign", "round_half_even", "where", "leaky_relu",
})  # fmt: skip
_DIVISIONS = frozenset({"idiv", "floor_divide", "fmod", "remainder"})

TARGETS = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


def _operands(op: Op, dtype: DType) -> tuple[DType, ...]:
    kinds = {"bool": dt.bool_, "index": dt.int64}
    return tuple(kinds.get(op.kind_of(a), dtype) for a in op.schema.operands)


def _refuse(*ins: Any, out: Any = None) -> Any:
    raise AssertionError("not served")


def _kernel(op: Op, dtype: DType) -> native.Elementwise:
    made = keys.expression(op, dtype)
    return native.of_expression(lambda: made, _operands(op, dtype), op.dtype.out(0, dtype, {}), _refuse)


def _served() -> Iterator[tuple[str, DType]]:
    for name, op in OPS.items():
        if op.family is ELEMENTWISE and op.expr is not None:
            for dtype in _COMPUTED:
                if op.accepts(dtype) and _kernel(op, dtype).program is not None:
                    yield name, dtype


SERVED = list(_served())


def _of(source: str, dtypes: tuple[DType, ...], result: DType, fallback: Any = _refuse) -> native.Elementwise:
    operands = ("x", "y", "z")[: len(dtypes)]
    return native.of_expression(lambda: parse(source, operands), dtypes, result, fallback)


def _numpy(source: str, dtypes: tuple[DType, ...], result: DType) -> Any:
    return to_numpy(parse(source, ("x", "y", "z")[: len(dtypes)]), "reference", dtypes, result)


def _some(dtypes: tuple[DType, ...], count: int) -> list[Any]:
    """Operands of ordinary values, the first ones special."""
    found = []
    for i, dtype in enumerate(dtypes):
        x = values((count,), dtype, i)
        if dtype.is_floating_point:
            special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1e-30, 60000.0, -60000.0]
            x[: len(special)] = np.roll(np.array(special), 3 * i).astype(dtype.numpy)
        elif dtype.category == dt.INTEGER:
            limits = dt.iinfo(dtype)
            x[:8] = np.roll(
                np.array([limits.min, limits.max, 0, 1, 2, 7, limits.max - 1, limits.min + 1], dtype.numpy), i
            )
        found.append(x)
    return found


def test_most_records_are_served() -> None:
    names = {name for name, _ in SERVED}
    assert len(SERVED) >= 800
    assert {"add", "exp", "log", "gelu", "gelu_grad", "silu", "clamp", "where", "tanh", "erf", "sigmoid"} <= names


@pytest.mark.parametrize("name", sorted({name for name, _ in SERVED}))
def test_records_in_every_dtype(name: str) -> None:
    """Values, special ones too: integers, conditions and arithmetic to the bit."""
    op = OPS[name]
    for dtype in [d for n, d in SERVED if n == name]:
        if name == "nextafter" and dtype in dt.LOW_PRECISION:
            continue  # its expression takes the steps of float32, and the table does not use it
        operands, result = _operands(op, dtype), op.dtype.out(0, dtype, {})
        ins = _some(operands, 1037)
        with np.errstate(all="ignore"):
            found = _kernel(op, dtype)(*ins)
            entry = BACKEND.kernels.own(name, dtype)  # numpy's, for so few elements; it refuses divisors of 0
            if entry is None or name == "remainder" or (name in _DIVISIONS and dtype.category == dt.INTEGER):
                expected = to_numpy(keys.expression(op, dtype), name, operands, result)(*ins)
            else:
                expected = np.asarray(entry.fn(*ins))
        assert found.dtype == expected.dtype
        if name in _EXACT or not result.is_floating_point:
            same(found, expected)
        else:
            digits = {dt.float16: 1e-3, dt.bfloat16: 8e-3, dt.float32: 3e-6, dt.float64: 1e-13}[dtype]
            close(found, expected, digits, digits)


SAMPLE = [
    ("x + y", (dt.float32, dt.float32), dt.float32),
    ("x * y + 1", (dt.bfloat16, dt.bfloat16), dt.bfloat16),
    ("x - y", (dt.float16, dt.float16), dt.float16),
    ("x // y", (dt.int32, dt.int32), dt.int32),
    ("x < y", (dt.float64, dt.float64), dt.bool_),
    ("(x < 0) & y", (dt.int8, dt.bool_), dt.bool_),
    ("where(x, y, z)", (dt.bool_, dt.float32, dt.float32), dt.float32),
    ("maximum(x, 0)", (dt.float32,), dt.float32),
]


@pytest.mark.parametrize(("source", "dtypes", "result"), SAMPLE, ids=lambda v: v if isinstance(v, str) else "")
def test_layouts(source: str, dtypes: tuple[DType, ...], result: DType) -> None:
    kernel, reference = _of(source, dtypes, result), _numpy(source, dtypes, result)
    shapes = [
        (),
        (0,),
        (3, 0, 2),
        (1,),
        (7,),
        (5, 3),
        (3, 4, 5),
        (2, 3, 4, 5),
        (9, 300),
        (300, 2),
        (70, 131),
        (130, 50, 3),
    ]
    for shape in shapes:
        ins = [np.asarray(values(shape, d, i, 1, 5)) for i, d in enumerate(dtypes)]
        every = [list(layouts(x)) for x in ins]
        for i in range(max(map(len, every))):
            for turn in (0, 1):
                arranged = [several[(i + turn * k) % len(several)] for k, several in enumerate(every)]
                same(kernel(*arranged), reference(*arranged))
                for out in layouts(np.zeros(shape, result.numpy)):
                    assert kernel(*arranged, out=out) is out
                    same(out, reference(*arranged))


@pytest.mark.parametrize(("source", "dtypes", "result"), SAMPLE, ids=lambda v: v if isinstance(v, str) else "")
def test_broadcasting(source: str, dtypes: tuple[DType, ...], result: DType) -> None:
    kernel, reference = _of(source, dtypes, result), _numpy(source, dtypes, result)
    full = (6, 5, 70)
    for shape in [(), (1,), (70,), (5, 1), (6, 1, 70), (6, 1, 1), (1, 5, 70)]:
        for k in range(len(dtypes)):
            shapes = [shape if i == k else full for i in range(len(dtypes))]
            ins = [np.asarray(values(s, d, i, 1, 5)) for i, (s, d) in enumerate(zip(shapes, dtypes, strict=True))]
            same(kernel(*ins), reference(*ins))
            ins[k] = np.broadcast_to(ins[k], full)
            same(kernel(*ins), reference(*ins))


@TARGETS
@pytest.mark.parametrize(("source", "dtypes", "result"), SAMPLE, ids=lambda v: v if isinstance(v, str) else "")
def test_sizes_at_every_width(
    source: str, dtypes: tuple[DType, ...], result: DType, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around vectors, blocks and chunks; with steps of the inner loop left over, from an odd place on."""
    monkeypatch.setattr(native, "active", lambda: target)
    kernel, reference = _of(source, dtypes, result), _numpy(source, dtypes, result)
    sizes = {s + d for s in (8, 16, 64, 256, walk.BLOCK, 2 * walk.BLOCK, native.CHUNK) for d in (-1, 0, 1)}
    ins = [values((max(sizes) + 3,), d, i, 1, 5) for i, d in enumerate(dtypes)]
    expected = reference(*ins)
    for n in sorted(sizes):
        same(kernel(*[x[3 : 3 + n] for x in ins]), expected[3 : 3 + n])
        same(kernel(*[x[n + 2 : 2 : -1] for x in ins]), expected[n + 2 : 2 : -1])


@TARGETS
def test_functions_at_every_width(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "active", lambda: target)
    for name in ("exp", "gelu", "gelu_grad", "tanh", "softplus", "pow", "remainder", "frac", "lerp"):
        integers = (dt.int16, dt.uint32, dt.int64) if name in ("pow", "remainder") else ()
        for dtype in (dt.float16, dt.bfloat16, dt.float32, *integers):
            test_one(name, dtype)


def test_one(name: str = "gelu", dtype: DType = dt.float32) -> None:
    """A record near its expression in numpy."""
    op = OPS[name]
    ins = [values((333,), d, i, 0, 3) for i, d in enumerate(_operands(op, dtype))]
    if dtype.category == dt.INTEGER:
        ins = [x + 1 for x in ins]
    expected = to_numpy(keys.expression(op, dtype), name, _operands(op, dtype), op.dtype.out(0, dtype, {}))(*ins)
    digits = {dt.float16: 1e-3, dt.bfloat16: 8e-3, dt.float32: 3e-6}.get(dtype, 0)
    close(_kernel(op, dtype)(*ins), expected, digits, digits)


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_integers_are_defined_for_every_operand(dtype: DType) -> None:
    """Division by 0, the least number over -1, and shifts by any count."""
    limits = dt.iinfo(dtype)
    edge = [limits.min, limits.min + 1, limits.max, limits.max // 2, 0, 1, 2, 3, 7, dtype.bits - 1, dtype.bits]
    if dtype.is_signed:
        edge += [-1, -2, -7, -dtype.bits]
    x, y = (np.array(v, dtype.numpy).ravel() for v in np.meshgrid(np.array(edge, object), np.array(edge, object)))
    for source in (
        "x // y",
        "x % y",
        "fmod(x, y)",
        "x << y",
        "x >> y",
        "x ** y",
        "x + y",
        "x - y",
        "x * y",
        "-x",
        "abs(x)",
    ):
        with np.errstate(all="ignore"):
            same(_of(source, (dtype, dtype), dtype)(x, y), _numpy(source, (dtype, dtype), dtype)(x, y))


@TARGETS
@pytest.mark.parametrize("source", _COMPUTED, ids=lambda d: d.name)
def test_casts_are_numpys(source: DType, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, also of what an integer cannot hold; float16 and bfloat16 round to nearest even."""
    monkeypatch.setattr(native, "active", lambda: target)
    monkeypatch.setattr(native, "_gains", lambda *_: True)
    if source.bits == 16:
        x = np.arange(1 << 16, dtype=np.uint16).view(source.numpy)
    elif source.is_floating_point:
        whole = np.random.default_rng(0).integers(0, 1 << 32, 40_000, np.uint32)
        x = np.concatenate([whole.view(np.float32), values((40_000,), dt.float64, 1, -70_000, 70_000), _HALVES])
        x = np.concatenate([x, [np.nan, np.inf, -np.inf, 65519.99, 65520, 2.0**31, 2.0**32, 2.0**63, 2.0**64, -0.0]])
    else:
        x = np.random.default_rng(0).integers(-(1 << 63), 1 << 63, 5000).astype(source.numpy)
    with np.errstate(all="ignore"):
        x = x.astype(source.numpy)
        for to in _COMPUTED:
            found, expected = np.empty(x.shape, to.numpy), np.empty(x.shape, to.numpy)
            assert native.copy(found, x)
            np.copyto(expected, x, casting="unsafe")
            if to is dt.uint32 and source is dt.float16:  # numpy has another integer for nan and -inf
                found[~np.isfinite(x)] = expected[~np.isfinite(x)]
            same(found, expected)


#: Halfway between neighbours of float16 and of bfloat16, and next to that.
_HALVES = np.array(
    [
        (1 + (2 * k + 1) * 2.0**-digits + error) * 2.0**exponent
        for k in range(8)
        for digits in (8, 9, 11, 12, 24)
        for error in (0, 2.0**-20, -(2.0**-20), 2.0**-45, -(2.0**-45))
        for exponent in (-26, -20, -15, -14, 0, 9)
    ]
)


def test_copies_of_any_layout() -> None:
    for x in layouts(values((70, 90), dt.float32)):
        for out in layouts(np.zeros((70, 90), np.float16)):
            assert native.copy(out, x)
            same(out, x.astype(np.float16))
    out = np.zeros((70, 90), np.int64)
    assert native.copy(out, values((90,), dt.float32))
    same(out, np.broadcast_to(values((90,), dt.float32).astype(np.int64), (70, 90)))
    assert not native.copy(out, values((91,), dt.float32)), "which numpy refuses"


def test_large_casts_are_those_of_small_ones() -> None:
    """Of the backend's storage call and of its kernel, which use machine code where that is quicker."""
    for source in (dt.float32, dt.float64, dt.float16, dt.bfloat16, dt.int64, dt.bool_, dt.complex64):
        x = values((300, 101), source)
        for to in (dt.float16, dt.bfloat16, dt.float32, dt.int64, dt.uint8, dt.bool_):
            if source.is_complex and to is not dt.bool_:
                continue
            expected = x.astype(to.numpy)
            for arranged in layouts(x):
                same(kernel("cast", source)(arranged, dtype=to), expected)
                out = np.zeros((2, 300, 101), to.numpy)
                BACKEND.copy_into(out, arranged)
                same(out[0], expected)
                same(out[1], expected)


@TARGETS
@pytest.mark.parametrize(("source", "dtypes", "result"), SAMPLE, ids=lambda v: v if isinstance(v, str) else "")
def test_built_ins_at_every_width(
    source: str, dtypes: tuple[DType, ...], result: DType, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around vectors, blocks and chunks, with ``out`` and one number for all, and in layouts that they hand on."""
    monkeypatch.setattr(native, "active", lambda: target)
    made, reference = _of(source, dtypes, result).builtin("made"), _numpy(source, dtypes, result)
    assert made.__name__ == "made" and made.__module__ == "flambeau.backends.llvm"
    sizes = {s + d for s in (1, 16, 64, walk.BLOCK, 2 * walk.BLOCK, CHUNK) for d in (-1, 0, 1)}
    ins = [values((max(sizes) + 3,), d, i, 1, 5) for i, d in enumerate(dtypes)]
    expected = reference(*ins)
    for n in sorted(sizes):
        here = [x[3 : 3 + n] for x in ins]
        same(made(*here), expected[3 : 3 + n])
        out = np.zeros(n, result.numpy)
        assert made(*here, out) is out
        same(out, expected[3 : 3 + n])
        assert made(*here, out=out[::-1]).base is not None
        same(out[::-1], expected[3 : 3 + n])
        for k in range(1, len(ins)):
            one = [*here[:k], ins[k][4], *here[k + 1 :]]
            same(made(*[np.asarray(x) for x in one]), reference(*one) if n else expected[:0])
        same(made(*[x[n + 2 : 2 : -1] for x in ins]), expected[n + 2 : 2 : -1])
    same(made(*[np.asarray(x[5]) for x in ins]), np.asarray(expected[5]))


SPECIAL = [
    (name, dtype)
    for name, dtype in SERVED
    if dtype in (dt.float16, dt.float32, dt.float64)
    if name in {*SPECIAL_FUNCTIONS, "mish", "softplus", "elu", "xlogy", "entr", "sinc"}
    if BACKEND.kernels.own(name, dtype) is None
]


def test_special_functions_are_machine_code() -> None:
    assert {"lgamma", "igamma", "bessel_y1", "zeta", "erfinv"} <= {name for name, _ in SPECIAL}


@pytest.mark.parametrize(("name", "dtype"), SPECIAL, ids=str)
def test_special_functions_have_the_same_bits_at_every_size(name: str, dtype: DType) -> None:
    """And in every layout, with ``out`` or without."""
    op = OPS[name]
    made = BACKEND.elementwise(name, keys.expression(op, dtype), _operands(op, dtype), op.dtype.out(0, dtype, {}))
    ins = _some(_operands(op, dtype), 9000)
    whole = made(*ins)
    for part in (slice(0, 1), slice(3, 11), slice(7, 70), slice(40, 1100), slice(8999, 0, -7)):
        here = [x[part] for x in ins]
        same(made(*here), whole[part])
        out = np.empty(here[0].shape, whole.dtype)
        assert made(*here, out) is out
        same(out, whole[part])
    same(made(*[x[:8800].reshape(80, 110).T for x in ins]), whole[:8800].reshape(80, 110).T)


def test_what_is_not_served_goes_to_the_fallback() -> None:
    """Other dtypes and byte orders, misaligned memory, partly overlapping operands, classes and shapes."""
    taken: list[int] = []

    def fallback(x: Any, y: Any, out: Any = None) -> Any:
        taken.append(1)
        return np.add(x, y, out)

    kernel = _of("x + y", (dt.float32, dt.float32), dt.float32, fallback)
    x, y = values((100,), dt.float32), values((100,), dt.float32, 1)
    shifted = np.zeros(401, np.uint8)[1:].view(np.float32)
    shifted[:] = x
    memory = np.concatenate([x, y])
    overlap = memory.copy()
    repeated = np.lib.stride_tricks.as_strided(np.zeros(199, np.float32), (100, 100), (4, 4))
    wanted = x + y
    cases: list[tuple[Any, Any, Any, Any]] = [
        (x.astype(">f4"), y, None, wanted), (shifted, y, None, wanted), (x.astype(np.float64), y, None, wanted),
        (x.view(np.recarray), y, None, wanted), (x, y, np.zeros(401, np.uint8)[1:].view(np.float32), wanted),
        (overlap[:100], y, overlap[1:101], wanted), (x, y, np.zeros(100), wanted),
        (np.float32(1), np.float32(2), None, 3),
    ]  # fmt: skip
    for i, (a, b, out, expected) in enumerate(cases):
        same(np.asarray(kernel(a, b, out=out), np.float32), expected)
        assert len(taken) == i + 1
    kernel(np.zeros((100, 100), np.float32), y, out=repeated)
    assert len(taken) == len(cases) + 1
    with pytest.raises(ValueError, match="broadcast"):
        kernel(x, y[:99])
    read_only = x.copy()
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kernel(x, y, out=read_only)
    same(kernel(read_only, y), wanted)


def test_in_place() -> None:
    kernel = _of("x * y", (dt.float32, dt.float32), dt.float32)
    for shape in ((100_000,), (300, 77)):
        for x in layouts(values(shape, dt.float32)):
            y = values(shape, dt.float32, 1)
            expected, target = x * y, x.copy("K")
            assert kernel(target, y, out=target) is target
            same(target, expected)
            target = x.copy("K")
            same(kernel(target, target, out=target[...]), x * x)


def test_past_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that are larger than the caches, from places within a line of them."""
    monkeypatch.setattr(native, "STREAM", 1 << 12)
    for source, dtypes, result in SAMPLE:
        kernel, reference = _of(source, dtypes, result), _numpy(source, dtypes, result)
        ins = [values((150_003,), d, i, 1, 5) for i, d in enumerate(dtypes)]
        for start in range(4):
            out = np.zeros(150_020, result.numpy)[start : start + 150_003]
            same(kernel(*ins, out=out), reference(*ins))


def test_chunks_depend_on_the_operands_alone() -> None:
    """Any order of the chunks, and any number at a time, gives the same: each writes its own part."""
    shape, strides = (300, 1000), ((4000, 4), (4, 1200), (4000, 4))
    plan = native.plans[shape, strides, (4, 4, 4)]
    assert plan.chunks == -(-1000 // plan.counts[1]) * -(-300 // plan.counts[3]) > 4
    x, y = values((300, 1000), dt.float32), values((1000, 300), dt.float32).T
    kernel, out = _of("x + y", (dt.float32, dt.float32), dt.float32), np.empty((300, 1000), np.float32)
    kernel(x, y, out=out)
    lines = next(iter(kernel._lines.values()))
    again = np.empty_like(out)

    class Backwards:
        """Runs a job's chunks from the last to the first."""

        def __call__(self, chunks: int, *values: int) -> None:
            import ctypes

            packed = lines.walk.pack(*values)
            call = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64)(lines.walk.address)
            for chunk in reversed(range(chunks)):
                call(packed, chunk, 0)

    kernel._lines = {key: lines._replace(walk=Backwards()) for key in kernel._lines}  # type: ignore[arg-type]
    kernel(x, y, out=again)
    same(again, x + y)
    same(out, again)


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_it_compiles_for_other_processors(target: Target) -> None:
    compiler = compiler_for(target)
    assert compiler.object_code(walk.write(target, (4, 2, 1)).module.text())
    module = Module(target)
    for i, name in enumerate(("gelu", "remainder", "sign", "pow")):
        for dtype in (dt.float16, dt.bfloat16, dt.int16, dt.float32):
            if (name, dtype) in SERVED:
                program = _kernel(OPS[name], dtype).program
                assert program is not None
                walk.write_line(module, f"line{i}{dtype.name}", program, True)
    assert compiler.object_code(module.text())


#: Kernels of the table from their large operands on, which go to machine code.
LARGE = [
    (name, dtype)
    for name in ("add", "exp", "tanh", "sigmoid", "rsqrt", "idiv", "remainder", "pow", "lt", "maximum", "relu", "where",
                 "isnan", "square", "logical_and", "bitwise_not", "round_half_even", "le", "reciprocal", "sqrt")
    for dtype in (dt.float16, dt.bfloat16, dt.float32, dt.int32, dt.uint8, dt.bool_)
    if BACKEND.kernels.own(name, dtype) is not None
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), LARGE, ids=str)
def test_the_tables_kernels(name: str, dtype: DType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With machine code as without."""
    entry = BACKEND.kernels.own(name, dtype)
    assert entry is not None
    ins = [values((70_001,), d, i, 1, 3) for i, d in enumerate(_operands(OPS[name], dtype))]
    found = entry.fn(*ins)
    monkeypatch.setattr(native, "active", lambda: None)
    without = type(BACKEND)().kernels.own(name, dtype)
    assert without is not None
    expected = without.fn(*ins)
    assert found.dtype == expected.dtype
    digits = {dt.float16: 1e-3, dt.bfloat16: 8e-3, dt.float32: 2e-6}.get(dtype, 0) * (expected.dtype != np.bool_)
    close(found, expected, digits, digits)


def test_numpy_computes_everything_without_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "active", lambda: None)
    monkeypatch.setattr(native, "_copies", Cache(native._copy))
    taken: list[int] = []

    def fallback(x: Any, out: Any = None) -> Any:
        taken.append(1)
        return np.exp(x, out)

    kernel = _of("exp(x)", (dt.float32,), dt.float32, fallback)
    kernel(values((100,), dt.float32))
    assert taken == [1]
    assert not native.copy(np.zeros(10, np.float16), np.zeros(10, np.float32))


def test_the_text_is_the_same_each_time() -> None:
    texts = {walk.write(host(), (4, 4)).module.text() for _ in range(2)}
    assert len(texts) == 1
    made: Expr = keys.expression(OPS["gelu"], dt.float32)
    for _ in range(2):
        program = native.of_expression(lambda: made, (dt.float32,), dt.float32, _refuse).program
        assert program is not None
        module = Module(host())
        walk.write_line(module, "line", program)
        texts.add(module.text())
    assert len(texts) == 2


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish", "sigmoid"])
def test_activations_of_infinities_are_pytorchs(name: str) -> None:
    """At -inf the product with 0 is nan; PyTorch's own at inf depends on the dtype and the size."""
    op = OPS[name]
    for dtype in (dt.float32, dt.float64, dt.float16):
        found = _kernel(op, dtype)(np.array([-np.inf, np.inf, np.nan, -0.0] * 20, dtype.numpy))[:4]
        assert np.isnan(found[2]) and found[1] == (1 if name == "sigmoid" else np.inf)
        if name == "sigmoid":
            assert found[0] == 0 and found[3] == 0.5
        else:
            assert np.isnan(found[0]) and found[3] == 0 and np.signbit(found[3])


@pytest.mark.parametrize("name", ["erf", "erfc", "gelu", "sigmoid", "log1p", "tanh"])
def test_large_operands_get_the_error_that_is_promised(name: str) -> None:
    x = np.linspace(-8, 8, 150_001, dtype=np.float32)
    x = x[x > -1] if name == "log1p" else x
    op = getattr(fb, name, None) or getattr(fb.nn.functional, name)
    found, exact = op(fb.tensor(x)).numpy(), op(fb.tensor(x.astype(np.float64))).numpy()
    units = np.abs(found - exact) / np.spacing(np.maximum(np.abs(exact), 1e-37).astype(np.float32))
    assert units.max() < maths.BOUNDS[name].single
