"""Settings: where a value comes from, what a wrong one says, and the documented table."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

import flambeau as fb
from flambeau.core import config
from tests.conftest import RunPython

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


pytestmark = pytest.mark.usefixtures("settings")


def test_argument_beats_context_manager_beats_set_beats_environment_beats_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = [(config.get("num_threads"), config.source("num_threads"))]
    monkeypatch.setenv("FLAMBEAU_NUM_THREADS", "11")
    config.reset()
    seen.append((config.get("num_threads"), config.source("num_threads")))
    config.set(num_threads=12)
    seen.append((config.get("num_threads"), config.source("num_threads")))
    with config.override(num_threads="13"):
        seen.append((config.get("num_threads"), config.source("num_threads")))
        assert config.get("num_threads", 14) == 14
    assert seen[1:] == [(11, "environment"), (12, "set"), (13, "override")]
    assert seen[0][0] >= 1 and seen[0][1] == "default"
    assert config.get("num_threads") == 12


def test_environment_is_read_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAMBEAU_FALLBACK", "warn")
    assert config.source("fallback") == "environment"
    assert config.get("fallback") == "warn"
    monkeypatch.setenv("FLAMBEAU_FALLBACK", "allow")
    assert config.get("fallback") == "warn"
    config.reset("fallback")
    assert config.get("fallback") == "allow"


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("FLAMBEAU_DEVICE", "CUDA, opencl:0,cpu", ("cuda", "opencl:0", "cpu")),
        ("FLAMBEAU_DEVICE", "auto", ()),
        ("FLAMBEAU_DEVICE", "", ()),
        ("FLAMBEAU_PLUGINS", "npu = my.backend, tpu=other:plugin", {"npu": "my.backend", "tpu": "other:plugin"}),
        ("FLAMBEAU_DISABLE_PLUGINS", "a,,b", ("a", "b")),
        ("FLAMBEAU_FALLBACK", "Allow", "allow"),
        ("FLAMBEAU_NUM_THREADS", "3", 3),
        ("FLAMBEAU_CACHE_DIR", "~/x", Path.home() / "x"),
        ("FLAMBEAU_MEMORY_LIMIT", "512M", 512 * 1024**2),
        ("FLAMBEAU_MEMORY_LIMIT", "1.5GiB", 3 * 512 * 1024**2),
        ("FLAMBEAU_MEMORY_LIMIT", "2kb", 2048),
        ("FLAMBEAU_MEMORY_LIMIT", "77", 77),
        ("FLAMBEAU_MEMORY_LIMIT", "none", None),
        ("FLAMBEAU_PROBE_TIMEOUT", "0.5", 0.5),
        ("FLAMBEAU_OPENCL_DEVICE", " pocl ", "pocl"),
        ("FLAMBEAU_DEBUG_SLOW_PATH", "on", True),
        ("FLAMBEAU_DEBUG_SLOW_PATH", "0", False),
    ],
)
def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object) -> None:
    monkeypatch.setenv(variable, text)
    assert config.get(variable.removeprefix("FLAMBEAU_").lower()) == value


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("FLAMBEAU_DEVICE", "auto,cpu", "cuda,opencl:0,cpu"),
        ("FLAMBEAU_PLUGINS", "justaname", "name=module"),
        ("FLAMBEAU_FALLBACK", "maybe", "error, warn or allow"),
        ("FLAMBEAU_NUM_THREADS", "0", "at least 1"),
        ("FLAMBEAU_NUM_THREADS", "two", "at least 1"),
        ("FLAMBEAU_NUM_THREADS", "", "at most 1024"),
        ("FLAMBEAU_NUM_THREADS", " ", "at most 1024"),
        ("FLAMBEAU_NUM_THREADS", "2.5", "at most 1024"),
        ("FLAMBEAU_NUM_THREADS", "1000000000", "at most 1024"),
        ("FLAMBEAU_NUM_THREADS", "9" * 5000, "at most 1024"),
        ("FLAMBEAU_DEVICE", ",", "cuda,opencl:0,cpu"),
        ("FLAMBEAU_PLUGINS", "a=b,a=c", "name=module"),
        ("FLAMBEAU_PLUGINS", " , ", "name=module"),
        ("FLAMBEAU_DISABLE_PLUGINS", ",", "plugin names"),
        ("FLAMBEAU_FALLBACK", "", "error, warn or allow"),
        ("FLAMBEAU_CACHE_DIR", "", "a folder"),
        ("FLAMBEAU_CACHE_DIR", "  ", "a folder"),
        ("FLAMBEAU_CACHE_DIR", __file__, "a folder"),
        ("FLAMBEAU_CACHE_DIR", f"{__file__}/x/y", "a folder"),
        ("FLAMBEAU_CACHE_DIR", "~nobody at all/x", "a folder"),
        ("FLAMBEAU_MEMORY_LIMIT", "G", "512M"),
        ("FLAMBEAU_MEMORY_LIMIT", "nan", "512M"),
        ("FLAMBEAU_MEMORY_LIMIT", "1e400", "512M"),
        ("FLAMBEAU_MEMORY_LIMIT", "99999999999999999999T", "512M"),
        ("FLAMBEAU_PROBE_TIMEOUT", "", "seconds above 0"),
        ("FLAMBEAU_PROBE_TIMEOUT", "1e300", "at most a million"),
        ("FLAMBEAU_MEMORY_LIMIT", "5X", "512M"),
        ("FLAMBEAU_MEMORY_LIMIT", "inf", "512M"),
        ("FLAMBEAU_MEMORY_LIMIT", "-1", "512M"),
        ("FLAMBEAU_PROBE_TIMEOUT", "-3", "seconds above 0"),
        ("FLAMBEAU_PROBE_TIMEOUT", "nan", "seconds above 0"),
        ("FLAMBEAU_DEBUG_SLOW_PATH", "perhaps", "0 or 1"),
    ],
)
def test_a_wrong_value_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, text)
    name = variable.removeprefix("FLAMBEAU_").lower()
    for _ in range(2):  # at every use, not only the first
        with pytest.raises(config.ConfigError) as caught:
            config.get(name)
        for words in (variable, repr(text)[:100], allowed):
            assert words in str(caught.value)


def test_wrong_values_from_the_program() -> None:
    with pytest.raises(config.ConfigError, match=r"fallback='never'.*error, warn or allow"):
        config.set(fallback="never")
    for wrong in (None, True, 2.7, 0, -1, 10**9, 10**5000, [], "x", float("nan")):
        with pytest.raises(config.ConfigError, match=r"num_threads=.*at least 1"), config.override(num_threads=wrong):
            pass
        with pytest.raises(ValueError, match=r"set_num_threads: expected a positive int"):
            fb.set_num_threads(wrong)  # type: ignore[arg-type]
    for name in config.SETTINGS:
        for wrong in (object(), b"bytes", 10**400, {1: 2}, [None]):
            with contextlib.suppress(config.ConfigError), config.override(**{name: wrong}):
                pass
    with pytest.raises(config.ConfigError, match="did you mean 'fallback'"):
        config.get("falback")
    with pytest.raises(config.ConfigError, match="known: device, plugins"):
        config.set(zzz=1)
    assert config.get("fallback") == "error"


def test_override_nests_and_stays_in_its_thread() -> None:
    with config.override(fallback="warn", memory_limit="1K"):
        with config.override(memory_limit=None):
            assert config.get("memory_limit") is None and config.get("fallback") == "warn"
        assert config.get("memory_limit") == 1024
        elsewhere: list[str] = []
        thread = threading.Thread(target=lambda: elsewhere.append(config.get("fallback")))
        thread.start()
        thread.join()
    assert elsewhere == ["error"]
    assert config.source("fallback") == "default"


def test_misspelt_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAMBEAU_DEVICES", "cpu")
    monkeypatch.setenv("FLAMBEAU_DEVICE", "cpu")
    assert "FLAMBEAU_DEVICES" in config.unknown_variables()
    assert "FLAMBEAU_DEVICE" not in config.unknown_variables()


def test_the_cache_dir_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert config.get("cache_dir") == tmp_path / "flambeau"


@pytest.mark.parametrize(("text", "plain"), [("1", False), ("0", True)])
def test_the_slow_path_by_the_environment(run_python: RunPython, text: str, plain: bool) -> None:
    code = "import flambeau as fb; from flambeau.core import state; fb.ones(2) + 1; print(state.current().plain)"
    assert run_python("-c", code, FLAMBEAU_DEBUG_SLOW_PATH=text).stdout.strip() == str(plain)


def test_a_wrong_value_reaches_the_user_at_first_use(run_python: RunPython) -> None:
    done = run_python("-c", "import flambeau as fb; print('imported'); fb.ones(2)", FLAMBEAU_NUM_THREADS="many")
    assert done.stdout.strip() == "imported"
    assert "ConfigError: FLAMBEAU_NUM_THREADS='many' is not a valid setting; expected a number" in done.stderr


#: Uses flambeau in each of three ways twice; a way is the first use in the fork that it has to itself.
FIRST_USES = """
import os
import flambeau as fb

