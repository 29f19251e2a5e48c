"""Every op and dtype that the backend claims: values against the oracle in every layout, inferred shapes and dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core import opdb
from flambeau.core.device import device as Device
from flambeau.core.dispatch import decompose, normalise
from flambeau.core.dtype import DType
from flambeau.core.opdb import Sample
from flambeau.core.opdb.run import as_tuple, bound, declared
from flambeau.core.record import CREATE, ELEMENTWISE, REDUCE, VIEW, Op
from flambeau.core.tensor import Tensor
from flambeau.plugins.conformance import kit

OPS = opdb.load()

#: Ops whose values are undefined or depend on strides.
UNDEFINED = ("empty",)
BY_STRIDES = ("as_strided", "view", "view_dtype", "view_as_complex", "empty")


#: With --flambeau-sizes=small: how many samples of each op.
SAMPLES = 4


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
        assert all(str(t.device) == str(Device(target)) for t in found) or name == "to_device", text
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


def _transposed(x: Any) -> Any:
    axes = tuple(reversed(range(x.ndim)))
    return x.permute(axes).contiguous().permute(axes)


def _offset(x: Any) -> Any:
    """A slice in the middle of a larger tensor: an offset, and gaps between rows."""
    if not x.ndim:
        return x
    wide = x.new_zeros([n + 3 for n in x.shape])
    inside = wide[tuple(slice(2, 2 + n) for n in x.shape)]
    return inside.copy_(x)


def _stepped(x: Any) -> Any:
    if not x.ndim:
        return x
    wide = x.new_zeros((*x.shape[:-1], 2 * x.shape[-1] + 1))
    return wide[..., 1::2].copy_(x)


LAYOUTS: dict[str, Callable[[Any], Any]] = {"transposed": _transposed, "offset": _offset, "stepped": _stepped}


@kit.covers(lambda op, dtype: op.name not in BY_STRIDES and op.family is not CREATE and dtype in kit.FEW)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(name: str, dtype: DType, target: str, layout: str) -> None:
    """The same values with other strides give the same result."""
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, limit=3):
        text = f"{name} of {sample}, {layout}"
        for f, w in zip(kit.call(op, sample, target, LAYOUTS[layout]), kit.call(op, sample, target), strict=True):
            kit.assert_close(kit.host(f), kit.host(w), f.dtype, text, kit.slack_of(op))


SIZES = ((0,), (1,), (3, 0, 2), (257,), (1031, 3), (65537,), (7, 1, 1031))
SMALL_SIZES = ((0,), (1,), (3, 0, 2), (257,), (7, 1, 31))


def _takes_any_shape(op: Op, dtype: DType) -> bool:
    plain = op.family is REDUCE or (op.family is ELEMENTWISE and not op.schema.params)
    return plain and dtype in (dt.float32, dt.int64)


@kit.covers(_takes_any_shape)
def test_sizes(name: str, dtype: DType, target: str, small: bool) -> None:
    """Elementwise ops and reductions on empty, odd and larger-than-a-work-group tensors."""
    op = OPS[name]
    first = next(kit.samples(op, dtype, target))
    rng = np.random.default_rng(0)
    for shape in SMALL_SIZES if small else SIZES:
        args = [_resized(a, shape, rng) for a in first.args]
        kwargs = {} if op.family is ELEMENTWISE else dict(first.kwargs)
        if op.family is REDUCE and ("axis" in kwargs or "dim" in kwargs or len(first.args) > 1 or 0 in shape):
            continue
        sample = Sample(*args, **kwargs)
        for f, w in zip(kit.call(op, sample, target), kit.oracle(op, sample), strict=True):
            kit.assert_close(kit.host(f), kit.host(w), f.dtype, f"{name} on {shape}", 8 * kit.slack_of(op))


def _resized(value: Any, shape: tuple[int, ...], rng: Any) -> Any:
    """Values drawn from the sample's own, so that they are in the op's domain."""
    if not isinstance(value, np.ndarray):
        return value
    return rng.choice(value.reshape(-1), shape).astype(value.dtype) if value.size else np.zeros(shape, value.dtype)


def _may_be_fused(op: Op, dtype: DType) -> bool:
    return op.body is not None and op.family is not VIEW and not op.random and dtype in kit.FEW


@kit.covers(_may_be_fused)
def test_fused_equals_decomposition(name: str, dtype: DType, target: str) -> None:
    """A kernel of a composite gives what the composite's body gives on the same device."""
    op = OPS[name]
    for sample in kit.samples(op, dtype, target, limit=3):
        operands, params = bound(op, kit.there(op, sample, target), target)
        args, key = normalise(op, operands, params)
        if getattr(key, name) is None:
            pytest.skip("no fused kernel")
        fused = kit.call(op, sample, target)
        for f, w in zip(fused, as_tuple(decompose(op, args, params, key)), strict=True):
            text = f"{name} of {sample}: fused kernel and body differ"
            kit.assert_close(kit.host(f), kit.host(w), f.dtype, text, 2 * kit.slack_of(op))
