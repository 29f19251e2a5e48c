"""Diagonal matrices and triangles."""

from __future__ import annotations

import operator
from collections.abc import Callable

from flambeau.backends.layout import Shape
from flambeau.core import creation
from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import ShapeError
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.shape import axis_of, reshape, unsqueeze
from flambeau.core.ops.views import diagonal
from flambeau.core.public import public
from flambeau.core.tensor import Tensor


def _embedded(x: Shape, *, offset: int, axis1: int, axis2: int) -> Shape:
    size = x[-1] + abs(offset)
    shape = list(x[:-1])
    for a in sorted((axis1, axis2)):
        shape.insert(a, size)
    return tuple(shape)


@composite(
    "embed_diagonal(x: Tensor, *, offset: int, axis1: int, axis2: int) -> Tensor",
    infer=_embedded,
    dtype=storage.anything,
    upcast=False,
    public=False,
    linear=["x"],
    vjp=dict(x=lambda g, offset, axis1, axis2: diagonal(g, offset, axis1, axis2)),
)
def embed_diagonal_p(x: Tensor, *, offset: int, axis1: int, axis2: int) -> Tensor:
    """The last axis as the diagonal of two new axes, zeros elsewhere."""
    whole = creation.zeros_at(x, _embedded(tuple(x._array.shape), offset=offset, axis1=axis1, axis2=axis2))
    diagonal(whole, offset, axis1, axis2).copy_(x)
    return whole


@public()
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as the diagonal of matrices in dimensions ``dim1`` and ``dim2`` of the result.

    >>> fb.tensor([1, 2]).diag_embed()
    tensor([[1, 0],
            [0, 2]])
    """
    a, b = (
        axis_of("diag_embed", input, dim1, extra=1, label="dim1"),
        axis_of("diag_embed", input, dim2, extra=1, label="dim2"),
    )
    if a == b or not input._array.shape:
        raise ShapeError(
            f"diag_embed: dim1={dim1} and dim2={dim2} must differ, "
            f"and the tensor of shape {tuple(input.shape)} not be 0-d"
        )
    return embed_diagonal_p(input, operator.index(offset), a, b)


_diagonal = diagonal  # `diag` has a parameter of that name


@public(out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with a vector on its ``diagonal``, or a copy of that diagonal of a matrix.

    >>> fb.diag(fb.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    ndim = len(input._array.shape)
    if ndim == 1:
        return diag_embed(input, diagonal)
    if ndim != 2:
        raise ShapeError(f"diag: expects a 1-d or 2-d tensor, got shape {tuple(input.shape)}")
    return storage.clone_p(_diagonal(input, diagonal), "C")


@public()
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements of ``input`` on its diagonal.

    >>> fb.diagflat(fb.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    return diag_embed(reshape(input, (input.numel(),)), offset)


def _triangle(name: str) -> Callable[[Callable[..., Tensor]], OpFunction[Tensor]]:
    """The decorator of an op that keeps a triangle of each matrix, as its gradient does."""

    def infer(x: Shape, *, diagonal: int) -> Shape:
        if len(x) < 2:
            raise ShapeError(f"{name}: input must have at least 2 dimensions, got shape {tuple(x)}")
        return x

    def decorate(body: Callable[..., Tensor]) -> OpFunction[Tensor]:
        made: OpFunction[Tensor] = composite(
            f"{name}(x: Tensor, *, diagonal: int = 0) -> Tensor",
            infer=infer, dtype=storage.anything, upcast=False, check=True, inplace=True, linear=["x"],
            vjp=dict(x=lambda g, diagonal: made(g, diagonal)),
        )(body)  # fmt: skip
        return made

    return decorate


def _keep_where(x: Tensor, keep: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    n, m = x._array.shape[-2:]
    rows, columns = unsqueeze(creation.arange(n, device=x.device), 1), creation.arange(m, device=x.device)
    return where(keep(columns, rows), x, creation.zeros((), dtype=x.dtype, device=x.device))


@_triangle("tril")
def tril_p(x: Tensor, *, diagonal: int = 0) -> Tensor:
    """The lower triangle of each matrix, with ``diagonal`` diagonals above the main one; zeros elsewhere.

    >>> fb.tril(fb.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return _keep_where(x, lambda column, row: column <= row + diagonal)


@_triangle("triu")
def triu_p(x: Tensor, *, diagonal: int = 0) -> Tensor:
    """The upper triangle of each matrix from the diagonal ``diagonal`` on; zeros elsewhere.

    >>> fb.triu(fb.ones(2, 2))
    tensor([[1., 1.],
            [0., 1.]])
    """
    return _keep_where(x, lambda column, row: column >= row + diagonal)
