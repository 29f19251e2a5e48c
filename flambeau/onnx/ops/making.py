"""Tensors from nothing."""

from __future__ import annotations

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops.conversion import like
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import DTYPES, MOST, Narrow, Value, as_ints, bounded


@op("ConstantOfShape", raw=True)
def constant_of_shape(call: Call, shape: Value) -> Value:
    sizes = bounded(as_ints(shape))
    value = like(call["value"], call.device) if call["value"] is not None else fb.zeros(1, device=call.device)
    if isinstance(value, Narrow):
        return Narrow(value.tensor.reshape(()).expand(sizes), value.kind)
    if not isinstance(value, Tensor):
        raise call.refuse("a tensor of texts")
    return value.reshape(()).expand(sizes)


@op("Range")
def range(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start + i · delta, for as many i as stay before the limit."""
    first, last, step = (v.reshape(-1)[0].item() for v in (start, limit, delta))
    if step == 0:
        raise OnnxError("a range has the step 0")
    count = max(-int((last - first) // -step), 0)
    if count > MOST:
        raise OnnxError(f"a range of {count} numbers cannot be made")
    steps = fb.arange(count, device=call.device)
    if not start.is_floating_point():
        whole: Tensor = steps * step + first
        return whole.to(start.dtype)
    wide = fb.float64 if start.dtype is fb.float64 else fb.float32
    return (start.to(wide) + steps.to(wide) * delta.to(wide)).to(start.dtype)


@op("EyeLike")
def eye_like(call: Call, x: Tensor) -> Tensor:
    rows, columns = (fb.arange(n, device=x.device) for n in x.shape)
    ones = rows[:, None] + (call["k"] or 0) == columns
    return ones.to(x.dtype if call["dtype"] is None else DTYPES[call["dtype"]])
