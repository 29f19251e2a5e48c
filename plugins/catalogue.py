"""Which plugins there are, by metadata alone: the built-in ones, the installed ones, those of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points

from flambeau.core import config

GROUP = "flambeau"


@dataclass(frozen=True)
class Plugin:
    """One entry point. ``name`` is a device type, or a device type, a dot and a word (kernels for that device)."""

    name: str
    target: str  # "module" or "module:object"
    distribution: str | None = None  # None: flambeau's own, or named by a setting
    version: str | None = None
    builtin: bool = False
    extra: str | None = None  # the extra of flambeau that installs what a built-in plugin needs
    disabled: bool = False

    @property
    def device_type(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_overlay(self) -> bool:
        return "." in self.name

    @property
    def source(self) -> str:
        """Who answers for the plugin: a distribution, flambeau, or the setting that names it."""
        if self.builtin:
            return "flambeau"
        return f"{self.distribution} {self.version}" if self.distribution else f"FLAMBEAU_PLUGINS ({self.target})"

    @property
    def key(self) -> str:
        """A name that no other plugin has."""
        return f"{self.name} of {self.source}"

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.source})"

    def load(self) -> object:
        """Import the module, or the object in it, that the entry point names."""
        module, _, attributes = self.target.partition(":")
        found: object = import_module(module)
        for attribute in filter(None, attributes.split(".")):
            found = getattr(found, attribute)
        return found


#: flambeau's own plugins. Where several have an accelerator, automatic choice takes the first.
BUILTIN = (
    Plugin("cuda", "flambeau.backends.cuda", builtin=True, extra="cuda12"),
    Plugin("opencl", "flambeau.backends.opencl", builtin=True, extra="opencl"),
    Plugin("cpu", "flambeau.backends.cpu", builtin=True),
    Plugin("meta", "flambeau.backends.meta", builtin=True),
    Plugin("narrow", "flambeau.backends.narrow", builtin=True),
    Plugin("strict", "flambeau.backends.strict", builtin=True),
)


@cache
def catalogue() -> tuple[Plugin, ...]:
    """Every plugin, disabled ones included; read once, until :func:`clear_catalogue`."""
    named = list(_named())
    installed = [p for p in _installed() if p.name not in {n.name for n in named}]  # the setting goes before
    return tuple(_with_settings(p) for p in (*BUILTIN, *installed, *named))


def owners(device_type: str) -> list[Plugin]:
    """The plugins that offer a backend for a device type and are not turned off."""
    return [p for p in catalogue() if p.name == device_type and not p.disabled]


def clear_catalogue() -> None:
    """Read the metadata and the settings anew at the next look."""
    catalogue.cache_clear()
    unreadable.cache_clear()


@cache
def unreadable() -> dict[str, Exception]:
    """The installed packages whose metadata cannot be read, by name or place, each with the error."""
    found = {}
    for distribution in distributions():
        try:
            _ = distribution.entry_points
        except Exception as error:  # of any kind: it is a stranger's file
            found[_name_of(distribution)] = error
    return found


def _name_of(distribution: Distribution) -> str:
    try:
        return distribution.name
    except Exception:
        return str(getattr(distribution, "_path", "a package"))  # where importlib.metadata found it


def _points() -> Iterable[EntryPoint]:
    try:
        return entry_points(group=GROUP)
    except Exception:  # a package that cannot be read must not hide the others
        return dict.fromkeys(p for d in distributions() for p in _points_of(d))  # a folder may be on the path twice


def _points_of(distribution: Distribution) -> Iterable[EntryPoint]:
    try:
        return distribution.entry_points.select(group=GROUP)
    except Exception:
        return ()


def _installed() -> Iterator[Plugin]:
    for point in _points():
        distribution = point.dist
        yield Plugin(
            point.name,
            point.value.partition("[")[0].strip(),
            _name_of(distribution) if distribution is not None else None,
            distribution.version if distribution is not None else None,
        )


def _named() -> Iterator[Plugin]:
    for name, target in config.get("plugins").items():
        yield Plugin(name, target)


def _with_settings(plugin: Plugin) -> Plugin:
    off = config.get("disable_plugins")
    disabled = plugin.name in off or plugin.distribution in off or ("all" in off and not plugin.builtin)
    return replace(plugin, disabled=True) if disabled else plugin
