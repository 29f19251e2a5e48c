"""Products with an addition (addmm and its relatives); kron, cross, powers, chains, distances."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Literal

from flambeau.backends.layout import Shape
from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.declare import OpFunction, composite
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops.elementwise import abs_p, cj, where
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.matmul import check_inner, check_ranks, matmul, matmul_p, outer
from flambeau.core.ops.shape import adjoint, axis_of, reshape, tensors_of, unsqueeze
from flambeau.core.ops.storage import permute_p
from flambeau.core.ops.systems import inv_p
from flambeau.core.ops.variance import vector_norm_p
from flambeau.core.ops.views import diagonal, select
from flambeau.core.public import public
from flambeau.core.record import DTypeRule, alike, numeric, real_floating, same
from flambeau.core.tensor import Tensor


# -- products with an addition -----------------------------------------------------------------------
def _of_one_dtype(name: str, operands: Sequence[object]) -> None:
    alike()(name, operands[:3])  # the factors behind them may be tensors of another


_PLUS = numeric.but(check=_of_one_dtype)


def _scaled(value: Tensor, by: Tensor | Number) -> Tensor:
    """Of whole numbers the whole part of the factor counts, as in torch."""
    if value.dtype.category < dt.COMPLEX and (isinstance(by, complex) or isinstance(by, Tensor) and by.is_complex()):
        raise DTypeError(f"the factors beta and alpha must be real for operands of {value.dtype}, got {by}")
    if value.dtype.category <= dt.INTEGER:
        by = by.to(value.dtype) if isinstance(by, Tensor) else int(by.real)
    return value if by.__class__ in (int, float) and by == 1 else value * by


def _input_vjp(g: Tensor, beta: Tensor | Number) -> Tensor:
    return _scaled(g, cj(beta))


def _plus_shape(name: str, result: Callable[[Shape, Shape], Shape | None], **ranks: int) -> Callable[..., Shape]:
    """The shape rule of ``name``: ranks and sizes of the factors, and that x broadcasts to their product.

    ``result`` gives the product's shape, None where sizes differ that must be equal.
    """

    first, second = ranks.values()

    def infer(x: Shape, a: Shape, b: Shape, beta: Shape = (), alpha: Shape = ()) -> Shape:
        if len(a) == first and len(b) == second:  # runs before every call
            found = result(a, b)
            if found is not None and (x == found or x == found[-1:]):
                return found
        for (label, ndim), shape in zip(ranks.items(), (a, b), strict=True):
            if len(shape) != ndim:
                raise ShapeError(f"{name}: {label} must be {ndim}-d, got shape {tuple(shape)}")
        out = result(tuple(a), tuple(b))
        if out is None:
            names = " and ".join(f"{n} {tuple(v)}" for n, v in zip(ranks, (a, b), strict=True))
            raise ShapeError(
                f"{name}: the sizes of {names} do not fit; those summed over (and of the batches) must be equal"
            )
        if len(x) > len(out) or any(n not in (1, m) for n, m in zip(reversed(x), reversed(out), strict=False)):
            raise ShapeError(f"{name}: input of shape {tuple(x)} does not broadcast to the product's shape {out}")
        return out

    return infer


def _matrix_shape(a: Shape, b: Shape) -> Shape | None:
    return (a[0], b[1]) if a[1] == b[0] else None


def _batch_shape(a: Shape, b: Shape) -> Shape | None:
    return (*a[:2], b[2]) if a[2] == b[1] and a[0] == b[0] else None


def _vector_shape(a: Shape, b: Shape) -> Shape | None:
    return (a[0],) if a[1] == b[0] else None


def _plus(
    name: str,
    shape: Callable[[Shape, Shape], Shape | None],
    factors: tuple[str, str],
    ranks: tuple[int, int],
    example: str,
    autocast: str,
    inplace: bool | Literal["function"] = True,
    dtype: DTypeRule = _PLUS,
    **vjp: Callable[..., Tensor],
) -> Callable[[Callable[[Tensor, Tensor], Tensor]], OpFunction[Tensor]]:
    """The decorator of ``beta * x + alpha * body(a, b)``; with beta 0, x does not count even where it is nan."""
    a, b = factors

    def decorate(multiply: Callable[[Tensor, Tensor], Tensor]) -> OpFunction[Tensor]:
        infer = _plus_shape(name, shape, **dict(zip(factors, ranks, strict=True)))

        def body(x: Tensor, first: Tensor, second: Tensor, beta: Tensor | Number, alpha: Tensor | Number) -> Tensor:
            if dtype is not _PLUS:
                _exact(name, x, beta=beta, alpha=alpha)
                if x.dtype is dt.bool_:
                    return (x & bool(beta)) | (multiply(first, second) & bool(alpha))
            found = _scaled(multiply(first, second), alpha)
            return found if not isinstance(beta, Tensor) and beta == 0 else _scaled(x, beta) + found

        schema = f"{name}(x: Tensor, {a}: Tensor, {b}: Tensor, beta: Scalar = 1, alpha: Scalar = 1) -> Tensor"
        rules = {"x": _input_vjp, **vjp}
        doc = multiply.__doc__ or ""
        kinds = {"beta": "any", "alpha": "any"}  # the operands alone make the dtype
        return composite(
            schema, infer=infer, check=True, dtype=dtype, kinds=kinds, inplace=inplace, vjp=rules, doc=doc,
            example=example, autocast=autocast,
        )(body)  # fmt: skip

    return decorate


def _exact(name: str, x: Tensor, **factors: Tensor | Number) -> None:
    """DTypeError for a float where the operands are whole, as in torch, whose other products take the whole part."""
    for label, factor in factors.items():
        is_float = factor.is_floating_point() if isinstance(factor, Tensor) else isinstance(factor, float)
        if is_float and x.dtype.category <= dt.INTEGER:
            raise DTypeError(f"{name}: {label} must be an integer for operands of {x.dtype}, got {factor}")
        if isinstance(factor, bool) and x.dtype is not dt.bool_:
            raise DTypeError(f"{name}: {label} must be no bool for operands of {x.dtype}, got {factor}")


@_plus(
    "addmm", _matrix_shape, ("mat1", "mat2"), (2, 2),
    "fb.addmm(fb.ones(2), fb.ones(2, 3), fb.ones(3, 2)) -> tensor([[4., 4.],\n        [4., 4.]])", "low",
    mat1=lambda g, mat2, alpha: _scaled(matmul_p(g, adjoint(mat2)), cj(alpha)),
    mat2=lambda g, mat1, alpha: _scaled(matmul_p(adjoint(mat1), g), cj(alpha)),
)  # fmt: skip
def addmm_p(mat1: Tensor, mat2: Tensor) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)`` for two matrices."""
    return matmul_p(mat1, mat2)


