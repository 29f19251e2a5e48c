"""Linear layers and embeddings of which each rank holds a part.

A layer is made whole, from the values of one rank, and then keeps this rank's part. Its state dict has the full shapes:
reading and loading it is a call of all ranks.
"""

from __future__ import annotations

from typing import Any, Final, Self

from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed.collectives import broadcast
from flambeau.distributed.groups import Group, member
from flambeau.distributed.pieces import Sharded
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.tensor.exchange import enter, gather, part, part_size, redistribute
from flambeau.distributed.tensor.parameters import divide
from flambeau.distributed.tensor.placements import Partial, Placement, Replicate, Shard
from flambeau.nn import functional as F
from flambeau.nn.linear import Linear
from flambeau.nn.module import Module
from flambeau.nn.sparse import Embedding

LAST: Final = Shard(-1)


class _Kept:
    """A group, which copies of a layer have in common."""

    def __init__(self, group: ProcessGroup):
        self.group = group

    def __deepcopy__(self, memo: dict[int, Any]) -> _Kept:
        return self


def joined(group: Group, what: str) -> ProcessGroup:
    """A group that this rank is in (None: all ranks); ValueError where it is not."""
    found = member(group, what)
    if found is None:
        raise ValueError(f"{what}: this rank is not in the group over which the layer is to be divided")
    return found


class Divided(Module):
    """A module whose parameters named in ``divided`` are parts, along the dimensions that stand there."""

    divided: dict[str, int]
    input_layout: Placement
    output_layout: Placement
    _kept: _Kept

    @property
    def group(self) -> ProcessGroup:
        """The ranks that the layer is divided among."""
        return self._kept.group

    def divide(
        self, group: ProcessGroup, dims: dict[str, int], input_layout: Placement, output_layout: Placement,
        source: int | None = 0,
    ) -> Self:  # fmt: skip
        """Keep this rank's part of each parameter; those of rank ``source`` of the group count (None: each its own).

        Raises:
            ValueError: a parameter does not divide evenly; nothing has changed then.
        """
        held = dict(self.named_parameters(recurse=False))
        for name, dim in dims.items():
            if name in held and not isinstance(held[name], Sharded):
                part_size(held[name].shape[dim], group.size(), f"{type(self).__name__}: dimension {dim} of {name}")
        self.divided = {name: dim for name, dim in dims.items() if name in held}
        self._kept, self.input_layout, self.output_layout = _Kept(group), input_layout, output_layout
        with no_grad():
            for name, p in held.items():
                if source is not None and not isinstance(p, Sharded):
                    broadcast(p.data, group=group, group_src=source)
                if name in dims:
                    divide(p, dims[name], group)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, dim in self.divided.items():
            destination[prefix + name] = gather(getattr(self, name).detach(), dim, self.group)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, dim in self.divided.items():
            value, own = state_dict.get(prefix + name), getattr(self, name)
            whole = list(own.shape)
            whole[dim] *= self.group.size()
            if isinstance(value, Tensor) and list(value.shape) == whole:
                state_dict[prefix + name] = part(value, dim, self.group).clone()
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank {self.group.rank()} of {self.group.size()}"


class ColumnParallelLinear(Divided, Linear):
    """input weightᵀ + bias, where each rank computes some of the output features.

    The input is what all ranks have (..., in_features), or with ``input_layout=Shard(1)`` parts along dimension 1.
    The output is this rank's (..., out_features / ranks), or with ``gather_output`` all of it.

    Raises:
        ValueError: out_features do not divide evenly among the ranks of ``group`` (None: all ranks).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, group: Group = None, gather_output: bool = False,
        input_layout: Placement | None = None, device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        found = joined(group, "ColumnParallelLinear")
        part_size(out_features, found.size(), "ColumnParallelLinear: out_features")
        super().__init__(in_features, out_features, bias, device, dtype)
        self.divide(
            found, {"weight": 0, "bias": 0}, input_layout or Replicate(), Replicate() if gather_output else LAST
        )

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features / ranks), or as ``output_layout`` says."""
        y = F.linear(enter(input, self.group, self.input_layout), self.weight, self.bias)
        return redistribute(y, self.group, LAST, self.output_layout)


