"""The public functions of the ops: each is written out and compiled at first call.

:mod:`flambeau.core.sources` has the text, which shows up in tracebacks and in ``python -m flambeau explain``; here
stand the uniform path that it falls back to, :func:`slow`, and what else its names mean.
"""

from __future__ import annotations

import inspect
import linecache
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial, update_wrapper
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

from flambeau.core import dispatch, help, sources, state
from flambeau.core.arguments import AXES, AXIS, bind
from flambeau.core.autograd.inplace import in_place, into, require_no_partial_overlap, unrecorded
from flambeau.core.blame import explained_op, explaining, explaining_code
from flambeau.core.box import INFERENCE, Box
from flambeau.core.dtype import DType
from flambeau.core.errors import is_of_the_call, not_a_tensor
from flambeau.core.exchange import from_numpy
from flambeau.core.graph import View, make_view
from flambeau.core.keys import Key
from flambeau.core.locks import fork_safe
from flambeau.core.out import deliver
from flambeau.core.overrides import ARMED, NOTHING, intercept, met
from flambeau.core.record import Op
from flambeau.core.schema import REQUIRED
from flambeau.core.tape.compile import compiled
from flambeau.core.tensor import Tensor, blank

F = TypeVar("F", bound=Callable[..., Any])
_first_use = fork_safe(threading.RLock())


def slow(
    op: Op, args: Sequence[Any], params: dict[str, Any], kw: dict[str, Any], told: FunctionType | None = None
) -> Any:
    """The uniform path behind a public function: bind, call, write to ``out``.

    Classes that override it are told of the op's function, or of ``told``, which has another name. An error that says
    what was wrong with the call is raised from here: what led to it inside is no help.
    """
    if kw and len(kw) == 1 and not params and isinstance(target := kw.get("out"), Tensor) and into(op, target, args):
        return target
    if ARMED:
        found = intercept(told or op.function, *_as_called(op, args, params, kw))
        if found is not NOTHING:
            return found
    if (casts := state.current().casts) is not None:
        found = casts.from_outside(op, args, params, kw or {})
        if found is not NOTHING:
            return found
    try:
        out = kw.pop("out", None) if kw else None
        if kw and out is None and (found := _with_keyword(op, args, kw)) is not None:
            return found
        operands, bound = bind(op, args, params, kw)
        if isinstance(out, Tensor):
            require_no_partial_overlap(op.name, out, operands)
        run = dispatch.call if out is None else partial(state.uncast, dispatch.call)
        result = run(op, operands, bound)
        return deliver(op.name, result, out)
    except Exception as error:
        if met(error, args, kw or {}, explaining_code):
            return slow(op, args, params, kw, told)
        if clear := explained_op(error, op, op.name, args, params, kw):
            raise clear from clear.__cause__
        if is_of_the_call(error, op.name):
            raise error.with_traceback(None)  # noqa: B904  # it keeps the cause that it has
        raise


def _with_keyword(op: Op, args: Sequence[Any], kw: dict[str, Any]) -> Any:
    """The op on tensors of one kind whose operands a keyword such as ``alpha`` changes; None for other calls."""
    x, y = args if len(args) == 2 else (None, None)
    if len(kw) != 1 or x.__class__ is not Tensor or y.__class__ is not Tensor or x._key is not y._key:
        return None
    ((name, value),) = kw.items()
    current = state.get()
    if name not in op.keywords or value.__class__ is not float or current is None or not current.plain:
        return None
    operands = [x, y]
    op.keywords[name](operands, value)
    return op.function(*operands)


