"""Parametrizations that torch has: weight_norm and spectral_norm."""

from __future__ import annotations

from flambeau.core.blame import checking, explain_functions
from flambeau.core.creation import arange, eye, zeros
from flambeau.core.dtype import COMPLEX, finfo
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.joining import cat
from flambeau.core.ops.linalg import qr
from flambeau.core.ops.solve import matrix_exp_p, solve
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


# -- orthogonal matrices -----------------------------------------------------------------------------------
def _adjoint(x: Tensor) -> Tensor:
    return x.transpose(-2, -1).conj()


def _identity(like: Tensor, rows: int, columns: int) -> Tensor:
    return eye(rows, columns, dtype=like.dtype, device=like.device)


def _is_orthogonal(q: Tensor) -> bool:
    """Whether the columns of q (..., n, k), n >= k, are orthonormal, but for rounding."""
    n, k = q.shape[-2:]
    least = 10 * n * finfo(q.dtype).eps
    return bool(((_adjoint(q) @ q - _identity(q, k, k)).abs().amax((-2, -1)) < least).all())


def _make_orthogonal(x: Tensor) -> Tensor:
    """The columns of x made orthonormal, one after another; those that are stay as they are."""
    q, r = qr(x)
    return q * r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def _reflect(a: Tensor) -> Tensor:
    """The product of the reflections along the columns of a (..., n, k), whose diagonal counts as 1: (..., n, k)."""
    n, k = a.shape[-2:]
    below = a.tril(-1)
    tau = 2.0 / (1.0 + (below * below.conj()).sum(-2))
    vectors = below + _identity(a, n, k)
    q = _identity(a, n, k).expand(tuple(a.shape))
    for i in reversed(range(k)):
        v = vectors[..., i : i + 1]
        q = q - tau[..., i : i + 1].unsqueeze(-1) * (v @ (_adjoint(v) @ q))
    return q


def _reflections(q: Tensor) -> Tensor:
    """The matrix of which :func:`_reflect`, times the signs on its diagonal, is the orthonormal q."""
    rest, n, k = q.clone(), *q.shape[-2:]
    found = q.new_zeros(tuple(q.shape))
    rows = arange(n, device=q.device)
    for i in range(k):
        column = rest[..., :, i] * (rows >= i)
        first = column[..., i]
        sign = where(first == 0, 1.0, first.sgn())
        v = column + sign.unsqueeze(-1) * (rows == i)  # the column is a unit vector
        v = v / v[..., i : i + 1]
        tau = 2.0 / (v * v.conj()).sum(-1)
        wide = v.unsqueeze(-1)
        rest = rest - tau.unsqueeze(-1).unsqueeze(-1) * (wide @ (_adjoint(wide) @ rest))
        found[..., :, i] = v * (rows > i) - sign.unsqueeze(-1) * (rows == i)
    return found


class _Orthogonal(Module):
    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool):
        super().__init__()
        if weight.dtype.category == COMPLEX and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape, self.orthogonal_map = tuple(weight.shape), orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)
        self._has_base, self._assigned = use_trivialization, False

    def forward(self, x: Tensor) -> Tensor:
        """A matrix with orthonormal columns, or rows if these are fewer."""
        n, k = x.shape[-2:]
        wide = n < k
        if wide:
            x, n, k = x.transpose(-2, -1), k, n
        if self.orthogonal_map == "householder":
            q = _reflect(x) * x.diagonal(dim1=-2, dim2=-1).detach().trunc().unsqueeze(-2)
        else:
            low = x.tril()
            low = low if n == k else cat([low, low.new_zeros(*low.shape[:-2], n, n - k)], -1)
            skew = low - _adjoint(low)
            if self.orthogonal_map == "matrix_exp":
                q = matrix_exp_p(skew)
            else:
                one = _identity(skew, n, n)
                q = solve(one - skew * 0.5, one + skew * 0.5)
            q = q[..., :k]
        base = self._buffers.get("base")
        q = q if base is None else base @ q
        return q.transpose(-2, -1) if wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        """What gives this matrix, or the nearest that is orthogonal."""
        if tuple(value.shape) != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}, got {tuple(value.shape)}")
        n, k = value.shape[-2:]
        wide = n < k
        q = value.transpose(-2, -1) if wide else value
        if not self._has_base:
            if self.orthogonal_map != "householder":
                if not self._assigned:  # the first time it is asked for the originals of what there was
                    self._assigned = True
                    return value
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            found = _reflections(_make_orthogonal(q))
            return found.transpose(-2, -1) if wide else found
        n, k = q.shape[-2:]
        if n != k:
            q = cat([q, q.new_empty(*q.shape[:-2], n, n - k).normal_()], -1)
        self._buffers["base"] = q.clone() if n == k and _is_orthogonal(q) else _make_orthogonal(q)
        return value.new_zeros(tuple(value.shape)) - _identity(value, *value.shape[-2:])


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a matrix, or a batch of them, orthogonal: orthonormal columns, or rows where these are fewer.

    ``orthogonal_map`` is "matrix_exp", "cayley" or "householder"; by default the first for square and complex
    matrices. With ``use_trivialization`` the map is taken around the matrix as it was. Lezcano-Casado,
    arXiv:1909.09501.

    >>> layer = fb.nn.utils.parametrizations.orthogonal(fb.nn.Linear(3, 2))
    >>> fb.allclose(layer.weight @ layer.weight.T, fb.eye(2), atol=1e-5)
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"module {type(module).__name__} has no parameter or buffer with name {name!r}")
    if weight.ndim < 2:
        raise ValueError(
            f"orthogonal: expected a matrix or batch of matrices, got a tensor of {weight.ndim} dimensions"
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1] or weight.dtype.category == COMPLEX
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f"orthogonal: orthogonal_map must be 'matrix_exp', 'cayley' or 'householder', got {orthogonal_map!r}"
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)


explain_functions(globals(), "weight_norm spectral_norm orthogonal", wrap=checking)
