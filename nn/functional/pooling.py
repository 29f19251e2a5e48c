"""Pooling of 1 to 3 dimensions, in torch's signatures. Input (N, C, *S) or, without a batch, (C, *S)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol, overload

from flambeau.core.autocast import autocasting
from flambeau.core.dtype import int64
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.nn import pool as ops
from flambeau.core.out import deliver
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.conv import Sizes, batched, sizes, without_batch
from flambeau.nn.functional.family import family

Pair = tuple[Tensor, Tensor]
OutputSizes = int | None | Sequence[int | None]  # None keeps the input's


class MaxPool(Protocol):
    """The signature of the max_pool functions: what comes back depends on ``return_indices``."""

    @overload
    def __call__(
        self, input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
        ceil_mode: bool = False, return_indices: Literal[False] = False,
    ) -> Tensor: ...  # fmt: skip
    @overload
    def __call__(
        self, input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
        ceil_mode: bool = False, *, return_indices: Literal[True],
    ) -> Pair: ...  # fmt: skip


def _max_pool(
    n: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> tuple[Pair, bool]:
    """Both results, with a batch axis, and whether one had to be added."""
    name = f"max_pool{n}d"
    input, added = batched(input, n, name)
    kernel = sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None or stride in ((), []) else sizes(stride, n, f"{name}: stride")
    padding, dilation = sizes(padding, n, f"{name}: padding"), sizes(dilation, n, f"{name}: dilation")
    return ops.max_pool_p(input, kernel, stride, padding, dilation, ceil_mode), added


@family
@autocasting("float32|same", first=3)
def max_pool_nd(
    n: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # Any: as MaxPool says  # fmt: skip
    """The largest of each window of (N, C, {axes}); nan counts as the largest.

    >>> fb.nn.functional.max_pool{n}d(fb.ones(1, 3{s:8}), 2).shape
    flambeau.Size([1, 3{s:4}])
    """
    (found, indices), added = _max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode)
    if return_indices:
        return (without_batch(found), without_batch(indices)) if added else (found, indices)
    return without_batch(found) if added else found


@family
def max_pool_nd_with_indices(
    n: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = True,
) -> Pair:  # fmt: skip
    """max_pool{n}d, and where each maximum is in the flattened sizes.

    >>> fb.nn.functional.max_pool{n}d_with_indices(fb.ones(1, 3{s:8}), 2)[1].shape
    flambeau.Size([1, 3{s:4}])
    """
    pair, added = _max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode)
    return (without_batch(pair[0]), without_batch(pair[1])) if added else pair


max_pool1d: MaxPool
max_pool2d: MaxPool
max_pool3d: MaxPool
max_pool1d, max_pool2d, max_pool3d = max_pool_nd
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = max_pool_nd_with_indices


@family
@autocasting("float32|same", first=3)
def avg_pool_nd(
    n: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, {axes}); ``divisor_override`` divides the sums instead of the counts.

    >>> fb.nn.functional.avg_pool{n}d(fb.ones(1, 3{s:8}), 2).shape
    flambeau.Size([1, 3{s:4}])
    """
    name = f"avg_pool{n}d"
    if divisor_override == 0:
        raise RuntimeError(f"{name}: divisor_override must not be zero")
    input, added = batched(input, n, name)
    kernel = sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None or stride in ((), []) else sizes(stride, n, f"{name}: stride")
    padding = sizes(padding, n, f"{name}: padding")
    found = ops.avg_pool_p(input, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return deliver(name, without_batch(found) if added else found, out)


_, avg_pool2d, avg_pool3d = avg_pool_nd


def avg_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, S).

    >>> fb.nn.functional.avg_pool1d(fb.ones(1, 3, 8), 2).shape
    flambeau.Size([1, 3, 4])
    """
    return avg_pool_nd[0](input, kernel_size, stride, padding, ceil_mode, count_include_pad)


# -- adaptive ----------------------------------------------------------------------------------------
def _check_inside(name: str, input: Tensor) -> None:
    if 0 in input.shape[1:]:
        raise ShapeError(f"{name}: only the first dimension of input may be empty, got shape {tuple(input.shape)}")


def _output_size(value: OutputSizes, input: Tensor, n: int, name: str) -> tuple[int, ...]:
    """``n`` sizes; None keeps the input's."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * n
    if len(values) != n:
        raise ShapeError(f"{name}: output_size must be an int or {n} ints, got {value!r}")
    found = tuple(input.shape[i + 2] if v is None else int(v) for i, v in enumerate(values))
    if any(v < 0 for v in found) or 0 in input.shape[2:]:
        raise ShapeError(
            f"{name}: output_size {found} must not be negative, nor input {tuple(input.shape)} without sizes"
        )
    return found


@family
@autocasting("float32|same", first=3)
def adaptive_avg_pool_nd(n: int, input: Tensor, output_size: OutputSizes) -> Tensor:
    """Means of ``output_size`` windows that cover (N, C, {axes}) evenly; None keeps a size.

    >>> fb.nn.functional.adaptive_avg_pool{n}d(fb.ones(1, 3{s:8}), 2).shape
    flambeau.Size([1, 3{s:2}])
    """
    name = f"adaptive_avg_pool{n}d"
    input, added = batched(input, n, name)
    out: Tensor = ops.adaptive_avg_pool(input, _output_size(output_size, input, n, name))
    return without_batch(out) if added else out


