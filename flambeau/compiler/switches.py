"""What holds for all compiled functions: whether they replay, with which backend, and what they have recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self, TypeVar

from flambeau.core.capture import asked, captured
from flambeau.core.capture.stance import STANCES, Stance, is_compiling, take
from flambeau.core.state import get

F = TypeVar("F", bound=Callable[..., Any])
__all__ = [
    "get_default_backend", "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset",
    "set_default_backend", "set_stance",
]  # fmt: skip


class set_stance:
    """What compiled functions do from now on; as a context manager or decorator, inside.

    * ``"default"``: record and replay;
    * ``"force_eager"``: run eagerly;
    * ``"eager_on_recompile"``: replay what is recorded, run everything else eagerly;
    * ``"fail_on_recompile"``: replay what is recorded, CaptureError for everything else;
    * ``"eager_then_compile"`` and ``"aot_eager_then_compile"``: as ``"default"``, whose first call is eager.

    ``force_backend`` is a backend for all, as in :func:`compile`. ``skip_guard_eval_unsafe`` is not looked at: what a
    recording depends on is always checked. RuntimeError for ``force_backend`` in another stance than "default", for one
    that does not exist, and inside a compiled function while it is recorded.

    >>> double = fb.compile(lambda x: x + x)
    >>> with fb.compiler.set_stance("force_eager"):
    ...     y = [double(fb.ones(1)) for _ in range(5)]
    >>> double.explain().eager
    5
    """

    def __init__(
        self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False,
        force_backend: str | Callable[..., Any] | None = None,
    ):  # fmt: skip
        if stance not in STANCES:
            raise RuntimeError(f"set_stance: stance must be one of {', '.join(map(repr, STANCES))}, got {stance!r}")
        if force_backend is not None and stance != "default":
            raise RuntimeError("set_stance: force_backend goes with the stance 'default' alone")
        asked.Asked(backend=force_backend)  # RuntimeError for a backend that there is not
        self.stance = Stance(stance, force_backend)
        self._before = take(self.stance)
        self._saved: list[Stance] = []

    def __enter__(self) -> Self:
        before = take(self.stance)
        self._saved.append(before if self._saved else self._before)  # the first goes back to before it was made
        return self

    def __exit__(self, *exc: object) -> None:
        take(self._saved.pop())

    def __call__(self, fn: F) -> F:
        take(self._before)
        mine = self.stance

        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            before = take(mine)
            try:
                return fn(*args, **kwargs)
            finally:
                take(before)

        return inside  # type: ignore[return-value]


def is_dynamo_compiling() -> bool:
    """Whether what runs now is being recorded; :func:`is_compiling` under another name.

    >>> fb.compiler.is_dynamo_compiling()
    False
    """
    return is_compiling()


def is_exporting() -> bool:
    """Whether a program is being exported: in what :func:`flambeau.export.export` and ``fb.jit.trace`` run.

    >>> fb.compiler.is_exporting()
    False
    """
    state = get()
    return state is not None and any(getattr(layer, "exports", False) for layer in state.layers)


def list_backends(exclude_tags: tuple[str, ...] | None = ("debug", "experimental")) -> list[str]:
    """The backends that :func:`compile` takes by name; those that run eagerly have the tag "debug".

    >>> fb.compiler.list_backends()
    ['cudagraphs', 'flambeau', 'inductor']
    """
    eager = () if "debug" in (exclude_tags or ()) else asked.EAGER
    return sorted([*asked.CAPTURING, *eager])


def set_default_backend(backend: str | Callable[..., Any] | None) -> None:
    """The backend of what is compiled from now on without one; None is "inductor", which records.

    >>> fb.compiler.set_default_backend("eager")
    >>> fb.compiler.get_default_backend()
    'eager'
    >>> fb.compiler.set_default_backend(None)
    """
    asked.Asked(backend=backend)
    asked.default_backend[0] = "inductor" if backend is None else backend


def get_default_backend() -> str | Callable[..., Any]:
    """What :func:`set_default_backend` set.

    >>> fb.compiler.get_default_backend()
    'inductor'
    """
    return asked.default_backend[0]


def reset() -> None:
    """Forget what all compiled functions recorded; their next calls are first ones.

    >>> fb.compiler.reset()
    """
    for found in captured.every():
        found.reset()
