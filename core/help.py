"""What ``help`` shows of the functions made from records: signature, meaning, dtypes, gradient, an example."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Final

from flambeau.core.schema import REQUIRED

if TYPE_CHECKING:
    from flambeau.core.record import Op

#: What the rules for dtypes mean.
_TAKES: Final = {
    "same": "every dtype",
    "floating": "every dtype; integers and bool become the default dtype",
    "floats": "every dtype but complex; integers and bool become the default dtype",
    "real_floating": "every dtype but complex; integers and bool become the default dtype",
    "inexact": "every dtype; integers and bool become the default dtype",
    "numeric": "every dtype but bool",
    "ordered": "every dtype but complex",
    "integral": "bool and integers",
    "comparison": "every dtype; the result is bool",
    "ordering": "every dtype but complex; the result is bool",
}
_TYPES: Final = {
    "Tensor": "Tensor", "Tensor?": "Tensor | None", "Tensor[]": "Sequence[Tensor]", "Scalar": "Number",
    "Axes": "int | Sequence[int] | None", "Axis": "int", "Ints": "Sequence[int]", "int?": "int | None",
    "float?": "float | None", "DType": "dtype", "DType?": "dtype | None", "Device": "device", "Index": "Any",
}  # fmt: skip
#: By op: what an element of the result is, where the record does not say; an example, and what it gives.
_TEXTS: Final[dict[str, tuple[str, str, str]]] = {
    "neg": ("-input", "fb.neg(fb.tensor([1.0, -2.0]))", "tensor([-1.,  2.])"),
    "abs": (
        "the distance from zero; of complex numbers the modulus, a real number",
        "fb.abs(fb.tensor([-1.5, 2.0]))",
        "tensor([1.5000, 2.0000])",
    ),
    "exp": ("e to the power of input", "fb.exp(fb.tensor([0.0, 1.0]))", "tensor([1.0000, 2.7183])"),
    "log": (
        "the natural logarithm; nan below zero, -inf at zero",
        "fb.log(fb.tensor([1.0, 10.0]))",
        "tensor([0.0000, 2.3026])",
    ),
    "sqrt": ("the square root; nan below zero", "fb.sqrt(fb.tensor([4.0, 2.0]))", "tensor([2.0000, 1.4142])"),
    "sin": ("the sine of an angle in radians", "fb.sin(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 0.8415])"),
    "cos": ("the cosine of an angle in radians", "fb.cos(fb.tensor([0.0, 1.0]))", "tensor([1.0000, 0.5403])"),
    "floor": ("the next integer downwards", "fb.floor(fb.tensor([1.5, -1.5]))", "tensor([ 1., -2.])"),
    "ceil": ("the next integer upwards", "fb.ceil(fb.tensor([1.5, -1.5]))", "tensor([ 2., -1.])"),
    "trunc": ("the integer part", "fb.trunc(fb.tensor([1.5, -1.5]))", "tensor([ 1., -1.])"),
    "frac": (
        "what trunc leaves: input - trunc(input)",
        "fb.frac(fb.tensor([1.5, -1.25]))",
        "tensor([ 0.5000, -0.2500])",
    ),
    "add": (
        "input + other; with ``alpha``, input + alpha * other",
        "fb.add(fb.tensor([1.0, 2.0]), 10)",
        "tensor([11., 12.])",
    ),
    "sub": (
        "input - other; with ``alpha``, input - alpha * other",
        "fb.sub(fb.tensor([1.0, 2.0]), 10)",
        "tensor([-9., -8.])",
    ),
    "mul": (
        "input * other",
        "fb.mul(fb.tensor([[1.0], [2.0]]), fb.tensor([3.0, 4.0]))",
        "tensor([[3., 4.],\n        [6., 8.]])",
    ),
    "div": ("input / other, true division", "fb.div(fb.tensor([1, 2]), 4)", "tensor([0.2500, 0.5000])"),
    "floor_divide": (
        "the next integer below input / other, as // in Python",
        "fb.floor_divide(fb.tensor([7.0, -7.0]), 2)",
        "tensor([ 3., -4.])",
    ),
    "fmod": (
        "what division leaves, with the sign of input, as fmod in C",
        "fb.fmod(fb.tensor([7.0, -7.0]), 3)",
        "tensor([ 1., -1.])",
    ),
    "remainder": (
        "what floor division leaves, with the sign of other, as % in Python",
        "fb.remainder(fb.tensor([7.0, -7.0]), 3)",
        "tensor([1., 2.])",
    ),
    "pow": ("input to the power of other", "fb.pow(fb.tensor([1.0, 2.0, 3.0]), 2)", "tensor([1., 4., 9.])"),
    "maximum": (
        "the larger of the two; nan if either is",
        "fb.maximum(fb.tensor([1.0, 5.0]), fb.tensor([3.0, 2.0]))",
        "tensor([3., 5.])",
    ),
    "minimum": (
        "the smaller of the two; nan if either is",
        "fb.minimum(fb.tensor([1.0, 5.0]), fb.tensor([3.0, 2.0]))",
        "tensor([1., 2.])",
    ),
    "fmax": (
        "the larger of the two; a nan gives way to a number",
        'fb.fmax(fb.tensor([1.0, float("nan")]), fb.tensor([3.0, 2.0]))',
        "tensor([3., 2.])",
    ),
    "fmin": (
        "the smaller of the two; a nan gives way to a number",
        'fb.fmin(fb.tensor([1.0, float("nan")]), fb.tensor([3.0, 2.0]))',
        "tensor([1., 2.])",
    ),
    "lt": ("whether input < other", "fb.lt(fb.tensor([1, 2, 3]), 2)", "tensor([ True, False, False])"),
    "le": ("whether input <= other", "fb.le(fb.tensor([1, 2, 3]), 2)", "tensor([ True,  True, False])"),
    "gt": ("whether input > other", "fb.gt(fb.tensor([1, 2, 3]), 2)", "tensor([False, False,  True])"),
    "ge": ("whether input >= other", "fb.ge(fb.tensor([1, 2, 3]), 2)", "tensor([False,  True,  True])"),
    "eq": (
        "whether the two are equal; nan equals nothing",
        "fb.eq(fb.tensor([1, 2, 3]), 2)",
        "tensor([False,  True, False])",
    ),
    "ne": ("whether the two differ", "fb.ne(fb.tensor([1, 2, 3]), 2)", "tensor([ True, False,  True])"),
    "bitwise_and": (
        "the bits that both have; of bools, and",
        "fb.bitwise_and(fb.tensor([12, 10]), 6)",
        "tensor([4, 2])",
    ),
    "bitwise_or": (
        "the bits that either has; of bools, or",
        "fb.bitwise_or(fb.tensor([12, 10]), 6)",
        "tensor([14, 14])",
    ),
    "bitwise_xor": (
        "the bits that one of the two has; of bools, whether they differ",
        "fb.bitwise_xor(fb.tensor([12, 10]), 6)",
        "tensor([10, 12])",
    ),
    "bitwise_not": ("every bit turned; of bools, not", "fb.bitwise_not(fb.tensor([0, 5]))", "tensor([-1, -6])"),
    "shl": (
        "the bits moved to the left; 0 for a shift by the width or more",
        "fb.bitwise_left_shift(fb.tensor([1, 3]), 2)",
        "tensor([ 4, 12])",
    ),
    "shr": (
        "the bits moved to the right; a negative number keeps its sign",
        "fb.bitwise_right_shift(fb.tensor([8, -8]), 2)",
        "tensor([ 2, -2])",
    ),
    "positive": ("input itself", "fb.positive(fb.tensor([1.0, -2.0]))", "tensor([ 1., -2.])"),
    "sign": ("-1, 0 or 1", "fb.sign(fb.tensor([-3.0, 0.0, 2.0]))", "tensor([-1.,  0.,  1.])"),
    "signbit": (
        "whether the sign bit is set, that of -0.0 included",
        "fb.signbit(fb.tensor([-0.0, 0.0]))",
        "tensor([ True, False])",
    ),
    "reciprocal": ("1 / input", "fb.reciprocal(fb.tensor([2.0, 4.0]))", "tensor([0.5000, 0.2500])"),
    "rsqrt": ("1 / sqrt(input)", "fb.rsqrt(fb.tensor([4.0, 16.0]))", "tensor([0.5000, 0.2500])"),
    "square": ("input * input", "fb.square(fb.tensor([3.0, -4.0]))", "tensor([ 9., 16.])"),
    "hypot": (
        "sqrt(input² + other²) without overflow on the way",
        "fb.hypot(fb.tensor([3.0]), fb.tensor([4.0]))",
        "tensor([5.])",
    ),
    "copysign": (
        "the size of input with the sign of other",
        "fb.copysign(fb.tensor([1.0, 2.0]), -1)",
        "tensor([-1., -2.])",
    ),
    "lerp": (
        "input + weight * (end - input)",
        "fb.lerp(fb.tensor([0.0, 10.0]), fb.tensor([10.0, 20.0]), 0.5)",
        "tensor([ 5., 15.])",
    ),
    "exp2": ("2 to the power of input", "fb.exp2(fb.tensor([0.0, 3.0]))", "tensor([1., 8.])"),
    "expm1": ("exp(input) - 1, accurate near 0", "fb.expm1(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 1.7183])"),
    "log2": ("the logarithm to base 2", "fb.log2(fb.tensor([1.0, 8.0]))", "tensor([0., 3.])"),
    "log10": ("the logarithm to base 10", "fb.log10(fb.tensor([1.0, 2.0]))", "tensor([0.0000, 0.3010])"),
    "log1p": ("log(1 + input), accurate near 0", "fb.log1p(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 0.6931])"),
    "logaddexp": (
        "log(exp(input) + exp(other)) without overflow on the way",
        "fb.logaddexp(fb.tensor([1000.0]), fb.tensor([1000.0]))",
        "tensor([1000.6932])",
    ),
    "logaddexp2": (
        "log2(2**input + 2**other) without overflow on the way",
        "fb.logaddexp2(fb.tensor([1000.0]), fb.tensor([1000.0]))",
        "tensor([1001.])",
    ),
    "tan": ("the tangent of an angle in radians", "fb.tan(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 1.5574])"),
    "asin": ("the angle in [-π/2, π/2] with this sine", "fb.asin(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 1.5708])"),
    "acos": ("the angle in [0, π] with this cosine", "fb.acos(fb.tensor([0.0, 1.0]))", "tensor([1.5708, 0.0000])"),
    "atan": (
        "the angle in (-π/2, π/2) with this tangent",
        "fb.atan(fb.tensor([0.0, 1.0]))",
        "tensor([0.0000, 0.7854])",
    ),
    "atan2": (
        "the angle of the point (other, input), in [-π, π]",
        "fb.atan2(fb.tensor([1.0, 1.0]), fb.tensor([1.0, -1.0]))",
        "tensor([0.7854, 2.3562])",
    ),
    "sinh": ("the hyperbolic sine", "fb.sinh(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 1.1752])"),
    "cosh": ("the hyperbolic cosine", "fb.cosh(fb.tensor([0.0, 1.0]))", "tensor([1.0000, 1.5431])"),
    "tanh": ("the hyperbolic tangent", "fb.tanh(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 0.7616])"),
    "asinh": ("the inverse of sinh", "fb.asinh(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 0.8814])"),
    "acosh": ("the inverse of cosh, at least 0", "fb.acosh(fb.tensor([1.0, 2.0]))", "tensor([0.0000, 1.3170])"),
    "atanh": ("the inverse of tanh", "fb.atanh(fb.tensor([0.0, 0.5]))", "tensor([0.0000, 0.5493])"),
    "sinc": ("sin(π input) / (π input), 1 at zero", "fb.sinc(fb.tensor([0.0, 0.5]))", "tensor([1.0000, 0.6366])"),
    "erf": ("the error function", "fb.erf(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 0.8427])"),
    "erfc": (
        "1 - erf(input), accurate where that is small",
        "fb.erfc(fb.tensor([0.0, 1.0]))",
        "tensor([1.0000, 0.1573])",
    ),
    "erfinv": ("the inverse of erf, on (-1, 1)", "fb.erfinv(fb.tensor([0.0, 0.5]))", "tensor([0.0000, 0.4769])"),
    "digamma": ("the derivative of lgamma", "fb.digamma(fb.tensor([1.0, 2.0]))", "tensor([-0.5772,  0.4228])"),
    "lgamma": (
        "the logarithm of the absolute value of the gamma function",
        "fb.lgamma(fb.tensor([1.0, 5.0]))",
        "tensor([0.0000, 3.1781])",
    ),
    "i0": (
        "the modified Bessel function of the first kind, of order 0",
        "fb.i0(fb.tensor([0.0, 1.0]))",
        "tensor([1.0000, 1.2661])",
    ),
    "i0e": ("i0(input) * exp(-abs(input))", "fb.special.i0e(fb.tensor([0.0, 1.0]))", "tensor([1.0000, 0.4658])"),
    "i1": (
        "the modified Bessel function of the first kind, of order 1",
        "fb.special.i1(fb.tensor([0.0, 1.0]))",
        "tensor([0.0000, 0.5652])",
    ),
    "i1e": ("i1(input) * exp(-abs(input))", "fb.special.i1e(fb.tensor([0.0, 1.0]))", "tensor([0.0000, 0.2079])"),
    "zeta": (
        "the Hurwitz zeta function: the sum over n from 0 of (n + other) to the power of -input",
        "fb.special.zeta(fb.tensor([2.0]), fb.tensor([1.0]))",
        "tensor([1.6449])",
    ),
    "sigmoid": (
        "1 / (1 + exp(-input)), without overflow",
        "fb.sigmoid(fb.tensor([0.0, 2.0]))",
        "tensor([0.5000, 0.8808])",
    ),
    "relu": ("input above zero, else 0; nan stays", "fb.relu(fb.tensor([-1.0, 2.0]))", "tensor([0., 2.])"),
    "xlogy": (
        "input * log(other), 0 where input is 0",
        "fb.xlogy(fb.tensor([0.0, 2.0]), fb.tensor([0.0, 2.0]))",
        "tensor([0.0000, 1.3863])",
    ),
    "heaviside": (
        "0 below zero, other at zero, 1 above",
        "fb.heaviside(fb.tensor([-1.0, 0.0, 1.0]), 0.5)",
        "tensor([0.0000, 0.5000, 1.0000])",
    ),
    "deg2rad": ("degrees as radians", "fb.deg2rad(fb.tensor([180.0, 90.0]))", "tensor([3.1416, 1.5708])"),
    "rad2deg": ("radians as degrees", "fb.rad2deg(fb.tensor([3.1416]))", "tensor([180.0004])"),
    "isnan": ("whether the value is nan", 'fb.isnan(fb.tensor([1.0, float("nan")]))', "tensor([False,  True])"),
    "logical_not": ("whether the value is zero", "fb.logical_not(fb.tensor([0.0, 2.0]))", "tensor([ True, False])"),
    "logical_and": (
        "whether both are nonzero",
        "fb.logical_and(fb.tensor([0, 1, 2]), fb.tensor([1, 0, 3]))",
        "tensor([False, False,  True])",
    ),
    "logical_or": (
        "whether one of the two is nonzero",
        "fb.logical_or(fb.tensor([0, 1, 2]), fb.tensor([0, 0, 3]))",
        "tensor([False,  True,  True])",
    ),
    "logical_xor": (
        "whether exactly one of the two is nonzero",
        "fb.logical_xor(fb.tensor([0, 1, 2]), fb.tensor([1, 0, 3]))",
        "tensor([ True,  True, False])",
    ),
    "clamp_min": (
        "the larger of input and the bound; nan stays",
        "fb.clamp_min(fb.tensor([-1.0, 2.0]), 0)",
        "tensor([0., 2.])",
    ),
    "clamp_max": (
        "the smaller of input and the bound; nan stays",
        "fb.clamp_max(fb.tensor([-1.0, 2.0]), 0)",
        "tensor([-1.,  0.])",
    ),
    "nextafter": (
        "the next number after input in the direction of other",
        "fb.nextafter(fb.tensor([1.0]), fb.tensor([2.0])) > 1",
        "tensor([True])",
    ),
    "addmm": (
        "",
        "fb.addmm(fb.ones(2), fb.ones(2, 3), fb.ones(3, 2))",
        "tensor([[4., 4.],\n        [4., 4.]])",
    ),
    "addmv": (
        "",
        "fb.addmv(fb.ones(2), fb.ones(2, 3), fb.ones(3))",
        "tensor([4., 4.])",
    ),
    "addr": (
        "",
        "fb.addr(fb.zeros(2, 2), fb.tensor([1.0, 2.0]), fb.tensor([3.0, 4.0]))",
        "tensor([[3., 4.],\n        [6., 8.]])",
    ),
    "addcmul": (
        "",
        "fb.addcmul(fb.ones(2), fb.tensor([1.0, 2.0]), fb.tensor([3.0, 4.0]))",
        "tensor([4., 9.])",
    ),
    "addcdiv": (
        "",
        "fb.addcdiv(fb.ones(2), fb.tensor([1.0, 2.0]), fb.tensor([4.0, 4.0]))",
        "tensor([1.2500, 1.5000])",
    ),
    "baddbmm": (
        "",
        "fb.baddbmm(fb.ones(1, 1, 1), fb.ones(1, 1, 2), fb.ones(1, 2, 1))",
        "tensor([[[3.]]])",
    ),
    "addbmm": (
        "",
        "fb.addbmm(fb.ones(1, 1), fb.ones(2, 1, 2), fb.ones(2, 2, 1))",
        "tensor([[5.]])",
    ),
    "det": (
        "",
        "fb.linalg.det(fb.tensor([[2.0, 0.0], [0.0, 3.0]]))",
        "tensor(6.)",
    ),
    "inv": (
        "",
        "fb.linalg.inv(fb.tensor([[2.0]]))",
        "tensor([[0.5000]])",
    ),
}


def describe(op: Op) -> str:
    """The docstring of an op's public function: the record's own, or one made of its facts.

    >>> from flambeau.core.record import OPS
    >>> describe(OPS["square"]).splitlines()[:3]
    ['Elementwise: input * input.', '', 'Takes every dtype but bool; differentiable.']
    """
    if op.name not in _TEXTS:
        return op.doc
    meaning, call, result = _TEXTS[op.name]
    example = f"\n\n>>> {call}\n{result}\n"
    if op.doc:
        return op.doc if ">>>" in op.doc else op.doc + example
    takes = _TAKES.get(op.dtype.name, "every dtype")
    gradient = "differentiable" if op.differentiable and (op.gradients or op.decomposes) else "not differentiable"
    broadcast = " The operands are broadcast and promoted." if len(op.schema.operands) > 1 else ""
    return f"Elementwise: {meaning}.{broadcast}\n\nTakes {takes}; {gradient}.{example}"


def signature(op: Op, *, inplace: bool = False) -> Signature:
    """The arguments of an op's public function, under the names that users type.

    >>> from flambeau.core.record import OPS
    >>> print(signature(OPS["square"]))
    (input: 'Tensor', *, out: 'Tensor | None' = None) -> 'Tensor'
    """
    parameters = [
        Parameter(
            a.public,
            Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if a.default is REQUIRED else a.default,
            annotation=_TYPES.get(a.type, a.type),
        )
        for a in (*op.schema.operands, *op.schema.params)
    ]
    more: dict[str, Any] = dict.fromkeys(op.keywords, "Any") | ({} if inplace else {"out": "Tensor | None"})
    parameters += [Parameter(n, Parameter.KEYWORD_ONLY, default=None, annotation=t) for n, t in more.items()]
    result = "Tensor" if inplace or len(op.schema.outputs) == 1 else "tuple[Tensor, ...]"
    return Signature(parameters, return_annotation=result, __validate_parameters__=False)
