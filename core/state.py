"""What a thread is doing: grad mode, layers and transform levels, as one immutable object.

It lives in a ContextVar whose default is None, so that the first op of each new thread takes the slow
path, which prepares the thread (:func:`current`). The fast paths read ``get()`` and test ``plain``.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, ClassVar, Literal, Self, TypeVar

from flambeau.core import config
from flambeau.core.box import INFERENCE, Box

F = TypeVar("F", bound=Callable[..., Any])


class State:
    """One thread's modes. ``plain`` is True when nothing watches: no layer, level, watcher or saved-value hook."""

    __slots__ = (
        "__weakref__", "anomaly", "autocast", "box", "casts", "grad", "inference", "layers", "levels", "modes",
        "origin", "overriding", "plain", "quiet", "recorder", "saved_hooks", "skips", "twin", "untold", "unwatched",
        "watchers",
    )  # fmt: skip
    grad: bool
    twin: State | None  # the same with the other grad mode, once somebody asked
    origin: weakref.ref[State] | None  # whose twin this is: weakly, or the two would be a cycle
    inference: bool
    box: Box | None  # of the tensors that are made: inference mode's own
    plain: bool
    layers: tuple[Callable[..., Any], ...]  # innermost last
    levels: tuple[Any, ...]  # innermost last; their class stands above
    watchers: tuple[Callable[..., Any], ...]
    recorder: Any  # who is told what happens beside kernels, a watcher too, or None; see flambeau.core.events
    modes: tuple[Any, ...]  # of overriding functions, innermost last; their class stands above
    overriding: int  # who may override functions: 0 classes and modes, 1 modes, 2 nobody
    skips: bool  # whether the next call is not to be overridden
    saved_hooks: tuple[Any, ...]  # innermost last: a pair (pack, unpack), or the text of the error where they are off
    anomaly: bool | Literal["places"]  # "places": remember where ops were called, do not look for nan
    autocast: Any  # what was set of autocast, or None; its class stands above
    casts: Any  # the same where it is on for a type of device, else None: what calls of ops go through
    quiet: State | None  # the same with autocast off, once somebody asked
    unwatched: State | None  # the same without watchers, once somebody asked
    untold: State | None  # the same without its recorder, once somebody asked

    def __init__(self, **values: Any):
        self.grad, self.inference, self.anomaly, self.twin, self.origin = True, False, False, None, None
        self.layers = self.levels = self.watchers = self.saved_hooks = self.modes = ()
        self.overriding, self.skips = 0, False
        self.autocast = self.quiet = self.recorder = self.unwatched = self.untold = None
        for name, value in values.items():
            setattr(self, name, value)
        self.box = INFERENCE if self.inference else None
        self.casts = None if self.autocast is None or not self.autocast.types else self.autocast
        watched: Any = self.layers or self.levels or self.watchers or self.saved_hooks or self.anomaly or self.skips
        watched = watched or self.casts or _slow
        self.plain = not (watched or values.get("modes") and values.get("overriding", 0) < 2)

    def replace(self, **changes: Any) -> State:
        values = {n: getattr(self, n) for n in State.__slots__ if n not in _OWN}
        return State(**(values | changes))


#: What a state has for itself.
_OWN = frozenset({"__weakref__", "box", "casts", "origin", "plain", "quiet", "twin", "untold", "unwatched"})
_slow: bool | None = None  # the setting `debug_slow_path`, which turns every fast path off, once it is read
_state: ContextVar[State | None] = ContextVar("flambeau_state", default=None)
get = _state.get
put = _state.set
prepare_thread: list[Callable[[], None]] = []  # run once in each thread, before its first op
_prepared = threading.local()


def current() -> State:
    """This thread's state; the first call in a thread prepares it."""
    state = get()
    if not getattr(_prepared, "done", False):
        _prepared.done = True  # before, since what prepares may ask for the state
        try:
            for prepare in prepare_thread:
                prepare()
        except BaseException:
            _prepared.done = False
            raise
    if state is None:
        state = _first_state()
        put(state)
    return state


def _first_state() -> State:
    global _slow
    if _slow is None:
        _slow = config.get("debug_slow_path")
    return State()


def use_slow_path(on: bool) -> None:
    """Send every op of this thread through the uniform path (the definition of each op), or back."""
    global _slow
    _slow = on
    put(current().replace())


class _Scope:
    """A context manager and decorator that changes the state inside it; re-entrant, thread-local."""

    def __init__(self, **changes: Any):  # Any: each a field of State
        self._changes = changes
        self._saved: list[State] = []

    def _next(self, state: State) -> State:
        return state.replace(**self._changes)

    def __enter__(self) -> Self:
        before = current()
        self._saved.append(before)
        put(self._next(before))
        return self

    def __exit__(self, *exc: object) -> None:
        put(self._saved.pop())

    def __call__(self, fn: F) -> F:
        if inspect.isgeneratorfunction(fn):
            return self._stepwise(fn)

        @wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self._copy():
                return fn(*args, **kwargs)

        return inside  # type: ignore[return-value]

    def _stepwise(self, fn: F) -> F:
        """A generator function each of whose steps runs inside; what iterates it does not."""

        @wraps(fn)
        def steps(*args: Any, **kwargs: Any) -> Any:
            generator = fn(*args, **kwargs)
            resume: Callable[[], Any] = lambda: next(generator)  # noqa: E731
            while True:
                try:
                    with self._copy():
                        value = resume()
                except StopIteration as stop:
                    return stop.value
                try:
                    sent = yield value
                except GeneratorExit:
                    with self._copy():
                        generator.close()
                    raise
                except BaseException as error:
                    resume = lambda e=error: generator.throw(e)  # type: ignore[misc]  # noqa: E731
                else:
                    resume = lambda s=sent: generator.send(s)  # type: ignore[misc]  # noqa: E731

        return steps  # type: ignore[return-value]

    def _copy(self) -> _Scope:
        return _Scope(**self._changes)


