"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import radam

__all__ = ["radam"]
