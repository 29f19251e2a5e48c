"""Modes that see every op below autograd's view of it: a class with ``__torch_dispatch__``, entered as a block.

Ops are given as functions with the names that flambeau's records have. A mode stands where the layers of
:mod:`flambeau.core.state` stand, around each op that a program calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeGuard, runtime_checkable

from flambeau.core.dispatch import call
from flambeau.core.record import Op
from flambeau.core.state import layer
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten

__all__ = [
    "AliasInfo", "BaseTorchDispatchMode", "DispatchedOp", "SchemaInfo", "TorchDispatchMode",
    "TraceableWrapperSubclass", "any_torch_dispatch_mode_on_stack", "autograd_would_have_decomposed",
    "get_alias_info", "is_in_any_mode_without_ignore_compile_internals", "is_in_torch_dispatch_mode",
    "is_traceable_wrapper_subclass", "is_traceable_wrapper_subclass_type", "return_and_correct_aliasing",
    "transform_subclass",
]  # fmt: skip

_modes: ContextVar[tuple[TorchDispatchMode, ...]] = ContextVar("flambeau_dispatch_modes", default=())


class DispatchedOp:
    """An op as a mode gets it: calling it computes below the mode."""

    __slots__ = ("op",)

    def __init__(self, op: Op):
        self.op = op

    @property
    def __name__(self) -> str:
        return self.op.name

    def name(self) -> str:
        """Its name in PyTorch's way."""
        return f"aten::{self.op.name}"

    @property
    def overloadpacket(self) -> DispatchedOp:
        """All forms of the op; there is one."""
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # Any: what the op takes and gives
        return call(self.op, args, kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispatchedOp) and self.op is other.op

    def __hash__(self) -> int:
        return hash(self.op)

    def __repr__(self) -> str:
        return f"<op {self.op.name}>"


