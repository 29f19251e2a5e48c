"""A graph runs: node by node through the dispatcher, on whatever device its inputs are on.

Gradients flow as in the program that was exported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from flambeau import control
from flambeau.core import dispatch
from flambeau.core.device import device
from flambeau.core.generator import default_generator
from flambeau.core.keys import get_default_device
from flambeau.core.ops.random import normal_words, words_for
from flambeau.core.record import OPS
from flambeau.core.state import is_grad_enabled, no_grad
from flambeau.core.tensor import Tensor
from flambeau.export.graph import RUN_DEVICE, ExportError, Graph, Node, Raised, Value, is_random
from flambeau.export.laws import Law

#: How many words of the generator's stream an op takes that draws, by its params.
_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], int]]] = {
    "random_bits": lambda p: int(p["length"]),
    "uniform_numbers": lambda p: words_for(p["shape"], p["dtype"]),
    "normal_numbers": lambda p: normal_words(p["shape"], p["dtype"]),
    "integer_numbers": lambda p: 2 * math.prod(p["shape"]),
    "dropout_mask": lambda p: math.prod(p["shape"]),
    "permutation": lambda p: 2 * int(p["length"]),
}


class Run:
    """One run of a graph.

    Args:
        sizes: the dimensions of this call, by name.
        where: the device that stands for that of the program.
        watch: called with each node and a function that runs it; it must call that.
    """

    def __init__(
        self, sizes: Mapping[str, int], where: device, watch: Callable[[Node, Callable[[], None]], None] | None = None
    ):
        self.sizes, self.where, self._watch = sizes, where, watch
        self.env: dict[Value, Any] = {}

    def __call__(self, graph: Graph, inputs: Sequence[Any] = ()) -> list[Any]:
        """The outputs of a graph."""
        self.env.update(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            if self._watch is None:
                self.run_node(node)
            else:
                self._watch(node, partial(self.run_node, node))
        if graph.failure:
            raise Raised(graph.failure)
        return [self.value(o) for o in graph.outputs]

    def value(self, arg: Any) -> Any:
        """An argument of a node as a tensor or number."""
        kind = arg.__class__
        if kind is Value:
            return self.env[arg]
        if kind is Law:
            return arg.at(self.sizes)
        if kind is list or kind is tuple:
            return kind([self.value(a) for a in arg])
        if kind is dict:
            return {n: self.value(v) for n, v in arg.items()}
        if kind is slice:
            return slice(self.value(arg.start), self.value(arg.stop), self.value(arg.step))
        return self.where if arg is RUN_DEVICE else arg

    def run_node(self, node: Node) -> None:
        """Run one node, whose values are known from then on."""
        try:
            if node.grad:
                result = self._compute(node)
            else:
                with no_grad():
                    result = self._compute(node)
        except ExportError:
            raise
        except Exception as error:
            error.add_note(f"in the exported program: {node.where()}")
            raise
        if node.several:
            self.env.update((v, r) for v, r in zip(node.outs, result, strict=True) if v is not None)
        else:
            self.env[node.out] = result
        if self.sizes:
            self._check(node)

    def _check(self, node: Node) -> None:
        """ExportError where a law of a size, which was found at some sizes, does not hold at those of this call.

        It looks at laws that divide and round: others cannot hold at all the sizes that were tried by chance.
        """
        for v in node.outs:
            if v is None:
                continue
            for axis, law in enumerate(v.shape):
                if law.__class__ is Law and law.rounds and law.at(self.sizes) != self.env[v].shape[axis]:
                    raise ExportError(
                        f"the sizes {dict(self.sizes)} are none that the program holds for: {node.where()} gives size "
                        f"{self.env[v].shape[axis]} at dimension {axis}, and {law} was found at the export, which is "
                        f"{law.at(self.sizes)}; export with other example sizes"
                    )

    def _compute(self, node: Node) -> Any:
        args = [self.value(a) for a in node.args]
        params = {n: self.value(p) for n, p in node.params.items()}
        special = _SPECIAL.get(node.op)
        if special is not None:
            return special(self, node, args, params)
        op = OPS[node.op]
        if is_random(node.op):
            args[:2] = default_generator.draw(_WORDS[node.op](params))
        return dispatch.call(op, args, params)


def _detach(run: Run, node: Node, args: list[Any], params: dict[str, Any]) -> Any:
    return args[0].detach()


def _view(run: Run, node: Node, args: list[Any], params: dict[str, Any]) -> Any:
    return args[0].reshape(params["shape"])  # what it is a view of may lie in memory otherwise than it did


def _dense(op: str) -> Callable[[Run, Node, list[Any], dict[str, Any]], Any]:
    """A view that asks for a layout: of a contiguous copy where there is another one."""

    def view(run: Run, node: Node, args: list[Any], params: dict[str, Any]) -> Any:
        return dispatch.call(OPS[op], [args[0].contiguous()], params)

    return view


def _write_view(run: Run, node: Node, args: list[Any], params: dict[str, Any]) -> Any:
    base, new = args
    made = base.clone()
    part = made
    for op, given in params["views"]:
        part = dispatch.call(OPS[op], [part], given)
    part.copy_(new)
    return made


def _lstm_sequence(run: Run, node: Node, args: list[Any], params: dict[str, Any]) -> Any:
    keep = is_grad_enabled() and any(t is not None and t.requires_grad for t in args)  # what a gradient will read
    return dispatch.call(OPS["lstm_sequence"], args, {"keep": keep})


def _cond(run: Run, node: Node, args: list[Any], params: dict[str, Any]) -> Any:
    yes, no = node.branches
    return control.cond(args[0], lambda: run(yes), lambda: run(no))


_SPECIAL: Final[Mapping[str, Callable[[Run, Node, list[Any], dict[str, Any]], Any]]] = {
    "detach": _detach, "view": _view, "as_strided": _dense("as_strided"), "view_dtype": _dense("view_dtype"),
    "view_as_complex": _dense("view_as_complex"), "write_view": _write_view, "cond": _cond,
    "lstm_sequence": _lstm_sequence,
}  # fmt: skip


def device_of(tensors: Sequence[Any]) -> device:
    """The device that a program runs on: that of the first tensor, else the default."""
    return next((t.device for t in tensors if isinstance(t, Tensor)), None) or get_default_device()


__all__ = ["Run", "device_of"]
