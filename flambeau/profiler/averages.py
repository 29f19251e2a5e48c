"""Events in PyTorch's form: one after the other, summed by name, and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from flambeau.profiler.actions import DeviceType

__all__ = ["Averages", "FunctionEvent", "FunctionEventAvg", "Interval", "averaged", "function_events"]


class Recorded(Protocol):
    """A kernel call or a named part of the program, as it was recorded; times in microseconds."""

    @property
    def op(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def duration(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def thread(self) -> int: ...
    @property
    def stack(self) -> tuple[str, ...]: ...
    @property
    def is_range(self) -> bool: ...


class Interval(NamedTuple):
    """When something ran."""

    start: float
    end: float

    def elapsed_us(self) -> float:
        """How long, in microseconds."""
        return self.end - self.start


class _Times:
    """Times as numbers and texts, of one event or of a sum."""

    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    device_time_total: float
    self_device_time_total: float

    @property
    def cpu_time(self) -> float:
        """Of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def device_time(self) -> float:
        """Of one call, on an accelerator."""
        return self.device_time_total / self.count if self.count else 0.0

    cuda_time = device_time

    @property
    def cuda_time_total(self) -> float:
        """The same as on an accelerator."""
        return self.device_time_total

    @property
    def self_cuda_time_total(self) -> float:
        """The same as on an accelerator."""
        return self.self_device_time_total

    @property
    def cpu_time_str(self) -> str:
        """As text."""
        return in_words(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        """As text."""
        return in_words(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        """As text."""
        return in_words(self.self_cpu_time_total)

    @property
    def device_time_total_str(self) -> str:
        """As text."""
        return in_words(self.device_time_total)


@dataclass(eq=False)
class FunctionEvent(_Times):
    """One call of an op, or one named part of the program, with what ran inside it."""

    id: int
    name: str
    thread: int
    time_range: Interval
    device_type: DeviceType = DeviceType.CPU
    input_shapes: list[list[int]] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)
    bytes: int = 0
    cpu_children: list[FunctionEvent] = field(default_factory=list, repr=False)
    cpu_parent: FunctionEvent | None = field(default=None, repr=False)
    count: int = 1
    cpu_memory_usage: int = 0
    device_memory_usage: int = 0
    flops: int | None = None
    is_async: bool = False

    @property
    def key(self) -> str:
        """Its name."""
        return self.name

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """How long it ran, seen from the host."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """The same without what ran inside it."""
        return self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children)

    @property
    def device_time_total(self) -> float:  # type: ignore[override]
        """How long an accelerator took for it and for what ran inside it."""
        return self.self_device_time_total + sum(c.device_time_total for c in self.cpu_children)

    @property
    def self_device_time_total(self) -> float:  # type: ignore[override]
        """How long an accelerator took for it."""
        return 0.0 if self.device_type is DeviceType.CPU else self.time_range.elapsed_us()


@dataclass(eq=False)
class FunctionEventAvg(_Times):
    """The sum of the events of one name."""

    key: str
    device_type: DeviceType = DeviceType.CPU
    input_shapes: list[list[int]] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)
    count: int = 0
    cpu_time_total: float = 0.0
    self_cpu_time_total: float = 0.0
    device_time_total: float = 0.0
    self_device_time_total: float = 0.0
    cpu_memory_usage: int = 0
    self_cpu_memory_usage: int = 0
    device_memory_usage: int = 0
    self_device_memory_usage: int = 0
    flops: int = 0
    bytes: int = 0

    def add(self, other: FunctionEvent | FunctionEventAvg) -> FunctionEventAvg:
        """One event, or another sum, more."""
        self.count += other.count
        for name in ("cpu_time_total", "self_cpu_time_total", "device_time_total", "self_device_time_total", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} "
            f"cpu_time={self.cpu_time_str} self_device_time={in_words(self.self_device_time_total)} "
            f"count={self.count} input_shapes={self.input_shapes or ''}>"
        )


class Averages(list[Any]):
    """Events or their sums; as text, a table.

    >>> with fb.profiler.profile() as p:
    ...     _ = fb.ones(2).exp()
    >>> [e.key for e in p.key_averages() if "exp" in e.key]
    ['aten::exp']
    """

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all together."""
        return float(sum(e.self_cpu_time_total for e in self))

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0) -> Averages:
        """Sums by name."""
        return _summed(self, group_by_input_shapes, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """The sum of all."""
        total = FunctionEventAvg("Total")
        for event in self:
            total.add(event)
        return total

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
        max_name_column_width: int = 55, max_shapes_column_width: int = 80, header: str | None = None,
        top_level_events_only: bool = False, time_unit: str | None = None,
    ) -> str:  # fmt: skip
        """The rows as text.

        Args:
            sort_by: a name of a column's value, such as "cpu_time_total" or "self_device_time_total"; by default the
                order of appearance.
            row_limit: how many; -1 for all.
            max_name_column_width: longer names are cut.
            header: a line above.
        """
        rows = list(self)
        if sort_by is not None:
            name = sort_by.replace("cuda", "device")
            if rows and not hasattr(rows[0], name):
                raise ValueError(f"table: sort_by must be a name such as 'cpu_time_total', got {sort_by!r}")
            rows.sort(key=lambda e: getattr(e, name), reverse=True)
        if row_limit >= 0:
            rows = rows[:row_limit]
        total = self.self_cpu_time_total or 1.0
        device_total = sum(e.self_device_time_total for e in self)
        titles = ["Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg"]
        titles += ["Self device", "device total"] if device_total else []
        titles += ["# of Calls"] + (["Input Shapes"] if any(e.input_shapes for e in rows) else [])
        lines = [titles]
        for e in rows:
            cells = [
                e.key if len(e.key) <= max_name_column_width else e.key[: max_name_column_width - 3] + "...",
                f"{e.self_cpu_time_total / total:.2%}", in_words(e.self_cpu_time_total),
                f"{e.cpu_time_total / total:.2%}", in_words(e.cpu_time_total), in_words(e.cpu_time),
            ]  # fmt: skip
            cells += [in_words(e.self_device_time_total), in_words(e.device_time_total)] if device_total else []
            cells += [str(e.count)] + ([str(e.input_shapes)[:max_shapes_column_width]] if len(titles[-1]) == 12 else [])
            lines.append(cells)
        widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(titles))]
        text = ["  ".join(f"{c:>{w}}" for c, w in zip(line, widths, strict=False)) for line in lines]
        rule = "  ".join("-" * w for w in widths)
        foot = [f"Self CPU time total: {in_words(self.self_cpu_time_total)}"]
        foot += [f"Self device time total: {in_words(device_total)}"] if device_total else []
        return "\n".join([*([header] if header else []), rule, text[0], rule, *text[1:], rule, *foot])

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str | Path) -> None:
        """Write the events in the Trace Event Format."""
        events = [
            {"ph": "X", "name": e.name, "pid": 0, "tid": e.thread, "ts": e.time_range.start,
             "dur": e.time_range.elapsed_us(), "args": {"shapes": e.input_shapes}}
            for e in self
            if isinstance(e, FunctionEvent)
        ]  # fmt: skip
        Path(path).write_text(json.dumps({"traceEvents": events}), encoding="utf-8")


