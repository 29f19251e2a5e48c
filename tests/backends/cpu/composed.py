"""Ops that only machine code computes as one, against their composition on numpy in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import flambeau as fb
from flambeau.core import config

Array = Any
TOLERANCE = {"float32": 6e-5, "float64": 1e-11}


def floats(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    """Random float64 values that float32 has."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype("f4").astype("f8")


def computed(fn: Callable[..., Any], ins: Sequence[Array], wanted: Sequence[int], dtype: str, code: str) -> list[Array]:
    """The result of a function of tensors, and the gradients of its weighted sum for the ``wanted`` ones."""
    with config.override(cpu_code=code):
        tensors = [fb.tensor(v.astype(dtype) if v.dtype.kind == "f" else v) for v in ins]
        for i in wanted:
            tensors[i].requires_grad_()
        out = fn(*tensors)
        weights = np.cos(np.arange(out.numel())).reshape(tuple(out.shape))
        if wanted:
            (out * fb.tensor(weights.astype(dtype))).sum().backward()
        return [out.detach().numpy(), *(tensors[i].grad.numpy() for i in wanted)]


def agree(fn: Callable[..., Any], ins: Sequence[Array], wanted: Sequence[int], dtype: str, code: str) -> None:
    """Machine code in a dtype gives what the composition gives in float64; nan and infinities at the same places."""
    for found, exact in zip(
        computed(fn, ins, wanted, dtype, code), computed(fn, ins, wanted, "float64", "none"), strict=True
    ):
        assert found.dtype == dtype
        assert found.shape == exact.shape
        finite = np.isfinite(exact)
        np.testing.assert_array_equal(found[~finite], exact[~finite].astype(dtype))
        scale = np.abs(exact[finite]).max(initial=1e-9)
        np.testing.assert_allclose(found[finite], exact[finite], 0, TOLERANCE[dtype] * scale)
