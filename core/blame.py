"""Which argument of a failed call was wrong, in words: looked for after the failure, so that no good call pays for it.

:func:`explained` takes an error that came up from the insides of Python, numpy or flambeau, and gives the one to raise
in its place. Errors that a ``raise`` of flambeau made say it themselves, and those of users' own code pass as they are.
"""

from __future__ import annotations

import functools
import inspect
import math
import opcode
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType, NoneType, TracebackType, UnionType
from typing import Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import numpy as np

from flambeau.backends.base import OutOfMemoryError
from flambeau.core.annotations import fits, in_words
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import not_a_tensor
from flambeau.core.memory_format import Layout, MemoryFormat
from flambeau.core.out import deliver
from flambeau.core.overrides import ARMED, NOTHING, intercept, make_overridable, met
from flambeau.core.record import REQUIRED, Op
from flambeau.core.state import uncast
from flambeau.core.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
_RAISES: Final = frozenset({opcode.opmap["RAISE_VARARGS"], opcode.opmap["RERAISE"]})
_HOME: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
_GENERATED: Final = ("<flambeau ", "<expr ")  # how the files of written-out code are called
_LIBRARIES: Final = (os.path.dirname(np.__file__) + os.sep, os.path.dirname(os.__file__) + os.sep)
#: What comes up from the insides, and what it is to users. All else speaks for itself: files, imports, warnings.
_MEANINGS: Final[tuple[tuple[type[Exception], type[Exception]], ...]] = (
    (UnicodeError, ValueError), (TypeError, TypeError), (AttributeError, TypeError), (IndexError, IndexError),
    (KeyError, ValueError), (MemoryError, OutOfMemoryError), (ValueError, ValueError), (ArithmeticError, ValueError),
    (AssertionError, ValueError), (BufferError, ValueError),
)  # fmt: skip

#: What numpy says of shapes whose elements no memory could hold.
_TOO_LARGE: Final = ("array is too big", "Maximum allowed", "negative dimensions")


# -- whose words an error has ------------------------------------------------------------------------
def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    tb: TracebackType | None = error.__traceback__
    while tb is not None:
        yield tb.tb_frame, tb.tb_lasti
        tb = tb.tb_next


def _is_ours(file: str) -> bool:
    return file.startswith((_HOME, *_GENERATED))


def meaning(error: Exception) -> type[Exception] | None:
    """The class of the error to raise in place of one from the insides; None for one that is good as it is."""
    kind = next((to for from_, to in _MEANINGS if isinstance(error, from_)), None)
    if kind is ValueError and str(error).startswith(_TOO_LARGE):
        kind = OutOfMemoryError
    frames = list(_frames(error))
    if kind is None or not frames:
        return None
    innermost, at = frames[-1]
    if _is_ours(innermost.f_code.co_filename) and innermost.f_code.co_code[at] in _RAISES:
        return None
    inside = False
    for frame, _ in frames:
        inside = inside or _is_ours(frame.f_code.co_filename)
        if inside and not frame.f_code.co_filename.startswith((_HOME, *_GENERATED, *_LIBRARIES)):
            return None  # it went through code of the user, which may be what is wrong
    return kind


