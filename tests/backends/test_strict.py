"""The pretend accelerator: it is as unforgiving as it says, and fails on demand."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from flambeau.backends import strict
from flambeau.backends.base import MINIMUM, DeviceLostError, OutOfMemoryError
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.backends.strict.backend import MISSING, StrictBackend, instance
from flambeau.backends.strict.inject import inject
from flambeau.core import dtype as dt
from tests.backends.hosts import floats, put


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> StrictBackend:
    """A device of the test's own, which injections reach."""
    fresh = StrictBackend()
    monkeypatch.setattr("flambeau.backends.strict.inject.instance", lambda: fresh)
    return fresh


def kernel(backend: StrictBackend, name: str, dtype: dt.DType = dt.float32) -> Any:
    found = backend.kernels.find(name, dtype)
    assert found is not None
    return found


# -- what it is --------------------------------------------------------------------------------------
def test_the_hook_gives_the_one_backend() -> None:
    first, second = strict.flambeau_backends(), strict.flambeau_backends()
    assert first is second is instance()
    assert first.device_count() == 2 and first.is_available()


def test_no_double_precision(backend: StrictBackend) -> None:
    assert [d.name for d in dt.ALL if not backend.supports(d)] == ["float64", "complex128"]
    with pytest.raises(TypeError, match="float64 do not exist"):
        backend.empty((2,), dt.float64)
    assert backend.kernels.find("add", dt.float64) is None


def test_it_has_the_minimum_and_lacks_what_it_says(backend: StrictBackend) -> None:
    for name in MINIMUM:
        assert any(backend.kernels.find(name, d) for d in dt.ALL), name
    host = set(CpuBackend().kernels.names())
    assert set(MISSING) <= host, "listed as missing, but the CPU has no such kernel either"
    assert not set(MISSING) & set(MINIMUM)
    for name in MISSING:
        assert backend.kernels.find(name, dt.float32) is None
    assert set(backend.kernels.names()) == host - set(MISSING) - {"reshape", "total_of_lists", "update_lists"}


def test_new_memory_holds_rubbish(backend: StrictBackend) -> None:
    assert np.isnan(backend.to_host(backend.empty((3,), dt.float32))).all()
    assert backend.to_host(backend.empty((2,), dt.int32)).tolist() == [-1, -1]


# -- the wall ----------------------------------------------------------------------------------------
def test_numpy_arrays_are_refused(backend: StrictBackend) -> None:
    x = put(backend, floats(3))
    with pytest.raises(TypeError, match=r"kernel 'add' got an operand of another backend: numpy.ndarray of float32"):
        kernel(backend, "add")(x, floats(3))
    with pytest.raises(TypeError, match=r"takes a numpy array of float32, got numpy.ndarray of float64"):
        backend.from_host(np.ones(2), dt.float32)


def test_memory_cannot_be_read_without_a_copy(backend: StrictBackend) -> None:
    x = put(backend, floats(3))
    memory = x.buffer.memory
    with pytest.raises(TypeError):
        memoryview(memory)
    with pytest.raises(TypeError):
        memory[0]
    with pytest.raises(TypeError, match="to_host"):
        np.asarray(x)
    host = backend.to_host(x)
    host[:] = 0
    assert backend.to_host(x).tolist() == [1, 2, 3]


def test_two_devices_do_not_mix(backend: StrictBackend) -> None:
    x, y = put(backend, floats(2), 0), put(backend, floats(2), 1)
    with pytest.raises(ValueError, match=r"operands of devices \[0, 1\]"):
        kernel(backend, "add")(x, y)
    with pytest.raises(ValueError, match="'copy' got operands of devices"):
        backend.copy_into(x, y)
    assert kernel(backend, "neg")(y).index == 1


# -- kernels -----------------------------------------------------------------------------------------
def test_kernels_compute_what_the_cpu_does(backend: StrictBackend) -> None:
    x, y = put(backend, floats(2, 3)), put(backend, floats(3))
    np.testing.assert_array_equal(backend.to_host(kernel(backend, "add")(x, y)), floats(2, 3) + floats(3))
    turned = kernel(backend, "permute")(x, axes=(1, 0))
    np.testing.assert_array_equal(backend.to_host(kernel(backend, "matmul")(x, turned)), floats(2, 3) @ floats(2, 3).T)
    assert backend.to_host(kernel(backend, "sum")(turned, axis=(0,), keepdims=False)).tolist() == [6, 15]
    total = kernel(backend, "sum")(x, axis=None, keepdims=False)
    assert (total.shape, backend.to_host(total)) == ((), 21)
    line = kernel(backend, "arange", dt.int32)(1, 2, length=3, dtype=dt.int32, index=1)
    assert (line.index, backend.to_host(line).tolist()) == (1, [1, 3, 5])


