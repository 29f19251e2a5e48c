"""Pooling over windows of (N, C, *S), and its gradients: each result is made by one item, with no atomics.

float16 and bfloat16 are summed in float32. Operands are contiguous.
"""

from __future__ import annotations

import struct
from functools import partial
from math import prod

from flambeau.backends.dialect import windows as win
from flambeau.backends.dialect.index import SCATTER
from flambeau.backends.dialect.launch import Launch, Machine, each_row, each_task, head, over_groups, over_items
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.reduce import start
from flambeau.backends.dialect.windows import STRIP, Ints, Windows
from flambeau.core.dtype import DType


def _params(n: int) -> str:
    return f"""
typedef struct {{ i64 images, channels, source, target, places, divisor, include; {win.fields(n)} }} Params;
{win.BOUNDS}
DEVICE i64 counted(i64 l, i64 k, i64 t, i64 p, i64 n, i64 include) {{
  i64 first = l * t - p, last = first + k;
  if (last > n + p) last = n + p;
  if (!include) {{ if (first < 0) first = 0; if (last > n) last = n; }}
  return last - first;
}}
"""


def _launch(
    machine: Machine, dtype: DType, name: str, planes: tuple[int, int], w: Windows, head: Ints, back: bool = False
) -> Launch:
    """A kernel over the windows, or (``back``) over what they slide over; ``head`` are the numbers before theirs."""
    n, numbers = len(w.inside), (*planes, *head, *w.numbers())
    sizes = w.inside if back else w.outside
    lines = prod(planes) * prod(sizes[:-1])
    if machine.target.cpu:
        size, group = over_items(machine, lines, (w.reach + 1) * (w.outside[-1] + 8))
    else:
        size, group = over_items(machine, lines * sizes[-1], w.reach)
    text = partial({"max_pool": _max_source, "avg_pool": _avg_source, "avg_pool_grad": _avg_grad_source}[name],
                   dtype, n, machine.target)  # fmt: skip
    return Launch((name, dtype, n), name, text, struct.pack(f"{len(numbers)}q", *numbers), size, group)


def max_pool(machine: Machine, dtype: DType, planes: tuple[int, int], w: Windows, offset: int) -> Launch:
    """``max_pool(x, out, places)``: the largest of each window, and where it is in the flattened sizes.

    The first of equal ones, never what stands around the input; nan is largest.
    """
    return _launch(machine, dtype, "max_pool", planes, w, (offset, 0, 0, 0, 0))


def _pooled(n: int, target: Target, begin: str, step: str, finish: str, fold: str = "") -> str:
    """For each window: ``begin``, ``step`` for its elements ``v`` at ``base + s``, ``fold`` after some, ``finish``."""
    last = n - 1
    line = f"""i64 base = {win.flat("s", "a.inside", range(last))} * a.inside[{last}];
      GLOBAL const S *p = x + a.source + plane * {win.product("a.inside", n)} + base;"""
    if target.cpu:
        inner = f"""{line}
      for (i64 k = 0; k < a.extent[{last}]; k++) {{
        i64 t = a.stride[{last}], f = left * t + k * a.dilation[{last}] - a.padding[{last}];
        i64 low = first_in(f, t, w), high = last_in(f, t, a.inside[{last}], w);
        INDEPENDENT
        for (i64 j = low; j < high; j++) {{ i64 s = j * t + f; T v = READ(p, s); {step} }}
        {fold}
      }}"""
        return f"""  i64 total = a.images * a.channels{"".join(f" * a.outside[{i}]" for i in range(last))};
  {each_task(target, "total")} {{
    i64 plane = at; {win.decode("plane", "l", "a.outside", range(last))}
    for (i64 left = 0; left < a.outside[{last}]; left += {STRIP}) {{
    i64 w = a.outside[{last}] - left < {STRIP} ? a.outside[{last}] - left : {STRIP};
    {begin}
    {win.window_loops(n, inner)}
    for (i64 j = 0; j < w; j++) {{ i64 l{last} = left + j, to = at * a.outside[{last}] + left + j; {finish} }}
    }}
  }}"""
    inner = f"""{line}
      for (i64 k = 0; k < a.extent[{last}]; k++) {{
        i64 s = l{last} * a.stride[{last}] + k * a.dilation[{last}] - a.padding[{last}];
        if (s >= 0 && s < a.inside[{last}]) {{ T v = READ(p, s); {step} }}
        {fold}
      }}"""
    return f"""  i64 total = a.images * a.channels * {win.product("a.outside", n)};
  {each_task(target, "total")} {{
    i64 plane = at, to = at, j = 0; {win.decode("plane", "l", "a.outside", range(n))}
    i64 w = 1;
    {begin}
    {win.window_loops(n, inner)}
    {finish}
  }}"""


def _max_source(dtype: DType, n: int, target: Target) -> str:
    length = STRIP if target.cpu else 1
    begin = f"""T best[{length}]; i64 place[{length}];
    for (i64 j = 0; j < w; j++) {{ best[j] = {start("max", dtype)}; place[j] = -1; }}"""
    step = """int better = (place[j] < 0) | (v > best[j]) | ((v != v) & (best[j] == best[j]));
          best[j] = better ? v : best[j]; place[j] = better ? base + s : place[j];"""
    finish = "WRITE(out, to, best[j]); places[to] = place[j] < 0 ? 0 : place[j];"
    return f"""{head(target, dtype)}{_params(n)}
KERNEL max_pool(GLOBAL const S *x, GLOBAL S *out, GLOBAL i64 *places, const Params a) {{
{_pooled(n, target, begin, step, finish)}
}}
"""


