"""The meta backend: shapes, strides and dtypes without data, to see what a model would do and need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.backends.meta.backend import MetaBackend


def flambeau_backends() -> list[MetaBackend]:
    from flambeau.backends.meta.backend import MetaBackend

    return [MetaBackend()]


def __getattr__(name: str) -> Any:
    if name in ("MetaBackend", "NoDataError"):
        from flambeau.backends.meta import backend

        return getattr(backend, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
