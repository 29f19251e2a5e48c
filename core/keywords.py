"""Keywords that plain functions take beside their own: the array API's names of torch's arguments, and ``out``.

torch takes ``axis`` wherever it takes ``dim``, and several functions take a list of sizes by position or by
name. A function that understands these itself is left alone; the others get a thin wrapper, which costs a
call without keywords about 0.05 microseconds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, Final

from flambeau.core.errors import not_a_tensor
from flambeau.core.out import deliver

#: torch's name of an argument -> the array API's, which numpy users type.
_AXES: Final = {"dim": "axis", "keepdim": "keepdims"}
#: Arguments by position of any number that torch also takes as one sequence by name.
_SEQUENCES: Final = frozenset({"dims", "repeats", "size"})
#: By public name: more names of arguments.
NAMES: Final[dict[str, dict[str, str]]] = {
    "split": {"split_size": "split_size_or_sections"},
    "tensor_split": {"sections": "indices_or_sections", "indices": "indices_or_sections"},
    "swapaxes": {"axis0": "dim0", "axis1": "dim1"},
    "broadcast_to": {"shape": "size"},
    "take": {"indices": "index"},
    "flip": {"axis": "dims"},
    "roll": {"shift": "shifts", "axis": "dims"},
    "tensordot": {"axes": "dims"},
}
#: Functions of several ops that write to ``out`` when they are done.
WITH_OUT: Final = frozenset({
    "aminmax", "chain_matmul", "cross", "diag", "diff", "isin", "isneginf", "isposinf", "kron", "log_softmax",
    "matrix_power", "narrow_copy", "renorm", "softmax", "take", "vecdot",
})  # fmt: skip


def extended(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` with the keywords that its public name asks for; itself where it needs none.

    >>> def cumulated(input, dim):
    ...     return dim
    >>> extended("cumulated", cumulated)([1], axis=0)
    0
    """
    if not isinstance(fn, FunctionType) or hasattr(fn, "op"):
        return fn
    code = fn.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    own = code.co_varnames[:count]
    aliases = dict(NAMES.get(name.rstrip("_"), {}))
    if not code.co_flags & inspect.CO_VARKEYWORDS:
        aliases |= {other: given for given, other in _AXES.items() if given in own and other not in own}
    rest = code.co_varnames[count] if code.co_flags & inspect.CO_VARARGS else None
    if rest in _SEQUENCES:
        aliases[rest] = rest
    writes = name in WITH_OUT and "out" not in own
    return _wrapped(name, fn, aliases, rest, writes) if aliases or writes else fn


def _wrapped(
    name: str, fn: Callable[..., Any], aliases: Mapping[str, str], rest: str | None, writes: bool
) -> Callable[..., Any]:
    pairs = tuple(aliases.items())

    @functools.wraps(fn)
    def call(*args: Any, **kw: Any) -> Any:
        if not kw:
            try:
                return fn(*args)
            except Exception:
                require_tensors(name, fn, args)
                raise
        out = kw.pop("out", None) if writes else None
        for other, given in pairs:
            if other in kw:
                value = kw.pop(other)
                if given == rest:
                    args = (*args, value)
                elif given in kw:
                    raise TypeError(f"{name}: {other} and {given} are one argument; give it once")
                else:
                    kw[given] = value
        try:
            found = fn(*args, **kw)
        except Exception:
            require_tensors(name, fn, args)
            raise
        return deliver(name, found, out)

    extra: Any = call
    extra.more_keywords = (*aliases, *(("out",) if writes else ()))  # for the stubs
    return call


def guarded(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn``, which blames an argument that is no tensor where it would fail on the tensor's insides.

    The functions that :func:`extended` wraps do so already; the check costs nothing where nothing fails.

    >>> def double(input: Tensor):
    ...     return input._array * 2
    >>> guarded("double", double)([1])
    Traceback (most recent call last):
    TypeError: double: argument 'input' must be a tensor, got list; flambeau.tensor(x) makes a tensor of it
    """

    @functools.wraps(fn)
    def call(*args: Any, **kw: Any) -> Any:
        try:
            return fn(*args, **kw)
        except Exception:
            require_tensors(name, fn, args)
            raise

    return call


def require_tensors(name: str, fn: Callable[..., Any], args: Sequence[Any]) -> None:
    """TypeError names the first positional argument that should have been a tensor, by ``fn``'s annotations."""
    code, wanted = fn.__code__, fn.__annotations__
    names = list(code.co_varnames[: code.co_argcount])
    if code.co_flags & inspect.CO_VARARGS:
        rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
        names += [rest] * (len(args) - len(names))
    for argument, value in zip(names, args, strict=False):
        wants = argument == "tensors" or wanted.get(argument) in ("Tensor", "Tensor | None")
        if wants and _is_foreign(value):
            raise not_a_tensor(name, argument, value, "a tensor") from None


def _is_foreign(value: Any) -> bool:
    """Whether a value is neither a tensor, nor None, nor a number, nor a list of tensors."""
    if isinstance(value, (list, tuple)):
        return bool(value) and not any(hasattr(v, "_key") for v in value)
    return not hasattr(value, "_key") and not isinstance(value, (bool, int, float, complex, type(None)))
