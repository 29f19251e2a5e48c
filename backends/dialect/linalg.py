"""Matrix products: register blocks for processors, local-memory tiles elsewhere, a plain form for few rows.

The register blocks follow K. Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS
34 (2008). In the direct form an item copies a panel of the right operand for itself and reads the left one where it
is; in the packed form, for large products, both are first copied to panels in the order in which they are read.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

MAX_AXES: Final = 6
#: Rows of the block that one inner loop of a processor keeps in registers, by the lanes of these: AVX2 has half as
#: many registers as AVX-512.
_ROWS: Final = {16: 8, 8: 6, 4: 4}
#: Rows of the right operand that an item of the direct form copies at a time.
DEPTH: Final = 128
#: Columns that an item of the plain form computes together.
STRIP: Final = 64
#: Side of the tile that a group computes elsewhere, of 16 x 16 items with 4 x 4 elements each.
TILE: Final = 64

_PARAMS: Final = f"""
typedef struct {{ i64 m, n, k, batches, axes, size[{MAX_AXES}], sx[{MAX_AXES}], sy[{MAX_AXES}], xm, xk, yk, yn,
                 ox, oy, target, chunk, height; }} Params;
DEVICE i64 base_of(i64 b, const i64 *size, const i64 *stride, int axes, i64 at) {{
  for (int d = axes - 1; d >= 0; d--) {{ at += b % size[d] * stride[d]; b /= size[d]; }}
  return at;
}}
"""
_VECTORS: Final = {"f32": "float", "f64": "double", "i32": "int", "u32": "uint", "i64": "long", "u64": "ulong"}


class Block(NamedTuple):
    """What an inner loop of a processor keeps in registers: ``rows`` of ``vectors`` vectors with ``lanes`` numbers."""

    rows: int
    lanes: int
    vectors: int = 2

    @property
    def columns(self) -> int:
        return self.lanes * self.vectors


def block(dtype: DType, target: Target) -> Block:
    """The block of products of a dtype."""
    return Block(_ROWS[target.lanes], max(2, 4 * target.lanes // computed(dtype).itemsize))


def computed(dtype: DType) -> DType:
    """The type in which products of ``dtype`` are summed."""
    if dtype in dt.LOW_PRECISION:
        return dt.float32
    if dtype.category == dt.INTEGER and dtype.bits < 32:
        return dt.int32 if dtype.is_signed else dt.uint32
    return dtype


def _head(dtype: DType, target: Target, lanes: int = 16) -> str:
    t = REGISTER[computed(dtype)]
    own = REGISTER[dtype]
    value = f"({own})(v)" if dtype.category == dt.INTEGER else "(v)"
    fused = "fma((a), (b), (c))" if dtype.is_floating_point else "((a) * (b) + (c))"
    text = prelude(target) + _PARAMS + f"typedef {t} T;\ntypedef {STORED[dtype]} S;\n"
    text += (
        f"#define READ(p, i) ((T){load(dtype, '(p)', '(i)')})\n#define WRITE(i, v) {store(dtype, 'q', '(i)', value)}\n"
    )
    text += f"#define MULADD(a, b, c) {fused}\n"
    return text + (f"typedef {_VECTORS[t]}{lanes} V;\n" if target.cpu else "")


def pack_source(dtype: DType, target: Target) -> str:
    """``pack``: one operand, (lines, depth) of strides (xm, xk), to panels of ``sx[0]`` lines; the rest is zero.

    ``m`` counts the lines, ``k`` the depth, ``n`` the lines of a panel.
    """
    return (
        _head(dtype, target)
        + """
KERNEL pack(GLOBAL const S *x, GLOBAL T *q, const Params a) {
  i64 panels = (a.m + a.n - 1) / a.n, batch = GID / panels, panel = GID % panels;
  GLOBAL const S *p = x + base_of(batch, a.size, a.sx, (int)a.axes, a.ox) + panel * a.n * a.xm;
  GLOBAL T *r = q + (batch * panels + panel) * a.k * a.n;
  i64 w = a.m - panel * a.n < a.n ? a.m - panel * a.n : a.n;
  if (w == a.n && a.xm == 1) {
    for (i64 k = 0; k < a.k; k++) for (i64 j = 0; j < w; j++) r[k * a.n + j] = READ(p, k * a.xk + j);
  } else {
    for (i64 top = 0; top < a.k; top += 64) {  // blocks that stay in the first cache
      i64 stop = top + 64 < a.k ? top + 64 : a.k;
      for (i64 j = 0; j < w; j++) for (i64 k = top; k < stop; k++) r[k * a.n + j] = READ(p, j * a.xm + k * a.xk);
    }
    for (i64 j = w; j < a.n; j++) for (i64 k = 0; k < a.k; k++) r[k * a.n + j] = 0;
  }
}
"""
    )


def packed_source(dtype: DType, target: Target) -> str:
    """``product`` of packed operands: an item takes one panel of columns and ``chunk`` panels of rows.

    ``sx[0]`` and ``sy[0]`` are the elements between the batches of the packed operands (0: one for all).
    """
    high, lanes, _ = tile = block(dtype, target)
    columns, rows = tile.columns, range(high)
    accumulators = "\n".join(f"    V c{i}0 = (V)(0), c{i}1 = (V)(0);" for i in rows)
    steps = "\n".join(
        f"      {{ V s = (V)(u[{i}]); c{i}0 = MULADD(s, b0, c{i}0); c{i}1 = MULADD(s, b1, c{i}1); }}" for i in rows
    )
    stores = "\n".join(f"    vstore{lanes}(c{i}{v}, {2 * i + v}, tile);" for i in rows for v in (0, 1))
    return (
        _head(dtype, target, lanes)
        + f"""
