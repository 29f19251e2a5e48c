"""Transforms, windows and special functions beside numpy, SciPy and themselves, on every device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal.windows
import scipy.special as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.core.ops import fourier

DEVICES = ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))]


def complex_numbers(*shape: int) -> Any:
    rng = np.random.default_rng(len(shape))
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


# -- transforms --------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [2, 65, 97, 360, 1018])
def test_every_kind_of_length(n: int, device: str) -> None:
    """Small, composite, prime, and twice a prime."""
    x = complex_numbers(3, n).astype(np.complex64)
    t = fb.tensor(x).to(device)
    limit = 1e-6 * n**0.5 * np.log2(2 * n)
    for name in ("fft", "ifft", "hfft"):
        wanted = getattr(np.fft, name)(x.astype(np.complex128), norm="ortho") * n**0.5
        found = getattr(fb.fft, name)(t, norm="ortho").cpu().numpy() * n**0.5
        np.testing.assert_allclose(found, wanted, atol=limit, err_msg=name)
    real = np.ascontiguousarray(x.real)
    np.testing.assert_allclose(fb.fft.rfft(fb.tensor(real).to(device)).cpu().numpy(), np.fft.rfft(real), atol=limit)
    np.testing.assert_allclose(
        fb.fft.irfft(t, n, norm="forward").cpu().numpy(), np.fft.irfft(x, n, norm="forward"), atol=2 * limit
    )


@given(st.integers(1, 150), st.booleans(), st.sampled_from(["backward", "ortho", "forward"]))
@settings(max_examples=30, deadline=None)
def test_the_body_is_the_transform(n: int, inverse: bool, norm: str) -> None:
    x = complex_numbers(2, n)
    found = fourier._c2c(fb.tensor(x), inverse=inverse, norm=norm).numpy()
    np.testing.assert_allclose(found, (np.fft.ifft if inverse else np.fft.fft)(x, norm=norm), atol=1e-12 * n)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft", "rfft2", "irfftn", "hfftn"])
def test_gradients_of_gradients(name: str) -> None:
    x = fb.tensor(np.random.default_rng(0).standard_normal((2, 5)), requires_grad=True)

    def run(v: fb.Tensor) -> fb.Tensor:
        return getattr(fb.fft, name)(v, norm="ortho")

    assert fb.autograd.gradcheck(run, (x,))
    assert fb.autograd.gradgradcheck(run, (x,))


def test_transforms_under_vmap_and_forward_mode() -> None:
    x = fb.tensor(complex_numbers(3, 2, 6))
    found = fb.func.vmap(lambda v: fb.fft.fft(v, dim=0))(x)
    np.testing.assert_allclose(found.numpy(), np.fft.fft(x.numpy(), axis=1), atol=1e-12)
    out, slope = fb.func.jvp(lambda v: fb.fft.rfft(v), (x.real,), (x.imag,))
    np.testing.assert_allclose(slope.numpy(), np.fft.rfft(x.imag.numpy()), atol=1e-12)
    assert out.shape == (3, 2, 4)


def test_large_batches_over_the_threads() -> None:
    x = complex_numbers(600, 256)
    before = fb.get_num_threads()
    try:
        fb.set_num_threads(2)
        np.testing.assert_allclose(fb.fft.fft(fb.tensor(x)).numpy(), np.fft.fft(x), atol=1e-10)
        real = x.real.copy()
        np.testing.assert_allclose(fb.fft.rfft(fb.tensor(real), dim=0).numpy(), np.fft.rfft(real, axis=0), atol=1e-10)
    finally:
        fb.set_num_threads(before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fb.fft.fft(fb.ones(4, dtype=fb.bfloat16)), TypeError, r"fft: unsupported dtype .*cast with \.to"),
        (lambda: fb.fft.rfft(fb.ones(4) + 0j), TypeError, "rfft: expects a real input"),
        (lambda: fb.fft.fft(fb.ones(4), norm="x"), ValueError, "norm must be 'backward', 'ortho'"),
        (lambda: fb.fft.fft(fb.ones(4), -1), ValueError, r"fft: invalid number of data points \(-1\)"),
        (lambda: fb.fft.fft2(fb.ones(4)), IndexError, "fft2: .*dim=-2"),
        (lambda: fb.fft.fftn(fb.ones(4, 4), dim=(0, -2)), ValueError, "must be unique"),
        (lambda: fb.fft.fft(fb.ones(4), out=fb.empty(4)), TypeError, "expects a complex out"),
        (lambda: fb.fft.fft(np.ones(4)), TypeError, "fft: argument 'input' must be a tensor"),
        (lambda: fb.stft(fb.ones(9), 4), ValueError, "return_complex must be given"),
        (lambda: fb.istft(fb.ones(3, 4), 4), TypeError, "istft: requires a complex input"),
        (lambda: fb.signal.windows.hann(4, dtype=fb.float16), ValueError, "hann: expects float32 or float64"),
        (lambda: fb.histogramdd(fb.ones(3, 2), [1, 2, 3]), ValueError, "one entry for each of the 2 coordinates"),
        (lambda: fb.special.hermite_polynomial_h(1.0, 2), TypeError, "must be a tensor"),
        (lambda: fb.special.hermite_polynomial_h(fb.ones(2) * 1j, 2), TypeError, "complex numbers, which input holds"),
    ],
)
def test_wrong_calls(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


# -- frames ------------------------------------------------------------------------------------------
@given(
    st.integers(2, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, max(n // 2, 1)))),
    st.integers(13, 60), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_istft_undoes_stft(sizes: tuple[int, int], length: int, onesided: bool, normalized: bool) -> None:
    (n, hop), x = sizes, fb.tensor(np.random.default_rng(length).standard_normal(length))
    window = fb.hann_window(n, dtype=fb.float64) + 0.1
    options = dict(hop_length=hop, window=window, onesided=onesided, normalized=normalized)
    spectrum = fb.stft(x, n, return_complex=True, **options)
    back = fb.istft(spectrum, n, **options)
    assert 0 <= length - back.shape[0] < hop + 1
    np.testing.assert_allclose(back.numpy(), x.numpy()[: back.shape[0]], atol=1e-10)


@pytest.mark.parametrize("device", DEVICES[1:])
def test_frames_on_devices(device: str) -> None:
    x, window = fb.rand(2, 40), fb.hann_window(8)
    wanted = fb.stft(x, 8, window=window, return_complex=True)
    x, window = x.to(device).requires_grad_(), window.to(device)
    found = fb.stft(x, 8, window=window, return_complex=True)
    np.testing.assert_allclose(found.detach().cpu().numpy(), wanted.numpy(), atol=1e-5)
    back = fb.istft(found, 8, window=window)
    np.testing.assert_allclose(back.detach().cpu().numpy(), x.detach().cpu().numpy(), atol=1e-5)
    back.sum().backward()
    np.testing.assert_allclose(x.grad.cpu().numpy(), np.ones((2, 40)), atol=1e-5)


# -- windows -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bartlett", {}), ("blackman", {}), ("cosine", {}), ("exponential", {"tau": 3.0}), ("gaussian", {"std": 2.5}),
        ("general_cosine", {"a": [0.5, 0.3, 0.2]}), ("general_hamming", {"alpha": 0.7}), ("hamming", {}), ("hann", {}),
        ("kaiser", {"beta": 8.0}), ("nuttall", {}),
    ],
)  # fmt: skip
def test_windows_as_in_scipy(name: str, options: dict[str, Any]) -> None:
    for size in (1, 2, 9, 16):
        for sym in (True, False):
            found = getattr(fb.signal.windows, name)(size, sym=sym, dtype=fb.float64, **options)
            np.testing.assert_allclose(found.numpy(), getattr(scipy.signal.windows, name)(size, sym=sym, **options),
                                       atol=2e-15)  # fmt: skip


def test_low_precision_windows_are_rounded_once() -> None:
    found = fb.hann_window(100, dtype=fb.bfloat16)
    assert fb.equal(found, fb.hann_window(100).to(fb.bfloat16))


# -- special functions -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("chebyshev_polynomial_t", sp.eval_chebyt), ("chebyshev_polynomial_u", sp.eval_chebyu),
        ("shifted_chebyshev_polynomial_t", sp.eval_sh_chebyt), ("shifted_chebyshev_polynomial_u", sp.eval_sh_chebyu),
        ("hermite_polynomial_h", sp.eval_hermite), ("hermite_polynomial_he", sp.eval_hermitenorm),
        ("laguerre_polynomial_l", sp.eval_laguerre), ("legendre_polynomial_p", sp.eval_legendre),
    ],
)  # fmt: skip
def test_polynomials_as_in_scipy(name: str, reference: Any) -> None:
    x, n = np.linspace(-1.2, 1.7, 6)[:, None], np.arange(6)
    run = getattr(fb.special, name)
    found = run(fb.tensor(x), fb.tensor(n)).numpy()
    np.testing.assert_allclose(found, reference(n, x), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(run(fb.tensor(x), 4).numpy(), found[:, 4:5])
    single = fb.tensor(x, dtype=fb.float32).to("strict")
    np.testing.assert_allclose(run(single, fb.tensor(n).to("strict")).cpu().numpy(), found, rtol=1e-4, atol=1e-5)
    assert fb.autograd.gradcheck(lambda v: run(v, 4), (fb.tensor(x, requires_grad=True),))


@pytest.mark.parametrize(
    "name",
    ["bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_i0", "modified_bessel_i1",
     "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1",
     "spherical_bessel_j0"],
)  # fmt: skip
def test_bessel_functions_have_gradients(name: str) -> None:
    x = fb.tensor([0.3, 1.7, 2.4, 7.9, 8.1, 20.0], dtype=fb.float64, requires_grad=True)
    assert fb.autograd.gradcheck(getattr(fb.special, name), (x,))


def test_a_point_on_the_last_edge_is_in_the_last_box() -> None:
    rng = np.random.default_rng(5)
    points = rng.integers(0, 5, (40, 3)).astype(float)
    found = fb.histogramdd(fb.tensor(points), bins=[4, 2, 3])
    wanted, edges = np.histogramdd(points, [4, 2, 3])
    np.testing.assert_array_equal(found.hist.numpy(), wanted)
    for f, w in zip(found.bin_edges, edges, strict=True):
        np.testing.assert_allclose(f.numpy(), w)
