"""``python -m flambeau doctor``: what is there, what is off and why, and where every setting came from."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import flambeau
from flambeau.backends.base import API_VERSION
from flambeau.core import config
from flambeau.plugins.catalogue import Plugin, catalogue, unreadable
from flambeau.plugins.probe import DEFAULT_DEVICE, DEPENDENCIES, probe_all

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_BROKEN = ("failed", "crashed", "timed out")


def report() -> dict[str, Any]:
    """Everything that doctor knows, as values that JSON can hold."""
    plugins, default = _plugins()
    return {
        "flambeau": flambeau.__version__,
        "location": str(Path(flambeau.__file__).parent),
        "plugin_api": API_VERSION,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in DEPENDENCIES},
        "threads": _threads(),
        "default_device": default,
        "plugins": plugins,
        "settings": [_setting(row) for row in config.SETTINGS.values()],
        "unreadable": {name: str(error) for name, error in unreadable().items()},
        "unknown_variables": config.unknown_variables(),
    }


def _plugins() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each plugin, and the default device."""
    try:
        plugins = catalogue()
    except config.ConfigError as error:
        return [], {"state": "failed", "reason": str(error)}
    *found, default = probe_all([*(p.key for p in plugins), DEFAULT_DEVICE])
    return [_row(p) | f for p, f in zip(plugins, found, strict=True)], default


def _row(plugin: Plugin) -> dict[str, Any]:
    return {"name": plugin.name, "source": plugin.source, "module": plugin.target, "builtin": plugin.builtin}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> dict[str, Any]:
    try:
        count = config.get("num_threads")
    except config.ConfigError:
        count = None
    return {
        "num_threads": count,
        "machine_cores": os.cpu_count(),
        "environment": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    }


def _setting(row: config.Setting) -> dict[str, Any]:
    made: dict[str, Any] = {"name": row.name, "variable": row.variable, "source": config.source(row.name)}
    try:
        value = config.get(row.name)
    except config.ConfigError as error:
        return made | {"value": os.environ.get(row.variable), "error": str(error)}
    return made | {"value": _plain(value)}


def _plain(value: Any) -> Any:
    """A setting's value as JSON has it."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def problems(found: Mapping[str, Any]) -> list[str]:
    """What is broken, as against merely not there."""
    broken = [f"plugin {p['name']}: {p['reason']}" for p in found["plugins"] if p["state"] in _BROKEN]
    ill = [f"{d['device']}: {d['error']}" for p in found["plugins"] for d in p.get("devices", ()) if "error" in d]
    short = [f"plugin {p['name']}: {_lack(p['lacks'])}" for p in found["plugins"] if p.get("lacks")]
    default = found["default_device"]
    unset = [f"default device: {default['reason']}"] if default["state"] in _BROKEN else []
    wrong = [s["error"] for s in found["settings"] if "error" in s]
    unread = [f"package {name}: its entry points cannot be read: {why}" for name, why in found["unreadable"].items()]
    unknown = [f"{name} is not a setting of flambeau; it has no effect" for name in found["unknown_variables"]]
    others = [line for line in broken + ill + short + unset if not any(error in line for error in wrong)]
    return others + wrong + unread + unknown  # a wrong setting is nobody else's fault


# -- text ------------------------------------------------------------------------------------------------------
def text(found: Mapping[str, Any]) -> str:
    """The report for people."""
    return "\n".join([*_versions(found), "", *_plugin_lines(found), "", *_setting_lines(found), "", *_verdict(found)])


def _versions(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"flambeau {found['flambeau']}, plugin API {found['plugin_api']}, in {found['location']}"
    yield f"python {found['python']} ({found['executable']}) on {found['platform']}"
    yield ", ".join(f"{name} {version or 'missing'}" for name, version in found["libraries"].items())
    threads = found["threads"]
    limits = "".join(f", {name}={value}" for name, value in threads["environment"].items())
    yield f"threads: {threads['num_threads']} of {threads['machine_cores']} cores{limits}"
    default = found["default_device"]
    yield f"default device: {default.get('device') or default['state'] + ': ' + default['reason']}"


def _plugin_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield "Plugins"
    rows = found["plugins"]
    width = max((len(p["name"]) for p in rows), default=0)
    for p in rows:
        by = "" if p["builtin"] else f"  [{p['source']}]"
        yield f"  {p['name']:{width}}  {p['state']}{by}"
        pad = " " * (width + 4)
        if p.get("reason"):
            yield pad + p["reason"].replace("\n", "\n" + pad)
        for d in p.get("devices", ()):
            yield pad + _device_line(d)
            if d.get("held"):
                yield f"{pad}  {', '.join(f'{name} is held as {other}' for name, other in d['held'].items())}"
        if p.get("lacks"):
            yield pad + _lack(p["lacks"])
        for note in p.get("notes", ()):
            yield pad + note
        if p.get("kernels"):
            yield f"{pad}kernels: {', '.join(p['kernels'])}"
        if p.get("libraries"):
            yield pad + ", ".join(f"{name} {version}" for name, version in p["libraries"].items())


def _lack(names: list[str]) -> str:
    return f"no kernel for {', '.join(names)}, which every backend must have: what decomposes to it fails"


def _device_line(d: Mapping[str, Any]) -> str:
    memory = f", {d['total_memory'] / 2**30:.1f} GiB" if d.get("total_memory") else ""
    details = "".join(f", {name} {value}" for name, value in (d.get("details") or {}).items())
    error = f"; DOES NOT WORK: {d['error']}" if "error" in d else ""
    return f"{d['device']}: {d.get('name', '?')}{memory}{details}{error}"


def _setting_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield "Settings"
    rows = found["settings"]
    width = max(len(s["variable"]) for s in rows)
    for s in rows:
        yield f"  {s['variable']:{width}}  {_shown(s['value'])}  ({s['source']})"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{name}={target}" for name, target in value.items()]
    if isinstance(value, list):
        return ",".join(value) or "none"
    return "none" if value is None else str(value)


def _verdict(found: Mapping[str, Any]) -> list[str]:
    broken = problems(found)
    return ["Problems", *(f"  {line}" for line in broken)] if broken else ["No problems found"]


def main(as_json: bool = False) -> int:
    """Print the report; 1 when something is broken, 0 also where a device is merely not there."""
    found = report()
    print(json.dumps(found, indent=2, default=str) if as_json else text(found))
    return 1 if problems(found) else 0
