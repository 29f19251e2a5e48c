"""A stable argsort of rows: keys as unsigned integers in order, then by digits on processors, by merging elsewhere.

By digits: from the lowest on, the elements are counted and then put in the order of that digit (H. Seward's thesis,
MIT 1954). Merging: blocks are sorted by insertion; each merging item writes a fixed number of results, whose place in
the two runs it finds by bisection along a diagonal (S. Odeh, O. Green, Z. Mwassi, O. Shmueli, Y. Birk, "Merge path",
IPDPS workshops 2012).
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


def keys_source(dtype: DType, descending: bool, target: Target, place: DType = dt.int64) -> str:
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
KERNEL keys(GLOBAL const {STORED[dtype]} *x, GLOBAL {key} *q, GLOBAL {REGISTER[place]} *places,
            const Params a) {{
  i64 total = a.rows * a.n, height = (total + GSIZE - 1) / GSIZE, first = GID * height;
  i64 last = first + height < total ? first + height : total;
  for (i64 at = first; at < last; at++) {{
    i64 i = at % a.n;
    const {REGISTER[dtype]} v = {load(dtype, "x", "a.offset + at / a.n * a.row + i * a.step")};
    {code}
    q[at] = {"~b" if descending else "b"};
    places[at] = ({REGISTER[place]})i;
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


# -- by digits -----------------------------------------------------------------------------------------
#: Values of a digit of eight bits.
DIGITS: Final = 256


def digits_source(key: DType, place: DType, target: Target) -> str:
    """Three kernels that order rows by the digit at bit ``shift``; parameters (rows, n, chunk, shift).

    ``count(keys, counts)`` of each chunk; ``starts(counts)``: where each chunk's elements of each digit begin;
    ``order(keys, places, counts, keys, places)``.
    """
    k, p = REGISTER[key], REGISTER[place]
    chunks = """i64 chunks = (a.n + a.chunk - 1) / a.chunk, total = a.rows * chunks;
  for (i64 at = GID; at < total; at += GSIZE) {
    i64 row = at / chunks, c = at % chunks, low = row * a.n + c * a.chunk;
    i64 high = low + a.chunk < (row + 1) * a.n ? low + a.chunk : (row + 1) * a.n;"""
    return f"""{prelude(target)}
typedef struct {{ i64 rows, n, chunk, shift; }} Params;
#define DIGIT(v) ((int)((v) >> a.shift) & {DIGITS - 1})
KERNEL count(GLOBAL const {k} *keys, GLOBAL i64 *counts, const Params a) {{
  {chunks}
    i64 found[{DIGITS}];
    for (int d = 0; d < {DIGITS}; d++) found[d] = 0;
    for (i64 i = low; i < high; i++) found[DIGIT(keys[i])]++;
    for (int d = 0; d < {DIGITS}; d++) counts[(row * {DIGITS} + d) * chunks + c] = found[d];
  }}
}}
KERNEL starts(GLOBAL i64 *counts, const Params a) {{
  i64 each = (a.n + a.chunk - 1) / a.chunk * {DIGITS};
  for (i64 row = GID; row < a.rows; row += GSIZE) {{
    i64 sum = row * a.n;
    for (i64 i = row * each; i < (row + 1) * each; i++) {{ i64 here = counts[i]; counts[i] = sum; sum += here; }}
  }}
}}
KERNEL order(GLOBAL const {k} *keys, GLOBAL const {p} *places, GLOBAL const i64 *counts, GLOBAL {k} *q, GLOBAL {p} *r,
             const Params a) {{
  {chunks}
    i64 next[{DIGITS}];
    for (int d = 0; d < {DIGITS}; d++) next[d] = counts[(row * {DIGITS} + d) * chunks + c];
    for (i64 i = low; i < high; i++) {{
      {k} v = keys[i];
      i64 to = next[DIGIT(v)]++;
      q[to] = v; r[to] = places[i];
    }}
  }}
}}
"""


def rows_source(key: DType, place: DType, target: Target) -> str:
    """``order``: (keys, places, keys, places) rows ordered by all digits, each by one item.

    Parameters are (rows, n, digits). What is in order is in the first two buffers if ``digits`` is even.
    """
    k, p = REGISTER[key], REGISTER[place]
    return f"""{prelude(target)}
typedef struct {{ i64 rows, n, digits; }} Params;
KERNEL order(GLOBAL {k} *keys, GLOBAL {p} *places, GLOBAL {k} *q, GLOBAL {p} *r, const Params a) {{
  for (i64 row = GID; row < a.rows; row += GSIZE) {{
    GLOBAL {k} *x = keys + row * a.n, *y = q + row * a.n;
    GLOBAL {p} *u = places + row * a.n, *w = r + row * a.n;
    for (int digit = 0; digit < (int)a.digits; digit++) {{
      int shift = 8 * digit;
      i64 next[{DIGITS}], sum = 0;
      for (int d = 0; d < {DIGITS}; d++) next[d] = 0;
      for (i64 i = 0; i < a.n; i++) next[(int)(x[i] >> shift) & {DIGITS - 1}]++;
      for (int d = 0; d < {DIGITS}; d++) {{ i64 here = next[d]; next[d] = sum; sum += here; }}
      for (i64 i = 0; i < a.n; i++) {{
        {k} v = x[i];
        i64 to = next[(int)(v >> shift) & {DIGITS - 1}]++;
        y[to] = v; w[to] = u[i];
      }}
      GLOBAL {k} *x0 = x; x = y; y = x0;
      GLOBAL {p} *u0 = u; u = w; w = u0;
    }}
  }}
}}
"""
