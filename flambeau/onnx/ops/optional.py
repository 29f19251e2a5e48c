"""Optional values: the value itself, or None."""

from __future__ import annotations

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import Value


@op("Optional", raw=True)
def optional(call: Call, value: Value = None) -> Value:
    return value


@op("OptionalHasElement", raw=True)
def has_element(call: Call, value: Value = None) -> Tensor:
    return fb.tensor(value is not None, device=call.device)


@op("OptionalGetElement", raw=True)
def get_element(call: Call, value: Value) -> Value:
    if value is None:
        raise OnnxError("the optional value is missing")
    return value
