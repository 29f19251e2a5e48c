"""Which backend owns a device type, which third parties overlay kernels, and how both are found."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flambeau.backends.base import Backend, BackendUnavailableError, Kernel
from flambeau.core import config
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.errors import UnknownDeviceError
from flambeau.core.locks import fork_safe


@dataclass(frozen=True)
class Failure:
    """Why a plugin is quarantined."""

    source: str
    error: BaseException

    @property
    def reason(self) -> str:
        """The error's text; its class where it has none, or fails to give it."""
        try:
            text = str(self.error).strip()
        except Exception:
            text = ""
        return text or type(self.error).__name__

    def report(self) -> str:
        return "".join(traceback.format_exception(self.error))


@dataclass(frozen=True)
class Overlay:
    """A third party's kernel for somebody else's device: ``make(next_kernel) -> kernel``."""

    make: Callable[[Kernel | None], Kernel]
    dtypes: frozenset[DType] | None
    priority: int
    source: str

    def serves(self, dtype: DType) -> bool:
        return self.dtypes is None or dtype in self.dtypes


backends: dict[str, Backend] = {}
sources: dict[str, str] = {}
failures: dict[str, Failure] = {}
overlays: dict[tuple[str, str], list[Overlay]] = {}
lazy: list[Backend] = []  # those that note work and run it later: they want to know where steps end
on_change: list[Callable[[], None]] = []  # the dispatcher drops what it cached
lock = fork_safe(threading.RLock())  # held while anything registers or a plugin loads
if hasattr(os, "register_at_fork"):  # a plugin that another thread is loading would stay half loaded in the child
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
_discover: Callable[[str | None], None] | None = None
_choose: Callable[[], device] | None = None
_names: Callable[[], Iterable[str]] | None = None


def changed() -> None:
    """Something registered: whatever was cached from the tables is stale."""
    for notify in on_change:
        notify()


def install_discoverer(
    discover: Callable[[str | None], None], choose: Callable[[], device], names: Callable[[], Iterable[str]]
) -> None:
    """Set who loads plugins: ``discover(device_type)`` (None: all), who picks the default device, and
    who lists the device types that plugins offer without importing them."""
    global _discover, _choose, _names
    _discover, _choose, _names = discover, choose, names


def register_backend(backend: Backend, source: str) -> None:
    """Make ``backend`` the owner of its device type; again from the same source is harmless.

    ValueError when another source owns the type, naming both.
    """
    name = backend.device_type
    with lock:
        if name in backends:
            if sources[name] == source:
                return
            raise ValueError(f"device type {name!r} is registered by {sources[name]}; {source} cannot register it too")
        backends[name], sources[name] = backend, source
        failures.pop(name, None)
        if backend.has("lazy"):
            lazy.append(backend)
        table: Any = backend.kernels
        while table is not None:
            table.on_change.append(changed)
            table = table.parent
    changed()


def unregister_backend(name: str) -> None:
    """Forget the backend of a device type (tests and plugin reloads)."""
    with lock:
        gone = backends.pop(name, None)
        sources.pop(name, None)
        lazy[:] = [b for b in lazy if b is not gone]
        for d in device._interned.values():
            if d.type == name:
                d.backend = None
    changed()


def get_backend(name: str) -> Backend:
    """The backend that owns ``name``, discovered at first use.

    UnknownDeviceError lists what is known; a quarantined plugin's own error is raised as the cause.
    """
    found = backends.get(name)
    if found is not None:
        return found
    config.check_environment()
    with lock:
        if _discover is not None and name not in backends:
            _discover(name)
    found = backends.get(name)
    if found is not None:
        return found
    failure = failures.get(name)
    if failure is not None:
        raise BackendUnavailableError(
            f"device {name!r}: its plugin ({failure.source}) failed to load: {failure.reason}"
        ) from failure.error
    raise UnknownDeviceError(
        f"unknown device type {name!r}; known: {', '.join(known_types())}. "
        "A backend package may need to be installed; `python -m flambeau doctor` lists what is there"
        f"{hint_of_alias(name)}"
    )


def resolve(d: device) -> Backend:
    """The usable backend of ``d``; BackendUnavailableError says why a device cannot be used."""
    if d.backend is None:
        backend = get_backend(d.type)
        reason = backend.unavailable_reason()
        if reason is not None:
            raise BackendUnavailableError(f"device {str(d)!r} is not available: {reason}{hint_of_alias(d.type)}")
        count = backend.device_count()
        if d.number >= count:
            raise BackendUnavailableError(f"device {str(d)!r} does not exist: {d.type} has {count} device(s)")
        d.backend = backend
    found: Backend = d.backend
    return found


def known_types() -> list[str]:
    """Every device type that has a backend or a plugin, loaded or not."""
    return sorted({*backends, *failures, *(_names() if _names is not None else ())})


def hint_of_alias(name: str) -> str:
    """How a program that names a type of device runs on another."""
    return f"; to run what names {name!r} on another device, set FLAMBEAU_DEVICE_ALIAS={name}=opencl, or {name}=cpu"


def _aliases() -> Mapping[str, str]:
    found: Mapping[str, str] = config.get("device_alias")
    return found


device.aliases = staticmethod(_aliases)


def hint_of_device(name: str, hint: str) -> str:
    """``hint`` for a missing attribute that is called as a device type is: none has names of its own; else ""."""
    return hint if not str(name).startswith("_") and name in known_types() else ""


def choose_default() -> device:
    """The device that the environment's priority list picks; cpu when nobody chooses."""
    return _choose() if _choose is not None else device("cpu")


def register_overlay(
    device_type: str, op_name: str, make: Callable[[Kernel | None], Kernel], *, dtypes: Iterable[DType] | None = None,
    priority: int = 0, source: str,
) -> None:  # fmt: skip
    """Put a kernel over the device's own: ``make(next)`` gets the kernel below it (or None).

    The highest priority runs first. Two of equal priority that overlap in dtypes are a ValueError
    naming both sources.
    """
    entry = Overlay(make, None if dtypes is None else frozenset(dtypes), priority, source)
    with lock:
        stack = overlays.setdefault((device_type, op_name), [])
        for other in stack:
            same = other.dtypes is None or entry.dtypes is None or other.dtypes & entry.dtypes
            if other.priority == priority and same:
                raise ValueError(
                    f"two overlays of {op_name!r} on {device_type!r} have priority {priority}: "
                    f"{other.source} and {source}; give one another priority"
                )
        stack.append(entry)
        stack.sort(key=lambda o: o.priority)
    changed()


def unregister_overlays(source: str) -> None:
    """Take out every kernel that ``source`` put over a device's own."""
    with lock:
        for stack in overlays.values():
            stack[:] = [o for o in stack if o.source != source]
    changed()
