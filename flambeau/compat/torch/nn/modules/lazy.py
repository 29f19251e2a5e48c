"""Modules whose sizes come from their first input: what they are made with."""

from flambeau.nn.lazy import LazyModuleMixin
from flambeau.nn.parameter import is_lazy

__all__ = ["LazyModuleMixin", "is_lazy"]
