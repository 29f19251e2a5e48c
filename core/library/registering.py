"""Ops by schema and name: ``Library``, ``define``, ``impl`` and the registrations of torch.library."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from flambeau.core import registry
from flambeau.core.dtype import DType
from flambeau.core.library.custom import CustomOp, registered
from flambeau.core.library.schemas import parse
from flambeau.core.record import OPS

F = TypeVar("F", bound=Callable[..., Any])
OpLike = Any  # a name "namespace::op", a CustomOp, or what torch.ops gives for one
_KINDS: Final = ("DEF", "FRAGMENT", "IMPL")
#: Keys of torch's dispatcher that are no devices, and what they mean here.
_EVERYWHERE: Final = ("", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional", "default")


def fallthrough_kernel() -> None:
    """Given to ``Library.impl``: the key has no kernel of its own."""
    raise NotImplementedError("fallthrough_kernel is a mark for Library.impl, and is not called")


def find(op: OpLike, asked: str) -> CustomOp[..., Any]:
    """The op that a name, a :class:`CustomOp` or an op of ``torch.ops`` stands for.

    RuntimeError for a name that no op has, ValueError for what is no name.
    """
    if isinstance(op, CustomOp):
        return op
    inner = getattr(getattr(op, "overloadpacket", op), "op", op)
    if isinstance(inner, CustomOp):
        return inner
    if not isinstance(op, str):
        raise ValueError(f"{asked}: got unexpected type for op: {type(op).__name__}")
    if "::" not in op:
        raise ValueError(f"{asked}: expected 'namespace::name', got {op!r}")
    found = registered(op)
    if found is None:
        raise RuntimeError(f"{asked}: operator {op} does not exist; define it first")
    return found


def _decorating(act: Callable[[F], Any], fn: F | None) -> F | Callable[[F], F]:
    def decorate(function: F) -> F:
        act(function)
        return function

    return decorate if fn is None else decorate(fn)


def _implement(op: CustomOp[..., Any], key: str, fn: Callable[..., Any]) -> None:
    """Enter a function under a key of torch's dispatcher, or a device type."""
    if key.startswith("Autocast") or fn is fallthrough_kernel:
        return  # there is no autocast to ask for it
    if key in _EVERYWHERE:
        op.register_default(fn)
    elif key == "CompositeImplicitAutograd":
        op._kernels["implicit"] = fn
    elif key.startswith("Autograd"):
        op._kernels["autograd"] = fn
    elif key == "Meta":
        op.register_fake(fn)
    else:
        op.register_kernel(key.lower(), fn)


