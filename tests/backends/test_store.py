"""Compiled code on disk: found again, never a part, never what others may write, no more than allowed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambeau.backends.store import Store
from flambeau.core import config


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with config.override(cache_dir=tmp_path):
        yield tmp_path / "kind"


def refuse() -> bytes:
    raise AssertionError("it was kept")


def test_what_was_made_is_found_again(folder: Path) -> None:
    assert Store("kind", ".o").get("a", lambda: b"code") == b"code"
    assert Store("kind", ".o").get("a", refuse) == b"code"
    assert Store("kind", ".o").get("b", lambda: b"other") == b"other"
    assert {p.name for p in folder.iterdir()} == {"a.o", "b.o"}


@pytest.mark.parametrize("damage", [b"", b"code", b"flambeau code 1\n" + bytes(32) + b"code"])
def test_a_damaged_file_is_made_anew(folder: Path, damage: bytes) -> None:
    store = Store("kind", ".o")
    store.get("a", lambda: b"code")
    (folder / "a.o").write_bytes(damage)
    assert store.get("a", lambda: b"again") == b"again"
    assert store.get("a", refuse) == b"again"


def test_a_truncated_file_is_made_anew(folder: Path) -> None:
    store = Store("kind", ".o")
    store.get("a", lambda: b"code" * 100)
    os.truncate(folder / "a.o", 200)
    assert store.get("a", lambda: b"again") == b"again"


def test_the_oldest_go_first(folder: Path) -> None:
    store = Store("kind", ".o")
    with config.override(cache_size=1000):
        for i in range(10):
            store.get(str(i), lambda: bytes(150))
            os.utime(folder / f"{i}.o", (i, i))
        left = {int(p.stem) for p in folder.iterdir()}
        assert sum(p.stat().st_size for p in folder.iterdir()) <= 1000
    assert 9 in left and 0 not in left and len(left) >= 3


def test_using_a_file_makes_it_young(folder: Path) -> None:
    store = Store("kind", ".o")
    store.get("a", lambda: b"code")
    os.utime(folder / "a.o", (1, 1))
    store.get("a", refuse)
    assert (folder / "a.o").stat().st_mtime > 1e9


def test_a_size_of_zero_keeps_nothing(folder: Path) -> None:
    with config.override(cache_size=0):
        assert Store("kind", ".o").get("a", lambda: b"code") == b"code"
    assert not folder.exists()


def test_what_is_larger_than_all_is_not_kept(folder: Path) -> None:
    with config.override(cache_size=100):
        assert Store("kind", ".o").get("a", lambda: bytes(101)) == bytes(101)
    assert not list(folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_folder_that_others_may_write_to_is_not_read(folder: Path) -> None:
    store = Store("kind", ".o")
    store.get("a", lambda: b"code")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    assert store.get("a", lambda: b"mine") == b"mine"
    assert b"mine" not in (folder / "a.o").read_bytes()


def test_a_folder_that_cannot_be_made_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "kind").write_text("in the way")
    assert Store("kind", ".o").get("a", lambda: b"code") == b"code"


def test_many_processes_write_at_once(folder: Path) -> None:
    program = (
        "import sys; from flambeau.backends.store import Store; s = Store('kind', '.o')\n"
        "for i in range(200): assert s.get(str(i % 5), lambda: bytes([i % 5]) * 50_000) == bytes([i % 5]) * 50_000\n"
    )
    settings = {**os.environ, "FLAMBEAU_CACHE_DIR": str(folder.parent), "FLAMBEAU_CACHE_SIZE": "120K"}
    running = [subprocess.Popen([sys.executable, "-c", program], env=settings) for _ in range(3)]
    assert [p.wait() for p in running] == [0, 0, 0]
    assert not [p for p in folder.iterdir() if p.suffix != ".o"]
