"""Tensors' texts in the torch API: values by dtype, long and wide ones, print options."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np

from tests.recorded import Case

CASES: dict[str, Case] = {}


def text(T: Any, values: Any, dtype: str, options: dict[str, Any] | None = None) -> str:
    """With flambeau's prefix of dtypes."""
    T.set_printoptions(profile="default")
    T.set_printoptions(**(options or {}))
    try:
        return repr(T.tensor(np.asarray(values)).to(getattr(T, dtype))).replace("torch.", "flambeau.")
    finally:
        T.set_printoptions(profile="default")


#: Values, dtype, print options.
_SHOWN: tuple[tuple[Any, ...], ...] = (
    (3.14159, "float32"), (2.0, "float32"), (1e-5, "float32"), (nan, "float32"), (-inf, "float64"), (5, "int64"),
    (True, "bool"), (2 - 3j, "complex64"), ([], "float32"), ([], "int64"), (np.zeros((0, 3)), "float32"),
    (np.zeros((2, 0, 4)), "int64"), ([1.0, 2.0, 3.0], "float32"), ([1.0, 2.5, -3.0], "float32"),
    ([0.0, -0.0], "float32"), ([1.0, 1001.0], "float32"), ([1.0, 1000.0], "float32"), ([0.5, 600.0], "float32"),
    ([1e8, 1e8], "float32"), ([1e9, 1e9], "float32"), ([0.0001, 0.05], "float64"), ([0.00009, 0.05], "float64"),
    ([nan, inf, -inf, 1.0, 0.0], "float32"), ([nan, inf, -inf, 1.5], "float32"), ([nan, inf, 0.0], "float32"),
    ([nan, inf, 1e-7, 1.0], "float32"), ([1.0, 2.5], "float16"), ([1.0, 2.5, 3.140625], "bfloat16"),
    ([1.0, 2.0], "float64"), ([1, -20, 300], "int64"), ([1, 2], "int32"), ([1, 255], "uint8"),
    (np.array([2**63], "u8"), "uint64"),
    ([-128, 127], "int8"), ([True, False], "bool"), ([[True, False], [False, False]], "bool"),
    ([1 + 2j, -1.5 - 0.25j], "complex64"), ([1 + 2j, complex(nan, inf), 1e9], "complex64"),
    ([1 + 2j] * 3, "complex128"), ([[1j, 1e-6], [2, 3]], "complex64"), (np.arange(6.0).reshape(2, 3), "float32"),
    (np.arange(8).reshape(2, 2, 2), "int64"), (np.arange(16.0).reshape(2, 2, 2, 2) / 3, "float32"),
    (np.arange(40), "int64"), (np.arange(30.0) / 7, "float32"), (np.arange(30.0).reshape(1, 30) / 7, "float64"),
    (np.arange(100), "int64", dict(linewidth=110)), (np.arange(1001), "int64"), (np.arange(10000.0), "float32"),
    (np.arange(10000.0).reshape(100, 100), "float32"), (np.arange(2400).reshape(10, 4, 60), "int64"),
    (np.arange(1200.0).reshape(2, 600) / 8, "float32"), (np.arange(1500).reshape(1500, 1), "int32"),
    (np.arange(1002) * 1j, "complex64"), (np.arange(1002) % 3 == 0, "bool"), (np.zeros((1500, 0)), "float32"),
    ([1.0, 2.123456789], "float64", dict(precision=7)), ([1.0, 2.5], "float32", dict(precision=0)),
    ([1.0, 2.5], "float32", dict(sci_mode=True)), ([0.0, 1.0, -8.0], "float32", dict(sci_mode=True)),
    ([1e-9, 2.5], "float32", dict(sci_mode=False)), ([0.0], "float32", dict(sci_mode=True)),
    (np.arange(20), "int64", dict(threshold=10, edgeitems=2)), (np.arange(20), "int64", dict(linewidth=40)),
    (np.arange(36.0).reshape(6, 6), "float32", dict(threshold=30, edgeitems=1)),
    (np.arange(1001.0) / 3, "float32", dict(profile="short")),
)  # fmt: skip
for _number, _shown in enumerate(_SHOWN):
    CASES[" ".join(map(str, (_number, *_shown[1:])))] = lambda T, shown=_shown: text(T, *shown)
