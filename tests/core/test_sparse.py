"""Sparse tensors beside what PyTorch answered (in sparse_cases.py): scipy's products, devices, who pays for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.overrides import TorchFunctionMode

KINDS = ("coo", "csr", "csc")


def pair(seed: int, n: int, m: int, kind: str = "coo") -> tuple[Any, Any]:
    """A sparse matrix here and in scipy."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, n * m + 2))
    where = np.stack([rng.integers(0, n, count), rng.integers(0, m, count)])
    held = rng.integers(-4, 5, count).astype("float64")
    mine = fb.sparse_coo_tensor(fb.tensor(where), fb.tensor(held), (n, m))
    return mine.to_sparse(layout=getattr(fb, f"sparse_{kind}")), sp.coo_matrix((held, where), (n, m)).tocsr()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.sampled_from(KINDS))
def test_as_scipy(seed: int, n: int, k: int, m: int, kind: str) -> None:
    (a, a2), (b, b2), (c, c2) = pair(seed, n, k, kind), pair(seed + 1, k, m), pair(seed + 2, n, k, kind)
    d = np.random.default_rng(seed).normal(size=(k, 2))
    for mine, theirs in (
        (a.to_dense(), a2.toarray()), ((a @ b).to_dense(), (a2 @ b2).toarray()), (a @ fb.tensor(d), a2 @ d),
        ((a + c).to_dense(), (a2 + c2).toarray()), ((a * c).to_dense(), a2.multiply(c2).toarray()),
        (a.t().to_dense(), a2.T.toarray()), (fb.tensor(d.T) @ a.t(), d.T @ a2.T.toarray()), (a.sum(), a2.sum()),
        (a.sum(0).to_dense(), np.asarray(a2.sum(0))[0]),
    ):  # fmt: skip
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-12)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.lists(st.integers(0, 3), max_size=6))
def test_index_select_as_of_the_dense_tensor(seed: int, rows: list[int]) -> None:
    a, _ = pair(seed, 4, 3)
    index = fb.tensor(rows, dtype=fb.int64)
    assert (a.index_select(0, index).to_dense() == a.to_dense().index_select(0, index)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: str) -> None:
    a, _ = pair(3, 4, 3, kind)
    a = a.detach().requires_grad_()
    b = fb.tensor(np.random.default_rng(0).normal(size=(3, 2)), requires_grad=True)
    check = fb.sparse.as_sparse_gradcheck(fb.autograd.gradcheck)
    assert check(lambda s, d: s @ d, (a, b))
    assert check(lambda s: (s * 2).sin(), (a,))
    assert check(lambda s: s @ s.t(), (a,))
    assert check(lambda s: s.to_sparse_coo().sum(1), (a,))
    assert check(lambda s: fb.sparse.log_softmax(s.to_sparse_coo(), 0), (a,))


def test_the_gradient_check_finds_wrong_gradients() -> None:
    a = fb.eye(2, dtype=fb.float64).to_sparse().requires_grad_()
    with pytest.raises(RuntimeError, match="central difference"):
        fb.sparse.as_sparse_gradcheck(fb.autograd.gradcheck)(lambda s: (s * s.detach()).to_dense(), (a,))


def test_second_derivative() -> None:
    a = fb.eye(2).to_sparse().requires_grad_()
    (g,) = fb.autograd.grad((a.to_dense() ** 3).sum(), a, create_graph=True)
    (h,) = fb.autograd.grad(g.to_dense().sum(), a)
    assert (h.values() == 6).all()


def test_hooks_and_what_a_leaf_keeps() -> None:
    a = fb.eye(2).to_sparse().requires_grad_()
    a.register_hook(lambda g: g * 2)
    b = a * 3
    b.retain_grad()
    fb.sparse.sum(b).backward()
    assert (a.grad.values() == 6).all() and (b.grad.values() == 1).all() and a.grad is a.grad
    a.grad = fb.ones(2, 2)
    assert a.grad.layout is fb.sparse_coo and (a.grad.values() == 1).all()


def test_backward_of_a_sparse_result() -> None:
    a = fb.eye(2).to_sparse().requires_grad_()
    (a * 3).backward(fb.tensor([[2.0, 1.0], [1.0, 5.0]]).to_sparse())
    assert a.grad.values().tolist() == [6, 15]


