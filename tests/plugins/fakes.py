"""A site-packages of a test's own, with packages that exist as metadata and one module each."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from flambeau.plugins import manager

#: The start of a plugin's module: a backend class without storage, enough to be found and loaded.
BACKEND = """
from flambeau.backends.base import Backend, KernelTable

class Toy(Backend):
    api_version = 1
    array = list
    kernels = KernelTable("toy")

    def __init__(self, device_type):
        self.device_type = device_type
"""


class Site:
    """Packages to be found by entry point."""

    def __init__(self, folder: Path, setenv: Callable[[str, str], None]):
        self.folder = folder
        self.setenv = setenv
        self.modules: list[str] = []

    def package(self, name: str, source: str, points: dict[str, str] | None = None, *, version: str = "1.0") -> None:
        """Install ``name`` with one module and its entry points, by default one of the package's own name."""
        module = name.replace("-", "_")
        self.modules.append(module)
        (self.folder / f"{module}.py").write_text(BACKEND + textwrap.dedent(source))
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{point} = {target}" for point, target in (points or {name: module}).items()]
        (info / "entry_points.txt").write_text("[flambeau]\n" + "\n".join(lines) + "\n")
        manager.rescan()

    def imported(self) -> list[str]:
        return [m for m in self.modules if m in sys.modules]
