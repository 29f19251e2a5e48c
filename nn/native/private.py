"""Functions that torch keeps under private names of its own namespace, which its op database and some packages call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core.dtype import DType, Number
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.joining import cat
from flambeau.core.ops.shape import axis_of
from flambeau.core.out import deliver
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.vision import resample
from flambeau.nn.native.norm import native_batch_norm


def _softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: DType) -> Tensor:
    """The gradient of softmax's input, from that of its result and the result.

    >>> fb._softmax_backward_data(fb.tensor([1.0, 0.0]), fb.tensor([0.5, 0.5]), 0, fb.float32)
    tensor([ 0.2500, -0.2500])
    """
    return ((grad_output - (grad_output * output).sum(dim, keepdim=True)) * output).to(input_dtype)


def _upsample_bilinear2d_aa(
    input: Tensor, output_size: Sequence[int] | None, align_corners: bool,
    scales_h: float | Sequence[float] | None = None, scales_w: float | None = None, *,
    scale_factors: Sequence[float] | None = None,
) -> Tensor:  # fmt: skip
    """Images (N, C, H, W) resampled with antialias; factors beside ``output_size`` are those of the positions alone.

    >>> fb._upsample_bilinear2d_aa(fb.ones(1, 1, 4, 4), (2, 2), False).shape
    flambeau.Size([1, 1, 2, 2])
    """
    factors = scales_h if isinstance(scales_h, Sequence) else scale_factors
    if output_size is None or factors is not None:
        return F.interpolate(input, output_size, factors, "bilinear", align_corners=align_corners, antialias=True)
    rows = None if scales_h is None or isinstance(scales_h, Sequence) else scales_h
    for axis, size, factor in zip((2, 3), output_size, (rows, scales_w), strict=True):
        input = resample(input, axis, size, factor, "bilinear", align_corners, True)
    return input


def _native_batch_norm_legit(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any,
    out: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    # Any: (running_mean, running_var, training, momentum, eps), or (training, momentum, eps)
    """:func:`flambeau.native_batch_norm`, of which the running statistics may be left out.

    >>> fb._native_batch_norm_legit(fb.tensor([[1.0], [3.0]]), None, None, True, 0.1, 1e-5)[1]
    tensor([2.])
    """
    if len(rest) == 3:
        return native_batch_norm(input, weight, bias, None, None, *rest, out=out)
    return native_batch_norm(input, weight, bias, *rest, out=out)


def _batch_norm_with_update(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor, running_var: Tensor,
    momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """:func:`flambeau.native_batch_norm` in training, and an empty uint8 tensor: nothing is kept for the gradient.

    >>> len(fb._batch_norm_with_update(fb.tensor([[1.0], [3.0]]), None, None, fb.zeros(1), fb.ones(1), 0.1, 1e-5))
    4
    """
    made = native_batch_norm(input, weight, bias, running_mean, running_var, True, momentum, eps)
    return *made, input.new_empty((0,)).byte()


def _chunk_cat(
    tensors: Sequence[Tensor], dim: int, num_chunks: int, *, out: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Tensors, filled up with 0 along ``dim`` to ``num_chunks`` equal parts, as one of (lead, num_chunks, the rest).

    >>> fb._chunk_cat([fb.tensor([1, 2, 3]), fb.tensor([4])], 0, 2)
    tensor([[1, 2, 4],
            [3, 0, 0]])
    """
    if num_chunks < 1:
        raise ArgumentError(f"_chunk_cat: num_chunks must be at least 1, got {num_chunks}")
    if any(not t.numel() or dim >= t.ndim for t in tensors):
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise ShapeError(f"_chunk_cat: tensors must have elements and a dimension {dim}, got shapes {shapes}")
    parts = []
    for t in tensors:
        axis = axis_of("_chunk_cat", t, dim)
        space = -t.shape[axis] % num_chunks
        filler = t.new_zeros([space if i == axis else s for i, s in enumerate(t.shape)])
        parts.append(cat([t, filler], axis).reshape(*t.shape[:axis], num_chunks, -1))
    return deliver("_chunk_cat", cat(parts, -1), out)


def _masked_places(mask: Tensor, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The index where the mask holds, the first place elsewhere."""
    return [None if i is None else where(mask, i, 0) for i in indices]


def _unsafe_masked_index(input: Tensor, mask: Tensor, indices: Sequence[Tensor | None], fill: Number) -> Tensor:
    """``input[indices]`` where ``mask`` holds, ``fill`` elsewhere, whatever the index is there.

    >>> fb._unsafe_masked_index(fb.tensor([5, 6]), fb.tensor([True, False]), [fb.tensor([1, 9])], 0)
    tensor([6, 0])
    """
    places = tuple([slice(None) if i is None else i for i in _masked_places(mask, indices)])
    return where(mask, input[places], fill)


def _unsafe_masked_index_put_accumulate(
    input: Tensor, mask: Tensor, indices: Sequence[Tensor | None], values: Tensor
) -> Tensor:
    """A copy of ``input`` with ``values`` added at ``indices`` where ``mask`` holds.

    >>> places = [fb.tensor([1, 9])]
    >>> fb._unsafe_masked_index_put_accumulate(fb.tensor([5, 6]), fb.tensor([True, False]), places, fb.tensor([1, 1]))
    tensor([5, 7])
    """
    return input.index_put(_masked_places(mask, indices), where(mask, values, values.new_zeros(())), accumulate=True)
