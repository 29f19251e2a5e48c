"""The step of the optimizer as a function."""

from flambeau.compat.optimizers import adagrad

__all__ = ["adagrad"]
