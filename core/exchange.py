"""Sharing memory with other libraries by DLPack.

Host memory goes through numpy, which speaks the protocol. A device that cannot share is copied where
the caller asks for a copy, and is an error where not: nothing is copied silently.
The protocol: https://dmlc.github.io/dlpack/latest/python_spec.html
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from flambeau.core.autograd.graph import box_of
from flambeau.core.creation import from_numpy
from flambeau.core.device import device as Device
from flambeau.core.tensor import Tensor

HOST: Final = (1, 0)  # kDLCPU
_HOST_TYPES: Final = (1, 3)  # kDLCPU, kDLCUDAHost: memory that the host reads


def _cannot_share(x: Tensor) -> BufferError:
    return BufferError(
        f"__dlpack__: device {str(x.device)!r} does not share its memory by DLPack; "
        "ask for a copy in host memory with copy=True, or export x.cpu()"
    )


def dlpack_device(self: Tensor) -> tuple[int, int]:
    """The DLPack device that holds the elements: (1, 0) is host memory; BufferError when it is none."""
    if not self._key.backend.has("shares_host"):
        raise _cannot_share(self)
    return HOST


def to_dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule of the elements, shared unless ``copy``; the other library's ``from_dlpack`` calls it."""
    if self.requires_grad:
        raise BufferError("__dlpack__: a tensor that requires grad cannot be exported; use x.detach()")
    if dl_device not in (None, HOST):
        raise BufferError(f"__dlpack__: cannot export to the DLPack device {dl_device}; host memory is {HOST}")
    if stream is not None:
        raise BufferError(
            f"__dlpack__: device {str(self.device)!r} has no streams, so stream must be None, got {stream!r}"
        )
    if self._key.backend.has("shares_host"):
        host = self._host()
        box_of(self)  # other names for this memory exist from now on
    elif copy or (copy is None and dl_device == HOST):
        host, copy = self._host(), None
    else:
        raise _cannot_share(self)
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
        self.versioned = False

    def __dlpack__(self, **kwargs: Any) -> Any:
        capsule = self._producer.__dlpack__(**kwargs) if hasattr(self._producer, "__dlpack__") else self._producer
        self.versioned = "versioned" in repr(capsule)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


class _Writable:
    """Memory of an array that numpy took for read-only because the old protocol cannot say."""

    def __init__(self, array: np.ndarray[Any, Any]):
        self._array = array  # keeps the memory alive
        interface = dict(array.__array_interface__)
        self.__array_interface__ = interface | {"data": (interface["data"][0], False), "strides": array.strides}


def from_dlpack(x: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
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
    if copy is False and not array.flags.writeable:
        raise BufferError("from_dlpack: copy=False, but the memory is read-only and would have to be copied")
    t: Tensor = from_numpy(array.copy() if copy and not options else array)
    return t if device is None else t.to(Device(device))
