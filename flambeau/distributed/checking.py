"""Two modes that find out what goes wrong between ranks: the setting ``distributed_debug``.

``info`` prints what a rank waits for once it has waited for ``distributed_patience`` seconds, and again each time that
this has doubled; where a call gets no answer in time, it tells at which call every rank is. ``detail`` does so too, and
before each collective all ranks compare what they ask for: another call, shape, dtype, op, root or place in the order
is an error on every rank that names the ranks and their calls. All ranks take the highest level that one of them has.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from flambeau.core import config
from flambeau.distributed.errors import DistBackendError
from flambeau.distributed.plans import Plan
from flambeau.distributed.work import Steps

_ROOM: Final = 2048  # bytes in which each rank tells its call


class DebugLevel(enum.Enum):
    """How much is checked and told."""

    OFF = 0
    INFO = 1
    DETAIL = 2


def get_debug_level() -> DebugLevel:
    """The level of this process: the setting ``distributed_debug``.

    >>> fb.distributed.get_debug_level()
    <DebugLevel.OFF: 0>
    """
    return DebugLevel[config.get("distributed_debug").upper()]


def set_debug_level(level: DebugLevel) -> None:
    """Set the level of groups that are made from now on."""
    if not isinstance(level, DebugLevel):
        raise TypeError(f"set_debug_level: expected a DebugLevel, got {level!r} ({type(level).__name__})")
    config.set(distributed_debug=level.name.lower())


def set_debug_level_from_env() -> None:
    """Set the level to that of the variable TORCH_DISTRIBUTED_DEBUG, or of FLAMBEAU_DISTRIBUTED_DEBUG."""
    config.set(distributed_debug=os.environ.get("FLAMBEAU_DISTRIBUTED_DEBUG") or config.torch_debug_level())


class Notes(Protocol):
    """A store, in which ranks leave word."""

    def set(self, key: str, value: Any, /) -> object: ...
    def get(self, key: str, /) -> bytes: ...
    def check(self, keys: list[str], /) -> bool: ...


class Checked(Protocol):
    """What is asked of a process group, whose class stands above."""

    ranks: tuple[int, ...]
    group_name: str

    @property
    def host(self) -> Any: ...  # its engine of host memory
    @property
    def store(self) -> Notes | None: ...
    def rank(self) -> int: ...
    def size(self) -> int: ...


def agree(pg: Checked, number: int, plan: Plan, arrays: Sequence[Any]) -> Steps:
    """Compare a collective on all ranks; DistBackendError on each where they differ."""
    said = [number, plan.name, plan.mark, plan.text(arrays), _splits(plan)]
    text = json.dumps(said).encode()
    if len(text) > _ROOM:
        text = json.dumps([number, plan.name, plan.mark[:500], plan.text(arrays)[:500], None]).encode()
    mine, all_ = np.zeros(_ROOM, np.uint8), np.zeros((pg.size(), _ROOM), np.uint8)
    mine[: len(text)] = np.frombuffer(text, np.uint8)
    yield from pg.host.all_gather(mine, all_, [_ROOM] * pg.size())
    told = [json.loads(row.tobytes().rstrip(b"\0")) for row in all_]
    if any(t[:3] != told[0][:3] for t in told):
        raise DistBackendError(_differ(pg, told))
    for i, giver in enumerate(told):
        for j, taker in enumerate(told):
            if giver[4] and taker[4] and giver[4][1][j] != taker[4][0][i]:
                raise DistBackendError(
                    f"{plan.name} #{number} in group {pg.group_name!r}: rank {pg.ranks[i]} gives rank {pg.ranks[j]} "
                    f"{giver[4][1][j]} elements, which expects {taker[4][0][i]}"
                )


def _splits(plan: Plan) -> list[list[int]] | None:
    return [list(part) for part in plan.params] if plan.method == "all_to_all" else None


def _differ(pg: Checked, told: Sequence[list[Any]]) -> str:
    groups: dict[tuple[Any, ...], list[int]] = {}
    for rank, (number, _, _, text, _) in zip(pg.ranks, told, strict=True):
        groups.setdefault((number, text), []).append(rank)
    lines = [
        f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}: call #{number}, {text}"
        for (number, text), ranks in groups.items()
    ]
    return f"the ranks of group {pg.group_name!r} do not ask for the same collective:\n  " + "\n  ".join(lines)


def publish(pg: Checked, what: str) -> None:
    """Leave word of the call that this rank is at."""
    if pg.store is not None:
        pg.store.set(_place(pg, pg.rank()), what)


def whereabouts(pg: Checked) -> str:
    """At which call each other rank is, as far as is known."""
    if pg.store is None:
        return ""
    found = []
    for rank in range(pg.size()):
        if rank != pg.rank():
            key = _place(pg, rank)
            found.append(pg.store.get(key).decode() if pg.store.check([key]) else f"rank {rank} has made no call")
    return "; ".join(found)


def _place(pg: Checked, rank: int) -> str:
    return f"flambeau/call/{pg.group_name}/{rank}"
