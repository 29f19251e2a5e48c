"""The text of kernels in WGSL: types, literals, elements in memory, and whole shaders.

Bodies are written with a little syntax of their own. ``$x[i]`` is element ``i`` of the array bound as ``x``, counted
from the array's first, as a value in a register, and ``$q[i] = v;`` stores one; ``$x:T`` is the type of the register.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau_webgpu.functions import functions_in

#: The type of a value in a register.
REGISTER: Final = {
    dt.bool_: "bool", dt.uint8: "u32", dt.int8: "i32", dt.uint16: "u32", dt.int16: "i32", dt.uint32: "u32",
    dt.int32: "i32", dt.uint64: "u64", dt.int64: "i64", dt.float16: "f32", dt.bfloat16: "f32", dt.float32: "f32",
}  # fmt: skip
#: Several of these share a word of memory.
PACKED: Final = frozenset(d for d in REGISTER if d.itemsize < 4)
FLOATS: Final = (dt.float16, dt.bfloat16, dt.float32)
#: Invocations of a workgroup.
GROUP: Final = 64


class Bound(NamedTuple):
    """An array of a kernel: its name in the body, its dtype, whether it is written, and where its first element is."""

    name: str
    dtype: DType
    written: bool
    start: str  # an expression, or "" for an array whose places the body computes itself
    atomic: bool = False


# -- values ----------------------------------------------------------------------------------------------
def wrapped(dtype: DType, text: str) -> str:
    """An integer cut to the width of its dtype, as registers hold it; other values as they are."""
    if dtype.itemsize >= 4 or dtype.category != dt.INTEGER:
        return f"({text})"
    if not dtype.is_signed:
        return f"(({text}) & {(1 << dtype.bits) - 1:#x}u)"
    return f"((({text}) << {32 - dtype.bits}u) >> {32 - dtype.bits}u)"


def literal(value: bool | int | float, dtype: DType) -> str:
    """A constant of the register type."""
    if dtype is dt.bool_:
        return "true" if value else "false"
    if dtype.category == dt.INTEGER:
        return _whole(int(value), dtype)
    with np.errstate(over="ignore"):
        number = np.float32(value)
    if not np.isfinite(number):
        return f"bits_({int(number.view(np.uint32)):#x}u)"
    sign, size = math.copysign(1, float(number)), abs(float(number))
    return f"f32({size!r})" if sign > 0 else f"(-f32({size!r}))"


def _whole(value: int, dtype: DType) -> str:
    kind = REGISTER[dtype]
    if kind[0] == "u":
        return f"{value & ((1 << dtype.bits) - 1)}{'u' if kind == 'u32' else 'lu'}"
    if kind == "i32":
        return "bitcast<i32>(0x80000000u)" if value == -(2**31) else f"i32({value})"
    return "(-9223372036854775807li - 1li)" if value == -(2**63) else f"({value}li)"


def cast(value: str, source: DType, to: DType) -> str:
    """A register of dtype ``source`` as one of dtype ``to``."""
    s, t = REGISTER[source], REGISTER[to]
    if to is dt.bool_:
        return value if source is dt.bool_ else f"!({value} == {literal(0, source)})"
    if source is dt.bool_:
        return f"select({literal(0, to)}, {literal(1, to)}, {value})"
    if source.is_floating_point and to.category == dt.INTEGER:
        if t == "i64":
            return f"i64({value})"
        return wrapped(to, f"{t}(trunc_i32({value}))" if t != "u64" else f"u64(i64({value}))")
    if to.category == dt.INTEGER:
        if s == "u32" and t == "i64":
            return f"i64(u64({value}))"  # wgpu 0.32 extends the sign of i64(u32)
        if s == "i32" and t == "u64":
            return f"u64(i64({value}))"
        return wrapped(to, value if s == t else f"{t}({value})")
    return value if s == t else f"{t}({value})"


# -- memory ----------------------------------------------------------------------------------------------
def declaration(binding: int, x: Bound) -> str:
    """The variable of a bound array: words of memory, or what fills a word or two."""
    element = "u32" if x.dtype in PACKED or x.atomic else REGISTER[x.dtype]
    if x.written and (x.dtype in PACKED or x.atomic):
        element = "atomic<u32>"
    access = "read_write" if x.written else "read"
    return f"@group(0) @binding({binding}) var<storage, {access}> {x.name}: array<{element}>;"


def load(x: Bound, index: str) -> str:
    """The element at a u32 ``index`` as a value in a register."""
    place = f"{x.start} + ({index})" if x.start else index
    if x.dtype not in PACKED:
        return f"bitcast<{REGISTER[x.dtype]}>(atomicLoad(&{x.name}[{place}]))" if x.atomic else f"{x.name}[{place}]"
    each = 4 // x.dtype.itemsize
    word = f"{x.name}[({place}) / {each}u]"
    word = f"atomicLoad(&{word})" if x.written else word
    return unpacked(x.dtype, f"({word} >> ((({place}) % {each}u) * {x.dtype.bits}u))")


def unpacked(dtype: DType, word: str) -> str:
    """The value of a packed dtype from the low bits of a word."""
    if dtype is dt.bool_:
        return f"(({word} & 0xffu) != 0u)"
    if dtype is dt.bfloat16:
        return f"bits_({word} << 16u)"
    if dtype is dt.float16:
        return f"half_({word} & 0xffffu)"
    return wrapped(dtype, word if not dtype.is_signed else f"bitcast<i32>({word})")


def packed(dtype: DType, value: str) -> str:
    """The bits of a value of a packed dtype, in the low ones of a word."""
    if dtype is dt.bool_:
        return f"select(0u, 1u, {value})"
    if dtype in (dt.float16, dt.bfloat16):
        return f"{'to_half_' if dtype is dt.float16 else 'to_bfloat_'}({value})"
    return f"(bitcast<u32>({value}) & {(1 << dtype.bits) - 1:#x}u)"


def store(x: Bound, index: str, value: str) -> str:
    """The statement that puts a register's value into an element; those that share a word are not disturbed."""
    place = f"{x.start} + ({index})" if x.start else index
    if x.dtype not in PACKED:
        if x.atomic:
            return f"atomicStore(&{x.name}[{place}], bitcast<u32>({value}));"
        return f"{x.name}[{place}] = {value};"
    each, mask = 4 // x.dtype.itemsize, (1 << x.dtype.bits) - 1
    return (
        f"{{ let at_ = {place}; let bits_of_ = {packed(x.dtype, value)};"
        f" let shift_ = (at_ % {each}u) * {x.dtype.bits}u;"
        f" atomicAnd(&{x.name}[at_ / {each}u], ~({mask:#x}u << shift_));"
        f" atomicOr(&{x.name}[at_ / {each}u], bits_of_ << shift_); }}"
    )


