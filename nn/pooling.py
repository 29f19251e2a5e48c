"""Pooling layers of 1 to 3 dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.module import Module


class _MaxPool(Module):
    """The largest of each window; with ``return_indices`` also where it is, for MaxUnpool."""

    function: ClassVar[Callable[..., Any]]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        """(N, C, *S) to (N, C, *L)."""
        f = type(self).function
        return f(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest of each window of (N, C, S).

    >>> fb.nn.MaxPool1d(2)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 4])
    """

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest of each window of (N, C, H, W).

    >>> fb.nn.MaxPool2d(2)(fb.ones(1, 3, 8, 8)).shape
    flambeau.Size([1, 3, 4, 4])
    """

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest of each window of (N, C, D, H, W).

    >>> fb.nn.MaxPool3d(2)(fb.ones(1, 3, 8, 8, 8)).shape
    flambeau.Size([1, 3, 4, 4, 4])
    """

    function = staticmethod(F.max_pool3d)


class _MaxUnpool(Module):
    function: ClassVar[Callable[..., Any]]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Any:
        """Zeros with the elements of ``input`` where ``indices`` say."""
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Zeros with each maximum of MaxPool1d back in its place.

    >>> pool = fb.nn.MaxPool1d(2, return_indices=True)
    >>> fb.nn.MaxUnpool1d(2)(*pool(fb.ones(1, 3, 8))).shape
    flambeau.Size([1, 3, 8])
    """

    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """Zeros with each maximum of MaxPool2d back in its place.

    >>> pool = fb.nn.MaxPool2d(2, return_indices=True)
    >>> fb.nn.MaxUnpool2d(2)(*pool(fb.ones(1, 3, 8, 8))).shape
    flambeau.Size([1, 3, 8, 8])
    """

    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """Zeros with each maximum of MaxPool3d back in its place.

    >>> pool = fb.nn.MaxPool3d(2, return_indices=True)
    >>> fb.nn.MaxUnpool3d(2)(*pool(fb.ones(1, 3, 8, 8, 8))).shape
    flambeau.Size([1, 3, 8, 8, 8])
    """

    function = staticmethod(F.max_unpool3d)


class AvgPool1d(Module):
    """The mean of each window of (N, C, S).

    >>> fb.nn.AvgPool1d(2)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 4])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L)."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    function: ClassVar[Callable[..., Any]]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Any:
        """(N, C, *S) to (N, C, *L)."""
        f = type(self).function
        return f(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window of (N, C, H, W).

    >>> fb.nn.AvgPool2d(2)(fb.ones(1, 3, 8, 8)).shape
    flambeau.Size([1, 3, 4, 4])
    """

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of (N, C, D, H, W).

    >>> fb.nn.AvgPool3d(2)(fb.ones(1, 3, 8, 8, 8)).shape
    flambeau.Size([1, 3, 4, 4, 4])
    """

    function = staticmethod(F.avg_pool3d)


class _AdaptivePool(Module):
    function: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Any:
        """(N, C, *S) to (N, C, *output_size)."""
        return type(self).function(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """Means of ``output_size`` windows that cover (N, C, S) evenly.

    >>> fb.nn.AdaptiveAvgPool1d(2)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 2])
    """

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Means of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size.

    >>> fb.nn.AdaptiveAvgPool2d(2)(fb.ones(1, 3, 8, 8)).shape
    flambeau.Size([1, 3, 2, 2])
    """

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptivePool):
    """Means of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size.

    >>> fb.nn.AdaptiveAvgPool3d(2)(fb.ones(1, 3, 8, 8, 8)).shape
    flambeau.Size([1, 3, 2, 2, 2])
    """

    function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """(N, C, *S) to (N, C, *output_size), with indices if asked for."""
        return type(self).function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of ``output_size`` windows that cover (N, C, S) evenly.

    >>> fb.nn.AdaptiveMaxPool1d(2)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 2])
    """

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of ``output_size`` windows that cover (N, C, H, W) evenly; None keeps a size.

    >>> fb.nn.AdaptiveMaxPool2d(2)(fb.ones(1, 3, 8, 8)).shape
    flambeau.Size([1, 3, 2, 2])
    """

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of ``output_size`` windows that cover (N, C, D, H, W) evenly; None keeps a size.

    >>> fb.nn.AdaptiveMaxPool3d(2)(fb.ones(1, 3, 8, 8, 8)).shape
    flambeau.Size([1, 3, 2, 2, 2])
    """

    function = staticmethod(F.adaptive_max_pool3d)


class _LPPool(Module):
    function: ClassVar[Callable[..., Any]]

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False):
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Any:
        """(N, C, *S) to (N, C, *L)."""
        return type(self).function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        window = f"kernel_size={self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"
        return f"norm_type={self.norm_type}, {window}"


class LPPool1d(_LPPool):
    """The ``norm_type``-norm of each window of (N, C, S).

    >>> fb.nn.LPPool1d(2, 2)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 4])
    """

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """The ``norm_type``-norm of each window of (N, C, H, W).

    >>> fb.nn.LPPool2d(2, 2)(fb.ones(1, 3, 8, 8)).shape
    flambeau.Size([1, 3, 4, 4])
    """

    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """The ``norm_type``-norm of each window of (N, C, D, H, W).

    >>> fb.nn.LPPool3d(2, 2)(fb.ones(1, 3, 8, 8, 8)).shape
    flambeau.Size([1, 3, 4, 4, 4])
    """

    function = staticmethod(F.lp_pool3d)
