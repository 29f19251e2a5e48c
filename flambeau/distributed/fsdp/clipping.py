"""Norms of gradients of which each rank has a piece."""

from __future__ import annotations

import math
from typing import Any

import flambeau.distributed as dist
from flambeau.core.from_data import tensor
from flambeau.core.ops.joining import stack
from flambeau.core.tensor import Tensor
from flambeau.distributed.pieces import Piece, piece_of
from flambeau.nn.utils import clip


def total_norm(tensors: list[Tensor], norm_type: float) -> Tensor | None:
    """The norm of tensors as one vector, summed over the ranks that have the pieces; None where there is no piece.

    Every rank of a group must call it. Computed in float32 or wider.
    """
    pieces: dict[Any, tuple[Piece, list[Tensor]]] = {}
    whole: list[Tensor] = []
    for t in tensors:
        piece = piece_of(t)
        if piece is None or piece.parts == 1:
            whole.append(t)
        else:
            pieces.setdefault(piece.group, (piece, []))[1].append(t)
    if not pieces:
        return None
    parts = [_folded(whole, norm_type)] if whole else []
    for piece, some in pieces.values():
        part = _folded(some, norm_type)
        if norm_type == math.inf:
            part = _largest(part, piece.group)
        else:
            dist.all_reduce(part, group=piece.group)
        parts.append(part)
    total = stack([p.to(parts[0].device) for p in parts])
    found: Tensor = (
        total.max() if norm_type == math.inf else total.sum() if norm_type == 0 else total.sum() ** (1 / norm_type)
    )
    return found


def _largest(part: Tensor, group: Any) -> Tensor:
    """The largest of the ranks' numbers, nan where one is: what a maximum makes of nan differs between engines."""
    wrong = part.isnan()
    both = stack([part.masked_fill(wrong, 0.0), wrong.float()])
    dist.all_reduce(both, op=dist.ReduceOp.MAX, group=group)
    return both[0].masked_fill(both[1] > 0, math.nan)


def _folded(tensors: list[Tensor], norm_type: float) -> Tensor:
    """The sum of the powers of the norms, or the largest norm."""
    first = tensors[0].device
    some = [t.detach() for t in tensors if t.numel()]
    if not some:
        return tensor(0.0, device=first)
    norms = stack([t.norm(norm_type).float().to(first) for t in some])
    folded: Tensor = (
        norms.max() if norm_type == math.inf else norms.sum() if norm_type == 0 else (norms**norm_type).sum()
    )
    return folded


clip.OVER_RANKS.append(total_norm)
