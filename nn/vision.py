"""Padding, resampling and rearranging of images, and distances, as modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from flambeau.core.errors import ShapeError
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.conv import Sizes, sizes
from flambeau.nn.of_function import OfFunction, OfTensor
from flambeau.nn.spatial import Spatial


# -- padding -------------------------------------------------------------------------------------------
class _Pad(Spatial):
    """As much on every side, or (left, right, top, bottom, front, back) as far as there are axes.

    >>> fb.nn.{name}(1)(fb.ones(1, 3{s:4})).shape
    flambeau.Size([1, 3{s:6}])
    """

    mode: ClassVar[str]
    value: float = 0.0

    def __init_subclass__(cls, dims: int = 0, mode: str = "") -> None:
        super().__init_subclass__(dims)
        cls.mode = mode or cls.mode

    def __init__(self, padding: Sizes):
        super().__init__()
        self.padding = sizes(padding, 2 * self.dims, f"{type(self).__name__}: padding")

    def forward(self, input: Tensor) -> Tensor:
        """The input with space around it."""
        if self.mode != "constant" and input.ndim not in (self.dims + 1, self.dims + 2):
            kind = ShapeError if self.mode == "circular" else NotImplementedError
            raise kind(
                f"{type(self).__name__}: input must have {self.dims + 1} or {self.dims + 2} dimensions, got shape "
                f"{tuple(input.shape)}"
            )
        return F.pad(input, self.padding, self.mode, self.value if self.mode == "constant" else None)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_Pad, mode="constant"):
    """As much on every side, or (left, right, top, bottom, front, back) as far as there are axes.

    >>> fb.nn.{name}(1, 0.5)(fb.ones(1, 3{s:4})).shape
    flambeau.Size([1, 3{s:6}])
    """

    def __init__(self, padding: Sizes, value: float):
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd, dims=1):
    """A value around width."""


class ConstantPad2d(_ConstantPadNd, dims=2):
    """A value around height and width."""


class ConstantPad3d(_ConstantPadNd, dims=3):
    """A value around depth, height and width."""


class _ZeroPad(_ConstantPadNd, mode="constant"):
    """As much on every side, or (left, right, top, bottom, front, back) as far as there are axes.

    >>> fb.nn.{name}(1)(fb.ones(1, 3{s:4})).shape
    flambeau.Size([1, 3{s:6}])
    """

    def __init__(self, padding: Sizes):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad, ConstantPad1d, dims=1):
    """Zeros around width."""


class ZeroPad2d(_ZeroPad, ConstantPad2d, dims=2):
    """Zeros around height and width."""


class ZeroPad3d(_ZeroPad, ConstantPad3d, dims=3):
    """Zeros around depth, height and width."""


class _ReflectionPadNd(_Pad, mode="reflect"):
    """The same."""


class ReflectionPad1d(_ReflectionPadNd, dims=1):
    """The input mirrored at its edges, around width."""


class ReflectionPad2d(_ReflectionPadNd, dims=2):
    """The input mirrored at its edges, around height and width."""


class ReflectionPad3d(_ReflectionPadNd, dims=3):
    """The input mirrored at its edges, around depth, height and width."""


class _ReplicationPadNd(_Pad, mode="replicate"):
    """The same."""


class ReplicationPad1d(_ReplicationPadNd, dims=1):
    """The outermost elements repeated, around width."""


class ReplicationPad2d(_ReplicationPadNd, dims=2):
    """The outermost elements repeated, around height and width."""


class ReplicationPad3d(_ReplicationPadNd, dims=3):
    """The outermost elements repeated, around depth, height and width."""


class _CircularPadNd(_Pad, mode="circular"):
    """The same."""


class CircularPad1d(_CircularPadNd, dims=1):
    """The input as if it went on, around width."""


class CircularPad2d(_CircularPadNd, dims=2):
    """The input as if it went on, around height and width."""


class CircularPad3d(_CircularPadNd, dims=3):
    """The input as if it went on, around depth, height and width."""


# -- resampling ----------------------------------------------------------------------------------------
class Upsample(OfTensor, function=F.interpolate):
    """(N, C, *S) resampled to ``size``, or to its sizes times ``scale_factor``.

    >>> fb.nn.Upsample(scale_factor=2)(fb.ones(1, 1, 4, 4)).shape
    flambeau.Size([1, 1, 8, 8])
    """

    size: Sizes | None = None
    scale_factor: float | Sequence[float] | None = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def _settle(self) -> None:
        self.name, given = type(self).__name__, self.scale_factor
        if given is not None:
            self.scale_factor = tuple(float(f) for f in given) if isinstance(given, Sequence) else float(given)

    def extra_repr(self) -> str:
        what = f"scale_factor={self.scale_factor}" if self.scale_factor is not None else f"size={self.size}"
        return f"{what}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample to the nearest element, of (N, C, H, W).

    >>> fb.nn.UpsamplingNearest2d(scale_factor=2)(fb.ones(1, 1, 4, 4)).shape
    flambeau.Size([1, 1, 8, 8])
    """

    def __init__(self, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample with bilinear weights and aligned corners, of (N, C, H, W).

    >>> fb.nn.UpsamplingBilinear2d(scale_factor=2)(fb.ones(1, 1, 4, 4)).shape
    flambeau.Size([1, 1, 8, 8])
    """

    def __init__(self, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(OfTensor, function=F.pixel_shuffle):
    """Channels to pixels: (*, C r², H, W) to (*, C, H r, W r).

    >>> fb.nn.PixelShuffle(2)(fb.ones(1, 4, 2, 2)).shape
    flambeau.Size([1, 1, 4, 4])
    """

    upscale_factor: int


class PixelUnshuffle(OfTensor, function=F.pixel_unshuffle):
    """Pixels to channels: the inverse of PixelShuffle.

    >>> fb.nn.PixelUnshuffle(2)(fb.ones(1, 1, 4, 4)).shape
    flambeau.Size([1, 4, 2, 2])
    """

    downscale_factor: int


class ChannelShuffle(OfTensor, function=F.channel_shuffle):
    """The channels of (N, C, *) dealt out over groups.

    >>> fb.nn.ChannelShuffle(2)(fb.ones(1, 4, 2, 2)).shape
    flambeau.Size([1, 4, 2, 2])
    """

    groups: int


class CosineSimilarity(OfFunction, function=F.cosine_similarity):
    """The cosine of two tensors along dim."""

    _shown = ()
    dim: int = 1
    eps: float = 1e-08

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``nn.functional.cosine_similarity`` of the arguments."""
        return self._apply_to(x1, x2)


class PairwiseDistance(OfFunction, function=F.pairwise_distance):
    """The p-norm of the difference of two tensors along the last axis."""

    _shown = ()
    p: float = 2.0
    eps: float = 1e-06
    keepdim: bool = False

    def _settle(self) -> None:
        self.norm = self.p

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``nn.functional.pairwise_distance`` of the arguments."""
        return self.function(x1, x2, self.norm, self.eps, self.keepdim)
