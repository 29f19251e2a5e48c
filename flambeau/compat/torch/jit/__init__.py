"""torch.jit where every program runs eagerly: scripting and tracing give back what they are given."""

from __future__ import annotations

import builtins
import types
import typing
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from flambeau.compat.torch._C import CompilationUnit, Future, ScriptFunction
from flambeau.compat.unchanged import Unchanged, lacking, no, nothing, unchanged
from flambeau.nn import Module

__all__ = [
    "Attribute", "CompilationUnit", "Error", "Final", "Future", "ScriptFunction", "ScriptModule", "annotate",
    "enable_onednn_fusion", "export", "export_opnames", "fork", "freeze", "ignore", "interface", "isinstance", "load",
    "onednn_fusion_enabled", "optimize_for_inference", "save", "script", "script_if_tracing", "set_fusion_strategy",
    "strict_fusion", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

T = TypeVar("T")
_FILES = "flambeau has no TorchScript, so no files of it; keep the state_dict with torch.save or safetensors"

script = trace = script_if_tracing = _script_if_tracing = unchanged
ignore = unused = export = interface = _overload = _overload_method = unchanged
freeze = optimize_for_inference = run_frozen_optimizations = unchanged
is_scripting = is_tracing = onednn_fusion_enabled = no
enable_onednn_fusion = set_fusion_strategy = nothing
save, load = lacking("jit.save", _FILES), lacking("jit.load", _FILES)
optimized_execution = fuser = strict_fusion = Unchanged


class Error(RuntimeError):
    """What scripted programs raise; none is scripted here."""


class TracerWarning(Warning):
    """What tracing warns of; nothing is traced here."""


class ScriptModule(Module):
    """A module of TorchScript. A subclass is a module like any other; no module of flambeau is one of itself."""


class RecursiveScriptModule(ScriptModule):
    """What scripting a module gives in torch."""


class Attribute(NamedTuple):
    """A value of an attribute with its type."""

    value: Any
    type: Any


def annotate(the_type: Any, the_value: T) -> T:  # Any: a type or an annotation
    """The value; the type is for TorchScript."""
    return the_value


def trace_module(mod: Module, inputs: dict[str, Any], *args: Any, **options: Any) -> Module:  # Any: not looked at
    """The module."""
    return mod


def export_opnames(m: Module) -> list[str]:
    """No ops: the module was not scripted."""
    return []


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
