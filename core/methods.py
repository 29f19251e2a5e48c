"""Puts the records and the public functions on Tensor, and lists the public names.

torch takes ``axis`` wherever it takes ``dim``, and several functions take a list of sizes by position or by
name. A function that understands these itself is left alone; the others get a thin wrapper, which costs a
call without keywords about 0.05 microseconds.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final, TypeVar

from flambeau.core import (  # noqa: F401  # their public functions
    copying,
    creation,
    exchange,
    fastpath,
    flags,
    from_data,
    ops,
    printing,
    quantized,
    sharing,
    storage_methods,
    subclasses,
    typed,
)
from flambeau.core.autograd import api  # noqa: F401
from flambeau.core.autograd.inplace import readable
from flambeau.core.blame import explained, explaining, plain
from flambeau.core.dtype import can_cast
from flambeau.core.errors import DTypeError
from flambeau.core.overrides import NOT_ASKED, make_overridable
from flambeau.core.public import FACES, Face
from flambeau.core.record import CREATE, OPS, Op
from flambeau.core.sparse import methods as sparse_methods  # noqa: F401  # their public functions
from flambeau.core.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
#: torch's name of an argument -> the array API's, which numpy users type.
_AXES: Final = {"dim": "axis", "keepdim": "keepdims"}
#: Arguments by position of any number that torch also takes as one sequence by name.
_SEQUENCES: Final = frozenset({"dims", "repeats", "size"})
#: What `from flambeau import *` would give of ops: name -> function.
FUNCTIONS: dict[str, Callable[..., Any]] = {}


def modules() -> list[ModuleType]:
    """The modules of ops, in processing order."""
    return [m for m in vars(ops).values() if isinstance(m, ModuleType) and m.__name__.startswith(ops.__name__)]


def install() -> None:
    """Called once, when flambeau is imported."""
    for record in OPS.values():
        _install_record(record)
    for face in FACES:
        for name in face.names:
            function, method = _forms(face, name)
            if face.as_function:
                FUNCTIONS[name] = function
            if face.as_method:
                setattr(Tensor, name, property(method, face.setter) if face.as_property else method)
            if face.inplace:
                written = _in_place(name, face.function)
                setattr(Tensor, f"{name}_", written)
                if face.inplace == "function":
                    FUNCTIONS[f"{name}_"] = written
    for old in ("__div__", "__rdiv__", "__idiv__"):  # Python 2's, which torch has kept
        setattr(Tensor, old, getattr(Tensor, old.replace("div", "truediv")))
    _name_all()
    give_homes("flambeau", FUNCTIONS)
    give_homes(Tensor.__module__, vars(Tensor), "Tensor.")
    _have_asked()
    Tensor.__hash__ = object.__hash__  # type: ignore[assignment,method-assign]  # which __eq__ took away


def _name_all() -> None:
    """Have every function bear the name that it is found by: one of several names gets a function of its own."""
    twins: dict[tuple[int, str], FunctionType] = {}
    for functions in (FUNCTIONS, dict(vars(Tensor))):
        for name, fn in functions.items():
            if not isinstance(fn, FunctionType) or fn.__name__ == name or name.startswith("_"):
                continue
            bears = fn.__name__
            if functions.get(bears) is fn or FUNCTIONS.get(bears) is fn:
                if fn.__code__ is fastpath.PLACEHOLDER:  # it would go on compiling itself at every call
                    continue
                twin = twins.get((id(fn), name))
                if twin is None:
                    twin = twins[id(fn), name] = _twin(fn, name)
                fn = twin
            elif bears in functions and not hasattr(fn, "op"):
                fn.canonical = bears  # type: ignore[attr-defined]  # those who answer by name know it by this one
            fn.__name__ = name
            if functions is FUNCTIONS:
                FUNCTIONS[name] = fn
            else:
                setattr(Tensor, name, fn)


def named(name: str, fn: F) -> F:
    """A function under another name, which it bears: of a record or of any body.

    >>> named("same", fb.exp).__name__, fb.exp.__name__
    ('same', 'exp')
    """
    found: Any = fn
    op = getattr(fn, "op", None)
    if op is not None:
        found = fastpath.named_function(op, name)
    elif isinstance(fn, FunctionType) and fn.__code__ is not fastpath.PLACEHOLDER:
        found = _twin(fn, name)
    made: F = found
    return made


def _twin(fn: FunctionType, name: str) -> FunctionType:
    """The same function as another object, under another name."""
    made = FunctionType(fn.__code__, fn.__globals__, name, fn.__defaults__, fn.__closure__)
    made.__kwdefaults__, made.__annotations__, made.__doc__ = fn.__kwdefaults__, fn.__annotations__, fn.__doc__
    made.__dict__.update(fn.__dict__, canonical=fn.__name__)
    made.__module__, made.__qualname__ = fn.__module__, name
    return made


def _have_asked() -> None:
    """Have the functions in Python that do not ask those who override do so, from when there are any."""
    for fn in FUNCTIONS.values():
        if not hasattr(fn, "told") and not hasattr(fn, "op"):
            make_overridable(fn)
    for name, value in vars(Tensor).items():
        if name in NOT_ASKED:
            continue
        if isinstance(value, property):
            for accessor, told in ((value.fget, value.__get__), (value.fset, value.__set__)):
                if accessor is not None and not hasattr(accessor, "told") and not hasattr(accessor, "op"):
                    make_overridable(accessor, told, by="modes")
        elif not hasattr(value, "told") and not hasattr(value, "op"):
            make_overridable(value, by="modes")


def _install_record(record: Op) -> None:
    """A record's function, method, in-place form and operators."""
    written = fastpath.inplace_function(record) if record.inplace else None
    first = record.name if record.name in record.public else next(iter(record.public), record.name)
    for name in record.public:
        is_first = name == first
        FUNCTIONS[name] = function = record.function if is_first else fastpath.named_function(record, name)
        if record.family is not CREATE:
            setattr(Tensor, name, function)
        if written is not None:
            changed = written if is_first else fastpath.inplace_function(record, f"{name}_")
            setattr(Tensor, f"{name}_", changed)
            if record.inplace == "function":
                FUNCTIONS[f"{name}_"] = changed
    if not (stem := record.operator):
        return
    if len(record.schema.operands) == 1:
        setattr(Tensor, f"__{stem}__", record.function)
        return
    setattr(Tensor, f"__{stem}__", fastpath.method(record, f"__{stem}__"))
    if record.dtype.results != ("bool",):  # Python turns comparisons round itself
        setattr(Tensor, f"__r{stem}__", fastpath.method(record, f"__r{stem}__", reflected=True))
        setattr(Tensor, f"__i{stem}__", fastpath.inplace_operator(record))


