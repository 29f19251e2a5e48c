"""How a module is divided: what becomes of its parameters, and how its inputs and outputs lie over the ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from flambeau.core.tensor import Tensor
from flambeau.distributed.collectives import broadcast
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.tensor.exchange import redistribute, total
from flambeau.distributed.tensor.layers import (
    LAST,
    ColumnParallelEmbedding,
    ColumnParallelLinear,
    Divided,
    RowParallelLinear,
    VocabularyParallelEmbedding,
)
from flambeau.distributed.tensor.placements import Placement, Replicate
from flambeau.nn.linear import Linear
from flambeau.nn.module import Module
from flambeau.nn.sparse import Embedding

Layouts: TypeAlias = Placement | tuple[Placement | None, ...] | None


class ParallelStyle:
    """The base of the styles; a subclass has :meth:`apply`."""

    def apply(self, module: Module, group: ProcessGroup, source: int | None = 0) -> Module:
        """Change the module in place, for the ranks of a group; the values of rank ``source`` count."""
        raise NotImplementedError(f"{type(self).__name__} has no apply()")


class _Layers(ParallelStyle):
    """Layers that become divided ones, with the layouts of their input and output."""

    become: ClassVar[dict[type[Module], tuple[type[Divided], dict[str, int]]]]
    accepts: ClassVar[dict[type[Module], Placement]] = {}  #: the input's layout where it is not told

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ):  # fmt: skip
        self.input_layouts, self.output_layouts = input_layouts, output_layouts
        self.use_local_output = use_local_output

    def result(self) -> Placement:
        """The output's layout where it is not told."""
        raise NotImplementedError

    def apply(self, module: Module, group: ProcessGroup, source: int | None = 0) -> Module:
        """Turn a linear layer or an embedding into one of which each rank holds a part."""
        if isinstance(module, Divided):
            raise ValueError(f"{type(module).__name__} is divided already")
        for plain, (becomes, dims) in self.become.items():
            if isinstance(module, plain):
                if type(module).forward is not plain.forward:
                    raise NotImplementedError(
                        f"{type(self).__name__} divides {plain.__name__}, but {type(module).__name__} has a forward of "
                        "its own"
                    )
                given = self.input_layouts or self.accepts.get(plain, Replicate())
                return _become(module, becomes, dims, group, given, self.output_layouts or self.result(), source)
        kinds = " and ".join(k.__name__ for k in self.become)
        raise NotImplementedError(f"{type(self).__name__} divides {kinds}, got {type(module).__name__}")


def _become(
    module: Module, becomes: type[Divided], dims: dict[str, int], group: ProcessGroup, given: Placement,
    result: Placement, source: int | None,
) -> Module:  # fmt: skip
    """Change the module's class, in place, so that whoever holds it has the divided one."""
    before = module.__class__
    module.__class__ = becomes
    assert isinstance(module, Divided)
    try:
        return module.divide(group, dims, given, result, source)
    except BaseException:
        module.__class__ = before  # type: ignore[assignment]
        raise


class ColwiseParallel(_Layers):
    """Divide a Linear by its output features, an Embedding by its columns.

    Without layouts the input is what all ranks have, and the output this rank's part of the last dimension.
    ``use_local_output`` is accepted for PyTorch's sake: outputs are plain tensors, always.
    """

    become: ClassVar = {
        Linear: (ColumnParallelLinear, {"weight": 0, "bias": 0}),
        Embedding: (ColumnParallelEmbedding, {"weight": 1}),
    }

    def result(self) -> Placement:
        """Parts along the last dimension."""
        return LAST


class RowwiseParallel(_Layers):
    """Divide a Linear by its input features, an Embedding by its rows.

    Without layouts a Linear takes this rank's part of the last dimension, an Embedding what all ranks have; the output
    is on all ranks. ``use_local_output`` is accepted for PyTorch's sake: outputs are plain tensors, always.
    """

    become: ClassVar = {
        Linear: (RowParallelLinear, {"weight": 1}),
        Embedding: (VocabularyParallelEmbedding, {"weight": 0}),
    }
    accepts: ClassVar = {Linear: LAST}

    def result(self) -> Placement:
        """On all ranks."""
        return Replicate()


class SequenceParallel(ParallelStyle):
    """Run a LayerNorm, RMSNorm, Dropout or the like on this rank's part of the sequence.

    The module takes and gives parts along ``sequence_dim``; its parameters are on all ranks, and their gradients are
    summed, since each rank saw a part. Korthikanti et al., arXiv:2205.05198, section 4.2.2.
    """

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False):
        self.sequence_dim, self.use_local_output = sequence_dim, use_local_output

    def apply(self, module: Module, group: ProcessGroup, source: int | None = 0) -> Module:
        """Share the parameters, and sum their gradients."""
        for p in module.parameters():
            if source is not None:
                broadcast(p.data, group=group, group_src=source)
            if p.requires_grad and group.size() > 1:
                p.register_hook(lambda grad: total(grad, group))
        return module


