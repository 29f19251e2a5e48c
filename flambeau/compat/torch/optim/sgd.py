"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import sgd

__all__ = ["sgd"]