KERNEL product(GLOBAL const T *x, GLOBAL const T *y, GLOBAL S *q, const Params a) {{
  i64 across = (a.n + {columns - 1}) / {columns}, panels = (a.m + {high - 1}) / {high};
  i64 down = (panels + a.chunk - 1) / a.chunk;
  i64 batch = GID / (across * down), rest = GID % (across * down);
  i64 column = rest % across, first = rest / across * a.chunk;
  i64 last = first + a.chunk < panels ? first + a.chunk : panels;
  GLOBAL const T *right = y + batch * a.sy[0] + column * a.k * {columns};
  for (i64 panel = first; panel < last; panel++) {{
    GLOBAL const T *u = x + batch * a.sx[0] + panel * a.k * {high};
    GLOBAL const T *w = right;
{accumulators}
    for (i64 k = 0; k < a.k; k++) {{
      V b0 = vload{lanes}(0, w), b1 = vload{lanes}(1, w);
{steps}
      u += {high}; w += {columns};
    }}
    T tile[{high * columns}];
{stores}
    int height = (int)(a.m - panel * {high} < {high} ? a.m - panel * {high} : {high});
    int width = (int)(a.n - column * {columns} < {columns} ? a.n - column * {columns} : {columns});
    i64 at = a.target + (batch * a.m + panel * {high}) * a.n + column * {columns};
    for (int i = 0; i < height; i++)
      for (int j = 0; j < width; j++) WRITE(at + i * a.n + j, tile[i * {columns} + j]);
  }}
}}
"""
    )


def direct_source(dtype: DType, target: Target, tile: Block) -> str:
    """``product`` of operands of any strides: an item takes ``chunk`` tasks, each a panel of columns and some rows.

    ``yk`` and ``yn`` are those of ``y``; the task copies ``DEPTH`` rows of its columns into memory of its own, and
    reads ``x`` where it is. ``size`` has the batch axes, ``height`` is the panels of rows of a task. The type that
    is summed in has to be the one that is stored.
    """
    high, lanes, count = tile
    width, vectors = tile.columns, range(count)
    parts = [(i, v) for i in range(high) for v in vectors]
    zero = " ".join(f"c{i}{v} = (V)(0);" for i, v in parts)
    whole = " ".join(f"c{i}{v} = vload{lanes}(0, o + {i} * a.n + {lanes * v});" for i, v in parts)
    again = " ".join(f"c{i}{v} = vload{lanes}({count * i + v}, tile);" for i, v in parts)
    steps = "\n".join(
        f"        {{ V s = (V)(u{i}[k * a.xk]); {' '.join(f'c{i}{v} = MULADD(s, b{v}, c{i}{v});' for v in vectors)} }}"
        for i in range(high)
    )
    return (
        _head(dtype, target, lanes)
        + f"""
