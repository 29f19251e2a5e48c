"""``__torch_function__``: classes, and modes, that take over the calls of public functions.

Ordinary tensors pay nothing. An instance of a class that overrides has a key without kernels
(:class:`~flambeau.core.keys.Guarded`), so that every fast path gives up and asks here; its methods and properties
are those of :class:`Overridden`, a class between it and Tensor. Functions written in Python ask once somebody could
answer: from the first such class, foreign object or mode on (:func:`arm`).

The protocol: https://docs.pytorch.org/docs/stable/notes/extending.html#extending-torch-python-api
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Final, Self, TypeVar

from flambeau.core.keys import Guarded, Key
from flambeau.core.state import current, get, put
from flambeau.core.tensor import Tensor, TensorType, new_of

F = TypeVar("F", bound=Callable[..., Any])
Function = Callable[..., Any]

NOTHING: Final = object()  # nobody overrides the call
#: What is watched for: "classes", then "modes" too. Empty: functions need not ask.
ARMED: Final[list[str]] = []
_PLAIN: Final = frozenset({Tensor, int, float, bool, str, complex, type(None), type, slice, type(...)})


# -- who overrides -----------------------------------------------------------------------------------
def disabled_torch_function(func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The ``__torch_function__`` of classes that take part in no override, as Parameter's."""
    with DisableTorchFunctionSubclass():
        return func(*args, **(kwargs or {}))


def overrides(kind: type) -> bool:
    """Whether the instances of a class answer for themselves."""
    found = getattr(kind, "__torch_function__", None)
    return found is not None and found is not disabled_torch_function and kind is not Tensor and kind is not type


def overloaded(values: Iterable[Any]) -> list[Any]:  # Any: arguments of any kind
    """Those of the arguments that override, one of each class: subclasses first, then as they stand."""
    found: list[Any] = []
    for value in values:
        kind = value.__class__
        if kind in _PLAIN:
            continue
        if kind is list or kind is tuple:
            for inner in value:
                if inner.__class__ not in _PLAIN and overrides(type(inner)):
                    _enter(found, inner)
        elif overrides(type(value)):
            _enter(found, value)
    return found


def _enter(found: list[Any], value: Any) -> None:
    kind = type(value)
    if any(type(v) is kind for v in found):
        return
    place = next((i for i, v in enumerate(found) if issubclass(kind, type(v))), len(found))
    found.insert(place, value)


