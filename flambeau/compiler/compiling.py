"""compile and disable, and the module that they make of a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flambeau.core.capture import settings
from flambeau.core.capture.asked import Asked, compiled, dressed
from flambeau.core.capture.stance import off
from flambeau.core.capture.telling import Explanation
from flambeau.core.events import refuse
from flambeau.nn.module import Module

_OWN = ("_asked", "_orig_mod", "_run", "__dict__")


class OptimizedModule(Module):
    """What :func:`compile` makes of a module: its calls are recorded and replayed.

    Parameters and buffers have ``_orig_mod.`` before their names in ``state_dict``, as in PyTorch. All other attributes
    are those of the module, to read and to set. Copies and pickles begin without recordings.

    >>> fb.compile(fb.nn.Linear(2, 1))(fb.ones(2)).shape
    flambeau.Size([1])
    """

    _orig_mod: Module

    def __init__(self, module: Module, asked: Asked | None = None):
        super().__init__()
        self._asked = Asked() if asked is None else asked
        self._orig_mod = module
        self._start()

    def _start(self) -> None:
        asked = self._asked
        self._run: Any = _disabled(self._orig_mod, "") if asked.disable else compiled(self._orig_mod, asked)

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # Any: as the module's own
        """The module's own, by its recordings."""
        return self._run(*args, **kwargs)

    def explain(self) -> Explanation:
        """What the compiled module did up to now."""
        found: Explanation = self._run.explain()
        return found

    # -- everything else is the module's ---------------------------------------------------------
    @property
    def training(self) -> bool:
        """Whether the module is in training mode."""
        return self._orig_mod.training

    @training.setter
    def training(self, mode: bool) -> None:
        self._orig_mod.training = mode

    @property
    def _torchdynamo_orig_callable(self) -> Callable[..., Any]:
        return self._orig_mod.forward

    def __getattr__(self, name: str) -> Any:  # Any: any attribute of the module
        module = self.__dict__.get("_modules", {}).get("_orig_mod")
        if module is None:  # while the object is made
            raise AttributeError(name)
        return module if name == "_orig_mod" else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:  # Any: whatever the module takes
        if name in _OWN or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        if name in _OWN or hasattr(type(self), name):
            super().__delattr__(name)
        else:
            delattr(self._orig_mod, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._orig_mod)})

    def __len__(self) -> int:
        return len(self._orig_mod)  # type: ignore[arg-type]  # TypeError where it has no length

    def __bool__(self) -> bool:
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._start()


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: str | Callable[..., Any] | None = None, mode: str | None = None,
    options: Mapping[str, Any] | None = None, name: str | None = None, disable: bool = False,
    recompile_limit: int | None = None, isolate_recompiles: bool = False, shapes_spec: Any = None,
) -> Any:  # Any: a function, a module, or a decorator of them  # fmt: skip
    """A function or module that records what ``model`` computes and replays it; without ``model`` a decorator.

    The first call of a kind (dtypes, shapes, numbers among the arguments, grad mode, ...) runs eagerly, the next two
    are recorded, and from the fourth on the recording runs, without the Python of ``model``. All of a training step may
    be inside: forward, backward and the optimizer. What cannot be recorded runs eagerly, after one warning that says
    why.
    Results are those of an eager call, to the bit; where kernels that reduce rows (softmax, norms, sums over the last
    axes) were joined with others, to a few units in the last place. ``explain()`` of what comes back tells what it did.

    Args:
        model: a function, a class, whose calls are compiled, or a module, which comes back in an OptimizedModule.
        fullgraph: raise :class:`CaptureError` for what cannot be recorded.
        dynamic: which sizes of arguments share a recording: all (None, which is the default, and True), or only those
            of :func:`mark_dynamic` (False). Sizes 0 and 1, and those of :func:`mark_static`, never do. A new size is
            recorded once, and replayed from its second call on; nothing is replayed at a size that was not recorded,
            since no one sees all that depends on one. With None a size that is called often gets recordings of its
            own, with kernels fused for it; with True one function serves all of them.
        backend: "inductor", "flambeau" and "cudagraphs" record, "eager" and "aot_eager" run eagerly, and so does a
            function, since it takes a graph of PyTorch's tracer, of which none is made; None is the default backend.
        mode: one of PyTorch's modes; all of them record in the same way.
        options: those of PyTorch's compiler; they are looked at, and change nothing.
        name: what messages and ``explain()`` call it.
        disable: give back ``model`` itself.
        recompile_limit: how many kinds of calls are kept; None is ``compiler.config.recompile_limit``.
        isolate_recompiles: looked at; each call of ``compile`` has recordings of its own.
        shapes_spec: not looked at.

    RuntimeError for both ``mode`` and ``options``, for a mode, backend or option that does not exist, or an option of
    another type; TypeError for a ``model`` that cannot be called.

    >>> @fb.compile
    ... def double(x):
    ...     return x + x
    >>> double(fb.tensor(2.0))
    tensor(4.)
    >>> print(double.explain())
    double: 1 call eager, 0 recorded, 0 replayed, 0 resumed
      graph 0: first call; 0 replays, nothing recorded
    """
    asked = Asked(
        fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, name=name, disable=disable,
        recompile_limit=recompile_limit, isolate_recompiles=isolate_recompiles, shapes_spec=shapes_spec,
    )  # fmt: skip
    return _decorator(asked) if model is None else _decorator(asked)(model)


