"""Sharing memory with other libraries by DLPack.

Host memory goes through numpy, which speaks the protocol, and a device's memory through its backend, if that shares
it. A device that cannot share is copied where the caller asks for a copy, and is an error where not: nothing is
copied silently.
The protocol: https://dmlc.github.io/dlpack/latest/python_spec.html
"""

from __future__ import annotations

import ctypes
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core import events, registry
from flambeau.core.arguments import bounded
from flambeau.core.box import box_of
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dispatch import tensor_of
from flambeau.core.keys import key_for
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

HOST: Final = (1, 0)  # kDLCPU
_HOST_TYPES: Final = (1, 3)  # kDLCPU, kDLCUDAHost: memory that the host reads


# -- bfloat16, which numpy has no name for in the protocol ------------------------------------------
_UNSIGNED, _BFLOAT = 1, 4  # kDLUInt, kDLBfloat
#: Where the code of the dtype stands in the struct of a capsule, by the capsule's name.
_DTYPE_CODE: Final = {b"dltensor": 20, b"dltensor_versioned": 52}
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, (ctypes.py_object,)


def _renamed(capsule: Any, from_: int, to: int) -> bool:
    """Change what kind of 16-bit numbers a capsule says it holds; False where it holds others."""
    name = _name_of(capsule)
    place = _DTYPE_CODE.get(name)
    if place is None:  # used up already
        return False
    code = ctypes.cast(_pointer_of(capsule, name) + place, ctypes.POINTER(ctypes.c_uint8))
    if (code[0], code[1]) != (from_, 16):
        return False
    code[0] = to
    return True


def _cannot_share(x: Tensor) -> BufferError:
    return BufferError(
        f"__dlpack__: device {str(x.device)!r} does not share its memory by DLPack; "
        "ask for a copy in host memory with copy=True, or export x.cpu()"
    )


@public("__dlpack_device__", function=False)
def dlpack_device(self: Tensor) -> tuple[int, int]:
    """The DLPack device that holds the elements: (1, 0) is host memory; BufferError when it is none."""
    kind = self._key.backend.dlpack_kind
    if kind is not None:
        return kind, self.device.number
    if not self._key.backend.has("shares_host"):
        raise _cannot_share(self)
    return HOST


@public("__dlpack__", function=False)
def to_dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule of the elements, shared unless ``copy``; the other library's ``from_dlpack`` calls it."""
    if self.requires_grad:
        raise BufferError("__dlpack__: a tensor that requires grad cannot be exported; use x.detach()")
    backend = self._key.backend
    own = None if backend.dlpack_kind is None or self._key.level is not None else dlpack_device(self)
    if dl_device not in (None, HOST, own):
        raise BufferError(f"__dlpack__: cannot export to the DLPack device {dl_device}; host memory is {HOST}")
    if own is not None and dl_device != HOST:
        box_of(self)  # other names for this memory exist from now on
        events.refuse("__dlpack__ hands a tensor to another library, and what is done with it there is not seen")
        return backend.to_dlpack(self._array, stream=stream, max_version=max_version, copy=copy)
    if stream is not None:
        raise BufferError(
            f"__dlpack__: device {str(self.device)!r} has no streams, so stream must be None, got {stream!r}"
        )
    if self._key.backend.has("shares_host"):
        host = self._shared("__dlpack__")
        box_of(self)  # other names for this memory exist from now on
    elif copy or (copy is None and dl_device == HOST):
        host, copy = self._host(), None
    else:
        raise _cannot_share(self)
    if any(s < 0 for s in host.strides) and not copy:
        if copy is False:
            raise BufferError("__dlpack__: copy=False, but others cannot read negative strides; use x.contiguous()")
        host = np.ascontiguousarray(host)
    if self.dtype is dt.bfloat16:
        capsule = host.view(np.uint16).__dlpack__(max_version=max_version, copy=copy)
        _renamed(capsule, _UNSIGNED, _BFLOAT)
        return capsule
    try:
        return host.__dlpack__(max_version=max_version, copy=copy)
    except BufferError as error:
        raise BufferError(
            f"__dlpack__: {self.dtype.name} has no form in DLPack that numpy can export ({error}); "
            f"view it as integers of {self.itemsize} bytes, or convert it with .to(dtype)"
        ) from None


class _Watched:
    """A producer whose capsule's kind is noted on its way to numpy."""

    def __init__(self, producer: Any, device: tuple[int, int]):
        self._producer, self._device = producer, device
        self.versioned = self.is_bfloat16 = False

    def __dlpack__(self, **kwargs: Any) -> Any:
        capsule = self._producer.__dlpack__(**kwargs) if hasattr(self._producer, "__dlpack__") else self._producer
        self.versioned = "versioned" in repr(capsule)
        self.is_bfloat16 = _renamed(capsule, _BFLOAT, _UNSIGNED)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


class _Writable:
    """Memory of an array that numpy took for read-only because the old protocol cannot say."""

    def __init__(self, array: np.ndarray[Any, Any]):
        self._array = array  # keeps the memory alive
        interface = dict(array.__array_interface__)
        self.__array_interface__ = interface | {"data": (interface["data"][0], False), "strides": array.strides}


