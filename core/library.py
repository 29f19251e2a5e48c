"""Ops of your own: the records that the built-in ops use, and torch's ``custom_op`` on top of them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, overload

from flambeau.core import registry, state
from flambeau.core.autograd.function import Context, Function
from flambeau.core.declare import composite, declare, op
from flambeau.core.dispatch import call
from flambeau.core.dtype import DType
from flambeau.core.record import OPS, Op
from flambeau.core.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


def register_kernel(
    op_name: str, device_type: str, make: Callable[..., Any], *, dtypes: Iterable[DType] | None = None,
    priority: int = 0, source: str = "library.register_kernel",
) -> None:  # fmt: skip
    """Put a kernel over a device's own for an existing op: ``make(next) -> kernel(*arrays, **params)``.

    ``next`` is the kernel below, or None. Errors: KeyError for an unknown op, ValueError when another
    overlay of equal priority serves the same dtypes.
    """
    if op_name not in OPS:
        raise KeyError(f"register_kernel: there is no op {op_name!r}; `python -m flambeau coverage` lists them")
    registry.register_overlay(device_type, op_name, make, dtypes=dtypes, priority=priority, source=source)


@overload
def custom_op(
    name: str, fn: None = None, /, *, mutates_args: Sequence[str] = (), device_types: str | Iterable[str] | None = None
) -> Callable[[Callable[P, R]], CustomOp[P, R]]: ...
@overload
def custom_op(
    name: str, fn: Callable[P, R], /, *, mutates_args: Sequence[str] = (),
    device_types: str | Iterable[str] | None = None,
) -> CustomOp[P, R]: ...  # fmt: skip
def custom_op(
    name: str, fn: Callable[P, R] | None = None, /, *, mutates_args: Sequence[str] = (),
    device_types: str | Iterable[str] | None = None,
) -> CustomOp[P, R] | Callable[[Callable[P, R]], CustomOp[P, R]]:  # fmt: skip
    """Make a function of tensors one op that autograd, vmap and the backends treat as a unit.

    ``name`` is "namespace::name"; the annotations say which arguments are tensors. Register a gradient
    with ``register_autograd``, other devices with ``register_kernel``, shapes with ``register_fake``.

    >>> @fb.library.custom_op("doc::twice", mutates_args=())
    ... def twice(x: fb.Tensor) -> fb.Tensor:
    ...     return x * 2
    >>> twice(fb.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    if mutates_args:
        raise ValueError(f"custom_op {name!r}: mutates_args must be empty; write a functional op and copy_ its result")

    def decorate(function: Callable[P, R]) -> CustomOp[P, R]:
        return CustomOp(name, function, device_types)

    return decorate if fn is None else decorate(fn)


_KINDS = {Tensor: "Tensor", Tensor | None: "Tensor?", list[Tensor]: "Tensor[]", Sequence[Tensor]: "Tensor[]"}


class CustomOp(Generic[P, R]):
    """What :func:`custom_op` returns: callable, with the registrations as methods."""

    def __init__(self, name: str, fn: Callable[P, R], device_types: str | Iterable[str] | None):
        namespace, colons, short = name.partition("::")
        if not colons or not namespace.isidentifier() or not short.isidentifier():
            raise ValueError(f"custom_op: the name must be 'namespace::name', got {name!r}")
        self.name = name
        self._default: Callable[..., R] = fn
        self._signature = inspect.signature(fn)
        self._hints = typing.get_type_hints(fn)
        self._only = (
            None if device_types is None else {device_types} if isinstance(device_types, str) else set(device_types)
        )
        self._kernels: dict[str, Callable[..., Any]] = {}
        self._function: type[Function] | None = None
        self._operands, self._params = self._split()
        self.record = Op(
            self._schema(f"{namespace}__{short}"), body=self._run, batch="loop", public=False, upcast=False,
            kinds=dict.fromkeys(self._operands, "any"), doc=inspect.getdoc(fn) or "",
        )  # fmt: skip
        declare(self.record)

    def _split(self) -> tuple[list[str], list[str]]:
        operands: list[str] = []
        params: list[str] = []
        for n in self._signature.parameters:
            if n not in self._hints:
                raise TypeError(
                    f"custom_op {self.name!r}: argument {n!r} needs an annotation "
                    "(Tensor, Tensor | None, list[Tensor], int, ...)"
                )
            (operands if self._hints[n] in _KINDS else params).append(n)
        return operands, params

    def _schema(self, name: str) -> str:
        result = self._hints.get("return")
        count = len(typing.get_args(result)) if typing.get_origin(result) is tuple else 1
        operands = [
            f"{n}: {_KINDS[self._hints[n]]}" + (" = None" if _KINDS[self._hints[n]] == "Tensor?" else "")
            for n in self._operands
        ]
        params = [f"{n}: Any" for n in self._params]
        outputs = "Tensor" if count == 1 else "(" + ", ".join(["Tensor"] * count) + ")"
        return f"{name}({', '.join([*operands, *(['*'] if params else []), *params])}) -> {outputs}"

    def _run(self, *tensors: Tensor | Sequence[Tensor] | None, **params: Any) -> Any:
        values = dict(zip(self._operands, tensors, strict=True)) | params
        where = next((t.device.type for t in tensors if isinstance(t, Tensor)), None)
        fn = self._kernels.get(where or "")
        if fn is None:
            if self._only is not None and where not in self._only:
                raise NotImplementedError(
                    f"{self.name}: no kernel for device type {where!r}; it has {', '.join(sorted(self._only))}"
                )
            fn = self._default
        return fn(**values)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = list(bound.arguments.values())
        if self._function is not None and state.current().grad:
            found: R = self._function.apply(*values)
            return found
        return self._call(values)

    def _call(self, values: Sequence[Any]) -> R:
        named = dict(zip(self._signature.parameters, values, strict=True))
        found: R = call(self.record, [named[n] for n in self._operands], {n: named[n] for n in self._params})
        return found

    @overload
    def register_kernel(self, device_types: str | Iterable[str], fn: None = None, /) -> Callable[[F], F]: ...
    @overload
    def register_kernel(self, device_types: str | Iterable[str], fn: F, /) -> F: ...
    def register_kernel(self, device_types: str | Iterable[str], fn: F | None = None, /) -> F | Callable[[F], F]:
        """The implementation for one device type or several; a function of tensors like the first."""

        def decorate(kernel: F) -> F:
            for d in (device_types,) if isinstance(device_types, str) else device_types:
                self._kernels[d] = kernel
                if self._only is not None:
                    self._only.add(d)
            return kernel

        return decorate if fn is None else decorate(fn)

    def register_fake(self, fn: F, /) -> F:
        """How the result looks for tensors without data: a function that returns an empty tensor of its shape."""
        self._kernels["meta"] = fn
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *,
        setup_context: Callable[[Context, tuple[Any, ...], Any], None] | None = None,
    ) -> None:  # fmt: skip
        """The gradient: ``backward(ctx, *grads)``, and ``setup_context(ctx, inputs, output)`` to save what it reads."""
        run = self._call

        class Custom(Function):
            @staticmethod
            def forward(*inputs: Any) -> Any:
                return run(inputs)

            @staticmethod
            def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
                if setup_context is not None:
                    setup_context(ctx, inputs, output)

        Custom.backward = staticmethod(backward)  # type: ignore[method-assign]
        Custom.__name__ = self.record.name
        self._function = Custom

    def __repr__(self) -> str:
        return f"<custom op {self.name}>"


__all__ = ["CustomOp", "composite", "custom_op", "op", "register_kernel"]
