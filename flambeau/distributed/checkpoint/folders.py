"""Folders that are whole or not there: several processes write into a hidden one, which gets its name at the end.

Beside ``name`` there may be ``.name.ID.saving``, which somebody writes or died in writing, and ``.name.ID.replaced``,
what had the name before. A file system cannot exchange two folders in one step everywhere, so for a moment there may
be no ``name``; whoever finds it missing takes the replaced one, which is whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from flambeau.distributed.checkpoint import index
from flambeau.utils.files import lock, sync_folder

_SAVING, _REPLACED = ".saving", ".replaced"
_LOCK: Final = ".lock"  # in the hidden folder, locked for as long as the job that writes it lives


def new_id() -> str:
    """A name that no other save has."""
    return uuid.uuid4().hex


def hidden(target: Path, identity: str, suffix: str = _SAVING) -> Path:
    """Where a checkpoint is while it is written, or after another took its place."""
    return target.with_name(f".{target.name}.{identity}{suffix}")


class Saving:
    """One checkpoint that is being written; :meth:`begin`, :meth:`publish` and :meth:`give_up` are for one rank."""

    def __init__(self, target: Path, identity: str, overwrite: bool):
        self.target, self.identity, self.overwrite = target, identity, overwrite
        self.folder = hidden(target, identity)
        self._handle: int | None = None

    def begin(self) -> None:
        """Clear away what dead jobs left, and make the hidden folder."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.exists() and not self.overwrite:
            raise FileExistsError(f"{str(self.target)!r}: there is a checkpoint already, and overwrite is False")
        if self.target.exists() and not self.target.is_dir():
            raise NotADirectoryError(f"{str(self.target)!r}: there is a file of this name")
        recover(self.target)
        for left in _beside(self.target, _SAVING):
            _remove_abandoned(left)
        self.folder.mkdir()
        self._handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        lock(self._handle, wait=True)

    def publish(self) -> None:
        """Give the folder its name; everything in it is on the disk."""
        self._unlock()
        sync_folder(self.folder)
        old = None
        if self.target.exists():
            old = hidden(self.target, self.identity, _REPLACED)
            os.rename(self.target, old)
        os.rename(self.folder, self.target)
        sync_folder(self.target.parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def give_up(self) -> None:
        """Remove what was written."""
        self._unlock()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _unlock(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            with contextlib.suppress(OSError):
                os.unlink(self.folder / _LOCK)


def _beside(target: Path, suffix: str) -> Iterator[Path]:
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}{re.escape(suffix)}")
    with contextlib.suppress(OSError):
        yield from [p for p in target.parent.iterdir() if name.fullmatch(p.name)]


def _remove_abandoned(folder: Path) -> None:
    """Remove a hidden folder whose job is no more; one that cannot be locked has a job that writes it."""
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:  # its job unlocked it, and died before it got its name
        shutil.rmtree(folder, ignore_errors=True)
        return
    except OSError:
        return
    try:
        if lock(handle):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def recover(target: Path) -> None:
    """Give its name back to a checkpoint whose successor died while it took the name; remove those that have one."""
    for old in _beside(target, _REPLACED):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif (old / index.NAME).exists():
            with contextlib.suppress(OSError):
                os.rename(old, target)


def existing(target: Path) -> Path:
    """Where a checkpoint is: under its name, or where it was put when the writer of its successor died."""
    if target.exists():
        return target
    return next((old for old in _beside(target, _REPLACED) if (old / index.NAME).exists()), target)


class FileSystemWriter:
    """Where :func:`~flambeau.distributed.checkpoint.save` writes: the folder ``path``, which all ranks share.

    Args:
        path: the folder; it appears when all ranks are done.
        single_file_per_rank: accepted for PyTorch's sake: there is one file for each rank.
        sync_files: wait until files are on the disk.
        thread_count, per_thread_copy_ahead, cache_staged_state_dict: accepted for PyTorch's sake.
        overwrite: take the place of a checkpoint that is there; FileExistsError otherwise.
    """

    def __init__(
        self, path: str | os.PathLike[str], single_file_per_rank: bool = True, sync_files: bool = True,
        thread_count: int = 1, per_thread_copy_ahead: int = 10_000_000, cache_staged_state_dict: bool = False,
        overwrite: bool = True, **ignored: Any,
    ):  # fmt: skip
        self.path, self.sync_files, self.overwrite = Path(path), sync_files, overwrite


class FileSystemReader:
    """Where :func:`~flambeau.distributed.checkpoint.load` reads: the folder ``path``."""

    def __init__(self, path: str | os.PathLike[str], **ignored: Any):
        self.path = Path(path)

    def read_metadata(self) -> index.Index:
        """What the checkpoint holds; CheckpointError where it is not whole."""
        return index.read(existing(self.path))
