"""Memory shared with other libraries by DLPack, under PyTorch's names; :mod:`flambeau.core.exchange` does it."""

from __future__ import annotations

import enum
from typing import Any

from flambeau.core.exchange import from_dlpack
from flambeau.core.tensor import Tensor

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]


class DLDeviceType(enum.IntEnum):
    """The protocol's numbers of device types. https://dmlc.github.io/dlpack/latest/c_api.html

    >>> fb.utils.dlpack.DLDeviceType(fb.ones(1, device="cpu").__dlpack_device__()[0]).name
    'kDLCPU'
    """

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


def to_dlpack(tensor: Tensor) -> Any:  # Any: a capsule
    """A DLPack capsule of a tensor's memory, which one other library may take over.

    >>> fb.utils.dlpack.from_dlpack(to_dlpack(fb.ones(2)))
    tensor([1., 1.])
    """
    return tensor.__dlpack__()
