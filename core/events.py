"""What happens below the ops beside kernels, told to the recorder of the thread, if there is one.

Watchers (:class:`flambeau.core.state.watch`) see kernels. Whoever records a program so that it can run again without
its Python, :mod:`flambeau.core.capture`, must also know of numbers that the host works out anew in each step, of
writes, of values that the host reads, and of arrays that come from elsewhere than a kernel. Each of these has one
function here, and nothing in ``core`` goes past them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from flambeau.backends.base import Array, HostArray
from flambeau.core.graph import on_hook
from flambeau.core.state import get, put, without_recorder

T = TypeVar("T")
Number: TypeAlias = bool | int | float | complex


class Recorder(Protocol):
    """Who is told. Each method does what it is told of, and returns what that gives."""

    def host(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any: ...  # Any: numbers, or None
    def write(self, key: Any, target: Array, source: Array) -> None: ...  # Any: a Key, whose class stands above
    def read(self, key: Any, array: Array, read: Callable[[Array], HostArray]) -> HostArray: ...
    def item(self, key: Any, array: Array, read: Callable[[Array], Number]) -> Number: ...
    def make(self, key: Any, make: Callable[[], Array]) -> Array: ...
    def constant(self, key: Any, value: Number, make: Callable[[Number], Array]) -> Array: ...
    def run(self, key: Any, fn: Callable[..., T], args: tuple[Any, ...], writes: bool) -> T: ...
    def touch(self, tensor: Any) -> None: ...  # Any: a Tensor, whose class stands above
    def rely(self, fn: Callable[..., Any], args: tuple[Any, ...], value: Any) -> None: ...
    def hook(self, node: Any) -> None: ...  # Any: a node or leaf of the graph, whose class stands beside this
    def refuse(self, why: str) -> None: ...


def recorder() -> Recorder | None:
    """The recorder of this thread."""
    state = get()
    return None if state is None else state.recorder


def host(fn: Callable[..., T], *args: Any) -> T:  # Any: what ``fn`` takes; numbers may be those of other host calls
    """Call ``fn`` now, and again at this place whenever what is recorded runs again.

    It is how a step says that a number is another one in the next step: a learning rate, a count of steps, a position
    in a stream of random numbers. ``fn`` returns a number, a tuple of numbers, or None, and may change the state of
    the program. What it returns while something records is a number whose arithmetic is recorded too.

    >>> from flambeau.core.events import host
    >>> host(max, 1, 2)
    2
    """
    found = recorder()
    if found is None:
        return fn(*args)
    value: T = found.host(fn, args)
    return value


def rely(fn: Callable[..., T], *args: Any) -> T:  # Any: what ``fn`` takes
    """``fn(*args)``, on which the way that the program goes depends: what is recorded holds while that gives an equal.

    It is asked before each replay, and changes nothing.

    >>> from flambeau.core.events import rely
    >>> rely(len, [1, 2])
    2
    """
    value, found = fn(*args), recorder()
    if found is not None:
        found.rely(fn, args, value)
    return value


def write(key: Any, target: Array, source: Array) -> None:  # Any: a Key, whose class stands above
    """Copy ``source`` into ``target``, arrays of the device of ``key``, broadcasting and casting."""
    found = recorder()
    if found is None:
        key.backend.copy_into(target, source)
    else:
        found.write(key, target, source)


def read(key: Any, array: Array, how: Callable[[Array], HostArray]) -> HostArray:
    """An array's values on the host, by ``how``: from here on the program may go one way or another."""
    found = recorder()
    return how(array) if found is None else found.read(key, array, how)


def item(key: Any, array: Array, how: Callable[[Array], Number]) -> Number:
    """The one number of an array, by ``how``; while something records, one whose arithmetic is recorded too."""
    found = recorder()
    return how(array) if found is None else found.item(key, array, how)


def make(key: Any, how: Callable[[], Array]) -> Array:
    """An array that no kernel makes, by ``how``, which makes an equal one in its own memory whenever it is called."""
    found = recorder()
    return how() if found is None else found.make(key, how)


def constant(key: Any, value: Number) -> Array:
    """The array that kernels of ``key`` get for a number, which nobody writes to; inside levels the number itself."""
    found = None if key.level is not None else recorder()
    made: Array = key.constant(value) if found is None else found.constant(key, value, key.constant)
    return made


def run(key: Any, fn: Callable[..., T], *args: Any, writes: bool) -> T:  # Any: a Key, and what ``fn`` takes
    """Call a function of a backend that no record is of, on arrays, lists of them, numbers and what is the same always.

    It writes to its arrays, and its result tells whether it did; or it gives a number that it reads off them.
    """
    found = recorder()
    return fn(*args) if found is None else found.run(key, fn, args, writes)


def touch(tensor: Any) -> None:  # Any: a Tensor, whose class stands above
    """The gradient, the memory or the link of a tensor is looked at, or is going to be another one."""
    state = get()
    if state is not None and state.recorder is not None:
        state.recorder.touch(tensor)


def hook(node: Any) -> None:  # Any: a node or leaf of the graph
    """A node or leaf of the graph gets a hook."""
    found = recorder()
    if found is not None:
        found.hook(node)


on_hook.append(hook)


def is_told(value: object) -> bool:
    """Whether a number is a recorder's: after a look at its value the recording would hold for that one alone."""
    return type(value) is not value.__class__


def untold(fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # Any: what ``fn`` takes
    """Call ``fn``, of which the recorder hears nothing."""
    state = get()
    if state is None or state.recorder is None:
        return fn(*args, **kwargs)
    try:
        put(without_recorder(state))
        return fn(*args, **kwargs)
    finally:
        put(state)


def refuse(why: str) -> None:
    """Tell the recorder that what is done now can't be recorded, and why; the program goes on."""
    found = recorder()
    if found is not None:
        found.refuse(why)
