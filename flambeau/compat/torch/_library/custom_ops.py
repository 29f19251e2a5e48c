"""Custom ops under torch's inner names."""

from flambeau.library import CustomOp as CustomOpDef
from flambeau.library import custom_op

__all__ = ["CustomOpDef", "custom_op"]
