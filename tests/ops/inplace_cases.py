"""Methods in place in the torch API: values, what they return, versions, dtypes that they refuse, and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.recorded import Case, answer

CASES: dict[str, Case] = {}
ROUNDED = {"digamma_ of float32": 1e-5, "igammac_ of float64": 1e-8}  # near a root; what PyTorch's is exact to

#: In and beyond the functions' domains.
VALUES: dict[str, list[Any]] = {
    "float64": [-1.5, -0.5, 0.25, 0.5, 0.75, 1.25, 3.0],
    "float32": [-1.5, -0.5, 0.25, 0.5, 0.75, 1.25, 3.0],
    "int64": [-2, 0, 1, 3],
    "uint8": [0, 1, 2, 255],
    "bool": [True, False],
    "complex128": [0.5 + 0.25j, -1.5 + 0.5j, 0.75 - 2j, 1.25],
}
OF_ONE = """
    absolute_ acos_ acosh_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_ bitwise_not_
    ceil_ conj_physical_ cos_ cosh_ digamma_ erf_ erfc_ erfinv_ expm1_ fix_ floor_ frac_ i0_ lgamma_ log10_ log1p_ log2_
    log_ reciprocal_ rsqrt_ sgn_ sign_ sinc_ sqrt_ square_ tan_ tanh_ trunc_
