"""The strict backend: a pretend accelerator with two devices, for tests on machines without one.

It is as unforgiving as hardware is: its memory is its own (numpy arrays are refused, its arrays cannot be read
without a copy to the host), it has no float64, some ops are missing, new memory holds rubbish, a bad index is
reported late, and a forked child has no device. With :func:`inject` it fails on demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.backends.strict.backend import StrictBackend
    from flambeau.backends.strict.faults import inject as inject


def flambeau_backends() -> list[StrictBackend]:
    from flambeau.backends.strict.backend import instance

    return [instance()]


def __getattr__(name: str) -> Any:
    if name == "inject":
        from flambeau.backends.strict.faults import inject

        return inject
    if name in ("StrictBackend", "instance", "MISSING"):
        from flambeau.backends.strict import backend

        return getattr(backend, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
