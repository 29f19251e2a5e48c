"""Every op and dtype that the backend claims: values against the oracle in every layout, inferred shapes and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.core.device import located
from flambeau.core.dispatch import decompose, normalise
from flambeau.core.dtype import DType
from flambeau.core.record import CREATE, ELEMENTWISE, REDUCE, VIEW, Op
from flambeau.core.tensor import Tensor
from flambeau.plugins.conformance import kit, opdb
from flambeau.plugins.conformance.large import LARGE, unit
from flambeau.plugins.conformance.layouts import LAYOUTS, broadcast
from flambeau.plugins.conformance.opdb import Maker, Sample
from flambeau.plugins.conformance.opdb.linalg import OF_REGULAR
from flambeau.plugins.conformance.opdb.run import as_tuple, bound, declared
from flambeau.plugins.conformance.opdb.shape import BY_STRIDES, UNDEFINED
from flambeau.plugins.coverage import NATIVE
from flambeau.plugins.gaps import STORAGE_OPS
from flambeau.plugins.support import served

OPS = opdb.load()

#: With --flambeau-sizes=small: how many samples of each op.
SAMPLES = 4

#: How many samples of each op are laid out differently.
LAID_OUT = 3


def test_values(name: str, dtype: DType, target: str, small: bool) -> None:
    """Results equal the oracle's, have the declared shape and dtype, and leave the inputs as they were."""
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, SAMPLES if small else None):
        text = f"{name} of {sample} ({dtype.name})"
        found = kit.call(op, sample, target)
        dtypes, shapes = declared(op, kit.there(op, sample, target), target)
        if not op.schema.returns_list:
            assert [t.dtype for t in found] == dtypes, text
            if shapes is not None:
                wanted = [tuple(s) for s in ([shapes] if op.schema.single else shapes)]
                assert [tuple(t.shape) for t in found] == wanted, text
        assert all(str(t.device) == str(located(target)) for t in found) or name == "to_device", text
        if name in UNDEFINED:
            continue
        for f, w in zip(found, kit.oracle(op, sample), strict=True):
            kit.assert_close(kit.host(f), kit.host(w), f.dtype, text, kit.slack_of(op))


def test_inputs_are_left_alone(name: str, dtype: DType, target: str) -> None:
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, limit=2):
        kept: list[tuple[Any, Any]] = []

        def watch(t: Tensor, kept: list[tuple[Any, Any]] = kept) -> Tensor:
            kept.append((t, kit.host(t).copy()))
            return t

        kit.call(op, sample, target, watch)
        for t, before in kept:
            np.testing.assert_array_equal(kit.host(t), before, err_msg=f"{name} of {sample} changed an input")


@kit.covers(lambda op, dtype, target: op.name not in BY_STRIDES and op.family is not CREATE, few=kit.FEWER)
def test_layouts(name: str, dtype: DType, target: str) -> None:
    """The same values with other strides give the same result."""
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, limit=LAID_OUT):
        wanted = [kit.host(w) for w in kit.oracle(op, sample)]
        for layout, arrange in LAYOUTS.items():
            for f, w in zip(kit.call(op, sample, target, arrange), wanted, strict=True):
                kit.assert_close(kit.host(f), w, f.dtype, f"{name} of {sample}, {layout}", kit.slack_of(op))


def _may_be_broadcast(op: Op, dtype: DType, target: str) -> bool:
    """Not indices, which would be equal, nor matrices, which would be singular."""
    indexed = any(op.kind_of(a) == "index" for a in op.schema.operands) and not dtype.is_floating_point
    return op.name not in BY_STRIDES | OF_REGULAR and op.family is not CREATE and not indexed


@kit.covers(_may_be_broadcast, few=kit.FEWER)
def test_broadcast(name: str, dtype: DType, target: str) -> None:
    """An operand with strides of 0 gives what its copy gives."""
    op = OPS[name]

    def repeated(x: Tensor) -> Tensor:
        return broadcast(x) if x.dtype is dtype else x

    for sample in kit.samples(op, dtype, target, limit=2):
        same = Sample(*[_rows(a, dtype) for a in sample.args], **{k: _rows(v, dtype) for k, v in sample.kwargs.items()})
        for f, w in zip(kit.call(op, same, target, repeated), kit.oracle(op, same), strict=True):
            kit.assert_close(kit.host(f), kit.host(w), f.dtype, f"{name} of {sample}, broadcast", kit.slack_of(op))


