"""Communication between processes, under the names of torch.distributed.

Each process of a job calls :func:`init_process_group` and has a rank there; collectives are called by all ranks of a
group, in one order. MPI carries what is in host memory (mpi4py, the extra ``distributed``), and a device's own
collectives what is there. Without a launcher a process is a job of its own:

>>> fb.distributed.init_process_group("mpi")
>>> x = fb.ones(2) * (fb.distributed.get_rank() + 1)
>>> fb.distributed.all_reduce(x)
>>> x, fb.distributed.get_world_size()
(tensor([1., 1.]), 1)
>>> fb.distributed.destroy_process_group()
"""

from __future__ import annotations

import sys as _sys
from importlib.util import find_spec as _find_spec

from flambeau.distributed import nn
from flambeau.distributed.checking import DebugLevel, get_debug_level, set_debug_level, set_debug_level_from_env
from flambeau.distributed.coalescing import all_gather_coalesced, all_reduce_coalesced, coalescing_manager
from flambeau.distributed.collectives import (
    all_gather,
    all_gather_into_tensor,
    all_reduce,
    all_to_all,
    all_to_all_single,
    barrier,
    broadcast,
    gather,
    reduce,
    reduce_scatter,
    reduce_scatter_tensor,
    scatter,
)
from flambeau.distributed.device_mesh import DeviceMesh, init_device_mesh
from flambeau.distributed.engines import (
    Backend,
    BackendConfig,
    get_default_backend_for_device,
    is_backend_available,
    is_gloo_available,
    is_mpi_available,
    is_nccl_available,
    is_ucc_available,
    is_xccl_available,
)
from flambeau.distributed.errors import (
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    QueueEmptyError,
)
from flambeau.distributed.groups import (
    GroupMember,
    default_pg_timeout,
    destroy_process_group,
    get_backend,
    get_backend_config,
    get_global_rank,
    get_group_rank,
    get_node_local_rank,
    get_pg_count,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    group,
    init_process_group,
    is_initialized,
    is_torchelastic_launched,
    new_group,
    new_subgroups,
    new_subgroups_by_enumeration,
    shrink_group,
    split_group,
)
from flambeau.distributed.messages import P2POp, batch_isend_irecv, irecv, isend, monitored_barrier, recv, send
from flambeau.distributed.objects import (
    all_gather_object,
    broadcast_object_list,
    gather_object,
    recv_object_list,
    scatter_object_list,
    send_object_list,
)
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.reductions import ReduceOp, premul_sum, supports_complex
from flambeau.distributed.spawn import SpawnedRanks, spawn
from flambeau.distributed.stores import FileStore, HashStore, PrefixStore, Store, TCPStore
from flambeau.distributed.work import Work
from flambeau.nn.parallel import processes as _processes

__all__ = [
    "Backend", "BackendConfig", "DebugLevel", "DeviceMesh", "DistBackendError", "DistError", "DistNetworkError",
    "DistStoreError", "FileStore", "GroupMember", "HashStore", "P2POp", "PrefixStore", "ProcessGroup",
    "QueueEmptyError", "ReduceOp", "SpawnedRanks", "Store", "TCPStore", "Work", "all_gather", "all_gather_coalesced",
    "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_reduce_coalesced", "all_to_all",
    "all_to_all_single", "barrier", "batch_isend_irecv", "broadcast", "broadcast_object_list", "coalescing_manager",
    "default_pg_timeout", "destroy_process_group", "gather", "gather_object", "get_backend", "get_backend_config",
    "get_debug_level", "get_default_backend_for_device", "get_global_rank", "get_group_rank", "get_node_local_rank",
    "get_pg_count", "get_process_group_ranks", "get_rank", "get_world_size", "group", "init_device_mesh",
    "init_process_group", "irecv", "is_available", "is_backend_available", "is_gloo_available", "is_initialized",
    "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available", "is_xccl_available",
    "isend", "monitored_barrier", "new_group", "new_subgroups", "new_subgroups_by_enumeration", "nn", "premul_sum",
    "recv", "recv_object_list", "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "scatter_object_list",
    "send", "send_object_list", "set_debug_level", "set_debug_level_from_env", "shrink_group", "spawn", "split_group",
    "supports_complex",
]  # fmt: skip


def is_available() -> bool:
    """Whether processes can communicate here: whether mpi4py is installed."""
    return _find_spec("mpi4py") is not None


_processes.offer(_sys.modules[__name__])
