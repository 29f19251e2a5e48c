"""The class of compiled modules, of which there are none."""

from flambeau.compat.unchanged import unchanged
from flambeau.nn import Module

__all__ = ["OptimizedModule", "disable"]

disable = unchanged


class OptimizedModule(Module):
    """What ``torch.compile`` makes of a module in torch; here it gives the module itself."""

    _orig_mod: Module
