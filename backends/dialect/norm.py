"""Normalisations and their gradients: each row, or channel, by one work-item or one group.

Variances are the mean square of the centred values (two passes over a row that is in the cache). float16 and
bfloat16 are computed in float32 and rounded once. Operands are contiguous.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Final, NamedTuple

from flambeau.backends.dialect.launch import (
    Launch,
    Machine,
    computed,
    each_row,
    each_task,
    head,
    over_groups,
    over_items,
)
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.rows import along_row, lanes, only_one, row_sums
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: Parts into which the rows are cut for the gradients of weight and bias, at most,
PARTS: Final = 64
#: unless there are more rows in one than should be added one by one.
RUN: Final = 256


class Rows(NamedTuple):
    """What is normalised: ``n`` elements in each of ``rows`` rows; without ``centred`` only scaled (rms_norm)."""

    rows: int
    n: int
    centred: bool
    eps: float


def _real(value: float, dtype: DType) -> bytes:
    """A number of the computed type, at the end of a struct."""
    return struct.pack("d", value) if computed(dtype) is dt.float64 else struct.pack("fI", value, 0)


def _flagged(name: str, flag: bool) -> str:
    return f"GLOBAL const S *{name}, " if flag else ""


#: What the sum of a row lost to rounding, found in the second pass (Chan, Golub and LeVeque, 1983).
_CORRECTED: Final = "rest /= {n}; mean += rest; square -= {n} * rest * rest;"


def _standard(target: Target, centred: bool) -> str:
    """The mean of row ``p`` and one over its standard deviation."""
    mean = f"{row_sums(target, {'total': 'READ(p, i)'}, 'a.n', '')}\n    T mean = total / (T)a.n;"
    terms = {"square": "d * d"} | ({"rest": "d"} if centred else {})
    return f"""{mean if centred else "T mean = 0;"}
    {row_sums(target, terms, "a.n", "T d = READ(p, i) - mean;")}
    {_CORRECTED.format(n="(T)a.n") if centred else ""}
    T scale = 1 / sqrt(square / (T)a.n + a.eps);"""


# -- over the last axes --------------------------------------------------------------------------------
def norm(machine: Machine, dtype: DType, r: Rows, offsets: tuple[int, int, int], affine: tuple[bool, bool]) -> Launch:
    """``normalised(x[, weight][, bias], out)``; ``offsets`` are of x, weight, bias. CUDA has a ``norm`` of its own."""
    size, group = over_groups(machine, r.rows, 8 * r.n)
    params = struct.pack("5q", r.rows, r.n, *offsets) + _real(r.eps, dtype)
    text = partial(_norm_source, dtype, r.centred, affine, machine.target)
    return Launch(("norm", dtype, r.centred, affine), "normalised", text, params, size, group)


def _norm_source(dtype: DType, centred: bool, affine: tuple[bool, bool], target: Target) -> str:
    weighted = " * READ(weight, a.weight + i)" if affine[0] else ""
    shifted = " + READ(bias, a.bias + i)" if affine[1] else ""
    body = f"T v = (READ(p, i) - mean) * scale{weighted}{shifted}; WRITE(r, i, v);"
    return f"""{head(target, dtype)}
