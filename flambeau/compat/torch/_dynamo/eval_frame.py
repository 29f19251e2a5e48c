"""The class of compiled modules."""

from flambeau.compiler import OptimizedModule, disable

__all__ = ["OptimizedModule", "disable"]
