"""The fixture ``site``: packages that come and go with a test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from flambeau.backends.base import Kernel
from flambeau.core import keys, registry
from flambeau.core.dtype import DType
from flambeau.core.record import Op
from flambeau.plugins import catalogue, manager
from tests.plugins.fakes import Site


@pytest.fixture
def site(tmp_path: Path, settings: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site where tests install packages, with no plugin loaded; afterwards those of before are back."""
    live: list[Any] = [registry.backends, registry.sources, registry.failures, registry.overlays]
    live += [manager._loaded, manager._failed]
    before = [copy(part) for part in live]
    plugins = _swap_hooks([])
    for part in live:
        part.clear()
    folder = tmp_path / "site"
    folder.mkdir()
    settings.syspath_prepend(str(folder))
    made = Site(folder, settings.setenv)
    manager.rescan()
    yield made
    for name in registry.backends.keys() - before[0].keys():
        registry.unregister_backend(name)
    for part, old in zip(live, before, strict=True):
        part.clear()
        part.update(old)
    _swap_hooks(plugins)
    for name in made.modules:
        sys.modules.pop(name, None)
    catalogue.clear_catalogue()
    registry.changed()


def _swap_hooks(plugins: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Register these plugins' hooks in place of the present ones, which are returned."""
    hooks = manager._hooks
    present = hooks.list_name_plugin()
    for _, plugin in present:
        hooks.unregister(plugin)
    for name, plugin in plugins:
        hooks.register(plugin, name)
    return present


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, DType], None]]:
    """Take a kernel of the pretend accelerator away for one dtype."""
    find = keys.native_kernel
    taken: set[tuple[str, DType]] = set()

    def hiding(key: keys.Key, op: Op) -> Kernel | None:
        hidden = key.device.type == "strict" and (op.name, key.dtype) in taken
        return None if hidden else find(key, op)

    def take(name: str, dtype: DType) -> None:
        taken.add((name, dtype))
        registry.changed()  # keys have cached kernels

    monkeypatch.setattr(keys, "native_kernel", hiding)
    yield take
    monkeypatch.undo()
    registry.changed()
