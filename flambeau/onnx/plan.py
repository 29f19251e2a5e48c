"""A graph of a file as a list of steps, and how they run.

A plan is made once: ops are looked up, attributes are read and get their defaults, and the last use of each name is
found, so that a run keeps no value longer than it is needed. Names of outer graphs that a graph in an attribute uses
(its captured names) are uses of the node that holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import flambeau as fb
from flambeau.onnx.errors import OnnxError, UnsupportedOpError
from flambeau.onnx.registry import Op
from flambeau.onnx.values import Ints, Kind, Narrow, Value, as_ints, described


@dataclass(slots=True)
class Step:
    """A node: its op, what it reads and makes, and the names that are not needed after it."""

    op: Op
    op_type: str
    domain: str
    version: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]  # Any: what an attribute may be is fixed by the op, not by its type
    captured: tuple[str, ...] = ()
    body: Op | None = None
    drop: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = f"node {self.name!r}" if self.name else f"the node that makes {next(filter(None, self.outputs), '')!r}"
        return f"{name} ({self.op_type}, version {self.version} of {self.domain or 'ai.onnx'})"


@dataclass(slots=True)
class Constants:
    """Values that do not change from run to run, on each device that they were needed on."""

    values: dict[str, Value]
    _placed: dict[fb.device, dict[str, Value]] = field(default_factory=dict, repr=False)

    def placed(self, device: fb.device) -> dict[str, Value]:
        found = self._placed.get(device)
        if found is None:
            found = {name: moved(value, device) for name, value in self.values.items()}
            self._placed[device] = found
        return found


@dataclass(slots=True)
class Plan:
    """A graph, ready to run."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: list[Step]
    constants: Constants
    captured: frozenset[str]


@dataclass(slots=True)
class Run:
    """What is true of a whole run: where tensors are made, and whether the module is in training mode."""

    device: fb.device
    training: bool


class Call:
    """A node at the time it runs: ``call["axis"]`` is an attribute, None where it has neither value nor default."""

    __slots__ = ("env", "run", "step")

    def __init__(self, step: Step, run: Run, env: Mapping[str, Value]):
        self.step = step
        self.run = run
        self.env = env

    def __getitem__(self, name: str) -> Any:  # Any: see Step.attributes
        return self.step.attributes.get(name)

    @property
    def device(self) -> fb.device:
        return self.run.device

    @property
    def version(self) -> int:
        """The version of the op, the one in which its definition last changed."""
        return self.step.version

    def wants(self, position: int) -> bool:
        """Whether the graph uses the output at ``position``."""
        return position < len(self.step.outputs) and bool(self.step.outputs[position])

    def graph(self, name: str, *inputs: Value) -> list[Value]:
        """Run the graph in the attribute ``name`` on ``inputs``; it sees the names around this node."""
        plan = self[name]
        if not isinstance(plan, Plan):
            raise OnnxError(f"the attribute {name!r} has no graph")
        return execute(plan, inputs, self.run, self.env)

    def refuse(self, what: str) -> UnsupportedOpError:
        """The error for a form of the op that is not supported."""
        return UnsupportedOpError(f"{self.step}: {what} is not supported")


def moved(value: Value, device: fb.device) -> Value:
    """The value on a device; numbers on the host stay there."""
    if isinstance(value, fb.Tensor):
        return value if value.device == device else value.to(device)
    if isinstance(value, Narrow):
        return Narrow(value.tensor.to(device), value.kind)
    return value


def execute(plan: Plan, inputs: Iterable[Value], run: Run, outer: Mapping[str, Value]) -> list[Value]:
    """The outputs of a plan; ``outer`` has the names that it captures."""
    env = dict(plan.constants.placed(run.device))
    for name in plan.captured:
        env[name] = outer[name]
    given = tuple(inputs)
    if len(given) > len(plan.inputs):
        raise OnnxError(f"the graph {plan.name!r} takes {len(plan.inputs)} inputs and was given {len(given)}")
    env.update(dict.fromkeys(plan.inputs))
    env.update(zip(plan.inputs, given, strict=False))
    for step in plan.steps:
        made = _outputs(step, run, env)
        for name, value in zip(step.outputs, made, strict=False):
            if name:
                env[name] = value
        for name in step.drop:
            del env[name]
    return [env[name] if name else None for name in plan.outputs]