@_plus(
    "baddbmm", _batch_shape, ("batch1", "batch2"), (3, 3),
    "fb.baddbmm(fb.ones(1, 1, 1), fb.ones(1, 1, 2), fb.ones(1, 2, 1)) -> tensor([[[3.]]])", "low",
    batch1=lambda g, batch2, alpha: _scaled(matmul_p(g, adjoint(batch2)), cj(alpha)),
    batch2=lambda g, batch1, alpha: _scaled(matmul_p(adjoint(batch1), g), cj(alpha)),
)  # fmt: skip
def baddbmm_p(batch1: Tensor, batch2: Tensor) -> Tensor:
    """``beta * input + alpha * (batch1 @ batch2)`` for two batches of matrices."""
    return matmul_p(batch1, batch2)


@_plus(
    "addbmm", lambda a, b: (shape := _batch_shape(a, b)) and shape[1:], ("batch1", "batch2"), (3, 3),
    "fb.addbmm(fb.ones(1, 1), fb.ones(2, 1, 2), fb.ones(2, 2, 1)) -> tensor([[5.]])", "low",
    batch1=lambda g, batch2, alpha: _scaled(matmul_p(g, adjoint(batch2)), cj(alpha)),
    batch2=lambda g, batch1, alpha: _scaled(matmul_p(adjoint(batch1), g), cj(alpha)),
)  # fmt: skip
def addbmm_p(batch1: Tensor, batch2: Tensor) -> Tensor:
    """``beta * input + alpha * (batch1 @ batch2).sum(0)`` for two batches of matrices."""
    b, n, k = batch1._array.shape
    rows = reshape(permute_p(batch1, (1, 0, 2)), (n, b * k))
    return matmul_p(rows, reshape(batch2, (b * k, batch2._array.shape[2])))


