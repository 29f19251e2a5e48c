"""Whether compiled functions replay now: the stance of the program, and what is switched off in a thread."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from flambeau.core.capture.captured import Captured
from flambeau.core.capture.recorder import CaptureError
from flambeau.core.state import get

STANCES: Final = (
    "default", "force_eager", "eager_on_recompile", "fail_on_recompile", "eager_then_compile",
    "aot_eager_then_compile",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stance:
    """What compiled functions do. ``plain``: what they do by themselves, which starts with an eager call anyway."""

    name: str = "default"
    backend: str | Callable[..., Any] | None = None

    @property
    def plain(self) -> bool:
        captures = self.backend is None or self.backend not in ("eager", "aot_eager") and not callable(self.backend)
        return captures and self.name in ("default", "eager_then_compile", "aot_eager_then_compile")


off: ContextVar[bool] = ContextVar("flambeau_compile_off", default=False)  # inside of what compiler.disable made
_now: list[Stance] = [Stance()]
_plain = True


def is_compiling() -> bool:
    """Whether what runs now is being recorded.

    >>> fb.compiler.is_compiling()
    False
    """
    state = get()
    return state is not None and state.recorder is not None


def take(stance: Stance) -> Stance:
    """Take a stance; the one before. RuntimeError inside a compiled function."""
    global _plain
    if is_compiling():
        raise RuntimeError("set_stance: a compiled function cannot change the stance while it is recorded")
    before, _now[0] = _now[0], stance
    _plain = stance.plain
    return before


def call(captured: Captured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # Any: what the function takes
    """Call a captured function as the stance has it."""
    if _plain and not off.get():
        return captured(*args, **kwargs)
    stance = _now[0]
    if off.get() or stance.name == "force_eager" or stance.name == "default":  # default: with an eager backend
        return _eagerly(captured, args, kwargs)
    if is_compiling() or captured.fits(args, kwargs):
        return captured(*args, **kwargs)
    if stance.name == "fail_on_recompile":
        raise CaptureError(f"compile: {captured.name} would have to be recorded, and the stance is 'fail_on_recompile'")
    return _eagerly(captured, args, kwargs)


def _eagerly(captured: Captured, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not is_compiling():
        captured.counts.eager += 1
    return captured.fn(*args, **kwargs)
