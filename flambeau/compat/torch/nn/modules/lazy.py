"""The way from a lazy layer to an ordinary one."""

from flambeau.nn.lazy import LazyModuleMixin

__all__ = ["LazyModuleMixin"]
