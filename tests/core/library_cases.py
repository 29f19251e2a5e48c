"""Registrations for ops of one's own in the torch API: fakes, autocast, subclasses, kernels that are turned off."""

from __future__ import annotations

import itertools
from typing import Any

from tests.recorded import Case, answer, collected

CASES: dict[str, Case] = {}
case = collected(CASES)
_numbers = itertools.count()


def defined(T: Any) -> str:
    """The name of a new op that doubles a tensor."""
    name = f"recorded_{next(_numbers)}::twice"
    T.library.define(name, "(Tensor x) -> Tensor")
    T.library.impl(name, "default", lambda x: x * 2)
    return name


def called(T: Any, name: str, *args: Any) -> Any:
    namespace, _, short = name.partition("::")
    packet = T.library.registered(name) if hasattr(T.library, "registered") else None
    return (packet or getattr(getattr(T.ops, namespace), short))(*args)


def subclass(T: Any) -> type:
    """Tensors that know what they were called with."""

    class Named(T.Tensor):  # type: ignore[misc,name-defined]
        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return "its own"

    return Named


@case
def impl_abstract(T: Any) -> Any:
    name = defined(T)
    T.library.impl_abstract(name, lambda x: x.new_empty((5, *x.shape)))
    return [called(T, name, T.ones(2, device="meta")).shape, called(T, name, T.ones(2))]


@case
def impl_abstract_decorates(T: Any) -> Any:
    name = defined(T)

    def fake(x: Any) -> Any:
        return x.new_empty(3)

    same = T.library.impl_abstract(name)(fake) is fake
    return [same, called(T, name, T.ones(2, device="meta")).shape]


@case
def impl_abstract_of_no_op(T: Any) -> Any:
    T.library.impl_abstract("no_such_namespace::op", lambda x: x)


@case
def register_autocast(T: Any) -> Any:
    name = defined(T)
    T.library.register_autocast(name, "cpu", T.bfloat16)
    return called(T, name, T.ones(2))  # outside of autocast


@case
def register_autocast_refuses(T: Any) -> Any:
    names = (3, "no_namespace")
    return [answer(T, lambda T, n=n: T.library.register_autocast(n, "cpu", T.float16)) for n in names]


@case
def register_torch_dispatch(T: Any) -> Any:
    name, cls = defined(T), subclass(T)
    seen = []

    def rule(mode: Any, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        seen.append([len(types), len(args), kwargs])
        return T.full((3,), 7.0)

    T.library.register_torch_dispatch(name, cls, rule)
    t = T.Tensor._make_subclass(cls, T.ones(2))
    return [called(T, name, t), called(T, name, T.ones(2)), seen]


@case
def register_torch_dispatch_decorates(T: Any) -> Any:
    name, cls = defined(T), subclass(T)

    def rule(mode: Any, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return T.full((3,), 7.0)

    same = T.library.register_torch_dispatch(name, cls)(rule) is rule
    return [same, called(T, name, T.Tensor._make_subclass(cls, T.ones(2)))]


@case
def register_torch_dispatch_of_no_op(T: Any) -> Any:
    T.library.register_torch_dispatch(3, subclass(T), lambda *args: None)


@case
def set_kernel_enabled(T: Any) -> Any:
    def twice(x: Any) -> Any:
        return x * 2

    op = T.library.custom_op(f"recorded_{next(_numbers)}::twice", twice, mutates_args=(), schema="(Tensor x) -> Tensor")
    op.register_kernel("cpu")(lambda x: x * 3)
    x = T.ones(1)
    found = [op(x)]
    with op.set_kernel_enabled("cpu", enabled=False):
        found.append(op(x))
        with op.set_kernel_enabled("cpu"):
            found.append(op(x))
        found.append(op(x))
    found.append(op(x))
    with op.set_kernel_enabled("cpu", enabled=True):
        found.append(op(x))
    return [found, answer(T, lambda T: op.set_kernel_enabled("cuda", enabled=False).__enter__())]
