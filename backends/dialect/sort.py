"""A stable argsort of rows: keys as unsigned integers in order, blocks sorted by insertion, then merged.

Each merging item writes a fixed number of results, whose place in the two runs it finds by bisection along a
diagonal (S. Odeh, O. Green, Z. Mwassi, O. Shmueli, Y. Birk, "Merge path", IPDPS workshops 2012).
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: Elements that one item sorts by insertion at first.
BLOCK: Final = 32


def key_type(dtype: DType) -> DType:
    """The unsigned integer that keys of ``dtype`` become."""
    return dt.uint64 if dtype.itemsize == 8 else dt.uint32


def keys_source(dtype: DType, descending: bool, target: Target) -> str:
    """``keys``: (x, keys, places) for rows of strides; parameters (rows, n, offset, row stride, stride)."""
    key = REGISTER[key_type(dtype)]
    top = "0x8000000000000000UL" if key == "u64" else "0x80000000u"
    if dtype.is_floating_point:
        bits = "(u64)AS_i64(v)" if key == "u64" else "AS_u32(v)"
        code = f"{key} b = v == 0 ? ({key})0 : {bits}; b = (b & {top}) ? ~b : (b | {top}); b = v != v ? ~({key})0 : b;"
    elif dtype.is_signed:
        code = f"{key} b = ({key}){'(i64)' if key == 'u64' else '(i32)'}v ^ {top};"
    else:
        code = f"{key} b = ({key})v;"
    return f"""{prelude(target)}
typedef struct {{ i64 rows, n, offset, row, step; }} Params;
KERNEL keys(GLOBAL const {STORED[dtype]} *x, GLOBAL {key} *q, GLOBAL i64 *places, const Params a) {{
  i64 total = a.rows * a.n, height = (total + GSIZE - 1) / GSIZE, first = GID * height;
  i64 last = first + height < total ? first + height : total;
  for (i64 at = first; at < last; at++) {{
    i64 i = at % a.n;
    const {REGISTER[dtype]} v = {load(dtype, "x", "a.offset + at / a.n * a.row + i * a.step")};
    {code}
    q[at] = {"~b" if descending else "b"};
    places[at] = i;
  }}
}}
"""


def blocks_source(key: DType, target: Target) -> str:
    """``blocks``: sort each block of ``BLOCK`` elements of a row in place; parameters (rows, n)."""
    t = REGISTER[key]
    return f"""{prelude(target)}
typedef struct {{ i64 rows, n; }} Params;
KERNEL blocks(GLOBAL {t} *q, GLOBAL i64 *places, const Params a) {{
  i64 each = (a.n + {BLOCK - 1}) / {BLOCK}, total = a.rows * each, height = (total + GSIZE - 1) / GSIZE;
  i64 first = GID * height, last = first + height < total ? first + height : total;
  for (i64 at = first; at < last; at++) {{
    i64 low = at % each * {BLOCK};
    int m = (int)(a.n - low < {BLOCK} ? a.n - low : {BLOCK});
    GLOBAL {t} *k = q + at / each * a.n + low;
    GLOBAL i64 *p = places + at / each * a.n + low;
    {t} keys[{BLOCK}]; i64 from[{BLOCK}];
    for (int i = 0; i < m; i++) {{
      {t} key = k[i]; i64 place = p[i];
      int j = i;
      while (j > 0 && keys[j - 1] > key) {{ keys[j] = keys[j - 1]; from[j] = from[j - 1]; j--; }}
      keys[j] = key; from[j] = place;
    }}
    for (int i = 0; i < m; i++) {{ k[i] = keys[i]; p[i] = from[i]; }}
  }}
}}
"""


def merge_source(key: DType, target: Target) -> str:
    """``merge``: pairs of sorted runs of ``run`` elements into the other buffers; parameters (rows, n, run, share)."""
    t = REGISTER[key]
    return f"""{prelude(target)}
typedef struct {{ i64 rows, n, run, share; }} Params;
KERNEL merge(GLOBAL const {t} *k, GLOBAL const i64 *p, GLOBAL {t} *q, GLOBAL i64 *r, const Params a) {{
  i64 each = (a.n + a.share - 1) / a.share, total = a.rows * each;
  for (i64 at = GID; at < total; at += GSIZE) {{
    i64 base = at / each * a.n, out = at % each * a.share, stop = out + a.share < a.n ? out + a.share : a.n;
    while (out < stop) {{
      i64 low = out / (2 * a.run) * 2 * a.run, mid = low + a.run < a.n ? low + a.run : a.n;
      i64 high = low + 2 * a.run < a.n ? low + 2 * a.run : a.n;
      i64 end = stop < high ? stop : high, d = out - low, m = mid - low, n = high - mid;
      i64 lo = d > n ? d - n : 0, hi = d < m ? d : m;
      GLOBAL const {t} *x = k + base + low; GLOBAL const {t} *y = k + base + mid;
      while (lo < hi) {{
        i64 i = (lo + hi) / 2;
        if (x[i] <= y[d - 1 - i]) lo = i + 1; else hi = i;
      }}
      i64 i = lo, j = d - lo;
      for (; out < end; out++) {{
        int left = j >= n || (i < m && x[i] <= y[j]);
        i64 from = left ? low + i : mid + j;
        q[base + out] = k[base + from]; r[base + out] = p[base + from];
        i += left; j += !left;
      }}
    }}
  }}
}}
"""
