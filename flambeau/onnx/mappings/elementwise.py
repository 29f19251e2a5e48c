"""Functions of each element."""

from __future__ import annotations

import math

from flambeau.core import dtype as dt
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps, nodes
from flambeau.onnx.writer import Call

nodes({
    "acos": "Acos", "acosh": "Acosh", "add": "Add", "asin": "Asin", "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh",
    "cos": "Cos", "cosh": "Cosh", "div": "Div", "eq": "Equal", "erf": "Erf", "exp": "Exp",
    "ge": "GreaterOrEqual", "gt": "Greater", "hardswish": "HardSwish",
    "le": "LessOrEqual", "log": "Log", "lt": "Less", "mish": "Mish", "neg": "Neg", "pow": "Pow",
    "reciprocal": "Reciprocal", "sigmoid": "Sigmoid", "sin": "Sin", "sinh": "Sinh",
    "softsign": "Softsign", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
})  # fmt: skip
nodes({"gelu": "Gelu"}, opset=20)


@maps("abs", "relu", "sub", "mul", "maximum", "minimum")
def arithmetic(call: Call, *operands: str) -> str:
    """Arithmetic that ONNX has of numbers, and of truth values by others."""
    kinds = {
        "abs": "Abs",
        "relu": "Relu",
        "sub": "Sub",
        "mul": "Mul",
        "maximum": "Max",
        "minimum": "Min",
    }
    logical = {"mul": "And", "maximum": "Or", "minimum": "And", "abs": "Identity"}
    if call.dtype is not dt.bool_:
        if call.node.op == "relu" and not call.dtype.is_floating_point:
            return str(call.emit("Max", *operands, call.writer.number(0, call.dtype)))
        return str(call.emit(kinds[call.node.op], *operands))
    if call.node.op not in logical:
        raise Unmapped("truth values")
    return str(call.emit(logical[call.node.op], *operands))


@maps("ceil", "floor", "round_half_even")
def whole(call: Call, x: str) -> str:
    """To whole numbers, as some are already."""
    kind = {"ceil": "Ceil", "floor": "Floor", "round_half_even": "Round"}[call.node.op]
    return str(call.emit(kind, x)) if call.dtype.is_floating_point else x


@maps("isnan", "isinf")
def special(call: Call, x: str) -> str:
    """What only floating numbers can be."""
    if call.value(0).dtype.is_floating_point:
        return str(call.emit({"isnan": "IsNaN", "isinf": "IsInf"}[call.node.op], x))
    return str(call.emit("Not", call.emit("Equal", x, x)))


@maps("sign")
def sign(call: Call, x: str) -> str:
    """One with the sign, or zero; of NaN zero, where ONNX keeps NaN."""
    if call.dtype is dt.bool_:
        return x
    found = call.emit("Sign", x)
    if not call.dtype.is_floating_point:
        return str(found)
    return str(call.emit("Where", call.emit("IsNaN", x), call.writer.number(0.0, call.dtype), found))


@maps("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not")
def bitwise(call: Call, *operands: str) -> str:
    """Of bits, or of truth values."""
    kind = call.node.op.removeprefix("bitwise_").capitalize()
    return str(call.emit(kind if call.dtype is dt.bool_ else f"Bitwise{kind}", *operands))


@maps("logical_and", "logical_or", "logical_xor", "logical_not")
def logical(call: Call, *operands: str) -> str:
    """Of truth values, which numbers are made."""
    truths = []
    for i, name in enumerate(operands):
        arg = call.node.args[i]
        truths.append(name if getattr(arg, "dtype", None) is dt.bool_ else call.cast(name, dt.bool_))
    return str(call.emit(call.node.op.removeprefix("logical_").capitalize(), *truths))


@maps("ne")
def ne(call: Call, x: str, y: str) -> str:
    """Not equal."""
    return str(call.emit("Not", call.emit("Equal", x, y)))


@maps("where")
def where(call: Call, condition: str, x: str, y: str) -> str:
    """The one or the other."""
    if call.dtype is dt.bool_:
        no = call.emit("And", call.emit("Not", condition), call.same(2))
        return str(call.emit("Or", call.emit("And", condition, call.same(1)), no))
    return str(call.emit("Where", condition, call.same(1), call.same(2)))


@maps("log2")
def log2(call: Call, x: str) -> str:
    """The logarithm to base two."""
    return str(call.emit("Div", call.emit("Log", x), call.writer.number(math.log(2.0), call.dtype)))


@maps("tanhshrink")
def tanhshrink(call: Call, x: str) -> str:
    """``x - tanh(x)``, in float64: both are alike near zero."""
    wide = call.cast(x, dt.float64)
    return call.cast(call.emit("Sub", wide, call.emit("Tanh", wide)), call.dtype)


