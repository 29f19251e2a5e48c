"""What fully_shard is told besides the mesh: precisions, and where the shards lie."""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.core.dtype import DType


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """In which dtypes a module computes while its shards keep theirs.

    Args:
        param_dtype: what parameters are gathered and computed with in; their own dtype if None.
        reduce_dtype: what gradients are summed over the ranks in; ``param_dtype`` if None.
        output_dtype: what floating outputs of the module are cast to.
        cast_forward_inputs: cast floating inputs to ``param_dtype``.

    >>> MixedPrecisionPolicy(param_dtype=fb.bfloat16).reduce_dtype is None
    True
    """

    param_dtype: DType | None = None
    reduce_dtype: DType | None = None
    output_dtype: DType | None = None
    cast_forward_inputs: bool = True


@dataclass(frozen=True)
class OffloadPolicy:
    """Shards lie where the module computes."""


@dataclass(frozen=True)
class CPUOffloadPolicy(OffloadPolicy):
    """Shards, their gradients and so the optimizer's state lie in the host's memory.

    ``pin_memory`` puts shards in page-locked memory, from which a device copies faster, where the device has such.
    """

    pin_memory: bool = True
