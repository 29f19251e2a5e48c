"""Pooling of 1 to 3 dimensions, in torch's signatures. Input (N, C, *S) or, without a batch, (C, *S)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core.errors import ShapeError
from flambeau.core.ops.nn import pool as ops
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.conv import Sizes, batched, sizes

Pair = tuple[Tensor, Tensor]


def _max_pool(
    n: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    name = f"max_pool{n}d"
    input, added = batched(input, n, name)
    kernel = sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None or stride == [] else sizes(stride, n, f"{name}: stride")
    padding, dilation = sizes(padding, n, f"{name}: padding"), sizes(dilation, n, f"{name}: dilation")
    out, indices = ops.max_pool_p(input, kernel, stride, padding, dilation, ceil_mode)
    if added:
        out, indices = out.squeeze(0), indices.squeeze(0)
    return (out, indices) if return_indices else out


def _define_max_pool(n: int) -> tuple[Callable[..., Any], Callable[..., Pair]]:
    def max_pool(
        input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        return _max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)

    def with_indices(
        input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
        ceil_mode: bool = False, return_indices: bool = True,
    ) -> Pair:  # fmt: skip
        found: Pair = _max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode, True)
        return found

    max_pool.__name__ = max_pool.__qualname__ = f"max_pool{n}d"
    call = f">>> fb.nn.functional.max_pool{n}d"
    x, result = f"fb.ones(1, 3{', 8' * n})", f"flambeau.Size([1, 3{', 4' * n}])"
    max_pool.__doc__ = (
        f"The largest of each window over {n} dimension(s); nan counts as the largest.\n\n"
        f"{call}({x}, 2).shape\n{result}\n"
    )
    with_indices.__name__ = with_indices.__qualname__ = f"max_pool{n}d_with_indices"
    with_indices.__doc__ = (
        f"max_pool{n}d, and where each maximum is in the flattened sizes.\n\n"
        f"{call}_with_indices({x}, 2)[1].shape\n{result}\n"
    )
    return max_pool, with_indices


max_pool1d, max_pool1d_with_indices = _define_max_pool(1)
max_pool2d, max_pool2d_with_indices = _define_max_pool(2)
max_pool3d, max_pool3d_with_indices = _define_max_pool(3)


def _avg_pool(
    n: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    name = f"avg_pool{n}d"
    if divisor == 0:
        raise RuntimeError(f"{name}: divisor_override must not be zero")
    input, added = batched(input, n, name)
    kernel = sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None or stride == [] else sizes(stride, n, f"{name}: stride")
    padding = sizes(padding, n, f"{name}: padding")
    out: Tensor = ops.avg_pool_p(input, kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    return out.squeeze(0) if added else out


def avg_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, S).

    >>> fb.nn.functional.avg_pool1d(fb.ones(1, 3, 8), 2).shape
    flambeau.Size([1, 3, 4])
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, H, W); ``divisor_override`` divides the sums instead of the counts.

    >>> fb.nn.functional.avg_pool2d(fb.ones(1, 3, 8, 8), 2).shape
    flambeau.Size([1, 3, 4, 4])
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, D, H, W).

    >>> fb.nn.functional.avg_pool3d(fb.ones(1, 3, 8, 8, 8), 2).shape
    flambeau.Size([1, 3, 4, 4, 4])
    """
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


