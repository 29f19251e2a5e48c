"""The job and its groups: who takes part, and under which rank."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Thread
from typing import Any, Final, TypeVar

from flambeau.core.device import DeviceLike, located
from flambeau.distributed.errors import DistBackendError
from flambeau.distributed.mpi import MpiEngine, load
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.work import after_fork, seconds

T = TypeVar("T")
Timeout = timedelta | float | None

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
Group = ProcessGroup | _Apart | None

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
    if found is None:
        return world()
    if isinstance(found, ProcessGroup):
        return found
    warnings.warn(
        f"{call}: rank {world().rank()} does not belong to the given group, so the call does nothing", stacklevel=3
    )
    return None


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


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: Timeout = None, world_size: int = -1,
    rank: int = -1, store: Any = None, group_name: str = "", pg_options: Any = None,
    device_id: DeviceLike | int = None,
) -> None:  # fmt: skip
    """Take part in the job; every rank calls it, once."""
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    limit = seconds(timeout, default_pg_timeout.total_seconds())
    mpi = load()
    comm = within(limit, "init_process_group", mpi.COMM_WORLD.Dup)
    engine = MpiEngine(comm)
    pg = ProcessGroup(range(engine.size), engine.rank, {"cpu": "mpi"}, engine, limit, group_name or "0", store)
    if device_id is not None and not isinstance(device_id, int):
        pg.bound_device_id = located(device_id)
    GroupMember.WORLD = _groups[pg.group_name] = pg


def new_group(
    ranks: Sequence[int] | None = None, timeout: Timeout = None, backend: str | None = None, pg_options: Any = None,
    use_local_synchronization: bool = False, group_desc: str | None = None, device_id: DeviceLike = None,
    sort_ranks: bool = True,
) -> ProcessGroup | _Apart:  # fmt: skip
    """A group of some of the ranks (None: all); every rank calls it, with the same ranks and in the same order."""
    global _made
    whole = world()
    chosen = list(range(whole.size())) if ranks is None else [int(r) for r in ranks]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"new_group: each rank stands once in ranks, got {chosen}")
    if not all(0 <= r < whole.size() for r in chosen):
        raise ValueError(f"new_group: ranks must lie in [0, {whole.size()}), got {chosen}")
    chosen = sorted(chosen) if sort_ranks else chosen
    _made += 1
    if whole.rank() not in chosen:
        return GroupMember.NON_GROUP_MEMBER
    limit = seconds(timeout, whole.timeout)
    name = str(_made)
    engine = within(limit, f"new_group({chosen})", lambda: whole.host.split(chosen, _made))
    pg = ProcessGroup(chosen, engine.rank, whole.engines, engine, limit, name, whole.store, group_desc or "undefined")
    _groups[name] = pg
    return pg


def destroy_process_group(group: Group = None) -> None:
    """End a group; without one all groups, after which init_process_group may be called again."""
    if isinstance(group, _Apart):
        return
    if group is None or group is GroupMember.WORLD:
        world()
        for pg in reversed(list(_groups.values())):
            pg.shutdown()
        _forget()
        return
    if _groups.get(group.group_name) is not group:
        raise ValueError(f"destroy_process_group: {group!r} is no group of this job")
    del _groups[group.group_name]
    group.shutdown()


def _forget() -> None:
    global _made
    _groups.clear()
    GroupMember.WORLD, _made = None, 0


after_fork(_forget)


def get_rank(group: Group = None) -> int:
    """This process's rank in a group (None: in the job); -1 where it is not in it."""
    if isinstance(group, _Apart):
        return -1
    return (group or world()).rank()


def get_world_size(group: Group = None) -> int:
    """How many ranks a group has (None: the job); -1 where this one is not in it."""
    if isinstance(group, _Apart):
        return -1
    return (group or world()).size()


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The rank among those of this machine, of the variable LOCAL_RANK; without it ``fallback_rank``."""
    text = os.environ.get("LOCAL_RANK")
    if text is not None:
        return int(text)
    if fallback_rank is not None:
        return fallback_rank
    raise RuntimeError(
        "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, "
        "assuming you are not running in a multi-device context and want the code to run locally instead."
    )
