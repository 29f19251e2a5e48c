"""``python -m flambeau doctor``: it tells the truth about plugins that work, fail, crash and hang."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from flambeau.core import config
from flambeau.plugins import doctor
from flambeau.plugins.catalogue import catalogue
from flambeau.plugins.probe import probe_all
from tests.plugins.fakes import Site

WORKING = """
import numpy as np
from flambeau.backends.base import DeviceProperties

__version__ = "4.5"

class Acme(Toy):
    def device_count(self):
        return 2
    def properties(self, index=0):
        return DeviceProperties(f"Acme {index}", 3 << 30, {"revision": "B"})
    def empty(self, shape, dtype, index=0):
        if index == 1:
            raise RuntimeError("the card does not answer")
        return [0.0] * 4
    def supports(self, dtype, index=0):
        return dtype.itemsize <= 4
    def notes(self):
        return ["an old Acme does not count: update its firmware"]

def flambeau_backends():
    return Acme("acme")
"""


def row_of(found: dict[str, object], name: str) -> dict[str, object]:
    rows = found["plugins"]
    assert isinstance(rows, list)
    return next(r for r in rows if r["name"] == name)


def test_each_kind_of_trouble_is_told_apart(site: Site) -> None:
    site.setenv("FLAMBEAU_DISABLE_PLUGINS", "off_one")
    site.setenv("FLAMBEAU_DEVICES", "acme")
    site.package("acme", WORKING)
    site.package("absent", "class A(Toy):\n    def unavailable_reason(self): return 'insert a card'\n"
                           "def flambeau_backends(): return A('absent')")  # fmt: skip
    site.package("raising", "print('chatter')\nraise OSError('libx.so: cannot open')")
    site.package("segfault", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    site.package("exiting", "import os\nos._exit(7)")
    site.package("newer", "Toy.api_version = 2\ndef flambeau_backends(): return Toy('newer')")
    site.package("off_one", "raise RuntimeError('never imported')")
    site.package(
        "fast",
        "def flambeau_register_kernels(register):\n    register('acme', 'exp', lambda k: k)",
        {"acme.fast": "fast"},
    )

    found = doctor.report()
    assert json.loads(json.dumps(found)) == found

    acme = row_of(found, "acme")
    assert acme["state"] == "available" and acme["source"] == "acme 1.0"
    first, second = acme["devices"]  # type: ignore[misc]
    assert first["device"] == "acme:0" and first["name"] == "Acme 0" and "error" not in first
    assert "float32" in first["dtypes"] and "float64" not in first["dtypes"]
    assert second["error"] == "RuntimeError: the card does not answer"
    assert acme["libraries"]["acme"] == "4.5"  # type: ignore[index]
    assert "add" in acme["lacks"] and row_of(found, "cpu")["lacks"] == row_of(found, "strict")["lacks"] == []
    assert row_of(found, "acme.fast")["kernels"] == ["exp"]

    expected = {
        "absent": ("unavailable", "insert a card"),
        "raising": ("failed", "libx.so: cannot open"),
        "segfault": ("crashed", "killed by SIGSEGV"),
        "exiting": ("crashed", "exit status 7"),
        "newer": ("failed", "built for plugin API 2"),
        "off_one": ("disabled", "FLAMBEAU_DISABLE_PLUGINS"),
    }
    for name, (state, words) in expected.items():
        row = row_of(found, name)
        assert (row["state"], words in str(row["reason"])) == (state, True), row
    assert "Segmentation fault" in str(row_of(found, "segfault")["traceback"])
    assert row_of(found, "cpu")["state"] == row_of(found, "meta")["state"] == "available"

    text = doctor.text(found)
    assert "  an old Acme does not count: update its firmware\n" in text
    assert re.search(r"acme +available  \[acme 1\.0\]\n +acme:0: Acme 0, 3\.0 GiB, revision B\n", text)
    listed = text.partition("Problems\n")[2]
    for words in (
        "raising",
        "segfault",
        "newer",
        "acme:1: RuntimeError",
        "plugin acme: no kernel for neg, abs,",
        "FLAMBEAU_DEVICES is not a setting",
    ):
        assert words in listed
    assert "absent" not in listed and "off_one" not in listed


def test_a_plugin_that_hangs_is_ended_with_what_it_started(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "child"
    site.package(
        "hanging",
        f"""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(mark)!r}, "w").write(str(child.pid))
        time.sleep(60)
    """,
    )
    site.setenv("FLAMBEAU_PROBE_TIMEOUT", "3")
    (found,) = probe_all(p.key for p in catalogue() if p.name == "hanging")
    assert found["state"] == "timed out" and "no answer within 3 s (FLAMBEAU_PROBE_TIMEOUT)" in found["reason"]
    process = Path("/proc", mark.read_text())
    if process.parent.is_dir():
        for _ in range(100):
            if not process.exists() or " Z " in (process / "stat").read_text():
                break
            time.sleep(0.05)
        else:
            pytest.fail("the process that the plugin started is still there")


def test_where_each_setting_came_from(site: Site) -> None:
    site.setenv("FLAMBEAU_NUM_THREADS", "1")
    site.setenv("FLAMBEAU_FALLBACK", "sometimes")
    config.set(memory_limit="1G")
    rows = {s["name"]: s for s in map(doctor._setting, config.SETTINGS.values())}
    assert rows.keys() == config.SETTINGS.keys()
    assert (rows["num_threads"]["value"], rows["num_threads"]["source"]) == (1, "environment")
    assert (rows["memory_limit"]["value"], rows["memory_limit"]["source"]) == (1 << 30, "set")
    assert rows["cache_dir"]["source"] == "default"
    assert rows["fallback"]["value"] == "sometimes" and "error, warn or allow" in rows["fallback"]["error"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FLAMBEAU_PLUGINS", "nonsense", "FLAMBEAU_PLUGINS='nonsense'"),
        ("FLAMBEAU_DEVICE", "nosuch", "FLAMBEAU_DEVICE=nosuch: unknown device type 'nosuch'"),
    ],
)
def test_wrong_settings_do_not_stop_it(site: Site, variable: str, value: str, words: str) -> None:
    site.setenv(variable, value)
    found = doctor.report()
    assert any(words in line for line in doctor.problems(found))
    assert words in doctor.text(found)


def test_a_wrong_setting_is_nobody_elses_fault(monkeypatch: pytest.MonkeyPatch, settings: object) -> None:
    monkeypatch.setenv("FLAMBEAU_NUM_THREADS", "many")
    found = doctor.problems(doctor.report())
    assert len([line for line in found if "FLAMBEAU_NUM_THREADS='many'" in line]) == 1
    assert not any(line.startswith(("plugin ", "default device")) and "many" in line for line in found)