def from_dlpack(x: Any, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:  # Any: it may be a capsule
    """A tensor over another library's memory; ``copy`` True takes a copy instead, False must share.

    ``x`` is anything with ``__dlpack__`` and ``__dlpack_device__``, or a capsule. Memory on a device that
    no backend here shares is copied to the host only where ``copy`` is True; read-only memory is copied.

    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = from_dlpack(a)
    >>> a[0] = 5
    >>> t
    tensor([5., 0.], dtype=flambeau.float64)
    """
    is_capsule = type(x).__name__ == "PyCapsule"
    if not is_capsule and not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise TypeError(
            "from_dlpack: expected an object with __dlpack__ and __dlpack_device__, or a capsule, "
            f"got {type(x).__name__}"
        )
    kind, index = HOST if is_capsule else x.__dlpack_device__()
    options: dict[str, Any] = {}
    sharing = None if int(kind) in _HOST_TYPES else _sharing(int(kind))
    if sharing is not None:
        return _imported(x, located(sharing, int(index)), device, copy)
    if int(kind) not in _HOST_TYPES:
        if not copy:
            raise BufferError(
                f"from_dlpack: the {type(x).__name__} is on the DLPack device ({int(kind)}, {index}), whose memory no "
                "backend here shares; copy=True copies it to the host"
            )
        options = {"device": "cpu", "copy": True}
    watched = _Watched(x, HOST if int(kind) in _HOST_TYPES else (int(kind), index))
    try:
        array = np.from_dlpack(watched, **options)
    except (RuntimeError, BufferError) as error:
        raise BufferError(
            f"from_dlpack: {error} (a {type(x).__name__} of dtype {getattr(x, 'dtype', 'unknown')})"
        ) from None
    if not array.flags.writeable and not watched.versioned:
        array = np.asarray(_Writable(array))
    if watched.is_bfloat16:
        array = array.view(dt.bfloat16.numpy)
    if copy is False and not array.flags.writeable:
        raise BufferError("from_dlpack: copy=False, but the memory is read-only and would have to be copied")
    t: Tensor = from_numpy(array.copy() if copy and not options else array)
    return t if device is None else t.to(located(device))


def _sharing(kind: int) -> str | None:
    """The device type whose memory DLPack knows by ``kind``; None where there is none that can be used."""
    for name in registry.known_types():
        try:
            backend = registry.get_backend(name)
        except Exception:  # a plugin that is broken shares nothing
            continue
        if backend.dlpack_kind == kind and backend.is_available():
            return name
    return None


def _imported(x: Any, where: Device, device: DeviceLike, copy: bool | None) -> Tensor:
    """A tensor over the memory of ``x`` on ``where``, or a copy; then on ``device``."""
    backend = registry.resolve(where)
    array = backend.from_dlpack(x, where.number, copy)
    t: Tensor = tensor_of(array, key_for(where, backend.dtype_of(array)))
    if not copy:
        box_of(t)  # the other library has a name for this memory
    return t if device is None else t.to(located(device))


# -- numpy -------------------------------------------------------------------------------------------
def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A CPU tensor that shares memory with a numpy array.

    >>> import numpy as np
    >>> fb.from_numpy(np.arange(3.0))
    tensor([0., 1., 2.], dtype=flambeau.float64)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy array, got {type(array).__name__}")
    if not array.dtype.isnative:
        raise ValueError(
            "from_numpy: the array has a foreign byte order; use array.astype(array.dtype.newbyteorder('='))"
        )
    key = key_for(host_device(), dt.from_numpy(array.dtype))
    kept = array  # of read-only memory a copy
    t = tensor_of(array if array.flags.writeable else events.make(key, lambda: kept.copy()), key)
    box_of(t)
    return t


def from_file(
    filename: str | PathLike[str], shared: bool | None = None, size: int = 0, *, dtype: dt.DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The first ``size`` numbers of a file as a CPU tensor, read when they are needed.

    With ``shared`` writes go to the file, which is made, or made larger, where it is too small; else RuntimeError.

    >>> with open("numbers", "wb") as file:
    ...     _ = file.write(bytes([1, 2, 3]))
    >>> fb.from_file("numbers", size=3, dtype=fb.uint8)
    tensor([1, 2, 3], dtype=flambeau.uint8)
    """
    wanted = dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype)
    count = int(bounded(size, "from_file: size"))
    needed = count * wanted.itemsize
    path = Path(filename)
    if shared and (not path.exists() or path.stat().st_size < needed):
        with path.open("ab") as file:
            file.truncate(needed)
    if not path.exists():
        raise RuntimeError(f"from_file: there is no file {str(path)!r}")
    if path.stat().st_size < needed:
        raise RuntimeError(f"from_file: {str(path)!r} has {path.stat().st_size} bytes, and {needed} are asked for")
    if not count:
        found = np.empty(0, wanted.numpy)
    else:
        found = np.memmap(path, wanted.numpy, "r+" if shared else "c", shape=(count,))
    return from_numpy(found).requires_grad_(requires_grad)


_HOST_DEVICE: Final = Device("cpu")


def host_device() -> Device:
    """The device whose memory is numpy's."""
    return _HOST_DEVICE