# -- what to say ---------------------------------------------------------------------------------------
def explained(
    error: Exception, name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Exception | None:
    """What the call ``name(*args, **kwargs)`` of ``fn`` raises for ``error``; None where that says what was wrong."""
    kind = meaning(error)
    if kind is None and str(error).startswith(f"{name}: argument"):
        return None
    signature = _signature(fn)
    if kind is None and not _blames_another(error):
        return _array_for_tensor(name, signature, args)
    if signature is None:
        return _together(kind, error, name, dict(enumerate(args)) | dict(kwargs))
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as wrong:
        return TypeError(f"{name}: {wrong}; its arguments are {_listed(signature)}")
    return first_wrong(name, signature, bound) or _together(kind, error, name, bound.arguments)


def explained_op(
    error: Exception, op: Op, name: str, operands: Sequence[Any], params: Mapping[str, Any],
    kw: Mapping[str, Any] | None,
) -> Exception | None:  # fmt: skip
    """The same for an op, whose schema says what it takes."""
    kind = meaning(error)
    if kind is None:
        return None
    public = {p.name: p.public for p in op.schema.params}
    given = {a.public: v for a, v in zip(op.schema.operands, operands, strict=True)}
    given |= {public[n]: v for n, v in params.items()} | dict(kw or {})
    for argument, value in given.items():
        declared = op.schema.argument(argument)
        wanted = Any if declared is None else _TYPES.get(declared.type, Any)
        if name.endswith("_") and declared is op.schema.operands[0]:
            wanted = Tensor  # it is written to
        if not fits(value, wanted):
            return wrong_argument(name, argument, value, Tensor if wanted is _TYPES["Tensor"] else wanted)
    return _together(kind, error, name, given)


def _blames_another(error: Exception) -> bool:
    """Whether a TypeError of flambeau is about an inner function's argument, which may be one of the caller's."""
    return (
        isinstance(error, TypeError)
        and ": argument '" in str(error)
        and all(_is_ours(frame.f_code.co_filename) for frame, _ in _frames(error))
    )


@functools.lru_cache(256)
def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of ``fn`` with its annotations read; one that cannot be read here says nothing."""
    try:
        found = inspect.signature(fn)
    except (TypeError, ValueError):
        return None
    scope = getattr(inspect.unwrap(fn), "__globals__", {})
    return found.replace(parameters=[p.replace(annotation=_read(p, scope)) for p in found.parameters.values()])


def _read(p: inspect.Parameter, scope: dict[str, Any]) -> Any:
    if not isinstance(p.annotation, str):
        return Any if p.annotation is p.empty else p.annotation
    try:
        return eval(p.annotation, scope)
    except Exception:  # a name for type checkers alone
        return Any


def _listed(signature: inspect.Signature) -> str:
    given = (p for p in signature.parameters.values() if p.name != "self")  # the caller gives none by that name
    return ", ".join(str(p.replace(annotation=p.empty)) for p in given) or "none"


def _array_for_tensor(name: str, signature: inspect.Signature | None, args: Sequence[Any]) -> TypeError | None:
    """The error for an array of numpy in the place of a tensor, which may have failed in any way."""
    for p, value in zip(signature.parameters.values() if signature else (), args, strict=False):
        if isinstance(value, np.ndarray) and (p.annotation is Tensor or Tensor in get_args(p.annotation)):
            return not_a_tensor(name, p.name, value, in_words(p.annotation))
    return None


def first_wrong(name: str, signature: inspect.Signature, bound: inspect.BoundArguments) -> Exception | None:
    """The error for the first argument that is not what its annotation says."""
    for argument, value in bound.arguments.items():
        p = signature.parameters[argument]
        if p.default is not p.empty and value is p.default:
            continue
        values = value if p.kind is p.VAR_POSITIONAL else value.values() if p.kind is p.VAR_KEYWORD else (value,)
        for v in values:
            if not fits(v, p.annotation):
                return wrong_argument(name, argument, v, p.annotation)
    return None


def wrong_argument(name: str, argument: str, value: Any, wanted: Any) -> Exception:
    """TypeError for one argument of another type, ValueError for a word that is none of those to choose from."""
    if wanted is Tensor or Tensor in get_args(wanted) and isinstance(value, (np.ndarray, list, tuple)):
        return not_a_tensor(name, argument, value, in_words(wanted))
    kind = ValueError if isinstance(value, str) and get_origin(wanted) is Literal else TypeError
    return kind(f"{name}: argument {argument!r} must be {in_words(wanted)}, got {shown(value)}")


def _together(
    kind: type[Exception] | None, error: Exception, name: str, arguments: Mapping[Any, Any]
) -> Exception | None:
    """The error where each argument is one that the function takes, and yet it failed inside; it keeps the cause."""
    if kind is None:
        return None
    given = ", ".join(f"{k}={shown(v)}" for k, v in arguments.items() if k != "self" and v is not REQUIRED) or "none"
    words = "out of memory" if kind is OutOfMemoryError else "it cannot work with these arguments"
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)  # as numpy's MemoryError has them
    if shape is not None and dtype is not None:
        words += f": shape {tuple(shape)} of {dtype} takes {math.prod(shape) * dtype.itemsize} bytes"
    made = kind(f"{name}: {words}; given {given}")
    made.__cause__ = error
    return made


def shown(value: Any) -> str:
    """A value for an error's text: tensors by dtype and shape, others by themselves, short, and their type."""
    if isinstance(value, Tensor):
        return f"a tensor of {value._key.dtype.name} and shape {tuple(value._array.shape)}"
    if isinstance(value, np.ndarray):
        return f"an ndarray of {value.dtype} and shape {value.shape}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if type(value) in (list, tuple) and any(isinstance(v, (Tensor, np.ndarray)) for v in value):
        return f"a {type(value).__name__} of {', '.join(map(shown, value[:4]))}{', ...' if len(value) > 4 else ''}"
    try:
        text = repr(value)
    except Exception:  # an object that cannot be printed
        text = "an object"
    kind = "" if value is None else f" ({type(value).__name__})"
    return f"{text if len(text) <= 80 else text[:77] + '...'}{kind}"


#: What a schema's types stand for.
_TYPES: Final[dict[str, Any]] = {
    "Tensor": Tensor | complex, "Tensor?": Tensor | complex | None, "Tensor[]": Sequence[Tensor], "Scalar": complex,
    "Axes": int | Sequence[int] | None, "Axis": int | None, "Ints": int | Sequence[int] | None, "int": int,
    "int?": int | None, "float": float, "float?": float | None, "bool": bool, "str": str, "DType": DTypeLike,
    "DType?": DTypeLike | None, "Device": DeviceLike,
}  # fmt: skip


def users_level() -> int:
    """The ``stacklevel`` at which a warning of the calling function is about the line of the user's code."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level


# -- where it is said ------------------------------------------------------------------------------------
class Options:
    """What a function's options may be; they are looked at after a call that gave some.

    After it, because what the function looks at itself, it has better words for. Options are flags, numbers and words,
    but no dimensions, which every function looks at; ``thorough``, all arguments whose annotation says something.
    """

    __slots__ = ("by_name", "first", "name", "places", "rest", "strict")

    def __init__(self, name: str, fn: Callable[..., Any], thorough: bool = False):
        signature = _signature(fn)
        self.name, self.strict = name, not thorough
        self.by_name: dict[str, Option] = {}
        self.places: list[Option | None] = []
        self.rest: Option | None = None
        for p in signature.parameters.values() if signature else ():
            kinds, plain = _plain_kinds(p.annotation)
            wanted = thorough and p.annotation is not Any or plain and not p.name.startswith(("dim", "axis"))
            option = (p.name, kinds, p.annotation) if wanted else None
            if option and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                self.by_name[p.name] = option
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                self.places.append(option)
            elif p.kind is p.VAR_POSITIONAL:
                self.rest = option
        indices = [i for i, option in enumerate([*self.places, self.rest]) if option]
        self.first = indices[0] if indices else 1 << 30

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """TypeError (ValueError for a word) names the first option that is not what it may be."""
        places = self.places
        for i in range(self.first, len(args)):
            option = places[i] if i < len(places) else self.rest
            if option is not None and args[i].__class__ not in option[1]:
                self._look(option, args[i])
        for argument, value in kwargs.items():
            option = self.by_name.get(argument)
            if option is not None and value.__class__ not in option[1]:
                self._look(option, value)

    def _look(self, option: Option, value: Any) -> None:
        argument, kinds, wanted = option
        if self.strict and isinstance(value, int) and int not in kinds or not fits(value, wanted):
            raise wrong_argument(self.name, argument, value, wanted)


#: Its name, the classes of the values that need no second look, and its annotation.
Option: TypeAlias = tuple[str, frozenset[type], Any]

#: What an option can be, and the classes of the values that need no second look.
_PLAIN: Final[dict[Any, tuple[type, ...]]] = {
    bool: (bool, np.bool_), int: (int, bool), float: (float, int, bool), str: (str,), None: (type(None),),
    type(None): (type(None),), MemoryFormat: (MemoryFormat,), Layout: (Layout,),
}  # fmt: skip


def _plain_kinds(wanted: Any) -> tuple[frozenset[type], bool]:
    """The classes that an annotation's plain members stand for, and whether there are no others."""
    members = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    plain = [m for m in members if isinstance(m, (type, NoneType)) and m in _PLAIN]
    return frozenset(kind for m in plain for kind in _PLAIN[m]), len(plain) == len(members)


def explaining(
    name: str, fn: F, rename: Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], Any]] | None = None,
    thorough: bool = False, overridable: bool | Literal["modes"] = True,
) -> F:  # fmt: skip
    """``fn``, whose errors say what was wrong with its arguments, and whose options are what they should be.

    ``rename(args, kwargs)`` puts the arguments that came by name under ``fn``'s own names, in place; it gives the
    positional ones, and the tensor to write the result to. ``thorough``: not options alone are looked at.
    ``overridable``: it asks the classes among its arguments, and modes, or these alone, whether they answer for it.

    >>> fb.bincount(fb.arange(3), minlength="a")
    Traceback (most recent call last):
    TypeError: bincount: argument 'minlength' must be an int, got 'a' (str)
    >>> fb.unique([1.0])
    Traceback (most recent call last):
    TypeError: unique: argument 'input' must be a tensor, got list; flambeau.tensor(x) makes a tensor of it
    """
    options: Options | None = None

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal options
        if ARMED and overridable:
            given = kwargs if made.told is made else {k: v for k, v in kwargs.items() if v is not None}
            answer = intercept(made.told, args, given, overridable is True)
            if answer is not NOTHING:
                return answer
        try:
            if options is None:
                options = Options(name, fn, thorough)
            if kwargs:
                args, out = rename(args, kwargs) if rename else (args, None)
                if out is not None:
                    found = uncast(fn, *args, **kwargs)
                    options.check(args, kwargs)
                    return deliver(name, found, out)
                found = fn(*args, **kwargs)
                options.check(args, kwargs)
                return found
            found = fn(*args)
            if len(args) > options.first:
                options.check(args, kwargs)
            return found
        except Exception as error:
            if overridable is True and met(error, args, kwargs, explaining_code):
                return call(*args, **kwargs)
            if clear := explained(error, name, fn, args, kwargs):
                raise clear from clear.__cause__
            raise

    made: Any = call
    made.guarded, made.told = True, made
    return made  # type: ignore[no-any-return]


