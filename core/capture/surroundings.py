"""What of a program's own state a function depends on: found while it runs, checked before each replay.

While it runs, ``sys.setprofile`` shows each function of the program's own that is entered. What stands in its
``co_names`` among its globals, what it closes over and its defaults are looked at when it is first entered, before it
can change them (:mod:`guard_finder`); so a second look, at the end, tells what the run itself changed. So are variables
of the environment that it reads. Calls that can't be repeated are seen in the same way (:mod:`guard_effects`).

What is not seen: names that are made at run time, ``getattr(self, f"layer{i}")`` of anything but modules; state inside
objects of C extensions; and functions that only C code leads to, unless they close over something.
"""

from __future__ import annotations

import dis
import functools
import gc
import sys
import weakref
from collections.abc import Callable, Container
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any, Self

from flambeau.core.capture import structure
from flambeau.core.capture.guard_effects import (
    ALL_OF_ENVIRONMENT,
    ONE_OF_ENVIRONMENT,
    is_library_of_effects,
    name_of_effect,
    told,
)
from flambeau.core.capture.guard_files import (
    KINDS,
    OWN,
    SKIP,
    TEXT,
    frame_of_program,
    kind_of,
    kind_of_frame,
    place_of_program,
    shown,
)
from flambeau.core.capture.guard_finder import Finder, Root, TooMuch
from flambeau.core.capture.guard_looks import Met, Where, Writer

_YIELD = dis.opmap["YIELD_VALUE"]
_GENERATOR = 0x20 | 0x80 | 0x200  # co_flags of generators, coroutines and both in one

Profile = Callable[[FrameType, str, Any], object]  # Any: what sys.setprofile passes

__all__ = ["Snapshot", "Surroundings", "place_of_program"]


