"""Decompositions and systems of equations of the shared dialect, by what they promise: products, orders, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.backends.base import LinAlgError
from flambeau.backends.launched import decompositions
from flambeau.core import dtype as dt
from tests.backends.hosts import put

pytestmark = pytest.mark.device("opencl")
#: Each is a dozen programs to build.
KINDS = [pytest.param(dt.float32, id="float32"), pytest.param(dt.complex128, id="complex128", marks=pytest.mark.slow)]


def _random(rng: np.random.Generator, dtype: Any, *shape: int) -> Any:
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if dtype.is_complex else x).astype(dtype.numpy)


def _h(x: Any) -> Any:
    return x.conj().swapaxes(-1, -2)


def _close(found: Any, wanted: Any) -> None:
    single = found.dtype.itemsize // (2 if found.dtype.kind == "c" else 1) == 4
    np.testing.assert_allclose(found, wanted, rtol=0, atol=(5e-4 if single else 1e-9) * max(1, np.abs(wanted).max()))


def check(backend: Any, rng: np.random.Generator, dtype: Any, n: int) -> None:
    """All of them, on batches of matrices of ``n`` rows."""

    def run(name: str, *args: Any, **params: Any) -> Any:
        found = getattr(decompositions, name)(backend, *[put(backend, a) for a in args], **params)
        return tuple(map(backend.to_host, found)) if isinstance(found, tuple) else backend.to_host(found)

    x, one = _random(rng, dtype, 2, n, n), np.eye(n)
    definite = (x @ _h(x) + n * one).astype(dtype.numpy)
    regular, b = (x + 2 * n * one).astype(dtype.numpy), _random(rng, dtype, 2, n, 3)
    for upper in (False, True):
        _close(run("cholesky", definite, upper=upper), _h(np.linalg.cholesky(definite)) if upper
               else np.linalg.cholesky(definite))  # fmt: skip
        values, vectors = run("eigh", np.triu(definite) if upper else np.tril(definite), upper=upper)
        _close(values, np.linalg.eigvalsh(definite))
        _close((vectors * values[:, None]) @ _h(vectors), definite)
        triangle = (np.triu if upper else np.tril)(regular)
        _close(triangle @ run("solve_triangular", regular, b, upper=upper), b)
    _close(regular[:1] @ run("solve", regular[0], b), b)  # one matrix for all
    _close(run("inv", regular), np.linalg.inv(regular))
    _close(run("det", x), np.linalg.det(x))
    for found, wanted in zip(run("slogdet", x), np.linalg.slogdet(x), strict=True):
        _close(found, wanted)
    for shape in ((n, n), (n + 2, n), (n, n + 2)):
        y = _random(rng, dtype, 2, *shape)
        for full in (False, True):
            for found, wanted in zip(run("qr", y, mode="complete" if full else "reduced"),
                                     np.linalg.qr(y, "complete" if full else "reduced"), strict=True):  # fmt: skip
                _close(found, wanted)
            u, s, vh = run("svd", y, full=full)
            _close(s, np.linalg.svd(y, compute_uv=False))
            _close((u[..., :n] * s[:, None]) @ vh[..., :n, :], y)
            _close(_h(u) @ u, np.broadcast_to(np.eye(u.shape[-1]), (2, *2 * u.shape[-1:])))
            _close(vh @ _h(vh), np.broadcast_to(np.eye(vh.shape[-2]), (2, *2 * vh.shape[-2:-1])))
    values, vectors = run("eig", x)
    _close(x @ vectors, vectors * values[:, None])


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("n", [1, 19])
def test_decompositions(opencl, rng, dtype, n):
    check(opencl, rng, dtype, n)


def test_few_singular_values(opencl):
    """Vectors for singular values of zero are orthonormal too, and sizes near the ends of the range are no matter."""
    for scale in (1.0, 1e-30, 1e30):
        x = np.zeros((4, 4), np.float32)
        x[1, 2], x[3, 2] = 2 * scale, scale
        u, s, vh = map(opencl.to_host, decompositions.svd(opencl, put(opencl, x)))
        np.testing.assert_allclose(s / scale, [5**0.5, 0, 0, 0], atol=1e-6)
        _close(u.T @ u, np.eye(4))
        _close(vh @ vh.T, np.eye(4))


def test_errors_name_the_matrix(opencl):
    """Which matrix of a batch has no inverse, no factor, or does not converge."""
    x = np.stack([np.eye(2), np.zeros((2, 2))]).astype(np.float32)
    for fn, word in ((decompositions.inv, "singular"), (decompositions.cholesky, "positive definite")):
        with pytest.raises(LinAlgError, match=rf"matrix 1 of the batch of shape \(2, 2, 2\) is .*{word}"):
            fn(opencl, put(opencl, x))
    bad = np.full((3, 3), np.nan, np.float32)
    for fn in (decompositions.eigh, decompositions.svd, decompositions.svdvals):
        with pytest.raises(LinAlgError, match=r"the matrix of shape \(3, 3\) did not converge"):
            fn(opencl, put(opencl, bad))


def test_nothing_to_decompose(opencl):
    """Matrices of no rows, and no matrices."""
    for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
        x = put(opencl, np.zeros(shape, np.float32))
        assert decompositions.det(opencl, x).shape == shape[:-2]
        assert np.all(opencl.to_host(decompositions.det(opencl, x)) == 1)
        assert decompositions.inv(opencl, x).shape == shape
        assert [a.shape for a in decompositions.svd(opencl, x)] == [shape, shape[:-1], shape]
    q, r = decompositions.qr(opencl, put(opencl, np.zeros((3, 0), np.float32)), mode="complete")
    np.testing.assert_array_equal(opencl.to_host(q), np.eye(3))
    assert r.shape == (3, 0)
