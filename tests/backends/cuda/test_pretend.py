"""The pretend machine itself: it has what the installed CuPy has and refuses what that refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.cuda import emulator

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: its names and signatures are what is checked")

#: What the pretend ``cupy.cuda`` has for itself.
_OWN = {"pinned_at"}


def test_every_name_is_one_of_cupys(machine: Any) -> None:
    pairs = [
        (machine.fake.module.cuda, cupy.cuda),
        (machine.fake.module.cuda.runtime, cupy.cuda.runtime),
        (machine.fake.module.cuda.driver, cupy.cuda.driver),
        (machine.fake.module.cuda.nvrtc, cupy.cuda.nvrtc),
        (machine.fake.module.cuda.function, cupy.cuda.function),
        (machine.fake.module.get_default_memory_pool(), cupy.cuda.MemoryPool),
        (machine.fake.module.get_default_pinned_memory_pool(), cupy.cuda.PinnedMemoryPool),
    ]
    for pretend, real in pairs:
        missing = {n for n in vars(pretend) if not hasattr(real, n)} - _OWN
        assert not missing, f"{real} lacks {missing}"


def test_methods_are_those_of_cupys_classes(machine: Any) -> None:
    from tests.backends.cuda import fake_cupy

    for pretend, real in (
        (fake_cupy.Stream, cupy.cuda.Stream), (fake_cupy.Event, cupy.cuda.Event),
        (fake_cupy.MemoryPointer, cupy.cuda.MemoryPointer), (fake_cupy.Module, cupy.cuda.function.Module),
    ):  # fmt: skip
        names = {n for n in vars(pretend) if not n.startswith("_")} - {"do", "fake"}
        assert names <= set(dir(real)), (real, names - set(dir(real)))


def test_what_cupy_lacks_is_missing(machine: Any) -> None:
    xp = machine.fake.module
    with pytest.raises(AttributeError, match="busday_count"):
        _ = xp.busday_count
    with pytest.raises(NotImplementedError, match=r"cupy_maximum\.reduce"):
        xp.maximum.reduce(xp.zeros(3))
    with pytest.raises(AttributeError, match="newbyteorder"):
        _ = xp.zeros(3).newbyteorder


def test_what_cupy_refuses_is_refused(machine: Any) -> None:
    xp = machine.fake.module
    x = xp.zeros((2, 2))
    with pytest.raises(TypeError, match=r"Unsupported type.*numpy\.ndarray"):
        x + np.ones(2)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'order'"):
        xp.sort(x, order="a")
    with pytest.raises(ValueError, match="must have"):
        xp.linalg.solve(x, xp.zeros((3, 2, 2)))
    with pytest.raises(TypeError, match="Unsupported dtype"):
        xp.zeros(3, dtype=object)
    with pytest.raises(AssertionError, match="wrong numbers"):
        xp.linalg.inv(x)


def test_cupy_passes_a_host_array_as_a_struct() -> None:
    """The parameters of our kernels: the launch gets the address of the array's bytes."""
    params = np.arange(40, dtype=np.uint8)
    function: Any = cupy.cuda.function
    assert function.CNumpyArray(params).ptr == params.ctypes.data


def test_calls_of_the_backend_fit_cupys_signatures() -> None:
    pointer = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(4096, 64, None, 0), 0)
    array = cupy.ndarray((2, 3), np.dtype("f4"), pointer + 8, (12, 4))
    assert (array.data.ptr, array.data.mem.ptr, array.data.mem.size, array.strides) == (4104, 4096, 64, (12, 4))


# -- the emulator --------------------------------------------------------------------------------------
needs_compiler = pytest.mark.skipif(emulator.COMPILER is None, reason="there is no g++ to run the kernels")


@needs_compiler
def test_threads_meet_at_barriers_and_share_memory() -> None:
    text = """
extern "C" __global__ void turned(const float *x, float *q) {
  __shared__ float all[64];
  all[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  q[blockIdx.x * blockDim.x + threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}
"""
    for backwards in (False, True):
        x, q = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
        emulator.run(text, "turned", 2, 64, [x.ctypes.data, q.ctypes.data], backwards)
        np.testing.assert_array_equal(q, x.reshape(2, 64)[:, ::-1].reshape(-1))


@needs_compiler
def test_what_depends_on_the_order_of_threads_shows() -> None:
    text = """
extern "C" __global__ void shifted(float *q) {
  __shared__ float all[64];
  all[threadIdx.x] = threadIdx.x;
  q[threadIdx.x] = threadIdx.x ? all[threadIdx.x - 1] : 0;  // without a barrier
}
"""
    found = []
    for backwards in (False, True):
        q = np.zeros(64, np.float32)
        emulator.run(text, "shifted", 1, 64, [q.ctypes.data], backwards)
        found.append(q)
    assert (found[0] != found[1]).any()


@needs_compiler
def test_a_barrier_that_some_threads_do_not_reach_is_told() -> None:
    text = 'extern "C" __global__ void f(float *q) { if (threadIdx.x) __syncthreads(); q[0] = 1; }'
    q = np.zeros(1, np.float32)
    with pytest.raises(RuntimeError, match="different barriers"):
        emulator.run(text, "f", 1, 4, [q.ctypes.data])


@needs_compiler
def test_unknown_instructions_are_refused() -> None:
    with pytest.raises(RuntimeError, match="PTX instructions"):
        emulator.translated('extern "C" __global__ void f() { asm("trap;"); }')


def test_writing_out_of_range_shows(machine: Any) -> None:
    text = 'extern "C" __global__ void f(float *q) { q[threadIdx.x] = 1; }'
    module = machine.fake.module.cuda.function.Module()
    module.load(text.encode())
    kernel = module.get_function("f")
    memory = machine.fake.alloc(12)
    kernel((1,), (3,), (memory.ptr,))
    del memory
    assert not machine.fake.overruns
    memory = machine.fake.alloc(12)
    kernel((1,), (4,), (memory.ptr,))
    del memory
    assert machine.fake.overruns == [12]
    machine.fake.overruns.clear()
