"""Storages: the memory that tensors share, as bytes and as elements.

A storage is a view of one dimension over all of a tensor's memory; writes through either are seen by the other.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np

from flambeau.core import creation, events
from flambeau.core import dtype as dt
from flambeau.core.box import box_of
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dispatch import tensor_of
from flambeau.core.dtype import DType, DTypeLike, Number
from flambeau.core.errors import ConversionError
from flambeau.core.exchange import from_numpy
from flambeau.core.from_data import tensor
from flambeau.core.keys import real_key
from flambeau.core.naming import prefix, shown
from flambeau.core.ops.convert import TYPE_NAMES
from flambeau.core.tensor import Tensor

Order = Literal["big", "little", "native"]
_known: weakref.WeakValueDictionary[tuple[Device, int], UntypedStorage] = weakref.WeakValueDictionary()


def _of_type(kind: str, device: DeviceLike) -> DeviceLike:
    return kind if device is None else f"{kind}:{device}" if isinstance(device, int) else device


def _whole(t: Tensor, dtype: DType) -> Tensor:
    """All of the memory that ``t`` is in, as a tensor of one dimension that shares it."""
    key = real_key(t._key)
    if key.level is not None:
        raise ConversionError("a tensor inside a transform has no storage of its own")
    other = key.sibling(dtype)
    count = key.backend.storage_nbytes(t._array) // dtype.itemsize
    array = key.backend.as_strided(t._array, (count,), (1,), 0, other.stored)
    made = tensor_of(array, other)
    made._box = box_of(t)
    return made


class _Storage:
    """What both kinds of storage are."""

    _flat: Tensor

    @property
    def device(self) -> Device:
        """Where the memory is."""
        return self._flat.device

    def get_device(self) -> int | None:
        """The index of the device, None for the host: tensors say -1 there."""
        return self.device.index

    def __len__(self) -> int:
        return self._flat.numel()

    def size(self) -> int:
        """The number of elements."""
        return self._flat.numel()

    def nbytes(self) -> int:
        """The number of bytes."""
        return self._flat.nbytes

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._flat.itemsize

    def data_ptr(self) -> int:
        """The address of the memory."""
        return self._flat.data_ptr()

    def tolist(self) -> list[Any]:  # Any: numbers of the dtype
        """The elements as Python numbers."""
        found: list[Any] = self._flat.tolist()
        return found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def fill_(self, value: Number) -> Self:
        """Write one value everywhere."""
        self._flat.fill_(value)
        return self

    def is_pinned(self, device: DeviceLike = None) -> bool:
        """Whether the memory is page-locked."""
        return self._flat.is_pinned(device)

    def is_shared(self) -> bool:
        """Whether other processes share the memory."""
        return self._flat.is_shared()

    def share_memory_(self) -> Self:
        """Move to memory that other processes can share; nothing is to be done where they do."""
        for t in (found for ref in getattr(self, "_tensors", ()) if (found := ref()) is not None):
            t.share_memory_()
            self._flat = _whole(t, self._flat.dtype)
        self._flat.share_memory_()
        return self

    @property
    def is_cuda(self) -> bool:
        """Whether the device is of the type ``cuda``."""
        return self._flat.is_cuda

    is_sparse = is_sparse_csr = is_hpu = False
    filename = None

    def resizable(self) -> bool:
        """Whether :meth:`resize_` may change the size."""
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Storage):
            return NotImplemented
        return type(self) is type(other) and self._place() == other._place()

    def __hash__(self) -> int:
        return hash(self._place())

    def _place(self) -> tuple[Device, int]:
        t = self._flat
        return t.device, t._key.backend.storage_id(t._array)

    @property
    def _cdata(self) -> int:
        return self._place()[1]

    def __repr__(self) -> str:
        values = "" if self._flat.is_meta else "\n ".join(map(str, self.tolist()))
        return f" {values}\n[{prefix()}.storage.{type(self).__name__}({self._kind()}) of size {len(self)}]"

    def _kind(self) -> str:
        return f"device={self.device}"


@shown(home=".storage", own="flambeau.storage")
class UntypedStorage(_Storage):
    """The bytes of some memory: a number of them, those of a sequence, or, from ``x.untyped_storage()``, a tensor's.

    >>> x = fb.tensor([1.0, 2.0])
    >>> s = x[1:].untyped_storage()
    >>> len(s), s == x.untyped_storage(), s[3]
    (8, True, 63)
    """

    def __init__(self, *args: int | Sequence[int], size: int | None = None, device: DeviceLike = None):
        given: Any = args[0] if args else size or 0
        if len(args) > 1 or not isinstance(given, (int, list, tuple, bytes)):
            raise TypeError(f"UntypedStorage: expected a size or a sequence of ints, got {args!r}")
        if isinstance(given, int):
            self._flat = creation.empty(given, dtype=dt.uint8, device=device)
        else:
            self._flat = tensor(list(given), dtype=dt.uint8, device=device)
        self._tensors: list[weakref.ref[Tensor]] = []

    @classmethod
    def _of(cls, flat: Tensor) -> UntypedStorage:
        made = cls.__new__(cls)
        made._flat, made._tensors = flat, []
        return made

    @staticmethod
    def from_file(filename: str, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first ``nbytes`` of a file, read when they are looked at; with ``shared`` writes go to the file.

        >>> import pathlib
        >>> _ = pathlib.Path("bytes").write_bytes(b"abc")
        >>> UntypedStorage.from_file("bytes", False, 2).tolist()
        [97, 98]
        """
        if not nbytes:
            return UntypedStorage(0, device="cpu")
        if shared:
            with open(filename, "ab") as file:
                file.truncate(max(file.tell(), nbytes))
        memory = np.memmap(filename, np.uint8, "r+" if shared else "c", 0, (nbytes,))
        return UntypedStorage._of(from_numpy(memory.view(np.ndarray)))

    @staticmethod
    def from_buffer(
        buffer: Any, byte_order: Order | None = None, count: int = -1, offset: int = 0, *,
        dtype: DTypeLike | None = None,
    ) -> UntypedStorage:  # Any: bytes, or what has the buffer protocol  # fmt: skip
        """A copy of elements that lie in a buffer: ``count`` of them (-1: all) from the byte ``offset`` on.

        >>> UntypedStorage.from_buffer(b"abc", dtype=fb.uint8, offset=1).tolist()
        [98, 99]
        """
        if dtype is None:
            raise RuntimeError("argument 'dtype' cannot be None")
        data, kind = memoryview(buffer).cast("B"), _held_as(dt.as_dtype(dtype))
        if byte_order is None and kind not in (dt.uint8, dt.int8):
            raise RuntimeError("function missing required argument 'byte_order' (pos 2)")
        if byte_order not in (None, "big", "little", "native"):
            raise ValueError(f"invalid byte_order '{byte_order}' (expected 'big', 'little', or 'native')")
        if not 0 <= offset <= len(data):
            limit = f"buffer length ({len(data)})"
            raise ValueError(f"offset must be non-negative and no greater than {limit}, got {offset}")
        size, left = kind.itemsize, len(data) - offset
        if count < 0:
            if left % size:
                raise ValueError(f"buffer size ({len(data)}) must be a multiple of element size ({size})")
            count = left // size
        if count * size > left:
            raise ValueError(
                f"buffer has only {left // size} elements after offset {offset}, but specified a size of {count}"
            )
        found = UntypedStorage._of(from_numpy(np.frombuffer(data, np.uint8, count * size, offset).copy()))
        if size > 1 and byte_order not in ("native", sys.byteorder):
            found.byteswap(kind)
        return found

    def cuda(self, device: DeviceLike = None, non_blocking: bool = False) -> UntypedStorage:
        """On a device of the type ``cuda``."""
        return self.to(device=_of_type("cuda", device))

    def mps(self) -> UntypedStorage:
        """On the device of the type ``mps``."""
        return self.to(device="mps")

    def hpu(self, device: DeviceLike = None, non_blocking: bool = False) -> UntypedStorage:
        """On a device of the type ``hpu``."""
        return self.to(device=_of_type("hpu", device))

    def __getitem__(self, index: int | slice) -> Any:  # Any: an int, or a storage of the part
        part = self._flat[index]
        return UntypedStorage._of(part.clone()) if isinstance(index, slice) else part.item()

    def __setitem__(self, index: int | slice, value: Any) -> None:  # Any: an int, or a storage
        self._flat[index] = value._flat if isinstance(value, _Storage) else value

    def type(self, dtype: DTypeLike | None = None, non_blocking: bool = False) -> str | TypedStorage:
        """The name of the class; with ``dtype``, the bytes as a storage of elements."""
        return f"{prefix()}.storage.UntypedStorage" if dtype is None else self._as(dt.as_dtype(dtype))

    def _as(self, dtype: DType) -> TypedStorage:
        return TypedStorage(wrap_storage=UntypedStorage._of(self._flat.to(dtype).view(dt.uint8)), dtype=dtype)

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage._of(self._flat.clone())

    def copy_(self, source: _Storage, non_blocking: bool = False) -> Self:
        """Write the bytes of another storage of the same size."""
        self._flat.copy_(source._flat.view(dt.uint8))
        return self

    def to(self, *, device: DeviceLike, non_blocking: bool = False) -> UntypedStorage:
        """On another device; itself where it is there."""
        return self if located(device) is self.device else UntypedStorage._of(self._flat.to(device))

    def cpu(self) -> UntypedStorage:
        """In host memory; itself where it is there."""
        return self.to(device="cpu")

    def pin_memory(self, device: DeviceLike = None) -> UntypedStorage:
        """In page-locked memory."""
        return UntypedStorage._of(self._flat.pin_memory(device))

    def untyped(self) -> UntypedStorage:
        """Itself."""
        return self

    def resize_(self, size: int) -> Self:
        """Another number of bytes: those that were there stay. The tensor whose storage this is goes along."""
        old = self._flat
        if size == len(self):
            return self
        flat = creation.empty(size, dtype=dt.uint8, device=old.device)
        both = min(size, len(self))
        flat[:both].copy_(old[:both])
        self._flat = flat
        for t in (found for ref in self._tensors if (found := ref()) is not None):
            _carry(t, flat)
        return self

    def byteswap(self, dtype: DTypeLike) -> None:
        """Turn round the bytes of each element, of a complex one those of each part, in place."""
        kind = dt.as_dtype(dtype)
        size = kind.itemsize // (2 if kind.category == dt.COMPLEX else 1)
        if len(self) % size:
            raise RuntimeError(f"byteswap: a storage of {len(self)} bytes does not hold whole elements of {kind.name}")
        self._flat.copy_(self._flat.reshape((-1, size)).flip(1).reshape((-1,)))

    def new(self) -> UntypedStorage:
        """An empty storage on the same device."""
        return UntypedStorage(0, device=self.device)

    def __copy__(self) -> UntypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> UntypedStorage:
        found: UntypedStorage | None = memo.get(("storage", *self._place()))  # type: ignore[call-overload]
        if found is None:
            found = memo[("storage", *self._place())] = self.clone()  # type: ignore[index]
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (bytes(self.tolist()), str(self.device))


