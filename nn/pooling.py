"""Pooling layers of 1 to 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.conv import Sizes
from flambeau.nn.functional.pooling import OutputSizes
from flambeau.nn.of_function import OfFunction


class _Windows(OfFunction):
    """The stride is the kernel's size unless told otherwise."""

    _shown: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding")
    kernel_size: Sizes
    stride: Sizes | None = None

    def _settle(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


class _MaxPool(_Windows):
    """With ``return_indices`` also where each is, for MaxUnpool{n}d.

    >>> fb.nn.MaxPool{n}d(2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:4}])
    """

    _shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    padding: Sizes = 0
    dilation: Sizes = 1
    return_indices: bool = False
    ceil_mode: bool = False

    def forward(self, input: Tensor) -> Any:  # Any: a tensor, or a pair with return_indices
        """(N, C, *S) to (N, C, *L)."""
        return self._apply_to(input)


class MaxPool1d(_MaxPool, dims=1, function=F.max_pool1d):
    """The largest of each window of (N, C, S)."""


class MaxPool2d(_MaxPool, dims=2, function=F.max_pool2d):
    """The largest of each window of (N, C, H, W)."""


class MaxPool3d(_MaxPool, dims=3, function=F.max_pool3d):
    """The largest of each window of (N, C, D, H, W)."""


class _MaxUnpool(_Windows):
    """The sizes that the pooling left open are chosen by the call's ``output_size``.

    >>> pool = fb.nn.MaxPool{n}d(2, return_indices=True)
    >>> fb.nn.MaxUnpool{n}d(2)(*pool(fb.ones(1, 3{s:8}))).shape
    flambeau.Size([1, 3{s:8}])
    """

    padding: Sizes = 0

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Zeros with the elements of ``input`` where ``indices`` say."""
        return self.function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool, dims=1, function=F.max_unpool1d):
    """Zeros with each maximum of MaxPool1d back in its place."""


class MaxUnpool2d(_MaxUnpool, dims=2, function=F.max_unpool2d):
    """Zeros with each maximum of MaxPool2d back in its place."""


class MaxUnpool3d(_MaxUnpool, dims=3, function=F.max_unpool3d):
    """Zeros with each maximum of MaxPool3d back in its place."""


class _AvgPool(_Windows):
    padding: Sizes = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *S) to (N, C, *L)."""
        return self._apply_to(input)


class AvgPool1d(_AvgPool, dims=1, function=F.avg_pool1d):
    """The mean of each window of (N, C, S).

    >>> fb.nn.AvgPool1d(2)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 4])
    """


class _DividedAvgPool(_AvgPool):
    """``divisor_override`` divides the sums instead of the counts.

    >>> fb.nn.AvgPool{n}d(2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:4}])
    """

    divisor_override: int | None = None


class AvgPool2d(_DividedAvgPool, dims=2, function=F.avg_pool2d):
    """The mean of each window of (N, C, H, W)."""


class AvgPool3d(_DividedAvgPool, dims=3, function=F.avg_pool3d):
    """The mean of each window of (N, C, D, H, W)."""


class _AdaptiveAvgPool(OfFunction):
    """From (N, C, {axes}) to (N, C, *output_size).

    >>> fb.nn.AdaptiveAvgPool{n}d(2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:2}])
    """

    output_size: OutputSizes

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *S) to (N, C, *output_size)."""
        return self._apply_to(input)


class AdaptiveAvgPool1d(_AdaptiveAvgPool, dims=1, function=F.adaptive_avg_pool1d):
    """Means of ``output_size`` windows that cover (N, C, S) evenly; None keeps a size."""


class AdaptiveAvgPool2d(_AdaptiveAvgPool, dims=2, function=F.adaptive_avg_pool2d):
    """Means of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size."""


class AdaptiveAvgPool3d(_AdaptiveAvgPool, dims=3, function=F.adaptive_avg_pool3d):
    """Means of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size."""


class _AdaptiveMaxPool(OfFunction):
    """With ``return_indices`` also where each is.

    >>> fb.nn.AdaptiveMaxPool{n}d(2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:2}])
    """

    _shown = ("output_size",)
    output_size: OutputSizes
    return_indices: bool = False

    def forward(self, input: Tensor) -> Any:  # Any: a tensor, or a pair with return_indices
        """(N, C, *S) to (N, C, *output_size), with indices if asked for."""
        return self._apply_to(input)


class AdaptiveMaxPool1d(_AdaptiveMaxPool, dims=1, function=F.adaptive_max_pool1d):
    """Maxima of ``output_size`` windows that cover (N, C, S) evenly; None keeps a size."""


class AdaptiveMaxPool2d(_AdaptiveMaxPool, dims=2, function=F.adaptive_max_pool2d):
    """Maxima of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size."""


class AdaptiveMaxPool3d(_AdaptiveMaxPool, dims=3, function=F.adaptive_max_pool3d):
    """Maxima of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size."""


class _LPPool(OfFunction):
    """The root of the sum of its powers.

    >>> fb.nn.LPPool{n}d(2, 2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:4}])
    """

    norm_type: float
    kernel_size: Sizes
    stride: Sizes | None = None
    ceil_mode: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *S) to (N, C, *L)."""
        return self._apply_to(input)


class LPPool1d(_LPPool, dims=1, function=F.lp_pool1d):
    """The ``norm_type``-norm of each window of (N, C, S)."""


class LPPool2d(_LPPool, dims=2, function=F.lp_pool2d):
    """The ``norm_type``-norm of each window of (N, C, H, W)."""


class LPPool3d(_LPPool, dims=3, function=F.lp_pool3d):
    """The ``norm_type``-norm of each window of (N, C, D, H, W)."""
