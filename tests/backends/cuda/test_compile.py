"""Every text that the CUDA backend generates compiles, with no GPU: by NVRTC, to PTX of two architectures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from flambeau.backends.cuda.device import OPTIONS, TARGET
from flambeau.backends.dialect import elementwise, index, linalg, nn, random, reduce, scan, sort
from flambeau.backends.dialect.functions import program_for
from flambeau.core import dtype as dt
from flambeau.core.expr import ExprError, parse
from flambeau.core.keys import expression
from flambeau.core.record import ELEMENTWISE, OPS
from tests.backends.cuda import nvrtc

pytestmark = pytest.mark.skipif(nvrtc.library() is None, reason="the wheel nvidia-cuda-nvrtc-cu12 is not installed")
ARCHITECTURES = ("80", "90")
EXPRESSIONS = sorted(name for name, op in OPS.items() if op.family is ELEMENTWISE and op.expr is not None)
SAMPLE = ("add", "erf", "lgamma", "pow", "remainder", "where", "gelu", "shl", "isnan")
ORDERED = (dt.bool_, *dt.REALS)


def signature(name: str, dtype: dt.DType) -> tuple[tuple[dt.DType, ...], dt.DType]:
    op = OPS[name]
    kinds = {"bool": dt.bool_, "index": dt.int64}
    return tuple(kinds.get(op.kind_of(a), dtype) for a in op.schema.operands), op.dtype.out(0, dtype, {})


def compiles(text: str, kernel: str, architectures: tuple[str, ...] = ARCHITECTURES) -> None:
    for architecture in architectures:
        assert f".visible .entry {kernel}" in nvrtc.compile_ptx(text, architecture, OPTIONS)


def texts_of(name: str, dtype: dt.DType) -> Iterator[tuple[str, str]]:
    """(text, kernel) of an op's expression; nothing where it has no meaning for the dtype."""
    op = OPS[name]
    dtypes, out = signature(name, dtype)
    try:
        program = program_for(expression(op, dtype), dtypes, out, TARGET)
        flat = elementwise.flat_source(program, TARGET, "v" * len(dtypes))
    except (ExprError, KeyError):
        return
    yield flat, "flat"
    yield elementwise.rows_source(program, TARGET, "n" * (len(dtypes) + 1)), "rows"


@pytest.mark.parametrize("name", [n for n in SAMPLE if n in OPS])
def test_a_sample_of_the_expressions(name: str) -> None:
    dtype = dt.float32 if OPS[name].accepts(dt.float32) else dt.int64
    found = list(texts_of(name, dtype))
    assert len(found) == 2
    for text, kernel in found:
        compiles(text, kernel)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_expression(name: str) -> None:
    """For each dtype that the op takes; to both architectures in the dtypes of widest use."""
    served = [d for d in dt.ALL if OPS[name].accepts(d)]
    found = [(d, text, kernel) for d in served for text, kernel in texts_of(name, d)]
    assert found, "no dtype has a kernel"
    for dtype, text, kernel in found:
        compiles(text, kernel, ARCHITECTURES if dtype in (dt.float32, dt.int64) else ("80",))


def families() -> dict[str, list[tuple[str, str]]]:
    """(text, kernel) of every other family, for every dtype that it serves."""
    found: dict[str, list[tuple[str, str]]] = {
        "reduce": [
            (text(op, d, out, TARGET, *more), "reduce")
            for op, dtypes in (("sum", dt.REALS), ("prod", dt.REALS), ("max", ORDERED), ("min", ORDERED),
                               ("mean", dt.FLOATS), ("any", dt.BOOLS), ("all", dt.BOOLS))
            for d in dtypes
            for out in {d, dt.float32 if d in dt.LOW_PRECISION else d}
            for text, more in ((reduce.rows_source, (True,)), (reduce.columns_source, ()))
        ],
        "positions": [
            (reduce.position_source(op, d, TARGET), "reduce") for op, d in product(("argmax", "argmin"), ORDERED)
        ],
        "gather": [(index.gather_source(d, TARGET), "gather") for d in dt.ALL],
        "scatter": [
            (index.scatter_source(d, how, TARGET), "scatter")
            for how, dtypes in (("set", dt.ALL), ("add", dt.ALL), ("prod", ORDERED), ("amax", dt.REALS),
                                ("amin", dt.REALS))
            for d in dtypes
        ],
        "products": [(linalg.tiled_source(d, TARGET), "product") for d in dt.REALS],
        "softmax": [(nn.softmax_source(d, log, TARGET), "softmax") for d, log in product(dt.FLOATS, (False, True))],
        "random": [(random.bits_source(TARGET), "bits")],
        "arange": [(random.arange_source(d, TARGET), "arange") for d in dt.REALS],
        "scan": [
            (scan.source(op, d, TARGET), kernel)
            for op, d, kernel in product(("cumsum", "cumprod"), dt.REALS, ("totals", "scan"))
        ],
        "sort": [
            *((sort.keys_source(d, down, TARGET), "keys") for d, down in product(ORDERED, (False, True))),
            *((sort.blocks_source(k, TARGET), "blocks") for k in (dt.uint32, dt.uint64)),
            *((sort.merge_source(k, TARGET), "merge") for k in (dt.uint32, dt.uint64)),
        ],
        "fill": [(elementwise.fill_source(TARGET, size), "fill") for size in (1, 2, 4, 8, 16)],
    }  # fmt: skip
    same = parse("x", ("x",))
    for source, to in product(dt.ALL, dt.ALL):
        program = program_for(same, (source,), to, TARGET)
        found.setdefault(f"copies of {source.name}", []).extend(
            [(elementwise.flat_source(program, TARGET, "v"), "flat"),
             (elementwise.rows_source(program, TARGET, "nn"), "rows")]
        )  # fmt: skip
    return found


FAMILIES = families()


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.startswith("copies")])
def test_the_first_kernel_of_each_family(family: str) -> None:
    text, kernel = FAMILIES[family][0]
    compiles(text, kernel)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kernel_of_each_family(family: str) -> None:
    for text, kernel in FAMILIES[family]:
        compiles(text, kernel, ("80",) if family.startswith("copies") else ARCHITECTURES)


def test_a_wrong_kernel_does_not_compile() -> None:
    with pytest.raises(RuntimeError, match="error"):
        nvrtc.compile_ptx('extern "C" __global__ void f() { nothing(); }', "90", ())