DEVICE void copy_panel(GLOBAL const S *w, T *r, int depth, int width, i64 yk, i64 yn) {{
  if (width < {width}) for (int t = 0; t < depth * {width}; t++) r[t] = 0;
  if (yn == 1 && width == {width}) {{
    for (int k = 0; k < depth; k++) for (int j = 0; j < {width}; j++) r[k * {width} + j] = READ(w, k * yk + j);
  }} else {{
    for (int top = 0; top < depth; top += 16)
      for (int j = 0; j < width; j++)
        for (int k = top; k < (top + 16 < depth ? top + 16 : depth); k++) r[k * {width} + j] = READ(w, k * yk + j * yn);
  }}
}}
KERNEL product(GLOBAL const S *x, GLOBAL const S *y, GLOBAL S *q, const Params a) {{
  T right[{DEPTH * width}], tile[{high * width}];
  i64 across = (a.n + {width - 1}) / {width}, panels = (a.m + {high - 1}) / {high};
  i64 down = (panels + a.height - 1) / a.height;
  i64 total = a.batches * across * down, end = (GID + 1) * a.chunk < total ? (GID + 1) * a.chunk : total;
  for (i64 at = GID * a.chunk; at < end; at++) {{
    i64 batch = at / (across * down), column = at % across, first = at / across % down * a.height;
    i64 last = first + a.height < panels ? first + a.height : panels;
    GLOBAL const S *left = x + base_of(batch, a.size, a.sx, (int)a.axes, a.ox);
    GLOBAL const S *w = y + base_of(batch, a.size, a.sy, (int)a.axes, a.oy) + column * {width} * a.yn;
    int wide = (int)(a.n - column * {width} < {width} ? a.n - column * {width} : {width});
    for (i64 k0 = 0; k0 < a.k; k0 += {DEPTH}) {{
      int depth = (int)(a.k - k0 < {DEPTH} ? a.k - k0 : {DEPTH});
      copy_panel(w + k0 * a.yk, right, depth, wide, a.yk, a.yn);
      for (i64 panel = first; panel < last; panel++) {{
        int high = (int)(a.m - panel * {high} < {high} ? a.m - panel * {high} : {high});
        GLOBAL const S *u0 = left + panel * {high} * a.xm + k0 * a.xk;
        GLOBAL const S {", ".join(f"*u{i} = u0 + ({i} < high ? {i} : 0) * a.xm" for i in range(1, high))};
        GLOBAL S *o = q + a.target + (batch * a.m + panel * {high}) * a.n + column * {width};
        V {", ".join(f"c{i}{v}" for i, v in parts)};
        if (k0 == 0) {{ {zero} }}
        else if (high == {high} && wide == {width}) {{ {whole} }}
        else {{
          for (int i = 0; i < high; i++) for (int j = 0; j < wide; j++) tile[i * {width} + j] = o[i * a.n + j];
          {again}
        }}
        T *r = right;
        for (i64 k = 0; k < depth; k++, r += {width}) {{
        V {", ".join(f"b{v} = vload{lanes}({v}, r)" for v in vectors)};
{steps}
        }}
        if (high == {high} && wide == {width}) {{
          {" ".join(f"vstore{lanes}(c{i}{v}, 0, o + {i} * a.n + {lanes * v});" for i, v in parts)}
        }} else {{
          {" ".join(f"vstore{lanes}(c{i}{v}, {count * i + v}, tile);" for i, v in parts)}
          for (int i = 0; i < high; i++) for (int j = 0; j < wide; j++) o[i * a.n + j] = tile[i * {width} + j];
        }}
      }}
    }}
  }}
}}
"""
    )


def _dot(dtype: DType) -> str:
    """The sum of products of two lines, in vectors where both lie as they are summed."""
    vectors = """
  if (xk == 1 && yk == 1) {
    V c0 = (V)(0), c1 = c0, c2 = c0, c3 = c0;
    for (; k + 64 <= n; k += 64) {
      c0 = MULADD(vload16(0, u + k), vload16(0, r + k), c0);
      c1 = MULADD(vload16(0, u + k + 16), vload16(0, r + k + 16), c1);
      c2 = MULADD(vload16(0, u + k + 32), vload16(0, r + k + 32), c2);
      c3 = MULADD(vload16(0, u + k + 48), vload16(0, r + k + 48), c3);
    }
    vstore16((c0 + c1) + (c2 + c3), 0, parts);
  }"""
    return f"""
