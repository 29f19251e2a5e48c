"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import adadelta

__all__ = ["adadelta"]