class TorchDispatchMode:
    """Inside the block, ``__torch_dispatch__(func, types, args, kwargs)`` is called in place of every op.

    Inside it the mode is off: ``func(*args, **kwargs)`` computes the op.

    >>> class Noting(TorchDispatchMode):
    ...     def __torch_dispatch__(self, func, types, args=(), kwargs=None):
    ...         print(func.name())
    ...         return func(*args, **(kwargs or {}))
    >>> with Noting():
    ...     _ = fb.ones(2, device="cpu").exp()
    aten::full
    aten::exp
    """

    supports_higher_order_operators: ClassVar[bool] = False

    def __init__(self, _dispatch_key: object = None):
        self._blocks: list[tuple[Any, Any]] = []

    def __torch_dispatch__(
        self, func: DispatchedOp, types: Sequence[type], args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # Any: what the op gives  # fmt: skip
        """What to give for the op."""
        raise NotImplementedError(f"{type(self).__name__} has no __torch_dispatch__")

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Whether it belongs to the framework's own workings."""
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Whether it is off inside a compiler; there is none."""
        return False

    def __enter__(self) -> Self:
        if "_blocks" not in self.__dict__:  # a subclass that did not call super().__init__()
            self._blocks = []

        def see(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
            kinds = tuple({type(t) for t in flatten(tuple(operands))[0] if isinstance(t, Tensor)})
            token = _modes.set(_without(self))
            try:
                return self.__torch_dispatch__(DispatchedOp(op), kinds, tuple(operands), dict(params))
            finally:
                _modes.reset(token)

        block = layer(see)
        block.__enter__()
        self._blocks.append((block, _modes.set((*_modes.get(), self))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        block, token = self._blocks.pop()
        _modes.reset(token)
        block.__exit__(kind, error, trace)

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Self:
        """One of these; enter it as a block."""
        return cls(*args, **kwargs)


class BaseTorchDispatchMode(TorchDispatchMode):
    """A mode that computes every op as it is."""

    def __torch_dispatch__(
        self, func: DispatchedOp, types: Sequence[type], args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # Any: what the op gives  # fmt: skip
        """The op's result."""
        return func(*args, **(kwargs or {}))


def _without(mode: TorchDispatchMode) -> tuple[TorchDispatchMode, ...]:
    modes = _modes.get()
    return modes[: modes.index(mode)] if mode in modes else modes


def is_in_torch_dispatch_mode(include_infra_modes: bool = True) -> bool:
    """Whether any mode is on.

    >>> is_in_torch_dispatch_mode()
    False
    """
    return any(include_infra_modes or not mode.is_infra_mode() for mode in _modes.get())


def any_torch_dispatch_mode_on_stack() -> bool:
    """Whether any mode is on.

    >>> any_torch_dispatch_mode_on_stack()
    False
    """
    return bool(_modes.get())


def is_in_any_mode_without_ignore_compile_internals() -> bool:
    """Whether any mode is on that a compiler would have to mind."""
    return any(not mode.ignore_compile_internals() for mode in _modes.get())


# -- tensors that hold others --------------------------------------------------------------------------------
@runtime_checkable
class TraceableWrapperSubclass(Protocol):
    """A subclass of Tensor that comes apart into tensors."""

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        """The names of its tensors, and what else it is made of."""
        ...

    @staticmethod
    def __tensor_unflatten__(inner_tensors: dict[str, Any], meta: Any, outer_size: Any, outer_stride: Any) -> Any:
        """The tensor again."""
        ...


def is_traceable_wrapper_subclass(t: object) -> TypeGuard[TraceableWrapperSubclass]:
    """Whether ``t`` is a tensor of a class with ``__tensor_flatten__`` and ``__tensor_unflatten__``.

    >>> is_traceable_wrapper_subclass(fb.ones(1))
    False
    """
    return is_traceable_wrapper_subclass_type(type(t))


def is_traceable_wrapper_subclass_type(t: type) -> bool:
    """Whether a class is one.

    >>> is_traceable_wrapper_subclass_type(fb.Tensor)
    False
    """
    return (
        issubclass(t, Tensor) and t is not Tensor
        and hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")
    )  # fmt: skip


def transform_subclass(
    t: Any, callback: Callable[[str, Any], Any], outer_size: Any = None, outer_stride: Any = None
) -> Any:  # Any: a tensor of such a class
    """``t`` made of ``callback(name, tensor)`` of each of its tensors."""
    names, meta = t.__tensor_flatten__()
    made = {name: callback(name, getattr(t, name)) for name in names}
    size = t.size() if outer_size is None else outer_size
    stride = t.stride() if outer_stride is None else outer_stride
    return type(t).__tensor_unflatten__(made, meta, size, stride)


# -- what a schema says ----------------------------------------------------------------------------------------
@dataclass
class AliasInfo:
    """With what an argument or result may share memory, and whether it is written to."""

    alias_set: set[str]
    is_write: bool
    name: str | None


@dataclass
class SchemaInfo:
    """That of all arguments and results of an op."""

    args: list[AliasInfo]
    outs: list[AliasInfo]


def get_alias_info(func: DispatchedOp) -> SchemaInfo:
    """Ops that a mode sees write to nothing: a write in place comes as the op of its result.

    >>> get_alias_info(DispatchedOp(fb.exp.op)).args
    [AliasInfo(alias_set=set(), is_write=False, name='x')]
    """
    return SchemaInfo(
        [AliasInfo(set(), False, a.name) for a in func.op.schema.operands], [AliasInfo(set(), False, None)]
    )


def return_and_correct_aliasing(func: DispatchedOp, args: Any, kwargs: Any, out: Any) -> Any:  # Any: the op's result
    """``out``: as no op here writes to its arguments, nothing has to be corrected."""
    return out


def autograd_would_have_decomposed(func: DispatchedOp, flat_args: Sequence[object]) -> bool:
    """Whether the op is one of others, which autograd would see in its place."""
    wants = any(isinstance(a, Tensor) and a.requires_grad for a in flat_args)
    return wants and getattr(func.op, "body", None) is not None