def _rebuilt(data: bytes, where: str) -> UntypedStorage:
    return UntypedStorage(data, device=where)


def _carry(t: Tensor, flat: Tensor) -> None:
    """Put a tensor to the memory that its storage has now, where that is large enough for it."""
    events.refuse("resize_() of a storage moves the tensors that are in it")
    key, lay = real_key(t._key), t.layout_
    last = lay.offset + sum((n - 1) * s for n, s in zip(lay.shape, lay.strides, strict=True))
    if math.prod(lay.shape) and (last + 1) * key.stored.itemsize > flat.nbytes:
        return  # nobody may read it until the storage grows again
    t._array = key.backend.as_strided(flat._array, tuple(lay.shape), tuple(lay.strides), lay.offset, key.stored)


#: Quantized numbers are held as integers; a tensor cannot have these dtypes.
_QUANTIZED = {"qint8": "QInt8", "quint8": "QUInt8", "qint32": "QInt32", "quint4x2": "QUInt4x2", "quint2x4": "QUInt2x4"}
OLD_NAMES = TYPE_NAMES | {dt.UNHELD[name]: old for name, old in _QUANTIZED.items()}


def _held_as(dtype: DType) -> DType:
    if dtype.name not in _QUANTIZED:
        return dtype
    return dt.int32 if dtype.name == "qint32" else dt.int8 if dtype.is_signed else dt.uint8


