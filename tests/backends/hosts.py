"""Host arrays, and how they come onto a backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.core import dtype as dt


def put(backend: Any, values: Any, index: int = 0) -> Any:
    host = np.asarray(values)
    return backend.from_host(host, dt.from_numpy(host.dtype), index)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    """1, 2, 3, and so on."""
    return np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
