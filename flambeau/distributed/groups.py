"""The job and its groups: who takes part, and under which rank."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Thread
from typing import Any, Final, TypeAlias, TypeVar

from flambeau.core import config
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.keys import get_default_device
from flambeau.distributed import engines, rendezvous
from flambeau.distributed.checking import DebugLevel
from flambeau.distributed.engines import Backend, BackendConfig
from flambeau.distributed.errors import DistBackendError
from flambeau.distributed.mpi import MpiEngine, load, require
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.work import Timeout, after_fork, seconds

T = TypeVar("T")

#: How long a call may wait for other ranks where nothing else is said.
default_pg_timeout: Final = timedelta(minutes=30)


class _Apart:
    """In place of a group, for ranks that are not in it."""

    def __repr__(self) -> str:
        return "GroupMember.NON_GROUP_MEMBER"


class GroupMember:
    """``WORLD`` is the group of all ranks; ``NON_GROUP_MEMBER`` what ranks get that are not in a new group."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER: Final = _Apart()


group = GroupMember
Group: TypeAlias = ProcessGroup | _Apart | None

_groups: dict[str, ProcessGroup] = {}
_made = 0  # groups so far, on every rank the same number


def is_initialized() -> bool:
    """Whether this process takes part in a job.

    >>> fb.distributed.is_initialized()
    False
    """
    return GroupMember.WORLD is not None


def world() -> ProcessGroup:
    """The group of all ranks; ValueError before init_process_group."""
    if GroupMember.WORLD is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return GroupMember.WORLD


def member(found: Group, call: str) -> ProcessGroup | None:
    """The group of a call (None: all ranks); None with a warning where this rank is not in it."""
    if isinstance(found, _Apart):
        warnings.warn(
            f"Running {call} on global rank {world().rank()} which does not belong to the given group.", stacklevel=3
        )
        return None
    return group_of(found)


def group_of(found: Group) -> ProcessGroup:
    """A group (None: all ranks) in which this rank is; TypeError for anything else."""
    if found is None:
        return world()
    if not isinstance(found, ProcessGroup):
        raise TypeError(f"group must be a ProcessGroup or None, got {found!r} ({type(found).__name__})")
    return found


def within(limit: float, what: str, call: Callable[[], T]) -> T:
    """What ``call`` gives, which may wait for ever; DistBackendError after ``limit`` seconds."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run, daemon=True, name=f"flambeau.distributed {what}")
    thread.start()
    thread.join(limit)
    if failed:
        raise failed[0]
    if not found:
        raise DistBackendError(f"{what}: the other ranks did not come within {limit:g} s")
    return found[0]


# -- begin and end -----------------------------------------------------------------------------------
def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: Timeout = None, world_size: int = -1,
    rank: int = -1, store: Any = None, group_name: str = "", pg_options: object = None,
    device_id: Device | str | int | None = None,
) -> None:  # fmt: skip
    """Take part in the job: each of its processes calls this once, and waits for the others.

    ``backend`` names the engine, for all devices or for each type: ``"mpi"``, ``"nccl"``, ``"cpu:mpi,cuda:nccl"``;
    ``"gloo"`` is taken for ``"mpi"``. Without it tensors of a device that all ranks use, and that has collectives of
    its own, go by those, and all others by MPI. Rank and number of ranks come from the launcher
    (``python -m flambeau launch``, mpiexec, SLURM, torchrun), or from ``rank``, ``world_size`` and ``init_method`` or
    ``store``. ``timeout`` is how long a call may wait for other ranks, 30 minutes by default. ``pg_options`` is not
    used. ValueError where this process takes part already, where ranks ask for different engines, or for one that does
    not exist; ImportError without mpi4py; DistBackendError where other ranks do not come in time.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    limit = seconds(timeout, default_pg_timeout.total_seconds())
    wanted = None if backend is None else BackendConfig(backend)
    engine, store = _join(init_method, rank, world_size, store, limit)
    device = _device_of(device_id)
    name = None if wanted is None else str(backend).lower()
    mine = [name, (device or get_default_device()).type, config.get("distributed_debug")]
    told = within(limit, "init_process_group", lambda: engine.comm.allgather(json.dumps(mine)))
    names, kinds, levels = zip(*map(json.loads, told), strict=True)
    if len(set(names)) > 1:
        engine.close()
        raise ValueError(f"init_process_group: the ranks ask for different backends: {list(names)}")
    found = wanted or engines.chosen(list(kinds))
    level = max((DebugLevel[name.upper()] for name in levels), key=lambda x: x.value)
    pg = ProcessGroup(
        range(engine.size), engine, found.engines, limit, group_name or "0", level=level, store=store,
        desc="default_pg",
    )  # fmt: skip
    pg.bound_device_id = device
    GroupMember.WORLD = _groups[pg.group_name] = pg


def _device_of(device_id: Device | str | int | None) -> Device | None:
    if isinstance(device_id, int):
        return located(f"{get_default_device().type}:{device_id}")
    return None if device_id is None else located(device_id)


