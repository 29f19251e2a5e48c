"""What attention of packages borrows from torch's own: checks of shapes, and masks as numbers to add."""

from __future__ import annotations

import math
import warnings
from typing import Any

from flambeau.core import creation
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor

__all__: list[str] = []


def _mha_shape_check(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None, num_heads: int
) -> bool:
    """Whether attention's query (L, N, E) has a batch, and not (L, E). AssertionError where the others do not fit."""
    dims = query.dim()
    assert dims in (2, 3), f"query should have 2 or 3 dimensions, got {dims}"
    assert key.dim() == dims == value.dim(), f"key and value should have {dims} dimensions, as query has"
    padding = None if key_padding_mask is None else key_padding_mask.dim()
    assert padding in (None, dims - 1), f"key_padding_mask should have {dims - 1} dimensions, got {padding}"
    if attn_mask is not None:
        assert attn_mask.dim() in (2, 3), f"attn_mask should have 2 or 3 dimensions, got {attn_mask.dim()}"
        wanted = (num_heads, query.shape[0], key.shape[0])
        assert dims == 3 or attn_mask.dim() == 2 or tuple(attn_mask.shape) == wanted, (
            f"attn_mask should have shape {wanted}, got {tuple(attn_mask.shape)}"
        )
    return dims == 3


def _none_or_dtype(input: Any) -> DType | None:  # Any: a tensor or None; anything else is an error
    """The dtype of a tensor, None of None."""
    if input is None:
        return None
    if isinstance(input, Tensor):
        return input.dtype
    raise RuntimeError(f"expected a tensor or None, got {type(input).__name__}")


def _canonical_mask(
    mask: Tensor | None, mask_name: str, other_type: DType | None, other_name: str, target_type: DType,
    check_other: bool = True,
) -> Tensor | None:  # fmt: skip
    """A mask as what is added to scores: a bool one as -inf where it is True. AssertionError for whole numbers."""
    if mask is None:
        return None
    flags = str(mask.dtype).endswith("bool")
    assert flags or mask.is_floating_point(), f"{mask_name} should be bool or float, got {mask.dtype}"
    if check_other and other_type is not None and mask.dtype != other_type:
        warnings.warn(f"{mask_name} and {other_name} should have one dtype", stacklevel=3)
    if not flags:
        return mask
    return creation.zeros(tuple(mask.shape), dtype=target_type, device=mask.device).masked_fill_(mask, -math.inf)