print("imported", flush=True)
for use in (lambda: fb.ones(2), lambda: fb.zeros(2, device="cpu"), fb.accelerator.is_available):
    child = os.fork()
    if not child:
        for _ in range(2):
            try:
                use()
            except ValueError as error:
                print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each use needs a child of its own")
@pytest.mark.parametrize(
    "variable", ["FALLBACK", "MEMORY_LIMIT", "PROBE_TIMEOUT", "CACHE_DIR", "DEBUG_SLOW_PATH", "PLUGINS", "NUM_THREADS"]
)
def test_a_wrong_value_of_any_setting_fails_at_first_use(run_python: RunPython, variable: str) -> None:
    """Also where nothing would read it for long; the plugin is not to blame; and not at import."""
    done = run_python("-c", FIRST_USES, **{f"FLAMBEAU_{variable}": "/dev/null"})
    first, *errors = done.stdout.strip().splitlines()
    assert first == "imported" and len(errors) == 6, done.stdout + done.stderr
    for error in errors:
        assert error.startswith(f"FLAMBEAU_{variable}='/dev/null' is not a valid setting; expected ")


def test_unknown_variables_warn_once(run_python: RunPython) -> None:
    code = "import flambeau as fb; print('imported'); fb.ones(2); fb.ones(2, device='strict')"
    done = run_python("-c", code, FLAMBEAU_FALBACK="warn", FLAMBEAU_ZZZ="1", flambeau_device="cpu")
    assert done.stderr.count("variables of the environment that are no settings") == 1
    assert "FLAMBEAU_FALBACK (did you mean FLAMBEAU_FALLBACK?)" in done.stderr
    assert "FLAMBEAU_ZZZ" in done.stderr and "flambeau_device (did you mean FLAMBEAU_DEVICE?)" in done.stderr
    assert not run_python("-c", code, FLAMBEAU_FALLBACK="warn").stderr


def test_the_documented_table_is_current() -> None:
    assert PAGE.read_text() == config.markdown(), (
        "docs/configuration.md is out of date; regenerate it with: "
        "python -c \"from flambeau.core import config; print(config.markdown(), end='')\" > docs/configuration.md"
    )
