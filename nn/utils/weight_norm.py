"""Weight norm as it was: a hook that computes the weight before each forward."""

from __future__ import annotations

from typing import Any

from flambeau.core.blame import checking, explain_functions
from flambeau.core.capture import structure
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.nn.utils.parametrizations import norm_except


class WeightNorm:
    """The hook: ``name`` is computed from ``name_g``, the lengths, and ``name_v``, the directions."""

    def __init__(self, name: str, dim: int | None):
        self.name, self.dim = name, dim

    def compute_weight(self, module: Module) -> Tensor:
        """The directions scaled to the lengths."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        found: Tensor = v * (g / norm_except(v, self.dim))
        return found

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def _hook(module: Module, name: str) -> tuple[int, WeightNorm] | None:
    found = module._forward_pre_hooks.items()
    return next(((k, h) for k, h in found if isinstance(h, WeightNorm) and h.name == name), None)


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length and direction of a weight apart, as ``weight_g`` and ``weight_v``. arXiv:1602.07868.

    ``nn.utils.parametrizations.weight_norm`` is the form of today. Salimans and Kingma, 2016.

    >>> layer = fb.nn.utils.weight_norm(fb.nn.Linear(2, 3))
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight_g', 'weight_v']
    """
    if _hook(module, name):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(norm_except(weight.detach(), dim)))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make a weight under :func:`weight_norm` an ordinary parameter with its present value.

    >>> layer = fb.nn.utils.remove_weight_norm(fb.nn.utils.weight_norm(fb.nn.Linear(2, 3)))
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight']
    """
    found = _hook(module, name)
    if found is None:
        raise ValueError(f"weight_norm of {name!r} not found in {type(module).__name__}")
    key, hook = found
    weight = hook.compute_weight(module).detach()
    delattr(module, name)
    for part in ("g", "v"):
        delattr(module, f"{name}_{part}")
    setattr(module, name, Parameter(weight))
    structure.remove(module._forward_pre_hooks, key)
    return module


explain_functions(globals(), wrap=checking)
