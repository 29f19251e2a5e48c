"""Every setting of flambeau: one row of one table, read at first use.

An argument beats :func:`override` (a context manager, for this thread or task) beats :func:`set` (for
the process) beats the environment variable beats the default:

>>> get("fallback"), source("fallback")
('error', 'default')
>>> with override(fallback="warn"):
...     get("fallback"), source("fallback"), get("fallback", "allow")
('warn', 'override', 'allow')

This is the lowest layer: it imports nothing of flambeau.
"""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

PREFIX = "FLAMBEAU_"
MAX_THREADS = 1024  # that many start in a tenth of a second; a slip of the keyboard would start them for ever
_MAX_SECONDS = 1e6


class ConfigError(ValueError):
    """A setting has a value that it cannot have, or there is no such setting."""


# -- parsers: text of the environment, or the value that a program gives, to the value that `get` returns ------
def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    names = tuple(p.strip() for p in parts if p.strip())
    if not names and isinstance(value, str) and value.strip():
        raise ValueError("no name in it")
    return names


def _devices(value: str | Iterable[str]) -> tuple[str, ...]:
    names = tuple(n.lower() for n in _names(value))
    if "auto" in names and len(names) > 1:
        raise ValueError("'auto' stands alone")
    return () if names == ("auto",) else names  # nothing named: choose


def _plugin_modules(value: str | Iterable[str] | Mapping[str, str]) -> Mapping[str, str]:
    pairs = list(value.items() if isinstance(value, Mapping) else (p.partition("=")[::2] for p in _names(value)))
    found = {name.strip(): target.strip() for name, target in pairs}
    if not all(found) or not all(found.values()) or len(found) < len(pairs):
        raise ValueError("each entry needs a name of its own and a module")
    return MappingProxyType(found)


def _device_types(value: str | Mapping[str, str]) -> Mapping[str, str]:
    found = {name.lower(): target.lower() for name, target in _plugin_modules(value).items()}
    chained = [name for name, target in found.items() if target in found]
    if chained or not all(part.isidentifier() for pair in found.items() for part in pair):
        raise ValueError("each is a type of device that is no alias, without an index")
    return MappingProxyType(found)


def _policy(value: str) -> str:
    chosen = value.strip().lower()
    if chosen not in ("error", "warn", "allow"):
        raise ValueError("not one of them")
    return chosen


def _count(value: str | int) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError("not a whole number")
    number = int(value)
    if not 1 <= number <= MAX_THREADS:
        raise ValueError("out of range")
    return number


def _seconds(value: str | float) -> float:
    if isinstance(value, bool):
        raise TypeError("not a number")
    number = float(value)
    if not 0 < number <= _MAX_SECONDS:
        raise ValueError("out of range")
    return number


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _bytes(value: str | int | None) -> int | None:
    if value is None or isinstance(value, str) and value.strip().lower() in ("", "none"):
        return None
    text = str(value).strip().upper().removesuffix("IB").removesuffix("B")
    digits = text.rstrip("KMGT")
    number = float(digits) * _UNITS[text[len(digits) :]]
    if not 0 <= number < 1 << 63:
        raise ValueError("not a size")
    return int(number)


def _switch(value: str | bool) -> bool:
    text = str(value).strip().lower()
    if text not in ("1", "true", "on", "yes", "0", "false", "off", "no", ""):
        raise ValueError("neither on nor off")
    return text in ("1", "true", "on", "yes")


def _path(value: str | Path) -> Path:
    path = Path(value).expanduser()
    there = next((p for p in (path, *path.parents) if p.exists()), None)
    if isinstance(value, str) and not value.strip() or there is not None and not there.is_dir():
        raise ValueError("not a folder")
    return path


def _debug_level(value: str) -> str:
    chosen = value.strip().lower()
    if chosen not in ("off", "info", "detail"):
        raise ValueError("not one of them")
    return chosen


def _processor(value: str) -> str:
    chosen = value.strip().lower()
    if chosen not in ("host", "avx512", "avx2", "sse", "none"):
        raise ValueError("not one of them")
    return chosen


def _optional_text(value: str | None) -> str | None:
    return (value or "").strip() or None


def shown(value: object) -> str:
    """A value in an error, of any length."""
    try:
        text = repr(value)
    except ValueError:  # an int that Python does not write out
        return f"<{type(value).__name__} too long to show>"
    return text if len(text) <= 200 else text[:197] + "..."


# -- defaults that the machine decides -----------------------------------------------------------------------
def _cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine's."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1


def torch_debug_level() -> str:
    """The level of checks between processes in torch's own variable; one that it does not know is none."""
    text = os.environ.get("TORCH_DISTRIBUTED_DEBUG", "off").strip().lower()
    return text if text in ("info", "detail") else "off"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flambeau"


