"""Reductions: along rows by a workgroup each, down columns by an invocation each; long ones in two launches."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final

from flambeau.backends import layout as lay
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar
from flambeau_webgpu.wgsl import FLOATS, GROUP, REGISTER, literal, wrapped

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

Axes = tuple[int, ...] | int | None
_LONG: Final = 4096  # elements that one workgroup, or a column's invocation, reduces at most
_NUMBERS: Final = tuple(d for d in REGISTER if d is not dt.bool_)


def bind(backend: WebGPUBackend) -> None:
    """Register them."""
    table = backend.kernels
    for name, dtypes in (
        ("sum", tuple(REGISTER)), ("prod", _NUMBERS), ("max", tuple(REGISTER)), ("min", tuple(REGISTER)),
        ("mean", FLOATS), ("any", (dt.bool_,)), ("all", (dt.bool_,)),
    ):  # fmt: skip
        table.register(name, partial(reduced, backend, name), dtypes)
    for name in ("argmax", "argmin"):
        table.register(name, partial(position, backend, name), tuple(REGISTER))


def join(op: str, dtype: DType, v: str, b: str) -> str:
    """The text of two values reduced to one."""
    if dtype is dt.bool_:
        return f"({v} {'&&' if op in ('all', 'min') else '||'} {b})"
    if op in ("max", "min"):
        return f"{op}imum_{'f32' if dtype in FLOATS else dtype.name}({v}, {b})"
    return wrapped(dtype, f"{v} {'*' if op == 'prod' else '+'} {b}")


def _identity(op: str, dtype: DType) -> int | float | bool:
    if op in ("max", "min"):
        if dtype in FLOATS:
            return float("-inf") if op == "max" else float("inf")
        if dtype is not dt.bool_:
            return dt.iinfo(dtype).min if op == "max" else dt.iinfo(dtype).max
    return op in ("all", "prod") or (op == "min" and dtype is dt.bool_)


def axes_of(x: StridedArray, axis: Axes) -> tuple[int, ...]:
    """The reduced axes, as a tuple."""
    found = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    return found if x.ndim else ()


def reduced(
    backend: WebGPUBackend, op: str, x: StridedArray, *, axis: Axes = None, keepdims: bool = False
) -> StridedArray:
    """One element in place of those along ``axis``."""
    axes = axes_of(x, axis)
    out = backend.empty(lay.reduced_shape(x.shape, axes, keepdims), x.dtype, x.index)
    n = prod(x.shape[a] for a in axes)
    if not out.size:
        return out
    if not n:
        if op in ("max", "min"):
            raise ValueError(f"{op}: no elements to choose from along axes {axes} of shape {x.shape}")
        value = float("nan") if op == "mean" else _identity(op, x.dtype)
        backend.fill(out, host_scalar(value, x.dtype).tobytes())
        return out
    source, outer, inner = rows_of(backend, x, axes)
    _reduce(backend, op, out, source, outer, n, inner, 1.0 / n)
    return out


def rows_of(backend: WebGPUBackend, x: StridedArray, axes: tuple[int, ...]) -> tuple[StridedArray, int, int]:
    """A contiguous array (outer, n, inner) whose middle is reduced, and its ``outer`` and ``inner``."""
    if axes and axes == tuple(range(axes[0], axes[-1] + 1)):
        dense = backend.dense(x)
        return dense, prod(x.shape[: axes[0]]), prod(x.shape[axes[-1] + 1 :])
    dense = backend.dense(x.turned(axes))
    return dense, dense.size // max(1, prod(x.shape[a] for a in axes)), 1


def _reduce(
    backend: WebGPUBackend, op: str, out: StridedArray, x: StridedArray, outer: int, n: int, inner: int, scale: float
) -> None:
    if n > _LONG:
        parts = -(-n // min(_LONG, max(256, int(n**0.5))))
        length = -(-n // parts)
        parts = -(-n // length)
        wide = dt.float32 if x.dtype in FLOATS else x.dtype
        between = backend.empty((outer * parts * inner,), wide, x.index)
        _launch(backend, "sum" if op == "mean" else op, between, x, outer, n, inner, parts, length, 1.0)
        _reduce(backend, op, out, between, outer, parts, inner, scale)
        return
    _launch(backend, op, out, x, outer, n, inner, 1, n, scale)


def _launch(
    backend: WebGPUBackend, op: str, out: StridedArray, x: StridedArray, outer: int, n: int, inner: int, parts: int,
    length: int, scale: float,
) -> None:  # fmt: skip
    """Each of ``parts`` pieces of ``length`` of the middle axis becomes one element."""
    together = inner == 1 and length > 32  # the invocations of a workgroup share a row
    dtype = x.dtype
    zero = literal(_identity(op, dtype), dtype)
    result = "v * a.scale" if op == "mean" else "v"

    def body() -> str:
        if not together:
            return f"""if (i >= a.count) {{ return; }}
  let c = i % a.inner; let rest = i / a.inner; let low = (rest % a.parts) * a.length;
  let base = (rest / a.parts) * a.n * a.inner + c; let high = min(a.n, low + a.length);
  var v = {zero};
  for (var j = low; j < high; j++) {{ let b = $x[base + j * a.inner]; v = {join(op, dtype, "v", "b")}; }}
  $q[i] = {result};"""
        hold, get = ("select(0u, 1u, v)", "(sv[{}] != 0u)") if dtype is dt.bool_ else ("v", "sv[{}]")
        return f"""let row = min(group, a.count - 1u); let low = (row % a.parts) * a.length;
  let base = (row / a.parts) * a.n; let high = min(a.n, low + a.length);
  var v = {zero};
  for (var j = low + lid; j < high; j += {GROUP}u) {{ let b = $x[base + j]; v = {join(op, dtype, "v", "b")}; }}
  sv[lid] = {hold}; workgroupBarrier();
  for (var s = {GROUP // 2}u; s > 0u; s = s >> 1u) {{
    if (lid < s) {{ let b = {get.format("lid + s")}; v = {join(op, dtype, "v", "b")}; sv[lid] = {hold}; }}
    workgroupBarrier();
  }}
  if (lid == 0u && group < a.count) {{ $q[row] = {result}; }}"""

    count = outer * parts * inner
    numbers = {"count": count, "n": n, "inner": inner, "parts": parts, "length": length, "scale": scale}
    kind = "u32" if dtype is dt.bool_ else REGISTER[dtype]
    shared = f"var<workgroup> sv: array<{kind}, {GROUP}>;" if together else ""
    arrays = {"q": out}, {"x": x}
    threads = count * GROUP if together else count
    backend.run(("reduce", op, together), body, *arrays, numbers, threads=threads, shared=shared)


def position(
    backend: WebGPUBackend, op: str, x: StridedArray, *, axis: Axes = None, keepdims: bool = False
) -> StridedArray:
    """The place of the first largest or smallest element along ``axis``; nan is both."""
    axes = axes_of(x, axis)
    if any(x.shape[a] == 0 for a in axes):
        raise ValueError(f"{op}: no elements to choose from along axes {axes} of shape {x.shape}")
    out = backend.result(lay.reduced_shape(x.shape, axes, keepdims), dt.int64, x.index)
    if not out.size:
        return out
    source, _, inner = rows_of(backend, x, axes)
    n = prod(x.shape[a] for a in axes)
    sign, dtype = ">" if op == "argmax" else "<", x.dtype
    together = inner == 1 and n > 64

    def better(b: str, v: str) -> str:
        if dtype is dt.bool_:
            return f"({b} && !{v})" if op == "argmax" else f"(!{b} && {v})"
        if dtype in FLOATS:
            return f"({b} {sign} {v} || (isnan_({b}) && !isnan_({v})))"
        return f"({b} {sign} {v})"

    def body() -> str:
        kind = REGISTER[out.dtype]
        result = "i64(u64(w))" if kind == "i64" else "i32(w)"
        if not together:
            return f"""if (i >= a.count) {{ return; }}
  let base = (i / a.inner) * a.n * a.inner + i % a.inner; var v = $x[base]; var w = 0u;
  for (var j = 1u; j < a.n; j++) {{ let b = $x[base + j * a.inner]; if {better("b", "v")} {{ v = b; w = j; }} }}
  $q[i] = {result};"""
        hold, get = ("select(0u, 1u, v)", "(sv[lid + s] != 0u)") if dtype is dt.bool_ else ("v", "sv[lid + s]")
        return f"""let row = min(group, a.count - 1u); let base = row * a.n; var v = $x[base + lid]; var w = lid;
  for (var j = lid + {GROUP}u; j < a.n; j += {GROUP}u) {{
    let b = $x[base + j]; if {better("b", "v")} {{ v = b; w = j; }}
  }}
  sv[lid] = {hold}; sw[lid] = w; workgroupBarrier();
  for (var s = {GROUP // 2}u; s > 0u; s = s >> 1u) {{
    if (lid < s) {{
      let b = {get}; let j = sw[lid + s];
      if ({better("b", "v")} || (!{better("v", "b")} && j < w)) {{ v = b; w = j; sv[lid] = {hold}; sw[lid] = w; }}
    }}
    workgroupBarrier();
  }}
  if (lid == 0u && group < a.count) {{ $q[row] = {result}; }}"""

    numbers = {"count": out.size, "n": n, "inner": inner}
    kind = "u32" if dtype is dt.bool_ else REGISTER[dtype]
    shared = f"var<workgroup> sv: array<{kind}, {GROUP}>; var<workgroup> sw: array<u32, {GROUP}>;" if together else ""
    threads = out.size * GROUP if together else out.size
    backend.run((op, together), body, {"q": out}, {"x": source}, numbers, threads=threads, shared=shared)
    return out
