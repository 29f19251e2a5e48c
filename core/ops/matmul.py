"""Products: matmul (the primitive), linear, and torch's family of matrix and vector products over them.

The primitive takes operands of at least two dimensions; :func:`matmul` raises vectors to matrices. What
else products make stands in :mod:`flambeau.core.ops.products` and :mod:`flambeau.core.ops.einsum`,
decompositions in :mod:`flambeau.core.ops.decompose`, norms in :mod:`flambeau.core.ops.linalg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from flambeau.backends import layout
from flambeau.backends.layout import Shape
from flambeau.core.autocast import autocasting
from flambeau.core.declare import OpFunction, composite, op
from flambeau.core.errors import DTypeError, ShapeError, not_a_tensor
from flambeau.core.ops.elementwise import cj
from flambeau.core.ops.shape import adjoint, matrix_transpose, reshape, unsqueeze
from flambeau.core.ops.storage import view_p
from flambeau.core.out import deliver
from flambeau.core.overrides import is_tensor_like
from flambeau.core.public import public
from flambeau.core.record import alike, numeric
from flambeau.core.state import uncast
from flambeau.core.tensor import Tensor

_ALIKE: Final = numeric.but(check=alike())


# -- the primitive -----------------------------------------------------------------------------------
def _product_shape(x: Shape, y: Shape) -> Shape:
    if len(x) < 2 or len(y) < 2:
        raise ShapeError(
            f"matmul: input and other must have at least 2 dimensions here, got shapes {tuple(x)} and {tuple(y)}"
        )
    if x[-1] != y[-2]:
        raise ShapeError(
            f"matmul: the last size of input and the second last of other must be equal, got {x[-1]} and {y[-2]} "
            f"in shapes {tuple(x)} and {tuple(y)}"
        )
    try:
        batch = layout.broadcast_shapes(tuple(x[:-2]), tuple(y[:-2]))
    except ValueError as error:
        raise ShapeError(f"matmul of {tuple(x)} and {tuple(y)}: of the batches, {error}") from None
    return (*batch, x[-2], y[-1])


def _product_vjp_y(g: Tensor, x: Tensor, y_shape: Shape) -> Tensor:
    if len(y_shape) == 2 and len(x._array.shape) > 2:  # one product over all the rows, not a sum over products
        rows = prod(x._array.shape[:-1])
        g, x = reshape(g, (rows, g._array.shape[-1])), reshape(x, (rows, x._array.shape[-1]))
    return matmul_p(adjoint(x), g)


def _product_jvp(tangents: Sequence[Tensor | None], primals: Sequence[Tensor], out: Tensor) -> Tensor:
    (tx, ty), (x, y) = tangents, primals
    if tx is None or ty is None:
        return matmul_p(x if tx is None else tx, y if ty is None else ty)
    return matmul_p(tx, y) + matmul_p(x, ty)


matmul_p: OpFunction[Tensor] = op(
    "matmul(x: Tensor, y: Tensor) -> Tensor",
    autocast="low",
    infer=_product_shape, dtype=_ALIKE, jvp=_product_jvp, public=False,
    vjp=dict(x=lambda g, y: matmul_p(g, adjoint(y)), y=_product_vjp_y),
    doc="Products of matrices in the last two dimensions, the others broadcast.",
)  # fmt: skip


@public(guard=False)
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The matrix product: (n, k) @ (k, m), batches of such, and vectors as a row on the left, a column on the right.

    Batches broadcast. ShapeError where the sizes k differ.

    >>> fb.matmul(fb.tensor([[1, 2], [3, 4]]), fb.tensor([1, 1]))
    tensor([3, 7])
    """
    if out is not None:
        found: Tensor = uncast(matmul, input, other)
        return deliver("matmul", found, out)
    try:
        left, right = input._array.ndim, other._array.ndim
    except AttributeError:
        wrong = other if isinstance(input, Tensor) else input
        raise TypeError(f"matmul: input and other must be tensors, got {type(wrong).__name__}") from None
    if left > 1 and right > 1:
        return matmul_p(input, other)
    if not left or not right:
        raise ShapeError(
            f"matmul: both arguments need to be at least 1-d, got shapes {tuple(input.shape)} "
            f"and {tuple(other.shape)}; use * to scale by a number"
        )
    inner = input._array.shape[-1], other._array.shape[-2 if right > 1 else 0]
    if inner[0] != inner[1]:
        raise ShapeError(
            f"matmul: the sizes to be summed over must be equal, got {inner[0]} of input {tuple(input.shape)} "
            f"and {inner[1]} of other {tuple(other.shape)}"
        )
    found = matmul_p(unsqueeze(input, 0) if left == 1 else input, unsqueeze(other, 1) if right == 1 else other)
    shape = list(found._array.shape)
    if right == 1:
        del shape[-1]
    if left == 1:
        del shape[-1 if right == 1 else -2]
    return view_p(found, tuple(shape))


