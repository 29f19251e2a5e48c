"""Custom ops: functions of tensors that autograd, the transforms and the backends treat as one op."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Generic, NoReturn, ParamSpec, TypeVar, overload

from flambeau.core import state
from flambeau.core.autocast import cast_floats, type_of
from flambeau.core.autograd.function import Function
from flambeau.core.declare import declare
from flambeau.core.dispatch import call
from flambeau.core.dtype import DType
from flambeau.core.library.schemas import Schema, infer_schema, parse
from flambeau.core.record import OPS, Op
from flambeau.core.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_registered: Final[dict[str, CustomOp[..., Any]]] = {}
_within: ContextVar[frozenset[str]] = ContextVar("flambeau_library", default=frozenset())
_faking: ContextVar[str] = ContextVar("flambeau_library_fake", default="")


def registered(name: str) -> CustomOp[..., Any] | None:
    """The op called "namespace::name", or None."""
    return _registered.get(name.removesuffix(".default"))


def registered_in(namespace: str) -> list[str]:
    """The names of the ops of a namespace."""
    return [name.partition("::")[2] for name in _registered if name.startswith(f"{namespace}::")]


class CustomOp(Generic[P, R]):
    """What :func:`custom_op` returns: callable, with the registrations as methods."""

    def __init__(
        self, name: str, fn: Callable[P, R] | None, schema: Schema, device_types: str | Iterable[str] | None = None
    ):
        namespace, colons, short = name.partition("::")
        if not colons or not namespace.isidentifier() or not short.replace(".", "_").isidentifier():
            raise ValueError(f"custom_op: the name must be 'namespace::name', got {name!r}")
        self.name, self.schema = name, schema
        self._default: Callable[..., R] | None = fn
        self._signature = schema.signature()
        self._only = None if device_types is None else set(_types(device_types))
        self._kernels: dict[str, Callable[..., Any]] = {}
        self._disabled: set[str] = set()
        self._dispatch: dict[type, Callable[..., Any]] = {}
        self._cast_to: dict[str, DType] = {}  # under autocast, by type of device
        self._function: type[Function] | None = None
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., None] | None = None
        self._vmap: Callable[..., Any] | None = None
        self._operands = [a.name for a in schema.arguments if a.is_operand]
        self._params = [a.name for a in schema.arguments if not a.is_operand]
        plain = set(schema.returns) == {"Tensor"} and not schema.is_mutable and bool(self._operands)
        self._record = self._declared(f"{namespace}__{short.replace('.', '__')}", fn) if plain else None
        _registered[name] = self

    @property
    def record(self) -> Op:
        """The record that autograd and the transforms know it by; an op that writes to its arguments has none."""
        if self._record is None:
            raise RuntimeError(f"{self.name}: {self.schema.text} is no function of tensors to tensors, and no record")
        return self._record

    def _declared(self, name: str, fn: Callable[P, R] | None) -> Op:
        operands = [
            f"{a.name}: {a.type}" + (" = None" if a.type == "Tensor?" else "")
            for a in self.schema.arguments if a.is_operand
        ]  # fmt: skip
        params = [f"{n}: Any" for n in self._params]
        count = len(self.schema.returns)
        outputs = "Tensor" if count == 1 else "(" + ", ".join(["Tensor"] * count) + ")"
        record = Op(
            f"{name}({', '.join([*operands, *(['*'] if params else []), *params])}) -> {outputs}",
            body=self._run, batch="loop", public=False, upcast=False, autocast="inside",
            kinds=dict.fromkeys(self._operands, "any"),
            doc=inspect.getdoc(fn) or "" if fn is not None else "",
        )  # fmt: skip
        if self.name in _registered:
            OPS.pop(name, None)  # declared anew, as in a notebook
        declare(record)
        return record

    def _run(self, *tensors: Tensor | Sequence[Tensor] | None, **params: Any) -> Any:
        return self._kernel_call(dict(zip(self._operands, tensors, strict=True)) | params)

    def _kernel_call(self, values: dict[str, Any]) -> Any:
        where = next((t.device.type for v in values.values() for t in _tensors(v)), None)
        fn = self._kernels.get(where or "")
        if fn is None or where in self._disabled:
            if self._only is not None and where not in self._only or self._default is None:
                has = ", ".join(sorted({*(self._only or ()), *self._kernels})) or "none"
                raise NotImplementedError(f"{self.name}: no kernel for device type {where!r}; it has {has}")
            fn = self._default
        token = _faking.set(self.name if where == "meta" else "")
        try:
            arguments = self.schema.arguments
            by_name = {a.name: values[a.name] for a in arguments if a.keyword_only}
            return fn(*[values[a.name] for a in arguments if not a.keyword_only], **by_name)
        finally:
            _faking.reset(token)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        casts = state.current().casts
        if casts is not None and (on := casts.types & self._cast_to.keys()):
            cast: Any = (args, kwargs)
            for where in on:
                cast = cast_floats(cast, where, self._cast_to[where])
            return state.uncast(self, *cast[0], **cast[1])  # type: ignore[no-any-return]  # what it is without
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        if self._dispatch:
            for cls, fn in self._dispatch.items():
                if any(isinstance(t, cls) for v in values.values() for t in _tensors(v)):
                    found: R = fn(cls, self, (cls,), args, kwargs)
                    return found
        grad = state.current().grad
        autograd = self._kernels.get("autograd")
        if autograd is not None and grad and self.name not in _within.get():
            token = _within.set(_within.get() | {self.name})
            try:
                return autograd(*args, **kwargs)  # type: ignore[no-any-return]  # of the user's function
            finally:
                _within.reset(token)
        if "implicit" in self._kernels:
            return self._kernels["implicit"](*args, **kwargs)  # type: ignore[no-any-return]
        if self._function is not None and (grad if self._vmap is None else grad or bool(state.current().levels)):
            return self._function.apply(*values.values())  # type: ignore[no-any-return]
        return self._call(values)

    def _call(self, values: dict[str, Any]) -> R:
        found: R
        if self._record is not None:
            found = call(self._record, [values[n] for n in self._operands], {n: values[n] for n in self._params})
            return found
        with state.no_grad():
            found = self._kernel_call(values)
        return found

    @overload
    def register_kernel(self, device_types: str | Iterable[str], fn: None = None, /) -> Callable[[F], F]: ...
    @overload
    def register_kernel(self, device_types: str | Iterable[str], fn: F, /) -> F: ...
    def register_kernel(self, device_types: str | Iterable[str], fn: F | None = None, /) -> F | Callable[[F], F]:
        """The implementation for one device type or several; a function of tensors like the first."""

        def decorate(kernel: F) -> F:
            for d in _types(device_types):
                self._kernels[d] = kernel
                if self._only is not None:
                    self._only.add(d)
            return kernel

        return decorate if fn is None else decorate(fn)

    def register_default(self, fn: F) -> F:
        """The implementation for every device that has none of its own."""
        self._default = fn
        return fn

    def register_fake(self, fn: F, /) -> F:
        """How the result looks for tensors without data: a function that returns an empty tensor of its shape."""
        self._kernels["meta"] = fn
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., None] | None = None
    ) -> None:
        """The gradient: ``backward(ctx, *grads)``, and ``setup_context(ctx, inputs, output)`` to save what it reads.

        An op with arguments by keyword alone gives them too: ``setup_context(ctx, inputs, keyword_only_inputs,
        output)``. RuntimeError for an op that writes to its arguments.
        """
        if self.schema.is_mutable:
            raise RuntimeError(f"{self.name}.register_autograd: an op that writes to its arguments has no gradient")
        self._backward, self._setup = backward, setup_context
        self._function = self._made()

    def register_vmap(self, func: F | None = None, /) -> F | Callable[[F], F]:
        """What the op is over a batch: ``func(info, in_dims, *args) -> (output, out_dims)``."""

        def decorate(rule: F) -> F:
            self._vmap = rule
            self._function = self._made()
            return rule

        return decorate if func is None else decorate(func)

    def register_torch_dispatch(self, torch_dispatch_class: type, fn: F | None = None, /) -> F | Callable[[F], F]:
        """What the op is for tensors of a subclass: ``fn(cls, func, types, args, kwargs)``."""

        def decorate(rule: F) -> F:
            self._dispatch[torch_dispatch_class] = rule
            return rule

        return decorate if fn is None else decorate(fn)

    def register_autocast(self, device_type: str, cast_inputs: DType) -> None:
        """Under autocast on a type of device, cast the floats to a dtype and run the op with autocast off."""
        if not isinstance(device_type, str) or not isinstance(cast_inputs, DType):
            raise ValueError(f"{self.name}.register_autocast: expected a device type and a dtype")
        self._cast_to[type_of(f"{self.name}.register_autocast", device_type)] = cast_inputs

    @contextmanager
    def set_kernel_enabled(self, device_type: str, enabled: bool = True) -> Iterator[None]:
        """Without the kernel of a device type, or with it again, inside a ``with`` block."""
        before = set(self._disabled)
        (self._disabled.discard if enabled else self._disabled.add)(device_type)
        try:
            yield
        finally:
            self._disabled = before

    def _made(self) -> type[Function]:
        op, keywords = self, [a.name for a in self.schema.arguments if a.keyword_only]
        names = [a.name for a in self.schema.arguments]

        class Custom(Function):
            @staticmethod
            def forward(*inputs: Any) -> Any:
                return op._call(dict(zip(names, inputs, strict=True)))

            @staticmethod
            def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
                if op._setup is not None:
                    count = len(inputs) - len(keywords)
                    given = dict(zip(keywords, inputs[count:], strict=True))
                    op._setup(ctx, inputs[:count], *([given] if given else []), output)

        if self._backward is not None:
            rule = self._backward

            def backward(ctx: Any, *grads: Any) -> Any:
                found = rule(ctx, *grads)
                return (*(found if isinstance(found, tuple) else (found,)), *[None] * len(keywords))

            Custom.backward = staticmethod(backward)  # type: ignore[method-assign]
        if self._vmap is not None:
            Custom.vmap = staticmethod(self._vmap)  # type: ignore[method-assign]
        Custom.__name__ = self.record.name if self._record is not None else self.name
        return Custom

    def __repr__(self) -> str:
        return f"<custom op {self.name}>"


def _types(device_types: str | Iterable[str]) -> tuple[str, ...]:
    return (device_types,) if isinstance(device_types, str) else tuple(device_types)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from (t for t in value if isinstance(t, Tensor))


@overload
def custom_op(
    name: str, fn: None = None, /, *, mutates_args: str | Iterable[str] = (),
    device_types: str | Iterable[str] | None = None, schema: str | None = None, tags: Any = None,
) -> Callable[[Callable[P, R]], CustomOp[P, R]]: ...  # fmt: skip
@overload
def custom_op(
    name: str, fn: Callable[P, R], /, *, mutates_args: str | Iterable[str] = (),
    device_types: str | Iterable[str] | None = None, schema: str | None = None, tags: Any = None,
) -> CustomOp[P, R]: ...  # fmt: skip
def custom_op(
    name: str, fn: Callable[P, R] | None = None, /, *, mutates_args: str | Iterable[str] = (),
    device_types: str | Iterable[str] | None = None, schema: str | None = None, tags: Any = None,
) -> CustomOp[P, R] | Callable[[Callable[P, R]], CustomOp[P, R]]:  # fmt: skip  # Any: tags say nothing here
    """Make a function of tensors one op that autograd, vmap and the backends treat as a unit.

    ``name`` is "namespace::name"; the annotations say which arguments are tensors, or ``schema`` does, as
    "(Tensor x, float by) -> Tensor". ``mutates_args`` names those that it writes to. Register a gradient with
    ``register_autograd``, other devices with ``register_kernel``, shapes with ``register_fake``.

    >>> @fb.library.custom_op("doc::twice", mutates_args=())
    ... def twice(x: fb.Tensor) -> fb.Tensor:
    ...     return x * 2
    >>> twice(fb.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """

    def decorate(function: Callable[P, R]) -> CustomOp[P, R]:
        text = schema if schema is not None else infer_schema(function, mutates_args=mutates_args)
        short = name.partition("::")[2]
        return CustomOp(name, function, parse(f"{short}{text}" if text.startswith("(") else text), device_types)

    return decorate if fn is None else decorate(fn)


class FakeContext:
    """What :func:`get_ctx` gives: sizes are numbers in flambeau, so none can be left open."""

    def new_dynamic_size(self, *, min: int = 0, max: int | None = None) -> NoReturn:
        """RuntimeError: a result without data needs all its sizes."""
        raise RuntimeError(
            f"{_faking.get()}: the size of its result depends on data, and a tensor without data has none; "
            "run it on a device"
        )

    new_symint = create_unbacked_symint = new_dynamic_size


def get_ctx() -> FakeContext:
    """Inside a function given to ``register_fake``: its surroundings. RuntimeError elsewhere."""
    if not _faking.get():
        raise RuntimeError(
            "get_ctx: it is for functions given to register_fake, while they run on tensors without data"
        )
    return FakeContext()
