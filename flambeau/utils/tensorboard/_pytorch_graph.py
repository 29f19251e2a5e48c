"""The graph of a model: the ops of one forward pass, by module, with shapes and edges.

The pass runs with a mode that sees each op. An edge goes from the op that made a tensor, and from the one that wrote
into its memory since: what a view or a detached tensor was made of is found by its memory. Ops that no mode sees, those
of a tangent in ``func.jvp``, have no nodes: what they give is a constant.
"""

from __future__ import annotations

import inspect
import itertools
import reprlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from flambeau.core.box import INFERENCE, box_of
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom
from flambeau.core.tree import flatten
from flambeau.nn.module import Module
from flambeau.utils._python_dispatch import DispatchedOp, TorchDispatchMode
from flambeau.utils.tensorboard._parts import part
from flambeau.utils.tensorboard._proto_graph import node_proto


class _Source(NamedTuple):
    """Where a tensor comes from: outputs of nodes, and how many nodes there were when the last of them was made."""

    order: int
    edges: tuple[str, ...]


class Recorder(TorchDispatchMode):
    """Inside the block, notes each op as a node."""

    def __init__(self, model: Module):
        super().__init__()
        self.nodes: list[Any] = []
        self.scopes = [type(model).__name__]
        self._names: set[str] = set()
        self._made: dict[int, _Source] = {}
        self._written: dict[Any, _Source] = {}  # by storage
        self._versions: dict[Any, int] = {}  # by storage: how often it was written when it was seen last
        self._by_op: defaultdict[str, list[_Source]] = defaultdict(list)
        self._alive: list[Tensor] = []  # so that no other tensor gets the id of one that was seen
        self._stored: dict[int, tuple[str, str]] = {}
        self._stored_in: dict[Any, int] = {}
        for kind, found in (("Parameter", model.named_parameters()), ("Buffer", model.named_buffers())):
            for path, tensor in found:
                scope, _, name = path.rpartition(".")
                self._stored[id(tensor)] = (kind, f"{scope_of(model, scope)}/{name}")
                if (storage := _storage(tensor)) is not None:
                    self._stored_in.setdefault(storage, id(tensor))

    def __torch_dispatch__(
        self, func: DispatchedOp, types: Sequence[type], args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # Any: what the op gives  # fmt: skip
        """Compute the op and note it."""
        operands = _tensors((args, kwargs or {}))
        edges = self.edges(operands)
        result = func(*args, **(kwargs or {}))
        outputs = _tensors(result)
        settings = {**{str(i): a for i, a in enumerate(args)}, **(kwargs or {})}
        shown = ", ".join(f"{k}: {reprlib.repr(v)}" for k, v in settings.items() if not _tensors(v))
        node = self.node(f"{self.scopes[-1]}/{func.__name__}", func.name(), edges, outputs, f"{{{shown}}}")
        for i, output in enumerate(outputs):
            source = _Source(len(self.nodes), (f"{node}:{i}" if i else node,))
            self._by_op[func.__name__].append(source)
            self.made(output, source, any(output is t for t in operands))
        return result

    def node(self, name: str, op: str, edges: Sequence[str], outputs: Sequence[Tensor], attributes: str = "") -> str:
        """Add a node; its name is made one of its own."""
        name = next(n for i in itertools.count() if (n := f"{name}_{i}" if i else name) not in self._names)
        self._names.add(name)
        device = str(outputs[0].device) if outputs else ""
        shapes = [tuple(t.shape) for t in outputs]
        self.nodes.append(node_proto(name, op, edges, shapes, attributes, device))
        return name

    def made(self, tensor: Tensor, source: _Source, wrote: bool = False) -> None:
        """Note where a tensor comes from, and whether its memory was written."""
        self._alive.append(tensor)
        self._made[id(tensor)] = source
        storage = _storage(tensor)
        if storage is not None and (wrote or storage not in self._written):
            self._written[storage] = source
            self._versions[storage] = _version(tensor)

    def edges(self, tensors: Sequence[Tensor]) -> list[str]:
        """The nodes that tensors come from."""
        return list(dict.fromkeys(edge for t in tensors for edge in self._edges(t)))

    def _edges(self, tensor: Tensor) -> list[str]:
        storage = _storage(tensor)
        self._look_again(tensor, storage)
        made, written = self._made.get(id(tensor)), self._written.get(storage)
        if made is None and written is None:
            made = self._met(tensor)
        since = () if written is None or made is not None and made.order >= written.order else written.edges
        return [*(made.edges if made else ()), *since]

    def _look_again(self, tensor: Tensor, storage: Any) -> None:
        """Find out who wrote to memory unseen, as the ``out`` of a call: ops of the writer's name, one or another."""
        before, now = self._versions.get(storage), _version(tensor)
        if before is None or before == now:
            return
        self._versions[storage] = now
        since = self._written[storage].order
        found = [s for s in self._by_op[box_of(bottom(tensor)).writer] if s.order > since]
        if found:
            self._written[storage] = _Source(found[-1].order, tuple(edge for s in found for edge in s.edges))

    def _met(self, tensor: Tensor) -> _Source:
        """A tensor that no op made: a parameter, a buffer or a constant."""
        known = id(tensor) if id(tensor) in self._stored else self._stored_in.get(_storage(tensor), 0)
        kind, name = self._stored.get(known, ("Constant", f"{self.scopes[-1]}/constant"))
        node = self.node(name, kind, (), [tensor])
        source = _Source(len(self.nodes), (node,))
        self.made(tensor, source)
        return source


def _storage(tensor: Tensor) -> Any:  # Any: what tells storages apart, or None where there is none
    try:
        return bottom(tensor).untyped_storage()
    except (RuntimeError, TypeError):  # sparse tensors and some backends have none
        return None


def _version(tensor: Tensor) -> int:
    """How often its memory was written; in inference mode nobody counts."""
    box = box_of(bottom(tensor))
    return 0 if box is INFERENCE else box.version


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in flatten(tree)[0] if isinstance(leaf, Tensor)]


