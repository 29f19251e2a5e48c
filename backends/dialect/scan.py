"""Running sums and the like along an axis, in chunks: totals of chunks, a scan of the totals, then the chunks."""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.backends.dialect.reduce import start
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

_JOINS: Final = {"cumsum": "o + v", "cumprod": "o * v"}


def source(op: str, dtype: DType, target: Target) -> str:
    """``totals`` then ``scan`` of contiguous (outer, n, inner); parameters (outer, n, inner, chunk, offset)."""
    wide = dt.float32 if dtype in dt.LOW_PRECISION else dtype
    t = REGISTER[wide]
    begin = start("sum" if op == "cumsum" else "prod", dtype)
    return f"""{prelude(target)}
typedef struct {{ i64 outer, n, inner, chunk, offset; }} Params;
typedef {t} T;
KERNEL totals(GLOBAL const {STORED[dtype]} *x, GLOBAL T *sums, const Params a) {{
  i64 chunks = (a.n + a.chunk - 1) / a.chunk, total = a.outer * chunks * a.inner;
  for (i64 at = GID; at < total; at += GSIZE) {{
    i64 c = at % a.inner, rest = at / a.inner, k = rest % chunks, row = rest / chunks;
    i64 high = (k + 1) * a.chunk < a.n ? (k + 1) * a.chunk : a.n;
    T o = {begin};
    for (i64 i = k * a.chunk; i < high; i++) {{
      T v = {load(dtype, "x", "a.offset + (row * a.n + i) * a.inner + c")};
      o = (T)({_JOINS[op]});
    }}
    sums[at] = o;
  }}
}}
KERNEL scan(GLOBAL const {STORED[dtype]} *x, GLOBAL const T *sums, GLOBAL {STORED[dtype]} *q, const Params a) {{
  i64 chunks = (a.n + a.chunk - 1) / a.chunk, total = a.outer * chunks * a.inner;
  for (i64 at = GID; at < total; at += GSIZE) {{
    i64 c = at % a.inner, rest = at / a.inner, k = rest % chunks, row = rest / chunks;
    i64 high = (k + 1) * a.chunk < a.n ? (k + 1) * a.chunk : a.n;
    T o = {begin};
    for (i64 i = 0; i < k; i++) {{ T v = sums[(row * chunks + i) * a.inner + c]; o = (T)({_JOINS[op]}); }}
    for (i64 i = k * a.chunk; i < high; i++) {{
      i64 here = (row * a.n + i) * a.inner + c;
      T v = {load(dtype, "x", "a.offset + here")};
      o = (T)({_JOINS[op]});
      {store(dtype, "q", "here", "o")};
    }}
  }}
}}
"""
