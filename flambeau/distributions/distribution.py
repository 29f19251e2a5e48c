"""The base of all distributions: shapes, checks of arguments and samples, and what is derived from the rest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

from flambeau.core.errors import ArgumentError
from flambeau.core.size import Size
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.utils import Shape, _all, lazy_property

__all__ = ["Distribution"]

#: By name of a parameter, what it must satisfy.
Constraints: TypeAlias = Mapping[str, Constraint]


class Distribution:
    """A batch of distributions: independent ones in ``batch_shape``, each of events of ``event_shape``.

    A sample of ``sample_shape`` has the shape ``sample_shape + batch_shape + event_shape``. With ``validate_args``
    (None: the default of the class, see :meth:`set_default_validate_args`) parameters and values are checked:
    ValueError for those outside their constraint.

    >>> d = fb.distributions.Normal(fb.zeros(3), 1.0)
    >>> d.batch_shape, d.event_shape, d.sample((2,)).shape
    (flambeau.Size([3]), flambeau.Size([]), flambeau.Size([2, 3]))
    """

    has_rsample: Any = False  # Any: of some subclasses these are properties
    has_enumerate_support: Any = False
    _validate_args: Any = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their arguments where they are not told; ValueError for what is no bool.

        >>> fb.distributions.Distribution.set_default_validate_args(True)
        """
        if value not in (True, False):
            raise ArgumentError(f"set_default_validate_args: expects True or False, got {value!r}")
        Distribution._validate_args = value

    def __init__(
        self,
        batch_shape: Shape = (),
        event_shape: Shape = (),
        validate_args: bool | None = None,
    ):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()
        super().__init__()

    def _check_parameters(self) -> None:
        try:
            wanted: Constraints = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self).__name__} does not say its arg_constraints, so its arguments are not checked; "
                "validate_args=False silences this",
                stacklevel=4,
            )
            return
        for name, constraint in wanted.items():
            lazy = name not in self.__dict__ and isinstance(getattr(type(self), name, None), lazy_property)
            if lazy or constraints.is_dependent(constraint):
                continue
            value = getattr(self, name)
            if not _all(constraint.check(value)):
                raise ArgumentError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    # -- shapes --------------------------------------------------------------------------------------
    @property
    def batch_shape(self) -> Size:
        """The shape of the batch of independent distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one event."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Shape = ()) -> Size:
        """The shape of a sample of ``sample_shape``."""
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Distribution:
        """The distribution with its batch expanded to ``batch_shape``, as :meth:`Tensor.expand` does.

        ``_instance`` is for subclasses: the object to fill.
        """
        raise NotImplementedError(f"{type(self).__name__} has no expand")

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:  # Any: of the class of self
        """An object of the class of self, without a call of its ``__init__``, for ``cls.expand`` to fill."""
        if _instance is not None:
            return _instance
        if type(self).__init__ is not cls.__init__:  # type: ignore[misc]  # asked, not called
            raise NotImplementedError(
                f"{type(self).__name__}, a subclass of {cls.__name__} with an __init__ of its own, needs an expand too"
            )
        return type(self).__new__(type(self))

    def _expanded(self, cls: type, batch_shape: Shape, _instance: Any, *names: str) -> Any:  # Any: as above
        """What expand gives where all that is held is the parameters ``names``, of shapes batch + event."""
        new = self._get_checked_instance(cls, _instance)
        for name in names:
            if name in self.__dict__:
                value = getattr(self, name)
                event = value.shape[len(self._batch_shape) :]
                setattr(new, name, value.expand((*batch_shape, *event)))
        return self._finished(new, batch_shape)

    def _finished(self, new: Any, batch_shape: Shape) -> Any:  # Any: as above
        """``new``, with the shapes and the settings of an expanded self."""
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    # -- what subclasses say -------------------------------------------------------------------------
    @property
    def arg_constraints(self) -> Constraints:
        """By name of each parameter, what it must satisfy."""
        raise NotImplementedError(f"{type(self).__name__} has no arg_constraints")

    @property
    def support(self) -> Constraint:
        """What samples satisfy."""
        raise NotImplementedError(f"{type(self).__name__} has no support")

    @property
    def mean(self) -> Tensor:
        """The mean, of shape batch + event."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    @property
    def mode(self) -> Tensor:
        """The most probable event, of shape batch + event."""
        raise NotImplementedError(f"{type(self).__name__} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance, of shape batch + event."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Events of shape sample + batch + event, without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Events that are differentiable functions of the parameters, where ``has_rsample``."""
        raise NotImplementedError(f"{type(self).__name__} has no rsample: its samples have no gradient")

    def sample_n(self, n: int) -> Tensor:
        """``sample((n,))``, by its old name."""
        warnings.warn("sample_n(n) is deprecated; use sample((n,))", FutureWarning, stacklevel=2)
        return self.sample(Size((n,)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or mass, at ``value``, which is broadcast against batch + event."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of what is at most ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of :meth:`cdf`."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All events of a finite discrete distribution along a new first axis, the same for the whole batch.

        Without ``expand`` the batch axes have length 1.
        """
        raise NotImplementedError(f"{type(self).__name__} has no enumerate_support")

    def _enumerated(self, values: Tensor, expand: bool) -> Tensor:
        """Numbers (n,) as events of the batch."""
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values

    def entropy(self) -> Tensor:
        """The entropy in nats, of shape batch."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy")

    def perplexity(self) -> Tensor:
        """The exponential of the entropy."""
        return self.entropy().exp()

    # -- checks --------------------------------------------------------------------------------------
    def _validate_sample(self, value: Tensor) -> None:
        """ValueError unless ``value`` is a tensor whose shape fits and whose events are in the support."""
        if not isinstance(value, Tensor):
            raise ArgumentError(f"The value argument to log_prob must be a Tensor, got {type(value).__name__}")
        start = value.ndim - len(self._event_shape)
        if tuple(value.shape[max(start, 0) :]) != tuple(self._event_shape):
            raise ArgumentError(
                f"The right-most size of value must match event_shape: {tuple(value.shape)} vs "
                f"{tuple(self._event_shape)}"
            )
        full = self._extended_shape()
        if any(i not in (1, j) and j != 1 for i, j in zip(reversed(value.shape), reversed(full), strict=False)):
            raise ArgumentError(
                f"Value is not broadcastable with batch_shape+event_shape: {tuple(value.shape)} vs {tuple(full)}"
            )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self).__name__} does not say its support, so values are not checked; "
                "validate_args=False silences this",
                stacklevel=3,
            )
            return
        if not _all(support.check(value)):
            raise ArgumentError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the "
                f"support ({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _checked(self, value: Tensor) -> Tensor:
        """``value``, looked at where arguments are to be checked."""
        if self._validate_args:
            self._validate_sample(value)
        return value

    def __repr__(self) -> str:
        def shown(value: Any) -> str:
            return f"{value if not isinstance(value, Tensor) or value.numel() == 1 else value.size()}"

        try:
            names = [name for name in self.arg_constraints if name in self.__dict__]
        except NotImplementedError:
            names = []
        return f"{type(self).__name__}({', '.join(f'{n}: {shown(self.__dict__[n])}' for n in names)})"