@shown(home=".storage", own="flambeau.storage")
class TypedStorage(_Storage):
    """The elements of some memory: a number of them, those of a sequence, or, from ``x.storage()``, a tensor's.

    >>> x = fb.tensor([1.0, 2.0])
    >>> s = x.storage()
    >>> s[0] = 5
    >>> x, s.size(), s.dtype
    (tensor([5., 2.]), 2, flambeau.float32)
    """

    def __init__(
        self, *args: int | Sequence[Number], wrap_storage: UntypedStorage | None = None,
        dtype: DTypeLike | None = None, device: DeviceLike = None, _internal: bool = False,
    ):  # fmt: skip
        kind = dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype)
        if wrap_storage is None:
            given: Any = args[0] if args else 0
            if isinstance(given, int):
                given = creation.empty(given, dtype=_held_as(kind), device=device)
            else:
                given = tensor(given, dtype=_held_as(kind), device=device)
            wrap_storage = given.untyped_storage()
        self._untyped_storage = wrap_storage
        self._dtype = kind

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return self._dtype

    @property
    def _flat(self) -> Tensor:  # type: ignore[override]
        return self._untyped_storage._flat.view(_held_as(self._dtype))

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped_storage

    _untyped = untyped

    def _data_ptr(self) -> int:
        return self.data_ptr()

    def __getitem__(self, index: int | slice) -> Any:  # Any: a number of the dtype
        if isinstance(index, slice):
            raise RuntimeError("TypedStorage: slices are for UntypedStorage; take one of a tensor over this storage")
        return self._flat[index].item()

    def __setitem__(self, index: int | slice, value: Any) -> None:  # Any: a number, or a storage
        self._flat[index] = value._flat if isinstance(value, _Storage) else value

    def type(self, dtype: DTypeLike | None = None, non_blocking: bool = False) -> str | TypedStorage:
        """The name of the storage's type; with ``dtype``, the elements in it."""
        if dtype is not None:
            return self._to(dt.as_dtype(dtype))
        name = OLD_NAMES.get(self._dtype)
        return f"{prefix()}.{name}Storage" if name else f"{prefix()}.storage.TypedStorage"

    def pickle_storage_type(self) -> str:
        """The old name of a storage of this dtype."""
        if self._dtype not in OLD_NAMES:
            raise KeyError(f"TypedStorage: there is no old name of a storage of {self._dtype.name}")
        return f"{OLD_NAMES[self._dtype]}Storage"

    def _to(self, dtype: DType) -> TypedStorage:
        found: TypedStorage = self._flat.to(dtype, copy=True).storage()
        return found

    def clone(self) -> TypedStorage:
        """A copy."""
        return TypedStorage(wrap_storage=self._untyped_storage.clone(), dtype=self._dtype)

    def copy_(self, source: TypedStorage, non_blocking: bool = False) -> Self:
        """Write the elements of another storage of the same size, converted."""
        self._flat.copy_(source._flat)
        return self

    def to(self, *, device: DeviceLike, non_blocking: bool = False) -> TypedStorage:
        """On another device."""
        return TypedStorage(wrap_storage=self._untyped_storage.to(device=device), dtype=self._dtype)

    def cpu(self) -> TypedStorage:
        """In host memory."""
        return self.to(device="cpu")

    def cuda(self, device: DeviceLike = None, non_blocking: bool = False) -> TypedStorage:
        """On a device of the type ``cuda``."""
        return self.to(device=_of_type("cuda", device))

    def hpu(self, device: DeviceLike = None, non_blocking: bool = False) -> TypedStorage:
        """On a device of the type ``hpu``."""
        return self.to(device=_of_type("hpu", device))

    @classmethod
    def from_buffer(
        cls, buffer: Any, byte_order: Order | None = None, count: int = -1, offset: int = 0, *,
        dtype: DTypeLike | None = None, device: DeviceLike = None,
    ) -> TypedStorage:  # Any: bytes, or what has the buffer protocol  # fmt: skip
        """A copy of elements that lie in a buffer, as :meth:`UntypedStorage.from_buffer`; of FloatStorage its dtype."""
        own = cls._own_dtype()
        if own is not None and (dtype is not None or device is not None):
            which = "dtype" if dtype is not None else "device"
            where = "UntypedStorage.from_buffer and TypedStorage.from_buffer"
            raise RuntimeError(f"from_buffer: '{which}' can only be specified in {where}")
        kind = own or (dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype))
        made = UntypedStorage.from_buffer(buffer, byte_order, count, offset, dtype=kind)
        return TypedStorage(wrap_storage=made if device is None else made.to(device=device), dtype=kind)

    @classmethod
    def from_file(cls, filename: str, shared: bool = False, size: int = 0) -> TypedStorage:
        """The first ``size`` elements of a file, as :meth:`UntypedStorage.from_file`; for FloatStorage and its like."""
        own = cls._own_dtype()
        if own is None:
            raise RuntimeError("from_file can only be called on derived classes")
        made = UntypedStorage.from_file(filename, shared, size * _held_as(own).itemsize)
        return TypedStorage(wrap_storage=made, dtype=own)

    @classmethod
    def _own_dtype(cls) -> DType | None:
        found = vars(cls).get("dtype")
        return found if isinstance(found, DType) else None

    def pin_memory(self, device: DeviceLike = None) -> TypedStorage:
        """In page-locked memory."""
        return TypedStorage(wrap_storage=self._untyped_storage.pin_memory(device), dtype=self._dtype)

    def resize_(self, size: int) -> Self:
        """Another number of elements."""
        self._untyped_storage.resize_(size * self._dtype.itemsize)
        return self

    def __copy__(self) -> TypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> TypedStorage:
        return TypedStorage(wrap_storage=self._untyped_storage.__deepcopy__(memo), dtype=self._dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _retyped, (self._untyped_storage, self._dtype)

    def _kind(self) -> str:
        return f"dtype={self._dtype}, device={self.device}"


def _retyped(untyped: UntypedStorage, dtype: DType) -> TypedStorage:
    return TypedStorage(wrap_storage=untyped, dtype=dtype)
