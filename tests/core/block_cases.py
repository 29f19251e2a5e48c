"""Sparse tensors in blocks and in batches in the torch API."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np

from tests.core.layouts import whole
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)
KINDS = ("csr", "csc", "bsr", "bsc")


def filled(T: Any, *shape: int, grad: bool = False) -> Any:
    """Half of the rows of 2 x 2 blocks are zero."""
    values = np.cos(np.arange(float(np.prod(shape)))).reshape(shape)
    grid = np.indices(shape[-2:]) // 2
    values = values * ((grid[0] + grid[1]) % 2 == 0)
    return T.tensor(values, requires_grad=grad)


def sparse(T: Any, kind: str, *shape: int, **kw: Any) -> Any:
    blocks = ((2, 2),) if kind in ("bsr", "bsc") else ()
    return getattr(filled(T, *(shape or (4, 6))), f"to_sparse_{kind}")(*blocks, **kw)


def dense(T: Any, *shape: int, grad: bool = False) -> Any:
    return T.tensor(np.sin(np.arange(float(np.prod(shape)))).reshape(shape), requires_grad=grad)


def simple(name: str, fn: Any) -> None:
    CASES[name] = lambda T: whole(fn(T))


def twice(x: Any) -> Any:
    return x + x


def refused(name: str, fn: Any) -> None:
    CASES[f"refused_{name}"] = fn


# -- making and converting -----------------------------------------------------------------------------
simple("bsr", lambda T: T.sparse_bsr_tensor([0, 1, 2], [1, 0], [[[1.0, 2.0]], [[3.0, 4.0]]]))
simple("bsc", lambda T: T.sparse_bsc_tensor([0, 1, 2], [1, 0], [[[1.0, 2.0]], [[3.0, 4.0]]], (2, 4)))
simple(
    "compressed",
    lambda T: T.sparse_compressed_tensor([0, 1], [1], [[[1.0], [2.0]]], (2, 2), layout=T.sparse_bsr),
)
simple("batch", lambda T: T.sparse_csr_tensor([[0, 1], [0, 1]], [[0], [1]], [[1.0], [2.0]]))
simple("batch_hybrid", lambda T: T.sparse_csr_tensor([[0, 1], [0, 1]], [[0], [1]], [[[1.0, 3]], [[2.0, 4]]]))
for kind in KINDS:
    simple(f"{kind}_of_dense", lambda T, k=kind: sparse(T, k))
    simple(f"{kind}_batch", lambda T, k=kind: sparse(T, k, 2, 4, 4))
    simple(f"{kind}_back", lambda T, k=kind: [sparse(T, k).to_dense(), sparse(T, k, 2, 4, 4).to_dense()])
    simple(f"{kind}_as_coo", lambda T, k=kind: [sparse(T, k).to_sparse(), sparse(T, k, 2, 4, 4).to_sparse()])
    simple(
        f"{kind}_hybrid",
        lambda T, k=kind: dense(T, 4, 4, 2).to_sparse(
            layout=getattr(T, f"sparse_{k}"), blocksize=(2, 2) if k[0] == "b" else None, dense_dim=1
        ),
    )
    simple(f"{kind}_values", lambda T, k=kind: T.values_copy(sparse(T, k)))
    simple(f"{kind}_turned", lambda T, k=kind: [sparse(T, k).t(), sparse(T, k, 2, 4, 4).transpose(-2, -1)])
    simple(f"{kind}_batches_turned", lambda T, k=kind: sparse(T, k, 2, 1, 4, 4).transpose(0, 1))
    simple(f"{kind}_selected", lambda T, k=kind: sparse(T, k, 2, 4, 4)[1])
    simple(f"{kind}_sums", lambda T, k=kind: [sparse(T, k).sum(), twice(sparse(T, k))])
    simple(f"{kind}_scaled", lambda T, k=kind: [sparse(T, k) * 2, -sparse(T, k), sparse(T, k).sin()])
    simple(f"{kind}_like", lambda T, k=kind: [T.zeros_like(sparse(T, k)), T.ones_like(sparse(T, k, 2, 4, 4))])
    simple(f"{kind}_mask", lambda T, k=kind: dense(T, 4, 6).sparse_mask(sparse(T, k)))
    simple(f"{kind}_copied", lambda T, k=kind: [sparse(T, k).clone(), pickle.loads(pickle.dumps(sparse(T, k)))])
    simple(f"{kind}_filled", lambda T, k=kind: sparse(T, k).fill_(3))
    CASES[f"{kind}_printed"] = lambda T, k=kind: str(sparse(T, k).float()).replace("flambeau", "torch").split()
    refused(f"{kind}_uneven", lambda T, k=kind: getattr(
        T.stack([T.eye(2), T.ones(2, 2)]), f"to_sparse_{k}")(*(((1, 1),) if k[0] == "b" else ())))  # fmt: skip
    refused(f"{kind}_mixed", lambda T, k=kind: sparse(T, k, 2, 4, 4).transpose(0, 1))
simple("csr_int32", lambda T: T.sparse_csr_tensor(T.tensor([0, 1], dtype=T.int32), T.tensor([0], dtype=T.int32), [1.0]))
simple("bsr_to_bsc", lambda T: sparse(T, "bsr").to_sparse_bsc((2, 2)))
simple("csr_to_bsr", lambda T: sparse(T, "csr").to_sparse_bsr((2, 3)))
simple("coo_to_bsr", lambda T: filled(T, 4, 6).to_sparse().to_sparse(layout=T.sparse_bsr, blocksize=(4, 2)))
simple("batch_to_csc", lambda T: sparse(T, "csr", 2, 4, 4).to_sparse_csc())
simple("resized", lambda T: T.eye(2).to_sparse().sparse_resize_((3, 4), 2, 0))
simple("resized_hybrid", lambda T: T.ones(2, 3).to_sparse(1).sparse_resize_((4, 3), 1, 1))
simple("cleared", lambda T: T.eye(2).to_sparse().sparse_resize_and_clear_((3,), 1, 0))
simple("resized_as", lambda T: T.resize_as_sparse_(T.eye(2).to_sparse(), T.ones(3, 3).to_sparse()))
simple("resized_sum", lambda T: T.eye(2).to_sparse_csr().sum((0, 1), keepdim=True))


@case
def copies(T: Any) -> Any:
    csr, csc = sparse(T, "csr"), sparse(T, "csc")
    return [T.crow_indices_copy(csr), T.col_indices_copy(csr), T.ccol_indices_copy(csc), T.row_indices_copy(csc)]


# -- products ------------------------------------------------------------------------------------------
simple("bsr_mm", lambda T: [sparse(T, "bsr") @ dense(T, 6, 3), sparse(T, "bsr").mv(dense(T, 6))])
simple("mm_bsc", lambda T: dense(T, 3, 4) @ sparse(T, "bsc"))
simple("bsr_addmm", lambda T: T.addmm(dense(T, 4, 3), sparse(T, "bsr"), dense(T, 6, 3), beta=2, alpha=3))
simple(
    "sampled_batch",
    lambda T: T.sparse.sampled_addmm(sparse(T, "csr", 2, 4, 4), dense(T, 2, 4, 3), dense(T, 2, 3, 4), beta=0.5),
)


# -- gradients -----------------------------------------------------------------------------------------
def through(name: str, fn: Any, *shape: int) -> None:
    @case
    def gradient(T: Any) -> Any:
        x = filled(T, *(shape or (4, 6)), grad=True)
        out = fn(T, x)
        (out.to_dense() ** 2).sum().backward()
        return x.grad

    CASES[f"gradient_{name}"] = CASES.pop("gradient")


through("bsr", lambda T, x: x.to_sparse_bsr((2, 2)) * 3)
through("bsc", lambda T, x: x.to_sparse_bsc((2, 3)))


# -- masked reductions -----------------------------------------------------------------------------------
for name in ("sum", "prod", "amax", "amin"):
    simple(f"masked_{name}", lambda T, n=name: getattr(T.masked, n)(
        filled(T, 4, 6).to_sparse(), 1, mask=(dense(T, 1, 6) > 0).to_sparse()))  # fmt: skip
    simple(f"masked_{name}_csr", lambda T, n=name: getattr(T.masked, n)(
        sparse(T, "csr"), 0, keepdim=True, mask=(dense(T, 4, 6) > 0).to_sparse_csr()))  # fmt: skip

# -- refusals ----------------------------------------------------------------------------------------
refused("blocks_do_not_divide", lambda T: filled(T, 4, 6).to_sparse_bsr((3, 3)))
refused("one_number", lambda T: filled(T, 4, 6).to_sparse_bsr((2,)))
refused("no_blocks", lambda T: filled(T, 4, 6).to_sparse(layout=T.sparse_bsr))
refused("blocks_of_csr", lambda T: filled(T, 4, 6).to_sparse(layout=T.sparse_csr, blocksize=(2, 2)))
refused("bsr_without_blocks", lambda T: T.sparse_bsr_tensor([0, 1], [0], [1.0]))
refused("no_layout", lambda T: T.sparse_compressed_tensor([0, 1], [0], [1.0]))
refused("crow_of_bsc", lambda T: sparse(T, "bsc").crow_indices())
refused("shrunk", lambda T: T.eye(3).to_sparse().sparse_resize_((2, 2), 2, 0))
refused("fewer_dims", lambda T: T.eye(3).to_sparse().sparse_resize_((3, 3), 1, 1))
refused("prod_without_mask", lambda T: T.masked.prod(T.eye(3).to_sparse(), 0))
refused("two_layouts", lambda T: T.eye(3).to_sparse().resize_as_sparse_(T.eye(3).to_sparse_csr()))
refused("semi_structured", lambda T: T.sparse.to_sparse_semi_structured(T.eye(4)))
refused("hybrid_turned", lambda T: dense(T, 2, 2, 2).to_sparse_csr(dense_dim=1).transpose(0, 1))
simple("copied_deep", lambda T: copy.deepcopy(filled(T, 4, 6).to_sparse()))