def test_a_sparse_gradient_meets_a_dense_one_in_either_order() -> None:
    for turns in ([True, False], [False, True]):
        m = fb.nn.Embedding(3, 2, sparse=True)
        for sparse in turns:
            (m(fb.tensor([1])) if sparse else m.weight).sum().backward()
        assert m.weight.grad.layout is fb.strided
        assert m.weight.grad.tolist() == [[1, 1], [2, 2], [1, 1]]


def test_a_sparse_gradient_passes_on() -> None:
    w = fb.ones(3, 2, requires_grad=True)
    fb.nn.functional.embedding(fb.tensor([0, 0]), w * 2, sparse=True).sum().backward()
    assert fb.as_tensor(w.grad.to_dense()).tolist() == [[4, 4], [0, 0], [0, 0]]


def test_zero_grad_that_keeps_the_gradient() -> None:
    with TorchFunctionMode():  # from here on functions ask, as they may have done before
        pass
    m = fb.nn.Embedding(3, 2, sparse=True)
    m(fb.tensor([1])).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.weight.grad._nnz() == 0
    m(fb.tensor([2])).sum().backward()
    assert m.weight.grad.to_dense().tolist() == [[0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize("device", ["strict", "narrow"])
def test_other_devices(device: str) -> None:
    a = fb.sparse_coo_tensor([[0, 1, 0], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3), device=device, requires_grad=True)
    out = fb.sparse.mm(a, fb.ones(3, 2, device=device))
    out.sum().backward()
    assert a.device.type == device and out.cpu().tolist() == [[8, 8], [4, 4]]
    assert a.grad._values().cpu().tolist() == [2, 2, 2]
    assert (a.detach() + a.detach()).to_sparse_csr().cpu().values().tolist() == [16, 8]


def test_errors_name_the_function_and_the_layout() -> None:
    for layout in (fb.sparse_coo, fb.sparse_csr, fb.sparse_csc):
        with pytest.raises(NotImplementedError, match=f"exp: .*{layout}.*to_dense"):
            fb.eye(2).to_sparse(layout=layout).exp()
    with pytest.raises(RuntimeError, match="SparseBsr without blocksize"):
        fb.eye(2).to_sparse(layout=fb.sparse_bsr)
    with pytest.raises(RuntimeError, match="semi-structured"):
        fb.sparse.to_sparse_semi_structured(fb.eye(4))
    out = fb.nn.Embedding(3, 2, sparse=True, scale_grad_by_freq=True)(fb.tensor([1]))  # the values are there
    with pytest.raises(RuntimeError, match="scale_grad_by_freq"):
        out.sum().backward()


@pytest.mark.parametrize(
    ("start", "other", "text"),
    [([1, 2], [0], "first"), ([0, 2], [0], "last"), ([0, 2, 1], [0], "rise"), ([0, 2], [1, 0], "sorted")],
)
def test_invariants_of_compressed_indices(start: list[int], other: list[int], text: str) -> None:
    with fb.sparse.check_sparse_tensor_invariants(), pytest.raises(RuntimeError, match=text):
        fb.sparse_csr_tensor(start, other, [1.0] * len(other), (len(start) - 1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    a = pair(5, 4, 3, kind)[0].detach().requires_grad_()
    fb.save({"a": a, "twice": a.to_sparse_coo().detach() + a.to_sparse_coo().detach().t().t()}, tmp_path / "x")
    b, twice = fb.load(tmp_path / "x").values()
    assert b.layout is a.layout and b.requires_grad and not twice.requires_grad
    assert (b.to_dense() == a.to_dense()).all() and (twice.to_dense() == 2 * a.to_dense()).all()


def test_a_file_with_indices_that_do_not_fit_is_refused(tmp_path: Path) -> None:
    a = fb.sparse_coo_tensor([[5]], [1.0], (2,))
    fb.save(a, tmp_path / "x")
    with pytest.raises(fb.utils.serialization.CheckpointError, match="size 2 and an index 5"):
        fb.load(tmp_path / "x")


def test_old_names() -> None:
    x = fb.sparse.FloatTensor(fb.tensor([[0, 1], [1, 0]]), fb.tensor([1.0, 2.0]), fb.Size([2, 2]))
    assert isinstance(x, fb.sparse.FloatTensor) and not isinstance(x.double(), fb.sparse.FloatTensor)
    assert fb.sparse.LongTensor(2, 3).dtype is fb.int64 and fb.sparse.LongTensor(2, 3).shape == (2, 3)
    assert fb.spmm(x, fb.eye(2)).tolist() == fb.dsmm(x, fb.eye(2)).tolist() == [[0, 1], [2, 0]]


def test_solve() -> None:
    a = fb.tensor([[2.0, 1.0], [0.0, 4.0]])
    x = fb.sparse.spsolve(a.to_sparse_csr(), fb.ones(2))
    np.testing.assert_allclose((a @ x).numpy(), 1)


@pytest.mark.slow
def test_nobody_pays_before_the_first_sparse_tensor() -> None:
    program = "import sys, flambeau as fb; from flambeau.core.overrides import ARMED; " \
        "print(ARMED, 'flambeau.core.sparse.tensor' in sys.modules); fb.eye(2).to_sparse(); print(ARMED)"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:2] == ["[] False", "['classes']"]


@pytest.mark.parametrize("kind", ["bsr", "bsc"])
def test_blocks(kind: str, tmp_path: Path) -> None:
    """Of blocks that are not square too: products, gradients, files."""
    whole = fb.tensor(np.random.default_rng(1).normal(size=(4, 6))) * fb.tensor([[1.0], [1.0], [0.0], [1.0]])
    a = whole.to_sparse(layout=getattr(fb, f"sparse_{kind}"), blocksize=(2, 3)).requires_grad_()
    b = fb.tensor(np.random.default_rng(2).normal(size=(6, 2)), requires_grad=True)
    check = fb.sparse.as_sparse_gradcheck(fb.autograd.gradcheck)
    assert check(lambda s, d: s @ d, (a, b)) and check(lambda s, d: d.t() @ s.t(), (a, b))
    assert check(lambda s: (s * s).sin(), (a,)) and check(lambda s: s.to_sparse_coo().sum(0), (a,))
    for x, y in ((a @ b, whole @ b), (b.t() @ a.t(), b.t() @ whole.t()), (a @ a.t(), whole @ whole.t())):
        found = x.to_dense() if x.layout is not fb.strided else x
        np.testing.assert_allclose(found.detach().numpy(), y.detach().numpy(), atol=1e-12)
    fb.save(a, tmp_path / "x")
    c = fb.load(tmp_path / "x")
    assert c.layout is a.layout and c.requires_grad and fb.equal(c.to_dense(), whole) and c._blocksize == (2, 3)


def test_batches_of_compressed_matrices_multiply() -> None:
    a, b = fb.stack([fb.eye(3), fb.eye(3).flip(0)]), fb.arange(12.0).reshape(2, 3, 2)
    assert fb.equal(a.to_sparse_csr() @ b, a @ b)
    with fb.sparse.check_sparse_tensor_invariants(), pytest.raises(RuntimeError, match="sorted"):
        fb.sparse_csr_tensor([[0, 2], [0, 2]], [[0, 1], [1, 0]], [[1.0, 2], [3, 4]], (2, 1, 2))


@pytest.mark.slow
def test_samples_of_torch() -> None:
    """Some of each op's sparse samples; ``python -m tests.ops.sparse_database`` takes all."""
    pytest.importorskip("torch")
    import warnings
    from collections import Counter

    import torch  # it takes seconds to load
    from torch.testing._internal.common_methods_invocations import op_db

    from tests.ops import sparse_database

    totals: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines = [t for i in op_db for t in sparse_database.run(i, 3, (torch.float64,), totals)]
    assert not lines and totals["agree"] > 70, "\n".join(lines)


@pytest.mark.parametrize(("n", "k", "m"), [(0, 0, 0), (5, 0, 0), (5, 0, 3), (0, 2, 3)])
def test_products_at_places_have_any_size(n: int, k: int, m: int) -> None:
    where = fb.ones(n, m).to_sparse_csr()
    found = fb.sparse.sampled_addmm(where, fb.ones(n, k), fb.ones(k, m), beta=0.5)
    np.testing.assert_array_equal(found.to_dense().numpy(), np.full((n, m), 0.5 + k, np.float32))


def test_products_of_blocks_with_nothing() -> None:
    assert (fb.ones(4, 4).to_sparse_bsr((2, 2)) @ fb.ones(4, 0)).shape == (4, 0)
    assert fb.nn.functional.linear(fb.ones(2, 4, 0), fb.zeros(3, 0).to_sparse_csr()).shape == (2, 4, 3)
