"""Discrete Fourier transforms: ``flambeau.fft``.

Complex transforms, those of real input (r), which leave out the half of the frequencies that repeats, and Hermitian
ones (h), whose result is real; each over one dimension, two, or n. ``n`` and ``s`` cut the input, or fill it up with
zeros, before the transform (-1 leaves a size as it is). ``norm`` says which direction is scaled: "backward" (None) the
inverse by 1/n, "forward" the other, "ortho" both by 1/sqrt(n). Integers become the default dtype; float16 and bfloat16
raise DTypeError. All are differentiable, any number of times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from flambeau.core import dtype as _dt
from flambeau.core.autocast import autocasting as _autocasting
from flambeau.core.blame import explain_imported as _explain_imported
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError, need_tensors
from flambeau.core.from_data import as_tensor as _as_tensor
from flambeau.core.memory_format import Layout
from flambeau.core.methods import give_homes as _give_homes
from flambeau.core.ops import fourier as _fourier
from flambeau.core.ops.elementwise import conj_p as _conj
from flambeau.core.ops.joining import roll as _roll
from flambeau.core.ops.shape import axis_of as _axis_of
from flambeau.core.ops.storage import cast_p as _cast
from flambeau.core.ops.storage import pad_p as _pad
from flambeau.core.ops.views import narrow as _narrow
from flambeau.core.out import deliver as _deliver
from flambeau.core.tensor import Tensor

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

Dims = int | Sequence[int] | None
_LAST_TWO: Final = (-2, -1)


# -- what all of them ask ----------------------------------------------------------------------------
def _norm(name: str, norm: str | None) -> str:
    if norm is None:
        return "backward"
    if norm not in _fourier.ADJOINT:
        raise ArgumentError(f"{name}: norm must be 'backward', 'ortho', 'forward' or None, got {norm!r}")
    return norm


def _as_complex(name: str, x: Tensor) -> Tensor:
    real = x if x.is_complex() else _as_real(name, x)
    return real if real.is_complex() else _cast(real, real.dtype.to_complex())


def _as_real(name: str, x: Tensor) -> Tensor:
    need_tensors(name, input=x)
    if x.is_complex():
        raise DTypeError(f"{name}: expects a real input tensor, got {x.dtype}; take its .real, or a complex transform")
    if x.dtype in _dt.LOW_PRECISION:
        raise DTypeError(f"{name}: unsupported dtype {x.dtype}; cast with .to(flambeau.float32)")
    return x if x.is_floating_point() else _cast(x, _dt.get_default_dtype())


def _positive(name: str, n: int) -> int:
    if n < 1:
        raise ArgumentError(f"{name}: invalid number of data points ({n}) specified; it must be at least 1")
    return n


def _resized(name: str, x: Tensor, dim: int, n: int | None) -> Tensor:
    """Cut along a dimension, or filled up with zeros."""
    size = x.shape[dim]
    wanted = _positive(name, size if n is None else n)
    if wanted < size:
        return _narrow(x, dim, 0, wanted)
    if wanted == size:
        return x
    return _pad(x, tuple((0, wanted - size if d == dim else 0) for d in range(x.ndim)), 0)


def _axes(name: str, x: Tensor, s: Sequence[int] | None, dim: Dims) -> tuple[list[int], list[int | None]]:
    """The dimensions, counted from 0, and what each is to be resized to."""
    if s is not None and isinstance(s, int):
        s = (s,)
    if isinstance(dim, int):
        dim = (dim,)
    if dim is None:
        if s is not None and len(s) > x.ndim:
            raise ShapeError(f"{name}: s has {len(s)} sizes, and input only {x.ndim} dimension(s)")
        dims = list(range(0 if s is None else x.ndim - len(s), x.ndim))
    else:
        dims = [_axis_of(name, x, d) for d in dim]
        if s is not None and len(s) != len(dims):
            raise ShapeError(f"{name}: s and dim must have the same length, got {tuple(s)} and {tuple(dim)}")
    if len(set(dims)) < len(dims):
        raise ArgumentError(f"{name}: the dimensions to transform must be unique, got {dims}")
    return dims, [None if s is None or s[i] == -1 else s[i] for i in range(len(dims))]


def _at_least_one(name: str, dims: Sequence[int]) -> None:
    if not dims:
        raise ArgumentError(f"{name}: must transform at least one dimension")


@_autocasting("float32|same")
def _one(name: str, x: Tensor, n: int | None, dim: int, norm: str | None, inverse: bool) -> Tensor:
    norm = _norm(name, norm)
    axis = _axis_of(name, x, dim)
    return _fourier.transform(_resized(name, _as_complex(name, x), axis, n), axis, inverse, norm)


@_autocasting("float32|same")
def _several(name: str, x: Tensor, s: Sequence[int] | None, dim: Dims, norm: str | None, inverse: bool) -> Tensor:
    need_tensors(name, input=x)
    norm = _norm(name, norm)
    dims, sizes = _axes(name, x, s, dim)
    made = _as_complex(name, x)
    for axis, n in zip(dims, sizes, strict=True):
        made = _resized(name, made, axis, n)
    for axis in reversed(dims):
        made = _fourier.transform(made, axis, inverse, norm)
    return made


@_autocasting("float32|same")
def _real_to_half(
    name: str, x: Tensor, s: Sequence[int] | None, dim: Dims, norm: str | None, hermitian: bool = False
) -> Tensor:
    """The last of the dimensions first, by half; ``hermitian`` ones go the other way."""
    made = _as_real(name, x)
    norm = _norm(name, norm)
    dims, sizes = _axes(name, x, s, dim)
    _at_least_one(name, dims)
    for axis, n in zip(dims, sizes, strict=True):
        made = _resized(name, made, axis, n)
    made = _fourier.half(made, dims[-1], _fourier.ADJOINT[norm] if hermitian else norm)
    if hermitian:
        made = _conj(made)
    for axis in reversed(dims[:-1]):
        made = _fourier.transform(made, axis, hermitian, norm)
    return made


@_autocasting("float32|same")
def _half_to_real(
    name: str, x: Tensor, s: Sequence[int] | None, dim: Dims, norm: str | None, hermitian: bool = False
) -> Tensor:
    """The last of the dimensions last, from its half; ``hermitian`` ones go the other way."""
    need_tensors(name, input=x)
    norm = _norm(name, norm)
    dims, sizes = _axes(name, x, s, dim)
    _at_least_one(name, dims)
    made = _as_complex(name, x)
    *before, last = zip(dims, sizes, strict=True)
    size = 2 * (made.shape[last[0]] - 1) if last[1] is None else last[1]
    made = _resized(name, made, last[0], _positive(name, size) // 2 + 1)
    for axis, n in before:
        made = _resized(name, made, axis, n)
    for axis, _ in before:
        made = _fourier.transform(made, axis, not hermitian, norm)
    if hermitian:
        return _fourier.whole(_conj(made), last[0], size, _fourier.ADJOINT[norm])
    return _fourier.whole(made, last[0], size, norm)


def _out(name: str, result: Tensor, out: Tensor | None) -> Tensor:
    if isinstance(out, Tensor) and result.is_complex() is not out.is_complex():
        kind = "complex" if result.is_complex() else "floating-point"
        raise DTypeError(f"{name}: expects a {kind} out, got {out.dtype}")
    return _deliver(name, result, out)


# -- one dimension -----------------------------------------------------------------------------------
def fft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The transform of real or complex numbers over ``dim``: sums of input[j] exp(-2 pi i j k / n).

    >>> fb.fft.fft(fb.tensor([0.0, 1.0, 0.0, 0.0]))
    tensor([ 1.+0.j,  0.-1.j, -1.+0.j,  0.+1.j])
    """
    return _out("fft", _one("fft", input, n, dim, norm, False), out)