"""
#: PyTorch has no gradients of these in place; tests/core/test_inplace.py has what they are here.
_WITHOUT_GRADIENT = "acosh_ arccosh_ arcsinh_ arctanh_ asinh_ atanh_"
OF_TWO = "arctan2_ divide_ greater_ greater_equal_ less_ less_equal_ not_equal_ subtract_"


def tensor(T: Any, dtype: str) -> Any:
    return T.tensor(VALUES[dtype], dtype=getattr(T, dtype))


def written(t: Any, name: str, *args: Any, **options: Any) -> Any:
    """The tensor after the method, whether that returned it, how many writes it counts, its memory; or the error."""
    where = t.data_ptr()

    def write(T: Any) -> Any:
        found = getattr(t, name)(*args, **options)
        return [found, found is t, t.data_ptr() == where]

    return [answer(None, write), t, t._version]


def differentiated(T: Any, dtype: str, use: str, name: str, *args: Any) -> Any:
    """The gradient through a write to a computed tensor or to a view of one; or that a leaf refuses it."""
    leaf = tensor(T, dtype).requires_grad_()
    if use == "leaf":
        return getattr(leaf, name)(*args)
    whole = leaf * 1
    target = whole if use == "computed" else whole[1:3]
    getattr(target, name)(*[a[1:3] if use == "view" and isinstance(a, T.Tensor) else a for a in args])
    weights = T.tensor(np.arange(1.0, len(whole) + 1))
    parts = [whole.real, 2 * whole.imag] if whole.is_complex() else [whole]
    sum((p * weights).sum() for p in parts).backward()
    return [whole, whole._version, target.grad_fn is not None, leaf.grad.clone()]


# -- of one tensor -----------------------------------------------------------------------------------
for _name in OF_ONE.split():
    for _dtype in VALUES:
        CASES[f"{_name} of {_dtype}"] = lambda T, n=_name, d=_dtype: written(tensor(T, d), n)
    for _dtype in ("float64", "complex128"):
        for _use in ("leaf",) if _name in _WITHOUT_GRADIENT.split() else ("computed", "view", "leaf"):
            CASES[f"{_name} of {_dtype}, differentiated, {_use}"] = lambda T, n=_name, d=_dtype, u=_use: differentiated(
                T, d, u, n
            )
    CASES[f"{_name} of columns"] = lambda T, n=_name: written((T.arange(12.0).reshape(3, 4) / 12).t()[::2], n)


# -- of two ------------------------------------------------------------------------------------------
def other(T: Any, dtype: str) -> Any:
    return tensor(T, dtype).flip(0)


for _name in OF_TWO.split():
    for _dtype in VALUES:
        CASES[f"{_name} of {_dtype}"] = lambda T, n=_name, d=_dtype: written(tensor(T, d), n, other(T, d))
        CASES[f"{_name} of {_dtype} and itself"] = lambda T, n=_name, d=_dtype: written(t := tensor(T, d), n, t)
        if _name != "arctan2_":
            CASES[f"{_name} of {_dtype} and a number"] = lambda T, n=_name, d=_dtype: written(tensor(T, d), n, 2)
    for _ours, _theirs in (("int64", "float64"), ("float32", "float64"), ("uint8", "int64"), ("float64", "complex128"),
                           ("int64", "bool"), ("bool", "int64")):  # fmt: skip
        CASES[f"{_name} of {_ours} and {_theirs}"] = lambda T, n=_name, d=_ours, o=_theirs: written(
            tensor(T, d)[:2], n, tensor(T, o)[:2]
        )
    CASES[f"{_name} of another shape"] = lambda T, n=_name: [
        written(T.ones(2, 3), n, T.arange(3.0)), written(T.ones(3), n, T.ones(2, 3)), written(T.ones(2), n, T.ones(3))
    ]  # fmt: skip
    for _use in ("computed", "view", "leaf"):
        CASES[f"{_name}, differentiated, {_use}"] = lambda T, n=_name, u=_use: differentiated(
            T, "float64", u, n, other(T, "float64")
        )
for _name in ("igamma_", "igammac_"):
    for _dtype in ("float32", "float64", "int64", "bool"):
        CASES[f"{_name} of {_dtype}"] = lambda T, n=_name, d=_dtype: written(tensor(T, d).abs(), n, other(T, d).abs())
for _mode in ("floor", "trunc", None, "ceil"):
    for _dtype in ("float64", "int64", "uint8"):
        CASES[f"divide_ of {_dtype}, rounded by {_mode}"] = lambda T, d=_dtype, m=_mode: written(
            tensor(T, d), "divide_", 2, rounding_mode=m
        )
CASES["subtract_ with alpha"] = lambda T: [
    written(tensor(T, d), "subtract_", other(T, d), alpha=a)
    for d, a in (("float64", 0.5), ("int64", 2), ("int64", 0.5), ("complex128", 2j), ("float64", 2j), ("uint8", 2))
]


# -- of matrices -------------------------------------------------------------------------------------
def matrices(T: Any, dtype: str, *shape: int) -> Any:
    return T.tensor(np.cos(np.arange(np.prod(shape))).reshape(shape) * 3, dtype=getattr(T, dtype))


_SHAPES = {"addbmm_": (2, 3), "baddbmm_": (4, 2, 3)}
for _name, _shape in _SHAPES.items():
    for _dtype in VALUES:
        CASES[f"{_name} of {_dtype}"] = lambda T, n=_name, s=_shape, d=_dtype: [
            written(matrices(T, d, *s), n, matrices(T, d, 4, 2, 5), matrices(T, d, 4, 5, 3), **scales)
            for scales in ({}, {"beta": 2, "alpha": 3}, {"beta": 0})
        ]
    CASES[f"{_name} refuses"] = lambda T, n=_name, s=_shape: [
        written(matrices(T, "float64", *s), n, matrices(T, a, 4, 2, 5), matrices(T, b, *shape))
        for a, b, shape in (("float64", "float32", (4, 5, 3)), ("float32", "float32", (4, 5, 3)),
                            ("float64", "float64", (4, 4, 3)), ("float64", "float64", (4, 5, 2)),
                            ("float64", "float64", (3, 5, 3)))
    ]  # fmt: skip


def products(T: Any, name: str) -> Any:
    x, a, b = (matrices(T, "float64", *s).requires_grad_() for s in (_SHAPES[name], (4, 2, 5), (4, 5, 3)))
    total = x * 1
    getattr(total, name)(a, b, beta=0.5, alpha=2)
    (total * matrices(T, "float64", *_SHAPES[name])).sum().backward()
    return [total, x.grad, a.grad, b.grad, answer(T, lambda T: getattr(x, name)(a, b))]


CASES["addbmm_, differentiated"] = lambda T: products(T, "addbmm_")
CASES["baddbmm_, differentiated"] = lambda T: products(T, "baddbmm_")


# -- bounds of norms ---------------------------------------------------------------------------------
for _dtype in VALUES:
    CASES[f"renorm_ of {_dtype}"] = lambda T, d=_dtype: [
        written(matrices(T, d, 3, 4), "renorm_", *args)
        for args in ((2, 0, 1.5), (1, 1, 2.0), (float("inf"), -1, 1.0), (2, 0, 100.0), (2, 2, 1.0), (0, 0, 1.0),
                     (2, 0, -1.0))
    ]  # fmt: skip
CASES["renorm_, differentiated"] = lambda T: [
    (x := matrices(T, "float64", 3, 4).requires_grad_()),
    (y := x * 1).renorm_(2, 0, 3.0),
    (y * matrices(T, "float64", 3, 4)).sum().backward(),
    x.grad,
    answer(T, lambda T: x.renorm_(2, 0, 3.0)),
]
