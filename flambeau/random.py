"""The default generator, and what is drawn without one; each name is also at the top of flambeau."""

from __future__ import annotations

from flambeau.core.generator import (
    Generator,
    default_generator,
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)  # fmt: skip

__all__ = [
    "default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state",
    "thread_safe_generator",
]  # fmt: skip


def thread_safe_generator() -> Generator | None:
    """A generator for threads to draw from; None, as the default one is safe for all of them.

    >>> fb.random.thread_safe_generator()
    """
    return None
