"""Every entry of torch's database of optimizers takes the same steps here as there."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import flambeau as fb

torch = pytest.importorskip("torch")
common = pytest.importorskip("torch.testing._internal.common_optimizers")

pytestmark = pytest.mark.slow
STEPS = 4


def value(T: Any, given: Any) -> Any:
    """An option on T: tensors and what nests them."""
    if isinstance(given, torch.Tensor):
        return given.clone() if T is torch else T.tensor(given.numpy())
    return tuple(value(T, v) for v in given) if isinstance(given, tuple) else given


def parameters(T: Any, name: str, dtype: str, rng: np.random.Generator) -> list[Any]:
    shapes = [(4, 3), (3, 5)] if name == "Muon" else [(4, 3), (5,), (2, 3, 2)]
    arrays = [rng.normal(size=s) + (1j * rng.normal(size=s) if dtype == "complex128" else 0) for s in shapes]
    return [T.tensor(a.astype(dtype)).requires_grad_() for a in arrays]


def gradient(T: Any, p: Any, array: Any, sparse: bool) -> Any:
    g = T.tensor(array)
    if not sparse:
        return g
    rows = sorted({0, p.shape[0] - 1})
    return T.sparse_coo_tensor(T.tensor([rows]), g[T.tensor(rows)], tuple(p.shape))


def trajectory(T: Any, info: Any, options: dict[str, Any], dtype: str, sparse: bool) -> list[Any]:
    """The parameters after each of some steps."""
    rng = np.random.default_rng(0)
    name = info.optim_cls.__name__
    ps = parameters(T, name, dtype, rng)
    made = getattr(T.optim, name)(ps, **{k: value(T, v) for k, v in options.items()})
    found: list[Any] = []
    for _ in range(STEPS):
        arrays = [rng.normal(size=tuple(p.shape)).astype(dtype) for p in ps]
        if info.step_requires_closure:

            def closure() -> Any:
                made.zero_grad()
                loss = sum((abs(p) ** 2 * (i + 1)).sum() for i, p in enumerate(ps))
                loss.backward()
                return loss

            made.step(closure)
        else:
            for p, a in zip(ps, arrays, strict=True):
                p.grad = gradient(T, p, a, sparse)
            made.step()
        found += [p.detach().numpy().copy() for p in ps]
    return found


def inputs(info: Any) -> list[Any]:
    """The entries for the CPU; capturable is for graphs of other devices, fused and foreach change no numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [i for i in info.optim_inputs_func(device="cpu") if not i.kwargs.get("capturable")]


@pytest.mark.parametrize("info", common.optim_db, ids=lambda info: info.optim_cls.__name__)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_dense(info: Any, dtype: str) -> None:
    if info.only_supports_sparse_grads or dtype == "complex128" and not info.supports_complex:
        pytest.skip("torch's optimizer takes no such gradients")
    compare(info, dtype, False)


@pytest.mark.parametrize("info", [i for i in common.optim_db if i.supports_sparse or i.only_supports_sparse_grads],
                         ids=lambda info: info.optim_cls.__name__)  # fmt: skip
def test_sparse(info: Any) -> None:
    compare(info, "float64", True)


def compare(info: Any, dtype: str, sparse: bool) -> None:
    rough = {"Muon": 1e-2, "ASGD": 1e-7}  # bfloat16 inside; rates kept in float32
    tolerance = max(rough.get(info.optim_cls.__name__, 0), 1e-9 if dtype != "float32" else 1e-4)
    for given in inputs(info):
        if sparse and (given.kwargs.get("weight_decay") or given.kwargs.get("momentum")):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = trajectory(torch, info, given.kwargs, dtype, sparse)
            found = trajectory(fb, info, given.kwargs, dtype, sparse)
        for step, (f, w) in enumerate(zip(found, wanted, strict=True)):
            np.testing.assert_allclose(f, w, tolerance, tolerance, err_msg=f"{given.desc}, result {step}")


@pytest.mark.parametrize("info", common.optim_db, ids=lambda info: info.optim_cls.__name__)
def test_errors(info: Any) -> None:
    """What torch's constructor refuses, ours refuses by the same class of error."""
    for given in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        one = given.error_on.name == "CONSTRUCTION_ERROR"
        if not one or not issubclass(given.error_type, Exception):
            continue
        entry = given.optimizer_error_input
        ours = [fb.ones(2, 3)] if entry.params is None else ours_of(entry.params, {})
        with warnings.catch_warnings(), pytest.raises(given.error_type):
            warnings.simplefilter("error" if issubclass(given.error_type, Warning) else "ignore")
            getattr(fb.optim, info.optim_cls.__name__)(ours, **{k: value(fb, v) for k, v in entry.kwargs.items()})


def ours_of(p: Any, made: dict[int, Any]) -> Any:
    """A parameter, or a group of them, on flambeau: the same tensor each time it stands there."""
    if isinstance(p, dict):
        return {k: ours_of(v, made) for k, v in p.items()}
    if isinstance(p, (list, tuple)):
        return type(p)(ours_of(v, made) for v in p)
    if isinstance(p, torch.Tensor) and p.layout is torch.sparse_coo:
        return fb.sparse_coo_tensor(p._indices().tolist(), p._values().tolist(), tuple(p.shape))
    if isinstance(p, torch.Tensor) and p.layout is torch.strided:
        if id(p) not in made:
            made[id(p)] = fb.tensor(p.detach().numpy()).requires_grad_(p.requires_grad)
        return made[id(p)]
    return p
