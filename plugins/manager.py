"""Finding plugins and loading the one that a device needs.

Discovery reads metadata only. A plugin is imported when its device type is asked for, its hooks are checked
and called once, and what they give is registered with :mod:`flambeau.core.registry`; the built-in backends
take the same way. A plugin that fails is quarantined: the error waits, with its traceback, until somebody
asks for that device, and nothing else is hurt.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pluggy

from flambeau.backends.base import API_VERSION, Backend, BackendUnavailableError
from flambeau.core import config, registry
from flambeau.core.device import device, located
from flambeau.core.errors import UnknownDeviceError
from flambeau.core.record import OPS
from flambeau.plugins import hookspecs
from flambeau.plugins.catalogue import Plugin, catalogue, clear_catalogue, owners

#: The oldest plugin API whose backends still run here.
OLDEST_API_VERSION = 1

#: Errors that say more of the caller than of the plugin: the next who asks tries again.
_OF_THE_MOMENT = (RecursionError, MemoryError)

_loaded: set[Plugin] = set()
_failed: dict[Plugin, registry.Failure] = {}
_loading: list[Plugin] = []
_passed_over: dict[str, str] = {}  # device types that the automatic choice could not use, with the reason


class PluginError(RuntimeError):
    """A plugin breaks the rules of plugins; the text says which and what to do."""


def device_types() -> list[str]:
    """Every device type that a plugin offers, loaded or not; reads metadata only."""
    return sorted({p.device_type for p in catalogue() if not p.is_overlay})


# -- loading ---------------------------------------------------------------------------------------------------
def discover(device_type: str | None) -> None:
    """Load the plugins of one device type, or of all; what fails is in :func:`failures` and in the registry."""
    with registry.lock:
        for plugin in catalogue():
            if device_type is None or plugin.device_type == device_type:
                _load_once(plugin)


def failures() -> dict[Plugin, registry.Failure]:
    """The quarantined plugins, each with its error."""
    return dict(_failed)


def _load_once(plugin: Plugin) -> None:
    failed = _failed.get(plugin)
    if plugin in _loaded or failed is not None and not isinstance(failed.error, _OF_THE_MOMENT):
        return
    if plugin in _loading:
        raise BackendUnavailableError(f"device {plugin.device_type!r} was asked for while {plugin} was still loading")
    _loading.append(plugin)
    try:
        _load(plugin)
        _loaded.add(plugin)
        _failed.pop(plugin, None)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # sys.exit() and others' classes too: whatever it is, only this device is lost
        _quarantine(plugin, error)
    finally:
        _loading.remove(plugin)


def _load(plugin: Plugin) -> None:
    _refuse(plugin)
    module = _import(plugin)
    if _hooks.is_registered(module):  # it stands behind several entry points and was asked already
        return
    before = frozenset(registry.backends)
    try:
        _add_hooks(plugin, module)
        _take_backends(plugin, module)
        _take_kernels(plugin, module)
    except BaseException:  # all or nothing
        for name in registry.backends.keys() - before:
            registry.unregister_backend(name)
        registry.unregister_overlays(plugin.key)
        _forget(module)
        raise


def _refuse(plugin: Plugin) -> None:
    """Raise why a plugin may not load, from its metadata alone."""
    if plugin.disabled:
        raise PluginError("turned off by FLAMBEAU_DISABLE_PLUGINS")
    if plugin.is_overlay:
        return
    rivals = owners(plugin.device_type)
    if any(p.builtin for p in rivals) and not plugin.builtin:
        raise PluginError(
            f"it offers device type {plugin.device_type!r}, which flambeau itself has; rename its entry point"
        )
    if len(rivals) > 1 and not plugin.builtin:
        raise PluginError(
            f"device type {plugin.device_type!r} is offered by {' and by '.join(map(str, rivals))}; uninstall one, "
            f"or turn one off by FLAMBEAU_DISABLE_PLUGINS={rivals[-1].distribution or rivals[-1].name}"
        )


def _import(plugin: Plugin) -> object:
    try:
        return plugin.load()
    except ModuleNotFoundError as error:
        if plugin.extra is None or (error.name or "").startswith("flambeau"):
            raise
        raise PluginError(
            f"it needs the package {error.name!r}; install it with: pip install 'flambeau[{plugin.extra}]'"
        ) from error


# -- hooks -----------------------------------------------------------------------------------------------------
class _Hooks(pluggy.PluginManager):
    """Checks hooks against their specifications and calls them.

    A function of the plugin's own whose name starts with the project's is a hook without a marker too.
    """

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:  # {}: all options by default
        marked = super().parse_hookimpl_opts(plugin, name)
        if marked is not None or not name.startswith(f"{hookspecs.PROJECT}_"):
            return marked
        function = getattr(plugin, name)
        own = not isinstance(plugin, ModuleType) or getattr(function, "__module__", None) == plugin.__name__
        return {} if own and inspect.isroutine(function) else None


_hooks = _Hooks(hookspecs.PROJECT)
_hooks.add_hookspecs(hookspecs)


def _add_hooks(plugin: Plugin, module: object) -> None:
    """Register a plugin's hooks; PluginError names one that does not exist or has other arguments."""
    try:
        _hooks.register(module, plugin.key)
        _hooks.check_pending()
    except pluggy.PluginValidationError as error:
        _forget(module)
        raise PluginError(_hook_advice(module) or str(error)) from error
    if not _hooks.get_hookcallers(module):
        raise PluginError(f"{plugin.target} has no hook; expected one of {', '.join(_hook_names())}")


