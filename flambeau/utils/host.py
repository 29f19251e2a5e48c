"""Tensors to arrays on the host, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.core.device import DeviceLike
from flambeau.core.exchange import from_numpy
from flambeau.core.tensor import Tensor

HostArray = np.ndarray[Any, Any]


def host_array(tensor: Tensor) -> HostArray:
    """A tensor's values on the host, without its history."""
    return tensor.detach().cpu().numpy()


def tensor_from_host(array: HostArray, device: DeviceLike) -> Tensor:
    """A tensor of an array's values; on the CPU it takes the array's memory over."""
    tensor = from_numpy(array)
    return tensor if device is tensor.device else tensor.to(device)
