"""An exported program as a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.export import calls
from flambeau.export.graph import Graph
from flambeau.export.run import Run, device_of
from flambeau.export.signature import ExportGraphSignature, InputKind, OutputKind, OutputSpec
from flambeau.nn import Module, Parameter


class Program(Protocol):
    """What is run: an :class:`~flambeau.export.program.ExportedProgram`, whose class stands above."""

    @property
    def graph(self) -> Graph: ...
    @property
    def graph_signature(self) -> ExportGraphSignature: ...
    @property
    def range_constraints(self) -> Mapping[str, calls.Range]: ...
    @property
    def call_spec(self) -> calls.CallSpec: ...
    @property
    def inputs(self) -> Sequence[calls.Input]: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...
    def tensor(self, target: str) -> Tensor: ...


class ProgramModule(Module):
    """Runs a program on parameters and buffers of the program's names; what it writes to them is kept."""

    def __init__(self, program: Program, check_guards: bool = True):
        super().__init__()
        self.__dict__["program"] = program
        self.check_guards = check_guards
        specs = [s for s in program.graph_signature.input_specs if s.kind is not InputKind.USER_INPUT]
        self._targets = [str(s.target) for s in specs]
        for spec in specs:
            target = str(spec.target)
            self._hold(target, program.tensor(target), spec.kind, spec.persistent is not False)
        for alias, target in program.aliases.items():
            kind = InputKind.PARAMETER if target in program.graph_signature.parameters else InputKind.BUFFER
            self._hold(alias, self._at(target), kind, True)

    def _hold(self, target: str, tensor: Tensor, kind: InputKind, persistent: bool) -> None:
        *path, name = target.split(".")
        module: Module = self
        for part in path:
            if part not in module._modules:
                module.register_module(part, Module())
            module = module.get_submodule(part)
        if kind is InputKind.PARAMETER:
            own = tensor if isinstance(tensor, Parameter) else Parameter(tensor, tensor.requires_grad)
            module.register_parameter(name, own)
        else:
            module.register_buffer(name, tensor, persistent=persistent and kind is InputKind.BUFFER)

    def _at(self, target: str) -> Tensor:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = module._parameters.get(name)
        if found is None:
            found = module._buffers[name]  # type: ignore[assignment]
        assert found is not None
        return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # Any: as of the program
        """Run the program."""
        program: Program = self.__dict__["program"]
        leaves = calls.flat(program.call_spec.in_spec, args, kwargs)
        if self.check_guards:
            calls.check(program.inputs, leaves, program.range_constraints)
        held = [self._at(t) for t in self._targets]
        tensors = [v for v, spec in zip(leaves, program.inputs, strict=True) if isinstance(spec, calls.TensorInput)]
        watch = self.__dict__.get("watch")
        run = Run(calls.sizes_of(program.inputs, leaves), device_of([*tensors, *held]), watch)
        results = run(program.graph, [*held, *tensors])
        user: list[Any] = []
        by_name = {spec.name: leaf for spec, leaf in zip(program.inputs, leaves, strict=True)}
        specs = program.graph_signature.output_specs
        for result, spec in zip(results, specs, strict=True):
            if spec.kind is OutputKind.USER_OUTPUT:
                user.append(result)
            else:
                self._write(spec, result, by_name)
        return program.call_spec.out_spec.unflatten(user)

    def _write(self, spec: OutputSpec, result: Tensor, inputs: dict[str, Any]) -> None:
        """Keep what the program wrote."""
        target = str(spec.target)
        if spec.kind is OutputKind.USER_INPUT_MUTATION:
            inputs[target].copy_(result)
            return
        with no_grad():
            self._at(target).copy_(result)

    def extra_repr(self) -> str:
        program: Program = self.__dict__["program"]
        return f"{len(program.graph.nodes)} nodes"
