"""The profiler: time, calls and bytes by op, device and module, as a table and as a Chrome trace."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau.backends.base import Kernel
from flambeau.core import state
from flambeau.core.keys import Key
from flambeau.core.record import VIEW, Op
from flambeau.core.tape.modes import module_path


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

    >>> with fb.profiler.profile() as p:
    ...     y = (fb.ones(4) * 2).sum()
    >>> [row.name for row in p.rows() if row.name in ("mul", "sum")]
    ['mul', 'sum']
    """

    def __init__(self, synchronize: bool = True):
        super().__init__(self._see)
        self.synchronize = synchronize
        self.events: list[Event] = []
        self._began: float | None = None
        self._threads = threading.local()  # the states to go back to belong to the threads that had them

    def __enter__(self) -> profile:
        if self._began is None:
            self._began = time.perf_counter()
        before = state.current()
        self._entered.append(before)
        if self._fn not in before.watchers:
            state.put(self._next(before))
        return self

    def __exit__(self, *exc: object) -> None:
        state.put(self._entered.pop())

    @property
    def _entered(self) -> list[state.State]:
        if not hasattr(self._threads, "entered"):
            self._threads.entered = []
        entered: list[state.State] = self._threads.entered
        return entered

    def _copy(self) -> profile:
        return self

    def _see(self, op: Op, key: Key, arrays: Sequence[Any], params: dict[str, Any], kernel: Kernel) -> Any:
        start = time.perf_counter()
        result = kernel(*arrays, **params)
        if self.synchronize:
            key.backend.synchronize(key.device.number)
        end = time.perf_counter()
        operands = _arrays(arrays)
        size = 0 if op.family is VIEW else sum(_bytes(a, key) for a in (*operands, *_arrays(result)))
        self.events.append(Event(
            op.name, str(key.device), key.dtype.name, str(module_path), (start - (self._began or start)) * 1e6,
            (end - start) * 1e6, size, tuple(tuple(a.shape) for a in operands), threading.get_ident(),
        ))  # fmt: skip
        return result

    def rows(self, by: str = "op") -> list[Row]:
        """Sums by "op", "device", "module" or "dtype", in the order of first appearance."""
        if by not in ("op", "device", "module", "dtype"):
            raise ValueError(f"profile: by must be 'op', 'device', 'module' or 'dtype', got {by!r}")
        sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0])
        for e in self.events:
            s = sums[getattr(e, by)]
            s[0] += 1
            s[1] += e.duration
            s[2] += e.bytes
        return [Row(name or "(top)", int(c), t, int(b)) for name, (c, t, b) in sums.items()]

    def table(self, by: str = "op", limit: int = 30) -> str:
        """The sums as text, the longest time first; shares are of the time of all events."""
        rows = sorted(self.rows(by), key=lambda r: -r.microseconds)[:limit]
        width = max([len(by), *(len(r.name) for r in rows)])
        total = sum(e.duration for e in self.events) or 1.0
        lines = [f"{by:{width}}  {'calls':>8}  {'time/us':>12}  {'share':>6}  {'mean/us':>10}  {'bytes':>14}"]
        lines += [
            f"{r.name:{width}}  {r.calls:8}  {r.microseconds:12.1f}  {r.microseconds / total:6.1%}  "
            f"{r.microseconds / r.calls:10.2f}  {r.bytes:14}"
            for r in rows
        ]
        return "\n".join(lines)

    def export_chrome_trace(self, path: str | Path) -> None:
        """Write the events as a file for chrome://tracing or Perfetto (Trace Event Format, complete events)."""
        devices = {d: i for i, d in enumerate(dict.fromkeys(e.device for e in self.events))}
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": i, "args": {"name": d}} for d, i in devices.items()
        ]
        events += [
            {"ph": "X", "name": e.op, "cat": e.dtype, "pid": devices[e.device], "tid": e.thread, "ts": e.start,
             "dur": e.duration, "args": {"module": e.module, "shapes": [list(s) for s in e.shapes], "bytes": e.bytes}}
            for e in self.events
        ]  # fmt: skip
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")


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
