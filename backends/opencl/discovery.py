"""Which OpenCL devices there are, which of them count, and why the others do not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flambeau.backends.launched.device import Raw
from flambeau.core import config

_CANARY: Final = Path(__file__).with_name("canary.py")
_REMEDY: Final = "`apt install pocl-opencl-icd` gives a driver that runs on every processor"
_INSTALL: Final = 'PyOpenCL is not installed; `pip install "flambeau[opencl]"` brings it and a driver for processors'


@dataclass(frozen=True)
class Found:
    """A device of a driver: pyopencl's object, its place among the driver's, and the reason why it does not count."""

    device: Raw
    platform: int
    number: int
    reason: str | None
    is_accelerator: bool
    """Whether it is hardware of its own, and not a driver that runs on the processor."""

    @property
    def label(self) -> str:
        return f"{self.device.name.strip()} ({self.device.platform.name.strip()})"


def discover() -> tuple[Raw, list[Found], str | None]:
    """The module pyopencl; every device, the usable ones first in the order of their numbers; why none is usable."""
    try:
        import pyopencl as cl  # an optional package, and 0.1 s
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "pyopencl"
        return None, [], _INSTALL if missing else f"PyOpenCL cannot be imported ({error}); reinstall it with pip"
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:  # no driver at all is an error in OpenCL, not an empty list
        return None, [], f"no OpenCL driver is installed ({error}); {_REMEDY}"
    verdicts = _Verdicts(cl)
    found = []
    for i, platform in enumerate(platforms):
        with contextlib.suppress(cl.Error):  # a platform without devices
            found += [
                Found(d, i, j, verdicts.of(d, i, j), not d.type & cl.device_type.CPU)
                for j, d in enumerate(platform.get_devices())
            ]
    verdicts.save()
    found.sort(key=lambda f: _order(f, cl))
    return cl, found, None if any(f.reason is None for f in found) else _why_none(found)


def _order(found: Found, cl: Raw) -> tuple[Any, ...]:
    wanted = config.get("opencl_device")
    named = wanted is not None and wanted.lower() in found.label.lower()
    kinds = (cl.device_type.GPU, cl.device_type.ACCELERATOR, cl.device_type.CPU)
    kind = next((i for i, k in enumerate(kinds) if found.device.type & k), len(kinds))
    platform = found.device.platform
    newest = tuple(-int(n) for n in re.findall(r"\d+", platform.version)[:4])  # of OpenCL, and of the driver
    return (found.reason is not None, not named, kind, platform.name, newest, found.label, found.platform, found.number)


def _why_none(found: list[Found]) -> str:
    if not found:
        return f"the installed OpenCL drivers offer no device; {_REMEDY}"
    listing = "; ".join(f"{f.label}: {f.reason}" for f in found)
    return f"no OpenCL device can run a program: {listing}. {_REMEDY}"


class _Verdicts:
    """What the canary said of each driver and device, kept on disk by their versions."""

    def __init__(self, cl: Raw):
        self.library = cl.VERSION_TEXT
        self.path = Path(config.get("cache_dir")) / "opencl-devices.json"
        self.known: dict[str, str] = {}
        self.changed = False
        with contextlib.suppress(OSError, ValueError):
            self.known = dict(json.loads(self.path.read_text()))

    def of(self, device: Raw, platform: int, number: int) -> str | None:
        """The reason why a device does not count; None when it does."""
        parts = (device.platform.name, device.platform.version, device.name, device.version, device.driver_version)
        key = " | ".join((*(p.strip() for p in parts), self.library))
        verdict = self.known.get(key)
        if verdict is None:
            verdict = self.known[key] = run_canary(platform, number)
            self.changed = True
        return None if verdict == "ok" else verdict

    def save(self) -> None:
        """Keep new verdicts; a folder that cannot be written costs the next start a second."""
        if not self.changed:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, suffix=".json")
            with os.fdopen(handle, "w") as file:
                json.dump(self.known, file, indent=1)
            os.replace(name, self.path)


def run_canary(platform: int, number: int) -> str:
    """Run the canary on one device in a process of its own: "ok" or the reason, with the remedy."""
    limit = config.get("probe_timeout")
    command = [sys.executable, "-P", str(_CANARY), str(platform), str(number)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"a test program did not finish within {limit:g} s (FLAMBEAU_PROBE_TIMEOUT)"
    said = done.stdout.strip().splitlines()
    if done.returncode != 0 or not said:
        return f"its driver crashed on a test program (exit status {done.returncode})"
    verdict = said[-1]
    if "unknown target CPU" in verdict or "unknown target CPU" in done.stderr:
        return f"its compiler does not know this processor (as with PoCL from pip on new ones); {_REMEDY}"
    return verdict
