"""Files that are whole or not there: writing in one step."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

if sys.platform != "win32":
    import fcntl

_SUFFIX: Final = ".saving"
#: Names of temporary files: a dot, the beginning of the final name, what mkstemp adds, the suffix.
_TEMPORARY: Final = re.compile(rf"\..*\.[a-z0-9_]{{8}}{re.escape(_SUFFIX)}", re.DOTALL)
_STEM: Final = 50  # characters of the final name; with four bytes each the whole fits the 255 of a name


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` when the block ends, and leaves no trace if it raises.

    The bytes go to a temporary file in the same folder, onto the disk, and then under the final name; so
    a reader, or whoever comes after a crash, finds the old file or the new one and never a part. A
    symbolic link is followed; an existing file's permissions are kept. What a killed process left in the
    folder is cleared away by the next one that writes there.

    A device, a pipe or a socket, and an open file by a name such as ``/dev/stdout``, are written to as they are.
    """
    name = os.fsdecode(path)
    if not name:
        raise FileNotFoundError("cannot write a file whose name is empty")
    if _is_special(name):
        with open(name, "wb") as special:
            yield special
        return
    target = Path(os.path.realpath(name))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {name!r}: the folder {str(target.parent)!r} does not exist")
    _clear(target.parent)
    file, temporary = _create(target)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, _permissions(target))
            if sys.platform == "win32":  # it renames no open file; elsewhere it stays locked until it has its name
                file.close()
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(target.parent)


def _is_special(name: str) -> bool:
    """Whether ``name`` leads to something else than a file of its own, which nothing can take the place of."""
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"cannot write {name!r}: it is a folder")
    while os.path.islink(name):
        folder = os.path.realpath(os.path.dirname(name))
        if folder.startswith("/proc/"):  # a file that a process has open
            return True
        name = os.path.join(folder, os.readlink(name))
    return not stat.S_ISREG(mode)


# -- temporary files -----------------------------------------------------------------------------------
# Each is locked for as long as its writer lives, so one that can be locked belongs to nobody.


def _create(target: Path) -> tuple[BinaryIO, str]:
    while True:
        handle, name = tempfile.mkstemp(_SUFFIX, f".{target.name[:_STEM]}.", target.parent)
        lock(handle, wait=True)
        if os.fstat(handle).st_nlink:  # else it was cleared away before it was locked
            return os.fdopen(handle, "wb"), name
        os.close(handle)


def _clear(folder: Path) -> None:
    """Remove the temporary files of processes that are no more."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # it may be writable and not readable
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_abandoned(entry.path)


def _remove_abandoned(name: str) -> None:
    with contextlib.suppress(OSError):  # another user's, or just gone
        handle = os.open(name, os.O_RDWR)
        try:
            if lock(handle):
                os.unlink(name)
        finally:
            os.close(handle)


def lock(handle: int, wait: bool = False) -> bool:
    """Lock an open file until it is closed; False where another holds it, or the file system knows no locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _permissions(target: Path) -> int:
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)  # the only way to read it
        os.umask(mask)
        return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Put the new name itself onto the disk, where the system can sync a folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems
        pass
    finally:
        os.close(handle)