def _forget(module: object) -> None:
    """Take a plugin's hooks out; pluggy has done so itself where it refused them."""
    if _hooks.is_registered(module):
        _hooks.unregister(module)


def _hook_names() -> list[str]:
    return [name for name in vars(_hooks.hook) if not name.startswith("_") and getattr(_hooks.hook, name).spec]


def _hook_advice(module: object) -> str | None:
    """What a misspelt hook was meant to be."""
    known = _hook_names()
    for name in dir(module):
        if name not in known and _hooks.parse_hookimpl_opts(module, name) is not None:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the hooks are {', '.join(known)}"
            return f"there is no hook {name!r}; {hint}"
    return None


def _call(module: object, hook: str, **arguments: Any) -> list[Any]:
    """The results of one plugin's implementation of a hook: none or one."""
    others = [p for p in _hooks.get_plugins() if p is not module]
    return list(_hooks.subset_hook_caller(hook, others)(**arguments))


# -- what the hooks give ---------------------------------------------------------------------------------------
def _take_backends(plugin: Plugin, module: object) -> None:
    found = [b for result in _call(module, "flambeau_backends") for b in _as_backends(result)]
    for backend in found:
        _check(plugin, backend)
    if not plugin.is_overlay and plugin.device_type not in [b.device_type for b in found]:
        offered = ", ".join(repr(b.device_type) for b in found) or "no backend"
        raise PluginError(
            f"the entry point is called {plugin.name!r} and flambeau_backends gave {offered}; "
            "the entry point's name must be the backend's device_type"
        )
    for backend in found:
        registry.register_backend(backend, plugin.source)


def _as_backends(result: Any) -> Iterator[Backend]:
    for item in (result,) if isinstance(result, Backend) else result:
        if not isinstance(item, Backend):
            raise PluginError(f"flambeau_backends gave {item!r}, which is not a flambeau Backend object")
        yield item


def _check(plugin: Plugin, backend: Backend) -> None:
    """Refuse a backend for another plugin API, or for a device type that the plugin has no entry point for."""
    own = [c for c in type(backend).__mro__ if not c.__module__.startswith("flambeau.")]
    if not plugin.builtin and not any("api_version" in vars(c) for c in own):
        raise PluginError(
            f"{type(backend).__name__} does not say for which plugin API it was built; "
            f"write `api_version = {API_VERSION}` in the class"
        )
    version = backend.api_version
    if not isinstance(version, int):
        raise PluginError(
            f"api_version of {type(backend).__name__} must be an int, got {version!r}; write "
            f"`api_version = {API_VERSION}` in the class"
        )
    if not OLDEST_API_VERSION <= version <= API_VERSION:
        late = version > API_VERSION
        raise PluginError(
            f"it was built for plugin API {version}, and this flambeau has plugin API {API_VERSION}"
            + ("; upgrade flambeau" if late else f" and runs {OLDEST_API_VERSION} or newer; upgrade the plugin")
        )
    if not any(p.source == plugin.source for p in owners(backend.device_type)):
        raise PluginError(
            f"flambeau_backends gave a backend for {backend.device_type!r}, for which {plugin.source} "
            "has no entry point; the entry point's name must be the backend's device_type"
        )


def _take_kernels(plugin: Plugin, module: object) -> None:
    asked: list[Callable[[], None]] = []

    def register(device_type: str, op_name: str, make: Any, *, dtypes: Any = None, priority: int = 0) -> None:
        _require_op(op_name)
        asked.append(
            partial(
                registry.register_overlay, device_type, op_name, make,
                dtypes=dtypes, priority=priority, source=plugin.key,
            )
        )  # fmt: skip

    _call(module, "flambeau_register_kernels", register=register)
    for act in asked:
        act()


