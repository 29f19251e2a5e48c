"""Collectives of Python objects, which travel pickled: the ranks of a job trust each other, as processes of
:mod:`multiprocessing` do.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau.core import events
from flambeau.core.exchange import from_numpy
from flambeau.core.tensor import Tensor
from flambeau.distributed import collectives, messages
from flambeau.distributed.collectives import peer
from flambeau.distributed.groups import Group, member
from flambeau.distributed.process_group import ProcessGroup

Object = Any  # what pickle takes


def _packed(thing: Object) -> Tensor:
    events.refuse("objects are sent to other processes")
    return from_numpy(np.frombuffer(bytearray(pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)), np.uint8))


def _unpacked(data: Tensor) -> Object:
    return pickle.loads(data._array.tobytes())


def _bytes(count: int) -> Tensor:
    return from_numpy(np.empty(count, np.uint8))


def _number(values: Sequence[int]) -> Tensor:
    return from_numpy(np.array(values, np.int64))


def _sizes(pg: ProcessGroup, mine: int) -> list[int]:
    """The sizes that all ranks told."""
    all_ = _number([0] * pg.size())
    collectives.all_gather_into_tensor(all_, _number([mine]), pg)
    return [int(n) for n in all_._array]


def all_gather_object(object_list: list[Object], obj: Object, group: Group = None) -> None:
    """Fill a list with the objects of all ranks."""
    pg = member(group, "all_gather_object")
    if pg is None:
        return
    _long("all_gather_object", "object_list", object_list, pg.size())
    mine = _packed(obj)
    parts = [_bytes(n) for n in _sizes(pg, mine.numel())]
    collectives.all_gather(parts, mine, pg)
    object_list[:] = [_unpacked(p) for p in parts]


def gather_object(
    obj: Object, object_gather_list: list[Object] | None = None, dst: int | None = None, group: Group = None,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Bring the objects of all ranks to rank ``dst`` (by default 0), into its list."""
    pg = member(group, "gather_object")
    if pg is None:
        return
    root, mine = peer(pg, "gather_object", "dst", dst, group_dst, pg.ranks[0]), _packed(obj)
    here = pg.rank() == root
    if here:
        _long("gather_object", "object_gather_list", object_gather_list, pg.size())
    elif object_gather_list:
        raise ValueError("gather_object: object_gather_list is for the rank dst alone")
    parts = [_bytes(n) for n in _sizes(pg, mine.numel())]
    collectives.gather(mine, parts if here else None, group=pg, group_dst=root)
    if object_gather_list is not None:
        object_gather_list[:] = [_unpacked(p) for p in parts]


def broadcast_object_list(
    object_list: list[Object], src: int | None = None, group: Group = None, device: object = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """Give every rank the objects in the list of rank ``src`` (by default 0); ``device`` is not used."""
    pg = member(group, "broadcast_object_list")
    if pg is None:
        return
    root = peer(pg, "broadcast_object_list", "src", src, group_src, pg.ranks[0])
    here = pg.rank() == root
    parts = [_packed(o) for o in object_list] if here else []
    sizes = _number([p.numel() for p in parts] if here else [0] * len(object_list))
    collectives.broadcast(sizes, group=pg, group_src=root)
    whole = _joined(parts) if here else _bytes(int(sizes._array.sum()))
    collectives.broadcast(whole, group=pg, group_src=root)
    if not here:
        object_list[:] = _split(whole, sizes)


def scatter_object_list(
    scatter_object_output_list: list[Object], scatter_object_input_list: list[Object] | None = None,
    src: int | None = None, group: Group = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Give rank i the i-th object in the list of rank ``src`` (by default 0), as the first of its output list."""
    name = "scatter_object_list"
    pg = member(group, name)
    if pg is None:
        return
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError(f"{name}: scatter_object_output_list must be a list of at least one, which is filled")
    root = peer(pg, name, "src", src, group_src, pg.ranks[0])
    here = pg.rank() == root
    if here:
        _long(name, "scatter_object_input_list", scatter_object_input_list, pg.size())
    parts = [_packed(o) for o in scatter_object_input_list or []] if here else []
    size = _number([0])
    collectives.scatter(size, [_number([p.numel()]) for p in parts] or None, group=pg, group_src=root)
    mine = _bytes(int(size._array[0]))
    collectives.scatter(mine, parts or None, group=pg, group_src=root)
    scatter_object_output_list[0] = _unpacked(mine)


def send_object_list(
    object_list: list[Object], dst: int | None = None, group: Group = None, device: object = None,
    group_dst: int | None = None, use_batch: bool = False,
) -> None:  # fmt: skip
    """Send objects to rank ``dst``; ``device`` and ``use_batch`` are not used."""
    pg = member(group, "send_object_list")
    if pg is None:
        return
    to = peer(pg, "send_object_list", "dst", dst, group_dst)
    parts = [_packed(o) for o in object_list]
    messages.send(_number([p.numel() for p in parts]), group=pg, group_dst=to)
    messages.send(_joined(parts), group=pg, group_dst=to)


def recv_object_list(
    object_list: list[Object], src: int | None = None, group: Group = None, device: object = None,
    group_src: int | None = None, use_batch: bool = False,
) -> int:  # fmt: skip
    """Fill a list with objects from rank ``src`` (None: from any); the rank that sent them, -1 outside of the group."""
    pg = member(group, "recv_object_list")
    if pg is None:
        return -1
    sizes = _number([0] * len(object_list))
    if src is None and group_src is None:
        source = messages.recv(sizes, group=pg)
    else:
        source = pg.ranks[peer(pg, "recv_object_list", "src", src, group_src)]
        messages.recv(sizes, source, pg)
    whole = _bytes(int(sizes._array.sum()))
    messages.recv(whole, source, pg)
    object_list[:] = _split(whole, sizes)
    return source


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return from_numpy(np.concatenate([p._array for p in parts]) if parts else np.empty(0, np.uint8))


def _split(whole: Tensor, sizes: Tensor) -> list[Object]:
    ends = np.cumsum(sizes._array)
    return [pickle.loads(part.tobytes()) for part in np.split(whole._array, ends[:-1])] if len(ends) else []


def _long(call: str, argument: str, values: object, size: int) -> None:
    if not isinstance(values, list) or len(values) != size:
        found = f"one of {len(values)}" if isinstance(values, list) else type(values).__name__
        raise ValueError(f"{call}: {argument} must be a list with a place for each of the {size} ranks, got {found}")
