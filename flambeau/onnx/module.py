"""An ONNX model as a module: its weights are parameters, and its graph runs as ops of flambeau."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flambeau as fb
from flambeau.nn import Module, Parameter
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Constants, Plan, Run, execute
from flambeau.onnx.values import Value, described, element, element_name, incoming, outgoing, shape_of

#: Inputs of ops that hold floating numbers which no optimizer may change, by op.
_NO_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4), "Resize": (1, 2), "Upsample": (1,), "Clip": (1, 2), "Dropout": (1,), "Pad": (2,),
    "QuantizeLinear": (1,), "DequantizeLinear": (1,), "QLinearConv": (1, 4, 6), "QLinearMatMul": (1, 4, 6),
    "NonMaxSuppression": (3, 4), "OneHot": (2,), "Range": (0, 1, 2), "Equal": (0, 1), "Less": (0, 1), "Greater": (0, 1),
    "Adagrad": (0,), "Adam": (0,), "Momentum": (0,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """An input or output of a model: ``shape`` has None for sizes that are open, and is None for any rank.

    ``dtype`` is the name of the element type, ``sequence`` or ``optional``, and ``number`` its number in ONNX.
    """

    name: str
    dtype: str
    number: int
    shape: tuple[int | str | None, ...] | None
    optional: bool = False


class OnnxModule(Module):
    """A model that :func:`flambeau.onnx.load` read. Calling it takes the model's inputs by place or by name.

    The outputs come as one value, or as a tuple where there are several: tensors, sequences as lists, and texts and
    numbers of four or two bits as arrays of numpy. Attributes: ``inputs`` and ``outputs``, each a tuple of
    :class:`Entry`. In training mode BatchNormalization takes the batch's statistics and moves the running ones, and
    Dropout drops, as modules of flambeau do; in evaluation mode the graph runs as the file says.
    """

    def __init__(self, plan: Plan, inputs: tuple[Entry, ...], outputs: tuple[Entry, ...], values: Mapping[str, Value]):
        super().__init__()
        self.inputs = inputs
        self.outputs = outputs
        self._plan = plan
        self._homes: dict[str, tuple[Module, str]] = {}
        frozen = _frozen(plan)
        fixed: dict[str, Value] = {}
        for name, value in values.items():
            if isinstance(value, fb.Tensor):
                weight = value.is_floating_point() and value.ndim > 0 and name not in frozen
                self._homes[name] = _home(self, name, Parameter(value) if weight else value)
            else:
                fixed[name] = value
        self._fixed = Constants(fixed)
        self.eval()

    def forward(self, *args: object, **kwargs: object) -> Any:  # Any: the file says what a model gives
        device = self._device((*args, *kwargs.values()))
        given = dict(self._fixed.placed(device))
        given.update((name, getattr(owner, leaf)) for name, (owner, leaf) in self._homes.items())
        given.update(self._given(args, kwargs, device))
        run = Run(device, self.training)
        made = execute(self._plan, [given.get(name) for name in self._plan.inputs], run, given)
        results = tuple(outgoing(value, device) for value in made)
        return results[0] if len(results) == 1 else results

    def _device(self, args: tuple[object, ...]) -> fb.device:
        for value in (*args, *self.parameters(), *self.buffers()):
            if isinstance(value, fb.Tensor):
                return value.device
        return fb.device("cpu")

    def _given(self, args: tuple[object, ...], kwargs: dict[str, object], device: fb.device) -> dict[str, Value]:
        names = [entry.name for entry in self.inputs]
        if len(args) > len(names):
            raise TypeError(f"the model takes {len(names)} inputs ({', '.join(names)}), not {len(args)}")
        found = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names:
                raise TypeError(f"the model has no input {name!r}; its inputs are {', '.join(names)}")
            if name in found:
                raise TypeError(f"the input {name!r} is given twice")
            found[name] = value
        values = {}
        for entry in self.inputs:
            if entry.name in found:
                values[entry.name] = _checked(entry, incoming(found[entry.name], device))
            elif not entry.optional:
                raise TypeError(f"the model's input {entry.name!r} is missing")
        return values

    def extra_repr(self) -> str:
        inputs = ", ".join(e.name for e in self.inputs)
        return f"{inputs} -> {', '.join(e.name for e in self.outputs)}, nodes={len(self._plan.steps)}"


def _checked(entry: Entry, value: Value) -> Value:
    if value is None or isinstance(value, list) or entry.number == 0:
        return value
    if element(value) != entry.number:
        raise OnnxError(f"the input {entry.name!r} takes {element_name(entry.number)}, not {described(value)}")
    shape = shape_of(value)
    if entry.shape is not None and (
        len(shape) != len(entry.shape)
        or any(isinstance(want, int) and want != size for want, size in zip(entry.shape, shape, strict=True))
    ):
        raise OnnxError(f"the input {entry.name!r} takes the shape {entry.shape}, not {shape}")
    return value


def _frozen(plan: Plan) -> set[str]:
    """Names of values that are no weights, by where they are used."""
    found = set()
    for step in plan.steps:
        for place in _NO_WEIGHTS.get(step.op_type, ()):
            if place < len(step.inputs):
                found.add(step.inputs[place])
    return found


def _home(root: Module, name: str, value: fb.Tensor) -> tuple[Module, str]:
    """Register a tensor under its name, of which each part but the last is a module; where it went."""
    *path, leaf = [part or "_" for part in name.split(".")]
    owner = root
    for part in path:
        below = owner._modules.get(part)
        if below is None:
            part = _free(owner, part)
            below = Module()
            owner.add_module(part, below)
        owner = below
    leaf = _free(owner, leaf)
    if isinstance(value, Parameter):
        owner.register_parameter(leaf, value)
    else:
        owner.register_buffer(leaf, value)
    return owner, leaf


def _free(owner: Module, name: str) -> str:
    while hasattr(owner, name):
        name += "_"
    return name
