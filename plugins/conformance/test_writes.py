"""What is written, where, and what memory stays: in-place ops, views, tensors made anew, memory given back."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Backend
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.device import located
from flambeau.core.dtype import DType
from flambeau.core.record import CREATE, ELEMENTWISE, VIEW, Op
from flambeau.core.tensor import Tensor
from flambeau.plugins.conformance import kit, opdb
from flambeau.plugins.conformance.layouts import reversed_, transposed
from flambeau.plugins.conformance.opdb import Sample
from flambeau.plugins.conformance.opdb.run import as_tuple, declared, to_tensors

OPS = opdb.load()


# -- in place ------------------------------------------------------------------------------------------
def _writes_to_its_operand(op: Op, dtype: DType, target: str) -> bool:
    has_form = op.family is ELEMENTWISE and op.inplace and hasattr(Tensor, op.name + "_")
    return has_form and op.dtype.compute(dtype) is dtype and op.dtype.out(0, dtype, {}) is dtype


@kit.covers(_writes_to_its_operand, few=kit.FEWER)
def test_in_place(name: str, dtype: DType, target: str) -> None:
    """``x.op_()`` gives what ``op(x)`` gives, in x's own memory and nowhere beside it, whatever its strides."""
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, limit=3):
        if not _keeps_shape(op, sample, target):
            continue
        (wanted,) = kit.oracle(op, sample)
        for layout in (_as_it_is, transposed, reversed_, _inside):
            with Device(target):
                x, *others = [to_tensors(a, target) for a in sample.args]
                x = layout(x)
                written = getattr(x, name + "_")(*others, **to_tensors(sample.kwargs, target))
            assert written is x
            kit.assert_close(kit.host(x), kit.host(wanted), dtype, f"{name}_ of {sample}", kit.slack_of(op))
            if layout is _inside:
                _assert_nothing_beside(x, f"{name}_ of {sample} wrote beside its operand")


def _as_it_is(x: Any) -> Any:
    return x


def _keeps_shape(op: Op, sample: Sample, target: str) -> bool:
    x = sample.args[0]
    _, shape = declared(op, sample, "cpu")
    return isinstance(x, np.ndarray) and shape is not None and tuple(shape) == x.shape


#: What lies around a tensor of `_inside`.
_FRAME: dict[int, Tensor] = {}


def _inside(x: Any) -> Any:
    """A tensor with gaps between its rows, in a frame of zeros that :func:`_assert_nothing_beside` looks at."""
    _FRAME.clear()
    frame = x.new_zeros([n + 5 for n in x.shape] or [5])
    view = frame[tuple(slice(2, 2 + n) for n in x.shape) if x.ndim else 2].copy_(x)
    _FRAME[id(view)] = frame
    return view


def _assert_nothing_beside(x: Any, text: str) -> None:
    frame = _FRAME.pop(id(x))
    x.fill_(0)
    assert not kit.host(frame).any(), text


# -- views ---------------------------------------------------------------------------------------------
@kit.covers(lambda op, dtype, target: op.family is VIEW)
def test_views_share_memory(name: str, dtype: DType, target: str, backend: Backend) -> None:
    """What is written to a view is in its base, where the CPU has it; what the CPU refuses to write is refused."""
    op = OPS[name]
    for sample in kit.samples(op, dtype, target):
        base, view = _view(op, sample, target)
        if view.numel():
            assert backend.storage_id(view._array) == backend.storage_id(base._array), f"{name} of {sample} is a copy"
        np.testing.assert_array_equal(_filled(base, view), _filled(*_view(op, sample, "cpu")), err_msg=f"{sample}")


def _view(op: Op, sample: Sample, where: str) -> tuple[Tensor, Tensor]:
    base, *others = [to_tensors(a, where) for a in sample.args]
    (view,) = as_tuple(op.function(base, *others, **to_tensors(sample.kwargs, where)))
    return base, view


def _filled(base: Tensor, view: Tensor) -> Any:
    """The base when the view is full of ones, or the class of the error."""
    try:
        view.fill_(1)
    except RuntimeError as error:
        return type(error).__name__
    return kit.host(base)


# -- made anew -----------------------------------------------------------------------------------------
@kit.every_dtype
@kit.covers(lambda op, dtype, target: op.name in ("full", "arange", "empty"))
def test_tensors_are_made_in_every_dtype(name: str, dtype: DType, target: str) -> None:
    if name == "arange":
        found, wanted = (fb.arange(1, 100 if dtype.category else 2, 3, dtype=dtype, device=d) for d in (target, "cpu"))
    elif name == "full":
        found, wanted = (fb.full((3, 5), 1, dtype=dtype, device=d) for d in (target, "cpu"))
    else:
        found, wanted = (fb.empty(3, 5, dtype=dtype, device=d).fill_(1) for d in (target, "cpu"))
    assert found.dtype is dtype and str(found.device) == str(located(target))
    np.testing.assert_array_equal(kit.host(found), kit.host(wanted))


# -- memory --------------------------------------------------------------------------------------------
def _is_counted(op: Op, dtype: DType, target: str) -> bool:
    first = dt.float32 if op.dtype.compute(dt.float32) in op.dtype.accepts else dt.int64
    return dtype is first and op.family is not CREATE and kit.counts_allocations(target)


@kit.covers(_is_counted)
def test_memory_is_given_back(name: str, dtype: DType, target: str, backend: Backend) -> None:
    """A call leaves nothing behind on the device; what the first one keeps may be a cache."""
    op, index = OPS[name], Device(target).number
    for sample in kit.samples(op, dtype, target, limit=3):
        kit.call(op, sample, target)
        backend.synchronize(index)
        before = backend.memory_stats(index).allocated
        kit.call(op, sample, target)
        backend.synchronize(index)
        if backend.memory_stats(index).allocated > before:
            gc.collect()
        left = backend.memory_stats(index).allocated - before
        assert left <= 0, f"{name} of {sample} keeps {left} bytes on {target} at each call"


@kit.about(lambda params: ("sgd_step" if params["kind"] in ("sgd", "nesterov") else "adam_step", dt.float32))
@pytest.mark.parametrize("kind", ["sgd", "nesterov", "adam", "adamw"])
def test_optimizer_steps(kind: str, target: str) -> None:
    """Steps write to parameters and states as on the CPU."""
    results = []
    for where in (target, "cpu"):
        p = fb.tensor(np.linspace(-1, 1, 301, dtype=np.float32), device=where, requires_grad=True)
        optimizer = _optimizer(kind, p)
        for _ in range(4):
            optimizer.zero_grad()
            (p * p * p).sum().backward()
            optimizer.step()
        results.append(kit.host(p))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


def _optimizer(kind: str, p: Any) -> Any:
    if kind == "sgd":
        return fb.optim.SGD([p], lr=0.1, weight_decay=0.01)
    if kind == "nesterov":
        return fb.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True)
    return fb.optim.Adam([p], lr=0.1, amsgrad=True) if kind == "adam" else fb.optim.AdamW([p], lr=0.1)