@_plus(
    "addmv", _vector_shape, ("mat", "vec"), (2, 1),
    "fb.addmv(fb.ones(2), fb.ones(2, 3), fb.ones(3)) -> tensor([4., 4.])", "same|low", inplace="function",
    mat=lambda g, vec, alpha: _scaled(outer(g, cj(vec)), cj(alpha)),
    vec=lambda g, mat, alpha: _scaled(matmul(adjoint(mat), g), cj(alpha)),
)  # fmt: skip
def addmv_p(mat: Tensor, vec: Tensor) -> Tensor:
    """``beta * input + alpha * (mat @ vec)`` for a matrix and a vector."""
    return matmul(mat, vec)


@_plus(
    "addr", lambda a, b: (*a, *b), ("vec1", "vec2"), (1, 1),
    "fb.addr(fb.zeros(2, 2), fb.tensor([1.0, 2.0]), fb.tensor([3.0, 4.0])) -> tensor([[3., 4.],\n        [6., 8.]])",
    "same|low",
    dtype=same,
    vec1=lambda g, vec2, alpha: _scaled(matmul(g, cj(vec2)), cj(alpha)),
    vec2=lambda g, vec1, alpha: _scaled(matmul(cj(vec1), g), cj(alpha)),
)  # fmt: skip
def addr_p(vec1: Tensor, vec2: Tensor) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)`` for two vectors; of bools with & for * and | for +."""
    return outer(vec1, vec2)


# -- what products make ------------------------------------------------------------------------------
@public()
@autocasting("float32|same")
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix.

    >>> fb.trace(fb.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)
    """
    check_ranks("trace", input=(input, 2))
    return diagonal(input).sum()


