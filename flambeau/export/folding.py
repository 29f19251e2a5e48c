"""A program with its parameters built in: what follows from them alone is worked out once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.export.graph import ExportError, Graph, Value, draws, values_of
from flambeau.export.merging import replace_value
from flambeau.export.program import ExportedProgram
from flambeau.export.run import Run, device_of
from flambeau.export.signature import InputKind, InputSpec, TensorArgument


def frozen(program: ExportedProgram) -> ExportedProgram:
    """A copy whose parameters and buffers are constants, with the ops of constants alone worked out.

    ExportError where the program writes to a parameter or buffer, as one in training mode does.

    >>> from flambeau.export import export
    >>> from flambeau.export.folding import frozen
    >>> program = frozen(export(fb.nn.Linear(2, 1), (fb.ones(3, 2),)))
    >>> program.graph_signature.parameters, len(program.constants)
    ((), 2)
    """
    signature = program.graph_signature
    written = [*signature.buffers_to_mutate.values(), *signature.parameters_to_mutate.values()]
    if written:
        raise ExportError(f"the program writes to {written[0]!r}, so it can't be frozen; call eval() before the export")
    specs = [s for s in signature.input_specs if s.kind is not InputKind.USER_INPUT]
    rest = [s for s in signature.input_specs if s.kind is InputKind.USER_INPUT]
    graph = deepcopy(program.graph)
    tensors = {v: program.tensor(str(s.target)) for s, v in zip(specs, graph.inputs, strict=False)}
    user = graph.inputs[len(specs) :]
    run = Run({}, device_of(list(tensors.values())))
    run.env.update(tensors)
    folded = _fold(graph, run)
    known = {v: t.detach() for v, t in tensors.items()} | folded
    alive = {v for n in graph.all_nodes() for v in n.inputs} | set(values_of(graph.outputs))
    held = [v for v in known if v in alive]
    graph.inputs = [*held, *user]
    made = [InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(v.name), v.name) for v in held]
    return replace(
        program, graph=graph, graph_signature=replace(signature, input_specs=[*made, *rest]), state_dict={},
        constants={v.name: known[v] for v in held}, aliases={},
    )  # fmt: skip


def _fold(graph: Graph, run: Run) -> dict[Value, Tensor]:
    """Work out the nodes that read nothing but what is known; what they give, as new inputs."""
    found: dict[Value, Tensor] = {}
    kept = []
    for node in graph.nodes:
        ready = not draws(node) and all(v in run.env for v in node.inputs) and node.inputs
        if not ready or node.branches or any(not isinstance(n, int) for v in node.outs if v for n in v.shape):
            kept.append(node)
            continue
        with no_grad():
            run.run_node(node)
        for v in node.outs:
            if v is not None:
                new = Value(v.name, v.shape, v.dtype)
                run.env[new] = run.env[v].detach()
                found[new] = run.env[new]
                replace_value(graph, v, new)
    graph.nodes = kept
    return found


__all__ = ["frozen"]
