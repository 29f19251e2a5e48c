"""Softmax and its logarithm along contiguous rows, each row by one work-item or by one group."""

from __future__ import annotations

from flambeau.backends.dialect.functions import Library
from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType


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