def expanded(body: str, arrays: Sequence[Bound]) -> str:
    """A body with its ``$x[...]`` written out."""
    named = {x.name: x for x in arrays}
    done: list[str] = []
    while (start := body.find("$")) >= 0:
        name = re.compile(r"\w+").match(body, start + 1)
        assert name is not None, body[start : start + 40]
        x, end = named[name.group()], name.end()
        done.append(body[:start])
        if body.startswith(":T", end):
            done.append(REGISTER[x.dtype])
            body = body[end + 2 :]
            continue
        close = _closing(body, end)
        index = expanded(body[end + 1 : close], arrays)
        after = re.compile(r"\s*=(?!=)\s*").match(body, close + 1)
        if after is None:
            done.append(load(x, index))
            body = body[close + 1 :]
        else:
            stop = body.index(";", after.end())
            done.append(store(x, index, expanded(body[after.end() : stop], arrays)))
            body = body[stop + 1 :]
    return "".join(done) + body


def _closing(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[i], 0)
        if not depth:
            return i
    raise ValueError(f"no closing bracket: {text[start:]}")


def shader(arrays: Sequence[Bound], numbers: Sequence[tuple[str, str]], body: str, *, shared: str = "") -> str:
    """A whole text. ``numbers`` are the names and types of the params, ``a.name`` in the body.

    ``shared`` stands outside of the function. The body knows ``group``, the number of the workgroup; ``lid``, that of
    the invocation in it; and ``i``, that of the invocation in all.
    """
    written = expanded(body, arrays)
    outside = expanded(shared, arrays)
    fields = ", ".join(f"{name}: {kind}" for name, kind in numbers) or "none_: u32"
    declared = "\n".join(declaration(i, x) for i, x in enumerate(arrays))
    return f"""struct Params {{ {fields} }}
var<params> a: Params;
{declared}
{functions_in(written + outside)}
{outside}
@compute @workgroup_size({GROUP}) fn main(@builtin(workgroup_id) group_: vec3u,
    @builtin(num_workgroups) groups_: vec3u, @builtin(local_invocation_index) lid: u32) {{
  zero_ = groups_.z - 1u;
  let group = group_.y * groups_.x + group_.x;
  let i = group * {GROUP}u + lid;
  {written}
}}
"""
