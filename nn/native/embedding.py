"""Embeddings in torch's own namespace: the weight comes first."""

from __future__ import annotations

from flambeau.core import dtype as dt
from flambeau.core.creation import arange
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.linear import owners, renormalise

_MODES = ("sum", "mean", "max")


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """The rows of ``weight`` (rows, width) that ``indices`` says; row ``padding_idx`` gets no gradient.

    >>> fb.embedding(fb.eye(3), fb.tensor([2]))
    tensor([[0., 0., 1.]])
    """
    padding = None if padding_idx < 0 else padding_idx
    return F.embedding(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def embedding_renorm_(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """The weight ``input``, whose rows ``indices`` are shortened in place to the norm ``max_norm``.

    >>> fb.embedding_renorm_(fb.tensor([[3.0, 4.0], [3.0, 4.0]]), fb.tensor([0]), 1.0, 2.0)
    tensor([[0.6000, 0.8000],
            [3.0000, 4.0000]])
    """
    if input.ndim != 2:
        raise ShapeError(f"embedding_renorm_: input must be (rows, width), got shape {tuple(input.shape)}")
    renormalise(input, indices, max_norm, norm_type)
    return input


def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The sum (``mode`` 0), mean (1) or max (2) of the rows of each bag, which starts at its offset.

    Also the bag of each index, the size of each bag, and of a maximum (bags, width) the rows that it comes from, else 0
    for each bag; ``padding_idx`` does not count in them.

    >>> fb.embedding_bag(fb.eye(3), fb.tensor([0, 2]), fb.tensor([0]))[0]
    tensor([[1., 0., 1.]])
    """
    if not 0 <= mode < len(_MODES):
        raise ValueError(f"embedding_bag: mode must be 0 (sum), 1 (mean) or 2 (max), got {mode}")
    if indices.ndim != 1 or offsets.ndim != 1:
        raise ValueError(
            f"embedding_bag: indices and offsets must be 1-d, got {tuple(indices.shape)} and {tuple(offsets.shape)}"
        )
    out = F.embedding_bag(
        indices, weight, offsets, scale_grad_by_freq=scale_grad_by_freq, mode=_MODES[mode], sparse=sparse,
        per_sample_weights=per_sample_weights, include_last_offset=include_last_offset, padding_idx=padding_idx,
    )  # fmt: skip
    bags = out.shape[0]
    owner = owners(offsets[:-1] if include_last_offset else offsets, indices.shape[0])
    counted = owner if padding_idx is None else owner[indices != padding_idx % weight.shape[0]]
    sizes = counted.bincount(minlength=bags)
    chosen = _rows_of_maxima(weight, indices, owner, out) if mode == 2 else sizes.new_zeros(bags)
    return out, owner.to(indices.dtype), sizes.to(indices.dtype), chosen.to(indices.dtype)


def _rows_of_maxima(weight: Tensor, indices: Tensor, owner: Tensor, out: Tensor) -> Tensor:
    """The first row of each bag and column that has its maximum; 0 for empty bags."""
    count = indices.shape[0]
    rows = weight.detach()[indices]
    places = arange(count, device=indices.device).unsqueeze(-1)
    places = where(rows == out.detach()[owner], places, count)
    index = owner.unsqueeze(-1).expand(-1, rows.shape[1])
    first = index.new_full(tuple(out.shape), count).scatter_reduce(0, index, places, "amin")
    return where(first < count, indices.to(dt.int64)[first.clamp(max=max(count - 1, 0))], 0) if count else first * 0
