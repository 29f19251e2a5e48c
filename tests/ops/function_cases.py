"""Functions in the torch API: keywords, statistics, views in place, branch cuts and special values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.recorded import Case

CASES: dict[str, Case] = {}
ROUNDED = {"T.cov(t, aweights=T.tensor([1.0, 2.0, 3.0, 1.0]))": 1e-7}  # the weights are in float32
Function = Callable[..., Any]


def on(x: Any, *texts: str) -> None:
    """Expressions of T and the array ``x`` as a tensor t."""
    for text in texts:
        fn: Function = eval(f"lambda T, t: {text}")
        assert text not in CASES, text
        CASES[text] = lambda T, fn=fn: fn(T, T.tensor(x))


on(
    np.arange(6.0).reshape(2, 3),
    "t.flip(dims=(0,))",
    "T.permute(t, dims=(1, 0))",
    "t.reshape(shape=(3, 2))",
    "t.expand(size=(2, 2, 3))",
    "t.view(size=(6,))",
    "t.repeat(repeats=(2, 1))",
    "T.swapaxes(t, axis0=0, axis1=1)",
    "t.split(split_size=1)",
    "T.tensor_split(t, indices=(1,), dim=1)",
    "T.cat([t, t], axis=1)",
    "T.pow(t, exponent=2)",
    "T.heaviside(t, values=t)",
    "t.cumsum(axis=0)",
    "T.median(t, axis=1, keepdim=True)",
    "T.squeeze(t, axis=0)",
    "T.unsqueeze(t, axis=-1)",
    "T.zeros(size=(2, 3))",
    "T.arange(end=3)",
    "T.eye(2, out=T.empty(0))",
    "T.diag(t[0], out=T.empty(0, dtype=t.dtype))",
    "T.kron(t, t, out=T.empty(0, dtype=t.dtype))",
    "T.aminmax(t, out=(T.empty(0, dtype=t.dtype), T.empty(0, dtype=t.dtype)))",
)
on(
    np.random.default_rng(3).standard_normal((3, 4)),
    "T.cov(t)",
    "T.cov(t, correction=0, fweights=T.tensor([1, 2, 3, 1]))",
    "T.cov(t, aweights=T.tensor([1.0, 2.0, 3.0, 1.0]))",
    "T.cov(t[0])",
    "T.corrcoef(t)",
    "T.renorm(t, 2, 0, 1.0)",
    "T.renorm(t, 1, 1, 2.0)",
    "T.gradient(t)",
    "T.gradient(t, spacing=2.0, dim=1, edge_order=2)",
    "T.gradient(t, spacing=[T.tensor([0.0, 1.0, 3.0, 4.5], dtype=t.dtype)], dim=1)",
    "T.gradient(t, spacing=[T.tensor([0.0, 1.0, 3.0, 4.5], dtype=t.dtype)], dim=1, edge_order=2)",
    "T.pdist(t)",
    "T.pdist(t, 1.0)",
    "tuple(T.histogram(t, 4))",
    "tuple(T.histogram(t, 3, range=(-1.0, 1.0), weight=t, density=False))",
    "tuple(T.histogram(t, T.tensor([-1.0, 0.0, 2.0], dtype=t.dtype), density=True))",
    "T.mvlgamma(t.abs() + 2, 3)",
    "T.unravel_index(T.tensor([[1, 5], [7, 11]]), (3, 4))",
    "t.sum_to_size(3, 1)",
    "t.sum_to_size(4)",
    't.index_reduce(0, T.tensor([0, 0, 1]), t, "prod")',
    't.index_reduce(1, T.tensor([0, 0]), t[:, :2], "amax", include_self=False)',
    "T.nonzero_static((t > 0), size=20)",
    "T.nonzero_static((t > 0), size=2, fill_value=7)",
    "t.as_strided_scatter(t[0], (4,), (1,), 2)",
    "T.narrow_copy(t, 1, 1, 2)",
    "T.empty_strided((2, 3), (1, 2)).stride()",
    "T.empty_permuted((2, 3, 4), (2, 0, 1)).stride()",
    "T.frombuffer(bytearray(range(8)), dtype=T.int16, count=2, offset=2)",
    "T.range(1, 4)",
    "T.scalar_tensor(3)",
    "T.ldexp(t, T.tensor([1, 2, -1, 0]))",
    "t.clone().float_power_(2)",
    "T.logsumexp(T.complex(t, t), 1)",
)
on(
    np.array([[4.0, 1.0, -2.0], [1.0, 3.0, 0.5], [-2.0, 0.5, -1.0]]),
    "tuple(T.linalg.cholesky_ex(t @ t))",
    "T.linalg.cholesky_ex(t).info",
    "tuple(T.linalg.inv_ex(t))",
    "T.linalg.inv_ex(t * 0).info",
    "tuple(T.linalg.solve_ex(t, t[0], check_errors=True))",
    "T.linalg.solve_ex(t, t, left=False).result",
    "tuple(T.linalg.lu_factor_ex(t))",
    "T.linalg.lu_factor_ex(t.tril(-1)).info",
    "tuple(T.linalg.ldl_factor(t))",
    "tuple(T.linalg.ldl_factor_ex(t - 4))",
    "T.linalg.ldl_solve(*T.linalg.ldl_factor(t), t @ t)",
    "tuple(T.linalg.ldl_factor(T.complex(t, t), hermitian=True))",
    "tuple(T.geqrf(t[:, :2]))",
    "T.orgqr(*T.geqrf(t[:, :2]))",
    "T.linalg.householder_product(*T.geqrf(T.complex(t, t * t)))",
    "T.ormqr(*T.geqrf(t[:, :2]), t, True, True)",
    "t.ormqr(*reversed(T.geqrf(t)), False)",
    "T.linalg.tensorinv(t, 1)",
    "T.linalg.tensorsolve(t.reshape(3, 1, 3), t[:, :1])",
    "T.linalg.tensorsolve(t, t[0], dims=(0,))",
    "tuple(T.lu(t, get_infos=True))",
    "tuple(T.lu_unpack(*T.linalg.lu_factor(t)))",
    "tuple(T.linalg.lu(t))",
    "T.lu_solve(t, *T.linalg.lu_factor(t))",
    "tuple(T.triangular_solve(t, t, transpose=True, unitriangular=True))",
    "tuple(T.svd(t, compute_uv=False))",
    "T.symeig(t)",
    "t.solve(t)",
    "T.nuclear_norm(t)",
    "T.frobenius_norm(t, 0)",
    "T.hash_tensor(t, 1).view(T.int64)",
    "T.hash_tensor(t.int(), keepdim=True).view(T.int64)",
    "T.slice_copy(t, 1, 0, 3, 2)",
    "T.slice_inverse(t, t[:, 1:], 1, 1, 3)",
    "T.select_copy(t, 0, -1)",
    "T.view_copy(t, (9,))",
    "T.split_copy(t, 2, 1)",
    "T.unbind_copy(t)",
    "T.diagonal_copy(t, 1)",
    "T.fill(t, 2)",
    "T.as_strided_copy(t, (2, 2), (3, 1), 1)",
    "(t.dim_order(), t.t().dim_order())",
    "(t.is_set_to(t), t.is_set_to(t.t()))",
    "T.is_distributed(t)",
)

on(
    np.arange(6.0).reshape(2, 3),
    "T.std_mean(t)",
    "T.std_mean(t, False)",
    "T.std_mean(t, 1)",
    "T.std_mean(t, (0, 1), unbiased=False, keepdim=True)",
    "T.std_mean(t, dim=0, correction=2)",
    "T.std_mean(T.complex(t, t * t), 1)",
    "T.std_mean(t.long())",
    "T.row_stack((t, t[0]))",
    "T.row_stack([t[0, 0], t[1, 1]])",
    "(found := T.empty(0, dtype=t.dtype)) is T.row_stack([t, t], out=found)",
    "T.row_stack([])",
    "T.row_stack([t, t[:, :2]])",
    "T.trapz(t)",
    "T.trapz(t, dx=0.5)",
    "T.trapz(t, dim=0)",
    "T.trapz(t, t * t)",
    "T.trapz(t, T.tensor([0.0, 1.0, 3.0]))",
    "T.trapz(t, T.tensor([1.0, 3.0]), dim=0)",
    "T.trapz(t[None], t * t, dim=1)",
    "T.trapz(t.long())",
    "T.trapz(t[:, :0], t)",
    "T.trapz(t, t[0, :2])",
    "T.trapz(t, t[0], dim=0)",
    "T.trapz(t, t[0] > 1)",
    "T.cumulative_trapezoid(t, t[0, :2])",
    "T.cumulative_trapezoid(t[None], t * t, dim=1)",
    "T.triu_indices(3, 4)",
    "T.triu_indices(3, 4, 1)",
    "T.triu_indices(3, 2, -1, dtype=T.int32)",
    "[T.triu_indices(0, 3), T.triu_indices(2, 2, 5)]",
    "T.triu_indices(-1, 3)",
    "T.triu_indices(2)",
    *(f"T.tri{side}_indices(2, 2, dtype=T.{kind})" for side in "ul" for kind in ("float32", "int16", "bool")),
    "[T.is_nonzero(v) for v in (t[0, 0], t[0, :1] - 1, t[1:, 1:2], t[0, 0] / 0, T.tensor(1j), t[0, 0] > 1)]",
    "T.is_nonzero(t)",
    "T.is_nonzero(t[:0])",
    "[t.element_size(), t.bool().element_size(), t.bfloat16().element_size(), T.complex(t, t)[:0].element_size()]",
    "[t.ndimension(), t[0, 0].ndimension(), t.nelement(), t[0, 0].nelement(), t[:0].nelement()]",
    "[t.get_device(), T.get_device(t), t.to('meta').get_device()]",
    "[t.cdouble(), t.long().cdouble(), t.float().cdouble(), (t > 1).cdouble()]",
    "(z := t.cdouble()).cdouble() is z",
    "T.get_default_dtype()",
)
on(
    np.array([-2.5, -1.0, -0.5, 0.0, 0.5, 1.5, 3.0, np.inf, np.nan]),
    "[T.fix(t), t.fix()]",
    "T.fix(t[:4].long())",
    "T.fix(t > 0)",
    "(found := T.empty(0, dtype=t.dtype)) is T.fix(t, out=found)",
    "T.special.psi(t)",
    "T.special.psi(t[:6].long())",
    "T.special.psi(T.complex(t, t))",
    "(found := T.empty(0, dtype=t.dtype)) is T.special.psi(t, out=found)",
    "[T.ger(t[:2], t[2:6]), t[:2].ger(t[2:6])]",
    "T.ger(t[:2].long(), t[1:4])",
    "T.ger(t[:0], t[:2])",
    "T.ger(t[:4].reshape(2, 2), t[:2])",
    "[T.pinverse(t[:6].reshape(3, 2)), t[:6].reshape(3, 2).pinverse()]",
    "[T.pinverse(T.diag(t[4:7]), 0.3), T.diag(t[4:7]).pinverse(rcond=0.3)]",
    "T.pinverse(t[:3])",
    "T.pinverse(t[:4].long().reshape(2, 2))",
)

# -- operands of two dtypes, which promote in few functions ------------------------------------------
on(
    np.array([[4.0, 1.0], [1.0, 3.0]]),
    "T.addmm(t, t, t.float())",
    "T.addmm(t.float(), t, t)",
    "T.addmm(t, t, t, beta=T.tensor(2), alpha=T.tensor(0.5))",
    "T.addmv(t[0], t.float(), t[0])",
    "T.addmv(t[0].float(), t, t[0])",
    "T.baddbmm(t[None], t[None], t[None].float())",
    "T.addbmm(t, t[None].float(), t[None].float())",
    "T.addr(t, t[0].float(), t[0])",
    "T.cdist(t, t.float())",
    "T.linalg.solve(t, t.float())",
    "T.linalg.solve_ex(t, t.float())",
    "T.linalg.tensorsolve(t, t[0].float())",
    "T.linalg.lu_solve(*T.linalg.lu_factor(t), t.float())",
    "T.linalg.vecdot(t, t.float())",
    "T.cholesky_solve(t.float(), t)",
    "T.triangular_solve(t.float(), t)",
    "tuple(T.histogram(t, t[1].float()))",
)


# -- in place, on the tensor itself ------------------------------------------------------------------
_REFORMS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("t_", ()), ("unsqueeze_", (0,)), ("unsqueeze_", (-1,)), ("unsqueeze_", (5,)), ("squeeze_", ()), ("squeeze_", (0,)),
    ("transpose_", (0, 1)), ("swapaxes_", (0, -1)), ("as_strided_", ((2,), (1,))),
)  # fmt: skip


def _reformed(T: Any, name: str, args: Any, shape: tuple[int, ...], use: str) -> Any:
    t = T.arange(float(np.prod(shape)), dtype=T.float64).reshape(shape)
    if use == "plain":
        part = t[:1]
        getattr(part, name)(*args)
        part.mul_(3)
        return t, part
    t.requires_grad_()
    whole = t * 2
    target = {"computed": whole, "view": whole[:1], "leaf": t}[use]
    getattr(target, name)(*args)
    target.mul_(3)
    (whole * whole).sum().backward()
    return target, t.grad


for _name, _args in _REFORMS:
    for _shape in ((2, 3), (1, 3), (3,)):
        for _use in ("plain", "computed", "view", "leaf"):
            CASES[f"{_name}{_args} of {_shape}, {_use}"] = lambda T, given=(_name, _args, _shape, _use): _reformed(
                T, *given
            )
for _sizes in ((3,), (2, 2), (3, 2), (6,), (0,)):
    CASES[f"resize_{_sizes}"] = lambda T, sizes=_sizes: T.arange(6.0).reshape(2, 3).resize_(sizes)

# -- branch cuts, special values ---------------------------------------------------------------------
_COMPLEX = np.array([0, 1, -1, 1j, 0.5 + 0.25j, -2 + 3j, 40 - 0.7j])
_SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 2.5, -0.5])


def _complex(T: Any, name: str) -> Any:
    """On every side of the branch cuts, with torch's convention for the gradient."""
    x = np.concatenate([_COMPLEX, -_COMPLEX.conj()]) * 0.7 + 0.1
    t = T.tensor(x[abs(x) < 5]).requires_grad_()
    out = getattr(T, name)(t)
    (out.real.sum() + 2 * out.imag.sum()).backward()
    return getattr(T, name)(T.tensor(x)), t.grad


