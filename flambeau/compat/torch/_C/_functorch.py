"""Questions about a tensor under a transform."""

from __future__ import annotations

from flambeau.core.tensor import Tensor
from flambeau.core.transforms.batching import Batched

__all__ = ["is_batchedtensor", "is_gradtrackingtensor", "maybe_get_bdim"]


def is_batchedtensor(tensor: Tensor) -> bool:
    """Whether the tensor is one sample's under vmap."""
    return isinstance(tensor._array, Batched)


def is_gradtrackingtensor(tensor: Tensor) -> bool:
    """Whether the tensor belongs to a transform that takes gradients."""
    return tensor._key.level is not None and not is_batchedtensor(tensor)


def maybe_get_bdim(tensor: Tensor) -> int:
    """The batch's axis, which is 0 in flambeau; -1 for a tensor that is not one of a batch."""
    return 0 if is_batchedtensor(tensor) else -1
