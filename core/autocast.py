"""Mixed precision: what autocast does with a call, by the word on the op's record.

What is on, and for which types of devices, is one immutable object in the thread's state. While it is on for any,
calls leave the fast paths, and the dispatcher hands them to :meth:`Autocast.call`, which casts the operands and runs
the op with autocast off. A function in Python that PyTorch treats as one op says its word with :func:`autocasting`.

Which op computes in what: https://docs.pytorch.org/docs/stable/amp.html#autocast-op-reference
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Final, TypeVar
from weakref import ref

import numpy as np

from flambeau.backends.base import BackendUnavailableError
from flambeau.core import dispatch, registry
from flambeau.core import dtype as dt
from flambeau.core.box import INFERENCE, box_of
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.errors import DeviceError
from flambeau.core.graph import Leaf
from flambeau.core.locks import fork_safe
from flambeau.core.overrides import NOTHING, exchange_code
from flambeau.core.record import OPS, Op, autocast_words
from flambeau.core.state import State, current, get, put, uncast, without_casts
from flambeau.core.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

#: The dtypes that autocast casts, from and to float32.
CAST: Final = (dt.bfloat16, dt.float16)
_FLOATS: Final = frozenset({*CAST, dt.float32})
_SAME: Final = ("same", "same")


class Autocast:
    """What was set of autocast. Immutable, but for the cache, which all share that stand in one outermost block."""

    __slots__ = ("cache", "caching", "dtypes", "nesting", "outer", "types")

    def __init__(
        self, types: frozenset[str] = frozenset(), dtypes: Mapping[str, DType] | None = None, caching: bool = True,
        nesting: int = 0, cache: dict[Any, Any] | None = None, outer: Autocast | None = None,
    ):  # fmt: skip
        self.types = types  #: of devices on which it is on
        self.dtypes: Mapping[str, DType] = {} if dtypes is None else dtypes  #: those that were set
        self.caching, self.nesting, self.outer = caching, nesting, outer
        self.cache: dict[Any, Any] = {} if cache is None else cache

    def but(self, **changes: Any) -> Autocast:  # Any: as __init__ takes them
        """The same with some of it changed."""
        return Autocast(**({n: getattr(self, n) for n in self.__slots__} | changes))

    def _way(self) -> tuple[Any, ...]:
        others = frozenset((kind, d) for kind, d in self.dtypes.items() if d is not default_dtype(kind))
        return self.types, others, self.caching, self.nesting > 0

    def __eq__(self, other: object) -> bool:
        """Whether calls go the same way under both; casts that are kept do not count."""
        return self is other or isinstance(other, Autocast) and self._way() == other._way()

    def __hash__(self) -> int:
        return hash(self._way())

    def off(self) -> Autocast:
        """The same, on for no device."""
        return self.but(types=frozenset())

    def dtype(self, device_type: str) -> DType:
        """The dtype in which it computes on a device."""
        return self.dtypes.get(device_type) or default_dtype(device_type)

    # -- calls ---------------------------------------------------------------------------------------
    def from_outside(self, op: Op, args: Sequence[Any], params: dict[str, Any], kw: dict[str, Any]) -> Any:
        """The call of an op's public function, by that with autocast off, which has a fast path; or NOTHING.

        NOTHING where the op's body is to open: such a call is bound first.
        """
        state = current()
        words = op.autocast
        if words != _SAME and kw.get("out") is None:
            lead = self._lead(_tensors(args))
            word = "same" if lead is None else words[not on_host(lead)]
            if word == "inside":
                return NOTHING
            if word == "first":
                return self._as_first(lambda a: uncast(op.function, *a, *params.values(), **kw), lead, args)
            if word != "same":
                args = self.casting(word, op.title, lead, _tensors(args))(args)
        try:
            put(without_casts(state))
            return op.function(*args, *params.values(), **kw)
        finally:
            put(state)

    def call(self, op: Op, args: Sequence[Any], params: dict[str, Any], state: State) -> Any:
        """Run an op on cast operands, with autocast off, as the word on its record says."""
        words = op.autocast
        if words != _SAME and op.functional is None:
            lead = self._lead(_tensors(args))
            word = "same" if lead is None else words[not on_host(lead)]
            if word == "inside" and state.layers:
                return dispatch.through_layers(op, tuple(args), params, state)
            if word == "inside":
                return dispatch.run(op, args, params, state)
            if word == "first":
                return self._as_first(lambda a: uncast(dispatch.call, op, a, params), lead, args)
            if word != "same":
                args = self.casting(word, op.title, lead, _tensors(args))(args)
        return uncast(dispatch.call, op, args, params)

    def _as_first(self, run: Callable[[Any], Any], lead: Any, args: Any) -> Any:
        """Run on the widest dtype among the floats; the result, of several the first, has the dtype of the first."""
        found = run(self.casting("widest", "", lead, _tensors(args))(args))
        first = next(_tensors(args))._key.dtype
        if isinstance(found, Tensor):
            return found if found._key.dtype is first else _cast(found, first)
        return (found[0] if found[0]._key.dtype is first else _cast(found[0], first), *found[1:])

    def _lead(self, tensors: Iterator[Tensor]) -> Tensor | None:
        """The first tensor on a device for which it is on."""
        return next((t for t in tensors if t._key.device.type in self.types), None)

    def casting(self, word: str, name: str, lead: Any, tensors: Iterator[Tensor]) -> Callable[[Any], Any]:
        """The function that casts arguments, or nestings of them, for an op of this name whose word is ``word``."""
        where: str = lead._key.device.type
        if word == "raises":
            raise RuntimeError(REFUSED[name])
        low = self.dtype(where)
        if word == "low":
            to = low
        elif word == "float32":
            to = dt.float32
        else:
            found = [t._key.dtype for t in tensors if _casts(t, where)]
            if not found:
                return lambda value: value
            to = found[0] if len(set(found)) == 1 else dt.float32
        keeps = to is low and self.caching and self.nesting > 0

        def cast(value: Any) -> Any:
            if isinstance(value, Tensor):
                if value._key.dtype is to or not _casts(value, where):
                    return value
                return self._kept(value, to) if keeps and value._node.__class__ is Leaf else _cast(value, to)
            if value.__class__ in (list, tuple):
                return type(value)(cast(v) for v in value)
            if value.__class__ is dict:
                return {k: cast(v) for k, v in value.items()}
            return value

        return cast

    def _kept(self, x: Tensor, to: DType) -> Tensor:
        """The cast of a leaf, a parameter most often, made once in the outermost block.

        Grad mode is part of the key: a cast that was made under no_grad leads no gradient back. A write to the leaf,
        or a backward that freed the cast, makes it anew. So does another recorder than heard of the cast, which is a
        part of what is recorded.
        """
        state = current()
        if state.levels or x._key.level is not None or x._box is INFERENCE or state.inference:
            return _cast(x, to)
        place, version = (id(x), to, state.grad), box_of(x).version
        found = self.cache.get(place)
        if found is not None:
            leaf, array, written, made, heard = found
            if leaf is x and array is x._array and written == version and heard() is state.recorder and _alive(made):
                kept: Tensor = made
                return kept
        made = _cast(x, to)
        self.cache[place] = (x, x._array, version, made, _nobody if state.recorder is None else ref(state.recorder))
        return made


def _nobody() -> None:
    """In the place of a reference to a recorder."""


def _alive(made: Tensor) -> bool:
    """Whether gradients can still go through a cast: a backward that kept no graph frees its node."""
    return made._node is None or made._node.saved is not None


def _tensors(args: Any) -> Iterator[Tensor]:
    for a in args:
        if isinstance(a, Tensor):
            yield a
        elif a.__class__ in (list, tuple):
            yield from _tensors(a)
        elif a.__class__ is dict:
            yield from _tensors(a.values())


def _casts(t: Tensor, where: str) -> bool:
    return t._key.dtype in _FLOATS and t._key.device.type == where


def _cast(x: Tensor, to: DType) -> Tensor:
    made: Tensor = uncast(OPS["cast"].function, x, to)
    return made


def cast_floats(value: Any, device_type: str, dtype: DType) -> Any:  # Any: arguments, or nestings of them
    """The floats of a device among arguments in a dtype; those of float64 stay as they are."""
    if isinstance(value, Tensor):
        return value.to(dtype) if _casts(value, device_type) else value
    if isinstance(value, (str, bytes, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        return {cast_floats(k, device_type, dtype): cast_floats(v, device_type, dtype) for k, v in value.items()}
    if isinstance(value, Iterable):
        cast = (cast_floats(v, device_type, dtype) for v in value)
        if hasattr(value, "_make"):  # a named tuple
            return value._make(cast)
        return type(value)(cast) if isinstance(value, (list, tuple)) else cast
    return value


def on_host(t: Tensor) -> bool:
    """Whether a tensor is where PyTorch has its list for the CPU; for other devices it has that of CUDA."""
    return t._key.backend.has("shares_host")


#: What is said of the functions that autocast refuses, by name.
REFUSED: Final = {
    "binary_cross_entropy": "binary_cross_entropy and BCELoss are unsafe to autocast: a sigmoid before them rounds to "
    "0 or 1 in low precision. Use binary_cross_entropy_with_logits or BCEWithLogitsLoss, which take the logits and are "
    "safe, or switch autocast off around the call, with fb.autocast(device_type, enabled=False)",
}


# -- functions in Python -------------------------------------------------------------------------------
#: The names of functions with a word, and the words.
FUNCTIONS: Final[dict[str, tuple[str, str]]] = {}
_waiting: Final[list[tuple[FunctionType, str, tuple[str, str], int | None]]] = []
_armed: list[bool] = []
_arming: Final = fork_safe(threading.RLock())


def autocasting(text: str, first: int | None = None) -> Callable[[F], F]:
    """Say what autocast does with the floats of a function of several ops, by the words of records.

    With ``first``, only where that is the first argument: the number of axes of a family of functions.

    Under any of them but "inside", which such a function has without, its ops run with autocast off. It costs nothing
    before somebody uses autocast.
    """

    def declare(fn: F) -> F:
        words = autocast_words(fn.__name__, text)
        FUNCTIONS[fn.__name__] = words
        body = inspect.unwrap(fn)
        if not isinstance(body, FunctionType):
            raise TypeError(f"autocasting: {fn!r} is no function")
        _waiting.append((body, fn.__name__, words, first))
        if _armed:
            _arm()
        return fn

    return declare


def _arm() -> None:
    """Have the functions with a word ask, from the first use of autocast on."""
    with _arming:
        while _waiting:
            _ask_first(*_waiting[-1])
            _waiting.pop()  # after it: what was interrupted is done again, and asks twice
        _armed[:] = [True]  # last: until then other threads wait here


def _ask_first(fn: FunctionType, name: str, words: tuple[str, str], first: int | None) -> None:
    def asking(body: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        def ask(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            state = get()
            if state is None or state.casts is None or (first is not None and args[0] != first):
                return body(*args, **kwargs)
            return _call_python(state, name, words, body, args, kwargs)

        return ask

    exchange_code(fn, asking)


def _call_python(
    state: State, name: str, words: tuple[str, str], body: Callable[..., Any], args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    """A call of a function with a word while autocast is on; with ``out`` nothing is cast."""
    casts: Autocast = state.casts
    given = (*args, *kwargs.values())
    lead = casts._lead(_tensors(given))
    word = "same" if lead is None or kwargs.get("out") is not None else words[not on_host(lead)]
    if word == "inside" or lead is None:
        return body(*args, **kwargs)
    if word == "first":
        return casts._as_first(lambda a: uncast(body, *a[0], **a[1]), lead, (args, kwargs))
    if word != "same":
        cast = casts.casting(word, name, lead, _tensors(given))
        args, kwargs = cast(args), cast(kwargs)
    return uncast(body, *args, **kwargs)


# -- the setting -----------------------------------------------------------------------------------------
_NONE: Final = Autocast()


def setting() -> Autocast:
    """What is set in this thread."""
    found: Autocast = current().autocast or _NONE
    return found


def set_to(chosen: Autocast) -> None:
    """Set it in this thread."""
    if chosen.types and not _armed:
        _arm()
    put(current().replace(autocast=None if chosen == _NONE else chosen))


def enter(device_type: str, dtype: DType, enabled: bool, caching: bool) -> None:
    """Begin a block: what is set inside goes back at its end."""
    now = setting()
    types = now.types | {device_type} if enabled else now.types - {device_type}
    set_to(
        Autocast(types, {**now.dtypes, device_type: dtype}, caching, now.nesting + 1,
                 now.cache if now.nesting else {}, now)
    )  # fmt: skip


def leave() -> None:
    """End the innermost block; what was cast in the outermost is forgotten with it."""
    set_to(setting().outer or _NONE)


@contextmanager
def under(chosen: Autocast | None) -> Iterator[None]:
    """A block under what was set elsewhere, or nothing; its casts are its own."""
    before = current().autocast
    put(current().replace(autocast=None if chosen is None else chosen.but(nesting=1, cache={}, outer=None)))
    try:
        yield
    finally:
        put(current().replace(autocast=before))


# -- devices and dtypes ----------------------------------------------------------------------------------
#: The types of devices that programs for PyTorch name, there or not, and its dtypes for them.
_NAMED: Final = {
    "cpu": dt.bfloat16, "cuda": dt.float16, "hpu": dt.bfloat16, "ipu": dt.float16, "maia": dt.bfloat16,
    "mps": dt.float16, "mtia": dt.float16, "xla": dt.bfloat16, "xpu": dt.float16,
}  # fmt: skip


def type_of(what: str, name: object) -> str:
    """A type of device, aliases resolved; ValueError for what is no text. ``what`` is said to be wrong."""
    if not isinstance(name, str):
        raise ValueError(f"{what}: device_type must be a text such as 'cpu', got {name!r} ({type(name).__name__})")
    return device(name).type


def is_available(device_type: str) -> bool:
    """Whether a type of device is PyTorch's, or there is a backend, or a plugin with one, for it."""
    return device_type in _NAMED or device_type in registry.backends or device_type in registry.known_types()


