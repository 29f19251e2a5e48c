"""A module over the devices of one process; over several processes it is a matter of flambeau.distributed."""

from __future__ import annotations

from flambeau.nn.parallel.data_parallel import DataParallel, data_parallel, gather, parallel_apply, replicate, scatter
from flambeau.nn.parallel.distributed import DistributedDataParallel

__all__ = [
    "DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate", "scatter",
]  # fmt: skip
