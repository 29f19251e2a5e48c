"""The short-time Fourier transform and its inverse, by windowed frames (D. W. Griffin and J. S. Lim, IEEE Trans.
ASSP-32, 1984)."""

from __future__ import annotations

import operator

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError, need_tensors, warn_user
from flambeau.core.ops import fourier, padding
from flambeau.core.ops.shape import reshape, transpose, unsqueeze
from flambeau.core.ops.storage import cast_p, pad_p, unfold_p
from flambeau.core.ops.views import narrow, view_as_real
from flambeau.core.public import public
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom


def _lengths(name: str, n_fft: int, hop: int | None, win: int | None) -> tuple[int, int, int]:
    n_fft = operator.index(n_fft)
    hop = n_fft // 4 if hop is None else operator.index(hop)
    win = n_fft if win is None else operator.index(win)
    if hop < 1:
        raise ArgumentError(f"{name}: expected hop_length > 0, got {hop}")
    if not 0 < win <= n_fft:
        raise ArgumentError(f"{name}: expected 0 < win_length <= n_fft={n_fft}, got {win}")
    return n_fft, hop, win


def _taper(name: str, window: Tensor | None, n_fft: int, win: int, like: Tensor) -> Tensor | None:
    """The window in the middle of ``n_fft`` points; None for one that changes nothing."""
    if window is None:
        if win == n_fft:
            return None
        window = creation.ones(win, dtype=like.dtype.to_real(), device=like.device)
    elif tuple(window.shape) != (win,):
        raise ShapeError(
            f"{name}: expected a 1-d window of size win_length={win}, got a window of shape {tuple(window.shape)}"
        )
    before = (n_fft - win) // 2
    return window if win == n_fft else pad_p(window, ((before, n_fft - win - before),), 0)


@public()
@autocasting("float32|same")
def stft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
    onesided: bool | None = None, return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Tensor:  # fmt: skip
    """The Fourier transforms of frames of a signal (length,) or (batch, length): (batch, frequencies, frames).

    A frame of ``n_fft`` points begins every ``hop_length`` (n_fft // 4) points and is multiplied by ``window``, of
    ``win_length`` (n_fft) points, in its middle. With ``center`` the signal is padded in ``pad_mode``, so that frame t
    is centered at t * hop_length; else ``align_to_window`` lets the first window, not the first frame, begin with the
    signal. ``normalized`` scales by 1 / sqrt(n_fft). ``onesided`` leaves out the frequencies that repeat (default: of
    real numbers). ``return_complex`` must be given for these; False gives pairs of real numbers.

    >>> fb.stft(fb.ones(8), 4, window=fb.hann_window(4), return_complex=True).shape
    flambeau.Size([3, 9])
    """
    need_tensors("stft", input=input)
    n_fft, hop, win = _lengths("stft", n_fft, hop_length, win_length)
    of_complex = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None and not of_complex:
        raise ArgumentError(
            "stft: return_complex must be given for real inputs; return_complex=True is the form to use"
        )
    if onesided and of_complex:
        raise ArgumentError("stft: cannot have onesided output if window or input is complex")
    if center and align_to_window is not None:
        raise ArgumentError("stft: align_to_window should only be set when center=False")
    x = _signal(input, n_fft, win, center, pad_mode, bool(align_to_window))
    taper = _taper("stft", window, n_fft, win, x)
    frames = unfold_p(x, x.ndim - 1, n_fft, hop)
    if taper is not None:
        frames = frames * taper
    norm = "ortho" if normalized else "backward"
    if of_complex or onesided is False:
        found = fourier.fft_c2c_p(cast_p(frames, frames.dtype.to_complex()), False, norm)
    else:
        found = fourier.fft_r2c_p(frames, norm)
    found = transpose(found, -1, -2)
    return found if return_complex or return_complex is None else view_as_real(found)


