"""Reductions: along rows and down columns, a form for processors and one for other devices.

Both read ``x`` of any outer strides and write partial results of one part of the reduced axis each; a second
launch on the parts finishes what one launch did not. Processors add in vectors of 16 lanes and in blocks, so that
the error grows with the logarithm of the length and not with the length.
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.backends.dialect.printer import literal
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: How many kept axes a kernel walks.
MAX_AXES: Final = 8
#: Columns that a work-item of a processor reduces together.
STRIP: Final = 1024

_PARAMS: Final = f"""
typedef struct {{ i64 rows, n, parts, length, step, axes, size[{MAX_AXES}], stride[{MAX_AXES}];
                 i64 offset, target, divisor; }} Params;
DEVICE i64 base_of(i64 row, const Params *a) {{
  i64 at = a->offset;
  for (int d = (int)a->axes - 1; d >= 0; d--) {{ at += row % a->size[d] * a->stride[d]; row /= a->size[d]; }}
  return at;
}}
"""


def start(op: str, dtype: DType) -> str:
    """The value that a reduction begins with."""
    wide = dt.float32 if dtype in dt.LOW_PRECISION else dtype
    if op in ("sum", "mean", "any"):
        return literal(0, wide)
    if op in ("prod", "all"):
        return literal(1, wide)
    if wide is dt.bool_:
        return "0" if op.endswith("max") else "1"
    if wide.is_floating_point:
        return literal(float("-inf") if op.endswith("max") else float("inf"), wide)
    info = dt.iinfo(wide)
    return literal(info.min if op.endswith("max") else info.max, wide)


def _combine(op: str, floating: bool, vector: bool) -> str:
    if op in ("sum", "mean"):
        return "((a) + (b))"
    if op == "prod":
        return "((a) * (b))"
    if op in ("any", "all"):
        return "((a) | (b))" if op == "any" else "((a) & (b))"
    sign = ">" if op.endswith("max") else "<"
    nan = (" | (a != a)" if vector else " || (a) != (a)") if floating else ""
    return f"((((a) {sign} (b)){nan}) ? (a) : (b))"


def _access(dtype: DType, vector: str) -> str:
    """Macros READ(p, i) and READ16(p, i): elements in the type that is computed in."""
    kind = STORED[dtype]
    if dtype in dt.LOW_PRECISION:
        wide = (
            "vload_half16(0, (p) + (i))"
            if dtype is dt.float16
            else "as_float16(convert_uint16(vload16(0, (p) + (i))) << 16)"
        )
    else:
        wide = f"convert_{vector}(vload16(0, (p) + (i)))" if dtype is dt.bool_ else "vload16(0, (p) + (i))"
    return f"#define READ(p, i) {load(dtype, '(p)', '(i)')}\n#define READ16(p, i) {wide}\ntypedef {kind} S;\n"


_VECTORS: Final = {
    "f32": "float16", "f64": "double16", "i8": "char16", "u8": "uchar16", "i16": "short16", "u16": "ushort16",
    "i32": "int16", "u32": "uint16", "i64": "long16", "u64": "ulong16",
}  # fmt: skip


def _head(op: str, dtype: DType, out: DType, target: Target) -> str:
    t = REGISTER[dtype]
    vector = _VECTORS[t]
    macros = f"typedef {t} T;\ntypedef {STORED[out]} D;\n#define START {start(op, dtype)}\n"
    macros += f"DEVICE T combine(T a, T b) {{ return (T){_combine(op, dtype.is_floating_point, False)}; }}\n"
    if target.cpu:
        macros += f"typedef {vector} V;\n" + _access(dtype, vector)
        macros += f"DEVICE V combine16(V a, V b) {{ return {_combine(op, dtype.is_floating_point, True)}; }}\n"
    else:
        macros += f"#define READ(p, i) {load(dtype, '(p)', '(i)')}\ntypedef {STORED[dtype]} S;\n"
    value = "((v) / (T)a.divisor)" if op == "mean" else "(v)"
    return prelude(target) + _PARAMS + macros + f"#define WRITE(i, v) {store(out, 'q', '(i)', value)}\n"


def rows_source(op: str, dtype: DType, out: DType, target: Target, dense: bool) -> str:
    """``reduce``: the reduced axis is innermost (``dense``: of stride 1); one value for each row and part."""
    head = _head(op, dtype, out, target)
    if not target.cpu:
        return head + _ROWS_GROUP
    call = "along(x + base, lo, hi)" if dense else "striding(x + base, lo, hi, a.step)"
    return head + (_ROWS_VECTOR if dense else "") + _ROWS_CPU.replace("$CALL", call)


def columns_source(op: str, dtype: DType, out: DType, target: Target) -> str:
    """``reduce``: the innermost kept axis has stride 1; ``rows`` counts the kept elements, ``size`` all kept axes."""
    return _head(op, dtype, out, target) + (_COLUMNS_CPU.replace("$STRIP", str(STRIP)) if target.cpu else _COLUMNS_ITEM)


_ROWS_VECTOR: Final = """
DEVICE T along(GLOBAL const S *x, i64 lo, i64 hi) {
  T total = START;
  i64 i = lo;
  if (hi - lo >= 64) {
    V sums = (V)(START);
    while (i + 64 <= hi) {
      i64 stop = i + 4096 < hi ? i + 4096 : hi;
      V c0 = (V)(START), c1 = c0, c2 = c0, c3 = c0;
      for (; i + 64 <= stop; i += 64) {
        c0 = combine16(c0, READ16(x, i)); c1 = combine16(c1, READ16(x, i + 16));
        c2 = combine16(c2, READ16(x, i + 32)); c3 = combine16(c3, READ16(x, i + 48));
      }
      sums = combine16(sums, combine16(combine16(c0, c1), combine16(c2, c3)));
    }
    T lanes[16];
    vstore16(sums, 0, lanes);
    for (int w = 8; w > 0; w >>= 1) for (int j = 0; j < w; j++) lanes[j] = combine(lanes[j], lanes[j + w]);
    total = lanes[0];
  }
  for (; i < hi; i++) total = combine(total, READ(x, i));
  return total;
}
"""
_ROWS_CPU: Final = """
DEVICE T striding(GLOBAL const S *x, i64 lo, i64 hi, i64 step) {
  T total = START;
  for (i64 i = lo; i < hi;) {
    T c0 = START, c1 = START, c2 = START, c3 = START;
    i64 stop = i + 512 < hi ? i + 512 : hi;
    for (; i + 4 <= stop; i += 4) {
      c0 = combine(c0, READ(x, i * step)); c1 = combine(c1, READ(x, (i + 1) * step));
      c2 = combine(c2, READ(x, (i + 2) * step)); c3 = combine(c3, READ(x, (i + 3) * step));
    }
    for (; i < stop; i++) c0 = combine(c0, READ(x, i * step));
    total = combine(total, combine(combine(c0, c1), combine(c2, c3)));
  }
  return total;
}
KERNEL reduce(GLOBAL const S *x, GLOBAL D *q, const Params a) {
  i64 height = (a.rows * a.parts + GSIZE - 1) / GSIZE, first = GID * height;
  i64 last = first + height < a.rows * a.parts ? first + height : a.rows * a.parts;
  for (i64 at = first; at < last; at++) {
    i64 row = at / a.parts, part = at % a.parts, base = base_of(row, &a);
    i64 lo = part * a.length, hi = lo + a.length < a.n ? lo + a.length : a.n;
    T v = $CALL;
    WRITE(a.target + at, v);
  }
}
"""
_ROWS_GROUP: Final = """
KERNEL reduce(GLOBAL const S *x, GLOBAL D *q, const Params a) {
  LOCAL T lanes[256];
  for (i64 at = GROUP; at < a.rows * a.parts; at += GROUPS) {
    i64 row = at / a.parts, part = at % a.parts, base = base_of(row, &a);
    i64 lo = part * a.length, hi = lo + a.length < a.n ? lo + a.length : a.n;
    T v = START;
    for (i64 first = lo + LID; first < hi; first += 64 * LSIZE) {
      T c = START;
      i64 stop = first + 64 * LSIZE < hi ? first + 64 * LSIZE : hi;
      for (i64 i = first; i < stop; i += LSIZE) c = combine(c, READ(x, base + i * a.step));
      v = combine(v, c);
    }
    lanes[LID] = v;
    BARRIER;
    for (int w = LSIZE >> 1; w > 0; w >>= 1) {
      if (LID < w) lanes[LID] = combine(lanes[LID], lanes[LID + w]);
      BARRIER;
    }
    if (LID == 0) { T r = lanes[0]; WRITE(a.target + at, r); }
    BARRIER;
  }
}
"""
# Output element (part, kept) is q[part * rows + kept].
_COLUMNS_CPU: Final = """
KERNEL reduce(GLOBAL const S *x, GLOBAL D *q, const Params a) {
  i64 inner = a.size[a.axes - 1], strips = (inner + $STRIP - 1) / $STRIP, outer = a.rows / inner;
  i64 part = GID / (outer * strips), rest = GID % (outer * strips), row = rest / strips, left = rest % strips * $STRIP;
  int w = (int)(inner - left < $STRIP ? inner - left : $STRIP);
  i64 lo = part * a.length, hi = lo + a.length < a.n ? lo + a.length : a.n, s = a.step, i = lo;
  GLOBAL const S *p = x + base_of(row * inner, &a) + left;
  T acc[$STRIP], sums[$STRIP];
  for (int j = 0; j < w; j++) { acc[j] = START; sums[j] = START; }
  while (i < hi) {
    i64 stop = i + 256 < hi ? i + 256 : hi;
    for (; i + 4 <= stop; i += 4) {
      GLOBAL const S *r = p + i * s;
      INDEPENDENT
      for (int j = 0; j < w; j++)
        acc[j] = combine(acc[j], combine(combine(READ(r, j), READ(r, j + s)),
                                         combine(READ(r, j + 2 * s), READ(r, j + 3 * s))));
    }
    for (; i < stop; i++) {
      GLOBAL const S *r = p + i * s;
      INDEPENDENT
      for (int j = 0; j < w; j++) acc[j] = combine(acc[j], READ(r, j));
    }
    if (i == hi) break;
    INDEPENDENT
    for (int j = 0; j < w; j++) { sums[j] = combine(sums[j], acc[j]); acc[j] = START; }
  }
  i64 base = a.target + part * a.rows + row * inner + left;
  for (int j = 0; j < w; j++) { T v = combine(sums[j], acc[j]); WRITE(base + j, v); }
}
"""
_COLUMNS_ITEM: Final = """
KERNEL reduce(GLOBAL const S *x, GLOBAL D *q, const Params a) {
  for (i64 at = GID; at < a.rows * a.parts; at += GSIZE) {
    i64 part = at / a.rows, base = base_of(at % a.rows, &a);
    i64 lo = part * a.length, hi = lo + a.length < a.n ? lo + a.length : a.n;
    T v = START;
    for (i64 i = lo; i < hi;) {
      T c = START;
      for (i64 stop = i + 64 < hi ? i + 64 : hi; i < stop; i++) c = combine(c, READ(x, base + i * a.step));
      v = combine(v, c);
    }
    WRITE(a.target + at, v);
  }
}
"""


def position_source(op: str, dtype: DType, target: Target) -> str:
    """``reduce``: the place of each row's largest (argmax) or smallest element, the first of equals; nan wins."""
    sign = ">" if op == "argmax" else "<"
    better = f"(x {sign} y || (x != x && !(y != y)))" if dtype.is_floating_point else f"(x {sign} y)"
    head = (
        f"{prelude(target)}{_PARAMS}typedef {REGISTER[dtype]} T;\ntypedef {STORED[dtype]} S;\n"
        f"#define READ(p, i) {load(dtype, '(p)', '(i)')}\n"
        f"DEVICE int better(T x, T y) {{ return {better}; }}\n"
    )
    return head + (_POSITION_CPU if target.cpu else _POSITION_GROUP)


