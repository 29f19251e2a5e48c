"""Decompositions, systems, norms: what they satisfy, numpy's values, gradients, transforms, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb

linalg = fb.linalg
RNG = np.random.default_rng(1)
KINDS = pytest.mark.parametrize("kind", ["real", "complex"])
INF = float("inf")


def make(kind: str, *shape: int) -> Any:
    x = RNG.standard_normal(shape)
    return x + 1j * RNG.standard_normal(shape) if kind == "complex" else x


def hermitian(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda a: f((a + a.mH) / 2)


def definite(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda a: f(a @ a.mH + fb.eye(a.shape[-1], dtype=a.dtype))


def first_pair(u: Any, s: Any, vh: Any) -> tuple[Any, Any]:
    """What is the same for every choice of the phases."""
    return s, u[..., :1] @ vh[..., :1, :]


#: The function, the shapes of its operands, whether the gradient's gradient is checked too.
DIFFERENTIABLE: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...], bool]] = {
    "cholesky": (definite(linalg.cholesky), ((2, 3, 3),), True),
    "cholesky upper": (definite(lambda a: linalg.cholesky(a, upper=True)), ((3, 3),), False),
    "qr": (lambda a: tuple(linalg.qr(a)), ((3, 3),), True),
    "qr tall": (lambda a: tuple(linalg.qr(a)), ((2, 4, 2),), True),
    "qr wide": (lambda a: tuple(linalg.qr(a)), ((2, 4),), False),
    "eigvalsh": (hermitian(linalg.eigvalsh), ((2, 3, 3),), True),
    "eigh": (hermitian(lambda a: (lambda w, v: (w, v.abs()))(*linalg.eigh(a))), ((3, 3),), False),
    "eigvals": (linalg.eigvals, ((3, 3),), False),
    "eig": (lambda a: (lambda w, v: (w, v.abs()))(*linalg.eig(a)), ((3, 3),), False),
    "svd": (lambda a: first_pair(*linalg.svd(a)), ((3, 3),), False),
    "svd tall": (lambda a: first_pair(*linalg.svd(a, False)), ((4, 2),), False),
    "svd wide": (lambda a: first_pair(*linalg.svd(a, False)), ((2, 2, 4),), False),
    "svdvals": (linalg.svdvals, ((2, 2, 4),), True),
    "lu_factor": (lambda a: linalg.lu_factor(a).LU, ((2, 3, 3),), True),
    "lu": (lambda a: linalg.lu(a)[1:], ((3, 3),), False),
    "det": (linalg.det, ((2, 3, 3),), True),
    "logabsdet": (lambda a: linalg.slogdet(a).logabsdet, ((3, 3),), True),
    "inv": (linalg.inv, ((2, 3, 3),), True),
    "pinv tall": (linalg.pinv, ((4, 2),), True),
    "pinv wide": (linalg.pinv, ((2, 2, 4),), False),
    "solve": (linalg.solve, ((2, 3, 3), (3, 2)), True),
    "solve a vector": (linalg.solve, ((3, 3), (3,)), False),
    "solve right": (lambda a, b: linalg.solve(a, b, left=False), ((3, 3), (2, 3)), False),
    "solve_triangular": (lambda a, b: linalg.solve_triangular(a, b, upper=True), ((3, 3), (3, 2)), True),
    "solve_triangular right": (lambda a, b: linalg.solve_triangular(a, b, upper=False, left=False), ((3, 3), (2, 3)),
        False),
    "solve_triangular of ones": (
        lambda a, b: linalg.solve_triangular(a, b, upper=False, unitriangular=True), ((3, 3), (3, 1)), False),
    "cholesky_solve": (lambda a, b: fb.cholesky_solve(b, definite(linalg.cholesky)(a)), ((3, 3), (3, 2)), False),
    "lstsq": (lambda a, b: linalg.lstsq(a, b).solution, ((4, 2), (4, 3)), False),
    "matrix_exp": (linalg.matrix_exp, ((2, 3, 3),), True),
    "matrix_norm": (lambda a: tuple(linalg.matrix_norm(a, o) for o in ("fro", "nuc", 1, -1, INF, -INF, 2, -2)),
        ((2, 3),), False),
    "norm": (lambda a: (linalg.norm(a), linalg.norm(a, 3, 0), linalg.norm(a, "fro"), linalg.vector_norm(a, INF)),
        ((2, 3),), False),
    "cond": (lambda a: (linalg.cond(a), linalg.cond(a, 1)), ((3, 3),), False),
}  # fmt: skip


@KINDS
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name: str, kind: str) -> None:
    fn, shapes, second = DIFFERENTIABLE[name]
    leaves = tuple(fb.tensor(make(kind, *s)).requires_grad_() for s in shapes)
    assert fb.autograd.gradcheck(fn, leaves)
    if second and kind == "real":
        assert fb.autograd.gradgradcheck(fn, leaves, fast_mode=True)


def test_the_direction_of_a_complex_determinant_has_a_gradient():
    a = fb.tensor(make("complex", 3, 3)).requires_grad_()
    assert fb.autograd.gradcheck(lambda x: tuple(linalg.slogdet(x)), (a,))


@KINDS
def test_factors_multiply_to_the_matrix(kind: str) -> None:
    a = fb.tensor(make(kind, 2, 3, 3))
    h = a @ a.mH + fb.eye(3, dtype=a.dtype)
    low = linalg.cholesky(h)
    up = linalg.cholesky(h, upper=True)
    assert fb.allclose(low @ low.mH, h) and fb.allclose(up.mH @ up, h) and fb.allclose(up, low.mH)
    w, v = linalg.eigh(h)
    assert fb.allclose(v * w.unsqueeze(-2) @ v.mH, h) and not w.is_complex()
    w, v = linalg.eig(a)
    assert w.is_complex() and fb.allclose(v * w.unsqueeze(-2), a.to(w.dtype) @ v)
    for shape in ((3, 3), (4, 2), (2, 4)):
        m = fb.tensor(make(kind, 2, *shape))
        q, r = linalg.qr(m)
        assert fb.allclose(q @ r, m) and fb.allclose(r, r.triu())
        assert linalg.qr(m, "complete").Q.shape[-1] == shape[0] and linalg.qr(m, "r").Q.shape == (0,)
        u, s, vh = linalg.svd(m, full_matrices=False)
        assert fb.allclose(u * s.unsqueeze(-2) @ vh, m)
        full = linalg.svd(m)
        assert full.U.shape[-2:] == (shape[0], shape[0]) and full.Vh.shape[-2:] == (shape[1], shape[1])
        p, low, up = linalg.lu(m)
        assert fb.allclose(p @ low @ up, m)
        x = linalg.pinv(m)
        assert fb.allclose(m @ x @ m, m) and fb.allclose(x @ m @ x, x)
    lu, pivots = linalg.lu_factor(a)
    b = fb.tensor(make(kind, 2, 3, 2))
    assert pivots.dtype is fb.int32 and fb.allclose(a @ linalg.lu_solve(lu, pivots, b), b)
    assert fb.allclose(
        fb.cholesky_inverse(linalg.cholesky(h)) @ h, fb.eye(3, dtype=a.dtype).expand(2, 3, 3), atol=1e-10
    )


VALUES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "det": (fb.det, np.linalg.det),
    "slogdet": (fb.slogdet, np.linalg.slogdet),
    "inverse": (fb.inverse, np.linalg.inv),
    "svdvals": (linalg.svdvals, lambda a: np.linalg.svd(a, compute_uv=False)),
    "eigvalsh": (lambda a: linalg.eigvalsh(a, "U"), lambda a: np.linalg.eigvalsh(a, "U")),
    "cond": (linalg.cond, np.linalg.cond),
    "cond 1": (lambda a: linalg.cond(a, 1), lambda a: np.linalg.cond(a, 1)),
    "matrix_rank": (linalg.matrix_rank, np.linalg.matrix_rank),
    "norm": (lambda a: linalg.norm(a, dim=(0, 1)), lambda a: np.linalg.norm(a, axis=(0, 1))),
    "norm inf": (lambda a: linalg.norm(a, INF, (1, 2), True), lambda a: np.linalg.norm(a, np.inf, (1, 2), True)),
    "norm nuc": (lambda a: linalg.norm(a, "nuc", (0, 2)), lambda a: np.linalg.norm(a, "nuc", (0, 2))),
    "norm 3": (lambda a: linalg.norm(a, 3, 1), lambda a: np.linalg.norm(a, 3, 1)),
    "norm -2": (lambda a: linalg.matrix_norm(a, -2, keepdim=True), lambda a: np.linalg.norm(a, -2, (1, 2), True)),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    ours, theirs = VALUES[name]
    a = make("real", 2, 3, 3)
    found, wanted = ours(fb.tensor(a)), theirs(a)
    pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
    for f, w in pairs:
        assert tuple(f.shape) == w.shape
        np.testing.assert_allclose(f.numpy(), w, 1e-10)


def test_the_exponential_of_large_and_special_matrices():
    from scipy.linalg import expm

    for scale in (0.0, 1e-3, 1.0, 30.0):
        a = scale * make("real", 3, 3)
        np.testing.assert_allclose(linalg.matrix_exp(fb.tensor(a)).numpy(), expm(a), 1e-9)
    turn = fb.tensor([[0.0, -np.pi], [np.pi, 0.0]], dtype=fb.float64)
    assert fb.allclose(linalg.matrix_exp(turn), -fb.eye(2, dtype=fb.float64))
    x = fb.tensor([[0.6, 0.8], [1.0, 1.2]], dtype=fb.float64)
    small, large = (fb.func.vjp(linalg.matrix_exp, x)[1](turn * s)[0] for s in (1.0, 1e14))
    assert fb.allclose(large, small * 1e14)  # however large, a gradient costs no precision


def test_the_gradient_of_a_singular_determinant():
    a = fb.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=fb.float64, requires_grad=True)
    fb.det(a).backward()
    np.testing.assert_allclose(a.grad.numpy(), [[4, -2], [-2, 1]], atol=1e-12)


def test_rank_and_least_squares_where_the_rank_is_low():
    a = fb.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    assert linalg.matrix_rank(a).item() == 1 and linalg.matrix_rank(a, tol=100).item() == 0
    found = linalg.lstsq(a, fb.tensor([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found.solution.numpy(), [0.2, 0.4], 1e-5)
    assert found.rank.item() == 1 and found.residuals.shape == found.singular_values.shape == (0,)
    tall, b = make("real", 5, 2), make("real", 5, 1)
    wanted = np.linalg.lstsq(tall, b)
    found = linalg.lstsq(fb.tensor(tall), fb.tensor(b), driver="gelsd")
    np.testing.assert_allclose(found.solution.numpy(), wanted[0])
    np.testing.assert_allclose(found.residuals.numpy(), wanted[1])


def test_older_names():
    a = fb.tensor(make("complex", 3, 2))
    u, s, v = fb.svd(a)
    assert fb.allclose(u * s @ v.mH, a)
    assert fb.qr(a, some=False).Q.shape == (3, 3)
    m = fb.tensor(make("real", 2, 2))
    m = m @ m.T + fb.eye(2, dtype=fb.float64)
    assert fb.allclose(fb.cholesky(m, upper=True), linalg.cholesky(m).T)
    assert fb.allclose(m.logdet(), m.det().log()) and fb.logdet(-m[:1, :1]).isnan().item()


# -- transforms --------------------------------------------------------------------------------------
TRANSFORMED: dict[str, Callable[[Any], Any]] = {
    "inv": linalg.inv, "det": linalg.det, "matrix_exp": linalg.matrix_exp, "svdvals": linalg.svdvals,
    "r": lambda a: linalg.qr(a).R, "cholesky": definite(linalg.cholesky), "lu": lambda a: linalg.lu_factor(a).LU,
    "solve": lambda a: linalg.solve(a, fb.ones(3, 1, dtype=fb.float64)), "pinv": linalg.pinv,
    "einsum": lambda a: fb.einsum("ij,kj->k", a, a), "matrix_norm": lambda a: linalg.matrix_norm(a, 1),
    "multi_dot": lambda a: linalg.multi_dot((a, a, a)), "cdist": lambda a: fb.cdist(a, a + 1),
    "baddbmm": lambda a: fb.addmm(a, a, a, alpha=2), "cross": lambda a: fb.cross(a, a.T),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMED)
def test_under_vmap_and_forward_mode(name: str) -> None:
    f, batch = TRANSFORMED[name], fb.tensor(make("real", 2, 3, 3))
    together = fb.func.vmap(f)(batch)
    for i in range(2):
        assert fb.allclose(together[i], f(batch[i]))
    step = 1e-6
    _, moved = fb.func.jvp(f, (batch[0],), (batch[1],))
    difference = (f(batch[0] + step * batch[1]) - f(batch[0] - step * batch[1])) / (2 * step)
    assert fb.allclose(moved, difference, 1e-5, 1e-6)
    per_example = fb.func.vmap(fb.func.grad(lambda a: f(a).sum()))(batch)
    leaf = batch[1].clone().requires_grad_()
    f(leaf).sum().backward()
    assert fb.allclose(per_example[1], leaf.grad)


# -- errors ------------------------------------------------------------------------------------------
E, R, C = fb.eye(2), fb.zeros(2, 3), fb.zeros(3)
WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "matmul": (lambda: R @ R, RuntimeError, r"matmul:.*3 and 2.*\(2, 3\) and \(2, 3\)"),
    "matmul vectors": (lambda: C @ fb.zeros(2), RuntimeError, r"matmul:.*3 of input \(3,\) and 2 of other \(2,\)"),
    "matmul 0-d": (lambda: E @ fb.tensor(1.0), RuntimeError, r"matmul:.*at least 1-d.*\(\); use \*"),
    "matmul a number": (lambda: E @ 2, TypeError, "unsupported operand"),
    "mm of 3-d": (lambda: fb.mm(fb.zeros(2, 2, 2), E), RuntimeError, r"mm: input must be 2-d, got shape \(2, 2, 2\)"),
    "mm sizes": (lambda: fb.mm(R, R), RuntimeError, r"mm: sizes 3 of input \(2, 3\) and 2 of mat2 \(2, 3\)"),
    "mm dtypes": (lambda: fb.mm(E, E.double()), TypeError, "mm:.*float32 and flambeau.float64"),
    "bmm": (lambda: fb.bmm(fb.zeros(2, 1, 1), fb.zeros(3, 1, 1)), RuntimeError,
        "bmm: batches must be of equal size, got 2"),
    "mv": (lambda: fb.mv(E, E), RuntimeError, "mv: vec must be 1-d"),
    "dot": (lambda: fb.dot(C, fb.zeros(2)), RuntimeError, "dot: sizes 3 of input"),
    "addmv": (lambda: fb.addmv(C, E, C), RuntimeError, r"addmv: the sizes of mat \(2, 2\) and vec \(3,\) do not fit"),
    "linear": (lambda: fb.nn.functional.linear(R, E), RuntimeError,
        r"linear:.*got 3 in input \(2, 3\) and in_features 2"),
    "einsum label": (lambda: fb.einsum("ij->k", E), ValueError, "einsum: the result names label 'k'"),
    "einsum size": (lambda: fb.einsum("ij,jk", R, R), RuntimeError,
        r"einsum: label 'j' has size 2 in operand 1 of shape \(2, 3\)"),
    "einsum rank": (lambda: fb.einsum("i", E), RuntimeError, r"einsum: operand 0 of shape \(2, 2\) has 2 dimension"),
    "einsum count": (lambda: fb.einsum("i,i", C), RuntimeError, "names 2 operand.*but 1"),
    "einsum character": (lambda: fb.einsum("i1", E), ValueError, "invalid character '1'"),
    "einsum ellipses": (lambda: fb.einsum("...i...", E), ValueError, "two ellipses"),
    "tensordot": (lambda: fb.tensordot(R, R, 1), RuntimeError, r"tensordot:.*\(2, 3\).*equal sizes"),
    "cross": (lambda: fb.cross(E, E), RuntimeError, r"cross: no dimension of size 3.*\(2, 2\)"),
    "multi_dot": (lambda: linalg.multi_dot([E, C]), RuntimeError, "multi_dot: sizes 2 of tensor"),
    "matrix_power": (lambda: R.matrix_power(2), RuntimeError, r"matrix_power: expects square.*\(2, 3\)"),
    "cdist": (lambda: fb.cdist(E, R), RuntimeError, r"cdist:.*\(2, 2\) and \(2, 3\)"),
    "cdist p": (lambda: fb.cdist(E, E, -1), ValueError, "cdist: p must not be negative, got -1"),
    "inv": (lambda: linalg.inv(R), RuntimeError, r"inv:.*square.*\(2, 3\)"),
    "inv singular": (lambda: linalg.inv(fb.zeros(2, 2, 2)), linalg.LinAlgError,
        "inv: matrix 0 of the batch .* singular"),
    "solve singular": (lambda: linalg.solve(E * 0, E), linalg.LinAlgError, "solve: the matrix .* singular"),
    "cholesky": (lambda: linalg.cholesky(-E), linalg.LinAlgError, "cholesky: .*not positive-definite"),
    "solve rows": (lambda: linalg.solve(E, fb.zeros(3, 1)), RuntimeError,
        r"solve: B of shape \(3, 1\) must have as many rows"),
    "det of ints": (lambda: linalg.det(E.long()), TypeError, "det: not implemented for int64; it takes float32"),
    "qr mode": (lambda: linalg.qr(E, "full"), ValueError, "qr: mode must be 'reduced'.*got 'full'"),
    "eigh triangle": (lambda: linalg.eigh(E, "X"), ValueError, "eigh: UPLO must be 'L' or 'U', got 'X'"),
    "matrix_norm": (lambda: linalg.matrix_norm(E, 5), ValueError, "matrix_norm: ord must be .*got 5"),
    "matrix_norm dims": (lambda: linalg.matrix_norm(E, 1, (0, 0)), RuntimeError, "matrix_norm: .*two different"),
    "norm": (lambda: linalg.norm(fb.zeros(2, 2, 2), 1), RuntimeError, r"norm: with ord=1 and no dim.*\(2, 2, 2\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_say_what_is_wrong(name: str) -> None:
    call, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        call()


def test_gradients_that_do_not_exist_say_why():
    a = fb.tensor(make("real", 3, 2)).requires_grad_()
    with pytest.raises(RuntimeError, match="qr: with mode='complete' there is no gradient"):
        linalg.qr(a, "complete").Q.sum().backward()