def avg_pool(
    machine: Machine, dtype: DType, planes: tuple[int, int], w: Windows, offset: int, include_pad: bool,
    divisor: int | None,
) -> Launch:  # fmt: skip
    """``avg_pool(x, out)``: the sum of each window over ``divisor``, or over the elements that it counts."""
    return _launch(machine, dtype, "avg_pool", planes, w, (offset, 0, 0, divisor or 0, int(include_pad)))


def _count(axes: range) -> str:
    """The product of what a window counts along ``axes``."""
    return " * ".join(
        f"counted(l{i}, a.extent[{i}], a.stride[{i}], a.padding[{i}], a.inside[{i}], a.include)" for i in axes
    ) or "1"  # fmt: skip


def _avg_source(dtype: DType, n: int, target: Target) -> str:
    strip = STRIP if target.cpu else 1
    begin = f"""T sums[{strip}], rows[{strip}];
    for (i64 j = 0; j < w; j++) {{ sums[j] = 0; rows[j] = 0; }}
    int run = 0;"""
    finish = f"""T count = (T)(a.divisor ? a.divisor : {_count(range(n))});
      T mean = (sums[j] + rows[j]) / count; WRITE(out, to, mean);"""
    fold = "if (++run == 64) { run = 0; for (i64 j = 0; j < w; j++) { sums[j] += rows[j]; rows[j] = 0; } }"
    return f"""{head(target, dtype)}{_params(n)}
KERNEL avg_pool(GLOBAL const S *x, GLOBAL S *out, const Params a) {{
{_pooled(n, target, begin, "rows[j] += v;", finish, fold)}
}}
"""


def avg_pool_grad(
    machine: Machine, dtype: DType, planes: tuple[int, int], w: Windows, offset: int, include_pad: bool,
    divisor: int | None,
) -> Launch:  # fmt: skip
    """``avg_pool_grad(grad, out)``: for each element, its shares of the gradients of the windows that hold it."""
    numbers = (offset, 0, 0, divisor or 0, int(include_pad))
    return _launch(machine, dtype, "avg_pool_grad", planes, w, numbers, back=True)


def _avg_grad_source(dtype: DType, n: int, target: Target) -> str:
    last = n - 1
    source = f"""i64 outer = {_count(range(last))};
      GLOBAL const S *r = grad + a.source + (image * a.channels + channel) * {win.product("a.outside", n)}
        + {win.flat("l", "a.outside", range(last))} * a.outside[{last}];"""
    inner = f"counted(l, a.extent[{last}], a.stride[{last}], a.padding[{last}], a.inside[{last}], a.include)"
    body = win.covered(n, target, source, "r", f"v / (T)(a.divisor ? a.divisor : outer * {inner})", "S")
    return f"""{head(target, dtype)}{_params(n)}
KERNEL avg_pool_grad(GLOBAL const S *grad, GLOBAL S *out, const Params a) {{
{body}
}}
"""


def max_pool_grad(
    machine: Machine, dtype: DType, planes: int, inside: int, outside: int, offsets: tuple[int, int]
) -> Launch:
    """``max_pool_grad(grad, places, out, note)``: gradients added up where they came from, in their order.

    ``out`` is in the computed type. A place out of range is left out and leaves a note, as in scatter.
    """
    numbers = (planes, inside, outside, *offsets)
    size, group = over_groups(machine, planes, inside + outside)
    text = partial(_max_grad_source, dtype, machine.target)
    return Launch(("max_pool_grad", dtype), "max_pool_grad", text, struct.pack("5q", *numbers), size, group)


def _max_grad_source(dtype: DType, target: Target) -> str:
    note = f"{{ note[0] = 1; note[1] = place; note[2] = a.inside; note[3] = {SCATTER}; note[4] = 2; }}"
    if target.cpu:
        body = f"""for (i64 i = 0; i < a.inside; i++) q[i] = 0;
    for (i64 i = 0; i < a.outside; i++) {{
      i64 place = w[i];
      if (place >= 0 && place < a.inside) q[place] += READ(g, i);
      else {note}
    }}"""
    else:  # an item owns some elements and looks at all places in turn
        body = f"""for (i64 i = LID; i < a.inside; i += LSIZE) q[i] = 0;
    for (i64 first = 0; first < a.outside; first += LSIZE) {{
      int count = (int)(a.outside - first < LSIZE ? a.outside - first : LSIZE);
      if (LID < count) {{
        i64 place = w[first + LID];
        if (place < 0 || place >= a.inside) {{ {note} place = -1; }}
        found[LID] = place; values[LID] = READ(g, first + LID);
      }}
      BARRIER;
      for (int i = 0; i < count; i++)
        if (found[i] >= 0 && (int)(found[i] & (LSIZE - 1)) == LID) q[found[i]] += values[i];
      BARRIER;
    }}"""
    return f"""{head(target, dtype)}
typedef struct {{ i64 planes, inside, outside, source, where; }} Params;
KERNEL max_pool_grad(GLOBAL const S *grad, GLOBAL const i64 *places, GLOBAL T *out, GLOBAL i64 *note, const Params a) {{
  {"" if target.cpu else "LOCAL i64 found[256]; LOCAL T values[256];"}
  {each_row(target, "a.planes")} {{
    GLOBAL T *q = out + at * a.inside;
    GLOBAL const S *g = grad + a.source + at * a.outside;
    GLOBAL const i64 *w = places + a.where + at * a.outside;
    {body}
  }}
}}
"""
