"""Looks at one plugin, in a process of its own: a native driver may crash or hang, and only this process with it.

``python -m flambeau.plugins.probe KEY FILE`` writes what it finds as JSON to FILE. :func:`probe_all` starts
such processes and says what became of those that did not finish.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flambeau.backends.base import Backend
from flambeau.core import config, registry
from flambeau.core import dtype as dt
from flambeau.core.device import located
from flambeau.plugins import manager
from flambeau.plugins.catalogue import Plugin, catalogue
from flambeau.plugins.gaps import lacks_of_minimum

#: What flambeau itself needs.
DEPENDENCIES = ("numpy", "ml_dtypes", "llvmlite", "safetensors", "pluggy", "tqdm")

#: In place of a plugin's key: which device the setting `device` picks.
DEFAULT_DEVICE = "the default device"


# -- the parent ------------------------------------------------------------------------------------------------
def probe_all(keys: Iterable[str]) -> list[dict[str, Any]]:
    """The findings for each key (:attr:`Plugin.key`), each from a process of its own, a few at a time."""
    limit = config.get("probe_timeout")
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda key: _in_child(key, limit), keys))


def _in_child(key: str, limit: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="flambeau-probe-") as folder:
        found, said = Path(folder, "found.json"), Path(folder, "stderr.txt")
        with said.open("wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "flambeau.plugins.probe", key, str(found)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,
            )
            try:
                code = child.wait(limit)
            except subprocess.TimeoutExpired:
                _kill(child)
                reason = f"no answer within {limit:g} s (FLAMBEAU_PROBE_TIMEOUT); its driver may hang"
                return {"state": "timed out", "reason": reason, "traceback": _tail(said)}
        if code == 0 and found.exists():
            result: dict[str, Any] = json.loads(found.read_text())
            return result
        return {
            "state": "crashed",
            "reason": f"its process {_ending(code)} while it was probed",
            "traceback": _tail(said),
        }


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started."""
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-4000:]


# -- the child -------------------------------------------------------------------------------------------------
def probe(key: str) -> dict[str, Any]:
    """What one plugin offers in this process, or why it is off."""
    plugin = next(p for p in catalogue() if p.key == key)
    before = set(sys.modules)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager.discover(plugin.device_type)
        status = next(s for s in manager.plugin_report() if s.plugin is plugin)
        if status.state != "loaded":
            return {"state": status.state, "reason": status.reason, "traceback": status.traceback}
        found = _overlays(plugin) if plugin.is_overlay else _backend(registry.get_backend(plugin.device_type))
    return found | {"libraries": _libraries(sys.modules.keys() - before)}


def _backend(backend: Backend) -> dict[str, Any]:
    reason = backend.unavailable_reason()
    if reason is not None:
        return {"state": "unavailable", "reason": reason, "notes": backend.notes()}
    return {
        "state": "available",
        "notes": backend.notes(),
        "api_version": backend.api_version,
        "capabilities": sorted(backend.capabilities),
        "lacks": _lacks(backend),
        "devices": [_device(backend, i) for i in range(backend.device_count())],
    }


def _lacks(backend: Backend) -> list[str]:
    """The kernels of the minimum that its first device has not."""
    return lacks_of_minimum(located(backend.device_type)) if backend.device_count() else []


def _device(backend: Backend, index: int) -> dict[str, Any]:
    """One device; a small allocation shows whether it works."""
    row: dict[str, Any] = {"device": str(located(backend.device_type, index))}
    try:
        properties = backend.properties(index)
        row |= {"name": properties.name, "total_memory": properties.total_memory, "details": properties.details}
        row["dtypes"] = [d.name for d in dt.ALL if backend.supports(d, index)]
        held = {d.name: backend.stored(d, index) for d in dt.ALL if d.name not in row["dtypes"]}
        row["held"] = {name: d.name for name, d in held.items() if d is not None}
        backend.empty((4,), dt.float32, index)
        backend.synchronize(index)
        backend.check(index)
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}"
    return row


def _overlays(plugin: Plugin) -> dict[str, Any]:
    kernels = [name for (_, name), stack in registry.overlays.items() if any(o.source == plugin.key for o in stack)]
    return {"state": "available", "kernels": sorted(kernels)}


def _libraries(modules: Iterable[str]) -> dict[str, str]:
    """The versions of the libraries that loading a plugin brought in."""
    top = {m.partition(".")[0] for m in modules} - sys.stdlib_module_names - {"flambeau", *DEPENDENCIES}
    versions = {name: getattr(sys.modules.get(name), "__version__", None) for name in sorted(top)}
    return {name: version for name, version in versions.items() if isinstance(version, str)}


def _default_device() -> dict[str, Any]:
    try:
        return {"state": "available", "device": str(manager.default_device())}
    except Exception as error:
        return {"state": "failed", "reason": str(error), "traceback": traceback.format_exc()}


def main(key: str, file: str) -> None:
    found = _default_device() if key == DEFAULT_DEVICE else probe(key)
    Path(file).write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
