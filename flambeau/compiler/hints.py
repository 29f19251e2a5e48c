"""What programs tell PyTorch's tracer of Python. Recording needs few of it: it sees what ran, below the Python."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from flambeau.core.capture.sizes import DYNAMIC, MAYBE, STATIC, mark
from flambeau.core.events import refuse
from flambeau.core.exchange import from_numpy
from flambeau.core.tensor import Tensor
from flambeau.nn.parameter import Parameter

F = TypeVar("F", bound=Callable[..., Any])


def allow_in_graph(fn: Any) -> Any:  # Any: a function, or a list or tuple of them
    """``fn`` itself, or a list of functions: what they compute is recorded without being told.

    >>> fb.compiler.allow_in_graph(abs) is abs
    True
    """
    if isinstance(fn, (list, tuple)):
        return [allow_in_graph(f) for f in fn]
    if not callable(fn):
        raise TypeError(f"allow_in_graph: fn must be a function, got {type(fn).__name__}")
    return fn


def assume_constant_result(fn: F) -> F:
    """``fn`` itself, marked. What it computes is recorded as anything else, and nothing is assumed.

    >>> fb.compiler.assume_constant_result(lambda: 3)()
    3
    """
    fn._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return fn


def substitute_in_graph(
    original_fn: F, *, can_constant_fold_through: bool = False, skip_signature_check: bool = False
) -> Callable[[F], F]:
    """A decorator of Python that PyTorch's tracer reads in the place of a builtin: calls go to the builtin.

    TypeError where either is no function, or where their signatures differ.

    >>> import operator
    >>> @fb.compiler.substitute_in_graph(operator.indexOf)
    ... def index_of(a, b, /):
    ...     return list(a).index(b)
    >>> index_of([3, 4], 4)
    1
    """
    if not inspect.isroutine(original_fn):
        raise TypeError(f"substitute_in_graph: original_fn must be a function, got {type(original_fn).__name__}")

    def substitute(traceable_fn: F) -> F:
        if not inspect.isroutine(traceable_fn):
            raise TypeError(f"substitute_in_graph: a function is decorated, got {type(traceable_fn).__name__}")
        if not skip_signature_check and _differ(original_fn, traceable_fn):
            raise TypeError(
                f"substitute_in_graph: the signature of {traceable_fn.__name__} is {inspect.signature(traceable_fn)}, "
                f"that of {original_fn.__name__} {inspect.signature(original_fn)}"
            )

        @functools.wraps(traceable_fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return original_fn(*args, **kwargs)

        made: Any = wrapped
        made.__torch_dynamo_original__, made.__torch_dynamo_polyfill__ = original_fn, traceable_fn
        made.__torch_dynamo_can_constant_fold_through__ = can_constant_fold_through
        return made  # type: ignore[no-any-return]

    return substitute


def _differ(f: Callable[..., Any], g: Callable[..., Any]) -> bool:
    """Whether two functions say that they take other arguments; one that takes anything, or says nothing, may do."""
    told = [_taken(f), _taken(g)]
    return all(told) and told[0] != told[1]


def _taken(fn: Callable[..., Any]) -> Any:
    """The names and defaults of arguments; None, which says nothing, for builtins that do not tell."""
    try:
        found = inspect.signature(fn).parameters.values()
    except ValueError:
        return None
    plain = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [(p.name, p.kind is p.KEYWORD_ONLY, p.default) for p in plain]


def nested_compile_region(
    fn: Any = None, *, options: Any = None, max_reuse_entries: int = 8, reuse_hash_fn: Any = None
) -> Any:  # Any: a function; the others are not looked at
    """``fn`` itself, or a decorator: regions that repeat are recorded as often as they run.

    >>> fb.compiler.nested_compile_region(abs) is abs
    True
    """
    return allow_in_graph if fn is None else allow_in_graph(fn)


# -- sizes -----------------------------------------------------------------------------------------
def mark_dynamic(
    t: Tensor, index: int | Iterable[int], *, hint_override: int | None = None, min: int | None = None,
    max: int | None = None, specialize_on: Any = None,
) -> None:  # fmt: skip
    """Let calls that differ in the size of dimension ``index`` share a recording, also under ``dynamic=False``.

    Where they cannot share one, a warning says why, and each size has recordings of its own, where PyTorch raises an
    error. The other arguments are not looked at. The mark belongs to this tensor, so mark the arguments of each call.

    TypeError for what is no tensor, or for dimensions that are no ints; IndexError for a dimension that it has not.

    >>> add = fb.compile(lambda x: x + x, dynamic=False)
    >>> for size in (2, 2, 2, 3, 3, 3, 4, 4):
    ...     x = fb.ones(size)
    ...     fb.compiler.mark_dynamic(x, 0)
    ...     y = add(x)
    >>> add.explain().replayed
    3
    """
    mark(t, index, DYNAMIC, "mark_dynamic")


def maybe_mark_dynamic(t: Tensor, index: int | Iterable[int]) -> None:
    """As :func:`mark_dynamic`, without a warning where sizes have recordings of their own.

    >>> fb.compiler.maybe_mark_dynamic(fb.ones(2), 0)
    """
    mark(t, index, MAYBE, "maybe_mark_dynamic")


def mark_static(t: Tensor, index: int | Iterable[int] | None = None) -> None:
    """Let each size of dimension ``index`` of ``t``, or of all dimensions, have recordings of its own.

    TypeError for what is no tensor, or for dimensions that are no ints; IndexError for a dimension that it has not.

    >>> fb.compiler.mark_static(fb.ones(2, 3), 1)
    """
    mark(t, index, STATIC, "mark_static")


def wrap_numpy(fn: Callable[..., Any]) -> Callable[..., Any]:  # Any: of fn
    """``fn``, a function of numpy arrays, as one of tensors. It runs on the host: who calls it is not recorded.

    >>> fb.compiler.wrap_numpy(lambda a: a[::-1].copy())(fb.arange(3))
    tensor([2, 1, 0])
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        refuse(f"compiler.wrap_numpy: {getattr(fn, '__qualname__', type(fn).__name__)} computes with numpy")

        def host(x: Any) -> Any:
            return x.numpy() if isinstance(x, Tensor) else x

        found = fn(*map(host, args), **{name: host(x) for name, x in kwargs.items()})
        return from_numpy(found) if isinstance(found, np.ndarray) else found

    return wrapped