def _as_called(
    op: Op, args: Sequence[Any], params: Mapping[str, Any], kw: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call as those who override it get them: operands by position, what was left out left out."""
    named = {p.public: params[p.name] for p in op.schema.params if p.name in params and params[p.name] is not p.default}
    operands = list(args)
    while operands and operands[-1] is op.schema.operands[len(operands) - 1].default:
        operands.pop()
    return tuple(operands), named | dict(kw or {})


def _stranger(op: Op, own: Tensor, other: Any) -> Any:
    """What an operator gives for an object that is no operand: its own type may know better.

    Arrays of numpy do, but for equality.
    """
    if type(other).__name__ == "ndarray" and op.name in ("eq", "ne"):
        return slow(op, (own, from_numpy(other)), {}, {})
    return NotImplemented


def _foreign(op: Op, own: Tensor, other: Any) -> Any:
    """The same for what stands on the left: numpy, whose arrays hand over to tensors, is told what to do instead."""
    if type(other).__name__ == "ndarray":
        raise not_a_tensor(op.name, "other", other)
    return NotImplemented


class _Operand(type):
    """``isinstance`` for what an operator takes: tensors, numbers, and whatever answers for itself."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _TYPES) or hasattr(type(value), "__torch_function__")


class _Operands(metaclass=_Operand):
    pass


_TYPES = (Tensor, bool, int, float, complex, np.generic)
_OPERANDS = (*_TYPES, _Operands)


def _fill(scope: dict[str, Any], op: Op) -> None:
    """The globals of a generated function."""
    scope.update(
        OP=op,
        get=state.get,
        slow=slow,
        Tensor=Tensor,
        blank=blank,
        AXES=AXES,
        AXIS=AXIS,
        REQUIRED=REQUIRED,
        Box=Box,
        INFERENCE=INFERENCE,
        View=View,
        make_view=make_view,
        infer=op.infer,
        shortcut=op.shortcut,
        Key=Key,
        DType=DType,
        tensor_of=dispatch.tensor_of,
        result_dtype=op.dtype.out,
        in_place=in_place,
        unrecorded=unrecorded,
        operand_types=_OPERANDS,
        stranger=_stranger,
        foreign=_foreign,
    )

    def record(*args: Any) -> Any:
        scope["record"] = compiled(op).record
        return scope["record"](*args)

    def record_checked(*args: Any) -> Any:
        scope["record_checked"] = compiled(op).record_checked
        return scope["record_checked"](*args)

    scope["record"], scope["record_checked"] = record, record_checked


def lazy_function(
    op: Op, name: str, text: Callable[[], str], body: Callable[..., Any] | None = None, told: bool = False
) -> FunctionType:
    """A function whose source is written and compiled at its first call; its identity never changes.

    It may call ``body``, a function whose globals it has too. With ``told`` it is it that overriding classes see, and
    not the op's function.
    """
    scope: dict[str, Any] = {"__name__": "flambeau.core.ops"}

    def compile_now() -> FunctionType:
        with _first_use:
            if lazy.__code__ is PLACEHOLDER:
                if body is not None:
                    scope.update(getattr(inspect.unwrap(body), "__globals__", {}), body=body)
                _fill(scope, op)
                if told:
                    scope["slow"] = partial(slow, told=lazy)
                filename = f"<flambeau {name}>"
                made = text()
                local: dict[str, Any] = {}
                exec(compile(made, filename, "exec"), scope, local)
                linecache.cache[filename] = (len(made), None, made.splitlines(True), filename)
                real = local[name]
                lazy.__defaults__, lazy.__kwdefaults__ = real.__defaults__, real.__kwdefaults__
                lazy.__code__ = real.__code__  # last: until then a call, of another thread too, comes here again
        return lazy

    scope["compile_now"] = compile_now
    lazy = FunctionType(PLACEHOLDER, scope, name)
    lazy.__qualname__ = name
    lazy.op = op  # type: ignore[attr-defined]
    return lazy


def view_case(op: Op, value: str, *, when: str = "", call: str = "", unless: str = "") -> Callable[[F], F]:
    """Write out the common case of a function of its own: that it gives the view ``op`` of its first argument.

    ``value`` is the view's one param as an expression of the function's arguments, of ``a0``, the array, and of the
    names of its module; ``when``, a condition on the arguments; ``call``, the kernel's call where it is another one
    than the op's, and ``unless``, when its result, ``a``, is no view. What fails, and all other cases, go to the
    function as it is written.

    >>> from flambeau.core.record import OPS
    >>> @view_case(OPS["permute"], "(1, 0)", when="input._array.ndim == 2")
    ... def turned(input):
    ...     raise ValueError(f"turned: {input.ndim} dimensions")
    >>> turned(fb.ones(2, 3)).shape
    flambeau.Size([3, 2])
    >>> turned(fb.ones(2))
    Traceback (most recent call last):
    ValueError: turned: 1 dimensions
    """

    def decorate(body: F) -> F:
        name, signature = body.__name__, inspect.signature(body)
        text = partial(sources.view_case_source, op, name, signature, value, when, call, unless)
        rest: Any = body if hasattr(body, "guarded") else explaining(name, body)
        made: Any = lazy_function(op, name, text, rest)
        del made.op  # it stands for itself, and not for the op
        update_wrapper(made, body)
        made.guarded = True
        rest = getattr(rest, "rest", rest)
        made.rest = rest
        made.told = rest.told = made  # whose call it is that overriding classes see
        written: F = made
        return written

    return decorate


def _placeholder(*args: Any, **kw: Any) -> Any:
    return compile_now()(*args, **kw)  # type: ignore[name-defined]  # noqa: F821  # in the function's own globals


PLACEHOLDER = _placeholder.__code__


def public_function(op: Op) -> FunctionType:
    """The public function of an op."""
    function = lazy_function(op, op.name, lambda: sources.source(op))
    function.__doc__ = help.describe(op)
    function.__signature__ = help.signature(op)  # type: ignore[attr-defined]
    return function


def named_function(op: Op, name: str) -> FunctionType:
    """The public function of an op under another of its names, which classes that override it are told of."""
    function = lazy_function(op, op.name, lambda: sources.source(op), told=True)
    function.__name__ = function.__qualname__ = name
    function.__doc__, function.canonical = op.function.__doc__, op.name  # type: ignore[attr-defined]
    function.__signature__ = op.function.__signature__  # type: ignore[attr-defined]
    return function


def method(op: Op, name: str, reflected: bool = False) -> FunctionType:
    """An operator method such as ``__add__``."""
    function = lazy_function(op, name, lambda: sources.dunder_source(op, name, reflected))
    function.__doc__ = f"See :func:`flambeau.{op.name}`."
    return function


def inplace_function(op: Op, name: str = "") -> FunctionType:
    """The in-place method of an op, ``add_`` of ``add``, or under another name than the op's."""
    function = lazy_function(op, f"{op.name}_", lambda: sources.inplace_source(op))
    if name:
        function.__name__ = function.__qualname__ = name
        function.canonical = f"{op.name}_"  # type: ignore[attr-defined]
    function.__doc__ = f"In place: :func:`flambeau.{op.name}`, written to the tensor, which is returned."
    function.__signature__ = help.signature(op, inplace=True)  # type: ignore[attr-defined]
    return function


def inplace_operator(op: Op) -> FunctionType:
    """The operator method ``__iadd__`` of ``add``."""
    function = lazy_function(op, f"{op.name}_", lambda: sources.inplace_operator_source(op))
    function.__signature__ = help.signature(op, inplace=True)  # type: ignore[attr-defined]
    return function
