"""torch.jit on :mod:`flambeau.jit`, with the names that only TorchScript itself has a use for."""

from __future__ import annotations

import builtins
import types
import typing
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from flambeau.compat.torch._C import CompilationUnit, Future
from flambeau.compat.unchanged import Unchanged, no, nothing, unchanged
from flambeau.jit import (
    RecursiveScriptModule,
    ScriptFunction,
    ScriptModule,
    TopLevelTracedModule,
    TracerWarning,
    export,
    freeze,
    ignore,
    interface,
    is_scripting,
    is_tracing,
    load,
    optimize_for_inference,
    run_frozen_optimizations,
    save,
    script,
    script_if_tracing,
    script_method,
    trace,
    trace_module,
    unused,
)

__all__ = [
    "Attribute", "CompilationUnit", "Error", "Final", "Future", "RecursiveScriptModule", "ScriptFunction",
    "ScriptModule", "TopLevelTracedModule", "TracerWarning", "annotate", "enable_onednn_fusion", "export",
    "export_opnames", "fork", "freeze", "ignore", "interface", "is_scripting", "is_tracing", "isinstance", "load",
    "onednn_fusion_enabled", "optimize_for_inference", "run_frozen_optimizations", "save", "script",
    "script_if_tracing", "script_method", "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused",
    "wait",
]  # fmt: skip

T = TypeVar("T")
_script_if_tracing = script_if_tracing
_overload = _overload_method = unchanged
onednn_fusion_enabled = no
enable_onednn_fusion = set_fusion_strategy = nothing
optimized_execution = fuser = strict_fusion = Unchanged


class Error(RuntimeError):
    """What scripted programs raise; here it is the error of the Python."""


class Attribute(NamedTuple):
    """A value of an attribute with its type."""

    value: Any
    type: Any


def annotate(the_type: Any, the_value: T) -> T:  # Any: a type or an annotation
    """The value; the type is for TorchScript."""
    return the_value


def export_opnames(m: ScriptModule) -> list[str]:
    """The names of the ops of a scripted or traced module."""
    return sorted({node.op for node in m.graph.all_nodes()})


def fork(func: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:  # Any: of func
    """Call ``func`` now, as eager torch does, and give its result as a :class:`Future`."""
    done: Future[T] = Future()
    done.set_result(func(*args, **kwargs))
    return done


def wait(future: Future[T]) -> T:
    """The result of :func:`fork`."""
    return future.wait()


def isinstance(obj: object, target_type: Any) -> bool:  # Any: a type or an annotation
    """Whether ``obj`` is of a type that may say what it contains, such as ``list[int]`` or ``dict[str, Tensor]``.

    >>> from flambeau.compat.torch import jit
    >>> jit.isinstance([1, 2], list[int]), jit.isinstance([1.0], list[int])
    (True, False)
    """
    if builtins.isinstance(target_type, tuple):
        return any(isinstance(obj, one) for one in target_type)
    origin, args = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        return builtins.isinstance(obj, target_type)
    if origin in (typing.Union, types.UnionType):
        return any(obj is None if one is type(None) else isinstance(obj, one) for one in args)
    if not builtins.isinstance(obj, origin):
        return False
    if builtins.isinstance(obj, dict):
        return all(isinstance(k, args[0]) and isinstance(v, args[1]) for k, v in obj.items())
    if builtins.isinstance(obj, tuple) and not (len(args) == 2 and args[1] is ...):
        return len(obj) == len(args) and all(map(isinstance, obj, args))
    return all(isinstance(one, args[0]) for one in typing.cast("typing.Iterable[object]", obj))
