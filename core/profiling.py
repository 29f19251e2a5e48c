"""The profiler: time, calls and bytes by op, device and module, as a table and as a Chrome trace."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau.core import state
from flambeau.core.autograd.modes import module_path
from flambeau.core.dispatch import Key
from flambeau.core.record import Op


@dataclass(frozen=True)
class Event:
    """One kernel call. Times in microseconds, ``start`` since the profile began; ``bytes`` read and written."""

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
    """Watch the kernels inside the block.

    With ``synchronize`` (the default) each call waits for its device, so that its time is the kernel's;
    without it, what is measured on an accelerator is the launch.

    >>> import flambeau as fb
    >>> with fb.profiler.profile() as p:
    ...     y = (fb.ones(4) * 2).sum()
    >>> [row.name for row in p.rows() if row.name in ("mul", "sum")]
    ['mul', 'sum']
    """

    def __init__(self, synchronize: bool = True):
        super().__init__(self._see)
        self.synchronize = synchronize
        self.events: list[Event] = []
        self._began = time.perf_counter()

    def __enter__(self) -> profile:
        self._began = time.perf_counter()
        super().__enter__()
        return self

    def _copy(self) -> Any:
        return self

    def _see(self, op: Op, key: Key, arrays: Sequence[Any], params: dict[str, Any], kernel: Any) -> Any:
        start = time.perf_counter()
        result = kernel(*arrays, **params)
        if self.synchronize:
            key.backend.synchronize(key.device.index)
        end = time.perf_counter()
        operands = [a for a in arrays if hasattr(a, "shape")]
        results = [r for r in (result if isinstance(result, (tuple, list)) else (result,)) if hasattr(r, "shape")]
        self.events.append(
            Event(
                op.name,
                str(key.device),
                key.dtype.name,
                str(module_path),
                (start - self._began) * 1e6,
                (end - start) * 1e6,
                sum(_count(a.shape) for a in (*operands, *results)) * key.dtype.itemsize,
                tuple(tuple(a.shape) for a in operands),
                threading.get_ident(),
            )
        )
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
        """The sums as text, the longest time first."""
        rows = sorted(self.rows(by), key=lambda r: -r.microseconds)[:limit]
        width = max([len(by), *(len(r.name) for r in rows)])
        total = sum(r.microseconds for r in rows) or 1.0
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
            {
                "ph": "X",
                "name": e.op,
                "cat": e.dtype,
                "pid": devices[e.device],
                "tid": e.thread,
                "ts": e.start,
                "dur": e.duration,
                "args": {"module": e.module, "shapes": [list(s) for s in e.shapes], "bytes": e.bytes},
            }
            for e in self.events
        ]
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")


def _count(shape: Sequence[int]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n