@public("__matmul__", guard=False)
def _dunder_matmul(self: Tensor, other: Tensor) -> Tensor:
    return matmul(self, other) if is_tensor_like(other) else NotImplemented


@public("__rmatmul__", guard=False)
def _dunder_rmatmul(self: Tensor, other: Tensor) -> Tensor:
    if type(other).__name__ == "ndarray":
        raise not_a_tensor("matmul", "other", other, "a tensor")
    return matmul(other, self) if is_tensor_like(other) else NotImplemented


# -- linear ------------------------------------------------------------------------------------------
def _linear_shape(x: Shape, weight: Shape, bias: Shape | None) -> Shape:
    try:
        n, k = weight
        if x[-1] == k and (bias is None or bias[0] == n and len(bias) == 1):  # runs before every call
            return (x[0], n) if len(x) == 2 else (*x[:-1], n)
    except (ValueError, IndexError):
        pass
    if len(weight) != 2 or not x:
        raise ShapeError(
            f"linear: weight must have shape (out_features, in_features) and input at least 1 dimension, "
            f"got weight {tuple(weight)} and input {tuple(x)}"
        )
    if x[-1] != weight[1]:
        raise ShapeError(
            f"linear: the last size of input must be in_features, got {x[-1]} in input {tuple(x)} "
            f"and in_features {weight[1]} in weight {tuple(weight)}"
        )
    raise ShapeError(f"linear: bias must have shape ({weight[0]},) for weight {tuple(weight)}, got {tuple(bias or ())}")


def _linear_vjp_weight(g: Tensor, x: Tensor) -> Tensor:
    if len(x._array.shape) != 2:
        rows = prod(x._array.shape[:-1])
        g, x = reshape(g, (rows, g._array.shape[-1])), reshape(x, (rows, x._array.shape[-1]))
    return matmul_p(matrix_transpose(g), cj(x))


