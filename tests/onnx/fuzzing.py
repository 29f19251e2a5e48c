"""Models with bytes changed at random: reading and running them may fail in one way only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

import flambeau as fb
from flambeau.onnx import OnnxError

TEXT = """<ir_version: 10, opset_import: ["": 21, "local": 1]>
net (float[n, 2, 6, 6] x, int64[k] order) => (float[a, b] y, float[c] z)
<int64[2] target = {1, -1}, float[3] some = {1.0, 2.0, 3.0}>
{
   c = Conv <pads = [1, 1, 1, 1]> (x, kernel, bias)
   r = Relu(c)
   p, places = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
   f = Reshape(p, target)
   s = local.scaled <by = 2.0> (f)
   q = Constant <value = int64[1] {0}> ()
   size = Shape(s)
   first = Gather(size, q)
   many = Cast <to = 7> (first)
   one = Constant <value = int64 {3}> ()
   yes = Constant <value = bool {1}> ()
   last, rows = Loop (one, yes, s) <body = body (int64 i, bool go, float[a, b] v) => (bool on, float[a, b] w, float t) {
      on = Identity(go)  w = Add(v, v)  t = ReduceSum <keepdims = 0> (w)
   }>
   chosen = Gather(some, order)
   y = Softmax <axis = -1> (last)
   z = Concat <axis = 0> (rows, chosen)
}
<domain: "local", opset_import: ["": 21]>
scaled <by> (v) => (w) { factor = Constant <value_float: float = @by> ()  w = Mul(v, factor) }
"""


def model() -> onnx.ModelProto:
    """A model with a convolution, a loop, a function, and shapes that are computed."""
    made = parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for name, shape in (("kernel", (4, 2, 3, 3)), ("bias", (4,))):
        made.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32), name))
    return made


def inputs() -> tuple[fb.Tensor, fb.Tensor]:
    rng = np.random.default_rng(1)
    return fb.from_numpy(rng.standard_normal((1, 2, 6, 6), dtype=np.float32)), fb.tensor([0, 2, 1])


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, taken out, doubled or cut off."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(made)))
        match int(rng.integers(10)):
            case 0:
                made[at] = int(rng.integers(256))
            case 1 | 2 | 3 | 4 | 5 | 6 | 7:
                made[at] ^= 1 << int(rng.integers(8))
            case 8:
                del made[at : at + int(rng.integers(1, 9))]
            case _:
                made[at:at] = made[at : at + int(rng.integers(1, 9))]
        if not made:
            break
    return bytes(made)


def changed(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """Fields of a well-formed model changed: numbers, names, types, bytes."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for _ in range(int(rng.integers(1, 3))):
        places = list(_scalars(made))
        names = [value for *_, value in places if isinstance(value, str)]
        message, field, index, value = places[int(rng.integers(len(places)))]
        try:
            _put(message, field, index, _other(value, names, rng))
        except ValueError:  # an enum that has no such member, or an int of 32 bits
            continue
    return made


def _scalars(message: Any) -> Iterator[tuple[Any, str, int | None, Any]]:
    """Every number, text and bytes in a message: where it stands, and what it is."""
    for field, value in message.ListFields():
        if field.is_repeated:
            for i, item in enumerate(value):
                if field.message_type is None:
                    yield message, field.name, i, item
                else:
                    yield from _scalars(item)
        elif field.message_type is None:
            yield message, field.name, None, value
        else:
            yield from _scalars(value)


def _other(value: Any, names: list[str], rng: np.random.Generator) -> Any:
    if isinstance(value, str):
        return str(rng.choice([*names, ""]))
    if isinstance(value, bytes):
        return value[: int(rng.integers(len(value) + 1))]
    if isinstance(value, float):
        return float(rng.choice([0.0, -1.0, 1e30, np.nan, np.inf]))
    return int(rng.choice([-1, 0, 1, 2, 3, 7, 16, value + 1, 1 << 31, (1 << 62) + 1, -(1 << 63)]))


def _put(message: Any, field: str, index: int | None, value: Any) -> None:
    if index is None:
        setattr(message, field, value)
    else:
        getattr(message, field)[index] = value


def outcome(data: bytes) -> str:
    """How a file goes: "refused" when it is read, "fails" when it runs, or "runs"; any other error escapes."""
    try:
        module = fb.onnx.load(data)
    except OnnxError:
        return "refused"
    try:
        with fb.no_grad():
            module(*inputs())
    except (OnnxError, TypeError):  # TypeError: it asks for other inputs
        return "fails"
    return "runs"
