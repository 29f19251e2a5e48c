"""Convolution layers of 1 to 3 dimensions, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn import init
from flambeau.nn.functional.conv import Sizes, sizes
from flambeau.nn.of_function import OfTensor
from flambeau.nn.parameter import Parameter
from flambeau.nn.spatial import Spatial

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Spatial):
    transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes, padding: Sizes | str,
        dilation: Sizes, output_padding: Sizes, groups: int, bias: bool, padding_mode: str, device: DeviceLike,
        dtype: DType | None,
    ):  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self.dims
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: in_channels={in_channels} and out_channels={out_channels} must be divisible by "
                f"groups={groups}"
            )
        if padding_mode not in _MODES:
            raise ValueError(f"{name}: padding_mode must be one of {', '.join(_MODES)}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = sizes(kernel_size, n, f"{name}: kernel_size")
        if min(self.kernel_size) < 1:
            raise ValueError(f"{name}: kernel_size must be at least 1 in each dimension, got {kernel_size!r}")
        self.stride = sizes(stride, n, f"{name}: stride")
        self.dilation = sizes(dilation, n, f"{name}: dilation")
        self.output_padding = sizes(output_padding, n, f"{name}: output_padding")
        self.padding = self._checked_padding(padding)
        self.padding_mode = padding_mode
        lead = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty(*lead, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _checked_padding(self, padding: Sizes | str) -> Any:
        name = type(self).__name__
        if not isinstance(padding, str):
            return sizes(padding, self.dims, f"{name}: padding")
        if padding not in ("same", "valid"):
            raise ValueError(f"{name}: padding must be ints, 'same' or 'valid', got {padding!r}")
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ValueError(
                f"{name}: padding='same' is not supported for strided convolutions, got stride={self.stride}"
            )
        return padding

    def reset_parameters(self) -> None:
        """New random values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in else 0
            init.uniform_(self.bias, -bound, bound)

    def _around(self) -> list[int]:
        """The padding as F.pad takes it: the last axis first, both ends of each."""
        if self.padding == "valid":
            return [0] * (2 * self.dims)
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [v for t in reversed(total) for v in (t // 2, t - t // 2)]
        return [v for p in reversed(self.padding) for v in (p, p)]

    def _output_padding(self, input: Tensor, output_size: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives ``output_size``."""
        n = self.dims
        wanted = output_size[-n:]
        rows = zip(input.shape[-n:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = [(s - 1) * stride - 2 * p + d * (k - 1) + 1 for s, stride, p, d, k in rows]
        extra = tuple(w - low for w, low in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} for input "
                f"{tuple(input.shape)}"
            )
        return extra

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        zeros, ones = (0,) * self.dims, (1,) * self.dims
        parts += self._differing(padding=zeros, dilation=ones, output_padding=zeros, groups=1)
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join([*parts, *self._differing(padding_mode="zeros")])


class _Plain(_Conv):
    """``weight`` is (out_channels, in_channels / groups, {kernel}); parameters start even in ±1 / sqrt(fan in).

    >>> fb.nn.Conv{n}d(3, 4, 3, padding=1)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 4{s:8}])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes | str = 0,
        dilation: Sizes = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, *S) to (N, out_channels, *L)."""
        padding: Sizes | str = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around(), mode=self.padding_mode), 0
        return self.function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Plain, dims=1, function=F.conv1d):
    """Cross-correlation of (N, C, S) or (C, S) with ``out_channels`` kernels of ``kernel_size``."""


class Conv2d(_Plain, dims=2, function=F.conv2d):
    """Cross-correlation of (N, C, H, W) or (C, H, W) with ``out_channels`` kernels of ``kernel_size``."""


class Conv3d(_Plain, dims=3, function=F.conv3d):
    """Cross-correlation of (N, C, D, H, W) or (C, D, H, W) with ``out_channels`` kernels of ``kernel_size``."""


class _Transposed(_Conv):
    """``weight`` is (in_channels, out_channels / groups, {kernel}).

    >>> fb.nn.ConvTranspose{n}d(3, 4, 2, stride=2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 4{s:16}])
    """

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes = 0,
        output_padding: Sizes = 0, groups: int = 1, bias: bool = True, dilation: Sizes = 1, padding_mode: str = "zeros",
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        self._check_mode(padding_mode)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _check_mode(self, mode: str) -> None:
        if mode != "zeros":
            raise ValueError(f"Only `zeros` padding mode is supported for {type(self).__name__}, got {mode!r}")

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """(N, out_channels, *L); ``output_size`` chooses among the sizes that the stride leaves open."""
        self._check_mode(self.padding_mode)
        extra = self.output_padding if output_size is None else self._output_padding(input, tuple(output_size))
        return self.function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )


class ConvTranspose1d(_Transposed, dims=1, function=F.conv_transpose1d):
    """The transpose of Conv1d."""


class ConvTranspose2d(_Transposed, dims=2, function=F.conv_transpose2d):
    """The transpose of Conv2d."""


class ConvTranspose3d(_Transposed, dims=3, function=F.conv_transpose3d):
    """The transpose of Conv3d."""


class Unfold(OfTensor, function=F.unfold):
    """Every window of (N, C, H, W) as a column: (N, C * KH * KW, L).

    >>> fb.nn.Unfold(2)(fb.ones(1, 3, 4, 4)).shape
    flambeau.Size([1, 12, 9])
    """

    kernel_size: Sizes
    dilation: Sizes = 1
    padding: Sizes = 0
    stride: Sizes = 1


class Fold(OfTensor, function=F.fold):
    """Columns (N, C * KH * KW, L) added back to where :class:`Unfold` took them from: (N, C, *output_size).

    >>> fb.nn.Fold((4, 4), 2)(fb.ones(1, 12, 9)).shape
    flambeau.Size([1, 3, 4, 4])
    """

    output_size: Sizes
    kernel_size: Sizes
    dilation: Sizes = 1
    padding: Sizes = 0
    stride: Sizes = 1
