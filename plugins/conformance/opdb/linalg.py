"""Samples, references and error inputs of products, decompositions and systems of equations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import flambeau as fb
from flambeau.plugins.conformance.opdb import Maker, Sample, error_rows, references, sample_rows, samples, settled

Array = np.ndarray[Any, Any]

#: Ops of matrices that must be regular, and whose eigenvalues must differ.
OF_REGULAR = frozenset({
    "cholesky", "qr", "eigh", "eig", "svd", "lu_factor", "det", "slogdet", "solve", "solve_triangular", "inv", "pinv",
    "pinv_within",
})  # fmt: skip


# -- products ----------------------------------------------------------------------------------------
sample_rows({
    "matmul": lambda m: [
        (m(2, 3), m(3, 4)), (m(5, 2, 3), m(3, 4)), (m(2, 3), m(5, 3, 1)), (m(2, 1, 2, 3), m(4, 3, 2)),
        (m(1, 1), m(1, 1)), Sample.rough(m(2, 0), m(0, 3)), Sample.rough(m(0, 2, 3), m(3, 1)),
    ],
    "linear": lambda m: [
        (m(2, 3), m(4, 3), m(4)), (m(2, 3), m(4, 3)), (m(3), m(2, 3), m(2)), (m(2, 1, 3), m(2, 3), m(2)),
        Sample.rough(m(0, 3), m(2, 3), m(2)),
    ],
    "addmm": lambda m: [(m(2, 4), m(2, 3), m(3, 4)), (m(4), m(2, 3), m(3, 4), 2, 3), (m(2, 1), m(2, 3), m(3, 4), 0, 2)],
    "baddbmm": lambda m: [(m(2, 2, 4), m(2, 2, 3), m(2, 3, 4)), (m(2, 1), m(2, 2, 3), m(2, 3, 4), 2, 3)],
    "addbmm": lambda m: [(m(2, 4), m(2, 2, 3), m(2, 3, 4)), (m(4), m(2, 2, 3), m(2, 3, 4), 2, 3)],
    "addmv": lambda m: [(m(2), m(2, 3), m(3)), (m(), m(2, 3), m(3), 2, 3)],
    "addr": lambda m: [(m(2, 3), m(2), m(3)), (m(3), m(2), m(3), 2, 3)],
})  # fmt: skip


@samples("cdist")
def _distances(m: Maker) -> Iterator[Sample]:
    x, y = m(3, 3), m(2, 3)
    for p in (2.0, 1.0, 3.0, float("inf"), 0.5):
        yield Sample(x, y, p, "donot_use_mm_for_euclid_dist")
    yield Sample(x, y, 2.0, "use_mm_for_euclid_dist")
    yield Sample(m(2, 3, 2), m(4, 2), 2.0, "donot_use_mm_for_euclid_dist")
    yield Sample.rough(x, y, 0.0, "donot_use_mm_for_euclid_dist")


# -- decompositions: in batches of two, so that the layout tests may repeat the first matrix ----------
def _definite(m: Maker, n: int = 3) -> Array:
    x = m(2, n, n, low=-1, high=1)
    return (x @ x.conj().swapaxes(-1, -2) + 2 * np.eye(n)).astype(x.dtype)


def _regular(m: Maker, n: int = 3) -> Array:
    x = m(2, n, n, low=-1, high=1)
    return (x + 3 * np.eye(n)).astype(x.dtype)


@samples("cholesky")
def _definites(m: Maker) -> Iterator[Sample]:
    yield Sample.rough(_definite(m))  # gradients are those of symmetric matrices: see tests/ops/test_linalg.py
    yield Sample.rough(_definite(m), True)


sample_rows({
    "eigh": lambda m: [Sample.rough(_definite(m)), Sample.rough(_definite(m), True)],
    "qr": lambda m: [(_regular(m),), (m(2, 4, 2),), (m(2, 2, 3),), (_regular(m), "complete")],
    "svd": lambda m: [
        Sample.rough(_spread(m, 3, 3)), Sample.rough(_spread(m, 4, 2)), Sample.rough(_spread(m, 3, 3), True),
    ],
})  # fmt: skip


def _spread(m: Maker, rows: int, columns: int) -> Array:
    """Matrices whose singular values are far from equal, so that their vectors are the same in every precision."""
    x = m(2, rows, columns, low=-0.2, high=0.2)
    for i in range(min(rows, columns)):
        x[..., i, i] += 3 - i
    return x


sample_rows({
    "svdvals": lambda m: [(_spread(m, 3, 3),), (_spread(m, 2, 4),)],
    "eig": lambda m: [Sample.rough(_spread(m, 3, 3))],
    "lu_factor": lambda m: [(m(2, 3, 3),), (m(2, 2, 2),), (m(2, 4, 3),), (m(2, 2, 4),)],
    # Their gradients are those of symmetric products, though one triangle is read: see tests/ops/opdb_cases.py.
    "cholesky_solve": lambda m: [
        Sample.rough(m(2, 3, 2), _regular(m)), Sample.rough(m(3, 1), _regular(m), True),
    ],
    "det slogdet inv": lambda m: [(_regular(m),), (_regular(m, 1),)],
    "solve": lambda m: [(_regular(m), m(2, 3, 2)), (_regular(m), m(3, 1)), (_regular(m), m(2, 3, 1))],
    "solve_triangular": lambda m: [
        (_regular(m), m(2, 3, 2), True), (_regular(m), m(3, 1), False), (_regular(m), m(2, 3, 2), False, True),
        (_regular(m), m(2, 3, 2), True, True),
    ],
    "pinv": lambda m: [
        (_spread(m, 3, 2), -1.0, 0.0, False), (_spread(m, 2, 3), 1e-3, 0.0, False),
        Sample.rough(_definite(m), -1.0, 0.0, True),
    ],
    "pinv_within": lambda m: [
        Sample(_spread(m, 3, 2), 0 * m(2, 1), hermitian=False),
        Sample.rough(_definite(m), 0 * m(2, 1), hermitian=True),
    ],
    "matrix_exp": lambda m: [(m(2, 3, 3),), (m(2, 1, 1),), (m(2, 2, 2, low=-20, high=2),)],
})  # fmt: skip


# -- vectors, whose signs (complex: phases) are anybody's choice -------------------------------------
def _turns(vectors: Any) -> Any:
    """What the columns are to be multiplied by, so that a sum over each with some weights is positive."""
    weights = 1 / (vectors.abs().new_ones(vectors.shape[-2]).cumsum(0) + 0.37)
    total = (vectors * weights.unsqueeze(-1)).sum(-2, keepdim=True)
    return total.conj() / total.abs()


def _settled_svd(u: Any, s: Any, vh: Any) -> tuple[Any, ...]:
    turns, k = _turns(u), s.shape[-1]
    others = _turns(vh.mH).conj().mT
    both = turns[..., :k].conj().mT
    return u * turns, s, vh * (both if vh.shape[-2] == k else fb.cat([both, others[..., k:, :]], -2))


settled.update(
    eigh=lambda values, vectors: (values, vectors * _turns(vectors)),
    svd=_settled_svd,
)


# -- references --------------------------------------------------------------------------------------
def _distance(x: Array, y: Array, p: float, mode: str) -> Array:
    return np.asarray(np.linalg.norm(x[..., :, None, :] - y[..., None, :, :], p, -1))


def _h(x: Array) -> Array:
    return x.conj().swapaxes(-1, -2)


def _lu(x: Array) -> tuple[Array, Array]:
    from scipy.linalg import lu_factor  # optional: the extra dev has it

    found = [lu_factor(one) for one in x]
    return np.stack([lu for lu, _ in found]), np.stack([pivots for _, pivots in found])


def _triangular(a: Array, b: Array, upper: bool, unitriangular: bool = False) -> Array:
    a = np.triu(a) if upper else np.tril(a)
    if unitriangular:
        a = a - a * np.eye(a.shape[-1]) + np.eye(a.shape[-1])
    return np.linalg.solve(a, b)


def _from_factor(b: Array, factor: Array, upper: bool = False) -> Array:
    factor = np.triu(factor) if upper else np.tril(factor)
    return np.linalg.solve(_h(factor) @ factor if upper else factor @ _h(factor), b)


def _outer_added(x: Array, a: Array, b: Array, beta: Any = 1, alpha: Any = 1) -> Array:
    both = np.multiply.outer(a, b)
    return (x & bool(beta)) | (both & bool(alpha)) if x.dtype == bool else beta * x + alpha * both


def _expm(x: Array) -> Array:
    from scipy.linalg import expm  # optional: the extra dev has it

    return np.asarray(expm(x))


references(
    {
        "matmul": np.matmul,
        "linear": lambda x, weight, bias=None: np.einsum("...i,oi->...o", x, weight) + (0 if bias is None else bias),
    },
    tolerance=4,
)
references(
    {
        "addmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.einsum("ij,jk->ik", a, b),
        "baddbmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.einsum("nij,njk->nik", a, b),
        "addbmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.einsum("nij,njk->ik", a, b),
        "addmv": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.einsum("ij,j->i", a, b),
        "addr": _outer_added,
        "cdist": _distance,
        "cholesky": lambda x, upper=False: _h(np.linalg.cholesky(_h(x))) if upper else np.linalg.cholesky(x),
        "eigh": lambda x, upper=False: np.linalg.eigh(x, "U" if upper else "L"),
        "qr": np.linalg.qr,
        "svd": lambda x, full=False: np.linalg.svd(x, full),
        "svdvals": lambda x: np.sqrt(np.linalg.eigvalsh(x @ _h(x) if x.shape[-2] <= x.shape[-1] else _h(x) @ x))[
            ..., ::-1
        ],
        "eig": lambda x: tuple(v.astype(np.complex128) for v in np.linalg.eig(x)),
        "lu_factor": _lu,
        "det": np.linalg.det,
        "slogdet": np.linalg.slogdet,
        "inv": np.linalg.inv,
        "solve": lambda a, b: np.einsum("...ij,...jk->...ik", np.linalg.inv(a), b),
        "solve_triangular": _triangular,
        "cholesky_solve": _from_factor,
        "pinv": lambda x, rtol, atol, hermitian: np.linalg.pinv(x),
        "pinv_within": lambda x, tolerance, hermitian: np.linalg.pinv(x),
        "matrix_exp": _expm,
    },
    tolerance=20,
)


# -- errors ------------------------------------------------------------------------------------------
error_rows({
    "matmul": lambda m: [
        (RuntimeError, ("matmul", "3 and 4", "(2, 3)", "(4, 5)"), m(2, 3), m(4, 5)),
        (RuntimeError, ("matmul", "batch", "(2,)", "(3,)"), m(2, 1, 1), m(3, 1, 1)),
    ],
    "linear": lambda m: [
        (RuntimeError, ("linear", "in_features", "(2, 4)", "(5, 3)"), m(2, 4), m(5, 3), m(5)),
        (RuntimeError, ("linear", "bias", "(5,)", "(1, 5)"), m(2, 3), m(5, 3), m(1, 5)),
        (RuntimeError, ("linear", "bias", "(5,)", "(4,)"), m(2, 3), m(5, 3), m(4)),
        (RuntimeError, ("linear", "weight", "(3,)"), m(2, 3), m(3)),
    ],
    "addmm": lambda m: [
        (RuntimeError, ("addmm", "mat1", "2-d", "(3,)"), m(2, 2), m(3), m(3, 2)),
        (RuntimeError, ("addmm", "mat1 (2, 3)", "mat2 (2, 3)"), m(2, 2), m(2, 3), m(2, 3)),
        (RuntimeError, ("addmm", "input", "(3, 2)", "(2, 2)"), m(3, 2), m(2, 3), m(3, 2)),
    ],
    "inv det slogdet cholesky eigh eig matrix_exp": lambda m: [
        (RuntimeError, ("square", "(2, 3)"), m(2, 3)),
        (TypeError, ("not implemented for int64", "float64"), np.eye(2, dtype="i8")),
    ],
    "addr": lambda m: [
        (RuntimeError, ("addr", "alpha", "integer", "2.5"), m(2, 2).astype("i8"), m(2).astype("i8"), m(2).astype("i8"),
         1, 2.5),
    ],
    "cholesky_solve": lambda m: [
        (RuntimeError, ("cholesky_solve", "as many rows", "(2, 1)", "(3, 3)"), m(2, 1), m(3, 3)),
    ],
    "solve": lambda m: [(RuntimeError, ("solve", "as many rows", "(2, 1)", "(3, 3)"), m(3, 3), m(2, 1))],
    "solve_triangular": lambda m: [
        (RuntimeError, ("solve_triangular", "as many rows", "(2, 1)", "(3, 3)"), m(3, 3), m(2, 1), True),
    ],
})  # fmt: skip
