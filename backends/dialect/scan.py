"""Scans along an axis, in chunks: the totals of chunks, then each chunk again from the totals before it.

A scan is a way to join what is so far with the next element: sums, products, logarithms of sums of exponentials,
extremes with their places, and the recurrence out[t] = a[t] * out[t - 1] + b[t], whose elements are maps that are
composed (G. Blelloch, "Prefix sums and their applications", 1990). float16 and bfloat16 are joined in float32.
"""

from __future__ import annotations

import math
import struct
from functools import partial
from typing import Final, NamedTuple

from flambeau.backends.dialect.functions import Library
from flambeau.backends.dialect.launch import Launch, Machine, computed, each_task, head, over_items
from flambeau.backends.dialect.prelude import REGISTER, Target
from flambeau.backends.dialect.printer import literal
from flambeau.backends.dialect.reduce import start
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: Columns next to each other that an item of a processor scans together.
STRIP: Final = 8
#: Chunks of one line at most: each looks at the totals of all before it.
CHUNKS: Final = 1024


class Lines(NamedTuple):
    """Contiguous (outer, n, inner), scanned along n in chunks of ``chunk``."""

    outer: int
    n: int
    inner: int
    chunk: int

    @property
    def chunks(self) -> int:
        return -(-self.n // self.chunk)

    @property
    def totals(self) -> int:
        """How many states of 16 bytes the totals are."""
        return self.outer * self.chunks * self.inner


def lines(machine: Machine, outer: int, n: int, inner: int) -> Lines:
    """Chunks such that every unit has work."""
    lanes, tasks = machine.units * (4 if machine.target.cpu else 256), outer * inner
    if tasks >= lanes and (machine.target.fp64 or n <= CHUNKS):
        return Lines(outer, n, inner, n)
    if not machine.target.fp64:  # short chunks, which lose little
        return Lines(outer, n, inner, max(64, -(-n // CHUNKS)))
    return Lines(outer, n, inner, max(-(-n * tasks // lanes), 64, -(-n // CHUNKS)))


class _Scan(NamedTuple):
    """C texts: the state V, what it begins as, the state of element i, and ``o`` joined with the next ``v``."""

    state: str
    begin: str
    element: str
    join: str
    emit: str
    used: str = ""
    inputs: int = 1
    places: bool = False


def _wide(op: str, dtype: DType, target: Target) -> DType:
    """The type of what is so far: float64 for real numbers where there is one, since errors add up along a line.

    Other devices than processors have many short chunks for logcumsumexp, and slow functions of float64.
    """
    kind = computed(dtype)
    wider = kind is dt.float32 and target.fp64 and (op != "logcumsumexp" or target.cpu)
    return dt.float64 if wider else kind


#: log(1 + e) with the rounding of 1 + e made good (W. Kahan), since a driver's own log1p is slow.
_LOG1P: Final = """
DEVICE W log_of_one_more(W e) { W u = 1 + e; return u == 1 ? e : $LOG(u) * (e / (u - 1)); }
"""


def _scan_of(op: str, dtype: DType, target: Target) -> _Scan:
    read, write, wide = "READ(x, a.offset + i)", "WRITE(q, i, (T)o);", _wide(op, dtype, target)
    named = f"typedef {REGISTER[wide]} W; "
    if op in ("cumsum", "cumprod"):
        name, sign = ("sum", "+") if op == "cumsum" else ("prod", "*")
        return _Scan(named + "typedef W V;", start(name, wide), read, f"(W)(o {sign} v)", write)
    if op == "logcumsumexp":
        library = Library(target)
        exp, log = (library.require(name, wide) for name in ("exp", "log"))
        apart = f"(o > v ? o : v) + log_of_one_more({exp}(o > v ? v - o : o - v))"
        joined = f"(o == v ? o + {literal(math.log(2), wide)} : {apart})"  # equal ones may be infinite
        return _Scan(
            "typedef W V;",
            start("max", wide),
            read,
            joined,
            write,
            library.text() + named + _LOG1P.replace("$LOG", log),
        )
    if op == "affine_scan":
        element = "make(READ(x, a.offset + i), READ(y, a.second + i))"
        state = named + "typedef struct { W f, b; } V; DEVICE V make(W f, W b) { V v; v.f = f; v.b = b; return v; }"
        join = "make(o.f * v.f, v.f * o.b + v.b)"
        return _Scan(state, "make(1, 0)", element, join, "WRITE(q, i, (T)o.b);", inputs=2)
    sign = ">=" if op == "cummax" else "<="
    later = f"(o.p < 0 || v.v {sign} o.v || v.v != v.v)"
    return _Scan("typedef struct { T v; i64 p; } V; DEVICE V make(T v, i64 p) { V r; r.v = v; r.p = p; return r; }",
                 "make(0, -1)", f"make({read}, at_)", f"({later} && v.p >= 0 ? v : o)",
                 "WRITE(q, i, o.v); places[i] = o.p;", places=True)  # fmt: skip


def scan(
    machine: Machine, op: str, dtype: DType, size: Lines, offsets: tuple[int, int] = (0, 0)
) -> tuple[Launch | None, Launch]:
    """``totals(x[, y], states)`` where there are several chunks, and ``scan(x[, y], states, out[, places])``.

    ``op`` is cumsum, cumprod, logcumsumexp, cummax, cummin, or affine_scan with its factors ``x`` and terms ``y``.
    """
    strip = STRIP if machine.target.cpu and size.inner > 1 else 1
    tasks = size.outer * size.chunks * -(-size.inner // strip)
    params = struct.pack("6q", *size, *offsets)
    geometry = over_items(machine, tasks, 2 * size.chunk * strip)
    first, last = (
        Launch((name, op, dtype, strip), name, partial(source, op, dtype, strip, machine.target), params, *geometry)
        for name in ("totals", "scan")
    )
    return (first if size.chunks > 1 else None), last


def source(op: str, dtype: DType, strip: int, target: Target) -> str:
    """The program of both kernels."""
    s = _scan_of(op, dtype, target)
    ins = "GLOBAL const S *x, " + ("GLOBAL const S *y, " if s.inputs == 2 else "")
    walk = f"""i64 chunks = (a.n + a.chunk - 1) / a.chunk, across = (a.inner + {strip - 1}) / {strip};
  i64 total = a.outer * chunks * across;
  {each_task(target, "total")} {{
    i64 left = at % across * {strip}, rest = at / across, k = rest % chunks, row = rest / chunks;
    i64 high = (k + 1) * a.chunk < a.n ? (k + 1) * a.chunk : a.n;
    int w = (int)(a.inner - left < {strip} ? a.inner - left : {strip});
    V state[{strip}];
    for (int c = 0; c < w; c++) state[c] = {s.begin};"""
    step = f"""for (i64 at_ = k * a.chunk; at_ < high; at_++) {{
      i64 line = (row * a.n + at_) * a.inner + left;
      for (int c = 0; c < w; c++) {{
        i64 i = line + c;
        V o = state[c], v = {s.element};
        state[c] = o = {s.join};
        $EMIT
      }}
    }}"""
    before = f"""for (i64 j = 0; j < k; j++)
      for (int c = 0; c < w; c++) {{
        V o = state[c], v = states[(row * chunks + j) * a.inner + left + c];
        state[c] = {s.join};
      }}"""
    keep = "for (int c = 0; c < w; c++) states[(row * chunks + k) * a.inner + left + c] = state[c];"
    return f"""{head(target, dtype)}{s.used}
typedef struct {{ i64 outer, n, inner, chunk, offset, second; }} Params;
{s.state}
KERNEL totals({ins}GLOBAL V *states, const Params a) {{
  {walk}
    {step.replace("$EMIT", "")}
    {keep}
  }}
}}
KERNEL scan({ins}GLOBAL const V *states, GLOBAL S *q, {"GLOBAL i64 *places, " if s.places else ""}const Params a) {{
  {walk}
    {before}
    {step.replace("$EMIT", s.emit)}
  }}
}}
"""
