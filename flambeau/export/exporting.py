"""``export``: a module or function runs under the tracer, at several sizes where some may change, and is a program."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from flambeau.core.creation import arange
from flambeau.core.ops.index import index_select
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.export import dynamic
from flambeau.export.branches import explored
from flambeau.export.calls import CallSpec, ConstantInput
from flambeau.export.graph import ExportError, Graph, Value
from flambeau.export.merging import merge
from flambeau.export.program import ExportedProgram
from flambeau.export.recording import Recording, Subject, record, tensors_of
from flambeau.export.signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from flambeau.nn import Module
from flambeau.utils import _pytree as pytree


def assemble(recording: Recording, subject: Subject, in_spec: pytree.TreeSpec) -> ExportedProgram:
    """A program of a recording."""
    tracer = recording.tracer
    values = [v for _, v in recording.held]
    specs = [s for s, _ in recording.held]
    for name, value in tracer.constant_values.items():
        specs.append(InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(value.name), name))
        values.append(value)
    for given, own in recording.inputs:
        if own is not None:
            specs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(given.name)))
            values.append(own)
        elif isinstance(given, ConstantInput):
            specs.append(InputSpec(InputKind.USER_INPUT, ConstantArgument(given.name, given.value)))
    graph = Graph(values, tracer.nodes, [*recording.written.values(), *recording.outputs])
    signature = ExportGraphSignature(specs, _output_specs(recording))
    graph.prune()
    assert recording.out_spec is not None
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
    for target, (tensor, _) in tensors_of(module):
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


class Exporter:
    """Makes programs of one subject.

    Args:
        branches: whether the program may decide by the data; each way becomes a branch.
        expand: which composites are expanded through their bodies, by name.
        bake: who is told of looks at data that are taken as they are; without one they raise.
    """

    def __init__(
        self, subject: Subject, branches: bool = False, expand: Callable[[str], bool] | None = None,
        bake: Callable[[str], None] | None = None,
    ):  # fmt: skip
        self.subject, self.branches, self.expand, self.bake = subject, branches, expand, bake
        self.leaves, self.in_spec = pytree.tree_flatten((subject.args, subject.kwargs))
        self.names = subject.names()

    def at(self, leaves: Sequence[Any]) -> ExportedProgram:
        """The program for leaves of these sizes."""

        def run(answers: Sequence[bool]) -> Recording:
            return record(
                self.subject, leaves, self.names, answers=answers, branches=self.branches, expand=self.expand,
                bake=self.bake,
            )  # fmt: skip

        return assemble(explored(run) if self.branches else run(()), self.subject, self.in_spec)

    def free(self, free: dynamic.Free) -> ExportedProgram:
        """The program for all sizes that are said to be free."""
        points = free.points()
        if not free.example or len(points) < 2:
            return self.at(self.leaves)
        programs = []
        for point in points:
            try:
                programs.append(self.at(self._resized(free, point)))
            except ExportError:
                raise
            except Exception as error:
                sizes = ", ".join(f"{n} = {v}" for n, v in point.items())
                error.add_note(f"in a run of the program with {sizes}, for dynamic_shapes")
                raise
        return merge(programs, points, free.ranges)

    def _resized(self, free: dynamic.Free, point: Mapping[str, int]) -> list[Any]:
        """The leaves in other sizes: their elements over and over."""
        found = list(self.leaves)
        for (i, axis), law in free.sizes.items():
            found[i] = _resize(found[i], axis, int(law.at(point)))
        return found

    def found_out(self, free: dynamic.Free) -> ExportedProgram:
        """The same where dimensions are left to find out: those that can't be free have the size of the example."""
        if not free.hints:
            return self.free(free)
        last: Exception | None = None
        for attempt in (free, free.merged()):
            try:
                return self.free(attempt)
            except Exception as error:  # which one it is depends on the program; it says what is not free
                last = error
        kept = merged = free.merged()
        for name, must in merged.hints.items():
            why = self._kept_from_moving(merged, name)
            if why is not None and must:
                size = merged.example[name]
                raise ExportError(f"Dim.DYNAMIC: a dimension of size {size} can't change: {why}") from why
            kept = kept if why is None else kept.without(name)
        try:
            return self.free(kept)
        except Exception:
            if any(kept.hints.values()):
                raise last or ExportError("no sizes are free") from None
        for name in kept.hints:
            kept = kept.without(name)
        return self.free(kept)

    def _kept_from_moving(self, free: dynamic.Free, name: str) -> Exception | None:
        """What goes wrong where one dimension that was left to find out has another size, and the others have not."""
        for other in free.hints:
            free = free if other == name else free.without(other)
        points = [free.points()[0], *(p for p in free.points() if p[name] != free.example[name])]
        if len(points) < 2:
            return ExportError(f"{free.ranges[name]} has no other size")
        try:
            one, two = (self.at(self._resized(free, p)) for p in points[:2])
        except Exception as error:
            return error
        same = [n.op for n in one.graph.all_nodes()] == [n.op for n in two.graph.all_nodes()]
        return None if same else ExportError("the program is another one for another size")


def _resize(leaf: Tensor, axis: int, size: int) -> Tensor:
    if leaf.shape[axis] == size:
        return leaf
    if not leaf.shape[axis]:
        raise ExportError("a dynamic dimension of the example is empty; give an example with elements in it")
    with no_grad():
        at = arange(size, device=leaf.device) % leaf.shape[axis]
        return index_select(leaf.detach(), axis, at).requires_grad_(leaf.requires_grad)


def export(
    mod: Module | Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *,
    dynamic_shapes: Any = None, strict: bool = False, preserve_module_call_signature: Collection[str] = (),
    prefer_deferred_runtime_asserts_over_guards: bool = False,
) -> ExportedProgram:  # Any: the program's own arguments, and nestings of dimensions as they nest  # fmt: skip
    """Run a module or function on example arguments, and make a program of what its ops did.

    Ops are written down before decomposition, with writes in place made functional. Parameters and buffers are shared
    with the module; the module, the arguments and the generator are afterwards as they were.

    With ``dynamic_shapes`` the program runs at several sizes, on the example's elements over and over, and each number
    in it that differs between them must follow a law of the sizes. A Python branch on a size that none of these runs
    takes is not seen.

    Args:
        mod: a module, or a function of tensors.
        args: positional arguments: tensors, numbers, texts, None, and containers of these.
        kwargs: keyword arguments.
        dynamic_shapes: which sizes may change: a dict by parameter, or a tuple as the arguments are, with a dict from
            axis to :class:`Dim` (or ``Dim.AUTO``, ``Dim.DYNAMIC``) for each tensor.
        strict: for PyTorch's sake: the Python runs either way.
        preserve_module_call_signature: for PyTorch's sake: nodes keep the path of their module.
        prefer_deferred_runtime_asserts_over_guards: for PyTorch's sake.

    Raises:
        ExportError: where the Python decides by the data, with its line; where no law is found; for results that are
            neither tensors nor constants.

    >>> from flambeau.export import Dim, export
    >>> program = export(fb.nn.Linear(2, 1), (fb.ones(3, 2),), dynamic_shapes={"input": {0: Dim("batch")}})
    >>> print(program.graph.nodes[0])
    %linear: float32[batch, 1] = linear(%input, %p_weight, %p_bias)
    """
    subject = Subject.of(mod, args, kwargs)
    exporter = Exporter(subject)
    free = dynamic.read(dynamic_shapes, subject.args, subject.kwargs, subject.parameters())
    return exporter.found_out(free)


__all__ = ["Exporter", "export"]
