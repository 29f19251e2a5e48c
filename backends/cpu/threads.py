"""One number of threads for everything on the host: pools for large work, and BLAS's own threads.

The number is the setting ``num_threads``; the pool here, which runs Python, and that of ``llvm.threads``, which runs
generated code, read it at each use, BLAS is told when it changes.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau.core import config
from flambeau.core.locks import fork_safe

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor  # lazy for start-up

_lock = fork_safe(threading.Lock())
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads() -> int:
    """The number of threads that a kernel may use here: the setting, which is 1 inside one of the pool's threads."""
    count: int = config.get("num_threads")
    return count


def reset_pool() -> None:
    """Forget the pool, since the number of threads changed; whoever uses it now still holds it."""
    global _pool
    _pool = None


def _submit(part: Callable[[], Any], workers: int) -> Future[Any] | None:
    """Give ``part`` to the pool; None when the interpreter is on its way out and takes no more work."""
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < workers:
            from concurrent.futures import ThreadPoolExecutor  # 5 ms that only large work needs

            _pool, _pool_size = ThreadPoolExecutor(workers, "flambeau-cpu", _prepare_worker), workers
        pool = _pool
    try:
        return pool.submit(_by_itself, part)
    except RuntimeError:
        return None


def _prepare_worker() -> None:
    np.seterr(all="ignore")


def _by_itself(part: Callable[[], Any]) -> Any:
    """The result of a part, which starts no threads of any kind: there is one for each part already."""
    with config.override(num_threads=1):
        return part()


def run(parts: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of all parts: the last runs in this thread and the others in the pool."""
    count = num_threads()
    if len(parts) < 2 or count < 2:
        return [part() for part in parts]
    futures = [_submit(part, count - 1) for part in parts[:-1]]
    try:
        last = parts[-1]()
    finally:
        for future in futures:  # never leave while a part may still write
            if future is not None:
                future.exception()
    return [*(p() if f is None else f.result() for p, f in zip(parts, futures, strict=False)), last]


def in_order(parts: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    """The results of all parts, one after the other, with no more of them in memory than there are threads."""
    count = num_threads()
    for i in range(0, len(parts), count):
        yield from run(parts[i : i + count])


def ranges(size: int, parts: int) -> list[slice]:
    """``range(size)`` in at most ``parts`` contiguous chunks of nearly equal size.

    >>> ranges(5, 2), ranges(0, 2)
    ([slice(0, 3, None), slice(3, 5, None)], [])
    """
    step = -(-size // max(1, parts))
    return [slice(i, min(i + step, size)) for i in range(0, size, step)] if size else []


# -- BLAS ------------------------------------------------------------------------------------------
@cache
def _openblas() -> tuple[Any, Any] | None:
    """The functions that set and get the number of threads of the OpenBLAS in numpy's wheel, if it is there."""
    root = Path(np.__file__).parent
    folders = (root.parent / "numpy.libs", root / ".dylibs", root / ".libs")
    for path in (p for folder in folders if folder.is_dir() for p in sorted(folder.glob("*openblas*"))):
        try:
            library = ctypes.PyDLL(str(path))  # holds Python's lock: no fork falls into a call that holds BLAS's own
        except OSError:
            continue
        for prefix, suffix in (
            ("scipy_openblas", "64_"),
            ("scipy_openblas", ""),
            ("openblas", "64_"),
            ("openblas", ""),
        ):
            put = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
            get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
            if put is not None and get is not None:
                put.argtypes, put.restype, get.restype = (ctypes.c_int,), None, ctypes.c_int
                return put, get
    return None


def set_blas_threads(count: int) -> bool:
    """Make numpy's BLAS use ``count`` threads; False when it cannot be told (MKL, Accelerate)."""
    found = _openblas()
    if found is None:
        return False
    found[0](count)
    return True


def blas_threads() -> int | None:
    """How many threads numpy's BLAS uses, or None when it cannot be asked."""
    found = _openblas()
    return None if found is None else int(found[1]())


class _SingleThreadedBlas(ContextDecorator):
    """Inside, each BLAS call runs in its caller's thread alone; may be entered again, and by several threads.

    BLAS's own threads wait for each other by spinning. Where something else wants the cores too, a product of a
    tenth of a millisecond then takes twenty; the pool's threads sleep instead.
    """

    def __init__(self) -> None:
        self.inside = 0  # how often it was entered and not left
        self.before = 1

    def __enter__(self) -> None:
        with _lock:
            if self.inside == 0:
                self.before = blas_threads() or 1
                set_blas_threads(1)
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with _lock:
            self.inside -= 1
            if self.inside == 0:
                set_blas_threads(self.before)


_alone = _SingleThreadedBlas()


def single_threaded_blas() -> _SingleThreadedBlas:
    """The context, or the decorator, with which each BLAS call runs in its caller's thread alone."""
    return _alone


def after_fork() -> None:
    """In a child: the pool's threads, and whoever held a lock or had BLAS to itself, stayed with the parent."""
    reset_pool()
    if _alone.inside:
        _alone.inside = 0
        set_blas_threads(_alone.before)
