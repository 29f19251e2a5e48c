"""The tracer: a layer around every op of a program, before decomposition, that writes down a functional graph.

It sees each op with its operands as the program called it, also those of a backward pass inside the program. Beside it
stands an ear for what happens below the ops (:mod:`flambeau.core.events`): a look at a value that depends on the
inputs is a branch of the program, or an error that names the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from flambeau.core import dispatch, events
from flambeau.core import dtype as dt
from flambeau.core.capture.guard_files import place_of_program
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.keys import Key
from flambeau.core.record import VIEW, Op
from flambeau.core.state import current, get, layer, no_grad, put
from flambeau.core.tensor import Tensor
from flambeau.export.aliases import Handle, Step, Storage
from flambeau.export.graph import RUN_DEVICE, ExportError, Graph, Node, Raised, Value, is_random
from flambeau.export.joining import joined
from flambeau.nn import hooks
from flambeau.utils import _pytree as pytree


class Look(NamedTuple):
    """A look at a bool that depends on the inputs."""

    value: Value
    answer: bool
    at: int  # how many nodes came before
    place: str


class Tracer:
    """Writes down the ops that run inside :meth:`recording`.

    Args:
        where: the device that the program runs on, of which the graph says nothing.
        answers: what looks at bools of the data give, one after the other; later ones see the data.
        branches: whether such looks are allowed at all.
        bake: who is told of looks that are not allowed, after which the recording is for the value seen; None raises.
        expand: which composites are expanded through their bodies, by name; None is none.
    """

    takes_fused = True  # a whole recurrent layer is one op
    exports = True  # what runs inside is told that it is exported

    def __init__(
        self, where: device, answers: Sequence[bool] = (), branches: bool = False,
        expand: Callable[[str], bool] | None = None, bake: Callable[[str], None] | None = None,
    ):  # fmt: skip
        self.where, self.branches, self._expand, self._bake = where, branches, expand, bake
        self.nodes: list[Node] = []
        self.constants: dict[str, Tensor] = {}  # by the name of their input
        self.constant_values: dict[str, Value] = {}
        self.looks: list[Look] = []
        self._answers = tuple(answers)
        self._handles: dict[int, Handle] = {}
        self._held: list[Any] = []  # arrays: as long as they live no other has their id
        self._made: set[int] = set()  # ids of arrays that the host made meanwhile
        self.names: set[str] = set()
        self._saved: dict[str, tuple[Tensor, Tensor]] = {}  # by owner: what the program writes to, and a copy of it
        self._owners: dict[str, Tensor] = {}
        self._paths: list[str] = []
        self._prefixes: dict[int, str] = {}
        self._with_grad = True
        self._detached: dict[Value, Value] = {}
        self.origin: Node | None = None  # the node of another program that runs

    # -- what is there before --------------------------------------------------------------------
    def input(self, tensor: Tensor, name: str, owner: str) -> Value:
        """A tensor that the graph takes."""
        known = self._handles.get(id(tensor._array))
        if known is not None and not known.steps and known.storage.owner is not None:
            return known.value
        value = Value(self.name(name), tuple(tensor.shape), tensor.dtype, requires_grad=tensor.requires_grad)
        self._adopt(tensor, Handle(Storage(value, owner), value))
        self._owners[owner] = tensor
        return value

    def name(self, base: str) -> str:
        """A name that no other value has; of values after different branches they differ too."""
        path = "".join("t" if look.answer else "f" for look in self.looks)
        base = f"{base}_{path}" if path else base
        found, n = base, 0
        while found in self.names:
            n += 1
            found = f"{base}_{n}"
        self.names.add(found)
        return found

    def _adopt(self, tensor: Tensor, handle: Handle) -> None:
        self._held.append(tensor._array)
        self._handles[id(tensor._array)] = handle
        if not handle.steps:
            handle.storage.settle(tensor._box)

    @contextmanager
    def recording(self, paths: Mapping[int, str] | None = None) -> Iterator[Tracer]:
        """Ops inside are written down; what they write to is as it was afterwards.

        ``paths`` has the path of each module by its id.
        """
        self._prefixes = dict(paths or {})
        self._with_grad = current().grad
        handles = [
            hooks.register_module_forward_pre_hook(lambda m, _: self._paths.append(self._prefixes.get(id(m), ""))),
            hooks.register_module_forward_hook(lambda m, *_: (self._paths.pop(), None)[1], always_call=True),
        ]
        before = current()
        put(before.replace(recorder=_Ear(self)))
        try:
            with layer(self):
                yield self
        finally:
            put(before)
            for handle in handles:
                handle.remove()
            with no_grad():
                for tensor, kept in self._saved.values():
                    tensor.copy_(kept)

    # -- ops -------------------------------------------------------------------------------------
    def __call__(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        if op.functional is not None:
            return self._write(op, op.functional, args, params)
        if self._expand is not None and op.decomposes and not is_random(op.name) and self._expand(op.name):
            return self._expanded(op, args, params)
        refs = tuple([self.ref(a) for a in args])
        out = events.untold(dispatch.call, op, args, params)
        if isinstance(out, Tensor) and id(out._array) in self._handles:
            return out  # the op had nothing to do
        several = isinstance(out, (tuple, list))
        outs = tuple(out) if several else (out,)
        if is_random(op.name):
            refs = (None, None, *refs[2:])
        node = self._node(op.name, refs, params, several)
        node.outs = tuple([
            None if t is None else Value(self.name(op.name), tuple(t.shape), t.dtype, node, i, t.requires_grad)
            for i, t in enumerate(outs)
        ])  # fmt: skip
        pure = not is_random(op.name) and all(self._is_pure(a) for a in args)
        for t, value in zip(outs, node.outs, strict=True):
            if t is not None:
                assert value is not None
                self._adopt(t, self._handle_of(op, args, params, t, value, pure))
        return out

    def _expanded(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """An op through its body, whose ops come to this tracer."""
        with layer(self):
            operands, key = dispatch.normalise(op, list(args), params)
            return dispatch.decompose(op, operands, params, key)

    def cond(self, pred: Tensor, branches: Sequence[Callable[..., Any]], operands: Sequence[Any]) -> Any:
        """One of two functions by the data: a node whose branches are what each of them does."""
        value, (place, module) = self._read(pred), self._where()
        taken = 0 if self.peek(pred) else 1
        graphs, results = [], []
        nodes = self.nodes
        written = sum(h.storage.written for h in self._handles.values())
        for fn in branches:
            self.nodes, failure, outputs = [], "", []
            try:
                leaves, spec = pytree.tree_flatten(fn(*operands))
                outputs = [self.ref(leaf) for leaf in leaves]
                results.append((leaves, spec))
            except Raised as error:
                failure = error.text
            if sum(h.storage.written for h in self._handles.values()) != written:
                raise ExportError(f"a branch of cond at {place} writes to a tensor in place; return a new one instead")
            graphs.append(Graph((), self.nodes, outputs))
            graphs[-1].failure = failure
        self.nodes = nodes
        if not results or results[0][1] != results[-1][1]:
            raise ExportError(f"the branches of cond at {place} return different structures")
        node = Node("cond", (value,), {}, several=True, place=place, module=module, branches=tuple(graphs))
        joined(node, self.name)
        nodes.append(node)
        leaves, spec = results[min(taken, len(results) - 1)]
        return spec.unflatten(self._results(node, leaves))

    def _results(self, node: Node, leaves: Sequence[Any]) -> list[Any]:
        """What a branch gave, as tensors of the node that it is part of."""
        found = []
        for value, leaf in zip(node.outs, leaves, strict=True):
            if value is not None:
                with self.silent():
                    leaf = leaf.clone()
                self._adopt(leaf, Handle(Storage(value), value))
            found.append(leaf)
        return found

    def peek(self, tensor: Tensor) -> bool:
        """The value of a bool, which the program does not get to see."""
        with self.silent():
            return bool(tensor)

    def _handle_of(
        self, op: Op, args: Sequence[Any], params: Mapping[str, Any], out: Tensor, value: Value, pure: bool
    ) -> Handle:
        if op.family is not VIEW:
            return Handle(Storage(value, pure=pure), value)
        base = self._handles[id(args[0]._array)]
        step = Step(op.name, params, tuple(args[0].shape), tuple(out.shape), out.dtype)
        return Handle(base.storage, value, (*base.steps, step))

    def _node(self, op: str, args: tuple[Any, ...], params: Mapping[str, Any], several: bool = False) -> Node:
        """A node at the end of the graph; its values follow."""
        params = {n: self._param(v) for n, v in params.items()}
        grad = get().grad or not self._with_grad  # type: ignore[union-attr]
        place, module = self._where()
        node = Node(op, args, params, several=several, grad=grad, place=place, module=module)
        self.nodes.append(node)
        return node

    def _where(self) -> tuple[str, str]:
        """The line of the program, and the path of the module that runs."""
        if self.origin is not None:
            return self.origin.place, self.origin.module
        return place_of_program(), self._paths[-1] if self._paths else ""

    def emit(
        self, op: str, args: tuple[Any, ...], params: Mapping[str, Any], shape: tuple[int, ...], dtype: DType
    ) -> Value:
        """A node with one value, which no tensor of the program is yet."""
        node = self._node(op, args, params)
        grad = op != "detach" and node.grad and any(isinstance(a, Value) and a.requires_grad for a in args)
        value = Value(self.name(op), tuple(shape), dtype, node, 0, grad)
        node.outs = (value,)
        return value

    def _param(self, value: Any) -> Any:
        if isinstance(value, device):
            return RUN_DEVICE if value is self.where else value
        if isinstance(value, Tensor):
            return self.ref(value)
        if isinstance(value, (list, tuple)):
            return type(value)([self._param(v) for v in value])
        return _plain(value)

    def ref(self, value: Any) -> Any:
        """An operand as a node has it."""
        if isinstance(value, Tensor):
            return self._read(value)
        if isinstance(value, (list, tuple)):
            return [self.ref(v) for v in value]
        return _plain(value)

    def _read(self, tensor: Tensor) -> Value:
        value = self._find(tensor).read(self.emit)
        if not value.requires_grad or tensor.requires_grad:
            return value
        found = self._detached.get(value)
        if found is None:
            found = self._detached[value] = self.emit("detach", (value,), {}, tuple(tensor.shape), value.dtype)
        return found

    def _find(self, tensor: Tensor) -> Handle:
        if tensor._key.level is not None:
            raise ExportError(
                f"a tensor inside {tensor._key.level.kind} can't be exported at {place_of_program()}; export the "
                "function that the transform is of, or compute with ops on whole tensors"
            )
        found = self._handles.get(id(tensor._array))
        if found is None:
            return self._constant(tensor)
        found.storage.check(tensor)
        return found

    def _constant(self, tensor: Tensor) -> Handle:
        """A tensor that nobody told of: its values as they are now."""
        name = self.name("c_lifted_tensor")
        value = Value(name, tuple(tensor.shape), tensor.dtype)
        owner = None if id(tensor._array) in self._made else name
        with self.silent(), no_grad():
            self.constants[name] = tensor.detach().clone()
        self.constant_values[name] = value
        handle = Handle(Storage(value, owner, pure=True), value)
        self._adopt(tensor, handle)
        return handle

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Nothing inside is written down."""
        before = current()
        put(before.replace(layers=(), recorder=None))
        try:
            yield
        finally:
            put(before)

    def _is_pure(self, value: Any) -> bool:
        """Whether a value depends on no input, and on no parameter or buffer."""
        if isinstance(value, Tensor):
            found = self._handles.get(id(value._array))
            return found is None or found.storage.pure
        return not isinstance(value, (list, tuple)) or all(map(self._is_pure, value))

    # -- writes ----------------------------------------------------------------------------------
    def _write(self, op: Op, functional: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        x = args[0]
        refs = tuple([self.ref(a) for a in args])
        handle = self._find(x)
        self._keep(handle.storage)
        pure = handle.storage.pure and all(map(self._is_pure, args))
        if functional.name == "copy":
            source = args[1]
            value = self._fitted(refs[1], source, x)
        else:
            compute = dispatch.compute_dtype(functional, args)
            dtype = functional.dtype.out(0, compute, params)
            node = self._node(functional.name, refs, params)
            grad = node.grad and functional.differentiable and any(_wants(a) for a in args)
            value = Value(self.name(functional.name), tuple(x.shape), dtype, node, 0, grad)
            node.outs = (value,)
            value = self._fitted(value, None, x)
        events.untold(dispatch.call, op, args, params)
        handle.write(value, self.emit)
        handle.storage.pure = pure
        handle.storage.settle(x._box)
        return x

    def _fitted(self, value: Any, source: Any, x: Tensor) -> Value:
        """What is written, with the dtype, the device and the shape of the tensor written to."""
        if not isinstance(value, Value):
            params = {"shape": tuple(x.shape), "value": value, "dtype": x.dtype, "device": x.device}
            return self.emit("full", (), params, tuple(x.shape), x.dtype)
        found: Value = value
        if isinstance(source, Tensor) and source.device is not x.device:
            found = self.emit("to_device", (found,), {"device": x.device}, tuple(source.shape), found.dtype)
        if found.dtype is not x.dtype:
            shape = tuple(x.shape) if source is None else tuple(source.shape)
            found = self.emit("cast", (found,), {"dtype": x.dtype}, shape, x.dtype)
        if found.shape != tuple(x.shape):
            found = self.emit("expand", (found,), {"shape": tuple(x.shape)}, tuple(x.shape), x.dtype)
        return found

    def _keep(self, storage: Storage) -> None:
        """Remember what was in memory of before, which is about to be written to."""
        owner = storage.owner
        if owner is None:
            return
        if owner not in self._owners:
            raise ExportError(
                f"the program writes to a tensor that is neither an input nor a buffer, at {place_of_program()}; "
                "register it with register_buffer, or write to a clone"
            )
        if owner not in self._saved:
            tensor = self._owners[owner]
            with self.silent(), no_grad():
                self._saved[owner] = tensor.detach(), tensor.detach().clone()

    def written(self) -> dict[str, Value]:
        """What the owners' tensors hold at the end, for those that were written to."""
        return {o: self._handles[id(self._owners[o]._array)].read(self.emit) for o in self._saved}

    def owner_of(self, tensor: Tensor) -> str:
        """Which input of the graph a tensor of before is."""
        return str(self._handles[id(tensor._array)].storage.owner)

    def copied(self, key: Key, target: Any, source: Any) -> None:
        """Somebody wrote an array into another one."""
        to, what = self._handles.get(id(target)), self._handles.get(id(source))
        if what is None or to is None and id(target) not in self._made:
            raise ExportError(
                f"values from outside of the ops are written, or to a tensor from outside, at {place_of_program()}"
            )
        if to is not None:
            self._keep(to.storage)
        value, shape = what.read(self.emit), tuple(target.shape)
        if value.dtype is not key.dtype:
            value = self.emit("cast", (value,), {"dtype": key.dtype}, value.shape, key.dtype)  # type: ignore[arg-type]
        if value.shape != shape:
            value = self.emit("expand", (value,), {"shape": shape}, shape, key.dtype)
        if to is None:
            to = self._handles[id(target)] = Handle(Storage(value), value)
        else:
            to.write(value, self.emit)
        to.storage.pure = to.storage.pure and what.storage.pure
        to.storage.forget()

    def made(self, array: Any) -> None:
        """The host made an array."""
        self._held.append(array)
        self._made.add(id(array))

    # -- looks -----------------------------------------------------------------------------------
    def is_free(self, array: Any) -> bool:
        """Whether an array's values may be looked at: they depend on no input, parameter or buffer."""
        handle = self._handles.get(id(array))
        return handle is None or handle.storage.pure

    def look(self, array: Any, number: Callable[[], Any]) -> Any:
        """A number that the program reads: it must not depend on the inputs, or be a bool that it decides by."""
        if self.is_free(array):
            return number()
        handle = self._handles[id(array)]
        if handle.value.dtype is not dt.bool_ or not self.branches:
            self.refuse("the value of a tensor is read")
            return number()
        value = handle.read(self.emit)
        i = len(self.looks)
        answer = self._answers[i] if i < len(self._answers) else bool(number())
        self.looks.append(Look(value, answer, len(self.nodes), place_of_program()))
        return answer

    def refuse(self, what: str) -> None:
        """ExportError that names the line, where it is not taken as it is."""
        if self._bake is not None:
            self._bake(f"{what} at {place_of_program()}")
            return
        raise ExportError(
            f"{what} at {place_of_program()}, and it depends on the inputs: an exported program has no Python that "
            "could go on from there. Compute with ops (where, masked ops), or decide with flambeau.cond"
        )


def _wants(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.requires_grad
    return isinstance(value, (list, tuple)) and any(map(_wants, value))


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python."""
    item = getattr(value, "item", None)
    return value if item is None or isinstance(value, Tensor) else item()


class _Ear:
    """The recorder of a thread that traces: it does all that it is told of, and tells the tracer of some."""

    def __init__(self, tracer: Tracer):
        self._tracer = tracer

    def host(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return events.untold(fn, *args)

    def write(self, key: Any, target: Any, source: Any) -> None:
        self._tracer.copied(key, target, source)
        key.backend.copy_into(target, source)

    def read(self, key: Any, array: Any, read: Callable[[Any], Any]) -> Any:
        if not self._tracer.is_free(array):
            self._tracer.refuse("the values of a tensor are read")
        return read(array)

    def item(self, key: Any, array: Any, read: Callable[[Any], Any]) -> Any:
        return self._tracer.look(array, lambda: read(array))

    def make(self, key: Any, make: Callable[[], Any]) -> Any:
        array = events.untold(make)
        self._tracer.made(array)
        return array

    def constant(self, key: Any, value: Any, make: Callable[[Any], Any]) -> Any:
        return make(value)

    def run(self, key: Any, fn: Callable[..., Any], args: tuple[Any, ...], writes: bool) -> Any:
        return fn(*args)

    def touch(self, tensor: Any) -> None:
        pass

    def rely(self, fn: Callable[..., Any], args: tuple[Any, ...], value: Any) -> None:
        pass

    def hook(self, node: Any) -> None:
        pass

    def refuse(self, why: str) -> None:
        if "shares the memory" in why:  # by numpy() and the like, which say of no values that they are read
            self._tracer.refuse(why)


__all__ = ["Look", "Tracer"]
