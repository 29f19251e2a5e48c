"""Plugins: how backend packages are found, loaded, quarantined and reported.

A backend package declares an entry point in the group ``flambeau`` whose name is its device type and whose
value is a module with a hook (:mod:`flambeau.plugins.hookspecs`). ``docs/writing-a-backend`` walks through one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.plugins.hookspecs import hookimpl as hookimpl


def __getattr__(name: str) -> Any:
    if name == "hookimpl":  # the marker needs pluggy, which `import flambeau` leaves alone
        from flambeau.plugins.hookspecs import hookimpl

        return hookimpl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