def is_tensor_like(inp: object) -> bool:
    """Whether an object is a tensor, or of a class with a ``__torch_function__``.

    >>> fb.overrides.is_tensor_like(fb.ones(1)), fb.overrides.is_tensor_like([1.0])
    (True, False)
    """
    return isinstance(inp, Tensor) or hasattr(type(inp), "__torch_function__")


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether a mode is on, or one of the arguments overrides.

    >>> fb.overrides.has_torch_function((fb.ones(2), 1))
    False
    """
    state = current()
    if state.modes and state.overriding < 2:
        return True
    return not state.overriding and any(v.__class__ not in _PLAIN and overrides(type(v)) for v in relevant_args)


def has_torch_function_unary(relevant_arg: object) -> bool:
    """:func:`has_torch_function` of one argument.

    >>> fb.overrides.has_torch_function_unary(fb.ones(2))
    False
    """
    return has_torch_function((relevant_arg,))


def has_torch_function_variadic(*relevant_args: object) -> bool:
    """:func:`has_torch_function` of arguments by position.

    >>> fb.overrides.has_torch_function_variadic(fb.ones(2), 3)
    False
    """
    return has_torch_function(relevant_args)


# -- the call ----------------------------------------------------------------------------------------
def handle_torch_function(public_api: Function, relevant_args: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
    """Let the innermost mode, then the classes among ``relevant_args``, answer ``public_api(*args, **kwargs)``.

    TypeError where all of them return NotImplemented.

    >>> class Named:
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         return func.__name__
    >>> fb.overrides.handle_torch_function(fb.add, (Named(),), Named(), 1)
    'add'
    """
    state = current()
    return _handle(public_api, overloaded(relevant_args) if not state.overriding else [], args, kwargs)


def _handle(func: Function, found: Sequence[Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    types = tuple(type(v) for v in found)
    state = current()
    if state.modes and state.overriding < 2:
        mode = state.modes[-1]
        with _without_innermost():
            result = mode.__torch_function__(func, types, tuple(args), kwargs)
        if result is not NotImplemented:
            return result
    for value in found:
        result = value.__torch_function__(func, types, tuple(args), kwargs)
        if result is not NotImplemented:
            return result
    name = resolve_name(func) or getattr(func, "__name__", str(func))
    text = f"no implementation found for {name!r} on types that implement __torch_function__: {list(types)}"
    if state.modes:
        text += f" nor in mode {state.modes[-1]}"
    raise TypeError(text)


def intercept(func: Function, args: Sequence[Any], kwargs: Mapping[str, Any], classes: bool = True) -> Any:
    """What those who override answer for the call of a public function; ``NOTHING`` where nobody does.

    Without ``classes`` only modes are asked.
    """
    state = get() or current()
    if state.overriding == 2:
        return NOTHING
    if state.skips:
        put(current().replace(skips=False))
        return NOTHING
    found = [] if state.overriding or not classes else overloaded((*args, *kwargs.values()) if kwargs else args)
    if found or state.modes:
        return _handle(func, found, args, dict(kwargs))
    return NOTHING


def resolve_name(f: Function) -> str | None:
    """The public name of an overridable function; None for what has none.

    >>> fb.overrides.resolve_name(fb.add), fb.overrides.resolve_name(fb.Tensor.shape.__get__)
    ('flambeau.add', 'flambeau.Tensor.shape.__get__')
    """
    owner = getattr(f, "__self__", None)
    if isinstance(owner, property):
        name = next((n for n, v in vars(Tensor).items() if v is owner), None)
        return None if name is None else f"flambeau.Tensor.{name}.{f.__name__}"
    name = getattr(f, "__qualname__", None)
    if name is None or "<" in name:
        return None
    home = f.__module__ or ""
    return f"flambeau.{name}" if home.startswith("flambeau.core") else f"{home}.{name}"


def redispatch_function(func: Function, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Any:
    """Call ``func`` itself, from inside a ``__torch_function__``: what it calls in turn is overridden as ever.

    >>> fb.overrides.redispatch_function(fb.add, (), (fb.ones(1), 1), None)
    tensor([2.])
    """
    if not ARMED:
        return func(*args, **(kwargs or {}))
    before = current()
    put(before.replace(skips=True))
    try:
        return func(*args, **(kwargs or {}))
    finally:
        put(current().replace(skips=before.skips))


@contextmanager
def enable_reentrant_dispatch() -> Iterator[None]:
    """Inside, functions are overridden again, whatever was switched off around.

    >>> with fb.overrides.enable_reentrant_dispatch():
    ...     fb.ones(1)
    tensor([1.])
    """
    with _Disable(0):
        yield


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[[F], F]:
    """Make a function of your own overridable: ``dispatcher``, called with its arguments, names the relevant ones.

    >>> @fb.overrides.wrap_torch_function(lambda a: (a,))
    ... def double(a):
    ...     return a + a
    >>> double(fb.ones(1))
    tensor([2.])
    """

    def decorate(fn: F) -> F:
        from functools import wraps  # at first need: few programs do

        @wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(call, relevant, *args, **kwargs)
            return fn(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


# -- on and off --------------------------------------------------------------------------------------
class _Switch:
    """A context manager that changes what is overridden, and changes nothing else back."""

    def __enter__(self) -> Self:
        before = current()
        self._saved = (*getattr(self, "_saved", ()), (before, after := self._changed(before)))
        put(after)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        *rest, (before, after) = self._saved
        self._saved = tuple(rest)
        now = current()
        same = now is after
        put(before if same else now.replace(modes=before.modes, overriding=before.overriding))

    def _changed(self, state: Any) -> Any:
        raise NotImplementedError


class _Disable(_Switch):
    def __init__(self, overriding: int):
        self._overriding = overriding

    def _changed(self, state: Any) -> Any:
        return state if state.overriding == self._overriding else state.replace(overriding=self._overriding)


class DisableTorchFunctionSubclass(_Disable):
    """Classes override nothing inside; modes do. ``super().__torch_function__`` runs the function so.

    >>> with fb.overrides.DisableTorchFunctionSubclass():
    ...     fb.ones(1)
    tensor([1.])
    """

    def __init__(self) -> None:
        super().__init__(1)

    def _changed(self, state: Any) -> Any:
        return state if state.overriding else super()._changed(state)


class DisableTorchFunction(_Disable):
    """Neither classes nor modes override anything inside.

    >>> with fb.overrides.DisableTorchFunction():
    ...     fb.ones(1)
    tensor([1.])
    """

    def __init__(self) -> None:
        super().__init__(2)


class _without_innermost(_Switch):
    def _changed(self, state: Any) -> Any:
        return state.replace(modes=state.modes[:-1])


class TorchFunctionMode(_Switch):
    """A mode: inside ``with``, its ``__torch_function__`` gets every call of a public function.

    It runs with itself off; modes nest, the innermost is asked first.

    >>> class Tell(fb.overrides.TorchFunctionMode):
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         print(func.__name__)
    ...         return func(*args, **(kwargs or {}))
    >>> with Tell():
    ...     x = fb.ones(2) + 1
    ones
    add
    """

    inner: TorchFunctionMode

    def __init__(self) -> None:
        pass

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __torch_function__")

    def _changed(self, state: Any) -> Any:
        arm("modes")
        return state.replace(modes=(*state.modes, self))

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> TorchFunctionMode:
        """The old word for making one."""
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing.

    >>> with fb.overrides.BaseTorchFunctionMode():
    ...     fb.ones(1)
    tensor([1.])
    """

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def mode_stack() -> list[TorchFunctionMode]:
    """The modes that are on, the innermost last."""
    return list(current().modes)


