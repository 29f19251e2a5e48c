"""``script``: a function or module that runs its Python, and is a program when it is asked for one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from flambeau.core.state import get, no_grad
from flambeau.core.tensor import Tensor
from flambeau.export import ExportedProgram, ExportError, Graph, dynamic
from flambeau.export import save as save_program
from flambeau.export.exporting import Exporter
from flambeau.export.recording import Subject
from flambeau.nn import Module
from flambeau.utils import _pytree as pytree

#: Under which names a file says what was saved.
KIND, NAME, TRAINING = "flambeau.jit.kind", "flambeau.jit.name", "flambeau.jit.training"
#: How many elements of an example are kept: their values lead through branches, and index.
_KEPT = 1 << 16


class Example:
    """Arguments of a call: what a program is traced with."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]):
        self.args, self.kwargs = pytree.tree_map_only(Tensor, _kept, (tuple(args), dict(kwargs)))


def _kept(t: Tensor) -> Tensor:
    with no_grad():
        if t.numel() <= _KEPT or not t.dim():
            return t.detach().clone()
        rows = max(1, _KEPT // max(1, t.numel() // t.shape[0]))
        part = t.detach()[:rows].clone()
        return part.repeat(-(-t.shape[0] // rows), *[1] * (t.dim() - 1))[: t.shape[0]]


class _Scripted:
    """What scripted functions and modules share: the example of their first call, and the program of it."""

    _example: Example | None
    _program: ExportedProgram | None
    training = False

    @property
    def original_name(self) -> str:
        """The name of what was scripted."""
        raise NotImplementedError

    def _remember(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Keep the arguments of the first call, unless something records or maps it."""
        state = get()
        if state is None or state.plain and state.recorder is None:
            self.__dict__["_example"] = Example(args, kwargs)

    def _subject(self) -> tuple[Any, str]:
        raise NotImplementedError

    @property
    def program(self) -> ExportedProgram:
        """The program, traced with the arguments of the first call, or those that ``script`` was given.

        RuntimeError before there are any; ExportError for Python that can't be one, with the line.
        """
        if self._program is not None:
            return self._program
        subject, name = self._subject()
        example = self._example
        if example is None:
            raise RuntimeError(
                f"{name}: flambeau scripts by tracing, so it must be called once before it is saved or looked at; or "
                "give script its example_inputs"
            )
        return traced(subject, example, branches=True)

    @property
    def graph(self) -> Graph:
        """The graph of the program."""
        return self.program.graph

    inlined_graph = graph

    @property
    def code(self) -> str:
        """The graph as text."""
        return str(self.graph)

    def save(self, f: Any, _extra_files: Mapping[str, str | bytes] | None = None) -> None:  # Any: a path or file
        """Write the program to a file: :func:`flambeau.jit.save`."""
        save(self, f, _extra_files)


def traced(
    subject: Any, example: Example, *, branches: bool = False, bake: Callable[[str], None] | None = None
) -> ExportedProgram:
    """The program of a function or module, of any sizes where that can be found out at once."""
    found = Exporter(Subject.of(subject, example.args, example.kwargs), branches=branches, bake=bake)
    given = (example.args, example.kwargs)
    shapes = pytree.tree_map(lambda v: dynamic.Dim.AUTO if isinstance(v, Tensor) else None, given)
    entries = (*shapes[0], *shapes[1].values())
    names = found.subject.parameters()
    return found.found_out(dynamic.read(entries, example.args, example.kwargs, names))


class ScriptFunction(_Scripted):
    """A scripted or traced function: ``fn``, or the program that was traced or loaded."""

    def __init__(self, fn: Callable[..., Any] | None = None, program: ExportedProgram | None = None, name: str = ""):
        if fn is not None:
            functools.update_wrapper(self, fn)
        self._fn, self._program, self._example = fn, program, None
        self._module = None if program is None else program.module()
        self.name = name or getattr(fn, "__name__", "forward")

    @property
    def original_name(self) -> str:
        """The name of the function."""
        return self.name

    @property
    def qualified_name(self) -> str:
        """The module and name of the function."""
        return f"{getattr(self._fn, '__module__', '__main__')}.{self.name}"

    def _subject(self) -> tuple[Any, str]:
        return self._fn, self.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # Any: as the function has it
        if self._module is not None:
            return self._module(*args, **kwargs)
        assert self._fn is not None
        if self._example is None:
            self._remember(args, kwargs)
        return self._fn(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:  # Any: a method of any class
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:  # a function of a module is found by its name
        if self._fn is None:
            raise TypeError(f"{self.name}: a loaded program can't be pickled; keep its file")
        return self._fn.__qualname__

    def __repr__(self) -> str:
        return f"<flambeau.jit.ScriptFunction {self.name}>"


class ScriptModule(_Scripted, Module):
    """A scripted, traced or loaded module.

    It has the parameters, buffers and submodules of the module that it was made of, and its other attributes too.
    """

    _original: Module | None

    def __init__(self, module: Module | None = None, program: ExportedProgram | None = None):
        super().__init__()
        own = self.__dict__
        own["_original"], own["_program"], own["_example"] = module, program, None
        if module is not None:
            for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
                own[name] = module.__dict__[name]
            own["training"] = module.training

    @property
    def original_name(self) -> str:
        """The name of the class that was scripted."""
        return type(self._original or self).__name__

    def _subject(self) -> tuple[Any, str]:
        return self._original or self, self.original_name

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # Any: as the module has it
        """Call the module."""
        if self._original is None:
            raise NotImplementedError(f"{type(self).__name__}: forward is not written")
        if self._example is None:
            self._remember(args, kwargs)
        return self._original(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, of the module that it was made of too."""
        if self._original is not None:
            self._original.train(mode)
        super().train(mode)
        return self

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # Any: whatever the module has
            try:
                return super().__getattr__(name)
            except AttributeError:
                original = self.__dict__.get("_original")
                if original is None:
                    raise
                return getattr(original, name)


class RecursiveScriptModule(ScriptModule):
    """What scripting, tracing or loading a module gives."""


def script(
    obj: Any, optimize: object = None, _frames_up: int = 0, _rcb: object = None,
    example_inputs: Iterable[tuple[Any, ...]] | Mapping[Any, Iterable[tuple[Any, ...]]] | None = None,
) -> Any:  # Any: a function, a module, a class, or what comes back as it is  # fmt: skip
    """A function or module that can be saved without its Python.

    It runs its Python, with gradients and all. Its program is traced with the arguments of its first call, or of
    ``example_inputs``: where the Python decides by a bool of the data, both ways are in the program.

    Args:
        obj: a function or module; anything else, a class say, comes back as it is.
        optimize, _frames_up, _rcb: for PyTorch's sake.
        example_inputs: a list of tuples of arguments, of which the first is traced at once; for a module it may be a
            dict with a list for the module.

    Raises:
        ExportError: with ``example_inputs``, for Python that can't become a program, with the line.

    >>> @fb.jit.script
    ... def f(x):
    ...     if x.sum() > 0:
    ...         return x * 2
    ...     return -x
    >>> f(fb.ones(1))
    tensor([2.])
    >>> [node.op for node in f.graph.nodes]
    ['sum', 'gt', 'cond']
    """
    made: Any
    if isinstance(obj, (ScriptModule, ScriptFunction)):
        return obj
    if isinstance(obj, Module):
        made = RecursiveScriptModule(obj)
    elif inspect.isclass(obj) or not callable(obj):
        return obj
    else:
        made = ScriptFunction(obj)
    examples = next(iter(example_inputs.values())) if isinstance(example_inputs, Mapping) else example_inputs
    first = next(iter(examples or ()), None)
    if first is not None:
        made.__dict__["_example"] = Example(first, {})
        made.program  # noqa: B018  # what is wrong with it is said now
    return made


def save(m: Any, f: Any, _extra_files: Mapping[str, str | bytes] | None = None) -> None:  # Any: see Args
    """Write a scripted or traced function or module to one file.

    Args:
        m: what :func:`script` or :func:`trace` made.
        f: a path, or a file open for writing bytes.
        _extra_files: texts by name that are kept beside.

    Raises:
        TypeError: for anything else; ExportError for a script that can't become a program.

    >>> import io
    >>> file = io.BytesIO()
    >>> fb.jit.save(fb.jit.trace(fb.nn.ReLU(), fb.ones(2)), file)
    >>> fb.jit.load(file)(fb.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if not isinstance(m, (ScriptModule, ScriptFunction)):
        raise TypeError(f"jit.save: m must be scripted or traced, got {type(m).__name__}; call script or trace first")
    module = isinstance(m, ScriptModule)
    own = {KIND: "module" if module else "function", NAME: m.original_name,
           TRAINING: "1" if module and m.training else ""}  # fmt: skip
    save_program(m.program, f, extra_files={**own, **(_extra_files or {})})


__all__ = [
    "KIND", "NAME", "TRAINING", "Example", "ExportError", "RecursiveScriptModule", "ScriptFunction",
    "ScriptModule", "save", "script", "traced",
]  # fmt: skip
