"""Collectives of a device's tensors: by the backend's own communicator if it has one, else through host memory.

One process is a group of its own here, in which each result is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Backend
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.dispatch import fallback_counts
from flambeau.plugins.conformance import kit


@pytest.fixture
def engine(target: str, backend: Backend, request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine that serves the device in the group of this process."""
    pytest.importorskip("mpi4py", reason="processes communicate through mpi4py, of the extra 'distributed'")
    name = "device" if request.param == "own" else "mpi"
    if request.param == "own" and (why := backend.lacks_collectives()) is not None:
        pytest.skip(why)
    kind = Device(target).type
    fb.distributed.init_process_group("cpu:mpi" if kind == "cpu" else f"cpu:mpi,{kind}:{name}", timeout=60)
    yield name
    fb.distributed.destroy_process_group()


#: Of matrices, as tensors or as numpy's arrays.
VIEWS: tuple[Callable[[Any], Any], ...] = (
    lambda t: t, lambda t: t.T, lambda t: t[::2, 1::2], lambda t: t[:0], lambda t: t[1, 2],
)  # fmt: skip
both = pytest.mark.parametrize("engine", ["own", "host"], indirect=True)


@both
def test_values_of_each_dtype_come_back(target: str, backend: Backend, engine: str) -> None:
    dist, number = fb.distributed, Device(target).number
    for dtype in dt.ALL:
        if not backend.offers(dtype, number):
            continue
        host = (np.arange(24) % 5).astype(dtype.numpy).reshape(4, 6)
        for view in VIEWS:
            x = view(fb.tensor(host, device=target))
            dist.broadcast(x, 0)
            np.testing.assert_array_equal(kit.host(x), view(host))
            out = fb.empty(x.shape, dtype=dtype, device=target)
            dist.all_gather_into_tensor(out, x)
            np.testing.assert_array_equal(kit.host(out), view(host))
            into = [fb.empty(x.shape, dtype=dtype, device=target)]
            dist.all_to_all(into, [x])
            np.testing.assert_array_equal(kit.host(into[0]), view(host))


@both
def test_reductions(target: str, backend: Backend, engine: str) -> None:
    dist, op = fb.distributed, fb.distributed.ReduceOp
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    for how in (op.SUM, op.AVG, op.PRODUCT, op.MIN, op.MAX):
        x = fb.tensor(host, device=target)
        dist.all_reduce(x.T, how)
        np.testing.assert_array_equal(kit.host(x), host)
        out = fb.empty(3, 4, device=target)
        dist.reduce_scatter_tensor(out, x, how)
        np.testing.assert_array_equal(kit.host(out), host)
    many = [fb.tensor(host, device=target), fb.ones(5, device=target)]
    dist.all_reduce_coalesced(many, dist.premul_sum(2.0))
    np.testing.assert_array_equal(kit.host(many[0]), 2 * host)
    np.testing.assert_array_equal(kit.host(many[1]), np.full(5, 2, np.float32))


@both
def test_work_comes_in_order(target: str, engine: str) -> None:
    x = fb.ones(1000, device=target)
    works = []
    for _ in range(3):
        works.append(fb.distributed.all_reduce(x, fb.distributed.premul_sum(2.0), async_op=True))
    for work in works:
        assert work is not None and work.wait() and work.is_success()
    assert (x + 1).sum().item() == 9000


@pytest.mark.parametrize("engine", ["host"], indirect=True)
def test_staging_is_counted(target: str, backend: Backend, engine: str) -> None:
    key = (str(Device(target).located), "broadcast")
    before = fallback_counts().get(key, (0, 0))
    fb.distributed.broadcast(fb.ones(10, device=target), 0)
    after = fallback_counts().get(key, (0, 0))
    staged = (0, 0) if backend.has("shares_host") else (1, 40)
    assert (after[0] - before[0], after[1] - before[1]) == staged
