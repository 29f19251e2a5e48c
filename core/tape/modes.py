"""What can watch the recording: saved-tensor hooks and anomaly mode."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flambeau.core.errors import GradientError
from flambeau.core.graph import Node, Slot, View
from flambeau.core.record import Op
from flambeau.core.state import State, _AtOnce, _Scope, current, put
from flambeau.core.tape.compile import Packed, compiled
from flambeau.core.tensor import Tensor, blank

_CORE = str(Path(__file__).parents[1])  # frames of core are not the user's


class ModulePath(threading.local):
    """The names of the modules that run in this thread, innermost last; nn.Module keeps it while something watches."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.modules: list[Any] = []

    def append(self, name: str) -> None:
        self.names.append(name)

    def pop(self) -> str:
        return self.names.pop()

    def __bool__(self) -> bool:
        return bool(self.names)

    def __str__(self) -> str:
        return ".".join(self.names)


module_path = ModulePath()


def after_record(op: Op, out: Any, state: State) -> None:
    """Let the modes see the node that was just recorded."""
    first = out if isinstance(out, Tensor) else out[0]
    link = first._node
    node = link.node if link.__class__ is Slot else link
    if not isinstance(node, Node) or link.__class__ is View:
        return
    watch_node(node, compiled(op).saved_tensors, state)


def watch_node(node: Node, places: Iterable[int], state: State) -> None:
    """Note where a new node was made, and hand what it saved at ``places`` to the hooks, as far as asked for."""
    if state.anomaly:
        where = f"  in module {module_path}\n" if module_path else ""
        node.trace = where + "".join(traceback.format_list(_user_frames()))
    if state.saved_hooks and state.saved_hooks[-1].__class__ is tuple:
        _pack(node, places, state)


def _user_frames() -> list[traceback.FrameSummary]:
    """The stack of the forward call without flambeau's own frames."""
    frames = traceback.extract_stack()
    outside = [f for f in frames if not f.filename.startswith(("<flambeau", _CORE))]
    return outside[-8:] or frames[-8:]


def _pack(node: Node, places: Iterable[int], state: State) -> None:
    """Hand what the node saved to the innermost pair of hooks."""
    pack, unpack = state.saved_hooks[-1]
    saved = list(node.saved)
    try:
        put(state.replace(saved_hooks=()))
        for i in places:
            saved[i] = _packed(saved[i], pack, unpack)
    finally:
        put(state)
    node.saved = tuple(saved)


def _packed(kept: Any, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> Any:
    if kept.__class__ is list:
        return [_packed(k, pack, unpack) for k in kept]
    if kept.__class__ is not tuple:
        return kept
    array, key, box, _, edge = kept
    t = blank()
    t._array, t._key, t._box, t._node = array, key, box, None
    return Packed(pack(t), unpack, edge)


class saved_tensors_hooks(_Scope):
    """Pack what nodes save for backward, and unpack it when backward reads it.

    ``pack(tensor) -> anything`` and ``unpack(anything) -> tensor``, for example to keep saved values on
    the host or on disk. Pack gets the value without its history; what unpack returns takes its place in the
    graph, so that higher derivatives go through it.

    >>> kept = []
    >>> with fb.autograd.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
    ...     y = fb.ones(2, requires_grad=True).exp()
    >>> kept
    [flambeau.Size([2])]
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]):
        super().__init__()
        self._pair = (pack_hook, unpack_hook)

    def _next(self, state: State) -> State:
        if state.saved_hooks and state.saved_hooks[-1].__class__ is str:
            raise GradientError(state.saved_hooks[-1])
        return state.replace(saved_hooks=(*state.saved_hooks, self._pair))

    def _copy(self) -> _Scope:
        return saved_tensors_hooks(*self._pair)


def _check_mode(name: str, argument: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: argument {argument!r} must be a bool, got {value!r} ({type(value).__name__})")


class detect_anomaly(_Scope):
    """Remember where each op was called, and raise when backward makes a nan, naming that place.

    >>> with fb.autograd.detect_anomaly():
    ...     (fb.ones(1, requires_grad=True) * 2).sum().backward()
    """

    def __init__(self, check_nan: bool = True):
        _check_mode("detect_anomaly", "check_nan", check_nan)
        super().__init__(anomaly=True if check_nan else "places")


class set_detect_anomaly(_AtOnce):
    """Turn anomaly mode on or off at once; as a context manager, until its end.

    >>> with fb.set_detect_anomaly(False):
    ...     y = fb.ones(1)
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        _check_mode("set_detect_anomaly", "mode", mode)
        super().__init__(anomaly=mode if check_nan or not mode else "places")


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Turn anomaly mode on or off, as :class:`set_detect_anomaly` does.

    >>> fb.set_anomaly_enabled(False)
    """
    set_detect_anomaly(enabled, check_nan)


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on.

    >>> fb.is_anomaly_enabled()
    False
    """
    return bool(current().anomaly)


def is_anomaly_check_nan_enabled() -> bool:
    """Whether backward looks for nan."""
    return current().anomaly is True