# -- the table -----------------------------------------------------------------------------------------------
class Setting(NamedTuple):
    """One row: the setting's name, how its value is read, its default and what it does."""

    name: str
    parse: Callable[[Any], Any]
    default: Any  # the value, or a function without arguments that finds it
    default_text: str
    values: str  # what it may be, for people
    doc: str

    @property
    def variable(self) -> str:
        """The environment variable, as in ``FLAMBEAU_FALLBACK``."""
        return PREFIX + self.name.upper()

    def read(self, value: Any, where: str) -> Any:
        """``value`` parsed; ConfigError says where it stood and what it may be."""
        try:
            return self.parse(value)
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"{where}={shown(value)} is not a valid setting; expected {self.values}") from error


SETTINGS: Mapping[str, Setting] = MappingProxyType({
    row.name: row
    for row in (
        Setting("device", _devices, ("cpu",), "cpu",
                "a comma-separated list of devices such as 'cuda,opencl:0,cpu', or 'auto'",
                "The default device. One name: that device, or an error that says why it is not available. "
                "A list: the first that is available. `auto` or an empty text: the best accelerator, else the cpu."),
        Setting("plugins", _plugin_modules, MappingProxyType({}), "none",
                "a comma-separated list of name=module, such as 'npu=my_package.backend'",
                "Plugin modules to use beside the installed ones, or in place of one of the same name. The name is the "
                "device type that the module offers."),
        Setting("disable_plugins", _names, (), "none",
                "a comma-separated list of plugin names, or 'all' for every plugin that is not built in",
                "Plugins that are never imported, by the name of their entry point."),
        Setting("device_alias", _device_types, MappingProxyType({}), "none",
                "a comma-separated list such as 'cuda=opencl,mps=cpu'",
                "Types of devices that stand for others: a program that names the first runs on the second."),
        Setting("fallback", _policy, "error", "error", "error, warn or allow",
                "What happens when a device has no kernel for an op and the op no decomposition: an error, or the "
                "op runs on the cpu, with a warning the first time or silently; both are counted."),
        Setting("num_threads", _count, _cores, "the cores that the process may use",
                f"a number of at least 1 and at most {MAX_THREADS}",
                "How many host threads the kernels use, matrix products included."),
        Setting("cache_dir", _path, _user_cache, "~/.cache/flambeau (or $XDG_CACHE_HOME/flambeau)", "a folder",
                "Where compiled kernels are kept between runs."),
        Setting("cache_size", _bytes, 256 << 20, "256M", "a number of bytes such as '100M' (K, M, G, T), or 'none'",
                "How much is kept there of each kind of kernels, the oldest going first; 0 keeps nothing, none has no "
                "bound."),
        Setting("cpu_code", _processor, "host", "host", "host, avx512, avx2, sse or none",
                "The processor that machine code for the CPU is made for; `host` is this one, and with `none` numpy "
                "computes everything."),
        Setting("cpu_cache", _bytes, 1 << 30, "1G", "a number of bytes such as '512M' or '2G' (K, M, G, T), or 'none'",
                "How much memory of large arrays that were freed the CPU keeps for the next ones, where it has machine "
                "code; never more than was in use at once. 0 keeps nothing, none has no bound."),
        Setting("memory_limit", _bytes, None, "none",
                "a number of bytes such as '512M' or '2G' (K, M, G, T), or 'none'",
                "The most memory that a backend with an allocator of its own may hold on one device; on the CPU that "
                "of large arrays, where it has machine code."),
        Setting("probe_timeout", _seconds, 30.0, "30", "a number of seconds above 0, at most a million",
                "How long a plugin or a driver may take to answer a probe in a process of its own."),
        Setting("opencl_device", _optional_text, None, "none", "a part of a device's or a platform's name",
                "Puts the OpenCL devices whose name or platform contains this text first, whatever its case."),
        Setting("distributed_debug", _debug_level, torch_debug_level, "off (or $TORCH_DISTRIBUTED_DEBUG)",
                "off, info or detail",
                "`info`: a process tells what it waits for from others once it has waited long. `detail`: before each "
                "collective all ranks compare what they ask for, and a difference is an error that names them."),
        Setting("distributed_patience", _seconds, 10.0, "10", "a number of seconds above 0, at most a million",
                "How long a process waits for others before it tells, with `distributed_debug`; then each time that "
                "this has doubled."),
        Setting("debug_slow_path", _switch, False, "0", "0 or 1",
                "Sends every op through the uniform path, the definition of each op, past the generated fast paths."),
    )
})  # fmt: skip

