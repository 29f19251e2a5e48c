"""Where torch keeps the functions of torch.distributed."""

from flambeau.compat.torch.distributed import (
    Backend,
    GroupMember,
    ProcessGroup,
    ReduceOp,
    get_rank,
    get_world_size,
    group,
    is_available,
    is_initialized,
)  # fmt: skip

__all__ = [
    "Backend", "GroupMember", "ProcessGroup", "ReduceOp", "get_rank", "get_world_size", "group", "is_available",
    "is_initialized",
]  # fmt: skip
