"""What programs ask of quantized tensors: there are none, which the questions say; :func:`dequantize` converts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from flambeau.core.dtype import float32
from flambeau.core.errors import MissingKernelError
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

#: name -> what it would tell, and whether it is a function too.
_QUESTIONS: Final = {
    "int_repr": ("The integers that stand for the numbers", True),
    "q_scale": ("What an integer is multiplied by", True),
    "q_zero_point": ("The integer that stands for 0", True),
    "q_per_channel_scales": ("What integers are multiplied by, by channel", True),
    "q_per_channel_zero_points": ("The integers that stand for 0, by channel", True),
    "q_per_channel_axis": ("The dimension of the channels", True),
    "qscheme": ("How numbers and integers belong together", False),
}


def _question(name: str, told: str) -> Callable[[Tensor], NoReturn]:
    def ask(input: Tensor) -> NoReturn:
        raise MissingKernelError(f"{name}: expected a quantized tensor, got one of {input.dtype.name}")

    ask.__name__ = ask.__qualname__ = name
    ask.__doc__ = f"{told}, of a quantized tensor; NotImplementedError for any other."
    return ask


for _name, (_told, _both) in _QUESTIONS.items():
    public(_name, function=_both)(_question(_name, _told))


@public()
def dequantize(input: Tensor | Sequence[Tensor]) -> Tensor:
    """The numbers as float32. Lists are for quantized tensors alone: NotImplementedError.

    >>> fb.tensor([1, 2]).dequantize()
    tensor([1., 2.])
    """
    if not isinstance(input, Tensor):
        raise MissingKernelError("dequantize: expected a list of quantized tensors, got others")
    return input.to(float32)


@public(function=False)
def to_mkldnn(self: Tensor, dtype: object = None) -> NoReturn:
    """RuntimeError: the layout is that of a library, oneDNN, which is not used."""
    raise RuntimeError("to_mkldnn: this build has no oneDNN, so that no tensor has its layout")