# -- adaptive ----------------------------------------------------------------------------------------
def _output_size(value: Any, input: Tensor, n: int, name: str) -> tuple[int, ...]:
    """``n`` sizes; None keeps the input's."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(values) != n:
        raise ShapeError(f"{name}: output_size must be an int or {n} ints, got {value!r}")
    found = tuple(input.shape[i + 2] if v is None else int(v) for i, v in enumerate(values))
    if any(v < 1 for v in found) or 0 in input.shape[2:]:
        raise ShapeError(f"{name}: output_size {found} and the sizes of input {tuple(input.shape)} must be at least 1")
    return found


def _adaptive_avg(n: int, input: Tensor, output_size: Any) -> Tensor:
    name = f"adaptive_avg_pool{n}d"
    input, added = batched(input, n, name)
    out: Tensor = ops.adaptive_avg_pool(input, _output_size(output_size, input, n, name))
    return out.squeeze(0) if added else out


def _adaptive_max(n: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    name = f"adaptive_max_pool{n}d"
    input, added = batched(input, n, name)
    out, indices = ops.adaptive_max_pool(input, _output_size(output_size, input, n, name))
    if added:
        out, indices = out.squeeze(0), indices.squeeze(0)
    return (out, indices) if return_indices else out


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of ``output_size`` windows that cover (N, C, S) evenly.

    >>> fb.nn.functional.adaptive_avg_pool1d(fb.ones(1, 3, 8), 2).shape
    flambeau.Size([1, 3, 2])
    """
    return _adaptive_avg(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size.

    >>> fb.nn.functional.adaptive_avg_pool2d(fb.ones(1, 3, 8, 8), 2).shape
    flambeau.Size([1, 3, 2, 2])
    """
    return _adaptive_avg(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size.

    >>> fb.nn.functional.adaptive_avg_pool3d(fb.ones(1, 3, 8, 8, 8), 2).shape
    flambeau.Size([1, 3, 2, 2, 2])
    """
    return _adaptive_avg(3, input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of ``output_size`` windows that cover (N, C, S) evenly.

    >>> fb.nn.functional.adaptive_max_pool1d(fb.ones(1, 3, 8), 2).shape
    flambeau.Size([1, 3, 2])
    """
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size.

    >>> fb.nn.functional.adaptive_max_pool2d(fb.ones(1, 3, 8, 8), 2).shape
    flambeau.Size([1, 3, 2, 2])
    """
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size.

    >>> fb.nn.functional.adaptive_max_pool3d(fb.ones(1, 3, 8, 8, 8), 2).shape
    flambeau.Size([1, 3, 2, 2, 2])
    """
    return _adaptive_max(3, input, output_size, return_indices)


# -- power averages ----------------------------------------------------------------------------------
def _lp_pool(n: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    kernel = sizes(kernel_size, n, f"lp_pool{n}d: kernel_size")
    mean = _avg_pool(n, input.pow(norm_type), kernel, stride, 0, ceil_mode, True, None)
    return (mean.sign() * mean.abs().relu() * math.prod(kernel)).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Tensor:
    """The ``norm_type``-norm of each window of (N, C, S).

    >>> fb.nn.functional.lp_pool1d(fb.ones(1, 3, 8), 2, 2).shape
    flambeau.Size([1, 3, 4])
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Tensor:
    """The ``norm_type``-norm of each window of (N, C, H, W).

    >>> fb.nn.functional.lp_pool2d(fb.ones(1, 3, 8, 8), 2, 2).shape
    flambeau.Size([1, 3, 4, 4])
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Tensor:
    """The ``norm_type``-norm of each window of (N, C, D, H, W).

    >>> fb.nn.functional.lp_pool3d(fb.ones(1, 3, 8, 8, 8), 2, 2).shape
    flambeau.Size([1, 3, 4, 4, 4])
    """
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


# -- unpooling ---------------------------------------------------------------------------------------
def _max_unpool(
    n: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Sequence[int] | None,
) -> Tensor:
    name = f"max_unpool{n}d"
    if tuple(input.shape) != tuple(indices.shape):
        raise ShapeError(
            f"{name}: input of shape {tuple(input.shape)} and indices of shape {tuple(indices.shape)} must agree"
        )
    input, added = batched(input, n, name)
    kernel = sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None else sizes(stride, n, f"{name}: stride")
    padding = sizes(padding, n, f"{name}: padding")
    usual = [(o - 1) * s - 2 * p + k for o, s, p, k in zip(input.shape[2:], stride, padding, kernel, strict=True)]
    spatial = tuple(usual if output_size is None else tuple(output_size)[-n:])
    if len(spatial) != n or any(abs(a - b) >= s for a, b, s in zip(spatial, usual, stride, strict=True)):
        raise ShapeError(
            f"{name}: output_size {output_size} must be near {tuple(usual)} (less than stride {stride} away)"
        )
    lead, size = tuple(input.shape[:2]), math.prod(spatial)
    places = indices.reshape(*lead, -1)
    out: Tensor = input.new_zeros(*lead, size).scatter(-1, places, input.reshape(*lead, -1)).reshape(*lead, *spatial)
    return out.squeeze(0) if added else out


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros with each maximum of max_pool1d back in its place.

    >>> out, indices = fb.nn.functional.max_pool1d(fb.ones(1, 3, 8), 2, return_indices=True)
    >>> fb.nn.functional.max_unpool1d(out, indices, 2).shape
    flambeau.Size([1, 3, 8])
    """
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros with each maximum of max_pool2d back in its place.

    >>> out, indices = fb.nn.functional.max_pool2d(fb.ones(1, 3, 8, 8), 2, return_indices=True)
    >>> fb.nn.functional.max_unpool2d(out, indices, 2).shape
    flambeau.Size([1, 3, 8, 8])
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros with each maximum of max_pool3d back in its place.

    >>> out, indices = fb.nn.functional.max_pool3d(fb.ones(1, 3, 8, 8, 8), 2, return_indices=True)
    >>> fb.nn.functional.max_unpool3d(out, indices, 2).shape
    flambeau.Size([1, 3, 8, 8, 8])
    """
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)
