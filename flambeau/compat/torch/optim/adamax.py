"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import adamax

__all__ = ["adamax"]