def require_available(what: str, device_type: str) -> None:
    """RuntimeError where no backend has this type of device."""
    if not is_available(device_type):
        known = ", ".join(registry.known_types())
        raise RuntimeError(f"{what}: unsupported device_type {device_type!r}; known: {known}")


def checked_dtype(what: str, dtype: object) -> DType:
    """TypeError for what is no dtype."""
    if not isinstance(dtype, DType):
        raise TypeError(f"{what}: dtype must be a dtype such as fb.bfloat16, got {dtype!r} ({type(dtype).__name__})")
    return dtype


def unsupported(device_type: str, dtype: DType) -> str | None:
    """Why nothing can be cast to a dtype on a type of device; None where it can."""
    if dtype not in CAST:
        return f"on devices of type {device_type} the target dtype is bfloat16 or float16, and not {dtype.name}"
    reason = absent(device_type)
    if reason is None and registry.get_backend(device_type).stored(dtype) is not dtype:
        return f"devices of type {device_type} have no {dtype.name}"
    return reason


def absent(device_type: str) -> str | None:
    """Why no device of a type is there; None where one is."""
    try:
        reason = registry.get_backend(device_type).unavailable_reason()
    except (DeviceError, BackendUnavailableError) as error:
        reason = str(error)
    return None if reason is None else f"there is no device of type {device_type} ({reason})"


def default_dtype(device_type: str) -> DType:
    """The dtype to compute in where none was given: PyTorch's where it names the type of device, else bfloat16.

    A device that has no bfloat16 but float16 gets that.
    """
    if device_type in _NAMED:
        return _NAMED[device_type]
    backend = registry.backends.get(device_type)
    lacks = backend is not None and not backend.supports(dt.bfloat16) and backend.supports(dt.float16)
    return dt.float16 if lacks else dt.bfloat16


__all__ = ["Autocast", "autocasting", "enter", "leave", "set_to", "setting", "under"]
