"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import nadam

__all__ = ["nadam"]