def _signal(x: Tensor, n_fft: int, win: int, center: bool, pad_mode: str, align: bool) -> Tensor:
    """The input, padded as it is to be cut into frames."""
    if x.ndim not in (1, 2):
        raise ShapeError(f"stft: expected a 1-d or 2-d input, got shape {tuple(x.shape)}")
    if x.dtype.category < dt.FLOATING or x.dtype in dt.LOW_PRECISION:
        raise DTypeError(f"stft: expected an input of float32, float64 or complex numbers, got {x.dtype}")
    if center:
        x = padding.pad(x, (n_fft // 2, n_fft // 2), pad_mode)
    elif align:
        before = (n_fft - win) // 2
        x = padding.pad(x, (before, n_fft - win - before))
    if not 0 < n_fft <= x.shape[-1]:
        raise ArgumentError(f"stft: expected 0 < n_fft <= {x.shape[-1]}, the length of the signal, got n_fft={n_fft}")
    return x


@public()
def istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
    length: int | None = None, return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """The signal (batch, length) whose :func:`stft` of the same settings is nearest to ``input``.

    Frames are multiplied by the window again, added where they overlap, and divided by the sum of the squared windows,
    which must not be 0 anywhere. ``length`` cuts the signal, or fills it up with zeros.

    >>> x = fb.arange(8, dtype=fb.float32)
    >>> fb.istft(fb.stft(x, 4, window=fb.hann_window(4), return_complex=True), 4, window=fb.hann_window(4))
    tensor([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    need_tensors("istft", input=input)
    n_fft, hop, win = _lengths("istft", n_fft, hop_length, win_length)
    onesided = _check_spectrum(input, n_fft, hop, win, onesided)
    of_complex = window is not None and window.is_complex()
    if return_complex and onesided:
        raise ArgumentError("istft: cannot have onesided output if window or input is complex")
    if of_complex and not return_complex:
        raise ArgumentError("istft: complex windows are incompatible with return_complex=False")
    spectrum = transpose(input if input.ndim == 3 else unsqueeze(input, 0), 1, 2)
    norm = "ortho" if normalized else "backward"
    if return_complex:
        frames = fourier.fft_c2c_p(spectrum, True, norm)
    else:
        frames = fourier.fft_c2r_p(narrow(spectrum, 2, 0, n_fft // 2 + 1), n_fft, norm)
    taper = _taper("istft", window, n_fft, win, frames)
    if taper is None:
        taper = creation.ones(n_fft, dtype=frames.dtype.to_real(), device=frames.device)
    count = frames.shape[1]
    squares = (taper * taper).expand((1, count, n_fft))
    start = n_fft // 2 if center else 0
    total = n_fft + hop * (count - 1)
    stop = total - start if length is None else min(start + length, total)
    signal = narrow(_added(frames * taper, hop), 1, start, max(stop - start, 0))
    weight = narrow(_added(squares, hop), 1, start, max(stop - start, 0))
    if bool((bottom(weight).abs() < 1e-11).any()):
        raise ArgumentError("istft: the squared windows add up to 0 somewhere in the signal; let them overlap more")
    signal = signal / weight
    if length is not None and length > signal.shape[1]:
        warn_user(f"istft: length {length} is beyond the end of the signal, which is filled up with zeros")
        signal = pad_p(signal, ((0, 0), (0, length - signal.shape[1])), 0)
    return signal if input.ndim == 3 else reshape(signal, signal.shape[1:])


def _check_spectrum(x: Tensor, n_fft: int, hop: int, win: int, onesided: bool | None) -> bool:
    """Whether the spectrum is one-sided; errors for one that does not go with the settings."""
    if not x.is_complex():
        raise DTypeError(f"istft: requires a complex input, as of stft with return_complex=True, got {x.dtype}")
    if x.ndim not in (2, 3):
        raise ShapeError(f"istft: expected an input of 2 or 3 dimensions, got shape {tuple(x.shape)}")
    if 0 in x.shape:
        raise ShapeError(f"istft: input cannot be empty, got shape {tuple(x.shape)}")
    if hop > win:
        raise ArgumentError(f"istft: expected 0 < hop_length <= win_length={win}, got {hop}")
    found = x.shape[-2]
    one = found != n_fft if onesided is None else onesided
    wanted = n_fft // 2 + 1 if one else n_fft
    if found != wanted:
        raise ShapeError(
            f"istft: expected {wanted} frequencies in the last dimension but one, for n_fft={n_fft} and "
            f"onesided={one}, got {found}"
        )
    return one


def _added(frames: Tensor, hop: int) -> Tensor:
    """(batch, count, size) frames added up where they overlap: pieces of ``hop`` points, shifted by whole frames."""
    batch, count, size = frames.shape
    pieces = -(-size // hop)
    cut = reshape(pad_p(frames, ((0, 0), (0, 0), (0, pieces * hop - size)), 0), (batch, count, pieces, hop))
    total: Tensor | None = None
    for k in range(pieces):
        piece = pad_p(cut.select(2, k), ((0, 0), (k, pieces - 1 - k), (0, 0)), 0)
        total = piece if total is None else total + piece
    assert total is not None
    return narrow(reshape(total, (batch, (count + pieces - 1) * hop)), 1, 0, size + hop * (count - 1))
