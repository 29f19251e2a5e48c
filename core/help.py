"""What ``help`` shows of the functions made from records: signature, meaning, dtypes, gradient, an example."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Final

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


def describe(op: Op) -> str:
    """The docstring of an op's public function: the record's own, or one made of its facts.

    >>> from flambeau.core.record import OPS
    >>> describe(OPS["square"]).splitlines()[:3]
    ['Elementwise: input * input.', '', 'Takes every dtype but bool; differentiable.']
    """
    call, _, result = op.example.partition(" -> ")
    example = f"\n\n>>> {call}\n{result}\n" if call else ""
    if not call or op.body is not None or op.family.name != "elementwise":
        return op.doc + example
    takes = _TAKES.get(op.dtype.name, "every dtype")
    gradient = "differentiable" if op.differentiable and (op.gradients or op.decomposes) else "not differentiable"
    broadcast = " The operands are broadcast and promoted." if len(op.schema.operands) > 1 else ""
    return f"Elementwise: {op.doc}.{broadcast}\n\nTakes {takes}; {gradient}.{example}"


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
    more = {k: [*fn.__annotations__.values(), "Any", "Any"][1] for k, fn in op.keywords.items()}  # type of the value
    more |= {} if inplace else {"out": "Tensor | None"}
    parameters += [Parameter(n, Parameter.KEYWORD_ONLY, default=None, annotation=t) for n, t in more.items()]
    result = "Tensor" if inplace or len(op.schema.outputs) == 1 else "tuple[Tensor, ...]"
    return Signature(parameters, return_annotation=result, __validate_parameters__=False)
