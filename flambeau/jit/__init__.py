"""Programs from Python by tracing, under the names of TorchScript: ``trace``, ``script``, ``save``, ``load``.

What they make stands on :mod:`flambeau.export`: a traced module runs a graph of ops; a scripted one runs its Python,
and becomes a graph when it is saved or looked at, with the branches that depend on the data in it.
"""

from flambeau.jit.decorators import (
    export,
    ignore,
    interface,
    is_scripting,
    is_tracing,
    script_if_tracing,
    script_method,
    unused,
)
from flambeau.jit.files import load, save
from flambeau.jit.freezing import freeze, optimize_for_inference, run_frozen_optimizations
from flambeau.jit.scripting import RecursiveScriptModule, ScriptFunction, ScriptModule, script
from flambeau.jit.tracing import TopLevelTracedModule, TracerWarning, trace, trace_module

__all__ = [
    "RecursiveScriptModule", "ScriptFunction", "ScriptModule", "TopLevelTracedModule", "TracerWarning", "export",
    "freeze", "ignore", "interface", "is_scripting", "is_tracing", "load", "optimize_for_inference",
    "run_frozen_optimizations", "save", "script", "script_if_tracing", "script_method", "trace", "trace_module",
    "unused",
]  # fmt: skip
