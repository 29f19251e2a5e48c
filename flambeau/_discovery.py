"""Hands the plugin manager to core, which asks it for a backend when a device is first named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau.core import registry


def install() -> None:
    """The manager itself is imported at the first question."""

    def discover(device_type: str | None) -> None:
        from flambeau.plugins import manager  # lazy for start-up

        manager.discover(device_type)

    def choose() -> Any:
        from flambeau.plugins import manager  # lazy for start-up

        return manager.default_device()

    def names() -> Iterable[str]:
        from flambeau.plugins import manager  # lazy for start-up

        return manager.device_types()

    registry.install_discoverer(discover, choose, names)
