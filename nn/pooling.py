"""Pooling layers of 1 to 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.conv import Sizes, sizes
from flambeau.nn.functional.pooling import OutputSizes
from flambeau.nn.of_function import OfFunction
from flambeau.nn.spatial import Spatial


class _Windows(OfFunction):
    """The stride is the kernel's size unless told otherwise."""

    _shown: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding")
    kernel_size: Sizes
    stride: Sizes | None = None

    def _settle(self) -> None:
        self.stride = self.kernel_size if self.stride is None else self.stride


class _WindowsByAxis(_Windows):
    """Of some poolings torch keeps the sizes for each axis."""

    def _settle(self) -> None:
        super()._settle()
        for name in self._shown:
            setattr(self, name, sizes(getattr(self, name), self.dims, f"{type(self).__name__}: {name}"))


class _MaxPoolNd(_Windows):
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


class MaxPool1d(_MaxPoolNd, dims=1, function=F.max_pool1d):
    """The largest of each window of (N, C, S)."""


class MaxPool2d(_MaxPoolNd, dims=2, function=F.max_pool2d):
    """The largest of each window of (N, C, H, W)."""


class MaxPool3d(_MaxPoolNd, dims=3, function=F.max_pool3d):
    """The largest of each window of (N, C, D, H, W)."""


class _MaxUnpoolNd(_WindowsByAxis):
    """The sizes that the pooling left open are chosen by the call's ``output_size``.

    >>> pool = fb.nn.MaxPool{n}d(2, return_indices=True)
    >>> fb.nn.MaxUnpool{n}d(2)(*pool(fb.ones(1, 3{s:8}))).shape
    flambeau.Size([1, 3{s:8}])
    """

    padding: Sizes = 0

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Zeros with the elements of ``input`` where ``indices`` say."""
        return self.function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpoolNd, dims=1, function=F.max_unpool1d):
    """Zeros with each maximum of MaxPool1d back in its place."""


class MaxUnpool2d(_MaxUnpoolNd, dims=2, function=F.max_unpool2d):
    """Zeros with each maximum of MaxPool2d back in its place."""


class MaxUnpool3d(_MaxUnpoolNd, dims=3, function=F.max_unpool3d):
    """Zeros with each maximum of MaxPool3d back in its place."""


class _AvgPoolNd(_Windows):
    padding: Sizes = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *S) to (N, C, *L)."""
        return self._apply_to(input)


class AvgPool1d(_AvgPoolNd, _WindowsByAxis, dims=1, function=F.avg_pool1d):
    """The mean of each window of (N, C, S).

    >>> fb.nn.AvgPool1d(2)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 4])
    """


class _DividedAvgPool(_AvgPoolNd):
    """``divisor_override`` divides the sums instead of the counts.

    >>> fb.nn.AvgPool{n}d(2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:4}])
    """

    divisor_override: int | None = None


class AvgPool2d(_DividedAvgPool, dims=2, function=F.avg_pool2d):
    """The mean of each window of (N, C, H, W)."""


class AvgPool3d(_DividedAvgPool, dims=3, function=F.avg_pool3d):
    """The mean of each window of (N, C, D, H, W)."""


class _AdaptiveAvgPoolNd(OfFunction):
    """From (N, C, {axes}) to (N, C, *output_size).

    >>> fb.nn.AdaptiveAvgPool{n}d(2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:2}])
    """

    output_size: OutputSizes

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *S) to (N, C, *output_size)."""
        return self._apply_to(input)


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd, dims=1, function=F.adaptive_avg_pool1d):
    """Means of ``output_size`` windows that cover (N, C, S) evenly; None keeps a size."""


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd, dims=2, function=F.adaptive_avg_pool2d):
    """Means of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size."""


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd, dims=3, function=F.adaptive_avg_pool3d):
    """Means of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size."""


class _AdaptiveMaxPoolNd(OfFunction):
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


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd, dims=1, function=F.adaptive_max_pool1d):
    """Maxima of ``output_size`` windows that cover (N, C, S) evenly; None keeps a size."""


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd, dims=2, function=F.adaptive_max_pool2d):
    """Maxima of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size."""


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd, dims=3, function=F.adaptive_max_pool3d):
    """Maxima of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size."""


class _FractionalMaxPool(Spatial):
    """With ``return_indices`` also where each is; ``_random_samples`` are numbers in [0, 1) that choose the windows.

    >>> fb.nn.{name}(2, output_ratio=0.5)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:4}])
    """

    def __init__(
        self, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: float | Sequence[float] | None = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ):  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self.dims
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{name}: give one of output_size and output_ratio")
        self.kernel_size = sizes(kernel_size, n, f"{name}: kernel_size")
        self.output_size = None if output_size is None else sizes(output_size, n, f"{name}: output_size")
        ratio = output_ratio if isinstance(output_ratio, Sequence) or output_ratio is None else (output_ratio,) * n
        if ratio is not None and not all(0 < r < 1 for r in ratio):
            raise ValueError(f"{name}: output_ratio must be between 0 and 1 (got {output_ratio})")
        self.output_ratio, self.return_indices = ratio, return_indices
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Tensor) -> Any:  # Any: a tensor, or a pair with return_indices
        """(N, C, *S) to (N, C, *L), with indices if asked for."""
        samples = self._buffers["_random_samples"]
        return self.function(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, samples)


class FractionalMaxPool2d(_FractionalMaxPool, dims=2, function=F.fractional_max_pool2d):
    """Maxima of windows of (N, C, H, W) that start at random places. Graham, arXiv:1412.6071."""


class FractionalMaxPool3d(_FractionalMaxPool, dims=3, function=F.fractional_max_pool3d):
    """Maxima of windows of (N, C, D, H, W) that start at random places. Graham, arXiv:1412.6071."""


class _LPPoolNd(OfFunction):
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


class LPPool1d(_LPPoolNd, dims=1, function=F.lp_pool1d):
    """The ``norm_type``-norm of each window of (N, C, S)."""


class LPPool2d(_LPPoolNd, dims=2, function=F.lp_pool2d):
    """The ``norm_type``-norm of each window of (N, C, H, W)."""


class LPPool3d(_LPPoolNd, dims=3, function=F.lp_pool3d):
    """The ``norm_type``-norm of each window of (N, C, D, H, W)."""
