"""Compiled code on disk, kept between processes: whole or not there, and no more than a setting allows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flambeau.core import config

_HEAD: Final = b"flambeau code 1\n"
_DIGEST: Final = 32  # bytes of a SHA-256
_DAY: Final = 86400.0
_PART: Final = ".part"


class Store:
    """Files by key in a folder of the cache, the oldest removed first.

    A folder that cannot be written, or that others may write to, keeps nothing: what is in it would be run. Damaged
    files count as missing.

    Args:
        name: the folder's name in the setting ``cache_dir``.
        suffix: of the files' names.
    """

    def __init__(self, name: str, suffix: str):
        self.name, self.suffix = name, suffix
        self._size: int | None = None  # of all files, once they were counted
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(config.get("cache_dir")) / self.name

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What was kept under ``key``, else what ``make`` gives, which is kept."""
        limit: int | None = config.get("cache_size")
        if limit == 0:
            return make()
        folder = self.folder
        found = self._read(folder / (key + self.suffix)) if _is_private(folder) else None
        if found is None:
            found = make()
            with contextlib.suppress(OSError):  # without a cache the next start compiles again
                self._keep(folder, key, found, limit)
        return found

    def _read(self, path: Path) -> bytes | None:
        try:
            content = path.read_bytes()
            if time.time() - path.stat().st_mtime > _DAY:
                os.utime(path)  # it was used, and goes later
        except OSError:
            return None
        start = len(_HEAD) + _DIGEST
        whole = content.startswith(_HEAD) and hashlib.sha256(content[start:]).digest() == content[len(_HEAD) : start]
        return content[start:] if whole else None

    def _keep(self, folder: Path, key: str, code: bytes, limit: int | None) -> None:
        """Other processes see the whole file or none."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = _HEAD + hashlib.sha256(code).digest() + code
        if not _is_private(folder) or limit is not None and len(content) > limit:
            return
        handle, name = tempfile.mkstemp(dir=folder, suffix=_PART)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, folder / (key + self.suffix))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        if self._size is None or self._folder != folder:
            self._size, self._folder = _total(folder), folder
        else:
            self._size += len(content)
        if limit is not None and self._size > limit:
            self._size = _trim(folder, limit * 3 // 4)


def _is_private(folder: Path) -> bool:
    """Whether nobody else may write there: code is run from it."""
    try:
        found = folder.stat()
    except OSError:
        return False
    if sys.platform == "win32":
        return True
    return found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o022


def _files(folder: Path) -> list[tuple[float, int, str]]:
    """Age, size and path of each file; another process may remove some meanwhile."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                state = entry.stat(follow_symlinks=False)
                found.append((state.st_mtime, state.st_size, entry.path))
    return found


def _total(folder: Path) -> int:
    return sum(size for _, size, _ in _files(folder))


def _trim(folder: Path, limit: int) -> int:
    """Remove the files that were used longest ago, and what writers that were killed left; the size of the rest."""
    files = sorted(_files(folder))
    left, now = sum(size for _, size, _ in files), time.time()
    for used, size, path in files:
        if left > limit or path.endswith(_PART) and now - used > _DAY:
            with contextlib.suppress(OSError):
                os.unlink(path)
                left -= size
    return left
