"""The expression language: what it takes, its error texts, and that the printer computes what the evaluator does."""

from __future__ import annotations

import math
import operator

import ml_dtypes
import numpy as np
import pytest

from flambeau.backends.base import MINIMUM_ELEMENTWISE
from flambeau.core import dtype as dt
from flambeau.core import expr
from flambeau.core.expr import Call, ExprError, Name, Number, evaluate, lower, parse
from flambeau.core.expr.arrays import to_numpy

F32, F64 = (dt.float32,), (dt.float64,)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_the_primitives_are_the_minimum_kernels_and_the_casts():
    assert set(expr.PRIMITIVES) == {*MINIMUM_ELEMENTWISE, "to_int", "bitcast_int", "bitcast_float"}


def test_operators_become_calls():
    found = parse("let t = x // 2; -t if x < 1 < 2 else ~x", ("x",))
    assert found.lets == (("t", Call("idiv", (Name("x"), Number(2)))),)
    test, yes, no = found.result.args
    assert (test.fn, yes.fn, no.fn) == ("logical_and", "neg", "bitwise_not")


def test_parsing_is_cached():
    assert parse("x + 1", ("x",)) is parse("x + 1", ("x",))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x + y", "unknown name 'y'; known here: x, pi"),
        ("x.real", "is outside the language"),
        ("[x]", r"'\[x\]' \(List\) is outside the language"),
        ("lambda: x", r"\(Lambda\) is outside the language"),
        ("x @ x", "operator MatMult is outside the language"),
        ("x is x", "comparison Is is outside the language"),
        ("'a'", "literal 'a' is not a bool, int or float"),
        ("1j * x", "literal 1j is not"),
        ("exp(x, x)", r"exp takes 1 argument\(s\), got 2"),
        ("exp(x=x)", "functions take plain positional arguments"),
        ("exp(*x)", "functions take plain positional arguments"),
        ("x.exp()", "call functions by their plain names"),
        ("x +", "is not a Python expression"),
        ("t = x; t", "is not 'let NAME = EXPRESSION'"),
        ("let x = 1; x", "let 'x' hides a name"),
        ("let pi = 3; x", "let 'pi' hides a name"),
        ("let t = u; let u = x; t", "unknown name 'u'"),
        ("", "is outside the language"),
    ],
)
def test_what_is_outside_the_language_is_named(source, text):
    with pytest.raises(ExprError, match=text):
        parse(source, ("x",))


def test_an_operand_may_not_be_called_like_a_constant():
    with pytest.raises(ExprError, match="operand 'e' has the name of a constant"):
        parse("e", ("e",))


def test_calls_are_checked_when_they_are_resolved():
    with pytest.raises(ExprError, match="unknown function 'nosuch'"):
        lower(parse("nosuch(x)", ("x",)), F32)
    with pytest.raises(ExprError, match=r"remainder takes 2 argument\(s\)"):
        lower(parse("remainder(x)", ("x",)), F32)
    with pytest.raises(ExprError, match="shl needs integers"):
        lower(parse("x << 2", ("x",)), F32)
    with pytest.raises(ExprError, match=r"literal 0.5 meets a value of type flambeau.int32"):
        lower(parse("x + 0.5", ("x",)), (dt.int32,))
    with pytest.raises(ExprError, match=r"constant 'eps' has no meaning for flambeau\.int32"):
        lower(parse("x * eps", ("x",)), (dt.int32,))
    with pytest.raises(ExprError, match="belongs to a dtype"):
        evaluate(parse("x * eps", ("x",)), {"x": 1.0}, {"mul": operator.mul})


@pytest.fixture
def scratch_definitions():
    before = dict(expr.definitions)
    yield
    expr.definitions.clear()
    expr.definitions.update(before)


@pytest.mark.usefixtures("scratch_definitions")
def test_other_records_are_inlined_and_a_circle_is_named():
    expr.define("twice_", "x + x", ("x",))
    expr.define("quad_", "twice_(twice_(v))", ("v",))
    assert to_numpy(parse("quad_(x) + 1", ("x",)), "f")(np.array([1.0, 2.0])).tolist() == [5.0, 9.0]
    expr.define("twice_", "2 * x + 0 * x", ("x",))  # a later record counts at once
    assert [s.op for s in lower(parse("twice_(x)", ("x",)), F64).steps].count("mul") == 2
    expr.define("loop_", "loop_(x)", ("x",))
    with pytest.raises(ExprError, match="the expr of 'loop_' calls itself: loop_ -> loop_"):
        lower(parse("loop_(x)", ("x",)), F32)
    with pytest.raises(ExprError, match="the expr of 'loop_' calls itself"):
        evaluate(parse("loop_(x)", ("x",)), {"x": 1.0}, {})
    native = lower(parse("quad_(x)", ("x",)), F32, None, lambda name, dtype: name == "twice_")
    assert [s.op for s in native.steps] == ["input", "twice_", "twice_"]