def _join(init_method: str | None, rank: int, world_size: int, store: Any, limit: float) -> tuple[MpiEngine, Any]:
    """Become one of the processes of the job: an engine for all of them, and their store."""
    require()
    place = rendezvous.join(init_method, rank, world_size, store, timedelta(seconds=limit))
    comm = load().COMM_WORLD
    return MpiEngine(within(limit, "init_process_group", comm.Dup)), place.store


def destroy_process_group(group: Group = None) -> None:
    """End a group, or without one all, after which init_process_group may be called again."""
    if isinstance(group, _Apart):
        return
    if group is None or group is GroupMember.WORLD:
        world()
        for pg in reversed(list(_groups.values())):
            pg.shutdown()
        _forget()
        return
    if not isinstance(group, ProcessGroup) or _groups.get(group.group_name) is not group:
        raise ValueError("Invalid process group specified or has been destroyed.")
    del _groups[group.group_name]
    group.shutdown()


def _forget() -> None:
    global _made
    _groups.clear()
    GroupMember.WORLD, _made = None, 0


after_fork(_forget)


# -- more groups -------------------------------------------------------------------------------------
def new_group(
    ranks: Sequence[int] | None = None, timeout: Timeout = None, backend: str | None = None, pg_options: object = None,
    use_local_synchronization: bool = False, group_desc: str | None = None, device_id: DeviceLike = None,
    sort_ranks: bool = True,
) -> ProcessGroup | _Apart:  # fmt: skip
    """A group of some of the ranks (None: all).

    Every rank of the job calls it, with the same ranks and in the same order; with ``use_local_synchronization`` those
    in it alone. Ranks that are not in it get ``GroupMember.NON_GROUP_MEMBER``. ValueError for ranks that do not exist.
    """
    global _made
    whole = world()
    members = _members("new_group", whole, ranks, sort_ranks)
    if use_local_synchronization:
        if whole.rank() not in members:
            return GroupMember.NON_GROUP_MEMBER
        name = f"local {','.join(map(str, members))} {sum(g.ranks == tuple(members) for g in _groups.values())}"
        return _form(whole, members, name, timeout, backend, group_desc, device_id)
    _made += 1
    if whole.rank() not in members:
        return GroupMember.NON_GROUP_MEMBER
    return _form(whole, members, str(_made), timeout, backend, group_desc, device_id)


def _members(call: str, parent: ProcessGroup, ranks: Sequence[int] | None, sort_ranks: bool) -> list[int]:
    members = list(range(parent.size())) if ranks is None else [int(r) for r in ranks]
    if len(set(members)) < len(members):
        raise ValueError(f"{call}: each rank stands once in ranks, got {members}")
    if not members or not all(0 <= r < parent.size() for r in members):
        raise ValueError(f"{call}: ranks must lie in [0, {parent.size()}), and be at least one; got {members}")
    return sorted(members) if sort_ranks else members


def _form(
    parent: ProcessGroup, members: Sequence[int], name: str, timeout: Timeout, backend: str | None,
    desc: str | None, device_id: DeviceLike = None,
) -> ProcessGroup:  # fmt: skip
    """The group of ``members``, ranks of ``parent``; each of them calls this."""
    limit = seconds(timeout, parent.timeout)
    engine = within(limit, f"a group of ranks {list(members)}", lambda: parent.host.split(members, name))
    found = parent.engines if backend is None else BackendConfig(backend).engines
    pg = ProcessGroup(
        [parent.ranks[r] for r in members], engine, found, limit, name, level=parent.level, store=parent.store,
        desc=desc or "undefined",
    )  # fmt: skip
    pg.bound_device_id = parent.bound_device_id if device_id is None else located(device_id)
    _groups[name] = pg
    return pg