for _name in ("exp2", "expm1", "log2", "log10", "log1p", "asin", "acos", "atan", "asinh", "acosh", "atanh", "sinc",
              "tan", "sgn", "square"):  # fmt: skip
    CASES[f"complex {_name}"] = lambda T, name=_name: _complex(T, name)
CASES["complex logaddexp"] = lambda T: T.logaddexp(T.tensor(_COMPLEX[:, None]), T.tensor(_COMPLEX))
CASES["complex logaddexp of far ones"] = lambda T: T.logaddexp(
    T.tensor(_COMPLEX[:, None]), T.tensor(np.array([1.0, -300.0]))
)
CASES["complex logsumexp"] = lambda T: T.logsumexp(T.tensor(_COMPLEX), 0)
for _name in ("sign", "sgn", "nan_to_num", "frac", "trunc", "round", "relu", "isposinf", "signbit"):
    CASES[f"special {_name}"] = lambda T, name=_name: getattr(T, name)(T.tensor(_SPECIAL))
for _name in ("heaviside", "maximum", "minimum", "fmax", "fmin", "copysign", "remainder", "fmod", "floor_divide",
              "atan2", "hypot", "xlogy", "logaddexp", "nextafter"):  # fmt: skip
    CASES[f"special {_name}"] = lambda T, name=_name: getattr(T, name)(T.tensor(_SPECIAL[:, None]), T.tensor(_SPECIAL))
