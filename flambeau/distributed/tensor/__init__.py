"""Tensors and layers divided among ranks: tensor parallelism, with plain tensors on every rank."""

from __future__ import annotations

from flambeau.distributed.tensor.layers import (
    ColumnParallelEmbedding,
    ColumnParallelLinear,
    RowParallelLinear,
    VocabularyParallelEmbedding,
)
from flambeau.distributed.tensor.placements import Partial, Placement, Replicate, Shard

__all__ = [
    "ColumnParallelEmbedding", "ColumnParallelLinear", "Partial", "Placement", "Replicate", "RowParallelLinear",
    "Shard", "VocabularyParallelEmbedding",
]  # fmt: skip
