"""Parametrizations that torch has: weight_norm and spectral_norm."""

from __future__ import annotations

from flambeau.core.blame import checking, explain_functions
from flambeau.core.creation import zeros
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.activation import normalize
from flambeau.nn.module import Module
from flambeau.nn.utils.parametrize import register_parametrization


def norm_except(v: Tensor, dim: int | None) -> Tensor:
    """The 2-norm over every axis but ``dim`` (None: over all), with axes of size 1."""
    axes = tuple(i for i in range(v.ndim) if dim is None or i != dim % v.ndim)
    return v.norm(2, axes, keepdim=True) if dim is not None else v.norm(2)


class _WeightNorm(Module):
    def __init__(self, dim: int | None):
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """v scaled to the lengths g."""
        return v * (g / norm_except(v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths and directions of a weight."""
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length and direction of a weight apart. Salimans and Kingma, arXiv:1602.07868.

    The lengths, one for each index of axis ``dim``, are ``parametrizations.<name>.original0``, the directions
    ``original1``.

    >>> layer = fb.nn.utils.weight_norm(fb.nn.Linear(2, 3))
    >>> layer(fb.ones(1, 2)).shape
    flambeau.Size([1, 3])
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float):
        super().__init__()
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps, self.n_power_iterations = dim % max(weight.ndim, 1), eps, n_power_iterations
        if weight.ndim > 1:
            matrix = self._matrix(weight.detach())
            self.register_buffer(
                "_u", self._unit(zeros(matrix.shape[0], dtype=weight.dtype, device=weight.device).normal_())
            )
            self.register_buffer(
                "_v", self._unit(zeros(matrix.shape[1], dtype=weight.dtype, device=weight.device).normal_())
            )
            self._iterate(matrix, 15)

    def _unit(self, x: Tensor) -> Tensor:
        return normalize(x, dim=0, eps=self.eps)

    def _matrix(self, weight: Tensor) -> Tensor:
        moved = weight.movedim(self.dim, 0) if self.dim else weight
        return moved.reshape(moved.shape[0], -1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            for _ in range(times):
                self._u.copy_(self._unit(matrix @ self._v))
                self._v.copy_(self._unit(matrix.t() @ self._u))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its largest singular value; training improves the estimate first."""
        if weight.ndim == 1:
            return self._unit(weight)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        largest: Tensor = (u * (matrix @ v)).sum()
        return weight / largest

    def right_inverse(self, value: Tensor) -> Tensor:
        """The weight itself: its estimate of the singular value follows."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, estimated by power iteration. Miyato et al., arXiv:1802.05957.

    >>> layer = fb.nn.utils.spectral_norm(fb.nn.Linear(2, 3))
    >>> layer(fb.ones(1, 2)).shape
    flambeau.Size([1, 3])
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"module {type(module).__name__} has no parameter or buffer with name {name!r}")
    axis = dim if dim is not None else 1 if _transposed(module) else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, axis, eps))


def _transposed(module: Module) -> bool:
    """Whether the outputs of a module's weight stand along axis 1."""
    return bool(getattr(module, "transposed", False))


explain_functions(globals(), "weight_norm spectral_norm", wrap=checking)