class Surroundings:
    """Follows one run of ``fn(*args, **kwargs)`` in this thread.

    >>> from flambeau.core.capture.surroundings import Surroundings
    >>> settings = {"scale": 2.0}
    >>> step = lambda x: x * settings["scale"]
    >>> with Surroundings(step, (3.0,), {}) as seen:
    ...     step(3.0)
    6.0
    >>> before = seen.freeze()
    >>> before.changed()
    >>> settings["scale"] = 3.0
    >>> print(before.changed().partition(" of ")[2].partition(" was ")[2])
    2.0 and is 3.0
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None):
        self.effects: list[str] = []  #: what can't be repeated, each with its place
        self._fn = fn
        self._title = getattr(fn, "__name__", type(fn).__name__)
        self._values = [*args, *(kwargs or {}).values()]
        self._names = [*(f"[{i}]" for i in range(len(args))), *(f"[{k!r}]" for k in kwargs or {})]
        self._finder = Finder(self._effect)
        self._following = True
        self._started: dict[int, FrameType] = {}  # of generators that began in this run, so that no id is used twice
        self._made: dict[int, weakref.ref[Any]] = {}  # modules
        self._before: Any = None
        self._base: FrameType | None = None  # where the run starts
        self._everywhere = list(structure.everywhere)
        self._at_start = structure.count, structure.registered

    # -- the run ---------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        self._base = frame_of_program()
        self._safely(self._start)
        self._before = sys.getprofile()
        sys.setprofile(self._profile(self._before if callable(self._before) else None))
        return self

    def __exit__(self, *raised: object) -> None:
        before, self._before = self._before, None
        if before is None or callable(before):
            sys.setprofile(before)
        else:  # a profiler written in C, such as cProfile's, which can't be called, but can be switched on again
            sys.setprofile(None)
            before.enable()
        self._started.clear()
        self._base = None
        for what in self._finder.draws.found():
            self._effect(f"{what} were drawn in {self._title}()")
        if self._finder.draws.of_python() and not any(e.startswith("random.") for e in self.effects):
            self._effect(f"random numbers of Python were drawn in {self._title}()")

    def place(self) -> str:
        """The line of the program's own code that is running."""
        return place_of_program()

    def _start(self) -> None:
        self._callable(self._fn, Where("", self._title))
        for name, value in zip(self._names, self._values, strict=True):
            self._finder.start_argument(value, Where("the argument ", name))

    def _callable(self, fn: Any, where: Where) -> None:  # Any: anything that can be called
        if isinstance(fn, MethodType):
            self._callable(fn.__func__, where)
            self._finder.start(fn.__self__, Where("", "self", f" of {self._title}()"))
        elif isinstance(fn, functools.partial):
            self._callable(fn.func, where)
            self._finder.start(fn, where)
        else:
            self._finder.start(fn, where)
            inner = getattr(fn, "__wrapped__", None)
            if isinstance(inner, FunctionType):
                self._callable(inner, where)

    def _profile(self, before: Profile | None) -> Profile:
        """What sys.setprofile calls; most of what it sees is flambeau's own, and ends at the second line."""
        kinds = KINDS

        def profile(frame: FrameType, event: str, arg: Any) -> None:
            if before is not None:
                before(frame, event, arg)
            kind = kinds.get(frame.f_code.co_filename)
            if kind is None:
                kind = kind_of(frame.f_code.co_filename)
            if kind == SKIP:
                return
            if kind == TEXT and kind_of_frame(frame) == SKIP:
                return
            if event == "call":
                if kind >= OWN:
                    self._safely(self._enter, frame)
                elif is_library_of_effects(frame.f_code.co_filename):
                    self._safely(self._called, frame, "")
                elif frame.f_code is ONE_OF_ENVIRONMENT or frame.f_code in ALL_OF_ENVIRONMENT:
                    self._safely(self._environment, frame)
            elif event == "c_call":
                name = name_of_effect(arg)
                if name is not None:
                    self._safely(self._called, frame, name)
            elif event == "return" and kind >= OWN:
                self._safely(self._return, frame)

        return profile

    def _safely(self, act: Callable[..., None], *args: Any) -> None:
        """Look at something; what can't be looked at is an effect, and no error of the program's."""
        if not self._following:
            return
        try:
            act(*args)
        except TooMuch as error:
            self._following = False
            what, where = error.args
            at = shown(args[0]) if args else place_of_program()
            self._effect(f"{what} is read at {at}: {where}")
        except Exception as error:
            self._following = False
            at = shown(args[0]) if args else place_of_program()
            self._effect(f"what is read at {at} can't be looked at: {type(error).__name__}: {error}")

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        if code.co_name == "<module>":  # an import
            return
        if code.co_flags & _GENERATOR:
            if code.co_code[frame.f_lasti + 1] & 3 == 0:  # RESUME 0: from the start
                self._started[id(frame)] = frame
            elif id(frame) not in self._started:
                by = frame.f_back
                at = place_of_program() if by is None or kind_of_frame(by) != OWN else shown(by)
                self._effect(f"the generator {code.co_name}(), which was there before, is resumed at {at}")
        if not self._finder.knows(code) and not self._is_apart(frame):
            self._finder.enter(code, frame.f_globals)
        if code.co_argcount and code.co_varnames[0] == "self":
            self._enter_method(frame.f_locals.get("self"), code)

    def _enter_method(self, value: Any, code: CodeType) -> None:  # Any: whatever is called self
        """Look at a module that nothing else may lead to, unless it is made in this run."""
        if not getattr(type(value), "_is_module", False):
            return
        if code.co_name == "__init__":
            self._made[id(value)] = weakref.ref(value)
        made = self._made.get(id(value))
        if made is None or made() is not value:
            self._finder.start(value, Where("", "self", f" of {code.co_qualname}()"), may_go=True)

    def _is_apart(self, frame: FrameType) -> bool:
        """Whether a frame is no part of the run: something is imported for the first time, or garbage collected."""
        collecting = {getattr(callback, "__code__", None) for callback in gc.callbacks}
        at: FrameType | None = frame
        while at is not None and at is not self._base:
            if at.f_code.co_filename.startswith("<frozen importlib") or at.f_code in collecting:
                return True
            at = at.f_back
        return False

    def _return(self, frame: FrameType) -> None:
        if frame.f_code.co_flags & _GENERATOR and not _yields(frame):
            self._started.pop(id(frame), None)
        for what in self._finder.draws.found():
            self._effect(f"{what} were drawn in {frame.f_code.co_name}() at {shown(frame)}")

    def _environment(self, frame: FrameType) -> None:
        text = told(frame, "")
        if text is None or self._is_apart(frame):
            return
        if frame.f_code is ONE_OF_ENVIRONMENT:
            self._finder.environment(frame.f_locals["self"], frame.f_locals["key"])
        else:
            self._effect(f"the whole of os.environ is read at {text.rpartition(' at ')[2]}")

    def _called(self, frame: FrameType, name: str) -> None:
        text = told(frame, name)
        if text is not None and not self._is_apart(frame):
            self._effect(text)

    def _effect(self, text: str) -> None:
        if text not in self.effects:
            self.effects.append(text)

    # -- afterwards ------------------------------------------------------------------------------
    def why(self) -> str:
        """Why the run cannot be repeated by a replay, or ""."""
        return next(iter(self.effects), "") or self.changed_by_run() or ""

    def changed_by_run(self) -> str | None:
        """What the run itself changed of what it read, or wrote for the first time; None: nothing."""
        return compare(self._finder.roots, self._everywhere)

    def seen(self) -> list[Any]:
        """The objects that were looked at; nothing after :meth:`freeze`."""
        return self._finder.seen()

    def freeze(self) -> Snapshot:
        """What was seen, to compare with later; the last that is asked of this object."""
        finder = self._finder
        return Snapshot(self._title, finder.freeze(), finder.names_of_attributes(), self._everywhere, self._at_start)


class Snapshot:
    """What a function depends on, as it was."""

    def __init__(
        self, title: str, roots: list[Root], names: Container[str], everywhere: list[int], counts: tuple[int, int]
    ):
        self._roots, self._names, self._everywhere = roots, names, everywhere
        self._writer = Writer()
        for root in roots:
            root.look.check(self._writer, root.text([self._writer.name(v) for v in root.values]))
        self._unchanged = self._writer.function(title)
        self._take_over(*counts)

    def changed(self) -> str | None:
        """What is no longer as it was; None: nothing."""
        if self._unchanged():
            return None
        count, registered = structure.count, structure.registered
        if count != self._count and not structure.moved_in(self._names, self._count, self._registered):
            self._take_over(count, registered)
            if self._unchanged():
                return None
        why = compare(self._roots, self._everywhere)
        if why is None:
            self._take_over(count, registered)
        return why

    def _take_over(self, count: int, registered: int) -> None:
        """What moved is no change."""
        self._count, self._registered = count, registered
        self._writer.take_over(count)


def compare(roots: list[Root], everywhere: list[int]) -> str | None:
    """The first change, by the long comparison; ``everywhere`` are the numbers of the hooks on all modules."""
    if list(structure.everywhere) != everywhere:
        return "the hooks on every module are others than before"
    met: Met = set()
    for root in roots:
        try:
            value = root.get()
        except Exception:
            if not root.may_go:
                return f"{root.look.where} is gone"
            continue
        if root.may_go and value is None:
            continue
        if why := root.look.why(value, met):
            return why
    return None


def _yields(frame: FrameType) -> bool:
    """Whether a generator that returns to its caller goes on later."""
    return frame.f_code.co_code[frame.f_lasti] == _YIELD
