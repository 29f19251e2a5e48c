"""Messages between two ranks, under the names of torch.distributed. They wait for no collective."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from flambeau.core.tensor import Tensor
from flambeau.distributed.collectives import peer
from flambeau.distributed.errors import DistBackendError
from flambeau.distributed.groups import Group, member, world
from flambeau.distributed.mpi import ANY
from flambeau.distributed.plans import Plan, plan
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.process_group import tensor as _tensor
from flambeau.distributed.work import Timeout, Work, seconds

_ARRIVED: Final = 32001  # the tags of monitored_barrier
_LEAVE: Final = 32002


def isend(
    tensor: Tensor, dst: int | None = None, group: Group = None, tag: int = 0, group_dst: int | None = None
) -> Work | None:
    """Begin to send a tensor to rank ``dst``."""
    pg = member(group, "isend")
    return None if pg is None else pg.start(*_sending(pg, "isend", tensor, dst, tag, group_dst), async_op=True)


def send(
    tensor: Tensor, dst: int | None = None, group: Group = None, tag: int = 0, group_dst: int | None = None
) -> None:
    """Send a tensor to rank ``dst``; it may be written to when this returns."""
    pg = member(group, "send")
    if pg is not None:
        pg.start(*_sending(pg, "send", tensor, dst, tag, group_dst))


def irecv(
    tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0, group_src: int | None = None
) -> Work | None:
    """Begin to receive a tensor from rank ``src`` (None: from any, which :meth:`Work.source_rank` tells)."""
    pg = member(group, "irecv")
    if pg is None:
        return None
    came: list[int] = []
    work = pg.start(*_receiving(pg, "irecv", tensor, src, tag, group_src, came), async_op=True)
    if work is not None:
        work.came = pg.ranks, came
    return work


def recv(
    tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0, group_src: int | None = None
) -> int:
    """Receive a tensor from rank ``src`` (None: from any); the rank that sent it, -1 outside of the group."""
    pg = member(group, "recv")
    if pg is None:
        return -1
    came: list[int] = []
    pg.start(*_receiving(pg, "recv", tensor, src, tag, group_src, came))
    return pg.ranks[came[0]]


Made: TypeAlias = tuple[Plan, list[Tensor]]


def _sending(pg: ProcessGroup, name: str, tensor: Tensor, dst: int | None, tag: int, group_dst: int | None) -> Made:
    x, to = _tensor(name, "tensor", tensor), peer(pg, name, "dst", dst, group_dst)
    _other(pg, name, "dst", to)
    detail = f"dst={pg.ranks[to]}, tag={tag}"
    return plan(name, "send", (to, _tag(name, tag)), reads=[x], detail=detail, message=True)


def _receiving(
    pg: ProcessGroup, name: str, tensor: Tensor, src: int | None, tag: int, group_src: int | None, came: list[int]
) -> Made:
    x = _tensor(name, "tensor", tensor)
    source = ANY if src is None and group_src is None else peer(pg, name, "src", src, group_src)
    _other(pg, name, "src", source)
    detail = f"src={'any' if source == ANY else pg.ranks[source]}, tag={tag}"
    return plan(name, "recv", (source, _tag(name, tag), came), writes=[x], detail=detail, message=True)


def _other(pg: ProcessGroup, name: str, argument: str, rank: int) -> None:
    if rank == pg.rank():
        raise ValueError(f"{name}: Invalid {argument}: it should not be the rank of the current process, {rank}")


def _tag(name: str, tag: int) -> int:
    if not 0 <= tag < _ARRIVED:
        raise ValueError(f"{name}: tag must be in [0, {_ARRIVED}), got {tag}")
    return tag


class P2POp:
    """A message for :func:`batch_isend_irecv`: ``op`` is :func:`isend` or :func:`irecv`."""

    def __init__(
        self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: Group = None, tag: int = 0,
        group_peer: int | None = None,
    ):  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                f"``torch.distributed.irecv``, got {op!r}"
            )
        _tensor("P2POp", "tensor", tensor)
        if (peer is None) == (group_peer is None):
            raise ValueError("P2POp: give peer or group_peer")
        self.op, self.tensor, self.group, self.tag = op, tensor, group, tag
        self.peer, self.group_peer = peer, group_peer

    def __repr__(self) -> str:
        to = self.peer if self.group_peer is None else f"{self.group_peer} of the group"
        return f"P2POp({self.op.__name__}, {list(self.tensor.shape)}, peer={to}, tag={self.tag})"


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work]:
    """Begin several messages; a work for each. None waits for another, so that any order will do."""
    if not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to be of type ``torch.distributed.P2POp``.")
    if len({id(p.group or world()) for p in p2p_op_list}) > 1:
        raise ValueError("All ops need to use the same group.")
    begun = []
    for p in p2p_op_list:
        name = "group_dst" if p.op is isend else "group_src"
        begun.append(p.op(p.tensor, p.peer, p.group, p.tag, **{name: p.group_peer}))
    return [work for work in begun if work is not None]


def monitored_barrier(group: Group = None, timeout: Timeout = None, wait_all_ranks: bool = False) -> None:
    """A barrier that tells which ranks did not come in time: rank 0 of the group raises RuntimeError that names them.

    With ``wait_all_ranks`` it names all of them, else the first.
    """
    pg = member(group, "monitored_barrier")
    if pg is None:
        return
    limit = seconds(timeout, pg.timeout)
    if pg.rank() == 0:
        _watch(pg, limit, wait_all_ranks)
        return
    deadline = time.monotonic() + limit
    pg.host.note(0, _ARRIVED)
    if not pg.host.noted([0], _LEAVE, deadline):
        raise DistBackendError(
            f"monitored_barrier: rank {pg.ranks[pg.rank()]} heard nothing from rank {pg.ranks[0]} within {limit:g} s"
        )


def _watch(pg: ProcessGroup, limit: float, wait_all_ranks: bool) -> None:
    others, deadline = list(range(1, pg.size())), time.monotonic() + limit
    came = pg.host.noted(others, _ARRIVED, deadline)
    missing = [pg.ranks[r] for r in others if r not in came]
    if missing:
        named = missing if wait_all_ranks else missing[:1]
        raise DistBackendError(
            f"monitored_barrier: Rank 0 timed out after {limit:g} s: rank{'s' if len(named) > 1 else ''} "
            f"{', '.join(map(str, named))} failed to pass monitoredBarrier"
        )
    for rank in others:
        pg.host.note(rank, _LEAVE)
