"""How many host threads the kernels use, on every backend that has any."""

from __future__ import annotations

from flambeau.core import config, registry, state


def get_num_threads() -> int:
    """The number of host threads that kernels may use.

    >>> fb.get_num_threads() >= 1
    True
    """
    count: int = config.get("num_threads")
    return count


def set_num_threads(count: int) -> None:
    """Use at most ``count`` host threads from now on; ValueError unless it is an int from 1 to 1024.

    >>> before = fb.get_num_threads()
    >>> fb.set_num_threads(1)
    >>> fb.get_num_threads()
    1
    >>> fb.set_num_threads(before)
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise ValueError(f"set_num_threads: expected a positive int, got {count!r}")
    try:
        config.set(num_threads=count)
    except config.ConfigError:
        limit = f"expected a positive int up to {config.MAX_THREADS}"
        raise ValueError(f"set_num_threads: {limit}, got {config.shown(count)}") from None
    for backend in registry.backends.values():
        backend.set_num_threads(count)


def _prepare() -> None:
    """A new thread: each backend gets to prepare it (numpy's error state does not reach new threads)."""
    for backend in list(registry.backends.values()):
        prepare = getattr(backend, "prepare_thread", None)
        if prepare is not None:
            prepare()


def init_num_threads() -> None:
    """Prepare this thread for kernels; flambeau does so itself when a thread first calls one.

    >>> fb.init_num_threads()
    """
    _prepare()


state.prepare_thread.append(_prepare)
