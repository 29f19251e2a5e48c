"""torch.distributed as in a build without it: ``is_available()`` is False, and what needs it raises RuntimeError."""

from __future__ import annotations

import enum

from flambeau.compat.unchanged import lacking, no

__all__ = [
    "Backend", "GroupMember", "ProcessGroup", "ReduceOp", "all_gather", "all_gather_into_tensor", "all_gather_object",
    "all_reduce", "all_to_all", "all_to_all_single", "barrier", "broadcast", "broadcast_object_list",
    "destroy_process_group", "gather", "gather_object", "get_backend", "get_rank", "get_world_size", "group",
    "init_process_group", "irecv", "is_available", "is_gloo_available", "is_initialized", "is_mpi_available",
    "is_nccl_available", "is_torchelastic_launched", "is_ucc_available", "is_xccl_available", "isend",
    "monitored_barrier", "new_group", "recv", "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter",
    "scatter_object_list", "send",
]  # fmt: skip

_WHY = "flambeau has no communication between processes yet; torch.distributed.is_available() is False"

is_available = is_initialized = is_torchelastic_launched = no
is_nccl_available = is_gloo_available = is_mpi_available = is_ucc_available = is_xccl_available = no


class ReduceOp(enum.Enum):
    """How values of several processes become one."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


class Backend(str):
    """The name of a way to communicate."""

    UNDEFINED = "undefined"
    GLOO = "gloo"
    NCCL = "nccl"
    UCC = "ucc"
    MPI = "mpi"
    XCCL = "xccl"


class ProcessGroup:
    """Processes that communicate; none can be made."""

    def __init__(self, *args: object, **options: object):
        raise RuntimeError(f"torch.distributed.ProcessGroup: {_WHY}")


class GroupMember:
    """The group of all processes: none."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER = None


group = GroupMember

all_gather = lacking("distributed.all_gather", _WHY)
all_gather_into_tensor = lacking("distributed.all_gather_into_tensor", _WHY)
all_gather_object = lacking("distributed.all_gather_object", _WHY)
all_reduce = lacking("distributed.all_reduce", _WHY)
all_to_all = lacking("distributed.all_to_all", _WHY)
all_to_all_single = lacking("distributed.all_to_all_single", _WHY)
barrier = lacking("distributed.barrier", _WHY)
broadcast = lacking("distributed.broadcast", _WHY)
broadcast_object_list = lacking("distributed.broadcast_object_list", _WHY)
destroy_process_group = lacking("distributed.destroy_process_group", _WHY)
gather = lacking("distributed.gather", _WHY)
gather_object = lacking("distributed.gather_object", _WHY)
get_backend = lacking("distributed.get_backend", _WHY)
get_rank = lacking("distributed.get_rank", _WHY)
get_world_size = lacking("distributed.get_world_size", _WHY)
init_process_group = lacking("distributed.init_process_group", _WHY)
irecv = lacking("distributed.irecv", _WHY)
isend = lacking("distributed.isend", _WHY)
monitored_barrier = lacking("distributed.monitored_barrier", _WHY)
new_group = lacking("distributed.new_group", _WHY)
recv = lacking("distributed.recv", _WHY)
reduce = lacking("distributed.reduce", _WHY)
reduce_scatter = lacking("distributed.reduce_scatter", _WHY)
reduce_scatter_tensor = lacking("distributed.reduce_scatter_tensor", _WHY)
scatter = lacking("distributed.scatter", _WHY)
scatter_object_list = lacking("distributed.scatter_object_list", _WHY)
send = lacking("distributed.send", _WHY)