def scope_of(model: Module, path: str) -> str:
    """A module's name in the graph: class and attribute of each module on the way to it."""
    parts = path.split(".") if path else []
    within = [".".join(parts[: i + 1]) for i in range(len(parts))]
    names = [f"{type(model.get_submodule(p)).__name__}[{p.rpartition('.')[2]}]" for p in within]
    return "/".join([type(model).__name__, *names])


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    before = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for m, training in before.items():
            m.training = training


def _follow(model: Module, recorder: Recorder) -> ExitStack:
    """Have the recorder know which module runs."""
    hooks = ExitStack()
    for path, module in model.named_modules():
        scope = scope_of(model, path)

        def enter(module: Any, args: Any, scope: str = scope) -> None:
            recorder.scopes.append(scope)

        def leave(module: Any, args: Any, output: Any) -> None:
            recorder.scopes.pop()

        hooks.callback(module.register_forward_pre_hook(enter, prepend=True).remove)
        hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
    return hooks


def _inputs(model: Module, args: tuple[Any, ...]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the arguments, by the names that forward gives them."""
    try:
        bound = inspect.signature(model.forward).bind(*args).arguments
    except TypeError as error:
        raise TypeError(f"add_graph: forward of {type(model).__name__} does not take the inputs: {error}") from error
    for name, value in bound.items():
        for i, t in enumerate(_tensors(value)):
            yield (name if t is value else f"{name}.{i}"), t


def graph(model: Any, args: Any, verbose: bool = False, use_strict_trace: bool = True) -> tuple[Any, Any]:
    """The graph of a model's forward pass in evaluation, and an empty record of its run, as protobufs.

    Args:
        model: a module.
        args: a tensor, or a tuple or list of what forward takes.
        verbose: print the nodes.
        use_strict_trace: accepted for PyTorch's sake: forward may give containers of any kind.

    Raises:
        TypeError: the model is no module, or its forward does not take these inputs.
        RuntimeError: the forward pass raises.
        ValueError: there are no inputs, or the pass gives no tensor.
    """
    if not isinstance(model, Module):
        raise TypeError(f"add_graph: model must be a Module, got {type(model).__name__}")
    if args is None:
        raise ValueError("add_graph: input_to_model is needed: what forward is to be run on")
    inputs = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    recorder = Recorder(model)
    for name, tensor in _inputs(model, inputs):
        node = recorder.node(f"input/{name}", "IO Node", (), [tensor])
        recorder.made(tensor, _Source(len(recorder.nodes), (node,)))
    with _evaluating(model), _follow(model, recorder):
        try:
            with recorder:
                result = model(*inputs)
        except Exception as error:
            raise RuntimeError(
                f"add_graph: forward of {type(model).__name__} fails on the inputs, so that there is no graph: {error}"
            ) from error
    outputs = _tensors(result)
    if not outputs:
        raise ValueError(f"add_graph: forward of {type(model).__name__} gives no tensor, but {type(result).__name__}")
    for i, tensor in zip(itertools.count(1), outputs):
        recorder.node(f"output/output.{i}", "IO Node", recorder.edges([tensor]), [tensor])
    if verbose:
        for node in recorder.nodes:
            print(f"{node.name} = {node.op}({', '.join(node.input)})")
    return _protos(recorder.nodes)


def _protos(nodes: list[Any]) -> tuple[Any, Any]:
    versions = part("tensorboard.compat.proto.versions_pb2").VersionDef(producer=22)
    steps = part("tensorboard.compat.proto.step_stats_pb2")
    stats = steps.StepStats(dev_stats=[steps.DeviceStepStats(device="/device:CPU:0")])
    run = part("tensorboard.compat.proto.config_pb2").RunMetadata(step_stats=stats)
    return part("tensorboard.compat.proto.graph_pb2").GraphDef(node=nodes, versions=versions), run
