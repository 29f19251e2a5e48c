"""A module or function runs once under the tracer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flambeau.core.generator import fork_rng
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.export.calls import ConstantInput, Input, TensorInput
from flambeau.export.graph import ExportError, Value
from flambeau.export.run import device_of
from flambeau.export.signature import InputKind, InputSpec, TensorArgument
from flambeau.export.tracer import Tracer
from flambeau.nn import Module
from flambeau.utils import _pytree as pytree

_CONSTANTS: Final = (bool, int, float, complex, str, type(None))


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

    def parameters(self) -> list[str]:
        """The names of the parameters that the positional arguments are for."""
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
        return given

    def names(self) -> list[str]:
        """A name for each leaf of the arguments: that of the parameter, and where in it the leaf stands."""
        given = self.parameters()
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
    out_spec: pytree.TreeSpec | None
    start: dict[str, Value]  # what was there before, by its owner
    failure: str = ""  # the error that it ended in


def record(
    subject: Subject, leaves: Sequence[Any], names: Sequence[str], *, answers: Sequence[bool] = (),
    branches: bool = False, expand: Callable[[str], bool] | None = None, bake: Callable[[str], None] | None = None,
) -> Recording:  # fmt: skip
    """Run a program on the leaves of its arguments under a tracer.

    ``answers``, ``branches``, ``expand`` and ``bake`` are those of :class:`Tracer`.
    """
    module = subject.module
    held = {} if module is None else dict(tensors_of(module))
    where = device_of([*leaves, *(t for t, _ in held.values())])
    tracer = Tracer(where, answers, branches or bool(answers), expand, bake)
    made = Recording(tracer, [], [], {}, [], {}, None, {})
    _take_held(made, module, held)
    given = _take_inputs(made, leaves, names)
    args, kwargs = pytree.tree_structure((subject.args, subject.kwargs)).unflatten(given)
    paths = {} if module is None else {id(m): path for path, m in module.named_modules()}
    buffers = {} if module is None else dict(_places(module))
    with fork_rng():
        try:
            with tracer.recording(paths):
                try:
                    result = subject.fn(*args, **kwargs)
                except ExportError:
                    raise
                except Exception as error:
                    if len(tracer.looks) < len(answers) or not answers:
                        raise
                    made.failure = f"{type(error).__name__}: {error}"
                    return made
                _finish(made, result, buffers)
        finally:
            for (owner, name), tensor in buffers.items():
                owner._buffers[name] = tensor
    return made


def _take_held(made: Recording, module: Module | None, held: Mapping[str, tuple[Tensor, InputKind]]) -> None:
    """Parameters and buffers become inputs; one of several paths."""
    by_array: dict[int, str] = {}
    for target, (tensor, kind) in held.items():
        if id(tensor._array) in by_array:
            made.aliases[target] = by_array[id(tensor._array)]
            continue
        by_array[id(tensor._array)] = target
        prefix = "p" if kind is InputKind.PARAMETER else "b"
        value = made.tracer.input(tensor, f"{prefix}_{target.replace('.', '_')}", target)
        persistent = None if kind is InputKind.PARAMETER else _persists(module, target)
        made.held.append((InputSpec(kind, TensorArgument(value.name), target, persistent), value))
        made.start[target] = value


def _take_inputs(made: Recording, leaves: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """The leaves of the arguments become inputs: the leaves with which the program is to run."""
    given: list[Any] = []
    for leaf, name in zip(leaves, names, strict=True):
        if not isinstance(leaf, Tensor):
            given.append(leaf)
            made.inputs.append((ConstantInput(name, leaf), None))
            continue
        own = _own(leaf)
        value = made.tracer.input(own, name, f"input {name}")
        given.append(own)
        made.inputs.append((TensorInput(value.name, tuple(own.shape), own.dtype), value))
        made.start[f"input {name}"] = value
    return given


def _finish(made: Recording, result: Any, buffers: Mapping[tuple[Module, str], Tensor | None]) -> None:
    """Take what the program returned, and what it wrote."""
    returned, made.out_spec = pytree.tree_flatten(result)
    for leaf in returned:
        _require_output(leaf)
    made.outputs = [made.tracer.ref(leaf) for leaf in returned]
    made.written = made.tracer.written() | _assigned(made.tracer, buffers)


def _own(leaf: Tensor) -> Tensor:
    """A copy of an argument, so that what the program writes to it stays inside."""
    with no_grad():
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)


def tensors_of(module: Module) -> Iterator[tuple[str, tuple[Tensor, InputKind]]]:
    """Parameters and buffers by path, those of several paths several times."""
    for path, p in module.named_parameters(remove_duplicate=False):
        yield path, (p, InputKind.PARAMETER)
    for path, b in module.named_buffers(remove_duplicate=False):
        yield path, (b, InputKind.BUFFER)


def _places(module: Module) -> Iterator[tuple[tuple[Module, str], Tensor | None]]:
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


__all__ = ["Recording", "Subject", "record", "tensors_of"]
