"""Matrix products, batched, for operands of any strides."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final

from flambeau.backends import layout as lay
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.wgsl import FLOATS, REGISTER, literal, wrapped

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

_TILE: Final = 32  # rows and columns of the result that a workgroup makes, 4 by 4 an invocation
_DEPTH: Final = 16


def bind(backend: WebGPUBackend) -> None:
    """Register the product."""
    backend.kernels.register("matmul", partial(matmul, backend), tuple(REGISTER))


def matmul(backend: WebGPUBackend, x: StridedArray, y: StridedArray) -> StridedArray:
    """``x @ y`` for arrays of at least two axes; the axes before the last two broadcast."""
    batch = lay.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = backend.empty((*batch, x.shape[-2], y.shape[-1]), x.dtype, x.index)
    matmul_into(backend, out, x, y)
    return out


def matmul_into(backend: WebGPUBackend, out: StridedArray, x: StridedArray, y: StridedArray) -> None:
    """Write ``x @ y`` to ``out``: contiguous matrices, in memory of its own."""
    batch, (m, k), (k2, n) = out.shape[:-2], x.shape[-2:], y.shape[-2:]
    if k != k2:
        raise lay.LayoutError(f"matmul: shapes {x.shape} and {y.shape} cannot be multiplied")
    if not out.size:
        return
    if not k:
        backend.fill(out, bytes(out.dtype.itemsize))
        return
    x, y = x.expanded((*batch, m, k)), y.expanded((*batch, k, n))
    if len(batch) > 1:
        shape, _ = lay.coalesce(batch, x.strides[:-2], y.strides[:-2])
        if len(shape) > 1:
            x, y = backend.dense(x), backend.dense(y)
    folded = _folded(x, y)
    if folded is not None:  # one right operand for all: a single tall product
        x, y, m, batch = folded, y.viewed((k, n), y.strides[-2:], y.offset), folded.shape[0], ()
    shape, strides = lay.coalesce(batch, x.strides[:-2], y.strides[:-2]) if batch else ((), ())
    steps = (strides[0][0], strides[1][0]) if shape else (0, 0)
    _launch(backend, out, x, y, prod(batch), steps)


def _folded(x: StridedArray, y: StridedArray) -> StridedArray | None:
    """``x`` with its batch axes as rows, if ``y`` is the same for all of them."""
    if x.ndim == 2 or any(s for s, n in zip(y.strides[:-2], y.shape[:-2], strict=True) if n > 1):
        return None
    shape = (prod(x.shape[:-1]), x.shape[-1])
    strides = lay.view_strides(x.shape, x.strides, shape)
    return None if strides is None else x.viewed(shape, strides, x.offset)


def _launch(
    backend: WebGPUBackend, out: StridedArray, x: StridedArray, y: StridedArray, batches: int, steps: tuple[int, int]
) -> None:
    (m, k), n, dtype = x.shape[-2:], y.shape[-1], x.dtype
    numbers = {
        "b": batches, "m": m, "n": n, "k": k, "xb": steps[0], "yb": steps[1],
        "xm": x.strides[-2], "xk": x.strides[-1], "yk": y.strides[-2], "yn": y.strides[-1],
    }  # fmt: skip
    if dtype in FLOATS and min(m, n) >= 8 and m * n * k >= 4096:
        groups = batches * -(-m // _TILE) * -(-n // _TILE)
        shared = f"var<workgroup> tx: array<f32, {_TILE * _DEPTH}>; var<workgroup> ty: array<vec4f, {_TILE * _DEPTH // 4}>;"
        backend.run("tiled", lambda: _TILED, {"q": out}, {"x": x, "y": y}, numbers, groups=groups, shared=shared)
        return

    def body() -> str:
        term = "$x[px + k * a.xk] {} $y[py + k * a.yk]"
        step = wrapped(dtype, f"s + {term.format('*')}") if dtype is not dt.bool_ else f"s || ({term.format('&&')})"
        return f"""if (i >= a.b * a.m * a.n) {{ return; }}
  let c = i % a.n; let r = (i / a.n) % a.m; let t = i / (a.n * a.m);
  let px = t * a.xb + r * a.xm; let py = t * a.yb + c * a.yn; var s = {literal(0, dtype)};
  for (var k = 0u; k < a.k; k++) {{ s = {step}; }}
  $q[i] = s;"""

    backend.run("product", body, {"q": out}, {"x": x, "y": y}, numbers, threads=batches * m * n)


def _tiled() -> str:
    """A tile by a workgroup: depth after depth of both operands through shared memory, 4 by 4 results in registers."""
    rows = "\n  ".join(
        f"if (r + {j}u < a.m) {{ for (var d = 0u; d < 4u; d++) {{ if (c + d < a.n) {{ $q[at + {j}u * a.n + d] = s{j}[d]; }} }} }}"
        for j in range(4)
    )
    products = " ".join(f"s{j} += tx[k * {_TILE}u + down * 4u + {j}u] * v;" for j in range(4))
    return f"""let across = (a.n + {_TILE - 1}u) / {_TILE}u; let high = (a.m + {_TILE - 1}u) / {_TILE}u;
  let t = group / (across * high); if (t >= a.b) {{ return; }}
  let row = (group / across) % high * {_TILE}u; let column = group % across * {_TILE}u;
  let down = lid / 8u; let right = lid % 8u;
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  for (var low = 0u; low < a.k; low += {_DEPTH}u) {{
    for (var e = lid; e < {_TILE * _DEPTH}u; e += 64u) {{
      let k = e % {_DEPTH}u; let j = e / {_DEPTH}u; var v = 0.0;
      if (row + j < a.m && low + k < a.k) {{ v = $x[t * a.xb + (row + j) * a.xm + (low + k) * a.xk]; }}
      tx[k * {_TILE}u + j] = v;
      let k2 = e / {_TILE}u; let j2 = e % {_TILE}u; var w = 0.0;
      if (column + j2 < a.n && low + k2 < a.k) {{ w = $y[t * a.yb + (low + k2) * a.yk + (column + j2) * a.yn]; }}
      ty[k2 * {_TILE // 4}u + j2 / 4u][j2 % 4u] = w;
    }}
    workgroupBarrier();
    for (var k = 0u; k < {_DEPTH}u; k++) {{
      let v = ty[k * {_TILE // 4}u + right];
      {products}
    }}
    workgroupBarrier();
  }}
  let r = row + down * 4u; let c = column + right * 4u; let at = (t * a.m + r) * a.n + c;
  {rows}"""


_TILED: Final = _tiled()