def test_equal_steps_are_computed_once_and_constants_decide_conditions():
    program = lower(parse("let a = exp(x); let b = exp(x); (a * b if eps > 1e-10 else sin(x))", ("x",)), F32)
    assert [s.op for s in program.steps] == ["input", "exp", "mul"]
    assert [s.op for s in lower(parse("exp(x) if eps > 1e-10 else sin(x)", ("x",)), F64).steps] == ["input", "sin"]


def test_literals_take_the_type_of_what_they_meet():
    steps = lower(parse("to_int(x * 2) + 2", ("x",)), F64).steps
    assert [(s.dtype, s.value) for s in steps if s.op == "constant"] == [(dt.float64, 2.0), (dt.int64, 2)]
    assert lower(parse("x + 1", ("x",)), (dt.uint8,)).out is dt.uint8
    assert lower(parse("x + 1", ("x",)), (dt.bfloat16,)).out is dt.bfloat16
    assert lower(parse("x < 1", ("x",)), (dt.float16,)).out is dt.bool_
    assert lower(parse("a if c else 0.5", ("c", "a")), (dt.bool_, dt.float64)).out is dt.float64
    assert lower(parse("x * 2.0**n", ("x", "n")), (dt.float32, dt.int64)).out is dt.float32


def numpy_functions():
    """The primitives over numpy arrays, written apart from the printers."""
    bits = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}
    reals = {np.dtype(np.int32): np.float32, np.dtype(np.int64): np.float64}
    return {
        "neg": np.negative, "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin,
        "cos": np.cos, "floor": np.floor, "add": np.add, "sub": np.subtract, "mul": np.multiply,
        "div": np.true_divide, "idiv": np.floor_divide, "fmod": np.fmod, "pow": np.power,
        "maximum": np.maximum, "lt": np.less, "eq": np.equal, "bitwise_and": np.bitwise_and,
        "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor, "shl": np.left_shift, "shr": np.right_shift,
        "where": np.where, "bitwise_not": np.invert, "to_int": lambda x: x.astype(bits[x.dtype]),
        "constant": lambda value, dtype, like: dtype.numpy.type(value),
        "bitcast_int": lambda x: x.view(bits[x.dtype]), "bitcast_float": lambda x: x.view(reals[x.dtype]),
    }  # fmt: skip


FLOAT_SOURCES = (
    "x + y", "x - 2 * y", "x / y", "x // y", "x % y", "fmod(x, y)", "x ** 3 + y ** 2", "abs(x) ** y",
    "maximum(x, y)", "minimum(x, y)", "x if x < y else -y", "-x if not x >= y or x == 0 else y",
    "where(x > 0 and y > 0, 1, 0)", "x != y", "x <= y", "sqrt(abs(x)) + exp(-y * y)", "floor(x) + cos(y) * sin(x)",
    "bitcast_float(bitcast_int(x) ^ bitcast_int(y))", "bitcast_float((to_int(floor(y)) + bias) << mantissa)",
    "let a = x * y; let b = a + 1; a * b if b > pi else inf", "tanh(x) + log1p(abs(y))", "copysign(x, y)",
    "x * eps + tiny", "(x < y) ^ (y < 1)", "to_int(x) & 7", "nan if x < y else x",
)  # fmt: skip
INT_SOURCES = (
    "x + y", "x - y", "x * y", "x // y", "x % y", "fmod(x, y)", "x ** y", "maximum(x, y)", "minimum(x, y)", "x & y",
    "x | y", "x ^ y", "~x", "x << y", "x >> y", "x << 2", "x >> 1", "x < y", "abs(x)", "-x", "x == y", "max - x",
    "where(x > y, x, 0)", "x and y", "not x",
)  # fmt: skip


@pytest.mark.parametrize("source", FLOAT_SOURCES)
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_evaluator_and_printer_agree_on_floats(source, dtype, rng):
    special = np.array([0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan])
    x = np.concatenate([rng.normal(scale=3, size=40), np.repeat(special, 7)]).astype(dtype.numpy)
    y = np.concatenate([rng.normal(scale=3, size=40), np.tile(special, 7)]).astype(dtype.numpy)
    check(
        parse(source, ("x", "y")),
        dtype,
        x,
        y,
        exact="exp" not in source and "tanh" not in source and "**" not in source,
    )