def ifft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The inverse of :func:`fft`.

    >>> fb.fft.ifft(fb.tensor([4.0, 0.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _out("ifft", _one("ifft", input, n, dim, norm, True), out)


def rfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The frequencies 0 to n // 2 of real numbers; the others are their conjugates.

    >>> fb.fft.rfft(fb.tensor([0.0, 1.0, 0.0, 0.0]))
    tensor([ 1.+0.j,  0.-1.j, -1.+0.j])
    """
    return _out("rfft", _real_to_half("rfft", input, None if n is None else (n,), dim, norm), out)


def irfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The inverse of :func:`rfft`: ``n`` real numbers, by default 2 (size - 1).

    >>> fb.fft.irfft(fb.tensor([4.0, 0.0, 0.0]))
    tensor([1., 1., 1., 1.])
    """
    return _out("irfft", _half_to_real("irfft", input, None if n is None else (n,), dim, norm), out)


def hfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The real transform of Hermitian numbers, of which the first half is given: ``n`` frequencies.

    >>> fb.fft.hfft(fb.tensor([1.0, 0.0, 0.0]))
    tensor([1., 1., 1., 1.])
    """
    return _out("hfft", _half_to_real("hfft", input, None if n is None else (n,), dim, norm, hermitian=True), out)


def ihfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The inverse of :func:`hfft`, from real frequencies to the first half of the numbers.

    >>> fb.fft.ihfft(fb.ones(4))
    tensor([1.-0.j, 0.-0.j, 0.-0.j])
    """
    return _out("ihfft", _real_to_half("ihfft", input, None if n is None else (n,), dim, norm, hermitian=True), out)


# -- two dimensions -----


def fft2(
    input: Tensor, s: Sequence[int] | None = None, dim: Sequence[int] = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The transform over two dimensions.

    >>> fb.fft.fft2(fb.ones(2, 2))
    tensor([[4.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _out("fft2", _several("fft2", input, s, dim, norm, False), out)


def ifft2(
    input: Tensor, s: Sequence[int] | None = None, dim: Sequence[int] = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of :func:`fft2`.

    >>> fb.fft.ifft2(fb.ones(2, 2))
    tensor([[1.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _out("ifft2", _several("ifft2", input, s, dim, norm, True), out)


def rfft2(
    input: Tensor, s: Sequence[int] | None = None, dim: Sequence[int] = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The transform of real numbers over two dimensions, the last by half.

    >>> fb.fft.rfft2(fb.ones(2, 3))
    tensor([[6.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _out("rfft2", _real_to_half("rfft2", input, s, dim, norm), out)


def irfft2(
    input: Tensor, s: Sequence[int] | None = None, dim: Sequence[int] = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of :func:`rfft2`; the last size is by default 2 (size - 1).

    >>> fb.fft.irfft2(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return _out("irfft2", _half_to_real("irfft2", input, s, dim, norm), out)


def hfft2(
    input: Tensor, s: Sequence[int] | None = None, dim: Sequence[int] = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The real transform of Hermitian numbers over two dimensions, of the last of which half is given.

    >>> fb.fft.hfft2(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return _out("hfft2", _half_to_real("hfft2", input, s, dim, norm, hermitian=True), out)


def ihfft2(
    input: Tensor, s: Sequence[int] | None = None, dim: Sequence[int] = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of :func:`hfft2`, the last dimension by half.

    >>> fb.fft.ihfft2(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return _out("ihfft2", _real_to_half("ihfft2", input, s, dim, norm, hermitian=True), out)


# -- any number of them -----


def fftn(
    input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The transform over the dimensions ``dim``, by default all (with ``s`` the last ones).

    >>> fb.fft.fftn(fb.ones(2, 2))
    tensor([[4.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _out("fftn", _several("fftn", input, s, dim, norm, False), out)


def ifftn(
    input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of :func:`fftn`.

    >>> fb.fft.ifftn(fb.ones(2, 2))
    tensor([[1.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _out("ifftn", _several("ifftn", input, s, dim, norm, True), out)


def rfftn(
    input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The transform of real numbers over ``dim`` (default: as in :func:`fftn`), the last by half.

    >>> fb.fft.rfftn(fb.ones(2, 3))
    tensor([[6.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return _out("rfftn", _real_to_half("rfftn", input, s, dim, norm), out)


def irfftn(
    input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of :func:`rfftn`; the last size is by default 2 (size - 1).

    >>> fb.fft.irfftn(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return _out("irfftn", _half_to_real("irfftn", input, s, dim, norm), out)


def hfftn(
    input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The real transform of Hermitian numbers over ``dim`` (default: as in :func:`fftn`), half of the last given.

    >>> fb.fft.hfftn(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return _out("hfftn", _half_to_real("hfftn", input, s, dim, norm, hermitian=True), out)


def ihfftn(
    input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of :func:`hfftn`, the last dimension by half.

    >>> fb.fft.ihfftn(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return _out("ihfftn", _real_to_half("ihfftn", input, s, dim, norm, hermitian=True), out)


# -- frequencies, and their order ----------------------------------------------------------------------
def fftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: DTypeLike | None = None,
    layout: Layout | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The ``n`` frequencies of :func:`fft`, in cycles per unit of ``d``, the distance of samples.

    >>> fb.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    order = [*range((n + 1) // 2), *range(-(n // 2), 0)]
    return _frequencies("fftfreq", n, order, d, out, dtype, device, requires_grad)


def rfftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: DTypeLike | None = None,
    layout: Layout | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The n // 2 + 1 frequencies of :func:`rfft`, in cycles per unit of ``d``, the distance of samples.

    >>> fb.fft.rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])
    """
    return _frequencies("rfftfreq", n, range(n // 2 + 1), d, out, dtype, device, requires_grad)


def _frequencies(
    name: str, n: int, order: Sequence[int], d: float, out: Tensor | None, dtype: DTypeLike | None, device: DeviceLike,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    kind = _dt.get_default_dtype() if dtype is None else _dt.as_dtype(dtype)
    if kind.category < _dt.FLOATING:
        raise DTypeError(f"{name}: requires a floating-point or complex dtype, got {kind}")
    if n < 0:
        raise ArgumentError(f"{name}: n must not be negative, got {n}")
    made = _as_tensor(order, dtype=kind, device=device) * (1 / (n * d) if n * d else math.inf)
    if out is not None:
        return _deliver(name, made, out)
    return made.requires_grad_() if requires_grad else made


def fftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """Frequency 0 moved to the middle of each dimension ``dim`` (None: all).

    >>> fb.fft.fftshift(fb.fft.fftfreq(4))
    tensor([-0.5000, -0.2500,  0.0000,  0.2500])
    """
    return _shifted("fftshift", input, dim, lambda size: size // 2)


def ifftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """The inverse of :func:`fftshift`.

    >>> fb.fft.ifftshift(fb.fft.fftshift(fb.arange(5)))
    tensor([0, 1, 2, 3, 4])
    """
    return _shifted("ifftshift", input, dim, lambda size: (size + 1) // 2)


def _shifted(name: str, x: Tensor, dim: Dims, by: Callable[[int], int]) -> Tensor:
    need_tensors(name, input=x)
    dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = [_axis_of(name, x, d) for d in dims]
    return _roll(x, [by(x.shape[d]) for d in axes], axes) if axes else x * 1


_explain_imported(globals())
_give_homes(__name__, {name: globals()[name] for name in __all__})
