"""Rounding to what an integer could hold, and back: how training gets used to quantization.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
arXiv:1712.05877. The gradient passes where a value was within the range, as if nothing had been rounded.
"""

from __future__ import annotations

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.shape import axis_of
from flambeau.core.public import public
from flambeau.core.tensor import Tensor


@public(method=False)
@autocasting("float32|same")
def fake_quantize_per_tensor_affine(
    input: Tensor, scale: float | Tensor, zero_point: int | Tensor, quant_min: int, quant_max: int
) -> Tensor:
    """(clamp(round(x / scale + zero_point), quant_min, quant_max) - zero_point) * scale.

    >>> fb.fake_quantize_per_tensor_affine(fb.tensor([0.3, 9.0]), 0.5, 0, 0, 7)
    tensor([0.5000, 3.5000])
    """
    _check("fake_quantize_per_tensor_affine", input, quant_min, quant_max)
    return _rounded(input, scale, zero_point, quant_min, quant_max)


@public(method=False)
def fake_quantize_per_channel_affine(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """:func:`fake_quantize_per_tensor_affine` with a scale and zero point for each place along ``axis``.

    >>> fb.fake_quantize_per_channel_affine(fb.tensor([0.3, 0.3]), fb.tensor([0.5, 1.0]), fb.tensor([0, 0]), 0, 0, 7)
    tensor([0.5000, 0.0000])
    """
    name = "fake_quantize_per_channel_affine"
    _check(name, input, quant_min, quant_max)
    at = axis_of(name, input, axis)
    for which, t in (("scale", scale), ("zero_point", zero_point)):
        if tuple(t.shape) != (input.shape[at],):
            raise ShapeError(
                f"{name}: {which} of shape {tuple(t.shape)} must be ({input.shape[at]},), one for each channel"
            )
    shape = [-1 if i == at else 1 for i in range(input.ndim)]
    return _rounded(input, scale.reshape(shape), zero_point.reshape(shape), quant_min, quant_max)


def _check(name: str, input: Tensor, low: int, high: int) -> None:
    if input.dtype.category != dt.FLOATING:
        raise DTypeError(f"{name}: input must be floating, got {input.dtype.name}")
    if low > high:
        raise ArgumentError(f"{name}: quant_min must not be greater than quant_max, got {low} and {high}")


def _rounded(x: Tensor, scale: float | Tensor, zero: int | Tensor, low: int, high: int) -> Tensor:
    scale = scale.detach().to(x.dtype) if isinstance(scale, Tensor) else scale
    zero = zero.detach().to(x.dtype) if isinstance(zero, Tensor) else zero
    places = (x.detach() * (1 / scale) + zero).round()
    inside = (places >= low) & (places <= high)
    rounded = (places.clamp(low, high) - zero) * scale
    return rounded + where(inside, x - x.detach(), 0.0)