typedef struct {{ i64 rows, n, x, weight, bias; T eps; }} Params;
KERNEL normalised(GLOBAL const S *x, {_flagged("weight", affine[0])}{_flagged("bias", affine[1])}GLOBAL S *q,
            const Params a) {{
  {lanes(target)}
  {each_row(target, "a.rows")} {{
    GLOBAL const S *p = x + a.x + at * a.n;
    GLOBAL S *r = q + at * a.n;
    {_standard(target, centred)}
    {along_row(target, "a.n", body)}
  }}
}}
"""


def parts_of(machine: Machine, r: Rows) -> int:
    """Into how many parts the rows are cut: what the third buffer of ``norm_grad`` has room for."""
    most = min(4 * machine.units, PARTS) if machine.target.cpu else PARTS
    return max(1, min(r.rows, most), r.rows // RUN)


def norm_grad(machine: Machine, dtype: DType, r: Rows, offsets: tuple[int, int, int], weighted: bool) -> Launch:
    """``norm_grad(grad, x[, weight], of_x, sums)``; ``offsets`` are of grad, x and weight.

    On processors ``sums`` (2, parts, n), of the computed type, gets the parts of the gradients of weight and bias;
    elsewhere ``sums`` (rows, 2) gets what ``norm_sums`` makes them of.
    """
    parts = parts_of(machine, r)
    size, group = (parts, 1) if machine.target.cpu else over_groups(machine, r.rows, r.n)
    params = struct.pack("6q", r.rows, r.n, parts, *offsets) + _real(r.eps, dtype)
    text = partial(_norm_grad_source, dtype, r.centred, weighted, machine.target)
    return Launch(("norm_grad", dtype, r.centred, weighted), "norm_grad", text, params, size, group)


_GRAD_PARAMS: Final = "typedef struct { i64 rows, n, parts, grad, x, weight; T eps; } Params;"


def _norm_grad_source(dtype: DType, centred: bool, weighted: bool, target: Target) -> str:
    ready = f"""T g = READ(u, i){" * READ(weight, a.weight + i)" if weighted else ""};
      T d = (READ(p, i) - mean) * scale;"""
    sums = row_sums(target, {"along": "g * d"} | ({"level": "g"} if centred else {}), "a.n", ready)
    total = "level / (T)a.n" if centred else "0"
    body = f"{ready} T v = scale * (g - base - d * slope); WRITE(r, i, v);"
    begin, end = "", only_one(target, "sums[2 * at] = mean; sums[2 * at + 1] = scale;")
    if target.cpu:
        begin = """GLOBAL T *by_weight = sums + GID * a.n, *by_bias = sums + (a.parts + GID) * a.n;
  for (i64 i = 0; i < a.n; i++) { by_weight[i] = 0; by_bias[i] = 0; }"""
        body += " T g0 = READ(u, i); by_weight[i] += g0 * d; by_bias[i] += g0;"
        end = ""
    return f"""{head(target, dtype)}{_GRAD_PARAMS}
KERNEL norm_grad(GLOBAL const S *grad, GLOBAL const S *x, {_flagged("weight", weighted)}GLOBAL S *q, GLOBAL T *sums,
                 const Params a) {{
  {lanes(target)}
  {begin}
  {each_row(target, "a.rows")} {{
    GLOBAL const S *u = grad + a.grad + at * a.n;
    GLOBAL const S *p = x + a.x + at * a.n;
    GLOBAL S *r = q + at * a.n;
    {_standard(target, centred)}
    {sums}
    T base = {total}, slope = along / (T)a.n;
    {along_row(target, "a.n", body)}
    {end}
  }}
}}
"""


def norm_sums(machine: Machine, dtype: DType, r: Rows, offsets: tuple[int, int]) -> Launch:
    """``norm_sums(grad, x, means, sums)``: what ``norm_grad`` leaves as ``means`` to the parts (2, parts, n)."""
    parts = parts_of(machine, r)
    size, group = over_items(machine, parts * r.n, r.rows // parts)
    params = struct.pack("6q", r.rows, r.n, parts, *offsets, 0) + _real(r.eps, dtype)
    return Launch(
        ("norm_sums", dtype), "norm_sums", partial(_norm_sums_source, dtype, machine.target), params, size, group
    )


def _norm_sums_source(dtype: DType, target: Target) -> str:
    return f"""{head(target, dtype)}{_GRAD_PARAMS}
