"""Where torch keeps scripting."""

from flambeau.compat.torch.jit import RecursiveScriptModule, ScriptFunction, ScriptModule, script

__all__ = ["RecursiveScriptModule", "ScriptFunction", "ScriptModule", "script"]
