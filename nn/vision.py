"""Padding, resampling and rearranging of images, and distances, as modules."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.factory import module_of
from flambeau.nn.functional.conv import sizes
from flambeau.nn.module import Module


# -- padding -------------------------------------------------------------------------------------------
class _Pad(Module):
    dims: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Any, value: float = 0.0):
        super().__init__()
        self.padding = sizes(padding, 2 * self.dims, f"{type(self).__name__}: padding")
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """The input with space around it; padding is (left, right, top, bottom, front, back)."""
        return F.pad(input, self.padding, self.mode, self.value if self.mode == "constant" else None)

    def extra_repr(self) -> str:
        return f"{self.padding}" + (f", value={self.value}" if self.mode == "constant" else "")


def _pad(name: str, dims: int, mode: str, doc: str) -> Any:
    value, sizes = ", 0.5" if name.startswith("Constant") else "", ", 4" * dims
    example = f">>> fb.nn.{name}(1{value})(fb.ones(1, 3{sizes})).shape"
    doc = f"{doc}\n\n{example}\nflambeau.Size([1, 3{', 6' * dims}])\n"
    body: dict[str, Any] = {"dims": dims, "mode": mode, "__doc__": doc, "__module__": __name__}
    if name.startswith("Constant"):

        def __init__(self: Any, padding: Any, value: float) -> None:
            _Pad.__init__(self, padding, value)

    else:

        def __init__(self: Any, padding: Any) -> None:  # type: ignore[misc]
            _Pad.__init__(self, padding)

    return type(name, (_Pad,), {**body, "__init__": __init__})


_AXES = {1: "width", 2: "height and width", 3: "depth, height and width"}
ZeroPad1d, ZeroPad2d, ZeroPad3d = (_pad(f"ZeroPad{n}d", n, "constant", f"Zeros around {_AXES[n]}.") for n in (1, 2, 3))
ConstantPad1d, ConstantPad2d, ConstantPad3d = (
    _pad(f"ConstantPad{n}d", n, "constant", f"A value around {_AXES[n]}.") for n in (1, 2, 3)
)
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = (
    _pad(f"ReflectionPad{n}d", n, "reflect", f"The input mirrored at its edges, around {_AXES[n]}.") for n in (1, 2, 3)
)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = (
    _pad(f"ReplicationPad{n}d", n, "replicate", f"The outermost elements repeated, around {_AXES[n]}.")
    for n in (1, 2, 3)
)
CircularPad1d, CircularPad2d, CircularPad3d = (
    _pad(f"CircularPad{n}d", n, "circular", f"The input as if it went on, around {_AXES[n]}.") for n in (1, 2, 3)
)


# -- resampling ----------------------------------------------------------------------------------------
class Upsample(Module):
    """(N, C, *S) resampled to ``size``, or to its sizes times ``scale_factor``.

    >>> fb.nn.Upsample(scale_factor=2)(fb.ones(1, 1, 4, 4)).shape
    flambeau.Size([1, 1, 8, 8])
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):  # fmt: skip
        super().__init__()
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *size)."""
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        what = f"scale_factor={self.scale_factor}" if self.scale_factor is not None else f"size={self.size}"
        return f"{what}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample to the nearest element, of (N, C, H, W).

    >>> fb.nn.UpsamplingNearest2d(scale_factor=2)(fb.ones(1, 1, 4, 4)).shape
    flambeau.Size([1, 1, 8, 8])
    """

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample with bilinear weights and aligned corners, of (N, C, H, W).

    >>> fb.nn.UpsamplingBilinear2d(scale_factor=2)(fb.ones(1, 1, 4, 4)).shape
    flambeau.Size([1, 1, 8, 8])
    """

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, "bilinear", True)


def _module(name: str, function: str, doc: str, **options: Any) -> Any:
    return module_of(name, function, doc, module=__name__, **options)


PixelShuffle = _module(
    "PixelShuffle", "pixel_shuffle", "Channels to pixels: (*, C r², H, W) to (*, C, H r, W r).", upscale_factor=...
)
PixelUnshuffle = _module(
    "PixelUnshuffle", "pixel_unshuffle", "Pixels to channels: the inverse of PixelShuffle.", downscale_factor=...
)
ChannelShuffle = _module(
    "ChannelShuffle", "channel_shuffle", "The channels of (N, C, *) dealt out over groups.", groups=...
)
CosineSimilarity = _module(
    "CosineSimilarity", "cosine_similarity", "The cosine of two tensors along dim.", dim=1, eps=1e-8
)
PairwiseDistance = _module(
    "PairwiseDistance", "pairwise_distance", "The p-norm of the difference of two tensors along the last axis.",
    p=2.0, eps=1e-6, keepdim=False,
)  # fmt: skip
