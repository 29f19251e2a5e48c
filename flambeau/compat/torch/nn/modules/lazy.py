"""Lazy layers: their mixin, which ``torch.nn`` itself does not have."""

from flambeau.nn.lazy import LazyModuleMixin
from flambeau.nn.parameter import is_lazy

__all__ = ["LazyModuleMixin", "is_lazy"]