def cudagraph_mark_step_begin() -> None:
    """Nothing: results of replays have memory of their own.

    >>> fb.compiler.cudagraph_mark_step_begin()
    """


def set_enable_guard_collectives(enabled: bool) -> bool:
    """Whether guards are agreed on between processes: they are not; the setting before, False."""
    if not isinstance(enabled, bool):
        raise TypeError(f"set_enable_guard_collectives: enabled must be a bool, got {type(enabled).__name__}")
    return False


def save_cache_artifacts() -> None:
    """None: recordings live as long as their process."""


def load_cache_artifacts(serialized_artifacts: bytes) -> None:
    """None: there is nothing to load."""


def load_compiled_function(file: Any, *, f_globals: Any = None, external_data: Any = None) -> Any:
    """RuntimeError: recordings live as long as their process, and none is in a file."""
    raise RuntimeError("load_compiled_function: recordings are not kept in files; compile the function again")


# -- filters of guards, for the option guard_filter_fn of compile, which changes nothing: all guards are kept ------
def keep_portable_guards_unsafe(guard_entries: Iterable[Any]) -> list[bool]:
    """Which guards of PyTorch's are of tensors and the global state."""
    return [
        g.guard_type in ("GLOBAL_STATE", "SHAPE_ENV") or g.guard_type == "TENSOR_MATCH" and not g.is_global
        for g in guard_entries
    ]


def skip_guard_on_inbuilt_nn_modules_unsafe(guard_entries: Iterable[Any]) -> list[bool]:
    """Which guards of PyTorch's are of no layer of its own."""
    return [not g.orig_guard.source.is_unspecialized_builtin_nn_module() for g in guard_entries]


def skip_guard_on_all_nn_modules_unsafe(guard_entries: Iterable[Any]) -> list[bool]:
    """Which guards of PyTorch's are of no module."""
    return [not g.orig_guard.source.is_unspecialized_nn_module() for g in guard_entries]


def keep_tensor_guards_unsafe(guard_entries: Iterable[Any], keep_parameters: bool = False) -> list[bool]:
    """Which guards of PyTorch's are of tensors, and of parameters only with ``keep_parameters``."""
    return [
        g.guard_type == "TENSOR_MATCH" and (keep_parameters or not isinstance(g.value, Parameter))
        for g in guard_entries
    ]


def skip_guard_on_globals_unsafe(guard_entries: Iterable[Any]) -> list[bool]:
    """Which guards of PyTorch's are of no global variable."""
    return [not g.is_global for g in guard_entries]


def skip_all_guards_unsafe(guard_entries: Iterable[Any]) -> list[bool]:
    """No guard of PyTorch's.

    >>> fb.compiler.skip_all_guards_unsafe([1, 2])
    [False, False]
    """
    return [False for _ in guard_entries]
