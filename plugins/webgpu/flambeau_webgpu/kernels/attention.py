"""Attention and its gradients: products, and one launch for all that is done to a row of scores."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from flambeau.backends.base import Declined
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.kernels.linalg import matmul_into
from flambeau_webgpu.kernels.rows import Rows
from flambeau_webgpu.wgsl import FLOATS

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend


def bind(backend: WebGPUBackend) -> None:
    """Register both."""
    backend.kernels.register("attention", partial(attention, backend), FLOATS)
    backend.kernels.register("attention_grad", partial(attention_grad, backend), FLOATS)


def _turned(x: StridedArray) -> StridedArray:
    return x.permuted((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


class _Scores:
    """The scores of queries and keys in float32, and the text of one of them."""

    def __init__(
        self, backend: WebGPUBackend, query: StridedArray, key: StridedArray, value: StridedArray,
        mask: StridedArray | None, causal: bool, scale: float,
    ):  # fmt: skip
        lead, (length, n) = query.shape[:-2], (query.shape[-2], key.shape[-2])
        self.shape = (*lead, length, n)
        if key.shape[:-2] != lead or value.shape[:-2] != lead or not query.size or not value.size:
            raise Declined("operands that broadcast, or are empty")
        if mask is not None and mask.ndim > len(self.shape):
            raise Declined("a mask of more axes than the scores have")
        self.scores = backend.empty(self.shape, dt.float32, query.index)
        matmul_into(backend, self.scores, query, _turned(key))
        self.rows = Rows(backend, self.scores.size // n, n, query.index)
        self.ins = {"s": self.scores}
        if mask is not None:
            self.ins["mask"] = backend.copied(mask.expanded(self.shape), dt.float32)
        text = "$s[at + j] * a.scale" + (" + $mask[at + j]" if mask is not None else "")
        self.text = f"select({text}, -bits_(0x7f800000u), j > row % a.length)" if causal else text
        self.numbers = {"scale": float(scale), "length": length}
        self.key = (causal, mask is not None)


def attention(
    backend: WebGPUBackend, query: StridedArray, key: StridedArray, value: StridedArray, mask: StridedArray | None, *,
    causal: bool, scale: float,
) -> tuple[StridedArray, StridedArray]:  # fmt: skip
    """softmax(query keyᵀ scale + mask) value, and the logarithm of the softmax's denominators."""
    s = _Scores(backend, query, key, value, mask, causal, scale)
    weights = backend.empty(s.shape, dt.float32, query.index)
    lse = backend.empty(s.shape[:-1], query.dtype, query.index)
    r = s.rows
    body = f"""{r.largest("top", s.text)} if (top == -bits_(0x7f800000u)) {{ top = 0.0; }}
  {r.total("", total=f"exp_f32(keep_({s.text} - top))")} let by = select(total, 1.0, total == 0.0);
  {r.each(f"$q[at + j] = exp_f32(keep_({s.text} - top)) / by;")}
  $l[row] = log_f32(total) + top;"""
    r.run(("attention", *s.key), body, {"q": weights, "l": lse}, s.ins, **s.numbers)
    out = backend.empty((*s.shape[:-1], value.shape[-1]), query.dtype, query.index)
    matmul_into(backend, out, weights, value)
    return out, lse


def attention_grad(
    backend: WebGPUBackend, grad: StridedArray, grad_lse: StridedArray, query: StridedArray, key: StridedArray,
    value: StridedArray, mask: StridedArray | None, result: StridedArray, lse: StridedArray, *, causal: bool,
    scale: float,
) -> tuple[StridedArray, StridedArray, StridedArray]:  # fmt: skip
    """The gradients for queries, keys and values; the weights are computed again from ``lse``."""
    s = _Scores(backend, query, key, value, mask, causal, scale)
    weights, of_scores, between = (backend.empty(s.shape, dt.float32, query.index) for _ in range(3))
    matmul_into(backend, between, grad, _turned(value))
    stored = "$w[at + j] = p; $ds[at + j] = p * ($b[at + j] - along) * a.scale;"
    body = f"""var base = $l[row]; if (base == -bits_(0x7f800000u)) {{ base = 0.0; }}
  var along = -$gl[row];
  for (var d = 0u; d < a.width; d++) {{ along += $g[row * a.width + d] * $o[row * a.width + d]; }}
  {s.rows.each(f"let p = exp_f32(keep_({s.text} - base)); {stored}")}"""
    ins = {**s.ins, "b": between}
    ins |= {
        name: backend.dense(x) for name, x in zip(("g", "o", "l", "gl"), (grad, result, lse, grad_lse), strict=True)
    }
    outs = {"w": weights, "ds": of_scores}
    s.rows.run(("attention_grad", *s.key), body, outs, ins, **s.numbers, width=value.shape[-1])
    found = tuple(backend.empty(x.shape, x.dtype, x.index) for x in (query, key, value))
    for out, left, right in zip(
        found, (of_scores, _turned(of_scores), _turned(weights)), (key, query, grad), strict=True
    ):
        matmul_into(backend, out, left, right)
    return found[0], found[1], found[2]
