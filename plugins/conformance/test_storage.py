"""Storage: views and aliasing, copies between devices, memory that comes back, running out of it, threads, fork."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Backend, OutOfMemoryError
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.device import located
from flambeau.plugins.conformance import kit


def test_views_alias(target: str) -> None:
    x = fb.zeros(3, 4, device=target)
    x[1, ::2] = 5
    x.T[3].add_(1)
    x.reshape(2, 6)[1, -2:] *= 10
    x[:, None].squeeze(1)[0, 0] = 7
    expected = np.zeros((3, 4), np.float32)
    expected[1, ::2] = 5
    expected.T[3] += 1
    expected.reshape(2, 6)[1, -2:] *= 10
    expected[0, 0] = 7
    np.testing.assert_array_equal(kit.host(x), expected)


@pytest.mark.parametrize("shift", [1, 7, 300])
def test_overlapping_writes(target: str, backend: Backend, shift: int) -> None:
    """An operand that partly overlaps the result is read before it is written."""
    host = np.arange(9001, dtype=np.float32) % 97
    x = fb.tensor(host, device=target)
    x[shift:] = x[shift:] + x[:-shift]
    expected = host.copy()
    expected[shift:] += host[:-shift].copy()
    np.testing.assert_array_equal(kit.host(x), expected)
    y = fb.tensor(host, device=target)
    backend.copy_into(y[shift:]._array, y[:-shift]._array)
    np.testing.assert_array_equal(kit.host(y), np.concatenate([host[:shift], host[:-shift]]))


def test_in_place_ops_and_gradients_through_views(target: str) -> None:
    results = []
    for where in (target, "cpu"):
        x = fb.tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), device=where, requires_grad=True)
        y = x * 2
        y[1:].mul_(y[:2].detach() + 1)
        y[:, 0] = 3
        y.relu_()
        y.sum().backward()
        assert x.grad is not None
        results.append((kit.host(y), kit.host(x.grad)))
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_copies_between_devices(target: str, backend: Backend) -> None:
    host = np.arange(24, dtype=np.float32).reshape(4, 6)
    others = ["cpu", *(f"{backend.device_type}:{i}" for i in range(backend.device_count()))]
    x = fb.tensor(host, device=target)
    for other in others:
        there = x.T[1:, ::2].to(other)
        assert str(there.device) == str(located(other))
        np.testing.assert_array_equal(kit.host(there), host.T[1:, ::2])
        np.testing.assert_array_equal(kit.host(there.to(target)), host.T[1:, ::2])


def test_copies_cast_and_broadcast(target: str, backend: Backend) -> None:
    x = fb.zeros(2, 3, device=target, dtype=fb.int64)
    x.copy_(fb.tensor([1.75, -2.5, 3.0], device=target))
    np.testing.assert_array_equal(kit.host(x), [[1, -2, 3]] * 2)


@kit.about(lambda params: ("view_dtype", dt.dtype_named(params["floating"])))
@pytest.mark.parametrize(
    ("floating", "whole"), [("float32", "int32"), ("float16", "int16"), ("float64", "int64"), ("bfloat16", "int16")]
)
def test_bits_are_kept(target: str, backend: Backend, floating: str, whole: str) -> None:
    """A view in another dtype has the same bits, as have nan and the zeros after a copy."""
    dtypes = dt.dtype_named(floating), dt.dtype_named(whole)
    if not all(backend.supports(d, Device(target).number) for d in dtypes):
        pytest.skip(f"{target} has no {floating}")
    host = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 1e-40], np.float64).astype(dtypes[0].numpy)
    bits = host.view(dtypes[1].numpy)
    x = fb.tensor(host, device=target)
    np.testing.assert_array_equal(kit.host(x.view(dtypes[1])), bits)
    np.testing.assert_array_equal(kit.host(x[::2].clone().view(dtypes[1])), bits[::2])
    np.testing.assert_array_equal(kit.host(fb.tensor(bits, device=target).view(dtypes[0]).view(dtypes[1])), bits)


def test_gradients_cross_devices(target: str) -> None:
    x = fb.ones(3, requires_grad=True)
    y = (x * 2).to(target) * 3
    y.to("cpu").sum().backward()
    assert x.grad is not None and x.grad.tolist() == [6, 6, 6] and x.grad.device.type == "cpu"


def _work(target: str) -> None:
    a = fb.ones(300, 70, device=target, requires_grad=True)
    for _ in range(3):
        ((a @ a.T).exp() * 1e-30).sum().backward()
        a.grad = None


def test_memory_returns_to_where_it_was(target: str, backend: Backend) -> None:
    """With the garbage collector off: nothing waits for it to be freed."""
    allocated = _meter(target, backend)
    try:
        _work(target)
        gc.collect()
        gc.disable()
        before = allocated()
        for _ in range(5):
            _work(target)
        after = allocated()
    finally:
        gc.enable()
        tracemalloc.stop()
    assert after <= before + SLACK, f"{after - before} bytes were not given back"


#: Python's own small objects, where the meter is Python's: far less than one of the tensors at work.
SLACK = 1 << 16


def _meter(target: str, backend: Backend) -> Callable[[], int]:
    """What tells how many bytes are allocated: the device, or for host memory Python."""
    index = Device(target).number
    if kit.counts_allocations(target):

        def asked() -> int:
            backend.synchronize(index)
            return backend.memory_stats(index).allocated

        return asked
    if not backend.has("shares_host"):
        pytest.skip(f"{target} does not count its allocations")
    tracemalloc.start()
    return lambda: tracemalloc.get_traced_memory()[0]


def test_out_of_memory_leaves_the_device_usable(target: str, backend: Backend) -> None:
    index = Device(target).number
    try:
        backend.set_memory_limit(backend.memory_stats(index).allocated + (1 << 20), index)
    except NotImplementedError:
        pytest.skip(f"{target} has no memory limit")
    try:
        with pytest.raises(OutOfMemoryError) as caught:
            fb.ones(1 << 22, device=target)
        text = str(caught.value)
        assert Device(target).type in text and any(c.isdigit() for c in text), f"it names no device or no size: {text}"
        assert (fb.ones(8, device=target) * 2).sum().item() == 16
    finally:
        backend.set_memory_limit(None, index)


def test_threads(target: str) -> None:
    """Chains of ops in several threads, handing tensors to each other."""
    failures: list[object] = []
    shared = fb.arange(1000, device=target, dtype=fb.float32)

    def run(seed: int) -> None:
        try:
            for i in range(30):
                x = shared + seed
                y = (x * 2 - x).clone()
                y[::3] += 1
                total = (y - shared).sum().item()
                if total != 1000 * seed + 334:
                    failures.append((seed, i, total))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[:3]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:os.fork:RuntimeWarning")  # by Python, by JAX
def test_fork_works_or_raises_at_once(target: str) -> None:
    """A child after a fork computes, or gets an error that says so; it never hangs."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    (fb.ones(4, device=target) + 1).sum().item()
    pid = os.fork()
    if pid == 0:
        try:
            ok = (fb.ones(4, device=target) + 1).sum().item() == 8
            os._exit(0 if ok else 2)
        except RuntimeError as error:
            os._exit(0 if "fork" in str(error) else 3)
        finally:
            os._exit(4)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pytest.fail("the child hung")
