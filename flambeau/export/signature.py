"""What the inputs and outputs of an exported graph are, under PyTorch's names."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from flambeau.export.laws import Law


class InputKind(enum.Enum):
    """What an input of a graph is."""

    USER_INPUT = enum.auto()
    PARAMETER = enum.auto()
    BUFFER = enum.auto()
    CONSTANT_TENSOR = enum.auto()


class OutputKind(enum.Enum):
    """What an output of a graph is."""

    USER_OUTPUT = enum.auto()
    BUFFER_MUTATION = enum.auto()
    PARAMETER_MUTATION = enum.auto()
    USER_INPUT_MUTATION = enum.auto()


@dataclass(frozen=True)
class TensorArgument:
    """A tensor, by the name of its value."""

    name: str


@dataclass(frozen=True)
class ConstantArgument:
    """What is no tensor: a number, a text or None; or the law of a number that depends on sizes."""

    name: str
    value: int | float | bool | complex | str | Law | None


@dataclass(frozen=True)
class InputSpec:
    """One input: its kind, its name in the graph, and the parameter, buffer or constant that it is."""

    kind: InputKind
    arg: TensorArgument | ConstantArgument
    target: str | None = None
    persistent: bool | None = None


@dataclass(frozen=True)
class OutputSpec:
    """One output: its kind, its name in the graph, and the buffer or input that it is the new value of."""

    kind: OutputKind
    arg: TensorArgument | ConstantArgument
    target: str | None = None


@dataclass
class ExportGraphSignature:
    """The inputs and outputs of a graph, in its order.

    >>> from flambeau.export import export
    >>> program = export(fb.nn.Linear(2, 1), (fb.ones(3, 2),))
    >>> program.graph_signature.parameters, program.graph_signature.user_inputs
    (('weight', 'bias'), ('input',))
    """

    input_specs: list[InputSpec] = field(default_factory=list)
    output_specs: list[OutputSpec] = field(default_factory=list)

    def _inputs(self, kind: InputKind) -> list[InputSpec]:
        return [s for s in self.input_specs if s.kind is kind]

    def _targets(self, kind: InputKind) -> tuple[str, ...]:
        return tuple(str(s.target) for s in self._inputs(kind))

    def _by_name(self, kind: InputKind) -> Mapping[str, str]:
        return MappingProxyType({s.arg.name: str(s.target) for s in self._inputs(kind)})

    def _mutated(self, kind: OutputKind) -> Mapping[str, str]:
        return MappingProxyType({s.arg.name: str(s.target) for s in self.output_specs if s.kind is kind})

    @property
    def parameters(self) -> tuple[str, ...]:
        """The paths of the parameters."""
        return self._targets(InputKind.PARAMETER)

    @property
    def buffers(self) -> tuple[str, ...]:
        """The paths of the buffers."""
        return self._targets(InputKind.BUFFER)

    @property
    def non_persistent_buffers(self) -> frozenset[str]:
        """Those buffers that no state dict holds."""
        return frozenset(str(s.target) for s in self._inputs(InputKind.BUFFER) if s.persistent is False)

    @property
    def lifted_tensor_constants(self) -> tuple[str, ...]:
        """The names of tensors that are part of the program itself."""
        return self._targets(InputKind.CONSTANT_TENSOR)

    @property
    def user_inputs(self) -> tuple[int | float | bool | complex | str | Law | None, ...]:
        """The names of the inputs of a call; in the place of one that is no tensor, its value."""
        args = [s.arg for s in self._inputs(InputKind.USER_INPUT)]
        return tuple(a.value if isinstance(a, ConstantArgument) else a.name for a in args)

    @property
    def user_outputs(self) -> tuple[int | float | bool | complex | str | Law | None, ...]:
        """The names of the outputs of a call, likewise."""
        args = [s.arg for s in self.output_specs if s.kind is OutputKind.USER_OUTPUT]
        return tuple(a.value if isinstance(a, ConstantArgument) else a.name for a in args)

    @property
    def inputs_to_parameters(self) -> Mapping[str, str]:
        """The path of the parameter that each input is, by the input's name."""
        return self._by_name(InputKind.PARAMETER)

    @property
    def inputs_to_buffers(self) -> Mapping[str, str]:
        """The path of the buffer that each input is."""
        return self._by_name(InputKind.BUFFER)

    @property
    def inputs_to_lifted_tensor_constants(self) -> Mapping[str, str]:
        """The name of the constant that each input is."""
        return self._by_name(InputKind.CONSTANT_TENSOR)

    @property
    def buffers_to_mutate(self) -> Mapping[str, str]:
        """The buffer that each output is the new value of."""
        return self._mutated(OutputKind.BUFFER_MUTATION)

    @property
    def parameters_to_mutate(self) -> Mapping[str, str]:
        """The parameter that each output is the new value of."""
        return self._mutated(OutputKind.PARAMETER_MUTATION)

    @property
    def user_inputs_to_mutate(self) -> Mapping[str, str]:
        """The input that each output is the new value of."""
        return self._mutated(OutputKind.USER_INPUT_MUTATION)
