"""What a model is made of: its layers with their shapes, parameters, operations and memory, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from flambeau.core.record import Op
from flambeau.core.state import no_grad, watch
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten
from flambeau.nn import hooks
from flambeau.nn.module import Module
from flambeau.utils.flop_counter import flop_registry, operations

__all__ = ["LayerInfo", "ModelSummary", "summary"]


@dataclass
class LayerInfo:
    """One call of a layer.

    Attributes:
        path: how the model calls it, "" for the model itself.
        kind: the name of its class.
        depth: how many modules it is inside of.
        input_shapes, output_shapes: of the tensors among its arguments and results.
        own_parameters: of it alone; ``parameters`` with all below it, of which ``trained`` want a gradient.
        mult_adds: multiply-adds of it and all below it: half of the operations that
            :class:`~flambeau.utils.flop_counter.FlopCounterMode` counts.
        output_bytes: of its results.
        again: whether the layer was called before.
    """

    path: str
    kind: str
    depth: int
    input_shapes: list[tuple[int, ...]] = field(default_factory=list)
    output_shapes: list[tuple[int, ...]] = field(default_factory=list)
    own_parameters: int = 0
    parameters: int = 0
    trained: int = 0
    mult_adds: int = 0
    output_bytes: int = 0
    again: bool = False

    @property
    def name(self) -> str:
        """How its parent calls it, with its class."""
        last = self.path.rpartition(".")[2]
        return f"{last} {self.kind}" if last else self.kind


@dataclass
class ModelSummary:
    """The layers of a model in the order of their calls, with sums; its text is the table.

    Attributes:
        layers: the calls.
        total_params, trainable_params: how many numbers the parameters have.
        total_mult_adds: multiply-adds of the whole call.
        total_input, total_output_bytes, total_param_bytes: bytes of the arguments, of what the layers that have no
            others inside gave, and of parameters and buffers.
    """

    layers: list[LayerInfo]
    total_params: int
    trainable_params: int
    total_mult_adds: int
    total_input: int
    total_output_bytes: int
    total_param_bytes: int
    depth: int | None = None

    def __str__(self) -> str:
        shown = [v for v in self.layers if self.depth is None or v.depth <= self.depth]
        rows = [("Layer", "Output", "Parameters", "Multiply-adds")]
        for v in shown:
            parameters = "as above" if v.again and v.parameters else f"{v.parameters:,}"
            shapes = ", ".join(str(list(s)) for s in v.output_shapes) or "-"
            rows.append(("  " * v.depth + v.name, shapes, parameters, f"{v.mult_adds:,}"))
        widths = [max(len(r[i]) for r in rows) for i in range(4)]
        lines = [f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in rows]
        lines.insert(1, "  ".join("-" * w for w in widths))
        given, made, held = (n / 1e6 for n in (self.total_input, self.total_output_bytes, self.total_param_bytes))
        lines += [
            "",
            f"Parameters: {self.total_params:,}, of which {self.trainable_params:,} are trained",
            f"Multiply-adds: {self.total_mult_adds:,}",
            f"Memory: {given:.2f} MB of arguments, {made:.2f} MB of results, {held:.2f} MB of parameters and buffers",
        ]
        return "\n".join(lines)

    __repr__ = __str__


def summary(
    model: Module, input_data: Any = (), *, depth: int | None = None, mode: str = "eval",
    kwargs: Mapping[str, Any] | None = None,
) -> ModelSummary:  # Any: arguments of the model  # fmt: skip
    """Call a model once, without gradients, and tell what each layer gave and cost.

    Args:
        model: a module.
        input_data: a tensor, or a tuple or list of arguments, or a dict of keyword arguments.
        depth: of the layers in the table; None is all.
        mode: "eval" or "train": what the model is put in for the call. It is as it was afterwards, but for what it
            writes to its buffers in training mode.
        kwargs: more keyword arguments.

    Raises:
        TypeError: for what is no module; ValueError for another mode.

    >>> print(fb.utils.summary(fb.nn.Sequential(fb.nn.Linear(4, 5), fb.nn.ReLU()), fb.ones(3, 4)))
    Layer       Output  Parameters  Multiply-adds
    ----------  ------  ----------  -------------
    Sequential  [3, 5]          25             60
      0 Linear  [3, 5]          25             60
      1 ReLU    [3, 5]           0              0
    <BLANKLINE>
    Parameters: 25, of which 25 are trained
    Multiply-adds: 60
    Memory: 0.00 MB of arguments, 0.00 MB of results, 0.00 MB of parameters and buffers
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: model must be a module, got {type(model).__name__}")
    if mode not in ("eval", "train"):
        raise ValueError(f"summary: mode must be 'eval' or 'train', got {mode!r}")
    args, named = _arguments(input_data, kwargs)
    before = {m: m.training for m in model.modules()}
    counter = _Counter(model)
    try:
        model.train(mode == "train")
        with counter.counting(), no_grad():
            model(*args, **named)
    finally:
        for m, training in before.items():
            m.training = training
    parameters = list(model.parameters())
    inside = {v.path.rpartition(".")[0] for v in counter.layers if v.path}
    return ModelSummary(
        counter.layers, sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad),
        counter.total, sum(t.nbytes for t in _tensors((args, named))),
        sum(v.output_bytes for v in counter.layers if v.path not in inside),
        sum(t.nbytes for t in (*parameters, *model.buffers())), depth,
    )  # fmt: skip


def _arguments(given: Any, more: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(given, dict):
        return (), {**given, **(more or {})}
    return tuple(given) if isinstance(given, (tuple, list)) else (given,), dict(more or {})


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (t for t in flatten(tree)[0] if isinstance(t, Tensor))


class _Counter:
    """Sees the calls of a model's modules, and the operations inside each."""

    def __init__(self, model: Module):
        self.layers: list[LayerInfo] = []
        self.total = 0
        self._paths = {m: path for path, m in model.named_modules()}
        self._running: list[LayerInfo] = []
        self._seen: set[Module] = set()

    def counting(self) -> ExitStack:
        """Inside, calls are seen."""
        stack = ExitStack()
        for handle in (
            hooks.register_module_forward_pre_hook(self._before),
            hooks.register_module_forward_hook(self._after, always_call=True),
        ):
            stack.callback(handle.remove)
        stack.enter_context(watch(self._see))
        return stack

    def _before(self, module: Module, args: Sequence[Any]) -> None:
        if module not in self._paths:
            return
        every, own = list(module.parameters()), list(module.parameters(recurse=False))
        made = LayerInfo(
            self._paths[module], type(module).__name__, len(self._running), [tuple(t.shape) for t in _tensors(args)],
            [], sum(p.numel() for p in own), sum(p.numel() for p in every),
            sum(p.numel() for p in every if p.requires_grad), again=module in self._seen,
        )  # fmt: skip
        self._seen.add(module)
        self.layers.append(made)
        self._running.append(made)

    def _after(self, module: Module, args: Sequence[Any], result: Any) -> None:
        if module not in self._paths:
            return
        made = self._running.pop()
        found = list(_tensors(result))
        made.output_shapes = [tuple(t.shape) for t in found]
        made.output_bytes = sum(t.nbytes for t in found)

    def _see(self, op: Op, key: Any, arrays: Any, params: dict[str, Any], kernel: Callable[..., Any]) -> Any:
        result = kernel(*arrays, **params)
        count = operations(flop_registry, op, arrays, params, result) // 2
        self.total += count
        for layer in self._running:
            layer.mult_adds += count
        return result