def _forms(face: Face, name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function and the method as users call them: with ``out`` and more names of arguments where it needs
    them; a function that needs none still has a word on arguments that are no tensors."""
    fn = face.function
    if not isinstance(fn, FunctionType) or hasattr(fn, "op"):
        return fn, fn
    aliases, rest = _aliases(fn, face.more)
    if aliases or face.out:
        wrapped = _wrapped(name, fn, aliases, rest, face.out)
        return wrapped, wrapped
    wrap = plain if name == "is_tensor" else explaining  # that one asks about any object, and no class answers for it
    made = wrap(name, fn) if face.guard and not hasattr(fn, "guarded") else fn
    return made, fn if face.guard == "function" else made


def _in_place(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """The form of ``fn`` that writes its result to its first argument and returns that."""

    @functools.wraps(fn)
    def write(self: Any, *args: Any, **kw: Any) -> Any:
        try:
            found = fn(readable(self, *args, *kw.values()), *args, **kw)
            if not can_cast(found.dtype, self.dtype):
                raise DTypeError(
                    f"{name}_: result type {found.dtype.name} can't be cast to the desired output type "
                    f"{self.dtype.name}"
                )
            return self.copy_(found)
        except Exception as error:
            if clear := explained(error, f"{name}_", fn, (self, *args), kw):
                raise clear from clear.__cause__
            raise

    write.__name__ = write.__qualname__ = f"{name}_"
    write.__doc__ = f"In place: :func:`flambeau.{name}`, written to the tensor, which is returned."
    return write


def _aliases(fn: FunctionType, more: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The names of arguments that ``fn`` does not understand itself, and its argument of any number."""
    code = fn.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    own = code.co_varnames[:count]
    aliases = dict(more)
    if not code.co_flags & inspect.CO_VARKEYWORDS:
        aliases |= {other: given for given, other in _AXES.items() if given in own and other not in own}
    rest = code.co_varnames[count] if code.co_flags & inspect.CO_VARARGS else None
    if rest in _SEQUENCES:
        aliases[rest] = rest
    return aliases, rest


def _wrapped(
    name: str, fn: FunctionType, aliases: Mapping[str, str], rest: str | None, writes: bool
) -> Callable[..., Any]:
    pairs = tuple(aliases.items())

    def renamed(args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
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
        return args, out

    call = explaining(name, fn, renamed)
    extra: Any = call
    extra.more_keywords = dict(aliases) | ({"out": "out"} if writes else {})  # for the stubs
    return call


def give_homes(home: str, functions: Mapping[str, object], owner: str = "") -> None:
    """Let functions be pickled, which is by name: as ``home.name``, unless the name that they bear leads to them.

    >>> import pickle
    >>> pickle.loads(pickle.dumps(fb.sin)) is fb.sin
    True
    """
    for name, fn in functions.items():
        if isinstance(fn, FunctionType) and not _is_found(fn):
            own = fn.__name__ if functions.get(fn.__name__) is fn else name  # one function may have several names
            fn.__module__, fn.__qualname__ = home, owner + own
            if fn.__name__ not in functions:  # a bound method is found by it
                fn.__name__ = own


def _is_found(fn: FunctionType) -> bool:
    """Whether the name that a function bears leads to it."""
    if fn.__module__ == "flambeau":  # whose names are put there after this
        return True
    try:
        return operator.attrgetter(fn.__qualname__)(sys.modules.get(fn.__module__)) is fn
    except AttributeError:
        return False


def taking_out(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` with ``out=``, as a public function gets it: for those of ``flambeau.linalg``."""
    return _wrapped(name, fn, {}, None, True) if isinstance(fn, FunctionType) else fn