class AdaptiveMaxPool(Protocol):
    """The signature of the adaptive_max_pool functions: what comes back depends on ``return_indices``."""

    @overload
    def __call__(self, input: Tensor, output_size: OutputSizes, return_indices: Literal[False] = False) -> Tensor: ...
    @overload
    def __call__(self, input: Tensor, output_size: OutputSizes, return_indices: Literal[True]) -> Pair: ...


def _adaptive_max_pool(n: int, input: Tensor, output_size: OutputSizes) -> Pair:
    name = f"adaptive_max_pool{n}d"
    _check_inside(name, input)
    input, added = batched(input, n, name)
    out, indices = ops.adaptive_max_pool(input, _output_size(output_size, input, n, name))
    return (without_batch(out), without_batch(indices)) if added else (out, indices)


@family
@autocasting("float32|same", first=3)
def adaptive_max_pool_nd(
    n: int, input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> Any:  # Any: a tensor, or a pair with return_indices
    """Maxima of ``output_size`` windows that cover (N, C, {axes}) evenly; None keeps a size.

    >>> fb.nn.functional.adaptive_max_pool{n}d(fb.ones(1, 3{s:8}), 2).shape
    flambeau.Size([1, 3{s:2}])
    """
    pair = _adaptive_max_pool(n, input, output_size)
    return pair if return_indices else pair[0]


@family
@autocasting("float32|same", first=3)
def adaptive_max_pool_nd_with_indices(
    n: int, input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> Pair:
    """adaptive_max_pool{n}d, and where each maximum is in the flattened sizes.

    >>> fb.nn.functional.adaptive_max_pool{n}d_with_indices(fb.ones(1, 3{s:8}), 2)[1].shape
    flambeau.Size([1, 3{s:2}])
    """
    return _adaptive_max_pool(n, input, output_size)


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = adaptive_avg_pool_nd
adaptive_max_pool1d: AdaptiveMaxPool
adaptive_max_pool2d: AdaptiveMaxPool
adaptive_max_pool3d: AdaptiveMaxPool
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = adaptive_max_pool_nd
(
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices,
) = adaptive_max_pool_nd_with_indices  # fmt: skip


# -- power averages ----------------------------------------------------------------------------------
@family
def lp_pool_nd(
    n: int, input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Tensor:
    """The ``norm_type``-norm of each window of (N, C, {axes}).

    >>> fb.nn.functional.lp_pool{n}d(fb.ones(1, 3{s:8}), 2, 2).shape
    flambeau.Size([1, 3{s:4}])
    """
    kernel = sizes(kernel_size, n, f"lp_pool{n}d: kernel_size")
    mean = avg_pool_nd[n - 1](input.pow(norm_type), kernel, stride, 0, ceil_mode)
    return (mean.sign() * mean.abs().relu() * math.prod(kernel)).pow(1.0 / norm_type)


lp_pool1d, lp_pool2d, lp_pool3d = lp_pool_nd


# -- unpooling ---------------------------------------------------------------------------------------
@family
@autocasting("float32|same")
def max_unpool_nd(
    n: int, input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Zeros with each maximum of max_pool{n}d back in its place.

    >>> out, indices = fb.nn.functional.max_pool{n}d(fb.ones(1, 3{s:8}), 2, return_indices=True)
    >>> fb.nn.functional.max_unpool{n}d(out, indices, 2).shape
    flambeau.Size([1, 3{s:8}])
    """
    name = f"max_unpool{n}d"
    if tuple(input.shape) != tuple(indices.shape):
        raise ShapeError(
            f"{name}: input of shape {tuple(input.shape)} and indices of shape {tuple(indices.shape)} must agree"
        )
    if indices.dtype is not int64:
        raise DTypeError(f"{name}: indices must be int64, got {indices.dtype.name}")
    _check_inside(name, input)
    input, added = batched(input, n, name)
    kernel = sizes(kernel_size, n, f"{name}: kernel_size")
    stride = kernel if stride is None or stride in ((), []) else sizes(stride, n, f"{name}: stride")
    padding = sizes(padding, n, f"{name}: padding")
    usual = [(o - 1) * s - 2 * p + k for o, s, p, k in zip(input.shape[2:], stride, padding, kernel, strict=True)]
    spatial = tuple(usual if output_size is None else tuple(output_size)[-n:])
    if len(spatial) != n or any(abs(a - b) >= s for a, b, s in zip(spatial, usual, stride, strict=True)):
        raise ShapeError(
            f"{name}: output_size {output_size} must be near {tuple(usual)} (less than stride {stride} away)"
        )
    lead, size = tuple(input.shape[:2]), math.prod(spatial)
    zeros = input.new_zeros(*lead, size)
    out: Tensor = zeros.scatter(-1, indices.reshape(input.shape).flatten(2), input.flatten(2)).reshape(*lead, *spatial)
    return without_batch(out) if added else out


max_unpool1d, max_unpool2d, max_unpool3d = max_unpool_nd
