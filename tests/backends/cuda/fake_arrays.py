"""The pretend CuPy's arrays and functions: numpy's, under the names, signatures and refusals of the installed CuPy."""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any

import cupy as real
import numpy as np

_METHODS = frozenset(dir(real.ndarray))
_MODULES = ("fft", "linalg", "random")
_BINARY = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor", "matmul",
)  # fmt: skip


class Namespace:
    """Stands for the module ``cupy``."""

    def __init__(self, fake: Any):
        from tests.backends.cuda import fake_cupy as parts

        self._fake = fake
        self.__name__ = "cupy"
        self.__version__ = real.__version__
        self.cuda = parts.cuda(fake)
        pool, pinned = parts.memory_pool(fake), SimpleNamespace(free_all_blocks=lambda: None)
        self.get_default_memory_pool = lambda: pool
        self.get_default_pinned_memory_pool = lambda: pinned
        self.is_available = lambda: True
        self.from_dlpack = self._from_dlpack
        for name in _MODULES:
            setattr(self, name, _Part(fake, getattr(real, name), getattr(np, name)))

    def _from_dlpack(self, array: Any, *, device: Any = None, copy: Any = None) -> Any:
        """Over the memory of an object that says to be on a device; here all memory is the host's."""
        assert array.__dlpack_device__()[0] == 2
        found = np.from_dlpack(_OnHost(array), copy=copy)
        memory = _foreign(found, self._fake.device)
        return self._fake.ndarray(found.shape, found.dtype, memory, found.strides)

    def __getattr__(self, name: str) -> Any:
        found = _Part(self._fake, real, np).__getattr__(name)
        self.__dict__[name] = found
        return found


class _OnHost:
    """A producer of host memory."""

    def __init__(self, array: Any):
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(stream=0, max_version=options.get("max_version"), copy=options.get("copy"))

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def _foreign(array: Any, device: int) -> Any:
    """A pointer to the memory of a host array, as of an allocation that is not CuPy's."""
    from tests.backends.cuda.fake_cupy import MemoryPointer, UnownedMemory

    low, high = np.lib.array_utils.byte_bounds(array)
    return MemoryPointer(UnownedMemory(low, high - low, array, device), array.ctypes.data - low)


class _Part:
    """A module of CuPy's: whatever it lacks is an AttributeError here too."""

    def __init__(self, fake: Any, module: Any, numpy: Any):
        self._fake, self._module, self._numpy = fake, module, numpy

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._module, name)
        theirs = getattr(self._numpy, name)
        if isinstance(own, type) and issubclass(own, real.ndarray):
            return self._fake.ndarray
        if isinstance(own, type) or not callable(own):
            return theirs
        if isinstance(own, real.ufunc):
            return UFunc(self._fake, own, theirs)
        return _function(self._fake, own, theirs, name)


def _function(fake: Any, own: Any, theirs: Any, name: str) -> Any:
    from tests.backends.cuda.fake_cupy import signature_of

    expected = signature_of(own)

    def call(*args: Any, **kwargs: Any) -> Any:
        if expected is not None:
            expected.bind(*args, **kwargs)  # TypeError for a keyword that CuPy does not take
        _refuse(name, args, kwargs)
        if name == "solve" and args[0].shape[:-1] != args[1].shape[:-1]:
            raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
        if kwargs.get("kind") not in (None, "stable"):
            raise ValueError(f"{name}: kind must be None or 'stable'")
        fake.drain()
        try:
            found = theirs(*_unwrapped(args), **_unwrapped(kwargs))
        except np.linalg.LinAlgError:
            from cupyx import _ufunc_config

            if _ufunc_config.get_config_linalg() == "raise":
                raise
            raise AssertionError(f"{name}: CuPy would have returned wrong numbers; raise is not asked for") from None
        out = kwargs.get("out")
        return out if out is not None else _wrapped(fake, found, args)

    return call


class UFunc:
    """A ufunc of CuPy's: its out argument, and the few methods that it has."""

    def __init__(self, fake: Any, own: Any, theirs: Any):
        self._fake, self._own, self._theirs = fake, own, theirs

    def __call__(self, *args: Any, out: Any = None, dtype: Any = None) -> Any:
        args = (*args, out) if out is not None else args
        _refuse(self._own.name, args, {})
        self._fake.drain()
        options = {} if dtype is None else {"dtype": dtype}
        found = self._theirs(*_unwrapped(args), **options)
        for a in args:
            if isinstance(a, NDArray) and found is a._a:
                return a
        return _wrapped(self._fake, found, args)

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        self._allowed("reduce")
        return _wrapped(self._fake, self._theirs.reduce(array._a, axis=axis, dtype=dtype, keepdims=keepdims), ())

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        self._allowed("accumulate")
        return _wrapped(self._fake, self._theirs.accumulate(array._a, axis=axis, dtype=dtype), ())

    def _allowed(self, method: str) -> None:
        try:
            getattr(self._own, method)(None)
        except NotImplementedError:
            raise
        except Exception:
            return  # it got as far as looking at the array


