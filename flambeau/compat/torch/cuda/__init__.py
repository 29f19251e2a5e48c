"""The old names of tensors and storages of one dtype on the device "cuda"."""

from flambeau.core import storage_methods, typed

globals().update(typed.tensor_types("cuda") | storage_methods.storage_types("cuda"))
