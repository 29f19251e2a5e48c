"""Convolutions, pooling, padding and sampling in torch's own namespace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core.creation import ones_like
from flambeau.core.dtype import Number, bool_
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.padding import pad as padded
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F

_SAMPLING = ("bilinear", "nearest", "bicubic")
_BEYOND = ("zeros", "border", "reflection")


# -- convolutions --------------------------------------------------------------------------------------
def convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """The convolution, or the transposed one, over as many axes as ``weight`` has after its first two.

    >>> fb.convolution(fb.ones(1, 1, 3), fb.ones(1, 1, 2), None, [1], [0], [1], False, [0], 1)
    tensor([[[2., 2.]]])
    """
    n = weight.ndim - 2
    plain: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
    turned: tuple[Callable[..., Tensor], ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
    if not 1 <= n <= 3:
        raise ShapeError(f"convolution: weight must have 3, 4 or 5 dimensions, got shape {tuple(weight.shape)}")
    sizes = [_per_axis(v, n) for v in (stride, padding, dilation, output_padding)]
    if transposed:
        return turned[n - 1](input, weight, bias, sizes[0], sizes[1], sizes[3], groups, sizes[2])
    return plain[n - 1](input, weight, bias, sizes[0], sizes[1], sizes[2], groups)


def _per_axis(value: Sequence[int], n: int) -> tuple[int, ...]:
    """One number for all axes may stand alone."""
    given = tuple(value)
    return given * n if len(given) == 1 else given


# -- pooling and padding -------------------------------------------------------------------------------
def adaptive_max_pool1d(input: Tensor, output_size: int | Sequence[int]) -> tuple[Tensor, Tensor]:
    """Maxima of ``output_size`` windows that cover (N, C, S) evenly, and where they stand.

    >>> fb.adaptive_max_pool1d(fb.tensor([[1.0, 3.0, 2.0]]), 1)
    (tensor([[3.]]), tensor([[1]]))
    """
    size: Any = output_size if isinstance(output_size, int) else tuple(output_size)
    return F.adaptive_max_pool1d(input, size, True)


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: Number = 0) -> Tensor:
    """``input`` with ``value`` before and after: a pair of counts for each axis, those of the last axis first.

    >>> fb.constant_pad_nd(fb.tensor([1, 2]), (1, 1))
    tensor([0, 1, 2, 0])
    """
    if not isinstance(value, complex):
        return padded(input, tuple(pad), "constant", value)
    inside = padded(ones_like(input, dtype=bool_), tuple(pad))
    return where(inside, padded(input, tuple(pad)), value)


# -- grids ---------------------------------------------------------------------------------------------
def affine_grid_generator(theta: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """:func:`flambeau.nn.functional.affine_grid` with all arguments.

    >>> fb.affine_grid_generator(fb.eye(2, 3).unsqueeze(0), (1, 1, 1, 2), True).flatten()
    tensor([-1.,  0.,  1.,  0.])
    """
    return F.affine_grid(theta, size, align_corners)


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """:func:`flambeau.nn.functional.grid_sample` by numbers: bilinear, nearest, bicubic; zeros, border, reflection.

    >>> fb.grid_sampler(fb.ones(1, 1, 2, 2), fb.zeros(1, 1, 1, 2), 0, 0, True).item()
    1.0
    """
    return _sampled("grid_sampler", input, grid, interpolation_mode, padding_mode, align_corners)


def grid_sampler_2d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """:func:`grid_sampler` of images (N, C, H, W).

    >>> fb.grid_sampler_2d(fb.ones(1, 1, 2, 2), fb.zeros(1, 1, 1, 2), 0, 0, True).item()
    1.0
    """
    return _sampled("grid_sampler_2d", input, grid, interpolation_mode, padding_mode, align_corners, 4)


def grid_sampler_3d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """:func:`grid_sampler` of volumes (N, C, D, H, W).

    >>> fb.grid_sampler_3d(fb.ones(1, 1, 2, 2, 2), fb.zeros(1, 1, 1, 1, 3), 0, 0, True).item()
    1.0
    """
    return _sampled("grid_sampler_3d", input, grid, interpolation_mode, padding_mode, align_corners, 5)


def _sampled(
    name: str, input: Tensor, grid: Tensor, mode: int, beyond: int, align_corners: bool, ndim: int | None = None
) -> Tensor:
    if ndim is not None and input.ndim != ndim:
        raise ShapeError(f"{name}: input must have {ndim} dimensions, got shape {tuple(input.shape)}")
    if not 0 <= mode < len(_SAMPLING) or not 0 <= beyond < len(_BEYOND):
        raise ValueError(f"{name}: interpolation_mode and padding_mode must be 0, 1 or 2, got {mode} and {beyond}")
    return F.grid_sample(input, grid, _SAMPLING[mode], _BEYOND[beyond], align_corners)