@composite(
    "linear(x: Tensor, weight: Tensor, bias: Tensor? = None) -> Tensor",
    autocast="low", infer=_linear_shape, check=True, dtype=_ALIKE, public=False,
    vjp=dict(x=lambda g, weight: matmul(g, cj(weight)), weight=_linear_vjp_weight, bias=lambda g: g),
)  # fmt: skip
def linear_p(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``, for x of shape (..., in_features) and weight (out_features, in_features).

    >>> fb.nn.functional.linear(fb.ones(2, 3), fb.ones(4, 3), fb.zeros(4)).shape
    flambeau.Size([2, 4])
    """
    out = matmul(x, matrix_transpose(weight))
    return out if bias is None else out + bias


# -- products of fixed rank --------------------------------------------------------------------------
def check_ranks(name: str, **expected: tuple[Tensor, int]) -> None:
    """ShapeError unless each tensor has its number of dimensions."""
    for label, (t, ndim) in expected.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: argument {label!r} must be a tensor, got {type(t).__name__}")
        if len(t._array.shape) != ndim:
            raise ShapeError(f"{name}: {label} must be {ndim}-d, got shape {tuple(t.shape)}; matmul takes other ranks")


def check_inner(name: str, a: str, x: Tensor, i: int, b: str, y: Tensor, j: int) -> None:
    """ShapeError unless dimension ``i`` of x and ``j`` of y have equal sizes."""
    m, n = x._array.shape[i], y._array.shape[j]
    if m != n:
        raise ShapeError(
            f"{name}: sizes {m} of {a} {tuple(x.shape)} and {n} of {b} {tuple(y.shape)}, "
            "which are summed over, must be equal"
        )


def _same_dtype(name: str, x: Tensor, y: Tensor) -> None:
    if x._key.dtype is not y._key.dtype:
        raise DTypeError(
            f"{name}: expected both operands in the same dtype, got {x.dtype} and {y.dtype}; cast one with .to(dtype)"
        )


@public(guard=False)
@autocasting("low")
def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices, (n, k) and (k, m).

    >>> fb.mm(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), fb.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[ 7., 10.],
            [15., 22.]])
    """
    check_ranks("mm", input=(input, 2), mat2=(mat2, 2))
    check_inner("mm", "input", input, 1, "mat2", mat2, 0)
    _same_dtype("mm", input, mat2)
    found = matmul_p(input, mat2)
    return found if out is None else deliver("mm", found, out)


@public(guard=False)
@autocasting("low")
def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The products of two equally long batches of matrices, (b, n, k) and (b, k, m).

    >>> fb.bmm(fb.ones(2, 1, 3), fb.ones(2, 3, 1)).shape
    flambeau.Size([2, 1, 1])
    """
    check_ranks("bmm", input=(input, 3), mat2=(mat2, 3))
    if input._array.shape[0] != mat2._array.shape[0]:
        raise ShapeError(
            f"bmm: batches must be of equal size, got {input.shape[0]} in input {tuple(input.shape)} "
            f"and {mat2.shape[0]} in mat2 {tuple(mat2.shape)}"
        )
    check_inner("bmm", "input", input, 2, "mat2", mat2, 1)
    _same_dtype("bmm", input, mat2)
    found = matmul_p(input, mat2)
    return found if out is None else deliver("bmm", found, out)


@public(guard=False)
@autocasting("same|low")
def mv(input: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of a matrix (n, k) and a vector (k,).

    >>> fb.mv(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), fb.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    check_ranks("mv", input=(input, 2), vec=(vec, 1))
    check_inner("mv", "input", input, 1, "vec", vec, 0)
    _same_dtype("mv", input, vec)
    return deliver("mv", matmul(input, vec), out)


@public(guard=False)
@autocasting("same|widest")
def dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The sum of the products of the elements of two vectors.

    >>> fb.dot(fb.tensor([1.0, 2.0, 3.0]), fb.tensor([1.0, 2.0, 3.0]))
    tensor(14.)
    """
    check_ranks("dot", input=(input, 1), tensor=(tensor, 1))
    check_inner("dot", "input", input, 0, "tensor", tensor, 0)
    _same_dtype("dot", input, tensor)
    return deliver("dot", matmul(input, tensor), out)


@public()
@autocasting("same|widest")
def vdot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """:func:`dot` with the conjugate of ``input``.

    >>> fb.vdot(fb.tensor([1.0, 2.0, 3.0]), fb.tensor([1.0, 2.0, 3.0]))
    tensor(14.)
    """
    return deliver("vdot", dot(cj(input), other), out)


@public()
@autocasting("inside|widest")
def inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sums of products over the last dimensions of both; the other dimensions of each follow one another.

    >>> fb.inner(fb.tensor([1.0, 2.0, 3.0]), fb.tensor([1.0, 2.0, 3.0]))
    tensor(14.)
    """
    a, b = tuple(input._array.shape), tuple(other._array.shape)
    if not a or not b:
        return deliver("mul", input * other, out)
    if a[-1] != b[-1]:
        raise ShapeError(f"inner: the last sizes must be equal, got {a[-1]} of input {a} and {b[-1]} of other {b}")
    flat = matmul_p(reshape(input, (prod(a[:-1]), a[-1])), matrix_transpose(reshape(other, (prod(b[:-1]), b[-1]))))
    return deliver("inner", reshape(flat, (*a[:-1], *b[:-1])), out)


@public(aliases=("ger",))
def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Every element of one vector times every element of another, (n, m).

    >>> fb.ger(fb.tensor([1, 2]), fb.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    check_ranks("outer", input=(input, 1), vec2=(vec2, 1))
    return deliver("outer", unsqueeze(input, 1) * unsqueeze(vec2, 0), out)
