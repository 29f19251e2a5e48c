"""Whether something is being compiled now."""

from flambeau.compiler import is_compiling

__all__ = ["is_compiling"]
