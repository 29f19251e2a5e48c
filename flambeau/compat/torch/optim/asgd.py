"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import asgd

__all__ = ["asgd"]
