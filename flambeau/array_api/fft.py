"""The standard's extension of Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from flambeau import fft as transforms
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor

__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft",
    "rfftfreq", "rfftn",
]  # fmt: skip

Norm = Literal["backward", "ortho", "forward"]


def _along_one(name: str, does: str) -> Callable[..., Tensor]:
    transform = getattr(transforms, name)

    def along(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Tensor:
        found: Tensor = transform(x, n, axis, norm)
        return found

    along.__name__ = along.__qualname__ = name
    along.__doc__ = f"{does} along one axis, cut or filled with zeros to ``n`` elements."
    return along


def _along_several(name: str, does: str) -> Callable[..., Tensor]:
    transform = getattr(transforms, name)

    def along(
        x: Tensor, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: Norm = "backward"
    ) -> Tensor:
        found: Tensor = transform(x, s, axes, norm)
        return found

    along.__name__ = along.__qualname__ = name
    along.__doc__ = f"{does} along several axes, all of them where none are named, cut or filled to the sizes ``s``."
    return along


fft = _along_one("fft", "The Fourier transform")
ifft = _along_one("ifft", "The inverse Fourier transform")
rfft = _along_one("rfft", "The Fourier transform of real numbers, its first half,")
irfft = _along_one("irfft", "The real inverse Fourier transform of the first half of a spectrum")
hfft = _along_one("hfft", "The real Fourier transform of the first half of a Hermitian signal")
ihfft = _along_one("ihfft", "The inverse of ``hfft``")
fftn = _along_several("fftn", "The Fourier transform")
ifftn = _along_several("ifftn", "The inverse Fourier transform")
rfftn = _along_several("rfftn", "The Fourier transform of real numbers")
irfftn = _along_several("irfftn", "The real inverse Fourier transform")


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """The frequencies of the places of an ``fft`` of ``n`` samples at distances ``d``."""
    return transforms.fftfreq(n, d, dtype=dtype, device=device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """The frequencies of the places of an ``rfft`` of ``n`` samples at distances ``d``."""
    return transforms.rfftfreq(n, d, dtype=dtype, device=device)


def fftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """A spectrum with the frequency zero in the middle of ``axes``."""
    return transforms.fftshift(x, axes)


def ifftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of ``fftshift``."""
    return transforms.ifftshift(x, axes)