def in_words(microseconds: float) -> str:
    """A time as text."""
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:.3f}s"
    return f"{microseconds / 1e3:.3f}ms" if microseconds >= 1e3 else f"{microseconds:.3f}us"


def function_events(recorded: Iterable[Recorded]) -> Averages:
    """The events, each with its parent: the innermost named part of the program that it ran in."""
    made = [
        FunctionEvent(
            i, e.op if e.is_range else f"aten::{e.op}", e.thread, Interval(e.start, e.start + e.duration),
            DeviceType.of(e.device), [list(s) for s in e.shapes], list(e.stack), e.bytes,
        )
        for i, e in enumerate(sorted(recorded, key=lambda e: (e.start, -e.duration)))
    ]  # fmt: skip
    open_events: dict[int, list[FunctionEvent]] = {}
    for event in made:
        around = open_events.setdefault(event.thread, [])
        while around and around[-1].time_range.end < event.time_range.end:
            around.pop()
        if around:
            event.cpu_parent = around[-1]
            around[-1].cpu_children.append(event)
        around.append(event)
    return Averages(made)


def averaged(recorded: Iterable[Recorded], by_shape: bool = False, stack_n: int = 0) -> Averages:
    """Sums of the events by name, and by shapes or the innermost places of the program if asked."""
    return _summed(function_events(recorded), by_shape, stack_n)


def _summed(events: Iterable[FunctionEvent], by_shape: bool, stack_n: int) -> Averages:
    sums: dict[Any, FunctionEventAvg] = {}
    for e in events:
        shapes, stack = (e.input_shapes if by_shape else []), e.stack[:stack_n]
        at = (e.name, e.device_type, str(shapes), tuple(stack))
        if at not in sums:
            sums[at] = FunctionEventAvg(e.name, e.device_type, shapes, stack)
        sums[at].add(e)
    return Averages(sums.values())