def _decorator(asked: Asked) -> Callable[[Any], Any]:
    def compiles(model: Any) -> Any:
        if not callable(model):
            raise TypeError(f"compile: model must be a function or a module, got {type(model).__name__}")
        if asked.disable or settings.disable or isinstance(model, OptimizedModule):
            return model
        if isinstance(model, Module):
            return OptimizedModule(model, asked)
        if inspect.isclass(model):
            _on_calls(model, lambda call: compiled(call, asked))
            return model
        return compiled(model, asked)

    return compiles


def _on_calls(cls: type, change: Callable[[Any], Any]) -> None:
    """Change what calls of a class's objects run."""
    call = next((vars(c)["__call__"] for c in cls.__mro__ if "__call__" in vars(c)), None)
    if call is not None:
        cls.__call__ = change(call)  # type: ignore[method-assign]


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """``fn``, a function, class or module, such that it always runs eagerly; without ``fn`` a decorator.

    A compiled function that calls it runs eagerly as a whole, and says so. With ``recursive`` compiled functions that
    ``fn`` calls run eagerly too.

    >>> @fb.compiler.disable(reason="it writes a log")
    ... def log(x):
    ...     print(x.item())
    >>> log(fb.tensor(1.0))
    1.0
    """
    if fn is None:
        return lambda fn: disable(fn, recursive, reason=reason)
    if not callable(fn):
        raise TypeError(f"disable: fn must be a function, a class or a module, got {type(fn).__name__}")
    if isinstance(fn, Module):
        return OptimizedModule(fn, Asked(disable=True))
    if inspect.isclass(fn):
        _on_calls(fn, lambda call: _disabled(call, reason or "", recursive))
        return fn
    return _disabled(fn, reason or "", recursive)


def _disabled(fn: Callable[..., Any], reason: str, recursive: bool = True) -> Any:
    name = getattr(fn, "__qualname__", type(fn).__name__)
    why = f"compiler.disable: {name}" + (f", {reason}" if reason else "")

    def run(*args: Any, **kwargs: Any) -> Any:
        refuse(why)
        if not recursive:
            return fn(*args, **kwargs)
        with switched_off():
            return fn(*args, **kwargs)

    made: Any = dressed(run, fn)
    made._torchdynamo_disable, made._torchdynamo_disable_msg = True, reason or None
    made.explain = lambda: Explanation(name, 0, 0, 0, 0, [], [])
    return made


@contextmanager
def switched_off() -> Iterator[None]:
    """Compiled functions run eagerly inside, in this thread."""
    before = off.set(True)
    try:
        yield
    finally:
        off.reset(before)
