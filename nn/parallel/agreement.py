"""What all processes of a group have in common: the same values, and the same parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from flambeau.core.dtype import int64
from flambeau.core.from_data import tensor
from flambeau.core.ops.joining import cat
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.parallel.buckets import MIB
from flambeau.nn.parallel.processes import Collectives, Group

#: Bytes that are sent together at most.
TOGETHER: Final = 250 * MIB


def share(tensors: Iterable[Tensor], talk: Collectives, group: Group, source: int) -> None:
    """Give tensors the values that they have in process ``source`` of the group, many in one message."""
    if talk.get_world_size(group) == 1:
        return
    with no_grad():
        for together in _together(tensors):
            if len(together) == 1 and together[0].is_contiguous():
                talk.broadcast(together[0].detach(), group=group, group_src=source)
                continue
            flat = cat([t.detach().reshape(-1) for t in together])
            talk.broadcast(flat, group=group, group_src=source)
            if talk.get_rank(group) != source:
                parts = flat.split([t.numel() for t in together])
                for t, part in zip(together, parts, strict=True):
                    t.detach().copy_(part.view(t.shape))


def _together(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Tensors of one device and dtype each, in lists that are not too large."""
    found: list[list[Tensor]] = []
    opened: dict[tuple[Any, Any], tuple[int, int]] = {}
    for t in tensors:
        kind, size = (t.device, t.dtype), t.numel() * t.element_size()
        place, have = opened.get(kind, (-1, 0))
        if place < 0 or have + size > TOGETHER:
            place, have = len(found), 0
            found.append([])
        found[place].append(t)
        opened[kind] = (place, have + size)
    return found


def _form(named: Sequence[tuple[str, Tensor]]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(name, tuple(p.shape), str(p.dtype)) for name, p in named]


def require_same(named: Sequence[tuple[str, Tensor]], talk: Collectives, group: Group) -> None:
    """RuntimeError where the parameters of some process have other names, shapes or dtypes than those of the first."""
    size = talk.get_world_size(group)
    if size == 1:
        return
    mine = _form(named)
    digest = int.from_bytes(hashlib.blake2b(repr(mine).encode(), digest_size=7).digest(), "big")
    largest = tensor([digest, -digest], dtype=int64, device=named[0][1].device)
    talk.all_reduce(largest, talk.ReduceOp.MAX, group=group)
    high, low = largest.tolist()
    if high == -low:
        return
    forms: list[Any] = [None] * size
    talk.all_gather_object(forms, mine, group=group)
    for rank, form in enumerate(forms):
        if form != forms[0]:
            raise RuntimeError(
                f"DistributedDataParallel: process {rank} has other parameters than process 0: "
                + _differing(form, forms[0])
            )


def _differing(form: Sequence[Any], first: Sequence[Any]) -> str:
    if len(form) != len(first):
        return f"{len(form)} of them and not {len(first)}"
    mine, other = next((a, b) for a, b in zip(form, first, strict=True) if a != b)
    has, had = (f"{name!r} of shape {shape} and {dtype}" for name, shape, dtype in (mine, other))
    return f"{has}, where process 0 has {had}"