class RowParallelLinear(Divided, Linear):
    """input weightᵀ + bias, where each rank has some of the input features, and the products are summed.

    The input is this rank's (..., in_features / ranks), as a layer by columns gives it, or all of it where
    ``input_is_parallel`` is False. The output is (..., out_features) on all ranks, or with ``output_layout=Shard(1)``
    each rank's part of it along dimension 1. The bias is added once, after the sum.

    Raises:
        ValueError: in_features do not divide evenly among the ranks of ``group`` (None: all ranks).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, group: Group = None,
        input_is_parallel: bool = True, output_layout: Placement | None = None, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        found = joined(group, "RowParallelLinear")
        part_size(in_features, found.size(), "RowParallelLinear: in_features")
        super().__init__(in_features, out_features, bias, device, dtype)
        layout = LAST if input_is_parallel else Replicate()
        self.divide(found, {"weight": 1}, layout, output_layout or Replicate())

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features / ranks) to (..., out_features)."""
        x = redistribute(input, self.group, self.input_layout, LAST)
        y = redistribute(F.linear(x, self.weight), self.group, Partial(), self.output_layout)
        if self.bias is None:
            return y
        return y + (self.bias if self.output_layout.is_replicate() else enter(self.bias, self.group))


class ColumnParallelEmbedding(Divided, Embedding):
    """A table of vectors of which each rank has some of the columns: integers (*) to (*, embedding_dim / ranks).

    With ``gather_output`` to (*, embedding_dim).

    Raises:
        ValueError: embedding_dim does not divide evenly among the ranks of ``group`` (None: all ranks).
        NotImplementedError: ``max_norm``, which needs whole vectors.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, group: Group = None,
        gather_output: bool = False, device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        found = joined(group, "ColumnParallelEmbedding")
        part_size(embedding_dim, found.size(), "ColumnParallelEmbedding: embedding_dim")
        super().__init__(num_embeddings, embedding_dim, padding_idx, device=device, dtype=dtype)
        self.divide(found, {"weight": 1}, Replicate(), Replicate() if gather_output else LAST)

    def divide(self, group: ProcessGroup, *args: Any, **kwargs: Any) -> Self:
        """As of any divided module."""
        _refuse(self, "max_norm")
        return super().divide(group, *args, **kwargs)

    def forward(self, input: Tensor) -> Tensor:
        """Integers (*) to (*, embedding_dim / ranks), or as ``output_layout`` says."""
        return redistribute(super().forward(input), self.group, LAST, self.output_layout)


class VocabularyParallelEmbedding(Divided, Embedding):
    """A table of vectors of which each rank has some of the rows: integers (*) to (*, embedding_dim) on all ranks.

    A rank gives zeros for what others have, and all are summed. With ``output_layout=Shard(1)`` each rank gets its part
    of the sum along dimension 1.

    Raises:
        ValueError: num_embeddings do not divide evenly among the ranks of ``group`` (None: all ranks).
        NotImplementedError: ``max_norm`` or ``scale_grad_by_freq``, which would count what others have.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, group: Group = None,
        output_layout: Placement | None = None, device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        found = joined(group, "VocabularyParallelEmbedding")
        part_size(num_embeddings, found.size(), "VocabularyParallelEmbedding: num_embeddings")
        super().__init__(num_embeddings, embedding_dim, padding_idx, device=device, dtype=dtype)
        self.divide(found, {"weight": 0}, Replicate(), output_layout or Replicate())

    def divide(self, group: ProcessGroup, *args: Any, **kwargs: Any) -> Self:
        """As of any divided module."""
        _refuse(self, "max_norm", "scale_grad_by_freq")
        return super().divide(group, *args, **kwargs)

    def forward(self, input: Tensor) -> Tensor:
        """Integers (*) to (*, embedding_dim)."""
        rows = self.weight.shape[0]
        own = input - self.group.rank() * rows
        elsewhere = (own < 0) | (own >= rows)
        padding = None if self.padding_idx is None else self.padding_idx - self.group.rank() * rows
        if padding is not None and not 0 <= padding < rows:
            padding = None
        vectors = F.embedding(own.masked_fill(elsewhere, 0), self.weight, padding, sparse=self.sparse)
        found = vectors.masked_fill(elsewhere.unsqueeze(-1), 0)
        return redistribute(found, self.group, Partial(), self.output_layout)


def _refuse(module: Embedding, *options: str) -> None:
    for name in options:
        if getattr(module, name):
            raise NotImplementedError(f"{type(module).__name__}: {name} does not go with a table that is divided")
