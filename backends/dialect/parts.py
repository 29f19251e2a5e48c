"""Copies that are more than a change of strides: space around an array, in one pass over the result."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Final, NamedTuple

from flambeau.backends.dialect.launch import Launch, Machine, each_task, over_items
from flambeau.backends.dialect.prelude import Target, prelude

#: How many axes a kernel walks.
MAX_AXES: Final = 12


class Padded(NamedTuple):
    """For each axis: the size and stride of the source, what comes before it (negative: is cut off), the result's."""

    inside: tuple[int, ...]
    strides: tuple[int, ...]
    before: tuple[int, ...]
    outside: tuple[int, ...]


def padded(shape: Sequence[int], strides: Sequence[int], widths: Sequence[tuple[int, int]]) -> Padded:
    """The fewest axes that say the same: an axis without space joins the one before it where strides allow."""
    axes: list[tuple[int, int, int, int]] = []
    for n, stride, (before, after) in zip(shape, strides, widths, strict=True):
        if axes and not before and not after and axes[-1][1] == stride * n:
            m, _, b, o = axes[-1]
            axes[-1] = (m * n, stride, b * n, o * n)
        else:
            axes.append((n, stride, before, n + before + after))
    inside, steps, starts, outside = zip(*axes, strict=True) if axes else ((1,), (0,), (0,), (1,))
    return Padded(inside, steps, starts, outside)


def pad(machine: Machine, size: int, p: Padded, offset: int, value: bytes) -> Launch:
    """``pad(x, out)`` of elements of ``size`` bytes, ``value`` (as many bytes) around them; ``out`` is contiguous."""
    fill = (0,) * (MAX_AXES - len(p.inside))
    lines = prod(p.outside[:-1])
    numbers = [lines, len(p.inside), offset]
    for values in p:
        numbers += [*values, *fill]
    params = struct.pack(f"{len(numbers)}q", *numbers) + value.ljust(16, b"\0")
    if machine.target.cpu:
        items = over_items(machine, lines, p.outside[-1] + 16)
    else:
        items = over_items(machine, lines * p.outside[-1], 1)
    return Launch(("pad", size), "pad", partial(_pad_source, size, machine.target), params, *items)


def _pad_source(size: int, target: Target) -> str:
    kind = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}.get(size)
    element = f"typedef {kind} E;" if kind else "typedef struct { u64 low, high; } E;"
    value = f"const E value = ({kind})a.low;" if kind else "E value; value.low = a.low; value.high = a.high;"
    walk = """for (int d = (int)a.axes - 2; d >= 0; d--) {
      i64 c = rest % a.outside[d] - a.before[d];
      rest /= a.outside[d];
      inside &= c >= 0 && c < a.inside[d];
      there += c * a.stride[d];
    }"""
    if target.cpu:
        body = f"""i64 rest = at, there = a.offset;
    int inside = 1;
    {walk}
    GLOBAL E *r = q + at * n;
    if (!inside) {{
      for (i64 i = 0; i < n; i++) r[i] = value;
      continue;
    }}
    GLOBAL const E *p = x + there - before * step;
    for (i64 i = 0; i < low; i++) r[i] = value;
    if (step == 1) {{
      INDEPENDENT
      for (i64 i = low; i < high; i++) r[i] = p[i];
    }} else {{
      INDEPENDENT
      for (i64 i = low; i < high; i++) r[i] = p[i * step];
    }}
    for (i64 i = high; i < n; i++) r[i] = value;"""
    else:
        body = f"""i64 i = at % n, rest = at / n, there = a.offset + (i - before) * step;
    int inside = i >= low && i < high;
    {walk}
    q[at] = value;
    if (inside) q[at] = x[there];"""
    return f"""{prelude(target)}
{element}
typedef struct {{ i64 lines, axes, offset, inside[{MAX_AXES}], stride[{MAX_AXES}], before[{MAX_AXES}],
                 outside[{MAX_AXES}]; u64 low, high; }} Params;
KERNEL pad(GLOBAL const E *x, GLOBAL E *q, const Params a) {{
  {value}
  int last = (int)a.axes - 1;
  i64 n = a.outside[last], before = a.before[last], step = a.stride[last], high = before + a.inside[last];
  i64 low = before > 0 ? before : 0;
  high = high < low ? low : (high < n ? high : n);
  low = low < n ? low : n;
  i64 total = a.lines{"" if target.cpu else " * n"};
  {each_task(target, "total")} {{
    {body}
  }}
}}
"""