# -- tensors of a subclass ---------------------------------------------------------------------------
_raw_key: Any = Tensor.__dict__["_key"]


class Overridden(Tensor):
    """What stands between Tensor and the classes that override: methods and properties that ask first."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # Any: what Tensor takes, and an instance
        return new_of(cls, *args, **kwargs)

    @property
    def _key(self) -> Key:
        key: Key = _raw_key.__get__(self)
        state = get()
        return Guarded.of(key) if state is None or not state.overriding else key

    @_key.setter
    def _key(self, key: Key) -> None:
        if not ARMED:  # the first instance there is
            arm("classes")
        _raw_key.__set__(self, key.real if key.__class__ is Guarded else key)


def torch_function(cls: type, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Compute as for plain tensors; results that are tensors are made of the class again."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
        return result if func in nowrap_functions() else _converted(result, cls)


def nowrap_functions() -> set[Function]:
    """The functions whose results are tensors that exist already."""
    return {vars(Tensor)["_base"].__get__, vars(Tensor)["grad"].__get__}


def _converted(value: Any, cls: type) -> Any:
    if cls is Tensor:
        return value
    if isinstance(value, Tensor):
        return value if isinstance(value, cls) else value.as_subclass(cls)
    if isinstance(value, (tuple, list)) and any(isinstance(v, (Tensor, tuple, list)) for v in value):
        made = [_converted(v, cls) for v in value]
        return type(value)._make(made) if hasattr(value, "_make") else type(value)(made)
    return value


#: What is called whether or not a class overrides: how objects are made, what classes know of themselves.
_NAMES: Final = (
    "__new__ __init__ __init_subclass__ __class_getitem__ __hash__ __iter__ __setattr__ __getattribute__ __dir__ "
    "__torch_function__ __getstate__ __setstate__ as_subclass new_tensor _make_subclass _make_wrapper_subclass "
    "_same_kind _host _key _is_parameter layout_ __torch_dispatch__ __sizeof__ __reduce__ __subclasshook__"
)
NOT_ASKED: Final = frozenset(_NAMES.split())
#: Operators and the method that classes are told of in their place.
_TOLD: Final = {
    "__add__": "add", "__radd__": "add", "__sub__": "sub", "__mul__": "mul", "__rmul__": "mul", "__truediv__": "div",
    "__mod__": "remainder", "__neg__": "neg", "__abs__": "abs", "__lt__": "lt", "__le__": "le", "__gt__": "gt",
    "__ge__": "ge", "__ne__": "ne", "__matmul__": "matmul", "__iadd__": "add_", "__isub__": "sub_",
    "__imul__": "mul_", "__itruediv__": "div_",
}  # fmt: skip


def _asking(fn: Function, told: Function) -> Function:
    """A method that lets the class answer first."""

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        state = get() or current()
        if state.overriding or state.skips:
            found = intercept(told, (self, *args), kwargs) if state.modes or state.skips else NOTHING
            return fn(self, *args, **kwargs) if found is NOTHING else found
        found = overloaded((self, *args, *kwargs.values()))
        return _handle(told, found, (self, *args), kwargs)

    call.__name__ = call.__qualname__ = getattr(fn, "__name__", "call")
    call.__doc__ = fn.__doc__
    call.__wrapped__ = fn  # type: ignore[attr-defined]  # its signature
    return call


def _fill_overridden() -> None:
    """Give :class:`Overridden` the methods and properties of Tensor, each asking first."""
    for name, value in list(vars(Tensor).items()):
        if name in NOT_ASKED:
            continue
        if isinstance(value, property):
            getter = _asking(value.fget, value.__get__) if value.fget else None
            setter = _asking(value.fset, value.__set__) if value.fset else None
            deleter = _asking(value.fdel, value.__delete__) if value.fdel else None
            setattr(Overridden, name, property(getter, setter, deleter, value.__doc__))
        elif isinstance(value, FunctionType):
            told = vars(Tensor).get(_TOLD.get(name, name), value)
            setattr(Overridden, name, _asking(value, told))
    slot = vars(Tensor)["_grad"]
    grad = property(_asking(lambda t: slot.__get__(t), slot.__get__), lambda t, v: slot.__set__(t, v))
    Overridden._grad = grad  # type: ignore[assignment]


def order(cls: type, classes: list[type]) -> list[type]:
    """The method resolution order of a class of tensors: with :class:`Overridden`, unless it opts out."""
    if Overridden in classes or Tensor not in classes:
        return classes
    found = next((vars(c)["__torch_function__"] for c in classes if "__torch_function__" in vars(c)), None)
    if getattr(found, "__func__", found) is disabled_torch_function:
        return classes
    place = classes.index(Tensor)
    return [*classes[:place], Overridden, *classes[place:]]


# -- functions that ask ------------------------------------------------------------------------------
_waiting: Final[dict[str, list[tuple[FunctionType, Function]]]] = {"classes": [], "modes": []}


def arm(what: str) -> None:
    """From now on functions ask: for classes, or for modes (and then for classes too)."""
    for kind in ("classes", "modes") if what == "modes" else ("classes",):
        if kind not in ARMED:
            ARMED.append(kind)
            if kind == "classes":
                _fill_overridden()
            for fn, told in _waiting[kind]:
                _exchange(fn, told)
            _waiting[kind].clear()


def make_overridable(fn: F, told: Function | None = None, by: str = "classes") -> F:
    """Have a public function in Python ask those who override, once there can be any; its identity stays."""
    if isinstance(fn, FunctionType) and not hasattr(fn, "asks"):
        fn.asks = True  # type: ignore[attr-defined]
        if by in ARMED:
            _exchange(fn, told or fn)
        else:
            _waiting[by].append((fn, told or fn))
    return fn


def _exchange(fn: FunctionType, told: Function) -> None:
    """Put code into a function that asks, and then calls what the function was."""

    def asking(body: Function) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        def ask(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            found = intercept(told, args, kwargs)
            return body(*args, **kwargs) if found is NOTHING else found

        return ask

    exchange_code(fn, asking)


def exchange_code(
    fn: FunctionType, asking: Callable[[Function], Callable[[tuple[Any, ...], dict[str, Any]], Any]]
) -> None:
    """Put other code into a function: ``asking`` gets what it was, and gives what is called with args and kwargs."""
    import inspect  # at first need: few programs do

    body = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    body.__kwdefaults__, body.__qualname__ = fn.__kwdefaults__, fn.__qualname__
    ask = asking(body)
    if not hasattr(fn, "__wrapped__") and not hasattr(fn, "__signature__"):
        fn.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]
    names = fn.__code__.co_freevars  # the new code must have as many
    text = f"""def outer({", ".join(names)}):
        def inner(*args, **kwargs):
            ask = "ask"; {"; ".join(names)}
            return ask(args, kwargs)"""
    scope: dict[str, Any] = {}
    exec(compile(text, fn.__code__.co_filename, "exec"), scope)
    inner = next(c for c in scope["outer"].__code__.co_consts if isinstance(c, CodeType))
    consts: Any = tuple(ask if c == "ask" else c for c in inner.co_consts)
    fn.__code__ = inner.replace(co_consts=consts, co_name=fn.__name__)
    fn.__defaults__ = fn.__kwdefaults__ = None


# -- foreign objects ---------------------------------------------------------------------------------
class Again(Exception):
    """A foreign object was met for the first time, inside of a function that must be asked as a whole."""


def met(error: Exception, args: Sequence[Any], kwargs: Mapping[str, Any], asking: CodeType | None) -> bool:
    """Whether a call failed since nobody knew yet that objects can override: then it is to be made once more.

    ``asking`` is the code of the functions that make such calls again; the outermost is to do it.
    """
    if not isinstance(error, Again):
        if "classes" in ARMED or not overloaded((*args, *kwargs.values())):
            return False
        arm("classes")
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("flambeau"):
        frame = frame.f_back
        if frame is not None and frame.f_code is asking:
            raise Again
    return True


Tensor.__torch_function__ = classmethod(torch_function)  # type: ignore[attr-defined]
TensorType.order = staticmethod(order)
