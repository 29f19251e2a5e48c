"""The library of collectives of the driver's maker, as in a build without it."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.accelerator.absent import absent
from flambeau.core.tensor import Tensor

__all__ = ["all_gather", "all_reduce", "broadcast", "is_available", "reduce", "reduce_scatter", "unique_id", "version"]

_WHY = "the library is not used here"


def is_available(tensors: Sequence[Tensor]) -> bool:
    """Whether it could work on these tensors; it is not there.

    >>> fb.cuda.nccl.is_available([])
    False
    """
    return False


version = absent("flambeau.cuda.nccl.version", _WHY)
unique_id = absent("flambeau.cuda.nccl.unique_id", _WHY)
all_reduce = absent("flambeau.cuda.nccl.all_reduce", _WHY)
reduce = absent("flambeau.cuda.nccl.reduce", _WHY)
broadcast = absent("flambeau.cuda.nccl.broadcast", _WHY)
all_gather = absent("flambeau.cuda.nccl.all_gather", _WHY)
reduce_scatter = absent("flambeau.cuda.nccl.reduce_scatter", _WHY)
