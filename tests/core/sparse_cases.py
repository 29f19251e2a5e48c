"""Sparse tensors in the torch API: making, converting, arithmetic, products, gradients, optimizers."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np

from tests.core.layouts import whole
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)

PLACES = [[0, 1, 1, 0, 3], [2, 0, 2, 2, 1]]  # (0, 2) twice
VALUES = [3.0, 4.0, -5.0, 0.5, 2.0]


def coo(T: Any, grad: bool = False, dtype: Any = None) -> Any:
    """4 x 3, not coalesced."""
    return T.sparse_coo_tensor(T.tensor(PLACES), T.tensor(VALUES, dtype=dtype or T.float64), (4, 3), requires_grad=grad)


def other(T: Any) -> Any:
    return T.sparse_coo_tensor(T.tensor([[3, 0, 1], [1, 0, 2]]), T.tensor([1.0, 2.0, 3.0], dtype=T.float64), (4, 3))


def hybrid(T: Any, grad: bool = False) -> Any:
    """4 x 3 x 2, the last dimension dense."""
    held = T.tensor(np.arange(10.0).reshape(5, 2) - 4)
    return T.sparse_coo_tensor(T.tensor(PLACES), held, (4, 3, 2), requires_grad=grad)


def dense(T: Any, *shape: int, grad: bool = False) -> Any:
    t = T.tensor(np.cos(np.arange(float(np.prod(shape)))).reshape(shape))
    return t.requires_grad_(grad)


def simple(name: str, fn: Any) -> None:
    CASES[name] = lambda T: whole(fn(T))


def refused(name: str, fn: Any) -> None:
    CASES[f"refused_{name}"] = fn


# -- making and converting -----------------------------------------------------------------------------
simple("coo", coo)
simple("coo_hybrid", hybrid)
simple("coo_of_lists", lambda T: T.sparse_coo_tensor([[0, 1], [1, 0]], [1, 2]))
simple("coo_without_size", lambda T: T.sparse_coo_tensor(T.tensor(PLACES), T.tensor(VALUES)))
simple("coo_dtype", lambda T: T.sparse_coo_tensor(T.tensor([[0]]), T.tensor([1]), (2,), dtype=T.float32))
simple("coo_empty", lambda T: T.sparse_coo_tensor((2, 3)))
simple("csr", lambda T: T.sparse_csr_tensor([0, 1, 3], [2, 0, 2], [3.0, 4.0, 5.0]))
simple("csc", lambda T: T.sparse_csc_tensor([0, 1, 3], [2, 0, 2], [3.0, 4.0, 5.0], (3, 2)))
simple("compressed", lambda T: T.sparse_compressed_tensor([0, 2], [0, 2], [3.0, 4.0], (1, 3), layout=T.sparse_csr))
for kind in ("coo", "csr", "csc"):
    simple(f"to_{kind}", lambda T, k=kind: getattr(coo(T), f"to_sparse_{k}")())
    simple(f"dense_to_{kind}", lambda T, k=kind: getattr(coo(T).to_dense(), f"to_sparse_{k}")())
    simple(f"back_from_{kind}", lambda T, k=kind: getattr(coo(T), f"to_sparse_{k}")().to_dense())
    simple(f"coo_from_{kind}", lambda T, k=kind: getattr(coo(T), f"to_sparse_{k}")().to_sparse_coo())
    simple(f"csr_from_{kind}", lambda T, k=kind: getattr(coo(T), f"to_sparse_{k}")().to_sparse_csr())
simple("to_sparse_layout", lambda T: dense(T, 2, 3).to_sparse(layout=T.sparse_csc))
simple("to_sparse_1", lambda T: hybrid(T).to_dense().to_sparse(1))
simple("to_sparse_2", lambda T: hybrid(T).to_dense().to_sparse(2))
simple("hybrid_to_dense", lambda T: hybrid(T).to_dense())
simple("bools", lambda T: coo(T).bool().to_dense())
simple("integers", lambda T: coo(T).to(T.int64).to_dense())
simple("mask", lambda T: dense(T, 4, 3).sparse_mask(coo(T).coalesce()))
simple("mask_csr", lambda T: dense(T, 4, 3).sparse_mask(coo(T).to_sparse_csr()))
simple("zeros_like", lambda T: T.zeros_like(coo(T)))
simple("zeros_layout", lambda T: T.zeros(2, 3, layout=T.sparse_csr))
simple("eye", lambda T: T.eye(3).to_sparse())
simple("spdiags", lambda T: T.sparse.spdiags(T.arange(9.0).reshape(3, 3), T.tensor([0, -1, 2]), (3, 3)))
simple("spdiags_wide", lambda T: T.sparse.spdiags(T.arange(8.0).reshape(2, 4), T.tensor([1, -2]), (3, 5)))


@case
def what_it_is(T: Any) -> Any:
    return [
        [x.is_sparse, x.is_sparse_csr, str(x.layout).split(".")[-1], list(x.shape), x.ndim, x.numel(), x._nnz(),
         x.sparse_dim(), x.dense_dim(), str(x.dtype).split(".")[-1], x.device.type, x.requires_grad, x.is_leaf, len(x),
         isinstance(x, T.Tensor), x.size(0), x.is_floating_point()]
        for x in (coo(T), hybrid(T, grad=True), coo(T).to_sparse_csr(), coo(T).to_sparse_csc(), dense(T, 2).to_sparse())
    ]  # fmt: skip


@case
def coalesced(T: Any) -> Any:
    x = coo(T)
    c = x.coalesce()
    return [x.is_coalesced(), c.is_coalesced(), c.coalesce() is c, x._indices(), x._values(), (c + c).is_coalesced()]


@case
def printed(T: Any) -> Any:
    xs = [coo(T), coo(T, grad=True), hybrid(T), coo(T).float().to_sparse_csr(), coo(T).to_sparse_csc(),
          T.sparse_coo_tensor((2, 3)), coo(T).to(T.int32)]  # fmt: skip
    return [repr(x).replace("torch.", "").replace("flambeau.", "").split() for x in xs]


# -- element by element --------------------------------------------------------------------------------
UNARY = (
    "abs asin asinh atan atanh ceil deg2rad erf expm1 floor frac isnan isposinf isneginf log1p neg rad2deg relu round "
    "sgn sign sin sinh sqrt tan tanh trunc square isinf nan_to_num signbit"
)
for fn in UNARY.split():
    simple(f"unary_{fn}", lambda T, f=fn: getattr(T, f)(coo(T) / 8))
for fn in ("sin", "neg", "abs", "relu"):
    simple(f"unary_csr_{fn}", lambda T, f=fn: getattr(coo(T).to_sparse_csr(), f)())
simple("power", lambda T: [coo(T) ** 2, T.pow(coo(T), 3)])
simple("add", lambda T: coo(T) + other(T))
simple("add_alpha", lambda T: T.add(coo(T), other(T), alpha=2))
simple("add_dense", lambda T: [dense(T, 4, 3) + coo(T), T.add(dense(T, 4, 3), coo(T), alpha=3)])
simple("add_hybrid", lambda T: [hybrid(T) + hybrid(T), dense(T, 4, 3, 2) + hybrid(T)])
simple("add_csr", lambda T: coo(T).to_sparse_csr() + other(T).to_sparse_csr())
simple("add_promotes", lambda T: coo(T, dtype=T.float32) + other(T))
simple("sub", lambda T: [coo(T) - other(T), dense(T, 4, 3) - coo(T)])
simple("mul", lambda T: [(coo(T) * other(T)).to_dense(), coo(T) * 2, 3 * coo(T), coo(T) * T.tensor(2.0)])
simple("mul_dense", lambda T: [coo(T) * dense(T, 4, 3), dense(T, 4, 3) * coo(T)])
simple("mul_hybrid", lambda T: [hybrid(T) * hybrid(T), hybrid(T) * 2])
simple("mul_csr", lambda T: coo(T).to_sparse_csr() * 2)
simple("div", lambda T: [coo(T) / 2, T.div(coo(T), T.tensor(4.0)), T.div(coo(T), 2, rounding_mode="floor")])
simple("dtypes", lambda T: [coo(T).float(), coo(T).to(T.float16), coo(T).int(), coo(T).type(T.float32)])


@case
def in_place(T: Any) -> Any:
    x, y, d = coo(T), other(T), dense(T, 4, 3)
    x.mul_(2)
    x.add_(y)
    d.add_(coo(T))
    d += coo(T)
    y.neg_()
    z = other(T)
    z.zero_()
    w = coo(T)
    w.copy_(other(T))
    return whole([x, y, z, w, d])


# -- parts and sums --------------------------------------------------------------------------------------
simple("transpose", lambda T: [coo(T).t(), coo(T).T, coo(T).transpose(0, 1), coo(T).permute(1, 0)])
simple("transpose_csr", lambda T: coo(T).to_sparse_csr().t())
simple("transpose_hybrid", lambda T: [hybrid(T).transpose(0, 1), hybrid(T).permute(1, 0, 2)])
simple("select", lambda T: [coo(T)[0], coo(T)[1, 2], coo(T).select(1, 2), hybrid(T)[0], hybrid(T).select(2, 1)])
simple("rows", lambda T: list(coo(T)))
simple("index_select", lambda T: [coo(T).index_select(0, T.tensor([3, 0, 0])), coo(T).index_select(1, T.tensor([2]))])
simple("index_select_hybrid", lambda T: hybrid(T).index_select(2, T.tensor([1, 0, 1])))
simple("cat", lambda T: [T.cat([coo(T), other(T)]), T.cat([coo(T), other(T)], 1), T.cat([hybrid(T), hybrid(T)], 2)])
simple("stack", lambda T: [T.stack([coo(T), other(T)]), T.stack([coo(T), other(T)], 1)])
simple("unsqueeze", lambda T: [coo(T).unsqueeze(0), coo(T).unsqueeze(2), hybrid(T).unsqueeze(-1)])
simple("sum", lambda T: [coo(T).sum(), T.sparse.sum(coo(T)), T.sparse.sum(coo(T), 0), T.sparse.sum(coo(T), [0, 1])])
simple("sum_method", lambda T: [coo(T).sum(0), coo(T).sum(1), coo(T).sum(dtype=T.float32)])
simple("sum_hybrid", lambda T: [T.sparse.sum(hybrid(T), d) for d in (0, 1, 2, [0, 2], [0, 1], [0, 1, 2])])
simple("norm", lambda T: coo(T).norm())
simple("softmax", lambda T: [T.sparse.softmax(coo(T), d) for d in (0, 1)])
simple("log_softmax", lambda T: [T.sparse.log_softmax(coo(T), d) for d in (0, 1)])
simple("softmax_hybrid", lambda T: [T.sparse.softmax(hybrid(T), d) for d in (0, 1, 2)])

# -- products ----------------------------------------------------------------------------------------
simple("mm", lambda T: [T.mm(coo(T), dense(T, 3, 2)), coo(T) @ dense(T, 3, 2), T.sparse.mm(coo(T), dense(T, 3, 2))])
simple("mm_right", lambda T: dense(T, 2, 4) @ coo(T))
simple("mm_both", lambda T: T.mm(coo(T), other(T).t()))
simple("mm_csr", lambda T: [coo(T).to_sparse_csr() @ dense(T, 3, 2)])
simple("mm_reduce", lambda T: [
    T.sparse.mm(coo(T).to_sparse_csr(), dense(T, 3, 2), r) for r in ("sum", "mean", "amax", "amin")])  # fmt: skip
simple("mv", lambda T: [T.mv(coo(T), dense(T, 3)), coo(T) @ dense(T, 3), coo(T).to_sparse_csr() @ dense(T, 3)])
simple("addmm", lambda T: [T.addmm(dense(T, 4, 2), coo(T), dense(T, 3, 2), beta=2, alpha=3),
                           T.sparse.addmm(dense(T, 4, 2), coo(T), dense(T, 3, 2), beta=2, alpha=3)])  # fmt: skip
simple("bmm", lambda T: T.bmm(T.stack([coo(T), other(T)]), dense(T, 2, 3, 2)))
simple("hspmm", lambda T: T.hspmm(coo(T), dense(T, 3, 2)))
simple("smm", lambda T: T.smm(coo(T), dense(T, 3, 3)).to_dense())
simple("sspaddmm", lambda T: T.sspaddmm(other(T), coo(T), dense(T, 3, 3), beta=2, alpha=3).to_dense())
simple("sampled_addmm", lambda T: T.sparse.sampled_addmm(
    coo(T).to_sparse_csr(), dense(T, 4, 2), dense(T, 2, 3), beta=0.5, alpha=2))  # fmt: skip
simple("linear", lambda T: T.nn.functional.linear(dense(T, 2, 3), coo(T).to_sparse_csr()))


# -- gradients ---------------------------------------------------------------------------------------
@case
def gradient_of_mm(T: Any) -> Any:
    a, d = coo(T).coalesce().requires_grad_(), dense(T, 3, 2, grad=True)
    (T.sparse.mm(a, d) * dense(T, 4, 2)).sum().backward()
    return whole([a.grad, d.grad])


@case
def gradient_of_values(T: Any) -> Any:
    v = T.tensor(VALUES, dtype=T.float64, requires_grad=True)
    x = T.sparse_coo_tensor(T.tensor(PLACES), v, (4, 3))
    (x.to_dense() * dense(T, 4, 3)).sum().backward()
    return [v.grad, x.requires_grad, x.is_leaf]


@case
def gradient_by_grad(T: Any) -> Any:
    a = coo(T).coalesce().requires_grad_()
    (g,) = T.autograd.grad((a.to_dense() * dense(T, 4, 3)).sum(), [a])
    return whole(g)


@case
def gradient_accumulates(T: Any) -> Any:
    a = coo(T).coalesce().requires_grad_()
    for _ in range(2):
        T.sparse.mm(a, dense(T, 3, 2)).sum().backward()
    twice = whole(a.grad)
    a.grad = None
    return [twice, a.grad]


@case
def gradient_through_dense(T: Any) -> Any:
    d = dense(T, 4, 3, grad=True)
    x = d.to_sparse() * 2
    T.sparse.sum(x).backward()
    return d.grad


@case
def gradient_of_csr(T: Any) -> Any:
    a, d = coo(T).to_sparse_csr().requires_grad_(), dense(T, 3, 2, grad=True)
    T.sparse.mm(a, d).sum().backward()
    return [a.grad.to_dense(), d.grad]


@case
def gradient_of_softmax(T: Any) -> Any:
    a = coo(T).coalesce().requires_grad_()
    (T.sparse.softmax(a, 1).to_dense() * dense(T, 4, 3)).sum().backward()
    return whole(a.grad)


@case
def detached(T: Any) -> Any:
    a = coo(T, grad=True)
    b, c = a.detach(), a.clone()
    return [b.requires_grad, c.requires_grad, c.is_leaf, a.detach().clone().requires_grad_().is_leaf]


# -- embeddings and optimizers -----------------------------------------------------------------------
def embedding(T: Any, **options: Any) -> Any:
    m = T.nn.Embedding(5, 2, sparse=True, dtype=T.float64, **options)
    with T.no_grad():
        m.weight.copy_(dense(T, 5, 2))
    return m


@case
def embedding_gradient(T: Any) -> Any:
    m = embedding(T, padding_idx=1)
    answers = []
    for rows in ([[1, 2], [2, 4]], [[0, 1], [1, 1]]):
        (m(T.tensor(rows)) ** 2).sum().backward()
        answers.append([whole(m.weight.grad), m.weight.grad.is_coalesced()])
    m.zero_grad()
    return [answers, m.weight.grad]


@case
def embedding_gradient_by_grad(T: Any) -> Any:
    m = embedding(T)
    return whole(T.autograd.grad(m(T.tensor([3, 3])).sum(), m.weight))


@case
def embedding_beside_dense(T: Any) -> Any:
    m = embedding(T)
    (m(T.tensor([3, 3])).sum() + m.weight.sum()).backward()
    return m.weight.grad


@case
def embedding_bag_gradient(T: Any) -> Any:
    found = []
    for mode in ("sum", "mean"):
        m = T.nn.EmbeddingBag(5, 2, sparse=True, mode=mode, dtype=T.float64)
        with T.no_grad():
            m.weight.copy_(dense(T, 5, 2))
        (m(T.tensor([1, 2, 2, 4]), T.tensor([0, 2])) ** 2).sum().backward()
        found.append(whole(m.weight.grad))
    return found


def trained(T: Any, optimizer: str) -> Any:
    m = embedding(T)
    opt = getattr(T.optim, optimizer)(m.parameters(), lr=0.1)
    for rows in ([0, 2], [2, 2, 3], [4, 0]):
        opt.zero_grad()
        (m(T.tensor(rows)) ** 2).sum().backward()
        opt.step()
    return m.weight


for optimizer in ("SparseAdam", "SGD", "Adagrad"):
    CASES[f"trained_by_{optimizer}"] = lambda T, o=optimizer: trained(T, o)
for optimizer in ("Adam", "AdamW", "RMSprop", "Adamax"):
    refused(f"by_{optimizer}", lambda T, o=optimizer: trained(T, o))


# -- copies ------------------------------------------------------------------------------------------
@case
def copies(T: Any) -> Any:
    xs = [coo(T), coo(T, grad=True)]
    deep = [[whole(c), c.requires_grad] for c in map(copy.deepcopy, xs)]
    return [deep, *(whole(copy.copy(x)) for x in xs)]


@case
def pickled(T: Any) -> Any:
    xs = [coo(T), coo(T).to_sparse_csr(), hybrid(T)]
    return [whole(pickle.loads(pickle.dumps(x))) for x in xs]


@case
def invariants(T: Any) -> Any:
    switch = T.sparse.check_sparse_tensor_invariants
    states = [switch.is_enabled()]
    with switch():
        states.append(switch.is_enabled())
        with switch(False):
            states.append(switch.is_enabled())
    switch.enable()
    states.append(switch.is_enabled())
    switch.disable()
    return [*states, switch.is_enabled()]


# -- refusals ----------------------------------------------------------------------------------------
refused("indices", lambda T: coo(T).indices())
refused("values", lambda T: coo(T).values())
refused("indices_of_dense", lambda T: dense(T, 2).indices())
refused("coalesce_of_dense", lambda T: dense(T, 2).coalesce())
refused("indices_of_csr", lambda T: coo(T).to_sparse_csr().indices())
refused("crow_of_coo", lambda T: coo(T).crow_indices())
refused("row_of_csr", lambda T: coo(T).to_sparse_csr().row_indices())
refused("add_number", lambda T: coo(T) + 1)
refused("add_to_sparse", lambda T: coo(T) + dense(T, 4, 3))
refused("add_shapes", lambda T: coo(T) + coo(T).t())
refused("div_dense", lambda T: coo(T) / dense(T, 4, 3))
refused("div_by", lambda T: 2 / coo(T))
refused("numpy", lambda T: coo(T).numpy())
refused("view", lambda T: coo(T).view(12))
refused("reshape", lambda T: coo(T).reshape(12))
refused("data_ptr", lambda T: coo(T).data_ptr())
refused("nnz_and_values", lambda T: T.sparse_coo_tensor(T.tensor([[0]]), T.tensor([1.0, 2.0])))
refused("size", lambda T: T.sparse_coo_tensor(T.tensor([[0]]), T.tensor([1.0]), (1, 2)))
refused("negative", lambda T: T.sparse_coo_tensor([[-1]], [1.0], (2,), check_invariants=True))
refused("too_large", lambda T: T.sparse_coo_tensor([[2]], [1.0], (2,), check_invariants=True))
refused("csr_nnz", lambda T: T.sparse_csr_tensor([0, 4], [0], [1.0], (1, 2), check_invariants=True))
refused("csr_column", lambda T: T.sparse_csr_tensor([0, 1], [2], [1.0], (1, 2), check_invariants=True))
refused("mm_shapes", lambda T: coo(T) @ dense(T, 2, 2))
refused("bool", lambda T: bool(coo(T)))
refused("leaf_in_place", lambda T: coo(T, grad=True).mul_(2))
for fn in ("exp", "cos", "max", "mean", "sort", "cumsum", "flatten", "log"):
    refused(fn, lambda T, f=fn: getattr(coo(T), f)(*([0] if f == "cumsum" else [])))
