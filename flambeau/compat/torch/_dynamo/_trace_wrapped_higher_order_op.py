"""A mode in which torch's tracer reads indexing as an op; eager indexing is one."""

from flambeau.compat.unchanged import Unchanged

__all__ = ["TransformGetItemToIndex"]

TransformGetItemToIndex = Unchanged