class NDArray:
    """CuPy's array over pretend device memory; ``_a`` is numpy's view of it."""

    fake: Any
    __array_ufunc__ = None

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"):
        kind = np.dtype(dtype)
        if kind.kind not in "biufc":
            raise TypeError(f"Unsupported dtype {kind}")
        if memptr is None:
            memptr = self.fake.alloc(max(int(np.prod(shape, dtype=np.int64)) * kind.itemsize, 1))
        self.data = memptr
        self._a = np.ndarray(shape, kind, memptr.mem.raw, memptr.ptr - memptr.mem.ptr, strides)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS or name.startswith("__"):
            raise AttributeError(f"'ndarray' object has no attribute {name!r}")
        found = getattr(self._a, name)
        if not callable(found):
            return _wrapped(self.fake, found, (self,)) if isinstance(found, np.ndarray) else found

        def method(*args: Any, **kwargs: Any) -> Any:
            _refuse(name, args, kwargs)
            self.fake.drain()
            return _wrapped(self.fake, found(*_unwrapped(args), **_unwrapped(kwargs)), (self, *args))

        return method

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=self.data.device_id)

    def get(self) -> Any:
        self.fake.drain()
        return self._a.copy()

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        self.fake.exports.append(stream)
        self.fake.drain()
        return self._a.__dlpack__(max_version=max_version, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.data.device_id

    def __len__(self) -> int:
        return len(self._a)

    def __bool__(self) -> bool:
        self.fake.drain()
        return bool(self._a)

    __int__ = lambda self: int(self.get())  # noqa: E731
    __float__ = lambda self: float(self.get())  # noqa: E731
    __index__ = lambda self: operator.index(self.get()[()])  # noqa: E731

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        _refuse_index(index)
        self.fake.drain()
        return _wrapped(self.fake, self._a[_unwrapped(index)], (self,))

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_index(index)
        _refuse("setitem", (value,), {})
        self.fake.drain()
        self._a[_unwrapped(index)] = _unwrapped(value)


def _operator(name: str, kind: str = "") -> Any:
    fn = getattr(operator, f"__{kind if kind == 'i' else ''}{name}__")

    def apply(self: NDArray, *others: Any) -> Any:
        _refuse(name, others, {})
        self.fake.drain()
        args = [self._a, *_unwrapped(others)]
        found = fn(*(reversed(args) if kind == "r" else args))
        return self if kind == "i" else _wrapped(self.fake, found, (self,))

    return apply


for _name in _BINARY:
    for _kind in ("", "r", "i"):
        setattr(NDArray, f"__{_kind}{_name}__", _operator(_name, _kind))
for _name in ("lt", "le", "eq", "ne", "gt", "ge", "neg", "invert", "abs", "pos"):
    setattr(NDArray, f"__{_name}__", _operator(_name))


def bind_arrays(fake: Any) -> None:
    """The array class of one pretend machine."""
    fake.ndarray = type("ndarray", (NDArray,), {"fake": fake})


# -- going in and out ----------------------------------------------------------------------------------
def _refuse(name: str, args: Any, kwargs: Any) -> None:
    """What CuPy's functions do not take: numpy's arrays, and objects that are neither arrays nor numbers."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, np.ndarray):
            raise TypeError(f"{name}: Unsupported type <class 'numpy.ndarray'>")


def _refuse_index(index: Any) -> None:
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, (np.ndarray, list)):
            raise IndexError("CuPy takes no host arrays and lists as indices")


def _unwrapped(value: Any) -> Any:
    if isinstance(value, NDArray):
        return value._a
    if isinstance(value, tuple):
        return tuple([_unwrapped(v) for v in value])
    if isinstance(value, list):
        return [_unwrapped(v) for v in value]
    if isinstance(value, dict):
        return {k: _unwrapped(v) for k, v in value.items()}
    return value


def _wrapped(fake: Any, found: Any, args: Any) -> Any:
    """numpy's results as arrays of the device: views of an operand's memory, or copies in new memory."""
    if isinstance(found, tuple):
        return tuple([_wrapped(fake, v, args) for v in found])
    if not isinstance(found, (np.ndarray, np.generic)):
        return found
    array = np.asarray(found)
    at = array.__array_interface__["data"][0]
    for a in args:
        memory = a.data if isinstance(a, NDArray) else None
        if memory is not None and array.base is not None and memory.mem.ptr <= at < memory.mem.ptr + memory.mem.size:
            return fake.ndarray(array.shape, array.dtype, memory + (at - memory.ptr), array.strides)
    fresh = fake.ndarray(array.shape, array.dtype)
    fresh._a[...] = array
    return fresh