DEVICE T dot(GLOBAL const S *u, GLOBAL const S *r, i64 n, i64 xk, i64 yk) {{
  T parts[16];
  for (int l = 0; l < 16; l++) parts[l] = 0;
  i64 k = 0;{vectors if computed(dtype) is dtype else ""}
  for (; k + 16 <= n; k += 16)
    for (int l = 0; l < 16; l++) parts[l] = MULADD(READ(u, (k + l) * xk), READ(r, (k + l) * yk), parts[l]);
  for (; k < n; k++) parts[k % 16] = MULADD(READ(u, k * xk), READ(r, k * yk), parts[k % 16]);
  for (int w = 8; w > 0; w >>= 1) for (int l = 0; l < w; l++) parts[l] += parts[l + w];
  return parts[0];
}}"""


def plain_source(dtype: DType, target: Target) -> str:
    """``product``: an item computes up to ``STRIP`` columns of one row, from operands of any strides."""
    return (
        _head(dtype, target)
        + f"""
{_dot(dtype)}KERNEL product(GLOBAL const S *x, GLOBAL const S *y, GLOBAL S *q, const Params a) {{
  i64 strips = (a.n + {STRIP - 1}) / {STRIP}, total = a.batches * a.m * strips;
  i64 first = GID * a.chunk, last = first + a.chunk < total ? first + a.chunk : total;
  for (i64 at = first; at < last; at++) {{
    i64 strip = at % strips, line = at / strips, row = line % a.m, batch = line / a.m;
    GLOBAL const S *u = x + base_of(batch, a.size, a.sx, (int)a.axes, a.ox) + row * a.xm;
    GLOBAL const S *w = y + base_of(batch, a.size, a.sy, (int)a.axes, a.oy) + strip * {STRIP} * a.yn;
    int width = (int)(a.n - strip * {STRIP} < {STRIP} ? a.n - strip * {STRIP} : {STRIP});
    T sums[{STRIP}];
    for (int j = 0; j < width; j++) sums[j] = 0;
    if (a.yn == 1) {{
      i64 k = 0;
      for (; k + 4 <= a.k; k += 4) {{
        T v0 = READ(u, k * a.xk), v1 = READ(u, (k + 1) * a.xk);
        T v2 = READ(u, (k + 2) * a.xk), v3 = READ(u, (k + 3) * a.xk);
        GLOBAL const S *r = w + k * a.yk;
        INDEPENDENT
        for (int j = 0; j < width; j++) {{
          T some = MULADD(v1, READ(r, j + a.yk), MULADD(v0, READ(r, j), sums[j]));
          sums[j] = MULADD(v3, READ(r, j + 3 * a.yk), MULADD(v2, READ(r, j + 2 * a.yk), some));
        }}
      }}
      for (; k < a.k; k++) {{
        T v = READ(u, k * a.xk);
        GLOBAL const S *r = w + k * a.yk;
        INDEPENDENT
        for (int j = 0; j < width; j++) sums[j] = MULADD(v, READ(r, j), sums[j]);
      }}
    }} else {{
      for (int j = 0; j < width; j++) {{
        GLOBAL const S *r = w + j * a.yn;
        sums[j] = dot(u, r, a.k, a.xk, a.yk);
      }}
    }}
    for (int j = 0; j < width; j++) WRITE(a.target + line * a.n + strip * {STRIP} + j, sums[j]);
  }}
}}
"""
    )


def tiled_source(dtype: DType, target: Target) -> str:
    """``product``: groups of 256 items, each group a tile of the result through local memory."""
    return (
        _head(dtype, target)
        + f"""
KERNEL product(GLOBAL const S *x, GLOBAL const S *y, GLOBAL S *q, const Params a) {{
  LOCAL T left[16][{TILE}], right[16][{TILE}];
  i64 across = (a.n + {TILE - 1}) / {TILE}, down = (a.m + {TILE - 1}) / {TILE};
  i64 batch = GROUP / (across * down), rest = GROUP % (across * down);
  i64 top = rest / across * {TILE}, side = rest % across * {TILE};
  GLOBAL const S *u = x + base_of(batch, a.size, a.sx, (int)a.axes, a.ox);
  GLOBAL const S *w = y + base_of(batch, a.size, a.sy, (int)a.axes, a.oy);
  int tx = LID % 16, ty = LID / 16;
  T sums[4][4];
  for (int i = 0; i < 4; i++) for (int j = 0; j < 4; j++) sums[i][j] = 0;
  for (i64 k0 = 0; k0 < a.k; k0 += 16) {{
    for (int t = LID; t < 16 * {TILE}; t += 256) {{
      int i = a.xk == 1 ? t / 16 : t % {TILE}, d = a.xk == 1 ? t % 16 : t / {TILE};
      left[d][i] = top + i < a.m && k0 + d < a.k ? READ(u, (top + i) * a.xm + (k0 + d) * a.xk) : (T)0;
      int j = a.yk == 1 ? t / 16 : t % {TILE}, e = a.yk == 1 ? t % 16 : t / {TILE};
      right[e][j] = side + j < a.n && k0 + e < a.k ? READ(w, (k0 + e) * a.yk + (side + j) * a.yn) : (T)0;
    }}
    BARRIER;
    for (int d = 0; d < 16; d++)
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sums[i][j] = MULADD(left[d][ty + 16 * i], right[d][tx + 16 * j], sums[i][j]);
    BARRIER;
  }}
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {{
      i64 row = top + ty + 16 * i, column = side + tx + 16 * j;
      if (row < a.m && column < a.n) WRITE(a.target + (batch * a.m + row) * a.n + column, sums[i][j]);
    }}
}}
"""
    )