@maps("masked_fill")
def masked_fill(call: Call, x: str, mask: str, value: str) -> str:
    """A number, or a tensor without dimensions, where the mask is true."""
    return str(call.emit("Where", mask, call.same(2), call.same(0)))


@maps("rsqrt")
def rsqrt(call: Call, x: str) -> str:
    """One over the root."""
    return str(call.emit("Reciprocal", call.emit("Sqrt", x)))


@maps("square")
def square(call: Call, x: str) -> str:
    """Times itself."""
    return str(call.emit("Mul", x, x))


@maps("positive")
def positive(call: Call, x: str) -> str:
    """The same."""
    return x


@maps("silu")
def silu(call: Call, x: str) -> str:
    """``x * sigmoid(x)``."""
    return str(call.emit("Mul", x, call.emit("Sigmoid", x)))


@maps("gelu")
def gelu_by_erf(call: Call, x: str) -> str:
    """``x / 2 * (1 + erf(x / sqrt(2)))``, where there is no Gelu."""
    root, one, half = (call.writer.number(n, call.dtype) for n in (math.sqrt(0.5), 1.0, 0.5))
    bell = call.emit("Add", call.emit("Erf", call.emit("Mul", x, root)), one)
    return str(call.emit("Mul", call.emit("Mul", x, half), bell))


@maps("gelu_tanh", opset=20)
def gelu_tanh(call: Call, x: str) -> str:
    """GELU by the hyperbolic tangent."""
    return str(call.emit("Gelu", x, approximate="tanh"))


@maps("leaky_relu")
def leaky_relu(call: Call, x: str, slope: str) -> str:
    """Another slope below zero."""
    return str(call.emit("LeakyRelu", x, alpha=call.scalar(1)))


@maps("elu")
def elu(call: Call, x: str, alpha: str, scale: str, rate: str) -> str:
    """ELU and SELU."""
    if call.scalar(3) != 1:
        raise Unmapped("another rate than 1")
    if call.scalar(2) == 1:
        return str(call.emit("Elu", x, alpha=call.scalar(1)))
    return str(call.emit("Selu", x, alpha=call.scalar(1), gamma=call.scalar(2)))


@maps("hardsigmoid")
def hardsigmoid(call: Call, x: str) -> str:
    """``clamp(x / 6 + 1 / 2, 0, 1)``."""
    return str(call.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5))


@maps("clamp", "hardtanh")
def clamp(call: Call, x: str, low: str, high: str) -> str:
    """Between two numbers."""
    if call.rank(1) or call.rank(2) or call.node.args[1] is None or call.node.args[2] is None:
        raise Unmapped("limits that are tensors")
    if call.node.op == "hardtanh" and call.scalar(1) > call.scalar(2):
        raise Unmapped("limits in the wrong order")
    return str(call.emit("Clip", x, low, high))


@maps("fmod", "remainder")
def remainder(call: Call, x: str, y: str) -> str:
    """The rest of a division, with the sign of the dividend, or of the divisor."""
    if call.node.op == "fmod":
        return str(call.emit("Mod", x, y, fmod=1))
    if call.dtype.is_floating_point:
        raise Unmapped("floating numbers")
    return str(call.emit("Mod", x, y))


@maps("idiv")
def idiv(call: Call, x: str, y: str) -> str:
    """Division, rounded down."""
    if not call.dtype.is_floating_point:
        return str(call.emit("Div", call.emit("Sub", x, call.emit("Mod", x, y)), y))
    zero = call.writer.number(0.0, call.dtype)
    rest = call.emit("Mod", x, y, fmod=1)
    exact = call.emit("Round", call.emit("Div", call.emit("Sub", x, rest), y))
    other = call.emit("Xor", call.emit("Less", rest, zero), call.emit("Less", y, zero))
    below = call.emit("And", call.emit("Not", call.emit("Equal", rest, zero)), other)
    found = call.emit("Sub", exact, call.cast(below, call.dtype))
    return str(call.emit("Where", call.emit("Equal", y, zero), call.emit("Div", x, y), found))


@maps("shl", "shr")
def shift(call: Call, x: str, y: str) -> str:
    """Bits to the left or right."""
    two = call.writer.number(2, call.dtype)
    power = call.emit("Pow", two, y)
    if call.node.op == "shl":
        return str(call.emit("Mul", x, power))
    return str(call.emit("Div", call.emit("Sub", x, call.emit("Mod", x, power)), power))


@maps("scale_shift")
def scale_shift(call: Call, x: str, mean: str, scale: str, shift: str) -> str:
    """``(x - mean) * scale + shift``."""
    return str(call.emit("Add", call.emit("Mul", call.emit("Sub", x, mean), scale), shift))
