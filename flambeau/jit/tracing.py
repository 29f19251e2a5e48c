"""``trace``: the ops of one call, which run again whatever the Python would do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Self

from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.export import ExportedProgram
from flambeau.export.graph import draws
from flambeau.export.module import ProgramModule
from flambeau.jit.scripting import Example, RecursiveScriptModule, ScriptFunction, ScriptModule, traced
from flambeau.nn import Module
from flambeau.utils import _pytree as pytree


class TracerWarning(Warning):
    """A program decides by values that another call has others of; its trace holds for those that it saw."""


class TopLevelTracedModule(RecursiveScriptModule):
    """A traced or loaded module: it runs the graph."""

    _runs: ProgramModule
    _name: str

    def __init__(self, program: ExportedProgram, training: bool = False, name: str = ""):
        super().__init__(None, program)
        runs = ProgramModule(program)
        for part in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[part] = runs.__dict__[part]
        self.__dict__["_runs"], self.__dict__["_name"] = runs, name
        self.__dict__["training"] = training

    @property
    def original_name(self) -> str:
        """The name of the class that was traced."""
        return str(self._name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # Any: as the module has it
        """Run the graph."""
        return self._runs.forward(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Set ``training``; what the graph does stays what was traced."""
        Module.train(self, mode)
        return self


def trace(
    func: Any, example_inputs: Any = None, optimize: object = None, check_trace: bool = True,
    check_inputs: object = None, check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False,
    _module_class: object = None, _compilation_unit: object = None,
    example_kwarg_inputs: Mapping[str, Any] | None = None, _store_inputs: bool = True,
) -> Any:  # Any: a function or module, and what comes of it  # fmt: skip
    """Run a function or module once, and make of its ops one that runs without its Python.

    Sizes may be others than the example's where that was found out; else it is for the sizes of the example.

    Args:
        func: a function or module.
        example_inputs: a tensor, or a tuple of arguments.
        check_trace: whether the trace is run beside the Python once, and must give the same within ``check_tolerance``.
        example_kwarg_inputs: keyword arguments.
        optimize, check_inputs, strict, _force_outplace, _module_class, _compilation_unit, _store_inputs: for PyTorch's
            sake.

    Raises:
        ExportError: for a program that can't be traced.
        RuntimeError: where the trace gives something else than the Python.

    Warns:
        TracerWarning: where the Python reads values that depend on the arguments, with the line.

    >>> traced = fb.jit.trace(fb.nn.Linear(2, 1), fb.ones(3, 2))
    >>> traced(fb.zeros(5, 2)).shape
    flambeau.Size([5, 1])
    """
    if isinstance(func, (ScriptModule, ScriptFunction)):
        return func
    args = example_inputs if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    example = Example(() if example_inputs is None else args, example_kwarg_inputs or {})
    told: dict[str, None] = {}
    program = traced(func, example, bake=lambda what: told.setdefault(what))
    for what in told:
        warnings.warn(f"{what}; the trace holds for what it was", TracerWarning, stacklevel=2)
    made: Any
    if isinstance(func, Module):
        made = TopLevelTracedModule(program, func.training, type(func).__name__)
    else:
        made = ScriptFunction(func, program)
    if check_trace and not any(map(draws, program.graph.nodes)):
        _compare(func, made, example, check_tolerance)
    return made


def _compare(func: Callable[..., Any], made: Callable[..., Any], example: Example, tolerance: float) -> None:
    """RuntimeError where the trace gives something else than the Python; what both write to is as it was."""
    if isinstance(func, Module) and any(m.training for m in func.modules()):
        return
    with no_grad():
        results = []
        for fn in (func, made):
            again = Example(example.args, example.kwargs)
            results.append(pytree.tree_leaves(fn(*again.args, **again.kwargs)))
    for i, (want, got) in enumerate(zip(*results, strict=True)):
        if isinstance(want, Tensor) and not want.allclose(got, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise RuntimeError(f"trace: output {i} is not what the Python gives; it depends on more than its arguments")


def trace_module(
    mod: Module, inputs: Mapping[str, Any], optimize: object = None, check_trace: bool = True, **options: Any
) -> Any:  # Any: as for trace
    """:func:`trace` of a module whose ``inputs`` are by the name of the method; ``forward`` is the one that is kept.

    >>> fb.jit.trace_module(fb.nn.ReLU(), {"forward": fb.ones(1)})(-fb.ones(1))
    tensor([0.])
    """
    if not isinstance(mod, Module):
        raise AttributeError(f"trace_module: mod must be a module, got {type(mod).__name__}")
    unknown = [n for n in inputs if n != "forward"]
    if unknown or "forward" not in inputs:
        raise ValueError(f"trace_module: inputs must be those of 'forward', got {', '.join(inputs) or 'none'}")
    return trace(mod, inputs["forward"], check_trace=check_trace, **options)


__all__ = ["TopLevelTracedModule", "TracerWarning", "trace", "trace_module"]
