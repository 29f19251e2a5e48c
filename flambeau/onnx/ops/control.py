"""Branches and loops: graphs in attributes, which see the names around their node."""

from __future__ import annotations

from typing import Final, cast

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops.conversion import like
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import Ints, Narrow, Value, as_ints, described

#: Rounds of a loop, at most: files that ask for more are refused when they get there.
MOST_ROUNDS: Final = 1 << 24


def truth(value: Value) -> bool:
    """A condition of one element."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise OnnxError(f"a condition is one bool, not {described(value)}")
    return bool(value.item())


@op("If", raw=True)
def branch(call: Call, condition: Value) -> tuple[Value, ...]:
    return tuple(call.graph("then_branch" if truth(condition) else "else_branch"))


@op("Loop", raw=True)
def loop(call: Call, most: Value = None, condition: Value = None, *carried: Value) -> tuple[Value, ...]:
    """At most ``most`` times while the condition holds; what the body gives beyond the carried values is stacked."""
    limit = None if most is None else as_ints(most)[0]
    go = condition is None or truth(condition)
    state, rows = list(carried), [list[Value]() for _ in range(len(call["body"].outputs) - 1 - len(carried))]
    i = 0
    while go and (limit is None or i < limit):
        if i >= MOST_ROUNDS:
            raise OnnxError(f"a loop runs more than {MOST_ROUNDS} times")
        going = fb.tensor(True, device=call.device)
        after, *made = call.graph("body", Ints((i,), scalar=True), going, *state)
        go = truth(after)
        state = made[: len(carried)]
        for row, value in zip(rows, made[len(carried) :], strict=True):
            row.append(value)
        i += 1
    return (*state, *(stacked(row, 0, call) for row in rows))


def stacked(values: list[Value], axis: int, call: Call) -> Value:
    """Values of one type along a new axis."""
    if not values:
        return fb.zeros(0, device=call.device)
    ready = [like(v, call.device) for v in values]
    if all(isinstance(v, Tensor) for v in ready):
        return fb.stack(cast("list[Tensor]", ready), axis)
    if all(isinstance(v, Narrow) for v in ready):
        narrow = cast("list[Narrow]", ready)
        return Narrow(fb.stack([v.tensor for v in narrow], axis), narrow[0].kind)
    raise call.refuse(f"stacking {described(values[0])}")


@op("Scan", since=9, raw=True)
def scan(call: Call, *inputs: Value) -> tuple[Value, ...]:
    """The body once for each slice of the scanned inputs, with states from one to the next."""
    return _scanned(call, list(inputs), call["num_scan_inputs"])


def _scanned(call: Call, inputs: list[Value], count: int) -> tuple[Value, ...]:
    carried = len(inputs) - count
    made = len(call["body"].outputs) - carried
    in_axes, out_axes = call["scan_input_axes"] or (0,) * count, call["scan_output_axes"] or (0,) * made
    in_back, out_back = call["scan_input_directions"] or (0,) * count, call["scan_output_directions"] or (0,) * made
    state, scanned = inputs[:carried], [like(v, call.device) for v in inputs[carried:]]
    sizes = {_tensor(v).shape[a] for v, a in zip(scanned, in_axes, strict=True)}
    if len(sizes) != 1:
        raise OnnxError(f"the scanned inputs have different lengths, {sorted(sizes)}")
    (size,) = sizes
    rows: list[list[Value]] = [[] for _ in range(made)]
    for i in range(size):
        slices = [
            _tensor(v).select(a, size - 1 - i if back else i)
            for v, a, back in zip(scanned, in_axes, in_back, strict=True)
        ]
        out = call.graph("body", *state, *slices)
        state = out[:carried]
        for row, value in zip(rows, out[carried:], strict=True):
            row.append(value)
    turned = [row[::-1] if back else row for row, back in zip(rows, out_back, strict=True)]
    return (*state, *(stacked(row, axis, call) for row, axis in zip(turned, out_axes, strict=True)))


def _tensor(value: Value) -> Tensor:
    if not isinstance(value, Tensor):
        raise OnnxError(f"a tensor of numbers is wanted, not {described(value)}")
    return value


@op("Scan", since=8, raw=True)
def scan_first(call: Call, lengths: Value, *inputs: Value) -> tuple[Value, ...]:
    """Version 8 has a batch in front of everything, and takes each of it alone."""
    if lengths is not None:
        raise call.refuse("sequences of several lengths")
    values = [_tensor(like(v, call.device)) for v in inputs]
    if any(call["directions"] or ()):
        raise call.refuse("scanning from the end")
    each = [_scanned(call, [v[b] for v in values], call["num_scan_inputs"]) for b in range(values[0].shape[0])]
    return tuple(stacked(list(column), 0, call) for column in zip(*each, strict=True))
