"""Distributions of transformed samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flambeau.core.errors import ArgumentError
from flambeau.core.size import Size
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.independent import Independent
from flambeau.distributions.transforms import ComposeTransform, Transform
from flambeau.distributions.utils import Shape, Value, _sum_rightmost

__all__ = ["TransformedDistribution"]


class TransformedDistribution(Distribution):
    """The distribution of y = transforms(x) for x of ``base_distribution``; log_prob asks for bijective transforms.

    >>> normal, exp = fb.distributions.Normal(0.0, 1.0), fb.distributions.ExpTransform()
    >>> fb.distributions.TransformedDistribution(normal, exp).log_prob(fb.tensor(1.0))
    tensor(-0.9189)
    """

    arg_constraints: ClassVar[Constraints] = {}

    def __init__(
        self, base_distribution: Distribution, transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ):  # fmt: skip
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        for t in self.transforms:
            if not isinstance(t, Transform):
                raise ArgumentError(f"transforms must be a Transform or a list of them, got {t!r}")
        whole = ComposeTransform(self.transforms)
        events = len(base_distribution.event_shape)
        base_shape = base_distribution.batch_shape + base_distribution.event_shape
        if len(base_shape) < whole.domain.event_dim:
            raise ArgumentError(
                f"base_distribution needs to have shape with size at least {whole.domain.event_dim}, "
                f"but got {tuple(base_shape)}"
            )
        shape = Size(whole.forward_shape(base_shape))
        wide = whole.inverse_shape(shape)
        if tuple(wide) != tuple(base_shape):
            base_distribution = base_distribution.expand(Size(wide[: len(wide) - events]))
        more = whole.domain.event_dim - events
        self.base_dist: Any = Independent(base_distribution, more) if more > 0 else base_distribution
        cut = len(shape) - max(whole.codomain.event_dim, events + whole.codomain.event_dim - whole.domain.event_dim)
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> TransformedDistribution:
        new = self._get_checked_instance(TransformedDistribution, _instance)
        shape: Shape = (*batch_shape, *self.event_shape)
        for t in reversed(self.transforms):
            shape = t.inverse_shape(shape)
        new.base_dist = self.base_dist.expand(Size(shape[: len(shape) - len(self.base_dist.event_shape)]))
        new.transforms = self.transforms
        return self._finished(new, batch_shape)  # type: ignore[no-any-return]  # new

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        """The last transform's codomain."""
        if not self.transforms:
            return self.base_dist.support
        found = self.transforms[-1].codomain
        more = len(self.event_shape) - found.event_dim
        return constraints.independent(found, more) if more > 0 else found

    @property
    def has_rsample(self) -> bool:
        """As the base."""
        return bool(self.base_dist.has_rsample)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            return self._forward(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        return self._forward(self.base_dist.rsample(sample_shape))

    def _forward(self, x: Tensor) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        y, event_dim = self._checked(value), len(self.event_shape)
        found: Value = 0.0
        for t in reversed(self.transforms):
            x = t.inv(y)
            event_dim += t.domain.event_dim - t.codomain.event_dim
            found = found - _sum_rightmost(t.log_abs_det_jacobian(x, y), event_dim - t.domain.event_dim)
            y = x
        return found + _sum_rightmost(self.base_dist.log_prob(y), event_dim - len(self.base_dist.event_shape))

    def _monotonize_cdf(self, value: Tensor) -> Tensor:
        """``value``, or 1 - value where the transforms fall."""
        sign: Value = 1
        for t in self.transforms:
            sign = sign * t.sign
        if isinstance(sign, (int, float)) and sign == 1:
            return value
        return sign * (value - 0.5) + 0.5

    def cdf(self, value: Tensor) -> Tensor:
        for t in reversed(self.transforms):
            value = t.inv(value)
        self.base_dist._checked(value) if self._validate_args else None
        return self._monotonize_cdf(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        return self._forward(self.base_dist.icdf(self._monotonize_cdf(value)))