class Library:
    """Ops of one namespace: defined by schemas, and implemented for keys such as "CPU", "Meta" or "Autograd".

    ``kind`` is "DEF" for the library that defines a namespace, "FRAGMENT" for one that adds to it, "IMPL" for one that
    only implements.

    >>> lib = fb.library.Library("doc_lib", "FRAGMENT")
    >>> _ = lib.define("halve(Tensor x) -> Tensor")
    >>> lib.impl("halve", lambda x: x / 2, "CompositeExplicitAutograd")
    >>> fb.library.registered("doc_lib::halve")(fb.tensor([4.0]))
    tensor([2.])
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = ""):
        if kind not in _KINDS:
            raise ValueError(f"Library: kind must be one of {', '.join(_KINDS)}, got {kind!r}")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:  # Any: tags say nothing here
        """Declare an op and return its name; RuntimeError for a schema that is none, or a name that is taken."""
        parsed = parse(schema)
        name = f"{self.ns}::{parsed.name.rpartition('::')[2]}"
        if registered(name) is not None:
            raise RuntimeError(f"Library.define: {name} has been defined already, as {registered(name).schema}")  # type: ignore[union-attr]
        CustomOp(name, None, parsed)
        return parsed.name

    def impl(
        self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", *, with_keyset: bool = False,
        allow_override: bool = True,
    ) -> None:  # fmt: skip  # Any: a name, or an op of torch.ops
        """Implement an op for a key: a device type in capitals, "Meta", "Autograd", "CompositeExplicitAutograd", ..."""
        if not callable(fn):
            raise TypeError(f"Library.impl: expected a function, got {type(fn).__name__}")
        name = op_name if not isinstance(op_name, str) or "::" in op_name else f"{self.ns}::{op_name}"
        _implement(find(name, "Library.impl"), dispatch_key or self.dispatch_key, fn)

    def fallback(self, fn: Any, dispatch_key: str = "", *, with_keyset: bool = False) -> None:  # Any: any function
        """Say what ops without a kernel for a key do: ``fallthrough_kernel``, which is what they do anyway.

        RuntimeError for another function: the keys of torch's dispatcher are not gone through here.
        """
        if self.ns != "_":
            raise RuntimeError(
                'Fallback can only be registered using library fragment on the global namespace "_" but it is '
                f"{self.ns}"
            )
        if not (dispatch_key or self.dispatch_key):
            raise AssertionError("Library.fallback: dispatch_key must not be empty")
        if fn is not fallthrough_kernel:
            raise RuntimeError("Library.fallback: only fallthrough_kernel can be one")

    def register_symm_mem_args(self, op_name: str, arg_names: Sequence[str]) -> None:
        """Note the arguments that processes are to hold at equal places; there is one process."""

    def _register_fake(self, op_name: str, fn: Callable[..., Any], **options: Any) -> None:  # Any: not looked at
        find(op_name if "::" in op_name else f"{self.ns}::{op_name}", "Library").register_fake(fn)


def define(
    qualname: str | Library, schema: str, alias_analysis: Any = "", *, lib: Library | None = None, tags: Any = ()
) -> Any:  # Any: tags and aliases say nothing here; with a Library first it is a decorator, as in old programs
    """Declare the op "namespace::name" by its schema "(Tensor x) -> Tensor".

    >>> fb.library.define("doc_define::same", "(Tensor x) -> Tensor")
    >>> fb.library.registered("doc_define::same")
    <custom op doc_define::same>
    """
    if isinstance(qualname, Library):
        library, name = qualname, qualname.define(schema)
        return _decorating(lambda fn: library.impl(name, fn), None)
    namespace, colons, short = qualname.partition("::")
    if not colons:
        raise ValueError(f"define: expected 'namespace::name', got {qualname!r}")
    if not re.fullmatch(r"\s*\(.*\)\s*->.*", schema, re.S):
        raise ValueError(f"define: expected a schema such as '(Tensor x) -> Tensor', got {schema!r}")
    (lib or Library(namespace, "FRAGMENT")).define(short + schema.strip())
    return None


def impl(
    qualname: OpLike, types: str | Iterable[str], func: F | None = None, *, lib: Library | None = None
) -> F | Callable[[F], F]:
    """Implement an op for device types, or "default" for all; a decorator without ``func``."""
    op = find(qualname, "impl")
    keys = (types,) if isinstance(types, str) else tuple(types)

    def enter(fn: F) -> None:
        for key in keys:
            _implement(op, key, fn)

    return _decorating(enter, func)


def register_kernel(
    op: OpLike, device_types: str | Iterable[str] | None, func: Callable[..., Any] | None = None, /, *,
    lib: Library | None = None, dtypes: Iterable[DType] | None = None, priority: int = 0,
    source: str = "library.register_kernel",
) -> Any:  # fmt: skip  # Any: the function, or a decorator of it
    """Put a kernel over a device's own for an existing op, or implement a custom op for device types.

    For one of flambeau's ops, by its name: ``func(next) -> kernel(*arrays, **params)``, where ``next`` is the kernel
    below, or None. For a custom op, "namespace::name": a function of tensors like the op, for one device type,
    several, or all (None). Without ``func`` it is a decorator.

    Errors: KeyError for an unknown op of flambeau's, ValueError when another overlay of equal priority serves the same
    dtypes, RuntimeError for an unknown custom op.
    """
    if isinstance(op, str) and "::" not in op:
        if op not in OPS:
            raise KeyError(f"register_kernel: there is no op {op!r}; `python -m flambeau coverage` lists them")
        kinds = (device_types,) if isinstance(device_types, str) else tuple(device_types or ())

        def overlay(make: Callable[..., Any]) -> None:
            for kind in kinds:
                registry.register_overlay(kind, op, make, dtypes=dtypes, priority=priority, source=source)

        made = _decorating(overlay, func)
        return None if func is not None else made
    custom = find(op, "register_kernel")
    if device_types is None:
        return _decorating(custom.register_default, func)
    return custom.register_kernel(device_types, func) if func is not None else custom.register_kernel(device_types)


def register_fake(
    op: OpLike, func: F | None = None, /, *, lib: Library | None = None, _stacklevel: int = 1,
    allow_override: bool = True,
) -> F | Callable[[F], F]:  # fmt: skip
    """How the results of a custom op look for tensors without data; a decorator without ``func``."""
    return _decorating(find(op, "register_fake").register_fake, func)


def impl_abstract(
    qualname: OpLike, func: F | None = None, *, lib: Library | None = None, _stacklevel: int = 1
) -> F | Callable[[F], F]:
    """The old name of :func:`register_fake`."""
    return register_fake(qualname, func, lib=lib)


def register_autograd(
    op: OpLike, backward: Callable[..., Any], /, *, setup_context: Callable[..., None] | None = None,
    lib: Library | None = None,
) -> None:  # fmt: skip
    """The gradient of a custom op, as :meth:`CustomOp.register_autograd`."""
    find(op, "register_autograd").register_autograd(backward, setup_context=setup_context)


def register_vmap(op: OpLike, func: F | None = None, /, *, lib: Library | None = None) -> F | Callable[[F], F]:
    """What a custom op is over a batch, as :meth:`CustomOp.register_vmap`; a decorator without ``func``."""
    return _decorating(find(op, "register_vmap").register_vmap, func)


def register_torch_dispatch(
    op: OpLike, torch_dispatch_class: type, func: F | None = None, /, *, lib: Library | None = None
) -> F | Callable[[F], F]:
    """What a custom op is for tensors of a subclass; a decorator without ``func``."""
    custom = find(op, "register_torch_dispatch")
    return _decorating(lambda fn: custom.register_torch_dispatch(torch_dispatch_class, fn), func)


def register_autocast(op: OpLike, device_type: str, cast_inputs: DType, /, *, lib: Library | None = None) -> None:
    """The dtype of a custom op under autocast, as :meth:`CustomOp.register_autocast`."""
    find(op, "register_autocast").register_autocast(device_type, cast_inputs)
