"""One number of threads for everything on the host: a pool for large elementwise work, and BLAS's own."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

_lock = threading.Lock()
_count: int | None = None
_pool: ThreadPoolExecutor | None = None
_inside = threading.local()


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads() -> int:
    """The number of threads that kernels and BLAS use."""
    return available_cores() if _count is None else _count


def set_num_threads(count: int) -> None:
    """Use ``count`` threads from now on; ValueError below 1."""
    global _count, _pool
    if count < 1:
        raise ValueError(f"set_num_threads: count must be at least 1, got {count}")
    with _lock:
        old, _pool, _count = _pool, None, count
    if old is not None:
        old.shutdown(wait=False)
    set_blas_threads(count)


def after_fork() -> None:
    """The pool's threads stayed with the parent: start anew at the next need."""
    global _pool, _lock
    _lock, _pool = threading.Lock(), None


def pool() -> ThreadPoolExecutor:
    """The workers: one less than :func:`num_threads`, since the caller works too."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(
                max(num_threads() - 1, 1), thread_name_prefix="flambeau-cpu", initializer=_prepare_worker
            )
        return _pool


def _prepare_worker() -> None:
    np.seterr(all="ignore")
    _inside.worker = True


def workers() -> int:
    """How many threads a kernel may split over here: 1 inside a worker."""
    return 1 if getattr(_inside, "worker", False) else num_threads()


def run(parts: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of all parts, the first in this thread and the others in the pool."""
    if len(parts) < 2 or workers() < 2:
        return [part() for part in parts]
    futures = [pool().submit(part) for part in parts[1:]]
    try:
        first = parts[0]()
    finally:
        rest = [f.exception() for f in futures]  # never leave while a part still writes
    for error in rest:
        if error is not None:
            raise error
    return [first, *(f.result() for f in futures)]


def ranges(size: int, parts: int) -> list[slice]:
    """``range(size)`` in at most ``parts`` contiguous pieces."""
    step = -(-size // max(1, min(parts, size)))
    return [slice(i, min(i + step, size)) for i in range(0, size, step)]


# -- BLAS ------------------------------------------------------------------------------------------
def _openblas() -> tuple[Any, Any] | None:
    """The (set, get) thread functions of the OpenBLAS that numpy's wheel carries, if it does."""
    root = Path(np.__file__).parent
    folders = (root.parent / "numpy.libs", root / ".dylibs", root / ".libs")
    for path in (p for folder in folders if folder.is_dir() for p in sorted(folder.glob("*openblas*"))):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", ""):
                names = f"{prefix}_set_num_threads{suffix}", f"{prefix}_get_num_threads{suffix}"
                if all(hasattr(library, n) for n in names):
                    return getattr(library, names[0]), getattr(library, names[1])
    return None


_blas: tuple[Any, Any] | None = None
_blas_known = False


def _blas_functions() -> tuple[Any, Any] | None:
    global _blas, _blas_known
    if not _blas_known:
        _blas, _blas_known = _openblas(), True
    return _blas


def set_blas_threads(count: int) -> bool:
    """Make numpy's BLAS use ``count`` threads; False when it cannot be told (MKL, Accelerate)."""
    found = _blas_functions()
    if found is None:
        return False
    found[0](ctypes.c_int(count))
    return True


def blas_threads() -> int | None:
    """How many threads numpy's BLAS uses, or None when it cannot be asked."""
    found = _blas_functions()
    return None if found is None else int(found[1]())
