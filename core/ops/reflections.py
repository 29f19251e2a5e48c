"""Householder reflections: geqrf, householder_product (orgqr) and ormqr.

Reflection i is 1 - tau[i] * v @ v.mH, where v is column i below the diagonal, 1 on it and 0 above (LAPACK's layout).
Source: G. Golub and C. Van Loan, "Matrix Computations", 5.1. All is made of products, so that gradients follow.
"""

from __future__ import annotations

from flambeau.core import creation
from flambeau.core.autocast import autocasting
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.elementwise import cj, where
from flambeau.core.ops.joining import cat
from flambeau.core.ops.matmul import matmul
from flambeau.core.ops.shape import adjoint, unsqueeze
from flambeau.core.ops.systems import matrices
from flambeau.core.ops.views import narrow
from flambeau.core.public import public
from flambeau.core.results import Reflections, returned
from flambeau.core.tensor import Tensor


@public(out=True)
@autocasting("float32|same")
def geqrf(input: Tensor) -> Reflections[Tensor]:
    """The QR decomposition of (..., m, n) as reflections: R in the upper triangle, below it their vectors, and tau.

    >>> fb.geqrf(fb.tensor([[3.0], [4.0]]))
    Reflections(a=tensor([[-5.0000],
            [ 0.5000]]), tau=tensor([1.6000]))
    """
    if input.ndim < 2:
        raise ShapeError(f"geqrf: input must have at least 2 dimensions, got shape {tuple(input.shape)}")
    if input.dtype not in matrices.accepts:
        raise DTypeError(f"geqrf: input must be floating or complex, got {input.dtype.name}")
    m, n = input.shape[-2:]
    a, factors = input.clone(), []
    for k in range(min(m, n)):
        top, column = narrow(narrow(a, -1, k, 1), -2, 0, k), narrow(narrow(a, -1, k, 1), -2, k, m - k)
        diagonal, v, tau = _reflection(column)
        rest = narrow(narrow(a, -1, k + 1, n - k - 1), -2, k, m - k)
        rest = rest - cj(tau) * matmul(v, matmul(adjoint(v), rest))
        stored = cat([top, diagonal, narrow(v, -2, 1, m - k - 1)], -2)
        above = narrow(narrow(a, -1, k + 1, n - k - 1), -2, 0, k)
        a = cat([narrow(a, -1, 0, k), stored, cat([above, rest], -2)], -1)
        factors.append(tau.squeeze(-1))
    tau = cat(factors, -1) if factors else input.new_zeros((*input.shape[:-2], 0))
    made: Reflections[Tensor] = returned("geqrf", (a, tau))
    return made


def _reflection(column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the reflection of (..., n, 1) leaves on the diagonal, its vector, and its tau; 0 where nothing is below."""
    head, tail = narrow(column, -2, 0, 1), narrow(column, -2, 1, column._array.shape[-2] - 1)
    below = (tail * cj(tail)).sum(-2, keepdim=True)
    real = (head + cj(head)) / 2
    nothing = (below == 0) & (head == real)
    size = (where(nothing, 1.0, below + head * cj(head))).sqrt()  # a real number, whatever the dtype
    diagonal = where(nothing, head, where((real.real if head.is_complex() else real) > 0, -size, size))
    tau = where(nothing, 0.0, (diagonal - head) / where(nothing, 1.0, diagonal))
    scaled = tail / where(nothing, 1.0, head - diagonal)
    return diagonal, cat([creation.ones_like(head), scaled], -2), tau


def _vectors(name: str, a: Tensor, tau: Tensor) -> list[Tensor]:
    """The vectors (..., m, 1) of reflections."""
    if a.ndim < 2:
        raise ShapeError(f"{name}: input must have at least 2 dimensions, got shape {tuple(a.shape)}")
    m, count = a.shape[-2], tau.shape[-1] if tau.ndim else 0
    if tuple(tau.shape[:-1]) != tuple(a.shape[:-2]) or tau.ndim != a.ndim - 1:
        raise ShapeError(
            f"{name}: tau of shape {tuple(tau.shape)} must have the leading sizes of input {tuple(a.shape)}, and one "
            "more"
        )
    if count > a.shape[-1]:
        raise ShapeError(f"{name}: tau has {count} factors for the {a.shape[-1]} columns of input")
    if a.dtype is not tau.dtype or a.dtype not in matrices.accepts:
        raise DTypeError(
            f"{name}: input and tau must be floating or complex, and of one dtype; got {a.dtype.name} and "
            f"{tau.dtype.name}"
        )
    rows = unsqueeze(creation.arange(m, device=a.device), -1)
    return [where(rows > i, narrow(a, -1, i, 1), (rows == i).to(a.dtype)) for i in range(count)]


def _reflected(x: Tensor, vectors: list[Tensor], tau: Tensor) -> Tensor:
    """The reflections' product times ``x``: the last of them first."""
    for i in reversed(range(len(vectors))):
        factor = unsqueeze(narrow(tau, -1, i, 1), -1)
        x = x - factor * matmul(vectors[i], matmul(adjoint(vectors[i]), x))
    return x


@public("orgqr", out=True)
@autocasting("float32|same")
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first n columns (..., m, n) of the product of the reflections that :func:`geqrf` gives, Q of its QR.

    >>> fb.linalg.householder_product(*fb.geqrf(fb.tensor([[3.0], [4.0]])))
    tensor([[-0.6000],
            [-0.8000]])
    """
    vectors = _vectors("householder_product", input, tau)
    m, n = input.shape[-2:]
    if m < n:
        raise ShapeError(f"householder_product: input must have at least as many rows as columns, got {m} x {n}")
    eye = creation.eye(m, n, dtype=input.dtype, device=input.device).expand(tuple(input.shape))
    return _reflected(eye, vectors, tau) if vectors else where(eye == eye, eye, input)  # which has input's edge


@public(out=True)
@autocasting("float32|same")
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """The whole Q of reflections times ``other``, or ``other`` times it; ``transpose``: its mH.

    >>> fb.ormqr(*fb.geqrf(fb.tensor([[3.0], [4.0]])), fb.tensor([[1.0], [0.0]]))
    tensor([[-0.6000],
            [-0.8000]])
    """
    vectors = _vectors("ormqr", input, tau)
    if other.ndim != input.ndim or tuple(other.shape[:-2]) != tuple(input.shape[:-2]):
        raise ShapeError(
            f"ormqr: other of shape {tuple(other.shape)} must have the leading sizes of input {tuple(input.shape)}"
        )
    if other.shape[-2 if left else -1] != input.shape[-2]:
        raise ShapeError(
            f"ormqr: other of shape {tuple(other.shape)} must have {input.shape[-2]} {'rows' if left else 'columns'}, "
            f"as input {tuple(input.shape)} has rows"
        )
    if other.dtype is not input.dtype:
        raise DTypeError(f"ormqr: other must have the dtype of input, {input.dtype.name}, got {other.dtype.name}")
    if not left:  # x @ Q is the adjoint of Q.mH @ x.mH
        return adjoint(ormqr(input, tau, adjoint(other), True, not transpose))
    if not transpose:
        return _reflected(other, vectors, tau)
    for i, v in enumerate(vectors):
        other = other - unsqueeze(cj(narrow(tau, -1, i, 1)), -1) * matmul(v, matmul(adjoint(v), other))
    return other
