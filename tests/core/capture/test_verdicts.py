"""Verdicts on groups: measured once for all processes, never read from a damaged file."""

from __future__ import annotations

import contextvars
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambeau.backends.group import Group
from flambeau.core import config
from flambeau.core.capture import verdicts
from flambeau.core.capture.fuse import Fused, fused
from flambeau.core.capture.verdicts import described, store, worth
from tests.core.capture.test_fuse import Recording, floats


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with config.override(cpu_code="host", cache_dir=tmp_path):
        verdicts._verdicts.clear()
        yield tmp_path / "groups"
        verdicts._verdicts.clear()


def group(*shape: int) -> Fused:
    r = Recording()
    x, y = r.given(floats(*shape)), r.given(floats(*shape, seed=1))
    result = r.kernel("sqrt", r.kernel("mul", r.kernel("add", x, y), y))
    (node,) = fused(r.nodes, {result})
    assert isinstance(node, Fused) and node.group is not None
    return node


def measured(monkeypatch: pytest.MonkeyPatch, answer: bool) -> list[Any]:
    """What is measured from now on, and found to be ``answer``."""
    calls: list[Any] = []
    monkeypatch.setattr(verdicts, "_measure", lambda node, key, arrays: calls.append(node) or answer)
    return calls


def another_process() -> None:
    verdicts._verdicts.clear()


@pytest.mark.parametrize("answer", [True, False])
def test_another_process_measures_nothing(answer: bool, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    calls = measured(monkeypatch, answer)
    assert worth(group(3, 4)) is answer and worth(group(3, 4)) is answer and len(calls) == 1
    another_process()
    measured(monkeypatch, not answer)
    assert worth(group(3, 4)) is answer
    assert worth(group(4, 3)) is not answer
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "another word"])
def test_a_damaged_file_is_no_verdict(damage: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    measured(monkeypatch, True)
    worth(group(5))
    (path,) = folder.iterdir()
    if damage == "another word":
        content = path.read_bytes()
        path.unlink()
        key = path.stem
        store.get(key, lambda: b"perhaps\n" + content)
    else:
        content = path.read_bytes()
        path.write_bytes({"truncated": content[:-1], "empty": b"", "foreign": b"cos\nsystem\n"}[damage])
    another_process()
    calls = measured(monkeypatch, False)
    assert worth(group(5)) is False and len(calls) == 1


def test_without_a_cache_each_process_measures(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    calls = measured(monkeypatch, True)
    with config.override(cache_size=0):
        worth(group(6))
        another_process()
        worth(group(6))
    assert len(calls) == 2 and not folder.exists()


def test_a_folder_that_cannot_be_written_costs_a_measurement(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    folder.write_text("no folder")
    calls = measured(monkeypatch, True)
    assert worth(group(6)) and len(calls) == 1


def test_many_writers_agree_on_one_file(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    measured(monkeypatch, True)
    node = group(7)
    key = node.args[0].key
    found: list[bool] = []

    def ask() -> None:
        found.append(verdicts._kept(node, key, node.args))

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(ask,)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [True] * 8 and len(list(folder.iterdir())) == 1


def test_what_a_verdict_holds_for_is_told() -> None:
    node = group(3, 4)
    key, known = node.args[0].key, node.group
    assert isinstance(known, Group)
    text = described(known, key)
    assert text == described(group(3, 4).group, key) and "0x" not in text
    assert str(known) in text and "flambeau" in text.splitlines()[0] and key.backend.processor(0) in text
    others = [described(group(4, 3).group, key)]
    with config.override(num_threads=config.get("num_threads") + 1):
        others.append(described(known, key))
    with config.override(cpu_code="none"):
        others.append(described(known, key))
    step = known.steps[0]
    negated = dataclasses.replace(known, steps=(step._replace(expr=known.steps[1].expr), *known.steps[1:]))
    others.append(described(negated, key))
    assert len({text, *others}) == 5


def test_a_real_measurement_gives_a_verdict() -> None:
    node = group(50, 40)
    assert worth(node) in (True, False)
    another_process()
    assert worth(node) in (True, False)
