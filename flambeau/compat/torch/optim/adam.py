"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import adam

__all__ = ["adam"]
