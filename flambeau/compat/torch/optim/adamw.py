"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import adamw

__all__ = ["adamw"]