def _outputs(step: Step, run: Run, env: dict[str, Value]) -> tuple[Value, ...]:
    args = [env[name] if name else None for name in step.inputs]
    try:
        made = apply(step.op, Call(step, run, env), args)
    except OnnxError as e:
        if type(e) is OnnxError and "node" not in str(e):
            raise OnnxError(f"{step}: {e}") from e
        raise
    except RecursionError:
        raise OnnxError(f"{step}: graphs stand in one another too deeply") from None
    except Exception as e:
        given = ", ".join(described(a) for a in args)
        raise OnnxError(f"{step} on {given}: {type(e).__name__}: {e}") from e
    if sum(map(bool, step.outputs[len(made) :])):
        raise UnsupportedOpError(f"{step}: only {len(made)} of its {len(step.outputs)} outputs are supported")
    return made


def apply(op: Op, call: Call, args: list[Value]) -> tuple[Value, ...]:
    """Run a mapping on values, made into what it takes."""
    if op.raw:
        raw = op.function(call, *args)
        if raw is NotImplemented and call.step.body is not None:
            return apply(call.step.body, call, args)
        return _tuple(raw)
    if op.host is not None and all(type(a) is Ints or a is None for a in args):
        quick = op.host(call, *args)
        if quick is not None:
            return (quick,)
    ready = [as_ints(a) if a is not None and i in op.ints else _operand(a, call, op) for i, a in enumerate(args)]
    if not op.layout:
        return _tuple(op.function(call, *ready))
    if any(isinstance(a, Narrow) for a in ready):
        return _narrow_layout(op, call, ready)
    if any(isinstance(a, np.ndarray) for a in ready):
        return _text_layout(op, call, ready)
    return _tuple(op.function(call, *ready))


def _tuple(made: Any) -> tuple[Value, ...]:
    return made if isinstance(made, tuple) else (made,)


def _operand(value: Value, call: Call, op: Op) -> Any:
    if isinstance(value, Ints):
        return value.tensor(call.run.device)
    if isinstance(value, fb.Tensor):
        return value if value.device == call.run.device else value.to(call.run.device)
    if value is None or op.layout and isinstance(value, (Narrow, np.ndarray)):
        return value
    raise UnsupportedOpError(f"{call.step}: it does not take {described(value)}")


def _narrow_layout(op: Op, call: Call, args: list[Any]) -> tuple[Value, ...]:
    kinds: set[Kind] = {a.kind for a in args if isinstance(a, Narrow)}
    if len(kinds) != 1:
        raise OnnxError(f"{call.step}: {' and '.join(k.name for k in kinds)} do not go together")
    (kind,) = kinds
    made = _tuple(op.function(call, *(a.tensor if isinstance(a, Narrow) else a for a in args)))
    return tuple(Narrow(m, kind) if isinstance(m, fb.Tensor) and m.dtype is kind.carrier else m for m in made)


def _text_layout(op: Op, call: Call, args: list[Any]) -> tuple[Value, ...]:
    """Texts go through an op as their places in a list of all texts."""
    texts = [a for a in args if isinstance(a, np.ndarray)]
    table, codes = np.unique(np.concatenate([t.reshape(-1) for t in texts]), return_inverse=True)
    rest = iter(np.split(codes.astype(np.int32), np.cumsum([t.size for t in texts])[:-1]))
    coded = [fb.from_numpy(next(rest).reshape(a.shape)) if isinstance(a, np.ndarray) else a for a in args]
    placed = [moved(c, call.run.device) if isinstance(c, fb.Tensor) else c for c in coded]
    made = _tuple(op.function(call, *placed))
    return tuple(table[m.cpu().numpy()] if isinstance(m, fb.Tensor) and m.dtype is fb.int32 else m for m in made)
