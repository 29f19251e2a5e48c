"""A few eigenvalues and singular values, against those that come with all the others."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb


def symmetric(n: int, *batch: int, seed: int = 0) -> fb.Tensor:
    a = fb.tensor(np.random.default_rng(seed).standard_normal((*batch, n, n)))
    return a @ a.mT + fb.eye(n, dtype=fb.float64)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_lobpcg_finds_the_ends_of_the_spectrum(largest: bool, batch: tuple[int, ...]) -> None:
    a = symmetric(30, *batch)
    values, vectors = fb.lobpcg(a, 3, largest=largest)
    every = fb.linalg.eigvalsh(a)
    assert fb.allclose(values, every[..., -3:].flip(-1) if largest else every[..., :3])
    assert fb.allclose(a @ vectors, vectors * values.unsqueeze(-2), atol=1e-5)


def test_lobpcg_of_two_matrices_with_a_start_and_a_preconditioner() -> None:
    a, b = symmetric(24), symmetric(24, seed=1)
    start = fb.eye(24, 2, dtype=fb.float64)
    values, x = fb.lobpcg(a, 2, b, start, iK=fb.linalg.inv(a), largest=False)
    low = fb.linalg.cholesky(b)
    wanted = fb.linalg.eigvalsh(fb.linalg.solve(low, fb.linalg.solve(low, a).mT))
    assert fb.allclose(values, wanted[:2], rtol=1e-6)
    assert fb.allclose(x.mT @ b @ x, fb.eye(2, dtype=fb.float64), atol=1e-6)


def test_lobpcg_has_the_gradient_of_eigh() -> None:
    a, c = symmetric(12).requires_grad_(), symmetric(12).requires_grad_()
    values, vectors = fb.lobpcg(a, 2, tol=1e-12)
    (values.cos().sum() + vectors.abs().sum()).backward()
    every, whole = fb.linalg.eigh(c)
    (every[-2:].cos().sum() + whole[:, -2:].abs().sum()).backward()
    assert a.grad is not None and c.grad is not None
    assert fb.allclose((a.grad + a.grad.mT) / 2, (c.grad + c.grad.mT) / 2, atol=1e-8)


def test_lobpcg_refuses_too_many() -> None:
    with pytest.raises(ValueError, match="at least 3 for each"):
        fb.lobpcg(fb.eye(5), 2)


def test_a_matrix_of_low_rank_is_found_again() -> None:
    rng = np.random.default_rng(2)
    a = fb.tensor(rng.standard_normal((2, 7, 3)) @ rng.standard_normal((2, 3, 9)))
    for x in (a, a.mT):
        u, s, v = fb.svd_lowrank(x, 3)
        assert fb.allclose(u @ fb.diag_embed(s) @ v.mT, x)
        assert fb.allclose(s, fb.linalg.svdvals(x)[:, :3])
    u, s, v = fb.pca_lowrank(a, 3)
    assert fb.allclose(u @ fb.diag_embed(s) @ v.mT, a - a.mean(-2, keepdim=True))
    with pytest.raises(ValueError, match="q must be from 0 to"):
        fb.pca_lowrank(a, 8)