def test_out_may_overlap(backend: StrictBackend) -> None:
    x = put(backend, floats(5))
    low, high = (kernel(backend, "basic_index")(x, index=(s,)) for s in (slice(0, 4), slice(1, 5)))
    assert kernel(backend, "add")(high, low, out=high) is high
    assert backend.to_host(x).tolist() == [1, 3, 5, 7, 9]


def test_casts_and_copies(backend: StrictBackend) -> None:
    x = put(backend, np.array([[1.5 + 2j, -1]], np.complex64))
    out = backend.empty((3, 2), dt.int16)
    backend.copy_into(out, x)
    assert backend.to_host(out).tolist() == [[1, -1]] * 3


# -- late errors -------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [5, -1, 1 << 40])
def test_bad_indices_are_reported_late(backend: StrictBackend, bad: int) -> None:
    x = put(backend, floats(5), 1)
    picked = kernel(backend, "gather")(x, put(backend, np.array([0, bad]), 1), axis=0)
    assert picked.shape == (2,)
    backend.check(0)
    with pytest.raises(IndexError, match=rf"gather: index {bad} is out of bounds for dimension 0 with size 5"):
        backend.to_host(picked)
    assert backend.to_host(picked)[0] == 1, "reported once"


def test_the_first_of_several_late_errors_counts(backend: StrictBackend) -> None:
    x = put(backend, floats(2))
    for bad in (3, 4):
        kernel(backend, "scatter")(x, put(backend, np.array([bad])), x, axis=0, reduce="add")
    with pytest.raises(IndexError, match="scatter: index 3"):
        backend.synchronize()
    backend.synchronize()


# -- injection ---------------------------------------------------------------------------------------
def test_out_of_memory_after_some_allocations(backend: StrictBackend) -> None:
    with inject(out_of_memory_after=2):
        x, y = put(backend, floats(2)), put(backend, floats(2))
        with pytest.raises(OutOfMemoryError, match=r"strict:0: out of memory \(injected\)"):
            kernel(backend, "add")(x, y)
        with pytest.raises(OutOfMemoryError):
            put(backend, floats(2))
        put(backend, floats(2), 1)
    assert backend.to_host(kernel(backend, "add")(x, y)).tolist() == [2, 4]
    del x, y
    gc.collect()
    assert backend.memory_stats().allocated == 0, "an allocation that failed is not counted"


def test_a_lost_device(backend: StrictBackend) -> None:
    x, other = put(backend, floats(2)), put(backend, floats(2), 1)
    with inject(lose_device=True):
        for attempt in (
            lambda: backend.to_host(x),
            lambda: put(backend, floats(2)),
            lambda: kernel(backend, "neg")(x),
            lambda: backend.copy_into(x, x),
            lambda: backend.synchronize(),
        ):
            with pytest.raises(DeviceLostError, match=r"strict:0: the device was lost \(injected\)"):
                attempt()
        assert backend.to_host(other).tolist() == [1, 2]
    assert backend.to_host(x).tolist() == [1, 2]


def test_late_errors_on_demand(backend: StrictBackend) -> None:
    x = put(backend, floats(2))
    with inject(late_error="power supply"):
        backend.synchronize()
        y = kernel(backend, "neg")(x)
        with pytest.raises(RuntimeError, match="strict:0: power supply"):
            backend.to_host(y)
        assert backend.to_host(y).tolist() == [-1, -2]
    with inject(late_error=ZeroDivisionError("mine")):
        kernel(backend, "neg")(x)
    backend.synchronize()


def test_injections_nest_and_end(backend: StrictBackend) -> None:
    with inject(out_of_memory_after=0):
        with inject():
            put(backend, floats(1))
        with pytest.raises(OutOfMemoryError):
            put(backend, floats(1))
    put(backend, floats(1))
    with pytest.raises(ValueError, match="must not be negative"), inject(out_of_memory_after=-1):
        pass


def test_a_limit(backend: StrictBackend) -> None:
    backend.set_memory_limit(16, 1)
    x = put(backend, floats(3), 1)
    with pytest.raises(OutOfMemoryError, match="strict:1: out of memory: 8 bytes asked for, 12 of 16 are in use"):
        put(backend, floats(2), 1)
    assert backend.to_host(x).tolist() == [1, 2, 3]


def test_a_forked_child_has_no_device(backend: StrictBackend) -> None:
    x = put(backend, floats(2))
    backend.after_fork()
    with pytest.raises(DeviceLostError, match="before the fork; start workers with 'spawn'"):
        backend.to_host(x)
