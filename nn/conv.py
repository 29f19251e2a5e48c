"""Convolution layers of 1 to 3 dimensions, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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


class _ConvNd(Spatial):
    """What convolutions of any number of axes share, with torch's constructor; sizes are tuples, one for each axis."""

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: tuple[int, ...], stride: tuple[int, ...],
        padding: tuple[int, ...] | str, dilation: tuple[int, ...], transposed: bool, output_padding: tuple[int, ...],
        groups: int, bias: bool, padding_mode: str, device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: in_channels={in_channels} and out_channels={out_channels} must be divisible by "
                f"groups={groups}"
            )
        if padding_mode not in _MODES:
            raise ValueError(f"{name}: padding_mode must be one of {', '.join(_MODES)}, got {padding_mode!r}")
        if min(kernel_size) < 1:
            raise ValueError(f"{name}: kernel_size must be at least 1 in each dimension, got {kernel_size!r}")
        self.in_channels, self.out_channels, self.groups, self.transposed = (
            in_channels,
            out_channels,
            groups,
            transposed,
        )
        self.kernel_size, self.stride, self.dilation, self.output_padding = (
            kernel_size,
            stride,
            dilation,
            output_padding,
        )
        self.padding: Any = self._checked_padding(padding)
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._around()
        self._make_parameters(bias, device, dtype)

    def _make_parameters(self, bias: bool, device: DeviceLike, dtype: DType | None) -> None:
        outside, inside = self.out_channels, self.in_channels
        lead = (inside, outside // self.groups) if self.transposed else (outside, inside // self.groups)
        self.weight = Parameter(empty(*lead, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(outside, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _checked_padding(self, padding: tuple[int, ...] | str) -> Any:
        name = type(self).__name__
        if not isinstance(padding, str):
            return padding
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

    def _sizes(self, **given: Sizes) -> list[tuple[int, ...]]:
        return [sizes(value, self.dims, f"{type(self).__name__}: {name}") for name, value in given.items()]

    def _around(self) -> list[int]:
        """The padding as F.pad takes it: the last axis first, both ends of each."""
        if self.padding == "valid":
            return [0] * (2 * len(self.kernel_size))
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [v for t in reversed(total) for v in (t // 2, t - t // 2)]
        return [v for p in reversed(self.padding) for v in (p, p)]

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        zeros, ones = (0,) * len(self.kernel_size), (1,) * len(self.kernel_size)
        parts += self._differing(padding=zeros, dilation=ones, output_padding=zeros, groups=1)
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join([*parts, *self._differing(padding_mode="zeros")])


class _Plain(_ConvNd):
    """``weight`` is (out_channels, in_channels / groups, {kernel}); parameters start even in ±1 / sqrt(fan in).

    >>> fb.nn.Conv{n}d(3, 4, 3, padding=1)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 4{s:8}])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes | str = 0,
        dilation: Sizes = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        sized = self._sizes(kernel_size=kernel_size, stride=stride, dilation=dilation)
        around = padding if isinstance(padding, str) else self._sizes(padding=padding)[0]
        super().__init__(
            in_channels, out_channels, sized[0], sized[1], around, sized[2], False, (0,) * self.dims, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution with other parameters."""
        padding: Sizes | str = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return self.function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, *S) to (N, out_channels, *L)."""
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Plain, dims=1, function=F.conv1d):
    """Cross-correlation of (N, C, S) or (C, S) with ``out_channels`` kernels of ``kernel_size``."""


class Conv2d(_Plain, dims=2, function=F.conv2d):
    """Cross-correlation of (N, C, H, W) or (C, H, W) with ``out_channels`` kernels of ``kernel_size``."""


class Conv3d(_Plain, dims=3, function=F.conv3d):
    """Cross-correlation of (N, C, D, H, W) or (C, D, H, W) with ``out_channels`` kernels of ``kernel_size``."""


class _ConvTransposeNd(_ConvNd):
    """``weight`` is (in_channels, out_channels / groups, {kernel}).

    >>> fb.nn.ConvTranspose{n}d(3, 4, 2, stride=2)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 4{s:16}])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes = 0,
        output_padding: Sizes = 0, groups: int = 1, bias: bool = True, dilation: Sizes = 1, padding_mode: str = "zeros",
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        self._check_mode(padding_mode)
        kernel, steps, around, apart, extra = self._sizes(
            kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, output_padding=output_padding
        )
        super().__init__(
            in_channels, out_channels, kernel, steps, around, apart, True, extra, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip

    def _check_mode(self, mode: str) -> None:
        if mode != "zeros":
            raise ValueError(f"Only `zeros` padding mode is supported for {type(self).__name__}, got {mode!r}")

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """(N, out_channels, *L); ``output_size`` chooses among the sizes that the stride leaves open."""
        self._check_mode(self.padding_mode)
        extra = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, self.dims, self.dilation
        )
        return self.function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _output_padding(
        self, input: Tensor, output_size: Sequence[int] | None, stride: Sequence[int], padding: Sequence[int],
        kernel_size: Sequence[int], num_spatial_dims: int, dilation: Sequence[int] | None = None,
    ) -> tuple[int, ...]:  # fmt: skip
        """The output padding that gives ``output_size``."""
        if output_size is None:
            return tuple(self.output_padding)
        n = num_spatial_dims
        wanted = tuple(output_size)[-n:]
        if len(wanted) != n or len(output_size) not in (n, input.ndim):
            raise ValueError(
                f"{type(self).__name__}: output_size must have {n} or {input.ndim} elements, got {tuple(output_size)}"
            )
        rows = zip(input.shape[-n:], stride, padding, dilation or (1,) * n, kernel_size, strict=True)
        least = [(s - 1) * step - 2 * p + d * (k - 1) + 1 for s, step, p, d, k in rows]
        extra = tuple(w - low for w, low in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, stride, strict=True)):
            most = [low + s - 1 for low, s in zip(least, stride, strict=True)]
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} for input "
                f"{tuple(input.shape)}"
            )
        return extra


class ConvTranspose1d(_ConvTransposeNd, dims=1, function=F.conv_transpose1d):
    """The transpose of Conv1d."""


class ConvTranspose2d(_ConvTransposeNd, dims=2, function=F.conv_transpose2d):
    """The transpose of Conv2d."""


class ConvTranspose3d(_ConvTransposeNd, dims=3, function=F.conv_transpose3d):
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
