"""Follows a run of a program whose surroundings are known already: whether it stays within them.

What a program depends on is found by the functions that run (:mod:`surroundings`), whichever way they take. A run at
another size that enters no other function, and no module that was not looked at, depends on nothing more, so that the
guards of the recording before hold for it too. That costs a small part of what finding them takes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from flambeau.core.capture.guard_effects import told
from flambeau.core.capture.guard_files import shown
from flambeau.core.capture.surroundings import Snapshot, Surroundings


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """What the surroundings of a recording were."""

    codes: dict[int, CodeType]  #: that ran, by their ids
    modules: dict[int, Callable[[], Any]]  #: that were looked at, by their ids
    draws: dict[str, Callable[[], Any]]  #: states of random numbers that no call shows
    snapshots: list[Snapshot]

    @classmethod
    def of(cls, surroundings: Surroundings, snapshots: list[Snapshot]) -> Known:
        """Those that were found."""
        finder = surroundings._finder
        modules = {id(look.ref()): look.ref for look in finder._modules}
        draws = {name: state for name, (state, _) in finder.draws.states.items()}
        return cls(dict(finder._codes), modules, draws, snapshots)

    def __eq__(self, other: object) -> bool:
        """Whether a run that stays within one stays within the other."""
        mine, others = [
            (k.codes.keys(), k.modules.keys(), k.draws.keys()) if isinstance(k, Known) else None for k in (self, other)
        ]
        return mine == others

    def has(self, module: Any) -> bool:
        """Whether a module was looked at."""
        ref = self.modules.get(id(module))
        return ref is not None and ref() is module


class Following(Surroundings):
    """Follows one run in this thread; ``effects`` says what it does that its recording before did not."""

    def __init__(self, fn: Callable[..., Any], known: Known):
        super().__init__(fn)
        self._known = known

    def _start(self) -> None:
        for name, state in self._known.draws.items():
            self._finder.draws.add(name, state)
        self._finder._codes.update(self._known.codes)

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        if code.co_name != "<module>" and not self._finder.knows(code) and not self._is_apart(frame):
            self._following = False
            self._effect(f"{code.co_qualname}() runs at {shown(frame)}, and did not at another size")
        else:
            super()._enter(frame)

    def _enter_method(self, value: Any, code: CodeType) -> None:  # Any: whatever is called self
        if not getattr(type(value), "_is_module", False):
            return
        if code.co_name == "__init__":
            self._made[id(value)] = weakref.ref(value)
        made = self._made.get(id(value))
        if (made is None or made() is not value) and not self._known.has(value):
            self._effect(f"a {type(value).__name__} runs {code.co_name}(), and did not at another size")

    def _environment(self, frame: FrameType) -> None:
        text = told(frame, "")
        if text is not None and not self._is_apart(frame):
            self._effect(text)

    def changed_by_run(self) -> str | None:
        """What the run changed of what the recording depends on; None: nothing."""
        return next((why for s in self._known.snapshots if (why := s.changed())), None)
