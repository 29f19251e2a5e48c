"""The chi-squared distribution."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.gamma import Gamma
from flambeau.distributions.utils import Shape, Value

__all__ = ["Chi2"]


class Chi2(Gamma):
    """The distribution of the sum of ``df`` squared standard normal numbers: Gamma(df / 2, 1 / 2).

    >>> fb.distributions.Chi2(4.0).mean
    tensor(4.)
    """

    arg_constraints: ClassVar[Constraints] = {"df": constraints.positive}

    def __init__(self, df: Value, validate_args: bool | None = None):
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Chi2:
        new = self._get_checked_instance(Chi2, _instance)
        return super().expand(batch_shape, new)  # type: ignore[return-value]  # new

    @property
    def df(self) -> Tensor:
        """The degrees of freedom."""
        return self.concentration * 2
