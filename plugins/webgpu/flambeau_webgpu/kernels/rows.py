"""Softmax and normalisations: a row by a workgroup, or by an invocation if rows are short or on a processor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final

from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.kernels.reduce import reduced
from flambeau_webgpu.wgsl import FLOATS, GROUP

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

Optional = StridedArray | None
_PARTS: Final = 64  # into which rows are cut for the gradients of weight and bias


def bind(backend: WebGPUBackend) -> None:
    """Register them."""
    table = backend.kernels
    for name, logarithm in (("softmax", False), ("log_softmax", True)):
        table.register(name, partial(softmax, backend, logarithm=logarithm), FLOATS)
        table.register(f"{name}_grad", partial(softmax_grad, backend, logarithm=logarithm), FLOATS)
    table.register("layer_norm", partial(norm, backend), FLOATS)
    table.register("rms_norm", partial(norm, backend, bias=None, centred=False), FLOATS)
    table.register("layer_norm_grad", partial(norm_grad, backend, centred=True), FLOATS)
    table.register("rms_norm_grad", partial(norm_grad, backend, centred=False), FLOATS)


class Rows:
    """The loops over rows of ``n`` elements, which ``rows`` of them run at once."""

    def __init__(self, backend: WebGPUBackend, rows: int, n: int, index: int):
        self.backend, self.rows, self.n = backend, rows, n
        self.together = n > 32 and not backend.device(index).processor

    def each(self, text: str) -> str:
        """A statement for each ``j`` of the row."""
        first, step = ("lid", f"j += {GROUP}u") if self.together else ("0u", "j++")
        return f"for (var j = {first}; j < a.n; {step}) {{ {text} }}"

    def total(self, ready: str, **terms: str) -> str:
        """Variables that are sums over the row."""
        loop = self.each(ready + " ".join(f" {name} += {term};" for name, term in terms.items()))
        joined = " ".join(f"{name} = total_({name}, lid);" for name in terms) if self.together else ""
        return " ".join(f"var {name} = 0.0;" for name in terms) + f" {loop} {joined}"

    def largest(self, name: str, value: str) -> str:
        """A variable that is the largest of the row."""
        loop = self.each(f"{name} = maximum_f32({name}, {value});")
        return f"var {name} = -bits_(0x7f800000u); {loop}" + (f" {name} = most_({name}, lid);" if self.together else "")

    def run(
        self, key: tuple[object, ...], body: str, outs: dict[str, StridedArray], ins: dict[str, StridedArray],
        **numbers: float,
    ) -> None:  # fmt: skip
        """Launch ``body``, which knows the ``row``."""
        row = "let row = min(group, a.rows - 1u);" if self.together else "if (i >= a.rows) { return; } let row = i;"
        text = f"{row} let at = row * a.n; {body}"
        threads = self.rows * GROUP if self.together else self.rows
        sizes = {"rows": self.rows, "n": self.n, **numbers}
        shared = _TREES if self.together else ""
        self.backend.run((*key, self.together), lambda: text, outs, ins, sizes, threads=threads, shared=shared)


def _tree(name: str, joined: str) -> str:
    return f"""fn {name}(v: f32, lid: u32) -> f32 {{
  lanes_[lid] = v; workgroupBarrier();
  for (var s = {GROUP // 2}u; s > 0u; s = s >> 1u) {{
    if (lid < s) {{ let a = lanes_[lid]; let b = lanes_[lid + s]; lanes_[lid] = {joined}; }}
    workgroupBarrier();
  }}
  let found = lanes_[0]; workgroupBarrier();
  return found;
}}"""


_TREES: Final = "\n".join([
    f"var<workgroup> lanes_: array<f32, {GROUP}>;", _tree("total_", "a + b"), _tree("most_", "maximum_f32(a, b)"),
])  # fmt: skip


def softmax(backend: WebGPUBackend, x: StridedArray, *, axis: int, logarithm: bool) -> StridedArray:
    """Softmax, or its logarithm, along ``axis``: any other axis than the last is turned there and back."""
    if not x.size:
        return backend.empty(x.shape, x.dtype, x.index)
    dense = backend.dense(x.turned((axis % max(x.ndim, 1),)))
    out = backend.empty(dense.shape, x.dtype, x.index)
    n = dense.shape[-1]
    r = Rows(backend, dense.size // n, n, x.index)
    value = "v - log_f32(total)" if logarithm else "exp_f32(v) / total"
    body = f"""{r.largest("top", "$x[at + j]")}
  {r.total("", total="exp_f32(keep_($x[at + j] - top))")}
  {r.each(f"let v = keep_($x[at + j] - top); $q[at + j] = {value};")}"""
    r.run(("softmax", logarithm), body, {"q": out}, {"x": dense})
    return backend.dense(out.turned_back(axis, x.ndim))


def softmax_grad(
    backend: WebGPUBackend, grad: StridedArray, result: StridedArray, *, axis: int, logarithm: bool
) -> StridedArray:
    """The gradient g * r - r * sum(g * r), or g - exp(r) * sum(g), from the result r."""
    if not result.size:
        return backend.empty(result.shape, result.dtype, result.index)
    place = axis % max(grad.ndim, 1)
    g, x = (backend.dense(v.turned((place,))) for v in (grad, result))
    out = backend.empty(x.shape, x.dtype, x.index)
    n = x.shape[-1]
    r = Rows(backend, x.size // n, n, x.index)
    term = "$g[at + j]" if logarithm else "$g[at + j] * $x[at + j]"
    value = "$g[at + j] - exp_f32($x[at + j]) * total" if logarithm else "($g[at + j] - total) * $x[at + j]"
    body = f"{r.total('', total=term)} {r.each(f'$q[at + j] = {value};')}"
    r.run(("softmax_grad", logarithm), body, {"q": out}, {"g": g, "x": x})
    return backend.dense(out.turned_back(axis, result.ndim))


# -- normalisations --------------------------------------------------------------------------------------
def _standard(r: Rows, centred: bool) -> str:
    """The mean of a row and one over its standard deviation; what the mean lost to rounding is made good."""
    mean = f"{r.total('', sum_='$x[at + j]')} var mean = sum_ / f32(a.n);" if centred else "let mean = 0.0;"
    terms = {"square": "d * d"} | ({"rest": "d"} if centred else {})
    made_good = "rest /= f32(a.n); mean += rest; square -= f32(a.n) * rest * rest;" if centred else ""
    return f"""{mean}
  {r.total("let d = keep_($x[at + j] - mean);", **terms)} {made_good}
  let scale = 1.0 / sqrt(square / f32(a.n) + a.eps);"""


def _given(backend: WebGPUBackend, **arrays: Optional) -> dict[str, StridedArray]:
    return {name: backend.dense(x) for name, x in arrays.items() if x is not None}


def norm(
    backend: WebGPUBackend, x: StridedArray, weight: Optional, bias: Optional = None, *,
    normalized_shape: Sequence[int], eps: float, centred: bool = True,
) -> StridedArray:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes; not ``centred``, without the mean."""
    out = backend.empty(x.shape, x.dtype, x.index)
    if out.size:
        n = prod(normalized_shape)
        r, ins = Rows(backend, x.size // n, n, x.index), _given(backend, x=x, w=weight, b=bias)
        affine = (" * $w[j]" if "w" in ins else "") + (" + $b[j]" if "b" in ins else "")
        body = f"{_standard(r, centred)} {r.each(f'$q[at + j] = ($x[at + j] - mean) * scale{affine};')}"
        r.run(("norm", centred), body, {"q": out}, ins, eps=float(eps))
    return out


def norm_grad(
    backend: WebGPUBackend, grad: StridedArray, x: StridedArray, weight: Optional, *,
    normalized_shape: Sequence[int], eps: float, centred: bool,
) -> tuple[StridedArray, ...]:  # fmt: skip
    """The gradients for the input, the weight and, of layer_norm, the bias."""
    out, n = backend.empty(x.shape, x.dtype, x.index), prod(normalized_shape)
    count, shape = 2 if centred else 1, tuple(normalized_shape)
    if not out.size:
        sums = [backend.empty(shape, x.dtype, x.index) for _ in range(count)]
        for v in sums:
            if v.size:
                backend.fill(v, bytes(v.dtype.itemsize))
        return out, *sums
    rows = x.size // n
    r, ins = Rows(backend, rows, n, x.index), _given(backend, g=grad, x=x, w=weight)
    ready = f"let d = keep_($x[at + j] - mean) * scale; let g = $g[at + j]{' * $w[j]' if weight is not None else ''};"
    terms = {"along": "g * d"} | ({"level": "g"} if centred else {})
    means = backend.empty((rows, 2), dt.float32, x.index)
    body = f"""{_standard(r, centred)}
  {r.total(ready, **terms)}
  let base = {"level / f32(a.n)" if centred else "0.0"}; let slope = along / f32(a.n);
  {r.each(f"{ready} $q[at + j] = scale * (g - base - d * slope);")}
  $means[2u * row] = mean; $means[2u * row + 1u] = scale;"""
    r.run(("norm_grad", centred), body, {"q": out, "means": means}, ins, eps=float(eps))
    parts = min(rows, _PARTS)
    pieces = [backend.empty((parts, n), dt.float32, x.index) for _ in range(2)]
    text = """if (i >= a.parts * a.n) { return; }
  let j = i % a.n; let low = i / a.n * a.length; let high = min(a.rows, low + a.length); var v = 0.0; var w = 0.0;
  for (var row = low; row < high; row++) {
    let g = $g[row * a.n + j]; w += g;
    v += g * (keep_($x[row * a.n + j] - $means[2u * row]) * $means[2u * row + 1u]);
  }
  $ow[i] = v; $ob[i] = w;"""
    numbers = {"rows": rows, "n": n, "parts": parts, "length": -(-rows // parts)}
    of = {"g": ins["g"], "x": ins["x"], "means": means}
    backend.run("norm_sums", lambda: text, dict(zip(("ow", "ob"), pieces, strict=True)), of, numbers, threads=parts * n)
    totals = [reduced(backend, "sum", v, axis=0).reshaped(shape) for v in pieces[:count]]
    return out, *[v if v.dtype is x.dtype else backend.copied(v, x.dtype) for v in totals]