def _require_op(name: str) -> None:
    """PluginError for a kernel of an op that does not exist; others' own, ``space::name``, may come later."""
    if name in OPS or "::" in name:
        return
    close = difflib.get_close_matches(name, OPS, 1)
    hint = f"did you mean {close[0]!r}?" if close else "`python -m flambeau coverage` lists the ops"
    raise PluginError(f"flambeau_register_kernels: there is no op {name!r}; {hint}")


def _quarantine(plugin: Plugin, error: BaseException) -> None:
    if isinstance(error, SystemExit):  # its own text is empty
        left = PluginError(f"it called sys.exit({error.code!r}) while it was loading")
        error = left.with_traceback(error.__traceback__)
    failure = _failed[plugin] = registry.Failure(plugin.source, error)
    if plugin.device_type not in registry.backends and not plugin.is_overlay:
        registry.failures.setdefault(plugin.device_type, failure)
    elif not plugin.disabled:  # asking for the device would not show it
        warnings.warn(
            f"{plugin} is off: {failure.reason}; `python -m flambeau doctor` tells more", RuntimeWarning, stacklevel=2
        )


def rescan() -> None:
    """Look at metadata and settings anew, and let plugins that failed try again."""
    with registry.lock:
        clear_catalogue()
        for plugin in _failed:
            registry.failures.pop(plugin.device_type, None)
        _failed.clear()
        _passed_over.clear()


@dataclass(frozen=True)
class Status:
    """What this process knows of one plugin: "loaded", "failed", "disabled", or "not loaded" (nobody asked yet)."""

    plugin: Plugin
    state: str
    reason: str | None = None
    traceback: str | None = None


def plugin_report() -> list[Status]:
    """Every plugin with its state; imports none of them."""
    return [_status(plugin) for plugin in catalogue()]


def _status(plugin: Plugin) -> Status:
    if plugin.disabled:
        return Status(plugin, "disabled", "turned off by FLAMBEAU_DISABLE_PLUGINS")
    failure = _failed.get(plugin)
    if failure is not None:
        return Status(plugin, "failed", failure.reason, failure.report())
    if plugin in _loaded:
        return Status(plugin, "loaded", _passed_over.get(plugin.device_type))
    return Status(plugin, "not loaded")


# -- the default device ----------------------------------------------------------------------------------------
def default_device() -> device:
    """The device that the setting ``device`` (FLAMBEAU_DEVICE) picks.

    One name: that device, else BackendUnavailableError. Several: the first that is available. None, or
    "auto": the first device that a backend counts among its accelerators, else the cpu.
    """
    config.check_environment()
    names = config.get("device")
    if not names:
        return _best()
    reasons = []
    for chosen in [_parsed(name, names) for name in names]:
        try:
            registry.resolve(chosen)
            return chosen
        except (BackendUnavailableError, UnknownDeviceError) as error:
            if len(names) == 1:
                raise type(error)(f"{_asked(names)}: {error}") from error
            reasons.append(f"{chosen}: {error}")
    raise BackendUnavailableError(f"{_asked(names)}: none is available. " + "; ".join(reasons))


def _parsed(name: str, names: Iterable[str]) -> device:
    try:
        return located(name)
    except ValueError as error:
        raise config.ConfigError(f"{_asked(names)}: {error}") from None


def _asked(names: Iterable[str]) -> str:
    """How the setting stands, for error texts."""
    setting = "FLAMBEAU_DEVICE" if config.source("device") == "environment" else "device"
    return f"{setting}={','.join(names)}"


def _best() -> device:
    """Installed plugins' accelerators first, since somebody chose to install them, then the built-in ones'.

    A backend that yields to other types comes after these.
    """
    waiting = [p for p in sorted(catalogue(), key=lambda p: p.builtin) if not (p.is_overlay or p.disabled)]
    while waiting:
        plugin = waiting.pop(0)
        try:
            backend = registry.get_backend(plugin.device_type)
            found = backend.accelerators()
            before = [i for i, other in enumerate(waiting, 1) if other.device_type in backend.yields_to]
            if found and before:
                waiting.insert(before[-1], plugin)
            elif found:
                chosen = located(plugin.device_type, found[0])
                registry.resolve(chosen)
                return chosen
        except Exception as error:  # a device that cannot be used is no reason to fail: the report tells of it
            _passed_over[plugin.device_type] = str(error)
    return device("cpu")
