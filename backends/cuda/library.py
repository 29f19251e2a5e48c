"""Kernels that CUDA's libraries do best, by way of CuPy: products, decompositions, transforms, sorting.

The bodies are those over an array namespace that the CPU shares. Our arrays become CuPy's for the call, over the
same memory, and its results ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Final, Protocol

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cuda.device import CudaDevice
from flambeau.backends.cuda.memory import Block
from flambeau.backends.launched.device import Raw
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.backends.xp import Array, Bodies, Namespace, fourier, linalg, sort
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: CuPy's support of bfloat16 is partial, so it never sees one.
_KNOWN: Final = tuple(d for d in dt.ALL if d is not dt.bfloat16)

bodies = Bodies()


class Host(Launcher, Protocol):
    """A launcher that has CuPy."""

    @property
    def cupy(self) -> Raw:
        """The module; BackendUnavailableError where it cannot be used."""

    def device(self, index: int) -> CudaDevice:
        """The device ``cuda:index``."""

    def linalg_errors(self) -> AbstractContextManager[Any]:
        """A context in which CuPy looks at cuSOLVER's verdicts and raises LinAlgError."""


class _Cupy:
    """The cupy module, imported when a kernel first asks for a function of it."""

    def __init__(self, backend: Host):
        self._backend = backend

    def __getattr__(self, name: str) -> Raw:
        return getattr(self._backend.cupy, name)


class _Bound(KernelTable):
    """A table in which bodies are entered, each as a kernel on our arrays."""

    def __init__(self, backend: Host):
        super().__init__("cuda")
        self._backend = backend

    def register(self, name: str, fn: Kernel, dtypes: Iterable[DType] | None = None) -> Kernel:
        return self._backend.kernels.register(name, through_cupy(self._backend, fn), dtypes)


def register(backend: Host) -> None:
    """Enter the kernels that go through CuPy."""
    table, xp = _Bound(backend), _Cupy(backend)
    launched = {d: backend.kernels.find("matmul", d) for d in dt.REALS}  # they call :func:`product`
    for module in (fourier, linalg, sort):
        module.bodies.bind(table, xp, _KNOWN)
    bodies.bind(table, xp, _KNOWN)
    for dtype, kernel in launched.items():
        assert kernel is not None
        backend.kernels.register("matmul", kernel, (dtype,))


# -- arrays ------------------------------------------------------------------------------------------
def through_cupy(backend: Host, fn: Kernel) -> Kernel:
    """``fn`` on our arrays: on their device, errors of cuSOLVER raised, memory tried for twice."""

    @wraps(fn)
    def kernel(*args: Any, **params: Any) -> StridedArray | tuple[StridedArray, ...]:
        index = next(a.index for a in args if isinstance(a, StridedArray))
        device = backend.device(index)
        blocks: dict[int, Block] = {}
        inputs = [_to_cupy(backend, a, blocks) if isinstance(a, StridedArray) else a for a in args]
        with device.current(), backend.linalg_errors():
            found = device.pool.retried(lambda: fn(*inputs, **params))
            if isinstance(found, tuple):
                return tuple([_from_cupy(backend, a, index, blocks) for a in found])
            return _from_cupy(backend, found, index, blocks)

    return kernel


def _to_cupy(backend: Host, x: StridedArray, blocks: dict[int, Block]) -> Array:
    """CuPy's array over the memory of ours."""
    size = x.dtype.itemsize
    memory = x.buffer.memory
    blocks[memory.mem.ptr] = x.buffer
    if backend.device(x.index).has_streams:
        with backend.device(x.index).current():
            backend.device(x.index).note((x.buffer,))
    strides = tuple([s * size for s in x.strides])
    return backend.cupy.ndarray(x.shape, x.dtype.numpy, memory + x.offset * size, strides)


def _from_cupy(backend: Host, a: Array, index: int, blocks: dict[int, Block]) -> StridedArray:
    """Our array over the memory of CuPy's, which may be that of an operand."""
    size, start = a.dtype.itemsize, a.data.mem.ptr
    block = blocks.get(start)
    if block is None:
        block = blocks[start] = backend.device(index).pool.adopt(a.data)
    strides = tuple([s // size for s in a.strides])
    return StridedArray(block, (a.data.ptr - start) // size, tuple(a.shape), strides, dt.from_numpy(a.dtype), index)


# -- other libraries -----------------------------------------------------------------------------------
def exported(backend: Host, x: StridedArray) -> Array:
    """CuPy's array over the memory of ours, which it keeps alive by itself."""
    cuda, size = backend.cupy.cuda, x.dtype.itemsize
    memory = cuda.UnownedMemory(x.buffer.memory.ptr, max(x.buffer.nbytes, 1), x.buffer, x.index)
    strides = tuple([s * size for s in x.strides])
    return backend.cupy.ndarray(x.shape, x.dtype.numpy, cuda.MemoryPointer(memory, x.offset * size), strides)


def imported(backend: Host, a: Array, index: int) -> StridedArray:
    """Our array over the memory of another library's, which CuPy made its own."""
    block = backend.device(index).pool.adopt(a.data, foreign=True)
    return _from_cupy(backend, a, index, {a.data.mem.ptr: block})


# -- bodies of CUDA's own ----------------------------------------------------------------------------
@bodies.kernel("nonzero")
def nonzero(xp: Namespace, x: Array) -> Array:
    """The indices (n, ndim) of the elements that are not zero, in row-major order."""
    return xp.argwhere(x)


def product(backend: Host, out: StridedArray, x: StridedArray, y: StridedArray) -> bool:
    """Write ``x @ y``, of equal batches, to ``out`` by cuBLAS; False for integers, which it does not multiply.

    bfloat16 is multiplied and added up in float32 and rounded once.
    """
    if not out.dtype.is_floating_point:
        return False
    if out.dtype is dt.bfloat16:
        wide = [backend.empty(a.shape, dt.float32, a.index) for a in (out, x, y)]
        for to, source in zip(wide[1:], (x, y), strict=True):
            backend.copy(to, source)
        product(backend, *wide)
        backend.copy(out, wide[0])
        return True
    device = backend.device(out.index)
    blocks: dict[int, Block] = {}
    target, *factors = [_to_cupy(backend, a, blocks) for a in (out, x, y)]
    with device.current():
        device.pool.retried(lambda: backend.cupy.matmul(*factors, out=target))
    return True
