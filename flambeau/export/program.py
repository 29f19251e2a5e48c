"""An exported program: a graph, the tensors that it holds, and what a call of it must look like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from flambeau.core.tensor import Tensor
from flambeau.export.calls import CallSpec, Input, Range
from flambeau.export.graph import Graph
from flambeau.export.module import ProgramModule
from flambeau.export.signature import ExportGraphSignature, InputKind
from flambeau.nn import Module

Tree: TypeAlias = Any  # a nesting of tensors and constants


@dataclass
class ExportedProgram:
    """A program without its Python, as :func:`flambeau.export.export` makes it.

    Attributes:
        graph: the ops, as functions of parameters, buffers, constants and inputs.
        graph_signature: what each input and output of the graph is.
        state_dict: parameters and persistent buffers by path.
        constants: the other tensors that the program holds, by path or name.
        range_constraints: the sizes that each dynamic dimension may have, by name.
        call_spec: the nestings of arguments and result.
        example_inputs: the arguments that it was exported with, a tuple and a dict; None in one that was loaded.
        inputs: what each leaf of the arguments must be.

    >>> from flambeau.export import export
    >>> program = export(fb.nn.Linear(2, 1), (fb.ones(3, 2),))
    >>> program(fb.zeros(3, 2)).shape
    flambeau.Size([3, 1])
    """

    graph: Graph
    graph_signature: ExportGraphSignature
    state_dict: dict[str, Tensor]
    constants: dict[str, Tensor]
    range_constraints: dict[str, Range]
    call_spec: CallSpec
    inputs: list[Input]
    example_inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None  # Any: the program's own arguments
    aliases: dict[str, str] = field(default_factory=dict)  # paths of tensors that have another path, too

    #: What expands composites; the module above that exports anew sets it.
    expand: ClassVar[Callable[[ExportedProgram, Iterable[Any] | None], ExportedProgram] | None] = None

    # -- what it holds ---------------------------------------------------------------------------
    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters by path."""
        for name in self.graph_signature.parameters:
            yield name, self.state_dict[name]

    def parameters(self) -> Iterator[Tensor]:
        """The parameters."""
        for _, p in self.named_parameters():
            yield p

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Buffers by path, also those that no state dict holds."""
        for name in self.graph_signature.buffers:
            yield name, self.tensor(name)

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        for _, b in self.named_buffers():
            yield b

    @property
    def tensor_constants(self) -> dict[str, Tensor]:
        """The same as ``constants``."""
        return self.constants

    def tensor(self, target: str) -> Tensor:
        """A parameter, buffer or constant."""
        found = self.state_dict.get(target)
        return self.constants[target] if found is None else found

    def held(self) -> list[Tensor]:
        """The tensors that the graph takes before the inputs of a call, in its order."""
        specs = self.graph_signature.input_specs
        return [self.tensor(str(s.target)) for s in specs if s.kind is not InputKind.USER_INPUT]

    # -- running ---------------------------------------------------------------------------------
    def module(self, check_guards: bool = True) -> Module:
        """A module that runs the program, with its parameters and buffers; it trains, moves and saves like any other.

        ``check_guards`` is whether it looks at the shapes and dtypes of its arguments.
        """
        return ProgramModule(self, check_guards)

    def __call__(self, *args: Any, **kwargs: Any) -> Tree:  # Any: the program's own arguments
        """Call the program, through :meth:`module`."""
        return self.module()(*args, **kwargs)

    def run_decompositions(self, decomp_table: Iterable[Any] | None = None) -> ExportedProgram:  # Any: see there
        """The same program with composites expanded: :func:`flambeau.export.decompose.run_decompositions`."""
        assert ExportedProgram.expand is not None
        return ExportedProgram.expand(self, decomp_table)

    def __str__(self) -> str:
        ranges = "".join(f"\n    {name}: {r}" for name, r in self.range_constraints.items())
        return f"ExportedProgram:\n{self.graph}\nRange constraints:{ranges or ' {}'}"

    __repr__ = __str__


__all__ = ["ExportedProgram"]
