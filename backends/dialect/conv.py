"""Convolutions of any number of dimensions: windows as columns for a product, and direct forms for small groups.

The columns of some images are a matrix whose row is (channel, element of the window) and whose column is a place;
``columns`` makes them of an input, ``images`` adds them up to the gradient of the input, each element by one item
from the windows that hold it: nothing is added in an order that changes, and no atomics are needed. Sums of float16
and bfloat16 are made in float32. Shapes: input (N, C, *S), weight (O, C / groups, *K), result (N, O, *L).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from math import prod
from typing import NamedTuple

from flambeau.backends.dialect import windows as win
from flambeau.backends.dialect.launch import Launch, Machine, each_row, each_task, head, over_groups, over_items
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.windows import Ints, Windows
from flambeau.core.dtype import DType


class Geometry(NamedTuple):
    """The sizes of one convolution."""

    batch: int
    channels: int
    out_channels: int
    groups: int
    windows: Windows

    @property
    def per_group(self) -> int:
        """Input channels of a group."""
        return self.channels // self.groups

    @property
    def filters(self) -> int:
        """Output channels of a group."""
        return self.out_channels // self.groups

    @property
    def rows(self) -> int:
        return self.channels * self.windows.reach

    def narrower(self, than: int) -> bool:
        """Whether groups have so few channels that matrix products do not pay."""
        return self.groups > 1 and min(self.per_group, self.filters) < than


def geometry(x_shape: Ints, weight_shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Geometry:
    w = win.windows(tuple(x_shape[2:]), tuple(weight_shape[2:]), stride, padding, dilation)
    return Geometry(x_shape[0], x_shape[1], weight_shape[0], groups, w)


class Columns(NamedTuple):
    """Where the columns of ``images`` images stand, for ``height`` places of L's first axis from ``top`` on."""

    images: int
    top: int
    height: int
    row_step: int
    image_step: int
    offset: int = 0


class Images(NamedTuple):
    """Where an input (N, C, *S) stands: its strides and offset, from the first image in question on."""

    strides: Ints
    offset: int


