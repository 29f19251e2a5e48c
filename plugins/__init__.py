"""Plugins: how backend packages are found, loaded, quarantined and reported.

A backend package declares an entry point in the group ``flambeau`` whose name is its device type and whose
value is a module with a hook (:mod:`flambeau.plugins.hookspecs`). ``docs/writing-a-backend`` walks through one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau.plugins.gaps import preflight as preflight
    from flambeau.plugins.hookspecs import hookimpl as hookimpl

_HOMES = {"hookimpl": "hookspecs", "preflight": "gaps"}  # imported when asked for: the marker needs pluggy


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
