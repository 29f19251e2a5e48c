"""The base of optimizers: the type of what they are given."""

from flambeau.optim.options import Params as ParamsT

__all__ = ["ParamsT"]