class _Prepared(ParallelStyle):
    """Tensors that are redistributed on their way into or out of a module."""

    @staticmethod
    def moved(values: tuple[Any, ...], now: Layouts, then: Layouts, group: ProcessGroup, what: str) -> tuple[Any, ...]:
        """The tensors among ``values`` that have a layout, redistributed."""
        before, after = _several(now), _several(then)
        if len(before) != len(values):
            raise ValueError(f"{what}: there are layouts for {len(before)} values, and {len(values)} came")
        return tuple(
            redistribute(v, group, a, b) if isinstance(v, Tensor) and a is not None and b is not None else v
            for v, a, b in zip(values, before, after, strict=True)
        )


def _several(layouts: Layouts) -> tuple[Placement | None, ...]:
    return layouts if isinstance(layouts, tuple) else (layouts,)


def _check(what: str, now: Layouts, then: Layouts) -> None:
    if len(_several(now)) != len(_several(then)):
        raise ValueError(f"{what}: {len(_several(now))} layouts are given, and {len(_several(then))} desired ones")


class PrepareModuleInput(_Prepared):
    """Redistribute what a module takes, from ``input_layouts`` to ``desired_input_layouts``; None leaves a value alone.

    ``use_local_output`` is accepted for PyTorch's sake: the module gets plain tensors, always.
    """

    def __init__(
        self, *, input_layouts: Layouts = None, desired_input_layouts: Layouts = None,
        input_kwarg_layouts: Mapping[str, Placement] | None = None,
        desired_input_kwarg_layouts: Mapping[str, Placement] | None = None, use_local_output: bool = False,
    ):  # fmt: skip
        _check("PrepareModuleInput", input_layouts, desired_input_layouts)
        self.input_layouts, self.desired_input_layouts = input_layouts, desired_input_layouts
        self.input_kwarg_layouts = dict(input_kwarg_layouts or {})
        self.desired_input_kwarg_layouts = dict(desired_input_kwarg_layouts or {})
        if self.input_kwarg_layouts.keys() != self.desired_input_kwarg_layouts.keys():
            raise ValueError("PrepareModuleInput: the layouts of keywords and the desired ones must name the same")

    def apply(self, module: Module, group: ProcessGroup, source: int | None = 0) -> Module:
        """Register a hook before the forward."""

        def prepare(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self.input_layouts is not None:
                args = self.moved(args, self.input_layouts, self.desired_input_layouts, group, "PrepareModuleInput")
            for name, layout in self.input_kwarg_layouts.items():
                if name in kwargs:
                    kwargs[name] = redistribute(kwargs[name], group, layout, self.desired_input_kwarg_layouts[name])
            return args, kwargs

        module.register_forward_pre_hook(prepare, with_kwargs=True)
        return module


class PrepareModuleOutput(_Prepared):
    """Redistribute what a module gives, from ``output_layouts`` to ``desired_output_layouts``."""

    def __init__(self, *, output_layouts: Layouts, desired_output_layouts: Layouts, use_local_output: bool = True):
        _check("PrepareModuleOutput", output_layouts, desired_output_layouts)
        self.output_layouts, self.desired_output_layouts = output_layouts, desired_output_layouts

    def apply(self, module: Module, group: ProcessGroup, source: int | None = 0) -> Module:
        """Register a hook after the forward."""

        def prepare(module: Module, args: Any, output: Any) -> Any:
            values = output if isinstance(output, tuple) else (output,)
            found = self.moved(values, self.output_layouts, self.desired_output_layouts, group, "PrepareModuleOutput")
            return found if isinstance(output, tuple) else found[0]

        module.register_forward_hook(prepare)
        return module


class PrepareModuleInputOutput(ParallelStyle):
    """:class:`PrepareModuleInput` and :class:`PrepareModuleOutput` in one."""

    def __init__(
        self, *, input_layouts: Layouts = None, desired_input_layouts: Layouts = None,
        input_kwarg_layouts: Mapping[str, Placement] | None = None,
        desired_input_kwarg_layouts: Mapping[str, Placement] | None = None, use_local_input: bool = False,
        output_layouts: Layouts, desired_output_layouts: Layouts, use_local_output: bool = True,
    ):  # fmt: skip
        self.input = PrepareModuleInput(
            input_layouts=input_layouts, desired_input_layouts=desired_input_layouts,
            input_kwarg_layouts=input_kwarg_layouts, desired_input_kwarg_layouts=desired_input_kwarg_layouts,
        )  # fmt: skip
        self.output = PrepareModuleOutput(output_layouts=output_layouts, desired_output_layouts=desired_output_layouts)

    def apply(self, module: Module, group: ProcessGroup, source: int | None = 0) -> Module:
        """Register both hooks."""
        return self.output.apply(self.input.apply(module, group, source), group, source)
