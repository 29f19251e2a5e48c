"""Stable sorting: blocks by counting, then runs merged by binary search, an invocation for each element."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.wgsl import FLOATS, REGISTER

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

_BLOCK: Final = 32


def bind(backend: WebGPUBackend) -> None:
    """Register it."""
    backend.kernels.register("argsort", partial(argsort, backend), tuple(REGISTER))


def argsort(backend: WebGPUBackend, x: StridedArray, *, axis: int = -1, descending: bool = False) -> StridedArray:
    """The places of the elements in order; equal ones keep theirs, and nan is the largest."""
    turned = x.turned((axis % x.ndim,) if x.ndim else ())
    rows = backend.dense(turned)
    out = backend.result(rows.shape, dt.int64, x.index)
    if out.size:
        n = rows.shape[-1]
        order = backend.empty((rows.size,), dt.uint32, x.index)
        numbers = {"count": rows.size, "n": n}
        backend.run(
            ("blocks", descending), lambda: _blocks(rows, descending), {"q": order}, {"x": rows}, numbers,
            threads=rows.size,
        )  # fmt: skip
        run = _BLOCK
        while run < n:
            merged = backend.empty((rows.size,), dt.uint32, x.index)
            backend.run(
                ("merge", descending), lambda: _merge(rows, descending), {"q": merged}, {"x": rows, "p": order},
                numbers | {"run": run}, threads=rows.size,
            )  # fmt: skip
            order, run = merged, 2 * run
        backend.copy(out, order.reshaped(out.shape))
    return backend.dense(out.turned_back(axis, x.ndim))


def _blocks(x: StridedArray, descending: bool) -> str:
    return _inline(
        f"""if (i >= a.count) {{ return; }}
  let row = i / a.n * a.n; let j = i % a.n; let low = j / {_BLOCK}u * {_BLOCK}u; let high = min(a.n, low + {_BLOCK}u);
  let v = $x[row + j]; var place = low;
  for (var k = low; k < high; k++) {{
    let u = $x[row + k];
    if (BEFORE(u, v) || (k < j && !BEFORE(v, u))) {{ place++; }}
  }}
  $q[row + place] = j;""",
        x, descending,
    )  # fmt: skip


def _merge(x: StridedArray, descending: bool) -> str:
    """One of the left run goes behind all of the right that come before it, one of the right behind equals too."""
    return _inline(
        """if (i >= a.count) { return; }
  let row = i / a.n * a.n; let j = i % a.n; let pair = j / (2u * a.run) * (2u * a.run);
  let middle = min(a.n, pair + a.run); let end = min(a.n, pair + 2u * a.run);
  let left = j < middle; let own = $p[row + j]; let v = $x[row + own];
  var low = select(pair, middle, left); var high = select(middle, end, left); let first = low;
  while (low < high) {
    let half = (low + high) / 2u; let u = $x[row + $p[row + half]];
    if (BEFORE(u, v) || (!left && !BEFORE(v, u))) { low = half + 1u; } else { high = half; }
  }
  $q[row + select(pair, j - middle + pair, !left) + select(0u, j - pair, left) + low - first] = own;""",
        x, descending,
    )  # fmt: skip


def _inline(text: str, x: StridedArray, descending: bool) -> str:
    """BEFORE(u, v) written out."""
    for u, v in (("u", "v"), ("v", "u")):
        s, t = (v, u) if descending else (u, v)
        if x.dtype is dt.bool_:
            less = f"(!{s} && {t})"
        elif x.dtype in FLOATS:
            less = f"({s} < {t} || (isnan_({t}) && !isnan_({s})))"
        else:
            less = f"({s} < {t})"
        text = text.replace(f"BEFORE({u}, {v})", less)
    return text