@public(out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: each element of ``input`` times the whole of ``other``, as blocks.

    >>> fb.kron(fb.tensor([1, 10]), fb.tensor([1, 2]))
    tensor([ 1,  2, 10, 20])
    """
    ndim = max(input.ndim, other.ndim)
    a = (1,) * (ndim - input.ndim) + tuple(input._array.shape)
    b = (1,) * (ndim - other.ndim) + tuple(other._array.shape)
    left = reshape(input, tuple([k for n in a for k in (n, 1)]))
    right = reshape(other, tuple([k for n in b for k in (1, n)]))
    return reshape(left * right, tuple([n * m for n, m in zip(a, b, strict=True)]))


def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of size 3 along ``dim``; the other dimensions broadcast.

    >>> fb.linalg.cross(fb.tensor([1.0, 0.0, 0.0]), fb.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if input.ndim != other.ndim:
        raise ShapeError(
            f"cross: input and other must have the same number of dimensions, "
            f"got {tuple(input.shape)} and {tuple(other.shape)}"
        )
    alike("input and other")("cross", (input, other))
    axis = axis_of("cross", input, dim)
    if not input.ndim or input._array.shape[axis] != 3 or other._array.shape[axis] != 3:
        raise ShapeError(
            f"cross: dimension {dim} must have size 3 in both, got shapes {tuple(input.shape)} and {tuple(other.shape)}"
        )
    x, y = ([select(t, axis, i) for i in range(3)] for t in (input, other))
    parts = [x[j] * y[k] - x[k] * y[j] for j, k in ((1, 2), (2, 0), (0, 1))]
    return stack(parts, axis)


@public(out=True)
@autocasting("same|widest")
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """:func:`linalg_cross` along ``dim``, by default the first dimension of size 3.

    >>> fb.cross(fb.tensor([1.0, 0.0, 0.0]), fb.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if dim is None:
        dim = next((i for i, n in enumerate(input._array.shape) if n == 3), None)
        if dim is None:
            raise ShapeError(f"cross: no dimension of size 3 in input of shape {tuple(input.shape)}")
    return linalg_cross(input, other, dim=dim)


@public(out=True)
def matrix_power(input: Tensor, n: int) -> Tensor:
    """The product of ``n`` copies of square matrices, by repeated squaring; of their inverses for negative n.

    >>> fb.matrix_power(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), 2)
    tensor([[ 7., 10.],
            [15., 22.]])
    """
    shape = tuple(input._array.shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(f"matrix_power: expects square matrices, got shape {shape}")
    n = operator.index(n)
    if n < 0:
        return matrix_power(inv_p(input), -n)
    if n == 0:
        one = creation.eye(shape[-1], dtype=input.dtype, device=input.device)
        return where(one == one, one, input)  # with the edge of input
    square = input
    while not n & 1:
        square, n = matmul_p(square, square), n >> 1
    result = square
    while n := n >> 1:
        square = matmul_p(square, square)
        if n & 1:
            result = matmul_p(result, square)
    return result


@autocasting("low")
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices in the order that takes the fewest multiplications.

    The first and the last may be vectors. The order is found by dynamic programming (Cormen et al.,
    Introduction to Algorithms, 15.2).

    >>> fb.linalg.multi_dot([fb.tensor([[2.0, 0.0], [0.0, 4.0]]), fb.tensor([[2.0, 0.0], [0.0, 4.0]])])
    tensor([[ 4.,  0.],
            [ 0., 16.]])
    """
    items = list(tensors)
    if len(items) < 2:
        raise ShapeError(f"multi_dot: expects at least 2 tensors, got {len(items)}")
    if any(t.ndim != 2 for t in items[1:-1]) or any(t.ndim not in (1, 2) for t in (items[0], items[-1])):
        raise ShapeError(
            f"multi_dot: expects matrices, at the ends matrices or vectors, "
            f"got shapes {[tuple(t.shape) for t in items]}"
        )
    first, last = items[0].ndim == 1, items[-1].ndim == 1
    if first:
        items[0] = unsqueeze(items[0], 0)
    if last:
        items[-1] = unsqueeze(items[-1], 1)
    for a, b in itertools.pairwise(items):
        check_inner("multi_dot", "tensor", a, 1, "the next", b, 0)
    found = _chain(items, _best_splits([t.shape[0] for t in items] + [items[-1].shape[1]]), 0, len(items) - 1)
    shape = [n for n, gone in zip(found._array.shape, (first, last), strict=True) if not gone]
    return reshape(found, tuple(shape))


def _best_splits(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to split each run of matrices; matrix i has sizes[i] rows and sizes[i + 1] columns."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    splits: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            options = [(cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i, j], splits[i, j] = min(options)
    return splits


def _chain(items: Sequence[Tensor], splits: dict[tuple[int, int], int], i: int, j: int) -> Tensor:
    if i == j:
        return items[i]
    k = splits[i, j]
    return matmul_p(_chain(items, splits, i, k), _chain(items, splits, k + 1, j))


@public(method=False, out=True)
@autocasting("low")
def chain_matmul(*matrices: Tensor | Sequence[Tensor]) -> Tensor:
    """:func:`multi_dot` of the arguments.

    >>> fb.chain_matmul(fb.ones(2, 3), fb.ones(3, 4), fb.ones(4, 1)).shape
    flambeau.Size([2, 1])
    """
    items = tensors_of(matrices)
    return items[0] if len(items) == 1 else multi_dot(items)


@public(method=False)
@autocasting("same")
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of a vector's elements as columns, from the highest (from 0 if ``increasing``).

    >>> fb.vander(fb.tensor([1, 2, 3]), 3)
    tensor([[1, 1, 1],
            [4, 2, 1],
            [9, 3, 1]])
    """
    check_ranks("vander", x=(x, 1))
    if N is not None and N < 0:
        raise ArgumentError(f"vander: N must not be negative, got {N}")
    found = _powers(x, x.shape[0] if N is None else N)
    return found if increasing else found.flip(-1)


def linalg_vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of the elements along a new last dimension; N, by default its size, must be above 1.

    >>> fb.linalg.vander(fb.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [1, 2, 4],
            [1, 3, 9]])
    """
    x = x if x.ndim else unsqueeze(x, 0)
    count = x.shape[-1] if N is None else N
    if count < 2:
        raise ArgumentError(f"linalg.vander: N must be greater than 1, got {count}")
    return _powers(x, count)


def _powers(x: Tensor, count: int) -> Tensor:
    if x.dtype.category < dt.FLOATING:
        x = x.to(dt.int64)
    if not count:
        return x.new_zeros((*x.shape, 0))
    column = x.unsqueeze(-1)
    return cat([creation.ones_like(column), column.expand(*x.shape, count - 1)], -1).cumprod(-1)


# -- distances ---------------------------------------------------------------------------------------
def _distances_shape(x: Shape, y: Shape, *, p: float, mode: str) -> Shape:
    if len(x) < 2 or len(y) < 2 or x[-1] != y[-1]:
        raise ShapeError(
            f"cdist: x1 and x2 must be at least 2-d with an equal last size, got shapes {tuple(x)} and {tuple(y)}"
        )
    return (*broadcast_shapes(x[:-2], y[:-2]), x[-2], y[-2])


def _by_products(x: Tensor, y: Tensor, mode: str) -> bool:
    large = x._array.shape[-2] > 25 or y._array.shape[-2] > 25
    return mode == "use_mm_for_euclid_dist" or mode == "use_mm_for_euclid_dist_if_necessary" and large


def _distances_vjp(
    g: Tensor, needs: Sequence[bool], x: Tensor, y: Tensor, out: Tensor, p: float, mode: str
) -> tuple[Tensor | None, Tensor | None]:
    """Where a distance is 0 its gradient is taken to be 0, as in torch."""
    apart = out != 0
    safe = where(apart, out, 1.0)
    if p == 2:
        w = where(apart, g / safe, 0.0)
        gx = x * unsqueeze(w.sum(-1), -1) - matmul_p(w, y) if needs[0] else None
        gy = y * unsqueeze(w.sum(-2), -1) - matmul_p(w.mT, x) if needs[1] else None
        return gx, gy
    difference = unsqueeze(x, -2) - unsqueeze(y, -3)
    g, safe, apart = unsqueeze(g, -1), unsqueeze(safe, -1), unsqueeze(apart, -1)
    if p == 0:
        part = difference * 0
    elif p == 1:
        part = g * difference.sign()
    elif p == float("inf"):
        part = g * difference.sign() * (abs_p(difference) == safe)
    else:
        size = abs_p(difference)
        there = size != 0
        part = where(there, g * difference.sign() * (where(there, size, 1.0) / safe) ** (p - 1), 0.0)
    part = where(apart, part, 0.0)
    return (part.sum(-2) if needs[0] else None), (-part.sum(-3) if needs[1] else None)


@composite(
    "cdist(x: Tensor, y: Tensor, *, p: float, mode: str) -> Tensor",
    autocast="float32",
    infer=_distances_shape,
    check=True,
    dtype=real_floating.but(check=alike("x1 and x2")),
    public=False,
    vjp=_distances_vjp,
)
def cdist_p(x: Tensor, y: Tensor, *, p: float, mode: str) -> Tensor:
    """The p-norm distance of every row of x to every row of y."""
    if p == 2 and _by_products(x, y, mode):
        squares = unsqueeze((x * x).sum(-1), -1) + unsqueeze((y * y).sum(-1), -2) - 2 * matmul_p(x, y.mT)
        return squares.clamp(min=0).sqrt()
    difference = unsqueeze(x, -2) - unsqueeze(y, -3)
    return vector_norm_p(difference, p, (-1,))


@public(method=False)
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm distance of every row of ``x1`` (..., n, d) to every row of ``x2`` (..., m, d), (..., n, m).

    ``compute_mode`` says whether Euclidean distances may come from a matrix product, which is faster and
    less exact: "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist", or by default for over 25 rows.

    >>> fb.cdist(fb.tensor([[0.0, 0.0]]), fb.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """
    if p < 0:
        raise ArgumentError(f"cdist: p must not be negative, got {p}")
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode not in modes:
        raise ArgumentError(f"cdist: compute_mode must be one of {modes}, got {compute_mode!r}")
    if compute_mode == modes[0] and isinstance(x1, Tensor) and isinstance(x2, Tensor) and min(x1.ndim, x2.ndim) > 1:
        compute_mode = modes[1 if _by_products(x1, x2, compute_mode) else 2]
    return cdist_p(x1, x2, float(p), compute_mode)
