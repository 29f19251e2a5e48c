"""Running sums and products along an axis: pieces reduced, their totals scanned, and the pieces walked from there."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final

from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau_webgpu.kernels.reduce import join
from flambeau_webgpu.wgsl import FLOATS, REGISTER, literal

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

_PIECE: Final = 256
_NUMBERS: Final = tuple(d for d in REGISTER if d is not dt.bool_)


def bind(backend: WebGPUBackend) -> None:
    """Register the scans."""
    for name, op in (("cumsum", "sum"), ("cumprod", "prod")):
        backend.kernels.register(name, partial(scan, backend, op), _NUMBERS)


def scan(backend: WebGPUBackend, op: str, x: StridedArray, *, axis: int) -> StridedArray:
    """Each element joined with all before it along ``axis``."""
    out = backend.empty(x.shape, x.dtype, x.index)
    if out.size:
        axis = axis % x.ndim if x.ndim else 0
        n, inner = (x.shape[axis], prod(x.shape[axis + 1 :])) if x.ndim else (1, 1)
        _scan(backend, op, out, backend.dense(x), n, inner)
    return out


def _scan(backend: WebGPUBackend, op: str, out: StridedArray, x: StridedArray, n: int, inner: int) -> None:
    """Scan the middle of (outer, n, inner); piece by piece where it is long."""
    dtype, pieces = x.dtype, -(-n // _PIECE)
    wide = dt.float32 if dtype in FLOATS else dtype
    lines = x.size // n
    numbers = {"count": lines * pieces, "n": n, "inner": inner, "pieces": pieces}
    before = None
    if pieces > 1:
        totals = backend.empty((lines * pieces,), wide, x.index)
        backend.run((op, "totals"), lambda: _text(op, dtype, False, ""), {"q": totals}, {"x": x}, numbers,
                    threads=lines * pieces)  # fmt: skip
        before = backend.empty((lines * pieces,), wide, x.index)
        _scan(backend, op, before, totals, pieces, inner)
    ins = {"x": x} if before is None else {"x": x, "s": before}
    began = "" if before is None else "if (piece > 0u) { v = $s[i - a.inner]; }"
    backend.run((op, "scan", pieces > 1), lambda: _text(op, dtype, True, began), {"q": out}, ins, numbers,
                threads=lines * pieces)  # fmt: skip


def _text(op: str, dtype: DType, each: bool, began: str) -> str:
    write = "$q[base + j * a.inner] = v;" if each else ""
    return f"""if (i >= a.count) {{ return; }}
  let k = i % a.inner; let rest = i / a.inner; let piece = rest % a.pieces; let low = piece * {_PIECE}u;
  let base = rest / a.pieces * a.n * a.inner + k; var v = {literal(op == "prod", dtype)}; {began}
  for (var j = low; j < min(a.n, low + {_PIECE}u); j++) {{
    let b = $x[base + j * a.inner]; v = {join(op, dtype, "v", "b")}; {write}
  }}
  {"" if each else "$q[i] = v;"}"""
