"""Systems of equations and inverses: the records, on which decompositions and their gradients stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flambeau.backends import layout
from flambeau.backends.layout import Shape
from flambeau.core import dtype as dt
from flambeau.core.declare import op
from flambeau.core.errors import ShapeError
from flambeau.core.ops.matmul import matmul_p
from flambeau.core.ops.shape import adjoint
from flambeau.core.ops.triangle import tril_p, triu_p
from flambeau.core.record import DTypeRule, alike
from flambeau.core.tensor import Tensor

_ACCEPTED: Final = (dt.float32, dt.float64, *dt.COMPLEXES)
matrices: DTypeRule = DTypeRule("matrices", accepts=_ACCEPTED)


def square(name: str, result: Callable[[Shape], object] = lambda x: x) -> Callable[..., object]:
    """The shape rule of an op on square matrices."""

    def infer(x: Shape, **params: object) -> object:
        if len(x) < 2 or x[-1] != x[-2]:
            raise ShapeError(f"{name}: input must be square matrices in the last two dimensions, got shape {tuple(x)}")
        return result(tuple(x))

    return infer


def system(name: str) -> Callable[..., Shape]:
    """The shape rule of an op that solves systems of equations, by matrices for right-hand sides."""

    def infer(a: Shape, b: Shape, **params: object) -> Shape:
        square(name)(a)
        if len(b) < 2 or b[-2] != a[-1]:
            raise ShapeError(f"{name}: B of shape {tuple(b)} must have as many rows as A of shape {tuple(a)}")
        try:
            batch = layout.broadcast_shapes(tuple(a[:-2]), tuple(b[:-2]))
        except ValueError as error:
            raise ShapeError(f"{name} of A {tuple(a)} and B {tuple(b)}: of the batches, {error}") from None
        return (*batch, *b[-2:])

    return infer


# -- the records -------------------------------------------------------------------------------------
def _solve_vjp(g: Tensor, needs: Sequence[bool], a: Tensor, out: Tensor) -> tuple[Tensor | None, Tensor]:
    gb = solve_p(adjoint(a), g)
    return (-matmul_p(gb, adjoint(out)) if needs[0] else None), gb


solve_p = op(
    "solve(a: Tensor, b: Tensor) -> Tensor",
    autocast="float32|same",
    infer=system("solve"),
    dtype=matrices.but(check=alike("A and B")),
    batch="aligned",
    check=True,
    vjp=_solve_vjp,
    public=False,
)


def _triangular_vjp(
    g: Tensor, needs: Sequence[bool], a: Tensor, out: Tensor, upper: bool, unitriangular: bool
) -> tuple[Tensor | None, Tensor]:
    gb = solve_triangular_p(adjoint(a), g, upper=not upper, unitriangular=unitriangular)
    if not needs[0]:
        return None, gb
    return (triu_p if upper else tril_p)(-matmul_p(gb, adjoint(out)), (1 if upper else -1) if unitriangular else 0), gb


solve_triangular_p = op(
    "solve_triangular(a: Tensor, b: Tensor, *, upper: bool, unitriangular: bool = False) -> Tensor",
    infer=system("solve_triangular"),
    dtype=matrices,
    batch="aligned",
    check=True,
    vjp=_triangular_vjp,
    public=False,
)


inv_p = op(
    "inv(x: Tensor) -> Tensor",
    autocast="float32|same",
    infer=square("inv"),
    dtype=matrices,
    batch="same",
    public=["inverse"],
    vjp=dict(x=lambda g, out: -matmul_p(matmul_p(adjoint(out), g), adjoint(out))),
    doc="The inverse of each matrix; LinAlgError where one is singular.",
    example="fb.linalg.inv(fb.tensor([[2.0]])) -> tensor([[0.5000]])",
)
