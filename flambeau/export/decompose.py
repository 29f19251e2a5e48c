"""A program in fewer kinds of ops: composites are expanded through their bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flambeau.core.creation import ones
from flambeau.core.record import OPS
from flambeau.core.state import current
from flambeau.export.calls import TensorInput, sizes_of
from flambeau.export.dynamic import Free
from flambeau.export.exporting import Exporter, hold
from flambeau.export.graph import Node
from flambeau.export.laws import Law
from flambeau.export.module import ProgramModule
from flambeau.export.program import ExportedProgram
from flambeau.export.recording import Subject
from flambeau.export.tracer import Tracer


def run_decompositions(
    program: ExportedProgram, decomp_table: Iterable[Any] | None = None
) -> ExportedProgram:  # Any: names or functions
    """The same program with composites expanded through their bodies, until none is left that is asked for.

    Args:
        program: a program.
        decomp_table: which ops to expand, by name or by function (the keys of a dict, say); None is all that have a
            body of other ops.

    Raises:
        ValueError: for a name that is no op, or that of one without a body.

    >>> from flambeau.export import export
    >>> program = export(lambda x: fb.nn.functional.silu(x), (fb.ones(2),))
    >>> [node.op for node in program.graph.nodes]
    ['silu']
    >>> [node.op for node in program.run_decompositions({"silu": None}).graph.nodes]
    ['neg', 'exp', 'add', 'div']
    """
    args, kwargs = example_of(program)
    module = _Traced(program)
    exporter = Exporter(Subject(module.forward, module, args, kwargs), expand=_wanted(decomp_table))
    exporter.in_spec = program.call_spec.in_spec
    exporter.leaves = program.call_spec.in_spec.flatten_up_to((args, kwargs))
    exporter.names = [i.name for i in program.inputs]
    made = exporter.free(_free(program))
    made.state_dict, made.example_inputs, made.aliases = {}, program.example_inputs, dict(program.aliases)
    for name in list(made.constants):
        if name in program.constants and name not in made.graph_signature.lifted_tensor_constants:
            del made.constants[name]
    hold(made, module)
    return made


def default_decompositions() -> dict[str, Callable[..., Any]]:
    """The ops that :func:`run_decompositions` expands, with their bodies; less entries leave more ops as they are.

    >>> from flambeau.export import default_decompositions
    >>> "layer_norm" in default_decompositions()
    True
    """
    return {name: op.body for name, op in OPS.items() if op.body is not None}


def unflatten(module: ExportedProgram, flat_args_adapter: object = None) -> ProgramModule:
    """A module with the submodules that hold the program's parameters: ``module.module()``.

    >>> from flambeau.export import export, unflatten
    >>> unflatten(export(fb.nn.Sequential(fb.nn.Linear(2, 1)), (fb.ones(3, 2),))).get_submodule("0").weight.shape
    flambeau.Size([1, 2])
    """
    if not isinstance(module, ExportedProgram):
        raise TypeError(f"unflatten: module must be an ExportedProgram, got {type(module).__name__}")
    return ProgramModule(module)


def _wanted(table: Iterable[Any] | None) -> Callable[[str], bool]:
    if table is None:
        return lambda name: OPS[name].body is not None
    names = {getattr(getattr(key, "op", None), "name", key) for key in table}
    for name in names:
        op = OPS.get(name) if isinstance(name, str) else None
        if op is None or not op.decomposes:
            raise ValueError(f"run_decompositions: {name!r} is {'no op' if op is None else 'an op without a body'}")
    return names.__contains__


ExportedProgram.expand = run_decompositions


class _Traced(ProgramModule):
    """Runs a program so that a tracer knows where its nodes came from."""

    def __init__(self, program: ExportedProgram):
        super().__init__(program, check_guards=False)
        self.__dict__["watch"] = _told


def _told(node: Node, run: Callable[[], None]) -> None:
    tracer = next(layer for layer in reversed(current().layers) if isinstance(layer, Tracer))
    before, tracer.origin = tracer.origin, node
    run()
    tracer.origin = before


def _sizes(program: ExportedProgram) -> dict[str, int]:
    """Sizes in the ranges of a program's dimensions."""
    return {n: r.upper if r.upper is not None and r.upper < 7 else max(r.lower, 7)
            for n, r in program.range_constraints.items()}  # fmt: skip


def example_of(program: ExportedProgram) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call of a program: those that it was exported with, or ones of its shapes."""
    if program.example_inputs is not None:
        return program.example_inputs
    sizes = _sizes(program)
    leaves: list[Any] = []
    for spec in program.inputs:
        if isinstance(spec, TensorInput):
            shape = [int(n.at(sizes)) if isinstance(n, Law) else n for n in spec.shape]
            where = next((t.device for t in program.held()), None)
            leaves.append(ones(shape, dtype=spec.dtype, device=where))
        else:
            leaves.append(spec.value)
    args, kwargs = program.call_spec.in_spec.unflatten(leaves)
    return args, kwargs


def _free(program: ExportedProgram) -> Free:
    """The dimensions of a program, as those of an export."""
    args, kwargs = example_of(program)
    leaves = program.call_spec.in_spec.flatten_up_to((args, kwargs))
    sizes = {
        (i, axis): n
        for i, spec in enumerate(program.inputs) if isinstance(spec, TensorInput)
        for axis, n in enumerate(spec.shape) if isinstance(n, Law)
    }  # fmt: skip
    return Free(sizes, dict(program.range_constraints), sizes_of(program.inputs, leaves), {})


__all__ = ["default_decompositions", "example_of", "run_decompositions", "unflatten"]
