"""Products, decompositions, systems and norms: values as numpy's, gradients, transforms, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb

linalg = fb.linalg
RNG = np.random.default_rng(0)


def real(*shape: int) -> Any:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> Any:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def gradcheck(fn: Callable[..., Any], arrays: Any, second: bool = True) -> None:
    leaves = tuple(fb.tensor(a).requires_grad_() for a in arrays)
    assert fb.autograd.gradcheck(fn, leaves)
    if second:
        assert fb.autograd.gradgradcheck(fn, leaves, fast_mode=True)


#: The function of tensors, the same of arrays, the arrays.
PRODUCTS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
    "matmul of matrices": (fb.matmul, np.matmul, (real(2, 3), real(3, 4))),
    "matmul of a vector left": (fb.matmul, np.matmul, (real(3), real(3, 4))),
    "matmul of a vector right": (lambda x, y: x @ y, np.matmul, (real(2, 3), real(3))),
    "matmul of vectors": (fb.matmul, np.matmul, (real(3), real(3))),
    "matmul of a vector and a batch": (fb.matmul, np.matmul, (real(3), real(2, 3, 4))),
    "matmul of a batch and a vector": (fb.matmul, np.matmul, (real(2, 4, 3), real(3))),
    "matmul of batches": (fb.matmul, np.matmul, (real(2, 1, 2, 3), real(5, 3, 2))),
    "matmul of nothing": (fb.matmul, np.matmul, (real(2, 0), real(0, 3))),
    "mm": (fb.mm, np.matmul, (real(2, 3), real(3, 4))),
    "bmm": (fb.bmm, np.matmul, (real(2, 2, 3), real(2, 3, 4))),
    "mv": (fb.mv, np.matmul, (real(2, 3), real(3))),
    "dot": (fb.dot, np.dot, (real(3), real(3))),
    "vdot": (fb.vdot, np.vdot, (cplx(3), cplx(3))),
    "inner": (fb.inner, np.inner, (real(2, 3), real(4, 3))),
    "inner of a number": (fb.inner, np.inner, (real(), real(2))),
    "outer": (fb.outer, np.outer, (real(2), real(3))),
    "kron": (fb.kron, np.kron, (real(2, 3), real(3, 2))),
    "kron of other ranks": (fb.kron, np.kron, (real(2), real(2, 2))),
    "trace": (fb.trace, np.trace, (real(3, 4),)),
    "cross": (fb.cross, np.cross, (real(4, 3), real(4, 3))),
    "cross along": (lambda x, y: linalg.cross(x, y, dim=0), lambda a, b: np.cross(a, b, axis=0),
        (real(3, 2), real(3, 2))),
    "matrix_power": (lambda x: x.matrix_power(5), lambda a: np.linalg.matrix_power(a, 5), (real(2, 3, 3),)),
    "matrix_power 0": (lambda x: x.matrix_power(0), lambda a: np.linalg.matrix_power(a, 0), (real(2, 2),)),
    "matrix_power -2": (lambda x: linalg.matrix_power(x, -2), lambda a: np.linalg.matrix_power(a, -2),
        (real(3, 3) + 2 * np.eye(3),)),
    "multi_dot": (lambda *x: linalg.multi_dot(x), lambda *a: np.linalg.multi_dot(a),
        (real(2, 5), real(5, 3), real(3, 4), real(4, 1))),
    "multi_dot of vectors": (lambda *x: linalg.multi_dot(x), lambda *a: np.linalg.multi_dot(a),
        (real(2), real(2, 3), real(3))),
    "chain_matmul": (fb.chain_matmul, lambda *a: np.linalg.multi_dot(a), (real(2, 3), real(3, 4), real(4, 2))),
    "vander": (fb.vander, np.vander, (real(3),)),
    "vander increasing": (lambda x: fb.vander(x, 4, True), lambda a: np.vander(a, 4, True), (real(3),)),
    "tensordot": (fb.tensordot, np.tensordot, (real(2, 3, 4), real(3, 4, 2))),
    "tensordot of dims": (
        lambda x, y: fb.tensordot(x, y, ([0, 2], [1, 0])), lambda a, b: np.tensordot(a, b, ([0, 2], [1, 0])),
        (real(2, 3, 4), real(4, 2, 3))),
    "tensordot of none": (lambda x, y: fb.tensordot(x, y, 0), lambda a, b: np.tensordot(a, b, 0), (real(2), real(3))),
    "vecdot": (linalg.vecdot, lambda a, b: (a.conj() * b).sum(-1), (cplx(2, 3), cplx(3))),
    "addmm": (lambda x, a, b: fb.addmm(x, a, b, beta=0.5, alpha=2), lambda x, a, b: 0.5 * x + 2 * a @ b,
        (real(3), real(2, 4), real(4, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    ours, theirs, arrays = PRODUCTS[name]
    found, wanted = ours(*[fb.tensor(a) for a in arrays]), np.asarray(theirs(*arrays))
    assert tuple(found.shape) == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, 1e-12, 1e-12)
    if all(a.size for a in arrays):
        gradcheck(ours, arrays)


EQUATIONS: list[tuple[str, tuple[Any, ...]]] = [
    ("ij,jk->ik", (real(2, 3), real(3, 4))), ("ij,jk", (real(2, 3), real(3, 4))), ("ij->ji", (real(2, 3),)),
    ("ij->", (real(2, 3),)), ("ii", (real(3, 3),)), ("ii->i", (real(3, 3),)), ("iij->j", (real(3, 3, 2),)),
    ("i,j->ij", (real(2), real(3))), ("i,i->", (real(3), real(3))), (",ij->ij", (real(), real(2, 3))),
    ("bij,bjk->bik", (real(2, 2, 3), real(2, 3, 4))), ("bhqd,bhkd->bhqk", (real(2, 2, 3, 2), real(2, 2, 4, 2))),
    ("...ij,...jk->...ik", (real(2, 1, 2, 3), real(4, 3, 2))), ("...ij,jk", (real(2, 2, 3), real(3, 4))),
    ("...,...->...", (real(2, 3), real(3))), ("...a->a...", (real(2, 3, 4),)), ("ij,ij->j", (real(2, 3), real(2, 3))),
    ("ab,bc,cd->ad", (real(2, 3), real(3, 4), real(4, 2))), ("bn,anm,bm->ba", (real(2, 3), real(2, 3, 4), real(2, 4))),
    ("ijk,jil->kl", (real(2, 3, 4), real(3, 2, 5))), ("ba,b,b->a", (real(3, 4), real(3), real(3))),
    ("ij,jk->ik", (real(2, 0), real(0, 3))), ("ij,jk->ik", (cplx(2, 3), cplx(3, 2))),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "arrays"), EQUATIONS)
def test_einsum(equation: str, arrays: Any) -> None:
    found, wanted = fb.einsum(equation, *[fb.tensor(a) for a in arrays]), np.einsum(equation, *arrays)
    assert tuple(found.shape) == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, 1e-12, 1e-12)
    if all(a.size for a in arrays) and not np.iscomplexobj(arrays[0]):
        gradcheck(lambda *x: fb.einsum(equation, *x), arrays, second=False)


def test_einsum_by_numbers_and_lists():
    a, b = real(2, 3), real(3, 4)
    x, y = fb.tensor(a), fb.tensor(b)
    np.testing.assert_allclose(fb.einsum(x, [0, 1], y, [1, 2], [2, 0]).numpy(), (a @ b).T)
    np.testing.assert_allclose(fb.einsum(x, [..., 5], y, [5, 7]).numpy(), np.einsum(a, [..., 5], b, [5, 7]))
    np.testing.assert_allclose(fb.einsum("ij,jk->ik", [x, y]).numpy(), a @ b)


def test_einsum_takes_the_cheap_order():
    tall, wide = fb.zeros(3000, 1), fb.zeros(1, 3000)
    assert fb.einsum("ab,bc,cd->ad", tall, wide, tall).shape == (3000, 1)  # tall @ wide would take 36 MB


def test_linear_and_its_gradients():
    gradcheck(fb.nn.functional.linear, (real(2, 2, 3), real(4, 3), real(4)))
    gradcheck(fb.nn.functional.linear, (real(3), real(4, 3)))
    x, w, b = (fb.tensor(cplx(*s)).requires_grad_() for s in ((2, 3), (4, 3), (4,)))
    assert fb.autograd.gradcheck(fb.nn.functional.linear, (x, w, b))


def test_beta_zero_ignores_the_input():
    nothing = fb.full((2, 2), float("nan"))
    a, b = fb.ones(2, 3), fb.ones(3, 2)
    assert fb.addmm(nothing, a, b, beta=0).tolist() == [[3, 3], [3, 3]]


def test_in_place_sums_of_products():
    x = fb.tensor(real(2, 4))
    a, b = fb.tensor(real(2, 3)).requires_grad_(), fb.tensor(real(3, 4)).requires_grad_()
    wanted = (2 * x + 3 * a @ b).detach()
    y = x.clone()
    y.addmm_(a, b, beta=2, alpha=3)
    np.testing.assert_allclose(y.detach().numpy(), wanted.numpy())
    y.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), 3 * b.detach().sum(1).expand(2, 3).numpy())


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
def test_distances(p: float) -> None:
    x, y = real(2, 4, 3), real(5, 3)
    wanted = np.linalg.norm(x[:, :, None] - y, p, -1)
    np.testing.assert_allclose(fb.cdist(fb.tensor(x), fb.tensor(y), p).numpy(), wanted)
    by_products = fb.cdist(fb.tensor(x), fb.tensor(y), compute_mode="use_mm_for_euclid_dist")
    np.testing.assert_allclose(by_products.numpy(), np.linalg.norm(x[:, :, None] - y, 2, -1), 1e-6)
    same = fb.tensor(y).requires_grad_()
    fb.cdist(same, same, p).sum().backward()
    assert same.grad.isfinite().all()


def test_whole_numbers_stay_whole():
    m = fb.tensor([[1, 2], [3, 4]])
    assert (m @ m).tolist() == [[7, 10], [15, 22]] and (m @ m).dtype is fb.int64
    assert fb.einsum("ij,jk->ik", m, m).tolist() == [[7, 10], [15, 22]]
    assert m.trace().item() == 5


def test_out():
    out = fb.empty(2, 2)
    a = fb.ones(2, 3)
    assert fb.mm(a, a.T, out=out) is out and out.tolist() == [[3, 3], [3, 3]]