#: The code of the functions that :func:`explaining` makes.
explaining_code: Final = explaining("", lambda: None).__code__


def checking(name: str, fn: F) -> F:
    """:func:`explaining`, thorough: for functions that take more time than the look at all of their arguments."""
    return explaining(name, fn, thorough=True, overridable=False)


def constructor(name: str, fn: F) -> F:
    """:func:`explaining`, for functions that make new tensors of what they get: only modes override them."""
    return explaining(name, fn, overridable="modes")


def plain(name: str, fn: F) -> F:
    """:func:`explaining`, for functions that nothing overrides."""
    return explaining(name, fn, overridable=False)


def explain_functions(scope: dict[str, Any], names: str = "", wrap: Callable[[str, F], F] = explaining) -> None:
    """Put :func:`explaining` around functions of the module of globals ``scope``: its public ones, or ``names``."""
    chosen = names.split()
    for name, fn in list(scope.items()):
        own = inspect.isfunction(fn) and fn.__module__ == scope["__name__"]
        if own and (name in chosen if chosen else not name.startswith("_")):
            scope[name] = wrap(name, fn)


def explain_imported(scope: dict[str, Any]) -> None:
    """Put :func:`explaining` around the functions in ``__all__`` of a module that come from elsewhere.

    Those that explain their errors themselves are left as they are; the others are pickled by their name here.
    """
    for name in scope["__all__"]:
        fn = scope[name]
        if hasattr(fn, "guarded") and not hasattr(fn, "told"):
            make_overridable(fn)
        if inspect.isfunction(fn) and not hasattr(fn, "op") and not hasattr(fn, "guarded"):
            made = scope[name] = explaining(name, fn)
            made.__module__, made.__qualname__ = scope["__name__"], name


def explain_methods(*classes: type) -> None:
    """Put :func:`explaining` around the public methods that the classes define."""
    for cls in classes:
        for name, fn in list(vars(cls).items()):
            own = inspect.isfunction(fn) and fn.__qualname__ == f"{cls.__qualname__}.{name}"
            if own and not name.startswith("_") and name != "forward":
                setattr(cls, name, plain(f"{cls.__name__}.{name}", fn))


def check_constructors(*classes: type) -> None:
    """Have the constructors of the classes look at the types of their arguments, and explain what else fails."""
    for cls in classes:
        fn = getattr(cls, "__init__")  # noqa: B009 - to mypy the attribute itself is unsound
        if inspect.isfunction(fn) and not hasattr(fn, "guarded"):
            setattr(cls, "__init__", checking(cls.__name__, fn))  # noqa: B010