_from_set: dict[str, Any] = {}
_from_environment: dict[str, Any] = {}
_from_default: dict[str, Any] = {}
_overrides: ContextVar[Mapping[str, Any]] = ContextVar("flambeau.config", default=MappingProxyType({}))


def _setting(name: str) -> Setting:
    row = SETTINGS.get(name)
    if row is None:
        close = difflib.get_close_matches(name, SETTINGS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(SETTINGS)}"
        raise ConfigError(f"there is no setting {name!r}{hint}")
    return row


def get(name: str, argument: Any = None) -> Any:  # each setting has a type of its own
    """The value of a setting; ``argument``, when it is not None, is checked and wins.

    ConfigError names the environment variable, its value and what it may be.
    """
    if argument is not None:
        return _setting(name).read(argument, name)
    for found in (_overrides.get(), _from_set, _from_environment, _from_default):
        if name in found:
            return found[name]
    return _first_use(_setting(name))


def _first_use(row: Setting) -> Any:
    text = os.environ.get(row.variable)
    if text is not None:
        value = _from_environment[row.name] = row.read(text, row.variable)
    else:
        value = _from_default[row.name] = row.default() if callable(row.default) else row.default
    return value


def source(name: str) -> str:
    """Where the value comes from: 'override', 'set', 'environment' or 'default'."""
    row = _setting(name)
    if name in _overrides.get():
        return "override"
    if name in _from_set:
        return "set"
    if name in _from_environment or name not in _from_default and row.variable in os.environ:
        return "environment"
    return "default"


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _setting(name).read(value, name) for name, value in values.items()}


def set(**values: Any) -> None:
    """Set values for the whole process, over the environment: ``config.set(fallback="warn")``."""
    _from_set.update(_checked(values))


@contextmanager
def override(**values: Any) -> Iterator[None]:
    """Other values inside a ``with`` block, for this thread or asyncio task."""
    token = _overrides.set({**_overrides.get(), **_checked(values)})
    try:
        yield
    finally:
        _overrides.reset(token)


def reset(*names: str) -> None:
    """Forget what :func:`set` was told and read the environment anew; for all settings when none is named."""
    global _environment_is_checked
    _environment_is_checked = False
    for name in names or SETTINGS:
        _setting(name)
        for found in (_from_set, _from_environment, _from_default):
            found.pop(name, None)


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none, misspelt ones above all."""
    known = frozenset(row.variable for row in SETTINGS.values())
    return sorted(v for v in os.environ if v.upper().startswith(PREFIX) and v not in known)


_environment_is_checked = False


def check_environment() -> None:
    """Before the first device is used: ConfigError for a variable whose value is wrong, a warning for unknown ones.

    Most settings are read when something needs them, which may be late or never.
    """
    global _environment_is_checked
    if _environment_is_checked:
        return
    for row in SETTINGS.values():
        text = os.environ.get(row.variable)
        if text is not None and source(row.name) == "environment":
            row.read(text, row.variable)
    _environment_is_checked = True
    unknown = [] if _is_child() else unknown_variables()
    if unknown:
        variables = [row.variable for row in SETTINGS.values()]
        close = {v: difflib.get_close_matches(v.upper(), variables, 1) for v in unknown}
        listed = ", ".join(f"{v} (did you mean {c[0]}?)" if c else v for v, c in close.items())
        warnings.warn(
            f"variables of the environment that are no settings: {listed}; `python -m flambeau doctor` lists those "
            "there are",
            stacklevel=2,
        )


def _is_child() -> bool:
    """Whether multiprocessing started this process: its parent has warned already."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def markdown() -> str:
    """The table as a page of the documentation, ``docs/configuration.md``."""
    lines = [
        "# Configuration",
        "",
        "<!-- Generated from SETTINGS in core/config.py; tests/core/test_config.py says how. -->",
        "",
        "Every setting can come from an environment variable, which is read at first use. An argument beats",
        "`config.override(...)`, a context manager, which beats `config.set(...)`, which beats the environment, which",
        "beats the default. `python -m flambeau doctor` shows each value and where it came from.",
        "",
        "```python",
        "from flambeau.core import config",
        "",
        'config.set(fallback="warn")  # for the process',
        "with config.override(num_threads=1):  # for this thread, inside the block",
        '    print(config.get("num_threads"), config.source("num_threads"))',
        "```",
        "",
        "| Variable | Name | Values | Default | What it does |",
        "| --- | --- | --- | --- | --- |",
        *(f"| `{r.variable}` | `{r.name}` | {r.values} | {r.default_text} | {r.doc} |" for r in SETTINGS.values()),
        "",
    ]
    return "\n".join(lines)