def with_grad(state: State, grad: bool) -> State:
    """``state`` with grad mode ``grad``; inference mode keeps it off."""
    if state.grad is grad or state.inference:
        return state
    twin = state.twin
    if twin is None:
        origin = None if state.origin is None else state.origin()
        if origin is not None:
            return origin
        twin = state.twin = state.replace(grad=grad)
        twin.origin = weakref.ref(state)
    return twin


def without_casts(state: State) -> State:
    """``state`` with autocast off for all types of devices."""
    if state.casts is None:
        return state
    if state.quiet is None:
        state.quiet = state.replace(autocast=state.casts.off())
    return state.quiet


def without_watchers(state: State) -> State:
    """``state`` with nobody who sees kernels; the recorder, if there is one, hears of the rest."""
    if not state.watchers:
        return state
    if state.unwatched is None:
        state.unwatched = state.replace(watchers=())
    return state.unwatched


def without_recorder(state: State) -> State:
    """``state`` with no recorder, which is no watcher in it either."""
    if state.recorder is None:
        return state
    if state.untold is None:
        watchers = tuple([w for w in state.watchers if w is not state.recorder])
        state.untold = state.replace(recorder=None, watchers=watchers)
    return state.untold


def uncast(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # Any: what ``fn`` takes and gives
    """Call ``fn`` with autocast off."""
    state = get()
    if state is None or state.casts is None:
        return fn(*args, **kwargs)
    try:
        put(without_casts(state))
        return fn(*args, **kwargs)
    finally:
        put(state)


class no_grad(_Scope):
    """Operations inside record no gradients. A context manager and a decorator.

    >>> x = fb.ones(2, requires_grad=True)
    >>> with fb.no_grad():
    ...     print((x * 2).requires_grad)
    False
    """

    _grad = False

    def __init__(self, fn: Callable[..., Any] | None = None):
        super().__init__()

    def _next(self, state: State) -> State:
        return with_grad(state, self._grad)

    def __new__(cls, fn: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if fn is None else cls()(fn)

    def _copy(self) -> _Scope:
        return type(self)()


class enable_grad(no_grad):
    """Operations inside record gradients again, also under :class:`no_grad`.

    >>> x = fb.ones(1, requires_grad=True)
    >>> with fb.no_grad(), fb.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    _grad = True


class _AtOnce(_Scope):
    """A scope that begins when it is made; what it goes back to is the state before that."""

    def __init__(self, **changes: Any):  # Any: as in _Scope
        super().__init__(**changes)
        self._outer = current()
        put(self._next(self._outer))

    def __enter__(self) -> Self:
        self._saved.append(self._outer)
        put(self._next(current()))
        return self


class set_grad_enabled(_AtOnce):
    """Set grad mode at once; as a context manager, until its end.

    >>> with fb.set_grad_enabled(False):
    ...     y = fb.ones(1, requires_grad=True) * 2
    >>> y.requires_grad
    False
    """

    def __init__(self, mode: bool):
        self._grad = _checked("set_grad_enabled", mode)
        super().__init__()

    def _next(self, state: State) -> State:
        return with_grad(state, self._grad)

    def clone(self) -> set_grad_enabled:
        """Another one of the same mode, which sets it at once."""
        return type(self)(self._grad)

    def _copy(self) -> _Scope:
        return enable_grad() if self._grad else no_grad()

    def __call__(self, fn: F) -> F:
        put(self._outer)
        return super().__call__(fn)


def _checked(name: str, mode: bool) -> bool:
    if not isinstance(mode, bool):
        raise TypeError(f"{name}: argument 'mode' must be a bool, got {mode!r} ({type(mode).__name__})")
    return mode


class inference_mode(_Scope):
    """No gradients are recorded inside, whatever :class:`enable_grad` says there; ``inference_mode(False)`` ends it.

    Tensors made inside are inference tensors: nothing counts their writes, so that outside they cannot be saved for
    backward, written to, or require gradients; a clone can.

    >>> with fb.inference_mode():
    ...     y = fb.ones(1, requires_grad=True) * 2
    >>> y.requires_grad, y.is_inference(), y.clone().is_inference()
    (False, True, False)
    """

    def __new__(cls, mode: Any = True) -> Any:
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True):
        super().__init__(grad=not _checked("inference_mode", mode), inference=mode)
        self.mode = mode

    def clone(self) -> inference_mode:
        """Another one of the same mode."""
        return type(self)(self.mode)


def is_grad_enabled() -> bool:
    """Whether operations record gradients now.

    >>> fb.is_grad_enabled()
    True
    """
    return current().grad


def is_inference_mode_enabled() -> bool:
    """Whether this runs inside :class:`inference_mode`.

    >>> fb.is_inference_mode_enabled()
    False
    """
    return current().inference


class _Around(_Scope):
    """One function more, the innermost, in a field of the state."""

    _field: ClassVar[str]

    def __init__(self, fn: Callable[..., Any]):
        super().__init__()
        self._fn = fn

    def _next(self, state: State) -> State:
        return state.replace(**{self._field: (*getattr(state, self._field), self._fn)})

    def _copy(self) -> _Scope:
        return type(self)(self._fn)


class layer(_Around):
    """Put ``fn(op, args, params)`` around every op inside; it may return NotImplemented to decline."""

    _field = "layers"


class watch(_Around):
    """Call ``fn(op, key, arrays, params, kernel)`` in place of each kernel inside; it returns the kernel's result."""

    _field = "watchers"
