"""The profiler: time, calls and bytes by op, device and module, as a table and as a Chrome trace."""

from __future__ import annotations

import gzip
import json
import math
import threading
import time
import traceback
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from flambeau.backends.base import Kernel
from flambeau.core import state
from flambeau.core.keys import Key
from flambeau.core.record import VIEW, Op
from flambeau.core.tape.modes import module_path
from flambeau.profiler.actions import ProfilerAction, supported_activities
from flambeau.profiler.averages import Averages, averaged, function_events


class EventList(list["Event"]):
    """Events; called, as PyTorch's events."""

    def __call__(self) -> Averages:
        return function_events(self)


@dataclass(frozen=True)
class Event:
    """One kernel call. Times in microseconds, ``start`` since the profile began; ``bytes`` read and written.

    ``dtype`` is the one that the kernel computes in; a view reads and writes nothing.
    """

    op: str
    device: str
    dtype: str
    module: str
    start: float
    duration: float
    bytes: int
    shapes: tuple[tuple[int, ...], ...]
    thread: int
    stack: tuple[str, ...] = ()
    is_range: bool = False  # a part of the program that record_function named


@dataclass(frozen=True)
class Row:
    """The sum of the events of one name."""

    name: str
    calls: int
    microseconds: float
    bytes: int


class profile(state.watch):
    """Watch the kernels that this thread runs inside the block; a context manager and a decorator.

    With ``synchronize`` (the default) each call waits for its device, so that its time is the kernel's;
    without it, what is measured on an accelerator is the launch. Other threads are watched where they
    enter the same profile: it may be entered by several threads, and again inside itself (a kernel then
    counts once), and goes on adding events each time.

    Args:
        synchronize: as said.
        activities: accepted for PyTorch's sake; every device is watched.
        schedule: from the number of a step to a :class:`ProfilerAction`; without it all is recorded. :meth:`step` says
            that the next step begins.
        on_trace_ready: called with the profile when a cycle of steps is recorded, or at the end.
        record_shapes, profile_memory, with_flops, with_modules: accepted for PyTorch's sake; shapes, bytes and modules
            are always told.
        with_stack: note where in the program each op was called.

    >>> with fb.profiler.profile() as p:
    ...     y = (fb.ones(4) * 2).sum()
    >>> [row.name for row in p.rows() if row.name in ("mul", "sum")]
    ['mul', 'sum']
    """

    def __init__(
        self, synchronize: bool = True, *, activities: Iterable[Any] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None, on_trace_ready: Callable[..., Any] | None = None,
        record_shapes: bool = False, profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False,
        with_modules: bool = False, experimental_config: object = None, execution_trace_observer: object = None,
        acc_events: bool = False, use_cuda: bool | None = None,
        custom_trace_id_callback: Callable[[], str] | None = None,
        **others: object,
    ):  # fmt: skip
        super().__init__(self._see)
        self.synchronize, self.with_stack = synchronize, with_stack
        self.schedule, self.on_trace_ready = schedule, on_trace_ready
        self.activities = set(supported_activities() if activities is None else activities)
        self.events_of_kernels: list[Event] = []
        self.step_num, self._paused = 0, False
        self.current_action = ProfilerAction.RECORD if schedule is None else schedule(0)
        self._metadata: dict[str, str] = {}
        self._trace_id, self._trace_id_of = "", custom_trace_id_callback
        self._began: float | None = None
        self._threads = threading.local()  # the states to go back to belong to the threads that had them

    def __enter__(self) -> Self:
        if self._began is None:
            self._began = time.perf_counter()
            self._trace_id = uuid.uuid4().hex if self._trace_id_of is None else str(self._trace_id_of())
        before = state.current()
        self._entered.append(before)
        if self._fn not in before.watchers:
            state.put(self._next(before))
        return self

    def __exit__(self, *exc: object) -> None:
        state.put(self._entered.pop())
        if not self._entered and self.on_trace_ready is not None and self._recording:
            self.on_trace_ready(self)

    def start(self) -> None:
        """Begin, without a block."""
        self.__enter__()

    def stop(self) -> None:
        """End what :meth:`start` began."""
        self.__exit__()

    @property
    def _recording(self) -> bool:
        return not self._paused and self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def step(self) -> None:
        """The next step begins: the schedule says what is done with it."""
        if self.current_action is ProfilerAction.RECORD_AND_SAVE and self.on_trace_ready is not None:
            self.on_trace_ready(self)
        before = self.current_action
        self.step_num += 1
        if self.schedule is not None:
            self.current_action = self.schedule(self.step_num)
            starts = self._recording and before not in (ProfilerAction.RECORD,)
            if starts:
                self.events_of_kernels.clear()

    @property
    def events(self) -> EventList:
        """The kernel calls, a list of :class:`Event`; called, it gives them as PyTorch's events."""
        return EventList(self.events_of_kernels)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> Averages:
        """Sums by op and named part of the program, and by shapes too if asked."""
        return averaged(self.events_of_kernels, group_by_input_shape, group_by_stack_n)

    def add_metadata(self, key: str, value: str) -> None:
        """A text for the trace file."""
        self._metadata[key] = json.dumps(value)

    def add_metadata_json(self, key: str, value: str) -> None:
        """JSON for the trace file."""
        self._metadata[key] = value

    preset_metadata_json = add_metadata_json

    def set_custom_trace_id_callback(self, callback: Callable[[], str]) -> None:
        """Take what ``callback()`` gives as the name of this recording, when it begins."""
        self._trace_id_of = callback

    def get_trace_id(self) -> str | None:
        """The name of this recording, a random one unless a callback gave it; None before it began."""
        return self._trace_id or None

    def toggle_collection_dynamic(self, enable: bool, activities: Iterable[Any]) -> None:  # Any: ProfilerActivity
        """Leave out the calls from now on, or take them up again, where these activities are all that is watched.

        Every device is watched by one watcher: with some of the activities alone, nothing changes.
        """
        if self.activities <= set(activities):
            self._paused = not enable

    def export_stacks(self, path: str | Path, metric: str = "self_cpu_time_total") -> None:
        """Write where time was spent, in the lines that flame graphs are made of; needs ``with_stack``."""
        sums: dict[str, float] = defaultdict(float)
        for e in self.events_of_kernels:
            sums[";".join((*(s.replace(" ", "_") for s in reversed(e.stack)), e.op))] += e.duration
        Path(path).write_text("".join(f"{where} {int(us)}\n" for where, us in sums.items()), encoding="utf-8")

    def note_range(self, name: str, start: float, end: float) -> None:
        """A named part of the program ran, by the clock ``time.perf_counter``."""
        if self._recording:
            self.events_of_kernels.append(Event(
                name, "cpu", "", str(module_path), (start - (self._began or start)) * 1e6, (end - start) * 1e6, 0, (),
                threading.get_ident(), is_range=True,
            ))  # fmt: skip

    @property
    def _entered(self) -> list[state.State]:
        if not hasattr(self._threads, "entered"):
            self._threads.entered = []
        entered: list[state.State] = self._threads.entered
        return entered

    def _copy(self) -> Self:
        return self

    def _see(self, op: Op, key: Key, arrays: Sequence[Any], params: dict[str, Any], kernel: Kernel) -> Any:
        if not self._recording:
            return kernel(*arrays, **params)
        start = time.perf_counter()
        result = kernel(*arrays, **params)
        if self.synchronize:
            key.backend.synchronize(key.device.number)
        end = time.perf_counter()
        operands = _arrays(arrays)
        size = 0 if op.family is VIEW else sum(_bytes(a, key) for a in (*operands, *_arrays(result)))
        stack = tuple(_places()) if self.with_stack else ()
        self.events_of_kernels.append(Event(
            op.name, str(key.device), key.dtype.name, str(module_path), (start - (self._began or start)) * 1e6,
            (end - start) * 1e6, size, tuple(tuple(a.shape) for a in operands), threading.get_ident(),
            stack,
        ))  # fmt: skip
        return result

    def rows(self, by: str = "op") -> list[Row]:
        """Sums by "op", "device", "module" or "dtype", in the order of first appearance."""
        if by not in ("op", "device", "module", "dtype"):
            raise ValueError(f"profile: by must be 'op', 'device', 'module' or 'dtype', got {by!r}")
        sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0])
        for e in self.events_of_kernels:
            if e.is_range:
                continue
            s = sums[getattr(e, by)]
            s[0] += 1
            s[1] += e.duration
            s[2] += e.bytes
        return [Row(name or "(top)", int(c), t, int(b)) for name, (c, t, b) in sums.items()]

    def table(self, by: str = "op", limit: int = 30) -> str:
        """The sums as text, the longest time first; shares are of the time of all events."""
        rows = sorted(self.rows(by), key=lambda r: -r.microseconds)[:limit]
        width = max([len(by), *(len(r.name) for r in rows)])
        total = sum(e.duration for e in self.events_of_kernels if not e.is_range) or 1.0
        lines = [f"{by:{width}}  {'calls':>8}  {'time/us':>12}  {'share':>6}  {'mean/us':>10}  {'bytes':>14}"]
        lines += [
            f"{r.name:{width}}  {r.calls:8}  {r.microseconds:12.1f}  {r.microseconds / total:6.1%}  "
            f"{r.microseconds / r.calls:10.2f}  {r.bytes:14}"
            for r in rows
        ]
        return "\n".join(lines)

    def export_chrome_trace(self, path: str | Path) -> None:
        """Write the events as a file for chrome://tracing or Perfetto (Trace Event Format, complete events)."""
        devices = {d: i for i, d in enumerate(dict.fromkeys(e.device for e in self.events_of_kernels))}
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": i, "args": {"name": d}} for d, i in devices.items()
        ]
        events += [
            {"ph": "X", "name": e.op, "cat": e.dtype, "pid": devices[e.device], "tid": e.thread, "ts": e.start,
             "dur": e.duration, "args": {"module": e.module, "shapes": [list(s) for s in e.shapes], "bytes": e.bytes}}
            for e in self.events_of_kernels
        ]  # fmt: skip
        more = {key: json.loads(value) for key, value in self._metadata.items()}
        text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"} | more)
        if str(path).endswith(".gz"):
            Path(path).write_bytes(gzip.compress(text.encode()))
        else:
            Path(path).write_text(text, encoding="utf-8")


def _places() -> Iterator[str]:
    """The lines of the program that led to an op, the innermost first, flambeau's own left out."""
    home = str(Path(__file__).resolve().parents[1])
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith((home, "<")):
            yield f"{frame.filename}({frame.lineno}): {frame.name}"


def _arrays(value: Any) -> list[Any]:
    """The arrays among what a kernel got or gave."""
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in _arrays(v)]
    return [value] if hasattr(value, "shape") else []


def _bytes(array: Any, key: Key) -> int:
    """The bytes of an array's elements; of an array that does not tell its dtype, as the kernel's."""
    itemsize: int = getattr(getattr(array, "dtype", None), "itemsize", key.dtype.itemsize)
    shape: tuple[int, ...] = array.shape
    return math.prod(shape) * itemsize


__all__ = ["Event", "Row", "profile"]
