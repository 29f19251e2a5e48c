"""Communication between processes, under the names of torch.distributed."""

from flambeau.distributed.collectives import (
    all_gather_into_tensor,
    all_reduce,
    barrier,
    broadcast,
    irecv,
    isend,
    recv,
    reduce_scatter_tensor,
    send,
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
    destroy_process_group,
    get_node_local_rank,
    get_rank,
    get_world_size,
    group,
    init_process_group,
    is_initialized,
    new_group,
)
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.reductions import ReduceOp, supports_complex
from flambeau.distributed.work import Work
