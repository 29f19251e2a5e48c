"""Tensors without data that remember a device, which torch's compilers use; flambeau's are on the device "meta"."""

from flambeau.compat.torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

__all__ = ["FakeTensor", "FakeTensorMode"]
