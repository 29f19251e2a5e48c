"""What a device is asked to do: a kernel's text and how many items run it, the same for every language.

The families of kernels (:mod:`.conv`, :mod:`.pool`, :mod:`.norm`, :mod:`.nn`, :mod:`.parts`) have functions that
return a :class:`Launch`; a backend compiles the text once for each ``key`` and enqueues it with its buffers, the
inputs first, then the outputs, then ``params`` as one struct.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: Element operations that an item of a processor does at least, where there is so much to do.
_SHARE: Final = 1 << 15


class Machine(Protocol):
    """What the geometry of a launch depends on: the target, its compute units, and the items of a group."""

    @property
    def target(self) -> Target: ...
    @property
    def units(self) -> int: ...
    @property
    def group(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel, ready but for its buffers."""

    key: Hashable  # names the program on a device of one target
    name: str  # the kernel in it
    text: Callable[[], str]
    params: bytes
    size: int  # items, a multiple of
    group: int


def over_items(machine: Machine, tasks: int, cost: int) -> tuple[int, int]:
    """(items, items of a group) for independent tasks of about ``cost`` element operations each."""
    if machine.target.cpu:
        return max(1, min(tasks, 16 * machine.units, tasks * cost // _SHARE)), 1
    return min(-(-tasks // machine.group), machine.units * 32) * machine.group, machine.group


def over_groups(machine: Machine, tasks: int, cost: int) -> tuple[int, int]:
    """The same where a group (on processors an item) does a task."""
    if machine.target.cpu:
        return over_items(machine, tasks, cost)
    return min(tasks, machine.units * 32) * machine.group, machine.group


def each_task(target: Target, total: str) -> str:
    """The head of the loop over an item's tasks ``at`` out of ``total``."""
    if target.cpu:
        return f"""i64 height_ = ({total} + GSIZE - 1) / GSIZE, last_ = (GID + 1) * height_;
  if (last_ > {total}) last_ = {total};
  for (i64 at = GID * height_; at < last_; at++)"""
    return f"for (i64 at = GID; at < {total}; at += GSIZE)"


def each_row(target: Target, total: str) -> str:
    """The head of the loop over the tasks ``at`` of a group."""
    return each_task(target, total) if target.cpu else f"for (i64 at = GROUP; at < {total}; at += GROUPS)"


def computed(dtype: DType) -> DType:
    """The floating type that sums of ``dtype`` are made in."""
    return dt.float32 if dtype in dt.LOW_PRECISION else dtype


def head(target: Target, dtype: DType) -> str:
    """The prelude, the stored type S, the computed type T, and READ and WRITE between the two."""
    return f"""{prelude(target)}
typedef {STORED[dtype]} S;
typedef {REGISTER[computed(dtype)]} T;
#define READ(p, i) {load(dtype, "(p)", "(i)")}
#define WRITE(p, i, v) {store(dtype, "(p)", "(i)", "(v)")}
"""
