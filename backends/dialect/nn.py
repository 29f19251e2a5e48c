"""Softmax, its logarithm and their gradients along contiguous rows, each row by one work-item or by one group."""

from __future__ import annotations

import struct
from functools import partial

from flambeau.backends.dialect.functions import Library
from flambeau.backends.dialect.launch import Launch, Machine, computed, each_row, head, over_groups
from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.backends.dialect.rows import along_row, lanes, row_sums
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType


def softmax(machine: Machine, dtype: DType, logarithm: bool, rows: int, n: int, offset: int) -> Launch:
    """``softmax(x, out)`` of rows of ``n`` elements."""
    text = partial(softmax_source, dtype, logarithm, machine.target)
    size, group = over_groups(machine, rows, 16 * n)
    return Launch(("softmax", dtype, logarithm), "softmax", text, struct.pack("3q", rows, n, offset), size, group)


def softmax_source(dtype: DType, logarithm: bool, target: Target) -> str:
    """``softmax``: parameters are (rows, n, offset); the output is contiguous from 0."""
    wide = dt.float32 if dtype in dt.LOW_PRECISION else dtype
    used = Library(target)
    exp, log = used.require("exp", wide), used.require("log", wide)
    t = REGISTER[wide]
    value = f"v - top - {log}(total)" if logarithm else f"{exp}(v - top) / total"
    head = f"""{prelude(target)}{used.text()}
typedef {t} T;
typedef struct {{ i64 rows, n, offset; }} Params;
#define READ(i) {load(dtype, "p", "(i)")}
#define WRITE(i, v) {store(dtype, "r", "(i)", "(v)")}
#define LARGER(a, b) (((a) > (b) || (a) != (a)) ? (a) : (b))
"""
    body = _ITEM if target.cpu else _GROUP
    return head + body.replace("$S", STORED[dtype]).replace("$EXP", exp).replace("$VALUE", value)


_ITEM = """
KERNEL softmax(GLOBAL const $S *x, GLOBAL $S *q, const Params a) {
  i64 height = (a.rows + GSIZE - 1) / GSIZE, first = GID * height;
  i64 last = first + height < a.rows ? first + height : a.rows;
  for (i64 row = first; row < last; row++) {
    GLOBAL const $S *p = x + a.offset + row * a.n;
    GLOBAL $S *r = q + row * a.n;
    T lanes[16], top = READ(0), total = 0;
    i64 whole = a.n / 16 * 16;
    for (int l = 0; l < 16; l++) lanes[l] = top;
    for (i64 i = 0; i < whole; i += 16) {
      INDEPENDENT
      for (int l = 0; l < 16; l++) { T v = READ(i + l); lanes[l] = LARGER(v, lanes[l]); }
    }
    for (i64 i = whole; i < a.n; i++) { T v = READ(i); top = LARGER(v, top); }
    for (int l = 0; l < 16; l++) top = LARGER(lanes[l], top);
    for (int l = 0; l < 16; l++) lanes[l] = 0;
    for (i64 i = 0; i < whole; i += 16) {
      INDEPENDENT
      for (int l = 0; l < 16; l++) lanes[l] += $EXP(READ(i + l) - top);
    }
    for (i64 i = whole; i < a.n; i++) total += $EXP(READ(i) - top);
    for (int l = 0; l < 16; l++) total += lanes[l];
    INDEPENDENT
    for (i64 i = 0; i < a.n; i++) { T v = READ(i); WRITE(i, $VALUE); }
  }
}
"""
_GROUP = """
KERNEL softmax(GLOBAL const $S *x, GLOBAL $S *q, const Params a) {
  LOCAL T lanes[256];
  for (i64 row = GROUP; row < a.rows; row += GROUPS) {
    GLOBAL const $S *p = x + a.offset + row * a.n;
    GLOBAL $S *r = q + row * a.n;
    T top = READ(0), total = 0;
    for (i64 i = LID; i < a.n; i += LSIZE) { T v = READ(i); top = LARGER(v, top); }
    lanes[LID] = top;
    BARRIER;
    for (int w = LSIZE >> 1; w > 0; w >>= 1) {
      if (LID < w) lanes[LID] = LARGER(lanes[LID + w], lanes[LID]);
      BARRIER;
    }
    top = lanes[0];
    BARRIER;
    for (i64 i = LID; i < a.n; i += LSIZE) total += $EXP(READ(i) - top);
    lanes[LID] = total;
    BARRIER;
    for (int w = LSIZE >> 1; w > 0; w >>= 1) {
      if (LID < w) lanes[LID] += lanes[LID + w];
      BARRIER;
    }
    total = lanes[0];
    BARRIER;
    for (i64 i = LID; i < a.n; i += LSIZE) { T v = READ(i); WRITE(i, $VALUE); }
  }
}
"""


def softmax_grad(
    machine: Machine, dtype: DType, logarithm: bool, rows: int, n: int, offsets: tuple[int, int]
) -> Launch:
    """``softmax_grad(grad, result, out)``; ``offsets`` are of the first two."""
    text = partial(softmax_grad_source, dtype, logarithm, machine.target)
    size, group = over_groups(machine, rows, 8 * n)
    params = struct.pack("4q", rows, n, *offsets)
    return Launch(("softmax_grad", dtype, logarithm), "softmax_grad", text, params, size, group)


def softmax_grad_source(dtype: DType, logarithm: bool, target: Target) -> str:
    """The gradient g * r - r * sum(g * r) of softmax, or g - exp(r) * sum(g) of its logarithm, from its result r."""
    used = Library(target)
    exp = used.require("exp", computed(dtype)) if logarithm else ""
    term, value = ("g", f"g - {exp}(r) * total") if logarithm else ("g * r", "g * r - r * total")
    ready = "T g = READ(u, i), r = READ(p, i);"
    return f"""{head(target, dtype)}{used.text()}
typedef struct {{ i64 rows, n, grad, result; }} Params;
KERNEL softmax_grad(GLOBAL const S *grad, GLOBAL const S *result, GLOBAL S *q, const Params a) {{
  {lanes(target)}
  {each_row(target, "a.rows")} {{
    GLOBAL const S *u = grad + a.grad + at * a.n;
    GLOBAL const S *p = result + a.result + at * a.n;
    GLOBAL S *out = q + at * a.n;
    {row_sums(target, {"total": term}, "a.n", ready)}
    {along_row(target, "a.n", f"{ready} T v = {value}; WRITE(out, i, v);")}
  }}
}}
"""
