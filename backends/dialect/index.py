"""Gather and scatter along an axis. An index out of range reads 0, writes nothing and leaves a note in the flag cell.

Elements are walked as (outer, along the axis, inner). On processors one item does all of an axis for its columns, in
order, so that equal indices add up in order; elsewhere each element is an item and updates by compare-and-swap.
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

MAX_AXES: Final = 8
GATHER, SCATTER = 0, 1

# Operand 0 is what is indexed (its stride along the axis is `step`), 1 the indices, 2 the other one.
_PARAMS: Final = f"""
typedef struct {{ i64 outer, m, inner, n, step, axes, size[{MAX_AXES}], stride[3][{MAX_AXES}], along[3], within[3],
                 offset[3], width, dimension; }} Params;
DEVICE i64 base_of(i64 row, const Params *a, int k) {{
  i64 at = a->offset[k];
  for (int d = (int)a->axes - 1; d >= 0; d--) {{ at += row % a->size[d] * a->stride[k][d]; row /= a->size[d]; }}
  return at;
}}
DEVICE int inside(i64 index, const Params *a, GLOBAL i64 *note, i64 op) {{
  if (index >= 0 && index < a->n) return 1;
  note[0] = 1; note[1] = index; note[2] = a->n; note[3] = op; note[4] = a->dimension;
  return 0;
}}
"""


def _head(dtype: DType, target: Target) -> str:
    value = "(v)"
    return (
        f"{prelude(target)}{_PARAMS}typedef {REGISTER[dtype]} T;\ntypedef {STORED[dtype]} S;\n"
        f"#define READ(p, i) {load(dtype, '(p)', '(i)')}\n#define WRITE(i, v) {store(dtype, 'q', '(i)', value)}\n"
    )


def _walk(target: Target, body: str, ordered: bool) -> str:
    """Loops over (row, i, c); ``ordered`` keeps all i of a column in one item."""
    if not target.cpu:
        return f"""
  i64 total = a.outer * a.m * a.inner;
  for (i64 at = GID; at < total; at += GSIZE) {{
    i64 c = at % a.inner, rest = at / a.inner, i = rest % a.m, row = rest / a.m;
    i64 o0 = base_of(row, &a, 0), o1 = base_of(row, &a, 1), o2 = base_of(row, &a, 2);
    {body}
  }}"""
    across = "(a.inner + a.width - 1) / a.width"
    if ordered:
        tasks = f"""
  i64 across = {across}, tasks = a.outer * across, height = (tasks + GSIZE - 1) / GSIZE;
  i64 first = GID * height, last = first + height < tasks ? first + height : tasks;
  for (i64 task = first; task < last; task++) {{
    i64 row = task / across, left = task % across * a.width, low = 0, high = a.m;"""
    else:
        tasks = """
  i64 lines = a.outer * a.m, height = (lines + GSIZE - 1) / GSIZE;
  i64 first = GID * height, last = first + height < lines ? first + height : lines;
  for (i64 line = first; line < last;) {
    i64 row = line / a.m, left = 0, low = line % a.m, high = low + (last - line) < a.m ? low + (last - line) : a.m;
    line += high - low;"""
    return f"""{tasks}
    i64 right = {"left + a.width < a.inner ? left + a.width : a.inner" if ordered else "a.inner"};
    i64 o0 = base_of(row, &a, 0), o1 = base_of(row, &a, 1), o2 = base_of(row, &a, 2);
    for (i64 i = low; i < high; i++)
      for (i64 c = left; c < right; c++) {{
        {body}
      }}
  }}"""


_PLACES: Final = """i64 j = index[o1 + i * a.along[1] + c * a.within[1]];
        i64 there = o0 + j * a.step + c * a.within[0], here = o2 + i * a.along[2] + c * a.within[2];"""


def gather_source(dtype: DType, target: Target) -> str:
    """``gather``: out[here] = x[there]."""
    body = f"""{_PLACES}
        T v = (T)0;
        if (inside(j, &a, note, {GATHER})) v = READ(x, there);
        WRITE(here, v);"""
    head = _head(dtype, target)
    if dtype.category == dt.COMPLEX:
        body = body.replace("(T)0", f"MAKE_{REGISTER[dtype]}(0, 0)")
    return f"""{head}
KERNEL gather(GLOBAL const S *x, GLOBAL const i64 *index, GLOBAL S *q, GLOBAL i64 *note, const Params a) {{
{_walk(target, body, False)}
}}
"""


def scatter_source(dtype: DType, reduce: str, target: Target) -> str:
    """``scatter``: q[there] becomes, or is joined with, src[here]."""
    joined = {
        "set": "(v)", "add": "((o) | (v))" if dtype is dt.bool_ else "((o) + (v))",
        "prod": "((o) & (v))" if dtype is dt.bool_ else "((o) * (v))",
        "amax": "(((o) > (v) || (o) != (o)) ? (o) : (v))", "amin": "(((o) < (v) || (o) != (o)) ? (o) : (v))",
    }[reduce]  # fmt: skip
    if dtype.category == dt.COMPLEX and reduce == "add":
        joined = f"MAKE_{REGISTER[dtype]}((o).x + (v).x, (o).y + (v).y)"
    head = _head(dtype, target) + f"#define JOIN(o, v) ((T){joined})\n"
    if dtype.category == dt.COMPLEX:
        head = head.replace("((T)", "(").replace("#define JOIN(o, v) (", "#define JOIN(o, v) (")
    if target.cpu or reduce == "set":
        update = "WRITE(there, v);" if reduce == "set" else "T o = READ(q, there), r = JOIN(o, v); WRITE(there, r);"
    else:
        head += _native_add(dtype) if target.language == "cuda" and reduce == "add" else ""
        head = head if "update(" in head else head + _atomic(dtype)
        update = "update(q, there, v);"
    body = f"""{_PLACES}
        if (inside(j, &a, note, {SCATTER})) {{ T v = READ(src, here); {update} }}"""
    return f"""{head}
KERNEL scatter(GLOBAL const i64 *index, GLOBAL const S *src, GLOBAL S *q, GLOBAL i64 *note, const Params a) {{
{_walk(target, body, True)}
}}
"""


_NATIVE: Final = {
    dt.int32: "i32", dt.uint32: "u32", dt.int64: "u64", dt.uint64: "u64", dt.float32: "f32", dt.float64: "f64",
}  # fmt: skip


def _native_add(dtype: DType) -> str:
    """``update`` by an instruction of CUDA's, for the dtypes that have one; complex numbers part by part."""
    word = _NATIVE.get(dtype.to_real())
    if word is None:
        return ""
    parts = [("at", "v")] if dtype.category != dt.COMPLEX else [("2 * at", "v.x"), ("2 * at + 1", "v.y")]
    adds = " ".join(f"atomicAdd(({word} *)q + {place}, ({word}){value});" for place, value in parts)
    return f"DEVICE void update(GLOBAL S *q, i64 at, T v) {{ {adds} }}\n"


def _complex_add(dtype: DType) -> str:
    """``update`` for complex numbers, whose parts are added one after the other."""
    real = dtype.to_real()
    part = _atomic(real).replace("update(", "update_part(").replace("JOIN(o, v)", "(o + v)")
    part = part.replace("GLOBAL S *q", f"GLOBAL {STORED[real]} *q").replace("T v", f"{REGISTER[real]} v")
    part = part.replace("T o", f"{REGISTER[real]} o")
    return f"""{part}
DEVICE void update(GLOBAL S *q, i64 at, T v) {{
  update_part((GLOBAL {STORED[real]} *)q, 2 * at, v.x); update_part((GLOBAL {STORED[real]} *)q, 2 * at + 1, v.y);
}}
"""


def _atomic(dtype: DType) -> str:
    """``update(q, at, v)``: join an element with a value by compare-and-swap on the word that holds it."""
    if dtype.category == dt.COMPLEX:
        return _complex_add(dtype)
    size = dtype.itemsize
    if size >= 8:
        cast = {dt.float64: ("AS_f64", "AS_i64"), dt.int64: ("(i64)", "(u64)"), dt.uint64: ("(u64)", "(u64)")}.get(
            dtype
        )
        if cast is None:
            raise KeyError(f"no atomic update of {dtype}")
        return f"""
DEVICE void update(GLOBAL S *q, i64 at, T v) {{
  volatile GLOBAL u64 *w = (volatile GLOBAL u64 *)(q + at);
  u64 seen = *w, old;
  do {{ old = seen; T o = {cast[0]}(old); seen = CAS64(w, old, (u64){cast[1]}(JOIN(o, v))); }} while (seen != old);
}}
"""
    if size == 4:
        read = {dt.float32: "AS_f32", dt.int32: "(i32)", dt.uint32: "(u32)"}[dtype]
        write = "AS_u32" if dtype is dt.float32 else "(u32)"
        return f"""
DEVICE void update(GLOBAL S *q, i64 at, T v) {{
  volatile GLOBAL u32 *w = (volatile GLOBAL u32 *)(q + at);
  u32 seen = *w, old;
  do {{ old = seen; T o = {read}(old); seen = CAS(w, old, {write}(JOIN(o, v))); }} while (seen != old);
}}
"""
    kind = "u8" if size == 1 else "u16"
    return f"""
DEVICE void update(GLOBAL S *q, i64 at, T v) {{
  int shift = (int)(at % {4 // size}) * {8 * size};
  volatile GLOBAL u32 *w = (volatile GLOBAL u32 *)q + at / {4 // size};
  u32 mask = (u32){hex(2 ** (8 * size) - 1)} << shift, seen = *w, old;
  do {{
    old = seen;
    {kind} bits[1]; bits[0] = ({kind})((old & mask) >> shift);
    T o = {_small_read(dtype)}, r = JOIN(o, v);
    {_small_write(dtype)}
    seen = CAS(w, old, (old & ~mask) | ((u32)bits[0] << shift));
  }} while (seen != old);
}}
"""


def _small_read(dtype: DType) -> str:
    if dtype is dt.float16:
        return "LOAD_f16((const f16 *)bits, 0)"
    return "bf16_load(bits[0])" if dtype is dt.bfloat16 else f"({REGISTER[dtype]})bits[0]"


def _small_write(dtype: DType) -> str:
    if dtype is dt.float16:
        return "STORE_f16((f16 *)bits, 0, r);"
    if dtype is dt.bfloat16:
        return "bits[0] = bf16_store(r);"
    return f"bits[0] = ({'u8' if dtype.itemsize == 1 else 'u16'})r;"