@pytest.mark.parametrize("source", INT_SOURCES)
@pytest.mark.parametrize("dtype", [dt.int8, dt.uint8, dt.int32, dt.int64, dt.uint32], ids=lambda d: d.name)
def test_evaluator_and_printer_agree_on_integers(source, dtype, rng):
    info = np.iinfo(dtype.numpy)
    special = np.array([0, 1, 3, info.max, info.min]).astype(dtype.numpy)
    x = np.concatenate([rng.integers(info.min, info.max, 40, dtype.numpy), np.repeat(special, 5)])
    y = np.concatenate([rng.integers(0, 9, 40).astype(dtype.numpy), np.tile(special, 5)])
    if "**" in source:
        y %= 9
    check(parse(source, ("x", "y")), dtype, x, y, exact=True)


def check(parsed, dtype, x, y, exact):
    printed = to_numpy(parsed, "f", (dtype, dtype))(x, y)
    with np.errstate(all="ignore"):
        functions = numpy_functions()
        expected = np.asarray(evaluate(parsed, {"x": x, "y": y}, functions, dtype)) + np.zeros_like(printed, bool)
    tolerance = 0 if exact else 8 * (2.0**-23 if dtype is dt.float32 else 2.0**-52)
    np.testing.assert_allclose(printed, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("source", "x", "y", "expected"),
    [
        ("x // y", [7, -7, 7, 0], [0, 0, 2, 0], [0, 0, 3, 0]),
        ("x % y", [7, -7, 7, -7], [0, 2, -2, 2], [0, 1, -1, 1]),
        ("x << y", [1, 1, 1, -1], [64, -1, 63, 70], [0, 0, -(2**63), 0]),
        ("x >> y", [8, 8, -8, -8], [64, -1, 64, -1], [0, 0, -1, -1]),
        ("x ** y", [2, 2, -1, -1], [-1, 10, -3, -2], [0, 1024, -1, 1]),
    ],
)
def test_what_hardware_leaves_open_is_defined(source, x, y, expected):
    x, y = np.array(x, np.int64), np.array(y, np.int64)
    assert to_numpy(parse(source, ("x", "y")), "f")(x, y).tolist() == expected


def test_bools_compute_with_logic():
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    for source, expected in (("x + y", x | y), ("x * y", x & y), ("x - y", x ^ y), ("maximum(x, y)", x | y),
                             ("x < y", ~x & y), ("x == y", x == y), ("x >= y", x | ~y), ("~x", ~x),
                             ("y if x else True", np.where(x, y, True))):  # fmt: skip
        got = to_numpy(parse(source, ("x", "y")), "f")(x, y)
        assert got.dtype == bool, source
        assert got.tolist() == expected.tolist(), source


@pytest.mark.parametrize("size", [0, 1, 3, 40_000])
def test_numpy_functions_take_any_layout(size, rng):
    f = to_numpy(parse("let t = x * y; where(t > 0, t, x - y)", ("x", "y")), "f")
    base = rng.normal(size=(3, size)).astype(np.float32)
    for x, y in (
        (base, base[::-1]),
        (base.T, base.T[:, :1]),
        (base[:, ::-1], np.float32(2)),
        (base[1:2], base[:, :1] if size else base),
    ):
        t = x * y
        expected = np.where(t > 0, t, x - y)
        np.testing.assert_array_equal(f(x, y), expected)
        out = np.full((*expected.shape, 2), 7, np.float32)[..., 1]
        assert f(x, y, out=out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("source", ["x + y", "y if x < y else x * 2", "exp(x) + y"])
@pytest.mark.parametrize("size", [100, 50_000])
def test_the_output_may_overlap_the_inputs(source, size, rng):
    f = to_numpy(parse(source, ("x", "y")), "f")
    data = rng.normal(size=size)
    for target, first, second in ((slice(1, None), slice(1, None), slice(None, -1)),
                                  (slice(None, -1), slice(None, -1), slice(1, None)),
                                  (slice(None, None, -1), slice(None), slice(None))):  # fmt: skip
        buffer = data.copy()
        f(buffer[first], buffer[second], out=buffer[target])
        np.testing.assert_array_equal(buffer[target], f(data[first], data[second]))


@pytest.mark.parametrize("low", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("size", [50, 40_000])
def test_low_precision_computes_in_float32_and_rounds_once(low, size, rng):
    x = rng.normal(size=size).astype(low)
    got = to_numpy(parse("(x + 1) * (x - 1) / 3", ("x",)), "f")(x)
    assert got.dtype == low
    wide = x.astype(np.float32)
    np.testing.assert_array_equal(got, ((wide + 1) * (wide - 1) / 3).astype(low))


def test_folding_leaves_domain_errors_to_the_target():
    with np.errstate(all="ignore"):
        assert math.isnan(to_numpy(parse("log(0.0 - 1.0) * x", ("x",)), "f")(np.ones(1))[0])
        assert to_numpy(parse("1 / 0.0 + x", ("x",)), "f")(np.ones(1))[0] == np.inf
