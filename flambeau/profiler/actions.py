"""What is done with each step of a program that is profiled, and which devices are watched."""

from __future__ import annotations

import enum
from collections.abc import Callable

from flambeau.core.accelerator import current_accelerator

__all__ = ["DeviceType", "ProfilerAction", "ProfilerActivity", "kineto_available", "schedule", "supported_activities"]


class ProfilerAction(enum.Enum):
    """What is done with a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3
    DEVICE_STOPPED = 4


class ProfilerActivity(enum.Enum):
    """Whose work is watched."""

    CPU = 0
    XPU = 1
    CUDA = 2
    HPU = 3
    MTIA = 4
    PrivateUse1 = 5


class DeviceType(enum.Enum):
    """Types of devices in events."""

    CPU = 0
    CUDA = 1
    OPENCL = 4
    XPU = 12
    MPS = 13
    Meta = 14
    PrivateUse1 = 20

    @classmethod
    def of(cls, name: str) -> DeviceType:
        """That of a device's name; one of another backend is PrivateUse1."""
        kind = name.partition(":")[0]
        return next((t for t in cls if t.name.lower() == kind), cls.PrivateUse1)


def kineto_available() -> bool:
    """Whether there is a profiler of devices; there is this one.

    >>> fb.profiler.kineto_available()
    True
    """
    return True


def supported_activities() -> set[ProfilerActivity]:
    """What can be watched here: the host, and the accelerator if there is one.

    >>> fb.profiler.ProfilerActivity.CPU in fb.profiler.supported_activities()
    True
    """
    found = current_accelerator()
    if found is None:
        return {ProfilerActivity.CPU}
    own = next((a for a in ProfilerActivity if a.name.lower() == found.type), ProfilerActivity.PrivateUse1)
    return {ProfilerActivity.CPU, own}


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """Cycles of steps: some are waited for, some warm up, some are recorded.

    Args:
        wait, warmup, active: how many steps of each.
        repeat: how many cycles; 0 for all.
        skip_first: steps before the first cycle.
        skip_first_wait: not 0 leaves out the waiting of the first cycle.

    >>> plan = fb.profiler.schedule(wait=1, warmup=0, active=1)
    >>> [plan(step).name for step in range(4)]
    ['NONE', 'RECORD_AND_SAVE', 'NONE', 'RECORD_AND_SAVE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active < 1:
        raise ValueError(
            "schedule: wait, warmup, repeat and skip_first must not be negative, and active must be 1 or more; got "
            f"{wait}, {warmup}, {repeat}, {skip_first} and {active}"
        )

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        step += wait if skip_first_wait else 0
        cycle, place = divmod(step, wait + warmup + active)
        if repeat and cycle >= repeat or place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        last = place == wait + warmup + active - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    return action