def _rows(value: Any, dtype: DType) -> Any:
    """Host data of one dtype with the first row everywhere, as a copy."""
    if isinstance(value, list):
        return [_rows(v, dtype) for v in value]
    if not isinstance(value, np.ndarray) or value.dtype != dtype.numpy or not value.ndim:
        return value
    return np.repeat(value[:1], len(value), axis=0)


SIZES = ((0,), (1,), (3, 0, 2), (257,), (1031, 3), (65537,), (7, 1, 1031))
SMALL_SIZES = ((0,), (1,), (3, 0, 2), (257,), (7, 1, 31))


def _takes_any_shape(op: Op, dtype: DType, target: str) -> bool:
    return op.family is REDUCE or (op.family is ELEMENTWISE and not op.schema.params)


@kit.covers(_takes_any_shape, few=kit.FEWER)
def test_sizes(name: str, dtype: DType, target: str, small: bool) -> None:
    """Elementwise ops and reductions on empty, odd and larger-than-a-work-group tensors."""
    op = OPS[name]
    first = next(kit.samples(op, dtype, target))
    rng = np.random.default_rng(0)
    for shape in SMALL_SIZES if small else SIZES:
        args = [_resized(a, shape, rng) for a in first.args]
        if name == "prod":
            args[0] = unit(args[0])
        for kwargs in _along(op, shape) if op.family is REDUCE else [first.kwargs]:
            sample = Sample(*args, **kwargs)
            for f, w in zip(kit.call(op, sample, target), kit.oracle(op, sample), strict=True):
                text = f"{name} of {dtype.name} on {shape}, {kwargs}"
                kit.assert_close(
                    kit.host(f), kit.held(kit.host(w), f.dtype, target), f.dtype, text, 8 * kit.slack_of(op)
                )


def _along(op: Op, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """The params with which a reduction is to be run: along each axis, and along all where it can be."""
    if 0 in shape:
        return []  # the samples have those reductions of nothing that have a value
    axes: list[Any] = [*range(len(shape)), None]
    default = next(p for p in op.schema.params if p.name == "axis").default
    return [{"axis": a} for a in axes if a is not None or default is None]


@kit.covers(lambda op, dtype, target: op.name in LARGE)
def test_large(name: str, dtype: DType, target: str, small: bool) -> None:
    """Ops of other families on tensors of odd sizes, larger than a work-group."""
    if small:
        pytest.skip("small tensors were asked for")
    op = OPS[name]
    for sample in LARGE[name](Maker(dtype, 5)):
        for f, w in zip(kit.call(op, sample, target), kit.oracle(op, sample), strict=True):
            wanted = kit.held(kit.host(w), f.dtype, target)
            kit.assert_close(kit.host(f), wanted, f.dtype, f"{name} of {sample}", 8 * kit.slack_of(op))


def _resized(value: Any, shape: tuple[int, ...], rng: Any) -> Any:
    """Values drawn from the sample's own, so that they are in the op's domain."""
    if not isinstance(value, np.ndarray):
        return value
    return rng.choice(value.reshape(-1), shape).astype(value.dtype) if value.size else np.zeros(shape, value.dtype)


def _is_fused(op: Op, dtype: DType, target: str) -> bool:
    """Whether the device has a kernel of its own for what has a body too."""
    found = served(op.name, dtype, target)
    composed = op.body is not None and op.family is not VIEW and not op.random and op.name not in STORAGE_OPS
    return composed and found is not None and found.state == NATIVE


@kit.covers(_is_fused)
def test_fused_equals_decomposition(name: str, dtype: DType, target: str) -> None:
    """A kernel of a composite gives what the composite's body gives on the same device."""
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, limit=3):
        operands, params = bound(op, kit.there(op, sample, target), target)
        args, key = normalise(op, operands, params)
        assert getattr(key, name) is not None, f"{name}: {target} claims a kernel that it has not"
        fused = kit.call(op, sample, target)
        for f, w in zip(fused, as_tuple(decompose(op, args, params, key)), strict=True):
            text = f"{name} of {sample}: fused kernel and body differ"
            kit.assert_close(kit.host(f), kit.host(w), f.dtype, text, 2 * kit.slack_of(op))
