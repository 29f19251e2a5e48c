"""The old names of tensors of one dtype on the device "cuda"."""

from flambeau.core import typed

globals().update(typed.tensor_types("cuda"))