# -- columns -----------------------------------------------------------------------------------------
def columns(machine: Machine, dtype: DType, g: Geometry, x: Images, q: Columns) -> Launch:
    """``columns(x, q)``: the windows of images as columns in the computed type."""
    w, n = g.windows, len(g.windows.inside)
    places = prod(w.outside) // w.outside[0] * q.height
    if machine.target.cpu:
        size, group = over_items(machine, g.rows * q.images, places + 8 * places // w.outside[-1])
    else:
        size, group = over_items(machine, g.rows * q.images * places, 1)
    numbers = (g.rows, *q, *x.strides, x.offset, *w.numbers())
    text = partial(_columns_source, dtype, n, machine.target)
    return Launch(("columns", dtype, n), "columns", text, struct.pack(f"{len(numbers)}q", *numbers), size, group)


def _columns_params(n: int) -> str:
    return f"""typedef struct {{ i64 rows, images, top, height, row_step, image_step, target, over_image, over_channel,
                 over[{n}], offset; {win.fields(n)} }} Params;{win.BOUNDS}"""


def _columns_source(dtype: DType, n: int, target: Target) -> str:
    body = _columns_lines(n) if target.cpu else _columns_items(n)
    return f"""{head(target, dtype)}{_columns_params(n)}
KERNEL columns(GLOBAL const S *x, GLOBAL T *q, const Params a) {{
  i64 places = a.height{"".join(f" * a.outside[{i}]" for i in range(1, n))};
  i64 total = a.rows * a.images{"" if target.cpu else " * places"};
  {each_task(target, "total")} {{
    {body}
  }}
}}
"""


def _columns_lines(n: int) -> str:
    last = n - 1
    outside = " || ".join(f"s{i} < 0 || s{i} >= a.inside[{i}]" for i in range(last)) or "0"
    where = "".join(f" + s{i} * a.over[{i}]" for i in range(last))
    body = f"""if ({outside}) {{
        for (i64 l = 0; l < count; l++) r[l] = 0;
      }} else {{
        GLOBAL const S *line = p{where} + f{last} * a.over[{last}];
        for (i64 l = 0; l < low; l++) r[l] = 0;
        if (step == 1) {{
          INDEPENDENT
          for (i64 l = low; l < high; l++) r[l] = READ(line, l);
        }} else {{
          INDEPENDENT
          for (i64 l = low; l < high; l++) r[l] = READ(line, l * step);
        }}
        for (i64 l = high; l < count; l++) r[l] = 0;
      }}
      r += count;"""
    for i in reversed(range(last)):
        begin, end = ("a.top", "a.top + a.height") if i == 0 else ("0", f"a.outside[{i}]")
        body = f"""for (i64 l{i} = {begin}; l{i} < {end}; l{i}++) {{
      i64 s{i} = l{i} * a.stride[{i}] + f{i};
      {body}
    }}"""
    return f"""i64 image = at % a.images, row = at / a.images, rest = row;
    {win.decode("rest", "k", "a.extent", range(n))}
    {" ".join(f"i64 f{i} = k{i} * a.dilation[{i}] - a.padding[{i}];" for i in range(n))}
    GLOBAL const S *p = x + a.offset + image * a.over_image + rest * a.over_channel;
    GLOBAL T *r = q + a.target + row * a.row_step + image * a.image_step;
    {"" if last else "f0 += a.top * a.stride[0];"}
    i64 count = {f"a.outside[{last}]" if last else "a.height"}, step = a.stride[{last}] * a.over[{last}];
    i64 low = first_in(f{last}, a.stride[{last}], count);
    i64 high = last_in(f{last}, a.stride[{last}], a.inside[{last}], count);
    {body}"""


def _columns_items(n: int) -> str:
    inside = " && ".join(f"s{i} >= 0 && s{i} < a.inside[{i}]" for i in range(n))
    return f"""i64 place = at % places, rest = at / places, image = rest % a.images, row = rest / a.images;
    i64 target = a.target + row * a.row_step + image * a.image_step + place;
    rest = row; {win.decode("rest", "k", "a.extent", range(n))}
    i64 channel = rest; {win.decode("place", "l", "a.outside", range(1, n))}
    i64 l0 = place + a.top;
    {" ".join(f"i64 s{i} = l{i} * a.stride[{i}] + k{i} * a.dilation[{i}] - a.padding[{i}];" for i in range(n))}
    i64 there = a.offset + image * a.over_image + channel * a.over_channel{
        "".join(f" + s{i} * a.over[{i}]" for i in range(n))
    };
    T v = 0;
    if ({inside}) v = READ(x, there);
    q[target] = v;"""


# -- images from columns -----------------------------------------------------------------------------
def images(machine: Machine, dtype: DType, g: Geometry, q: Columns, offset: int) -> Launch:
    """``images(q, out)``: columns (of all places) added up to contiguous images (N, C, *S) from ``offset`` on."""
    w, n = g.windows, len(g.windows.inside)
    numbers = (q.images, g.channels, q.row_step, q.image_step, q.offset, offset, *w.numbers())
    cost = w.reach + 2 if not machine.target.cpu else (w.reach + 1) * (w.inside[-1] // w.stride[-1] + 8)
    tasks = q.images * g.channels * prod(w.inside[:-1] if machine.target.cpu else w.inside)
    text = partial(_images_source, dtype, n, machine.target)
    packed = struct.pack(f"{len(numbers)}q", *numbers)
    return Launch(("images", dtype, n), "images", text, packed, *over_items(machine, tasks, cost))


def _images_source(dtype: DType, n: int, target: Target) -> str:
    row, place = win.flat("k", "a.extent", range(n - 1)), win.flat("l", "a.outside", range(n - 1))
    source = f"""GLOBAL const T *r = q + a.offset + (channel * {win.product("a.extent", n)} + {row} * a.extent[{n - 1}])
        * a.row_step + image * a.image_step + {place} * a.outside[{n - 1}];"""
    body = win.covered(n, target, source, "r + k * a.row_step", "v", "T")
    return f"""{head(target, dtype)}
typedef struct {{ i64 images, channels, row_step, image_step, offset, target; {win.fields(n)} }} Params;{win.BOUNDS}
KERNEL images(GLOBAL const T *q, GLOBAL S *out, const Params a) {{
{body}
}}
"""


# -- direct forms --------------------------------------------------------------------------------------
def _direct_params(n: int) -> str:
    return f"""
typedef struct {{ i64 images, channels, filters, per_group, groups, x, weight, bias, target; {win.fields(n)} }} Params;
{win.BOUNDS}"""


def _direct_launch(
    machine: Machine, dtype: DType, name: str, source: Callable[..., str], g: Geometry, offsets: Ints, tasks: int,
    cost: int, *variant: bool,
) -> Launch:  # fmt: skip
    n = len(g.windows.inside)
    numbers = (g.batch, g.channels, g.filters, g.per_group, g.groups, *offsets, *g.windows.numbers())
    text = partial(source, dtype, n, machine.target, *variant)
    shape = over_groups if name == "weigh" else over_items
    packed = struct.pack(f"{len(numbers)}q", *numbers)
    return Launch((name, dtype, n, *variant), name, text, packed, *shape(machine, tasks, cost))


def direct(machine: Machine, dtype: DType, g: Geometry, offsets: Ints, biased: bool) -> Launch:
    """``direct(x, weight[, bias], out)``, all contiguous; ``offsets`` are of x, weight, bias and out."""
    w, work = g.windows, g.per_group * g.windows.reach
    if machine.target.cpu:
        tasks, work = g.batch * g.out_channels * prod(w.outside[:-1]), work * (w.outside[-1] + 8)
    else:
        tasks = g.batch * g.out_channels * w.places
    return _direct_launch(machine, dtype, "direct", _direct_source, g, offsets, tasks, work, biased)


def _direct_source(dtype: DType, n: int, target: Target, biased: bool) -> str:
    last = n - 1
    start = "READ(bias, a.bias + filter)" if biased else "(T)0"
    image = f"x + a.x + ((image * a.channels + channel) * {win.product('a.inside', n)}"
    line = f"{image} + {win.flat('s', 'a.inside', range(last))} * a.inside[{last}])"
    element = f"weight + a.weight + ((filter * a.per_group + c) * {win.product('a.extent', n)}"
    row = f"{element} + {win.flat('k', 'a.extent', range(last))} * a.extent[{last}])"
    if target.cpu:
        inner = f"""GLOBAL const S *p = {line};
      GLOBAL const S *u = {row};
      for (i64 k = 0; k < a.extent[{last}]; k++) {{
        i64 t = a.stride[{last}], f = left * t + k * a.dilation[{last}] - a.padding[{last}];
        i64 low = first_in(f, t, w), high = last_in(f, t, a.inside[{last}], w);
        T v = READ(u, k);
        if (t == 1) {{
          INDEPENDENT
          for (i64 l = low; l < high; l++) sums[l] = fma(v, READ(p, l + f), sums[l]);
        }} else {{
          INDEPENDENT
          for (i64 l = low; l < high; l++) sums[l] = fma(v, READ(p, l * t + f), sums[l]);
        }}
      }}"""
        body = f"""for (i64 left = 0; left < a.outside[{last}]; left += {win.STRIP}) {{
    i64 w = a.outside[{last}] - left < {win.STRIP} ? a.outside[{last}] - left : {win.STRIP};
    T sums[{win.STRIP}];
    for (i64 j = 0; j < w; j++) sums[j] = start;
    for (i64 c = 0; c < a.per_group; c++) {{
      i64 channel = first + c;
      {win.window_loops(n, inner)}
    }}
    for (i64 j = 0; j < w; j++) WRITE(out, a.target + at * a.outside[{last}] + left + j, sums[j]);
    }}"""
    else:
        inner = f"""GLOBAL const S *p = {line};
      GLOBAL const S *u = {row};
      for (i64 k = 0; k < a.extent[{last}]; k++) {{
        i64 s = l{last} * a.stride[{last}] + k * a.dilation[{last}] - a.padding[{last}];
        if (s >= 0 && s < a.inside[{last}]) sum = fma(READ(u, k), READ(p, s), sum);
      }}"""
        body = f"""T sum = start;
    for (i64 c = 0; c < a.per_group; c++) {{
      i64 channel = first + c;
      {win.window_loops(n, inner)}
    }}
    WRITE(out, a.target + at, sum);"""
    axes = range(last) if target.cpu else range(n)
    return f"""{head(target, dtype)}{_direct_params(n)}
KERNEL direct(GLOBAL const S *x, GLOBAL const S *weight, {"GLOBAL const S *bias, " if biased else ""}GLOBAL S *out,
              const Params a) {{
  i64 total = a.images * a.groups * a.filters{"".join(f" * a.outside[{i}]" for i in axes)};
  {each_task(target, "total")} {{
    i64 rest = at; {win.decode("rest", "l", "a.outside", axes)}
    i64 filter = rest % (a.groups * a.filters), image = rest / (a.groups * a.filters);
    i64 first = filter / a.filters * a.per_group;
    T start = {start};
    {body}
  }}
}}
"""


def spread(machine: Machine, dtype: DType, g: Geometry, offsets: Ints) -> Launch:
    """``spread(grad, weight, out)``: the gradient of the input; ``offsets`` are of grad, weight and out."""
    w, work = g.windows, g.filters * g.windows.reach
    grad, weight, out = offsets
    if machine.target.cpu:
        tasks, work = g.batch * g.channels * prod(w.inside[:-1]), work * (w.inside[-1] // w.stride[-1] + 8)
    else:
        tasks = g.batch * g.channels * prod(w.inside)
    return _direct_launch(machine, dtype, "spread", _spread_source, g, (grad, weight, 0, out), tasks, work)


def _spread_source(dtype: DType, n: int, target: Target) -> str:
    last = n - 1
    source = f"""i64 own = channel % a.per_group, filter = channel / a.per_group * a.filters + which;
      GLOBAL const S *r = grad + a.x + ((image * a.groups * a.filters + filter) * {win.product("a.outside", n)}
        + {win.flat("l", "a.outside", range(last))} * a.outside[{last}]);
      GLOBAL const S *w_ = weight + a.weight + ((filter * a.per_group + own) * {win.product("a.extent", n)}
        + {win.flat("k", "a.extent", range(last))} * a.extent[{last}]);"""
    body = win.covered(
        n, target, source, "r", "READ(w_, k) * v", "S", "for (i64 which = 0; which < a.filters; which++) {$LOOPS}"
    )
    return f"""{head(target, dtype)}{_direct_params(n)}
KERNEL spread(GLOBAL const S *grad, GLOBAL const S *weight, GLOBAL S *out, const Params a) {{
{body}
}}
"""


def weigh(machine: Machine, dtype: DType, g: Geometry, offsets: Ints) -> Launch:
    """``weigh(grad, x, out)``: the gradient of the weight; ``offsets`` are of grad, x and out."""
    grad, x, out = offsets
    tasks, cost = g.out_channels * g.per_group * g.windows.reach, g.batch * g.windows.places
    return _direct_launch(machine, dtype, "weigh", _weigh_source, g, (x, grad, 0, out), tasks, cost)


def _weigh_source(dtype: DType, n: int, target: Target) -> str:
    last = n - 1
    lines = f"""i64 result = image * a.groups * a.filters + filter;
      GLOBAL const S *u = grad + a.weight + result * {win.product("a.outside", n)};
      GLOBAL const S *p = x + a.x + (image * a.channels + channel) * {win.product("a.inside", n)};"""
    if target.cpu:
        body = f"""GLOBAL const S *v = u + {win.flat("l", "a.outside", range(last))} * a.outside[{last}];
      GLOBAL const S *r = p + {win.flat("s", "a.inside", range(last))} * a.inside[{last}] + f{last};
      for (i64 left = low; left < high; left += {win.STRIP}) {{
        i64 w = high - left < {win.STRIP} ? high - left : {win.STRIP};
        INDEPENDENT
        for (i64 j = 0; j < w; j++) sums[j] = fma(READ(v, left + j), READ(r, (left + j) * t), sums[j]);
      }}"""
        for i in reversed(range(last)):
            body = f"""for (i64 l{i} = 0; l{i} < a.outside[{i}]; l{i}++) {{
      i64 s{i} = l{i} * a.stride[{i}] + f{i};
      if (s{i} < 0 || s{i} >= a.inside[{i}]) continue;
      {body}
    }}"""
        body = f"""i64 t = a.stride[{last}], low = first_in(f{last}, t, a.outside[{last}]);
    i64 high = last_in(f{last}, t, a.inside[{last}], a.outside[{last}]);
    T sums[{win.STRIP}], sum = 0;
    for (int j = 0; j < {win.STRIP}; j++) sums[j] = 0;
    for (i64 image = 0; image < a.images; image++) {{
      {lines}
      {body}
    }}
    for (int j = 0; j < {win.STRIP}; j++) sum += sums[j];
    WRITE(out, a.target + at, sum);"""
    else:
        inside = " && ".join(f"s{i} >= 0 && s{i} < a.inside[{i}]" for i in range(n))
        body = f"""i64 places = {win.product("a.outside", n)};
    T sum = 0;
    for (i64 each = LID; each < a.images * places; each += LSIZE) {{
      i64 image = each / places, place = each % places;
      {lines}
      i64 digits = place; {win.decode("digits", "l", "a.outside", range(n))}
      {" ".join(f"i64 s{i} = l{i} * a.stride[{i}] + f{i};" for i in range(n))}
      if ({inside}) sum = fma(READ(u, place), READ(p, {win.flat("s", "a.inside", range(n))}), sum);
    }}
    lanes[LID] = sum;
    BARRIER;
    for (int h = LSIZE >> 1; h > 0; h >>= 1) {{
      if (LID < h) lanes[LID] += lanes[LID + h];
      BARRIER;
    }}
    if (LID == 0) WRITE(out, a.target + at, lanes[0]);
    BARRIER;"""
    return f"""{head(target, dtype)}{_direct_params(n)}
KERNEL weigh(GLOBAL const S *grad, GLOBAL const S *x, GLOBAL S *out, const Params a) {{
  {"" if target.cpu else "LOCAL T lanes[256];"}
  i64 total = a.groups * a.filters * a.per_group * {win.product("a.extent", n)};
  {each_row(target, "total")} {{
    i64 rest = at; {win.decode("rest", "k", "a.extent", range(n))}
    i64 filter = rest / a.per_group, channel = filter / a.filters * a.per_group + rest % a.per_group;
    {" ".join(f"i64 f{i} = k{i} * a.dilation[{i}] - a.padding[{i}];" for i in range(n))}
    {body}
  }}
}}
"""
