"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import rmsprop

__all__ = ["rmsprop"]
