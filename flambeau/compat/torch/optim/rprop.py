"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import rprop

__all__ = ["rprop"]
