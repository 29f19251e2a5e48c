"""The meta backend: shapes, strides and dtypes without data, to see what a model would do and need."""

from __future__ import annotations

from flambeau.backends.base import Backend


def flambeau_backends() -> Backend:
    """The hook: the backend, imported when its device is asked for."""
    from flambeau.backends.meta.backend import MetaBackend  # lazy for start-up: naming a plugin imports none of it

    return MetaBackend()