KERNEL norm_sums(GLOBAL const S *grad, GLOBAL const S *x, GLOBAL const T *means, GLOBAL T *sums, const Params a) {{
  i64 height = (a.rows + a.parts - 1) / a.parts, total = a.parts * a.n;
  {each_task(target, "total")} {{
    i64 i = at % a.n, first = at / a.n * height, last = first + height < a.rows ? first + height : a.rows;
    T by_weight = 0, by_bias = 0;
    for (i64 row = first; row < last; row++) {{
      T g = READ(grad, a.grad + row * a.n + i);
      by_weight += g * ((READ(x, a.x + row * a.n + i) - means[2 * row]) * means[2 * row + 1]);
      by_bias += g;
    }}
    sums[at] = by_weight; sums[total + at] = by_bias;
  }}
}}
"""


# -- per channel of (N, C, L) --------------------------------------------------------------------------
class Channels(NamedTuple):
    """The sizes (images, channels, n) of what is normalised by channel."""

    images: int
    channels: int
    n: int


def batch_norm(
    machine: Machine, dtype: DType, c: Channels, eps: float, offsets: tuple[int, int, int], affine: tuple[bool, bool]
) -> Launch:
    """``batch_norm(x[, weight][, bias], out, mean, var)``; ``offsets`` are of x, weight and bias."""
    params = struct.pack("6q", *c, *offsets) + _real(eps, dtype)
    size, group = over_groups(machine, c.channels, 3 * c.images * c.n)
    text = partial(_batch_norm_source, dtype, affine, machine.target)
    return Launch(("batch_norm", dtype, affine), "batch_norm", text, params, size, group)


def _batch_norm_source(dtype: DType, affine: tuple[bool, bool], target: Target) -> str:
    segments = ("a.images", "GLOBAL const S *p = x + a.x + (segment * a.channels + at) * a.n;")
    wide = "(segment * a.channels + at) * a.n + i"
    body = f"T v = (READ(p, i) - mean) * scale{' + shift' if affine[1] else ''}; WRITE(q, {wide}, v);"
    return f"""{head(target, dtype)}
typedef struct {{ i64 images, channels, n, x, weight, bias; T eps; }} Params;
KERNEL batch_norm(GLOBAL const S *x, {_flagged("weight", affine[0])}{_flagged("bias", affine[1])}GLOBAL S *q,
                  GLOBAL S *means, GLOBAL S *vars, const Params a) {{
  {lanes(target)}
  T count = (T)(a.images * a.n);
  {each_row(target, "a.channels")} {{
    {row_sums(target, {"total": "READ(p, i)"}, "a.n", "", segments)}
    T mean = total / count;
    {row_sums(target, {"square": "d * d", "rest": "d"}, "a.n", "T d = READ(p, i) - mean;", segments)}
    {_CORRECTED.format(n="count")}
    T var = square / count, scale = 1 / sqrt(var + a.eps);
    {"scale *= READ(weight, a.weight + at);" if affine[0] else ""}
    {"T shift = READ(bias, a.bias + at);" if affine[1] else ""}
    {along_row(target, "a.n", body, segments)}
    {only_one(target, "WRITE(means, at, mean); WRITE(vars, at, var);")}
  }}
}}
"""


def batch_norm_sums(machine: Machine, dtype: DType, c: Channels, offsets: tuple[int, int, int]) -> Launch:
    """``batch_norm_sums(grad, x, mean, total, dot)``: per channel the sums of grad and of grad * (x - mean)."""
    params = struct.pack("6q", *c, *offsets)
    size, group = over_groups(machine, c.channels, 2 * c.images * c.n)
    text = partial(_batch_norm_sums_source, dtype, machine.target)
    return Launch(("batch_norm_sums", dtype), "batch_norm_sums", text, params, size, group)


def _batch_norm_sums_source(dtype: DType, target: Target) -> str:
    begin = """GLOBAL const S *u = grad + a.grad + (segment * a.channels + at) * a.n;
    GLOBAL const S *p = x + a.x + (segment * a.channels + at) * a.n;"""
    terms = {"total": "g", "dot": "g * (READ(p, i) - middle)"}
    return f"""{head(target, dtype)}
typedef struct {{ i64 images, channels, n, grad, x, mean; }} Params;
KERNEL batch_norm_sums(GLOBAL const S *grad, GLOBAL const S *x, GLOBAL const S *mean, GLOBAL S *totals, GLOBAL S *dots,
                       const Params a) {{
  {lanes(target)}
  {each_row(target, "a.channels")} {{
    T middle = READ(mean, a.mean + at);
    {row_sums(target, terms, "a.n", "T g = READ(u, i);", ("a.images", begin))}
    {only_one(target, "WRITE(totals, at, total); WRITE(dots, at, dot);")}
  }}
}}
"""
