"""Gradients and double gradients of every differentiable op against the CPU's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import dtype as dt
from flambeau.core.autograd.api import grad
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.errors import MissingKernelError
from flambeau.core.record import CREATE, Op
from flambeau.core.tensor import Tensor
from flambeau.plugins.conformance import kit, opdb
from flambeau.plugins.conformance.opdb import Sample
from flambeau.plugins.conformance.opdb.run import as_tuple, to_tensors

OPS = opdb.load()


def _has_gradient(op: Op, dtype: DType, target: str) -> bool:
    has_a_rule = bool(op.gradients) or op.body is not None
    return op.differentiable and has_a_rule and op.family is not CREATE and dtype in (dt.float32, dt.float64)


def _gradients(op: Op, sample: Sample, target: str, order: int) -> list[Any]:
    """The gradients (of order 2: of a function of them) of the floating operands for which the op has a rule."""
    placed = kit.there(op, sample, target)
    args: list[Any] = [to_tensors(a, target) for a in placed.args]
    leaves = []
    for argument, a in zip(op.schema.operands, args, strict=False):
        if (op.gradients and op.gradient_of(argument.name) is None) or op.kind_of(argument) in ("index", "bool"):
            continue
        floating = [t for t in (a if isinstance(a, list) else [a]) if isinstance(t, Tensor) and t.is_floating_point()]
        leaves += [t.requires_grad_() for t in floating]
    fb.manual_seed(3)
    with Device(target):
        outs = [o for o in as_tuple(op.function(*args, **to_tensors(placed.kwargs, target))) if o.requires_grad]
    if not outs or not leaves:
        return []
    weights = [_weights(o, target).requires_grad_(order > 1) for o in outs]
    found = grad(outs, leaves, weights, create_graph=order > 1, allow_unused=True)
    if order == 1:
        return list(found)
    firsts = [g for g in found if g is not None and g.requires_grad]
    if not firsts:
        return []
    leaves += weights  # of an op that is linear, the gradient depends on these alone
    return list(grad(firsts, leaves, [_weights(g, target) for g in firsts], allow_unused=True))


def _weights(t: Any, target: str) -> Any:
    values = np.cos(np.arange(t.numel(), dtype=np.float64)).reshape(tuple(t.shape)).astype(t.dtype.numpy)
    return to_tensors(np.asarray(values), target)


def _check(name: str, dtype: DType, target: str, order: int) -> None:
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, limit=4):
        if not sample.smooth:
            continue
        try:
            found = _gradients(op, sample, target, order)
        except MissingKernelError as error:  # the forward is claimed, and this error names what the backward lacks
            pytest.skip(str(error))
        wanted = _gradients(op, kit.in_float64(sample), "cpu", order)
        assert len(found) == len(wanted), f"{name} of {sample}"
        for i, (f, w) in enumerate(zip(found, wanted, strict=True)):
            assert (f is None) == (w is None), f"{name} of {sample}, gradient {i}"
            if f is not None:
                text = f"{name} of {sample}, gradient {i} of order {order}"
                kit.assert_close(kit.host(f), kit.host(w), f.dtype, text, 10**order * kit.slack_of(op))


@kit.covers(_has_gradient, few=kit.FEWER)
def test_gradients(name: str, dtype: DType, target: str) -> None:
    _check(name, dtype, target, 1)


@kit.covers(_has_gradient, few=kit.FEWER)
def test_double_gradients(name: str, dtype: DType, target: str) -> None:
    _check(name, dtype, target, 2)
