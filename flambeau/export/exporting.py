"""``export``: a module or function runs once under the tracer, and becomes a program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flambeau.core.generator import fork_rng
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.export.calls import CallSpec, ConstantInput, Input, TensorInput
from flambeau.export.graph import ExportError, Graph, Value
from flambeau.export.program import ExportedProgram
from flambeau.export.run import device_of
from flambeau.export.signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from flambeau.export.tracer import Tracer
from flambeau.nn import Module
from flambeau.utils import _pytree as pytree

_CONSTANTS = (bool, int, float, complex, str, type(None))


@dataclass
class Subject:
    """What is exported: a function, the module that it belongs to, and arguments of a call."""

    fn: Callable[..., Any]
    module: Module | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, mod: Any, args: Any, kwargs: Any) -> Subject:
        """The same from what the caller gave; TypeError for what cannot be exported."""
        if not callable(mod):
            raise TypeError(f"export: mod must be a module or a function, got {type(mod).__name__}")
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"export: args must be a tuple of arguments, got {type(args).__name__}")
        if kwargs is not None and not isinstance(kwargs, dict):
            raise TypeError(f"export: kwargs must be a dict, got {type(kwargs).__name__}")
        module = mod if isinstance(mod, Module) else getattr(mod, "__self__", None)
        return cls(mod, module if isinstance(module, Module) else None, tuple(args), dict(kwargs or {}))

    def names(self) -> list[str]:
        """A name for each leaf of the arguments: that of the parameter, and where in it the leaf stands."""
        fn = self.module.forward if self.module is self.fn and self.module is not None else self.fn
        given = [f"arg_{i}" for i in range(len(self.args))]
        try:
            parameters = list(inspect.signature(fn).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        for i, p in enumerate(parameters[: len(given)]):
            if p.kind is p.VAR_POSITIONAL:
                given[i:] = [f"{p.name}_{j}" for j in range(len(given) - i)]
                break
            given[i] = p.name
        found: list[str] = []
        for name, value in [*zip(given, self.args, strict=True), *self.kwargs.items()]:
            for path, _ in pytree.tree_leaves_with_path(value):
                found.append("_".join([name, *(_word(key) for key in path)]))
        return found


def _word(key: Any) -> str:
    part = next((str(getattr(key, a)) for a in ("key", "idx", "name") if hasattr(key, a)), str(key))
    return "".join(c if c.isalnum() else "_" for c in part)


@dataclass
class Recording:
    """One run of a program under the tracer."""

    tracer: Tracer
    held: list[tuple[InputSpec, Value]]
    inputs: list[tuple[Input, Value | None]]
    aliases: dict[str, str]
    outputs: list[Any]  # a value, or a constant
    written: dict[str, Value]
    out_spec: pytree.TreeSpec
    reached: list[Tensor]


def record(subject: Subject, leaves: Sequence[Any], names: Sequence[str], answers: Sequence[bool] = (),
           branches: bool = False) -> Recording:  # fmt: skip
    """Run a program on the leaves of its arguments under a tracer."""
    module = subject.module
    held = {} if module is None else dict(_held(module))
    tracer = Tracer(device_of([*leaves, *(t for t, _ in held.values())]), answers, branches)
    aliases: dict[str, str] = {}
    by_array: dict[int, str] = {}
    specs: list[tuple[InputSpec, Value]] = []
    for target, (tensor, spec) in held.items():
        if id(tensor._array) in by_array:
            aliases[target] = by_array[id(tensor._array)]
            continue
        by_array[id(tensor._array)] = target
        prefix = "p" if spec is InputKind.PARAMETER else "b"
        value = tracer.input(tensor, f"{prefix}_{target.replace('.', '_')}", target)
        persistent = None if spec is InputKind.PARAMETER else _persists(module, target)
        specs.append((InputSpec(spec, TensorArgument(value.name), target, persistent), value))
    given, inputs = [], []
    for leaf, name in zip(leaves, names, strict=True):
        own = _own(leaf) if isinstance(leaf, Tensor) else leaf
        given.append(own)
        if isinstance(own, Tensor):
            value = tracer.input(own, name, f"input {name}")
            inputs.append((TensorInput(value.name, tuple(own.shape), own.dtype), value))
        else:
            inputs.append((ConstantInput(name, leaf), None))
    args, kwargs = pytree.tree_structure((subject.args, subject.kwargs)).unflatten(given)
    paths = {} if module is None else {id(m): path for path, m in module.named_modules()}
    buffers = {} if module is None else dict(_places(module))
    with fork_rng():
        try:
            with tracer.recording(paths):
                result = subject.fn(*args, **kwargs)
                returned, out_spec = pytree.tree_flatten(result)
                for leaf in returned:
                    _require_output(leaf)
                outputs = [tracer.ref(leaf) for leaf in returned]
                written = tracer.written() | _assigned(tracer, buffers)
        finally:
            for (owner, name), tensor in buffers.items():
                owner._buffers[name] = tensor
    reached = [t for t in returned if isinstance(t, Tensor)]
    return Recording(tracer, specs, inputs, aliases, outputs, written, out_spec, reached)


def _own(leaf: Tensor) -> Tensor:
    """A copy of an argument, so that what the program writes to it stays inside."""
    with no_grad():
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)


def _held(module: Module) -> Any:
    for path, p in module.named_parameters(remove_duplicate=False):
        yield path, (p, InputKind.PARAMETER)
    for path, b in module.named_buffers(remove_duplicate=False):
        yield path, (b, InputKind.BUFFER)


def _places(module: Module) -> Any:
    """Where buffers stand: their module and name, with the tensor."""
    for m in module.modules():
        for name, b in m._buffers.items():
            yield (m, name), b


def _persists(module: Module | None, target: str) -> bool:
    assert module is not None
    path, _, name = target.rpartition(".")
    return name not in module.get_submodule(path)._non_persistent_buffers_set


def _assigned(tracer: Tracer, before: Mapping[tuple[Module, str], Tensor | None]) -> dict[str, Value]:
    """Buffers in whose place the program put other tensors."""
    found = {}
    for (owner, name), tensor in before.items():
        now = owner._buffers.get(name)
        if now is tensor:
            continue
        if now is None or tensor is None:
            raise ExportError(f"the program makes or removes the buffer {name!r}, which an exported program can't")
        if now.shape != tensor.shape or now.dtype is not tensor.dtype:
            raise ExportError(
                f"the program puts a tensor of shape {tuple(now.shape)} and dtype {now.dtype.name} in the place of the "
                f"buffer {name!r}, of shape {tuple(tensor.shape)} and dtype {tensor.dtype.name}"
            )
        found[tracer.owner_of(tensor)] = tracer.ref(now)
    return found


def _require_output(leaf: Any) -> None:
    if not isinstance(leaf, (Tensor, *_CONSTANTS)):
        raise ExportError(
            f"the program returns a {type(leaf).__name__}, which is neither a tensor nor a number, text or None, nor a "
            "container of these that flambeau.utils._pytree knows; register it with flambeau.export.register_dataclass"
        )


def assemble(recording: Recording, subject: Subject, in_spec: pytree.TreeSpec) -> ExportedProgram:
    """A program of a recording."""
    tracer = recording.tracer
    values = [v for _, v in recording.held]
    specs = [s for s, _ in recording.held]
    for name, value in tracer.constant_values.items():
        specs.append(InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(value.name), name))
        values.append(value)
    for given, value in recording.inputs:
        if isinstance(given, TensorInput):
            specs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(given.name)))
            assert value is not None
            values.append(value)
        else:
            specs.append(InputSpec(InputKind.USER_INPUT, ConstantArgument(given.name, given.value)))
    graph = Graph(values, tracer.nodes, [*recording.written.values(), *recording.outputs])
    signature = ExportGraphSignature(specs, _output_specs(recording))
    graph.prune()
    program = ExportedProgram(
        graph, signature, {}, dict(tracer.constants), {}, CallSpec(in_spec, recording.out_spec),
        [given for given, _ in recording.inputs], (subject.args, subject.kwargs), recording.aliases,
    )  # fmt: skip
    if subject.module is not None:
        hold(program, subject.module)
    return program


def hold(program: ExportedProgram, module: Module) -> None:
    """Take the parameters and buffers of a module."""
    hidden = program.graph_signature.non_persistent_buffers
    for target, (tensor, _) in _held(module):
        own = program.aliases.get(target, target)
        (program.constants if own in hidden else program.state_dict)[target] = tensor


def _output_specs(recording: Recording) -> list[OutputSpec]:
    found = []
    parameters = {s.target for s, _ in recording.held if s.kind is InputKind.PARAMETER}
    for owner, value in recording.written.items():
        kind = OutputKind.PARAMETER_MUTATION if owner in parameters else OutputKind.BUFFER_MUTATION
        if owner.startswith("input "):
            kind, owner = OutputKind.USER_INPUT_MUTATION, owner.removeprefix("input ")
        found.append(OutputSpec(kind, TensorArgument(value.name), owner))
    for value in recording.outputs:
        arg = TensorArgument(value.name) if isinstance(value, Value) else ConstantArgument("", value)
        found.append(OutputSpec(OutputKind.USER_OUTPUT, arg))
    return found


def export(
    mod: Module | Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *,
    dynamic_shapes: Any = None, strict: bool = False,
) -> ExportedProgram:  # Any: the program's own arguments, and nestings of dimensions as they nest  # fmt: skip
    """Run a module or function on example arguments, and make a program of what its ops did.

    >>> from flambeau.export import export
    >>> program = export(fb.nn.Linear(2, 1), (fb.ones(3, 2),))
    >>> [node.op for node in program.graph.nodes]
    ['linear']
    """
    subject = Subject.of(mod, args, kwargs)
    leaves, in_spec = pytree.tree_flatten((subject.args, subject.kwargs))
    recording = record(subject, leaves, subject.names())
    return assemble(recording, subject, in_spec)


__all__ = ["export"]