def new_subgroups(
    group_size: int | None = None, group: Group = None, timeout: Timeout = None, backend: str | None = None,
    pg_options: object = None, group_desc: str | None = None,
) -> tuple[ProcessGroup | _Apart, list[ProcessGroup | _Apart]]:  # fmt: skip
    """Groups of ``group_size`` neighbours each: the one that this rank is in, and all of them.

    ValueError where the size does not divide the number of ranks. Every rank calls it.
    """
    if group_size is None:
        raise ValueError("new_subgroups: group_size says how many ranks each group has; give it")
    size = get_world_size(group)
    if group_size <= 0 or group_size > size or size % group_size:
        raise ValueError(f"new_subgroups: group_size must divide the {size} ranks, got {group_size}")
    ranks = get_process_group_ranks(group)
    parts = [ranks[i : i + group_size] for i in range(0, size, group_size)]
    return new_subgroups_by_enumeration(parts, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: Timeout = None, backend: str | None = None,
    pg_options: object = None, group_desc: str | None = None,
) -> tuple[ProcessGroup | _Apart, list[ProcessGroup | _Apart]]:  # fmt: skip
    """A group for each list of ranks, none of which stands in two: the one that this rank is in, and all of them."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    every = [r for ranks in ranks_per_subgroup_list for r in ranks]
    if len(set(every)) < len(every):
        raise ValueError(f"new_subgroups_by_enumeration: a rank stands in two groups: {ranks_per_subgroup_list}")
    made = [new_group(ranks, timeout, backend, group_desc=group_desc) for ranks in ranks_per_subgroup_list]
    mine = next((g for g in made if isinstance(g, ProcessGroup)), GroupMember.NON_GROUP_MEMBER)
    return mine, made


def split_group(
    parent_pg: ProcessGroup | None = None, split_ranks: Sequence[Sequence[int]] | None = None, timeout: Timeout = None,
    pg_options: object = None, group_desc: str | None = None, backend: str | None = None,
) -> ProcessGroup | None:  # fmt: skip
    """Split a group into several; the one that this rank is in, or None.

    ``split_ranks`` are the ranks in the parent of each part. Every rank of the parent calls it.
    """
    parent = group_of(parent_pg)
    if not split_ranks:
        raise ValueError("split_ranks cannot be None or empty")
    every = [r for ranks in split_ranks for r in ranks]
    if len(set(every)) < len(every):
        raise ValueError(f"split_group: a rank stands in two parts: {[list(r) for r in split_ranks]}")
    parts = [_members("split_group", parent, ranks, True) for ranks in split_ranks]
    parent.splits += 1
    for part in parts:
        if parent.rank() in part:
            name = f"{parent.group_name}/{parent.splits}/{part[0]}"
            return _form(parent, part, name, timeout, backend, group_desc)
    return None


def shrink_group(
    ranks_to_exclude: Sequence[int], group: Group = None, shrink_flags: int = 0, pg_options: object = None
) -> ProcessGroup:
    """The group without some of its ranks, in its place; each rank that stays calls it.

    Where it is the group of all ranks, the new one takes its place. The old one is given up.
    """
    old = group_of(group)
    away = {old.rank_of(int(r), "shrink_group", "ranks_to_exclude") for r in ranks_to_exclude}
    if not away:
        raise ValueError("ranks_to_exclude cannot be empty")
    if old.rank() in away:
        raise RuntimeError(f"shrink_group: rank {get_rank()} is to be excluded, and has no part in it")
    stay = [r for r in range(old.size()) if r not in away]
    pg = _form(old, stay, f"{old.group_name}-{','.join(map(str, sorted(away)))}", None, None, old.group_desc)
    if old is GroupMember.WORLD:
        pg.ranks = tuple(range(len(stay)))
        GroupMember.WORLD = pg
    _groups.pop(old.group_name, None)
    old.abort()
    return pg


# -- questions ---------------------------------------------------------------------------------------
def get_rank(group: Group = None) -> int:
    """This process's rank in a group (None: in the job); -1 where it is not in it."""
    return -1 if isinstance(group, _Apart) else group_of(group).rank()


def get_world_size(group: Group = None) -> int:
    """How many ranks a group has (None: the job); -1 where this one is not in it."""
    return -1 if isinstance(group, _Apart) else group_of(group).size()


def get_group_rank(group: Group, global_rank: int) -> int:
    """The rank in a group of a rank of the job; ValueError where it is not in it."""
    return group_of(group).rank_of(global_rank, "get_group_rank", "global_rank")


def get_global_rank(group: Group, group_rank: int) -> int:
    """The rank in the job of a rank of a group; ValueError where there is none."""
    pg = group_of(group)
    if not 0 <= group_rank < pg.size():
        raise ValueError(f"get_global_rank: group_rank={group_rank} is not in [0, {pg.size()}) of {pg!r}")
    return pg.ranks[group_rank]


def get_process_group_ranks(group: Group) -> list[int]:
    """The ranks in the job of a group's ranks, in their order."""
    return list(group_of(group).ranks)


def get_pg_count() -> int:
    """How many groups this process is in."""
    return len(_groups)


def get_backend(group: Group = None) -> Backend:
    """The engine of a group: that of host tensors, where it has one."""
    return Backend(group_of(group).name())


def get_backend_config(group: Group = None) -> str:
    """The engine of each type of device, as in ``"cpu:mpi,cuda:nccl"``."""
    return ",".join(f"{kind}:{name}" for kind, name in group_of(group).engines.items() if kind)


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process.

    >>> fb.distributed.is_torchelastic_launched()
    False
    """
    return "TORCHELASTIC_RUN_ID" in os.environ


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """This process's rank among those of its machine, of the variable LOCAL_RANK; without it ``fallback_rank``."""
    text = os.environ.get("LOCAL_RANK")
    if text is not None:
        return int(text)
    if fallback_rank is None:
        raise RuntimeError(
            "get_node_local_rank: LOCAL_RANK is not in the environment, and no fallback_rank is given to stand in"
        )
    return int(fallback_rank)
