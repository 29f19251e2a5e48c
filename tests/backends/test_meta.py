"""The meta backend: everything but values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.backends import meta
from flambeau.backends.base import OutOfMemoryError
from flambeau.backends.meta.backend import MetaBackend, NoDataError
from flambeau.core import dtype as dt
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb import run as database
from tests.backends.elsewhere import run_on


@pytest.fixture
def backend() -> MetaBackend:
    return MetaBackend()


def test_the_hook_gives_it() -> None:
    assert type(meta.flambeau_backends()) is MetaBackend


def test_arrays_of_any_size_cost_nothing(backend: MetaBackend) -> None:
    x = backend.empty((1 << 40, 1 << 10), dt.float64)
    assert backend.layout(x) == ((1 << 40, 1 << 10), (1 << 10, 1), 0)
    assert backend.storage_nbytes(x) == 1 << 53


def test_values_cannot_be_read(backend: MetaBackend) -> None:
    x = backend.from_host(np.ones(3, np.float32), dt.float32)
    with pytest.raises(NoDataError, match="has a shape and a dtype and no data"):
        backend.to_host(x)
    with pytest.raises(NoDataError):
        backend.to_host(backend.empty((0,), dt.float32))


def test_views_and_copies_follow_the_rules_of_every_device(backend: MetaBackend) -> None:
    find = backend.kernels.find
    x = backend.empty((2, 3, 4), dt.float32)
    turned = find("permute", dt.float32)(x, axes=(2, 0, 1))
    assert backend.storage_id(turned) == backend.storage_id(x)
    copy = find("clone", dt.float32)(turned, order="K")
    assert backend.storage_id(copy) != backend.storage_id(x) and copy.strides == (1, 12, 4)
    assert find("cast", dt.float32)(x, dtype=dt.int8).dtype is dt.int8
    assert find("cat", dt.float32)(x, x, axis=1).shape == (2, 6, 4)
    assert find("full", dt.int8)(shape=(2,), value=3, dtype=dt.int8, index=0).shape == (2,)
    with pytest.raises(ValueError, match="without a copy"):
        find("view", dt.float32)(turned, shape=(24,))
    with pytest.raises(ValueError, match="expand"):
        backend.copy_into(x, backend.empty((5,), dt.float32))


def test_elementwise_kernels_broadcast(backend: MetaBackend) -> None:
    kernel = backend.elementwise("lt", None, (dt.float32, dt.float32), dt.bool_)
    x, y = backend.empty((3, 1), dt.float32), backend.constant(2.0, dt.float32)
    out = kernel(x, backend.empty((4,), dt.float32))
    assert (out.shape, out.dtype) == ((3, 4), dt.bool_)
    assert kernel(x, y, out=x) is x
    with pytest.raises(ValueError, match="do not broadcast"):
        kernel(x, backend.empty((2, 2), dt.float32))
    with pytest.raises(ValueError, match=r"lt: out has shape \(3, 1\), the result \(3, 4\)"):
        kernel(x, out, out=x)


def test_kernels_from_shape_rules(backend: MetaBackend) -> None:
    seen: list[Any] = []

    def infer(*shapes: Any, **params: Any) -> Any:
        seen[:] = [*shapes, params]
        return params["result"]

    kernel = backend.kernel_from_infer(infer, lambda i, params: (dt.float32, dt.int64)[i])
    x = backend.empty((2, 3), dt.float32)
    assert kernel(x, None, [x, x], 1.5, result=(2,)).shape == (2,)
    assert seen == [(2, 3), None, [(2, 3), (2, 3)], (), {"result": (2,)}]
    assert kernel(x, result=()).shape == ()
    values, places = kernel(x, result=((2,), (3, 4)))
    assert (values.shape, values.dtype, places.shape, places.dtype) == ((2,), dt.float32, (3, 4), dt.int64)
    with pytest.raises(NoDataError, match="depends on values"):
        kernel(x, result=None)


def test_a_limit_tells_what_would_not_fit(backend: MetaBackend) -> None:
    backend.set_memory_limit(1 << 30)
    weights = backend.empty((1 << 27,), dt.float32)
    assert backend.memory_stats().allocated == 1 << 29
    with pytest.raises(OutOfMemoryError, match="meta:0: out of memory"):
        backend.empty((1 << 28,), dt.float32)
    del weights
    assert backend.memory_stats().peak == 1 << 29


# -- every op ----------------------------------------------------------------------------------------
RECORDS = opdb.load()
#: Ops whose result's shape depends on values, or whose body does.
DEPENDS = frozenset(
    {"nonzero", "masked_select", "unique", "unique_consecutive", "repeat_interleave", "bincount", "matrix_exp"}
)


@pytest.mark.parametrize("name", [n for n, op in RECORDS.items() if op.samples is not None])
def test_ops_have_the_shapes_and_dtypes_of_the_cpus(name: str) -> None:
    op = RECORDS[name]
    dtypes = database.dtypes_of(op)
    for d in dtypes if len(dtypes) == 1 else [d for d in dtypes if d in (dt.float32, dt.int64, dt.bool_, dt.complex64)]:
        for sample in database.samples_of(op, d):
            wanted = run_on(op, sample, "cpu")
            try:
                found = run_on(op, sample, "meta")
            except NoDataError:
                assert name in DEPENDS, sample
                return
            assert [(t.dtype, t.shape) for t in found] == [(t.dtype, t.shape) for t in wanted], sample
            assert {str(t.device) for t in found} == {"meta"}, sample
