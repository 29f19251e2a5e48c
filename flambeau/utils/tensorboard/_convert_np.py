"""From what is to be shown to arrays on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.core.tensor import Tensor
from flambeau.utils.host import HostArray, host_array

__all__ = ["make_np"]


def make_np(x: Any) -> HostArray:
    """The numbers of a tensor, an array, a list or one number; one number has one axis.

    A dtype that NumPy itself lacks, as bfloat16, becomes float32.

    >>> from flambeau.utils.tensorboard.summary import make_np
    >>> make_np(fb.ones(2, dtype=fb.bfloat16)), make_np(3)
    (array([1., 1.], dtype=float32), array([3]))
    """
    array = host_array(x) if isinstance(x, Tensor) else np.asarray(x)
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers in a tensor, an array, a list or alone, got {type(x).__name__}: {x!r:.100}")
    return array if isinstance(x, (Tensor, np.ndarray)) else np.atleast_1d(array)
