"""Functions of lists of tensors, ``torch._foreach_*``, in the torch API."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.recorded import Case, answer

CASES: dict[str, Case] = {}
ROUNDED: dict[str, float] = {}

OF_ONE_LIST = """
    _foreach_abs _foreach_acos _foreach_asin _foreach_atan _foreach_ceil _foreach_cos _foreach_cosh _foreach_erf
    _foreach_erfc _foreach_exp _foreach_expm1 _foreach_floor _foreach_frac _foreach_lgamma _foreach_log _foreach_log10
    _foreach_log1p _foreach_log2 _foreach_neg _foreach_reciprocal _foreach_round _foreach_rsqrt _foreach_sigmoid
    _foreach_sign _foreach_sin _foreach_sinh _foreach_sqrt _foreach_tan _foreach_tanh _foreach_trunc
"""
IN_PLACE = """
    _foreach_abs_ _foreach_acos_ _foreach_asin_ _foreach_atan_ _foreach_ceil_ _foreach_cos_ _foreach_cosh_ _foreach_erf_
    _foreach_erfc_ _foreach_exp_ _foreach_expm1_ _foreach_floor_ _foreach_frac_ _foreach_lgamma_ _foreach_log_
    _foreach_log10_ _foreach_log1p_ _foreach_log2_ _foreach_neg_ _foreach_reciprocal_ _foreach_round_ _foreach_rsqrt_
    _foreach_sigmoid_ _foreach_sign_ _foreach_sin_ _foreach_sinh_ _foreach_sqrt_ _foreach_tan_ _foreach_tanh_
    _foreach_trunc_
"""


def tensors(T: Any, *dtypes: str) -> list[Any]:
    """Of several shapes; beyond the functions' domains too."""
    values = np.array([-1.5, -0.5, 0.25, 0.5, 0.75, 1.25])
    rows = (values, values.reshape(2, 3)[:, :2], values[3])
    return [T.tensor(v, dtype=getattr(T, d)) for v, d in zip(rows, dtypes, strict=False)]


def out_of_place(T: Any, name: str) -> Any:
    given = tensors(T, "float64", "float32", "float64")
    found = getattr(T, name)(given)
    return [type(found).__name__, found, given]


def gradients(T: Any, name: str) -> Any:
    leaves = [x.requires_grad_() for x in tensors(T, "float64", "float64")]
    found = getattr(T, name)([x * 1 for x in leaves])
    sum((y * (i + 1)).sum() for i, y in enumerate(found)).backward()
    return [x.grad for x in leaves]


def in_place(T: Any, name: str) -> Any:
    given = tensors(T, "float64", "float32", "float64")
    where = [x.data_ptr() for x in given]
    found = getattr(T, name)(given)
    return [given, found is given, [x._version for x in given], [x.data_ptr() for x in given] == where]


def of_other_dtypes(T: Any, name: str) -> Any:
    """Of whole numbers, of bools and of complex ones: the results, or the errors."""
    rows = {"int64": [-2, 0, 3], "bool": [True, False], "complex128": [0.5 + 1j, -2.0]}
    given = {kind: [T.tensor(row, dtype=getattr(T, kind))] for kind, row in rows.items()}
    return {k: [answer(T, lambda T, x=x: list(getattr(T, name)(x))), x] for k, x in given.items()}


def leaf_in_place(T: Any, name: str) -> Any:
    return getattr(T, name)([x.requires_grad_() for x in tensors(T, "float64", "float64")])


for _name in OF_ONE_LIST.split():
    CASES[_name] = lambda T, n=_name: out_of_place(T, n)
    CASES[f"{_name}, differentiated"] = lambda T, n=_name: gradients(T, n)
    CASES[f"{_name} of other dtypes"] = lambda T, n=_name: of_other_dtypes(T, n)
for _name in IN_PLACE.split():
    CASES[_name] = lambda T, n=_name: in_place(T, n)
    CASES[f"{_name} of other dtypes"] = lambda T, n=_name: of_other_dtypes(T, n)
    CASES[f"{_name} of leaves"] = lambda T, n=_name: leaf_in_place(T, n)
