"""Parameters of divided layers: plain ones of this rank's part, that know of what they are a piece."""

from __future__ import annotations

from flambeau.core.tensor import Tensor
from flambeau.distributed.fsdp import clipping as _clipping  # norms of pieces are those of the whole
from flambeau.distributed.pieces import Piece, Sharded, ShardedParameter, sharded
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.tensor.exchange import part
from flambeau.nn.parameter import Parameter

__all__ = ["DividedParameter", "divide"]

del _clipping


class DividedParameter(ShardedParameter):
    """A piece of a parameter, whose gradient is a piece too, however it came."""

    __slots__ = ()

    @property
    def grad(self) -> Tensor | None:
        """The gradient; None where there is none."""
        found: Tensor | None = Tensor.grad.__get__(self)
        return found if found is None or isinstance(found, Sharded) else sharded(found, self.piece)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        Tensor.grad.__set__(self, value)  # type: ignore[attr-defined]

    @grad.deleter
    def grad(self) -> None:
        Tensor.grad.__delete__(self)  # type: ignore[attr-defined]

    def _same_kind(self, t: Tensor) -> Tensor:
        made = Parameter(t, self.requires_grad)
        return _as_piece(made, self.piece)


def divide(p: Parameter, dim: int, group: ProcessGroup) -> None:
    """Keep this rank's part of a parameter, which stays the same object; once for a parameter of two layers.

    Raises:
        ValueError: another layer divides it along another dimension.
    """
    if isinstance(p, Sharded):
        if p.piece.dim != dim:
            raise ValueError(
                f"a parameter of shape {p.full_shape} is shared by layers that divide it along dimensions "
                f"{p.piece.dim} and {dim}"
            )
        return
    piece = Piece(tuple(p.shape), dim, group.size(), group.rank(), group)
    p.data = part(p.data, dim, group).clone()
    _as_piece(p, piece)


def _as_piece(p: Parameter, piece: Piece) -> DividedParameter:
    p.__class__ = DividedParameter
    assert isinstance(p, DividedParameter)
    p.piece = piece
    return p
