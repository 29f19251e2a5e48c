"""Spectral norm as it was: a hook that divides the weight before each forward."""

from __future__ import annotations

from typing import Any

from flambeau.core.blame import checking, explain_functions
from flambeau.core.capture import structure
from flambeau.core.ops.solve import pinv
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.activation import normalize
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter


class SpectralNorm:
    """The hook: ``name`` is ``name_orig`` over its largest singular value, by way of ``name_u`` and ``name_v``."""

    _version = 1

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float):
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix, its outputs along the rows."""
        moved = weight.movedim(self.dim, 0) if self.dim else weight
        return moved.reshape(moved.shape[0], -1)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The divided weight; power iterations improve the vectors first, in place."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = self.matrix(weight)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(normalize(matrix.t() @ u, dim=0, eps=self.eps))
                    u.copy_(normalize(matrix @ v, dim=0, eps=self.eps))
            u, v = u.clone(), v.clone()
        found: Tensor = weight / (u * (matrix @ v)).sum()
        return found

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))

    def mark(self, module: Module, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
        """A hook after state_dict: the version of this part, as torch keeps it."""
        metadata.setdefault("spectral_norm", {})[f"{self.name}.version"] = self._version

    def complete(
        self, state: dict[str, Any], prefix: str, metadata: dict[str, Any], strict: bool, missing: list[str],
        unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        """A hook before loading: files of old have the divided weight, and no ``v``."""
        version = metadata.get("spectral_norm", {}).get(f"{self.name}.version")
        key = prefix + self.name
        if version is not None and version >= 1 or not {f"{key}_orig", f"{key}_u"} <= state.keys():
            return
        divided = state.pop(key, None)
        if divided is None or f"{key}_v" in state:
            return
        with no_grad():
            matrix, u = self.matrix(state[f"{key}_orig"]), state[f"{key}_u"]
            largest = (state[f"{key}_orig"] / divided).mean()
            v = pinv(matrix.t() @ matrix) @ (matrix.t() @ u.unsqueeze(1))
            v = v.squeeze(1)
            state[f"{key}_v"] = v * (largest / (u * (matrix @ v)).sum())


def _hook(module: Module, name: str) -> tuple[int, SpectralNorm] | None:
    found = module._forward_pre_hooks.items()
    return next(((k, h) for k, h in found if isinstance(h, SpectralNorm) and h.name == name), None)


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, estimated by power iteration. Miyato et al., arXiv:1802.05957.

    The weight itself is ``weight_orig``. ``nn.utils.parametrizations.spectral_norm`` is the form of today.

    >>> layer = fb.nn.utils.spectral_norm(fb.nn.Linear(2, 3))
    >>> list(layer.state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    if _hook(module, name):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    weight = module._parameters.get(name)
    if weight is None:
        raise ValueError(f"spectral_norm: {type(module).__name__} has no parameter {name!r}")
    axis = dim if dim is not None else 1 if getattr(module, "transposed", False) else 0
    hook = SpectralNorm(name, n_power_iterations, axis, eps)
    with no_grad():
        rows, columns = hook.matrix(weight).shape
        u, v = (normalize(weight.new_empty(n).normal_(0, 1), dim=0, eps=eps) for n in (rows, columns))
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    module._register_state_dict_hook(hook.mark)
    module._register_load_state_dict_pre_hook(hook.complete)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make a weight under :func:`spectral_norm` an ordinary parameter with its present value.

    >>> layer = fb.nn.utils.remove_spectral_norm(fb.nn.utils.spectral_norm(fb.nn.Linear(2, 3)))
    >>> list(layer.state_dict())
    ['bias', 'weight']
    """
    found = _hook(module, name)
    if found is None:
        raise ValueError(f"spectral_norm of {name!r} not found in {type(module).__name__}")
    key, hook = found
    with no_grad():
        weight = hook.compute_weight(module, False)
    for part in ("", "_orig", "_u", "_v"):
        delattr(module, name + part)
    module.register_parameter(name, Parameter(weight.detach()))
    structure.remove(module._forward_pre_hooks, key)
    for hooks in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
        for k in [k for k, h in hooks.items() if getattr(getattr(h, "hook", h), "__self__", None) is hook]:
            del hooks[k]
    return module


explain_functions(globals(), wrap=checking)