_POSITION_CPU: Final = """
KERNEL reduce(GLOBAL const S *x, GLOBAL i64 *q, const Params a) {
  i64 height = (a.rows + GSIZE - 1) / GSIZE, first = GID * height;
  i64 last = first + height < a.rows ? first + height : a.rows;
  for (i64 row = first; row < last; row++) {
    GLOBAL const S *p = x + base_of(row, &a);
    T best = READ(p, 0);
    i64 found = 0;
    for (i64 i = 1; i < a.n; i++) {
      T v = READ(p, i * a.step);
      if (better(v, best)) { best = v; found = i; }
    }
    q[a.target + row] = found;
  }
}
"""
_POSITION_GROUP: Final = """
KERNEL reduce(GLOBAL const S *x, GLOBAL i64 *q, const Params a) {
  LOCAL T values[256];
  LOCAL i64 places[256];
  for (i64 row = GROUP; row < a.rows; row += GROUPS) {
    GLOBAL const S *p = x + base_of(row, &a);
    T best = READ(p, 0);
    i64 found = 0;
    for (i64 i = LID; i < a.n; i += LSIZE) {
      T v = READ(p, i * a.step);
      if (better(v, best)) { best = v; found = i; }
    }
    values[LID] = best; places[LID] = found;
    BARRIER;
    for (int w = LSIZE >> 1; w > 0; w >>= 1) {
      if (LID < w) {
        T v = values[LID + w];
        i64 at = places[LID + w];
        int wins = better(v, values[LID]) || (!better(values[LID], v) && at < places[LID]);
        if (wins) { values[LID] = v; places[LID] = at; }
      }
      BARRIER;
    }
    if (LID == 0) q[a.target + row] = places[0];
    BARRIER;
  }
}
"""
