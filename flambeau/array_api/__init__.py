"""The Python array API standard 2024.12: ``flambeau.array_api``, a namespace with the standard's names and meanings.

Tensors are the arrays. Where PyTorch gives a name another meaning (``max`` along an axis, ``sort``, ``equal``,
``std``), ``flambeau`` has PyTorch's and this namespace the standard's. https://data-apis.org/array-api/2024.12/

>>> fb.array_api.max(fb.tensor([[1.0, 5.0], [7.0, 2.0]]), axis=0)
tensor([7., 5.])
"""

from __future__ import annotations

from math import e, inf, nan, pi
from typing import Final

from flambeau.array_api import creation, elementwise, fft, linalg, reductions, shapes
from flambeau.array_api.creation import *  # noqa: F403  # their __all__ are what the standard has
from flambeau.array_api.elementwise import *  # noqa: F403
from flambeau.array_api.linalg import matmul, matrix_transpose, tensordot, vecdot
from flambeau.array_api.reductions import *  # noqa: F403
from flambeau.array_api.shapes import *  # noqa: F403
from flambeau.core.dtype import bool_ as bool
from flambeau.core.dtype import (
    complex64,
    complex128,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from flambeau.core.ops.standard import strict

newaxis: Final = None
__array_api_version__: Final = "2024.12"

__all__ = [
    "__array_api_version__", "bool", "complex128", "complex64", "e", "fft", "float32",
    "float64", "inf", "int16", "int32", "int64", "int8", "linalg", "matmul", "matrix_transpose", "nan", "newaxis",
    "pi", "strict", "tensordot", "uint16", "uint32", "uint64", "uint8", "vecdot",
    *creation.__all__, *elementwise.__all__, *reductions.__all__, *shapes.__all__,
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(set(__all__))
