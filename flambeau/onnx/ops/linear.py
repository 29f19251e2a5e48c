"""Matrix products."""

from __future__ import annotations

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.onnx.ops.maths import aligned
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op, same

same({"MatMul": fb.matmul})


@op("Gemm", since=1)
def gemm_first(call: Call, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Before version 7 attributes say whether ``c`` is stretched."""
    out = _product(call, a, b, None)
    _, c = aligned(call, out, c)
    scaled: Tensor = c * call["beta"]
    return out + scaled


@op("Gemm", since=7)
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha · a @ b + beta · c, each matrix transposed if an attribute says so."""
    if call["beta"] == 1 and c is not None and c.ndim == 1 and a.is_floating_point():
        return _product(call, a, b, c)
    out = _product(call, a, b, None)
    if c is None or call["beta"] == 0:
        return out
    return out + (c if call["beta"] == 1 else (c * call["beta"]).to(c.dtype))


def _product(call: Call, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    if call["transA"]:
        a = a.t()
    if (
        call["alpha"] == 1
        and a.is_floating_point()
        and (bias is None or bias.shape[0] == b.shape[0 if call["transB"] else 1])
    ):
        return F.linear(a, b if call["transB"] else b.t(), bias)
    out = fb.matmul(a, b.t() if call["transB"] else b)
    out = out if call["alpha"] == 1 else (out * call["alpha"]).to(a.dtype)
    return out if bias is None else out + bias
