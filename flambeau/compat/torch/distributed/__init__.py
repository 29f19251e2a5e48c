"""torch.distributed, whose functions are those of flambeau.distributed: here are the names that torch alone has."""

from __future__ import annotations

from typing import TypeAlias

from flambeau.compat.unchanged import unchanged
from flambeau.distributed import (
    ReduceOp,
    all_gather_into_tensor,
    coalescing_manager,
    premul_sum,
    reduce_scatter_tensor,
)

__all__ = ["GroupName", "all_gather_single", "record_comm", "reduce_op", "reduce_scatter_single"]

GroupName: TypeAlias = str
#: The old name of the ops, and others of functions.
reduce_op = ReduceOp
all_gather_single = _all_gather_base = all_gather_into_tensor
reduce_scatter_single = _reduce_scatter_base = reduce_scatter_tensor
record_comm = unchanged
_coalescing_manager = coalescing_manager
_make_nccl_premul_sum = premul_sum
