"""What is asked of compile: its arguments, checked, and the function that it gives.

Modules compile themselves in place, so this stands below them; :mod:`flambeau.compiler` is its face.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flambeau.core.capture import settings, stance
from flambeau.core.capture.captured import Captured, Counts
from flambeau.core.capture.recorder import CaptureError
from flambeau.core.capture.telling import Explanation

MODES: Final = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
CAPTURING: Final = ("inductor", "flambeau", "cudagraphs")
EAGER: Final = ("eager", "aot_eager")
_OWN_OPTIONS: Final = ("guard_filter_fn", "use_aoti")  # of PyTorch's compile, not of its compiler
_TYPES: Final = {"bool": bool, "float": float, "int": int, "str": str}
default_backend: list[str | Callable[..., Any]] = ["inductor"]
kept: list[Captured | Uncaptured] | None = None  #: what compile makes, while somebody wants all of it


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The arguments of compile. RuntimeError, TypeError or ValueError for what they cannot be."""

    fullgraph: bool = False
    dynamic: bool | None = None
    backend: str | Callable[..., Any] | None = None
    mode: str | None = None
    options: Mapping[str, Any] | None = None
    name: str | None = None
    disable: bool = False
    recompile_limit: int | None = None
    isolate_recompiles: bool = False
    shapes_spec: Any = None  # Any: PyTorch's description of dynamic shapes, which nothing reads

    def __post_init__(self) -> None:
        if self.mode is not None and self.options is not None:
            raise RuntimeError("compile: give mode or options, not both")
        if self.mode is not None and self.mode not in MODES:
            raise RuntimeError(f"compile: mode must be one of {_listed(MODES)}, got {self.mode!r}")
        if self.backend is not None and not callable(self.backend) and self.backend not in (*EAGER, *CAPTURING):
            raise RuntimeError(
                f"compile: backend must be a function or one of {_listed((*EAGER, *CAPTURING))}, got {self.backend!r}"
            )
        for name in ("fullgraph", "disable", "isolate_recompiles"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"compile: {name} must be a bool, got {type(getattr(self, name)).__name__}")
        if self.dynamic is not None and not isinstance(self.dynamic, bool):
            raise TypeError(f"compile: dynamic must be a bool or None, got {type(self.dynamic).__name__}")
        limit = self.recompile_limit
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValueError(f"compile: recompile_limit must be a whole number of at least 1, got {limit!r}")
        _check_options(self.options or {})

    def why_eager(self, fn: Callable[..., Any]) -> str:
        """ "" where ``fn`` is captured, else why it runs eagerly."""
        backend = default_backend[0] if self.backend is None else self.backend
        if backend in EAGER:
            return f"the backend is {backend!r}"
        if callable(backend):
            return "the backend is a function, which takes a graph of PyTorch's tracer; none is made"
        for kind, of in _LATER:
            if of(fn):
                return f"it is {kind}, whose body runs after the call"
        return ""


_LATER: Final[tuple[tuple[str, Callable[[Any], bool]], ...]] = (
    ("a generator function", inspect.isgeneratorfunction),
    ("a coroutine function", inspect.iscoroutinefunction),
    ("an asynchronous generator function", inspect.isasyncgenfunction),
)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))


@functools.cache
def known_options() -> dict[str, type | None]:
    """The options of PyTorch's own compiler, with the type of those that have one."""
    lines = (Path(__file__).parent / "options.txt").read_text().splitlines()
    rows = [line.split(": ") for line in lines]
    return {name: _TYPES.get(kind) for kind, names in rows for name in names.split()}


def _check_options(options: Mapping[str, Any]) -> None:
    for given, value in options.items():
        name = given.replace("-", "_")
        if name in _OWN_OPTIONS:
            continue
        if name not in known_options():
            close = ", ".join(difflib.get_close_matches(name, known_options())) or "none"
            raise RuntimeError(f"compile: there is no option {given!r}; close names: {close}")
        kind = known_options()[name]
        if kind is not None and not isinstance(value, kind):
            raise RuntimeError(f"compile: option {given!r} must be of type {kind.__name__}, got {value!r}")


class Uncaptured:
    """A function that runs eagerly in each call, with the face of :class:`Captured`."""

    def __init__(self, fn: Callable[..., Any], name: str, why: str):
        self.fn, self.name, self.reasons, self.counts = fn, name, [why], Counts()
        self.graphs: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # Any: as fn
        self.counts.eager += 1
        return self.fn(*args, **kwargs)


def compiled(fn: Callable[..., Any], asked: Asked) -> Callable[..., Any]:
    """A function like ``fn`` that replays what it recorded.

    Its ``explain()`` tells what it did, ``captured`` holds its recordings. CaptureError where ``asked`` wants one graph
    of a function whose body runs after the call.
    """
    fn = original(fn)
    name = str(asked.name or getattr(fn, "__qualname__", type(fn).__name__))
    why = asked.why_eager(fn)
    if why and asked.fullgraph and inspect.isroutine(fn) and any(of(fn) for _, of in _LATER):
        raise CaptureError(f"compile: {name} cannot be recorded as one graph: {why}")
    if why:
        return _function(fn, Uncaptured(fn, name, why), None)
    dynamic = settings.dynamic(asked.dynamic)
    captured = Captured(
        fn,
        fullgraph=asked.fullgraph or settings.fail_on_recompile_limit_hit,
        limit=asked.recompile_limit or settings.recompile_limit,
        name=name,
        fusion=dynamic is not True,
        dynamic=dynamic,
    )
    return _function(fn, captured, captured)


def _function(fn: Callable[..., Any], told: Captured | Uncaptured, captured: Captured | None) -> Callable[..., Any]:
    if kept is not None:
        kept.append(told)
    if captured is None:

        def run(*args: Any, **kwargs: Any) -> Any:
            return told(*args, **kwargs)
    else:

        def run(*args: Any, **kwargs: Any) -> Any:
            return stance.call(captured, args, kwargs)

    made: Any = dressed(run, fn)
    made.captured = told
    made.explain = functools.partial(Explanation.of, told)
    return made  # type: ignore[no-any-return]


def dressed(made: Any, fn: Callable[..., Any]) -> Any:  # Any: a function, which gets attributes
    """``made`` with the name, signature and text of ``fn``, and PyTorch's mark of what it stands for."""
    plain = isinstance(fn, (types.FunctionType, types.MethodType))
    functools.update_wrapper(made, fn, updated=("__dict__",) if plain else ())
    made._torchdynamo_orig_callable = fn
    return made


def original(fn: Any) -> Any:  # Any: a function, or any other callable
    """What was compiled, where ``fn`` is what compile made of it."""
    while isinstance(fn, types.FunctionType) and hasattr(fn, "_torchdynamo_orig_callable") and hasattr(fn, "captured"):
        fn = fn._torchdynamo_orig_callable
    return fn
