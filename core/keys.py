"""Dispatch keys: one object for (level, device, dtype), which knows the kernel that serves each op there.

Here is decided which kernel that is: overlays, the backend's own table, a kernel generated from the record's
expression, the parent tables. And which device new tensors go to.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Final

from flambeau.backends.base import Array, Backend, HostArray, Kernel
from flambeau.core import dtype as dt
from flambeau.core import events, registry, stored
from flambeau.core.cache import Cache
from flambeau.core.checks import checked
from flambeau.core.device import DeviceLike, innermost, located
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.errors import DTypeError, MissingKernelError, NumberError, warn_user
from flambeau.core.locks import fork_safe
from flambeau.core.record import ELEMENTWISE, OPS, SPECIAL, Op

OWN: Final = "flambeau"  # the source of the built-in backends
_keys: dict[tuple[Device, DType], Key] = {}
_lock = fork_safe(threading.RLock())


def _is_safe(value: Any) -> bool:
    """Whether a constant can be found by its value: as keys, signed zeros and nan would mix up."""
    return bool(value == value and value != 0)


#: The dtypes of results by the names of their keys.
_RESULTS: Final[dict[str, Callable[[DType], DType]]] = {
    "boolean": lambda d: dt.bool_, "index": lambda d: dt.int64, "real": DType.to_real, "paired": DType.to_complex,
}  # fmt: skip


class Key:
    """The dispatch key of a tensor: one object for (level, device, dtype), interned.

    ``key.add`` is the kernel that serves ``add`` for it, or None: looked up once, then an attribute.
    ``key.add_`` is the same kernel with ``out`` as its last positional argument.
    ``boolean``, ``index``, ``real`` and ``paired`` are the keys of the results of comparisons, of argmax, of abs and
    of view_as_complex.
    ``stored`` is the dtype that the arrays have; another one than ``dtype`` where the device lacks that
    (:mod:`flambeau.core.stored`).
    """

    level: Any
    device: Device
    dtype: DType
    stored: DType
    truth: bool  # bools held as 0 and 1 in another dtype
    backend: Backend
    array: type
    zeros: dict[float, Any]  # constants of 0 by their sign
    floats: Cache[Any, Any] | None  # cached 0-d constants, for floating dtypes
    ints: Cache[Any, Any] | None  # None for bools, which numbers promote, and inside levels
    exact_floats: Cache[Any, Any] | None  # the same, of numbers that fit in the dtype: for ops that do not wrap around
    exact_ints: Cache[Any, Any] | None

    def __init__(self, level: Any, device: Device, dtype: DType, backend: Backend):
        self.level, self.device, self.dtype, self.backend = level, device, dtype, backend
        self.stored = backend.stored(dtype, device.number) or dtype
        self.truth = dtype is dt.bool_ and self.stored is not dtype
        self.array = backend.array if level is None else level.payload
        self.zeros = {}
        numbers = Cache(self.constant, keep=_is_safe, limit=1000)
        exact = Cache(self._exact, keep=_is_safe, limit=1000)
        is_float, is_number = (level is None and dtype.category >= least for least in (dt.FLOATING, dt.INTEGER))
        self.floats, self.exact_floats = (numbers, exact) if is_float else (None, None)
        self.ints, self.exact_ints = (numbers, exact) if is_number else (None, None)

    def __getattr__(self, name: str) -> Any:
        if name in _RESULTS:
            kind = _RESULTS[name](self.dtype)
            found: Any = self if kind is self.dtype else self.sibling(kind)
        elif name in OPS:
            found = find_kernel(self, OPS[name])
        elif name.endswith("_") and name[:-1] in OPS:
            found = writing(getattr(self, name[:-1]))
        elif not name.startswith("_") and self.level is None:
            found = self.backend.kernels.find(name, self.stored)
        else:
            raise AttributeError(name)
        self.__dict__[name] = found
        return found

    def sibling(self, dtype: DType) -> Key:
        """The key of the same level and device with another dtype."""
        if dtype is self.dtype:
            return self
        if self.level is not None:
            key: Key = self.level.key(self.device, dtype)
            return key
        return key_for(self.device, dtype)

    def wrap(self, value: Any) -> Any:
        """A kernel's result of another class than the backend's arrays, as an array."""
        return self.backend.wrap(value, self.stored, self.device.number) if self.level is None else value

    def element(self, value: Any) -> Any:
        """A Python number as the device holds it; DTypeError where it is out of the range that is held."""
        if self.stored is self.dtype:
            return value
        return stored.number(value, self.dtype, self.stored, self.device)

    def constant(self, value: Any) -> Any:
        """The operand that kernels get for a Python number."""
        if self.level is not None:
            return value
        if value == 0 and value.__class__ in (float, int):  # which `_is_safe` keeps out of the other caches
            sign = math.copysign(1.0, value)
            if sign not in self.zeros:
                self.zeros[sign] = self._constant(value)
            return self.zeros[sign]
        return self._constant(value)

    def _constant(self, value: Any) -> Any:
        dt.check_int("the number", value)
        if self.stored is not self.dtype:
            value = self.element(value)
        return self.backend.constant(value, self.stored, self.device.number)

    def from_host(self, host: HostArray, later: bool = False) -> Array:
        """An array with the values of a host array of this dtype; ``later`` as in :meth:`Backend.send`."""
        if events.recorder() is None:
            return self._sent(host, later)
        kept = host.copy()  # what is in the program's own memory may be other values when this runs again
        return events.make(self, lambda: self._sent(kept, later))

    def _sent(self, host: HostArray, later: bool) -> Array:
        if self.stored is not self.dtype:
            host = stored.checked(host, self.dtype, self.stored, self.device)
        if later:
            return self.backend.send(host, self.stored, self.device.number, later=True)
        return self.backend.from_host(host, self.stored, self.device.number)

    def to_host(self, array: Array) -> HostArray:
        """An array's values on the host, in this dtype; late errors of the device are raised here."""
        return events.read(self, array, self.peek)

    def peek(self, array: Array) -> HostArray:
        """The same, of which no recorder hears: for what does not change the way that a program takes."""
        host = self.backend.to_host(array)
        self.backend.check(self.device.number)
        return host if self.stored is self.dtype else host.astype(self.dtype.numpy)

    def _exact(self, value: Any) -> Any:
        divisor = value or self.dtype.category >= dt.FLOATING  # of integers 0 is none
        if not divisor or not dt.holds(self.dtype, value) or value < 0 and not self.dtype.is_signed:
            raise NumberError(f"{value!r} does not fit in {self.dtype.name}")  # the uniform path has the last word
        return self.constant(value)

    def forget(self) -> None:
        """Drop the cached kernels; they are looked up anew."""
        for name in [n for n in self.__dict__ if n not in _FIXED]:
            del self.__dict__[name]

    def __repr__(self) -> str:
        return f"<key {self.device}, {self.dtype.name}, level {self.level}>"


class Guarded(Key):
    """The key that tensors of an overriding class show: like another, ``real``, but it has no kernels.

    So the fast paths give such tensors up, and the uniform path, or whoever makes tensors, takes the real key.
    """

    real: Key

    def __init__(self, real: Key):
        fields = {n: v for n, v in real.__dict__.items() if n in _FIELDS}
        self.__dict__.update(fields, real=real)

    def __getattr__(self, name: str) -> Any:
        if name in ("boolean", "index"):
            return getattr(self.__dict__["real"], name)
        raise AttributeError(name)

    def sibling(self, dtype: DType) -> Key:
        return self.__dict__["real"].sibling(dtype)  # type: ignore[no-any-return]

    @classmethod
    def of(cls, key: Key) -> Key:
        """The guarded key of a key; one of a level is guarded by that."""
        found = key.__dict__.get("_guarded")
        if found is None:
            found = key.__dict__["_guarded"] = key if key.level is not None else cls(key)
        made: Key = found
        return made


def real_key(key: Key) -> Key:
    """The key with kernels."""
    return key.__dict__["real"] if key.__class__ is Guarded else key


def writing(kernel: Kernel | None) -> Kernel | None:
    """A kernel as ``fn(*ins, out)``: NumPy's and CuPy's ufuncs are so by themselves, quicker than by keyword.

    So are kernels that say so as these do, by ``nout``, and built-ins of generated code, which have no dict.
    """
    if kernel is None or hasattr(kernel, "nout") or getattr(kernel, "__module__", "") == "flambeau.backends.llvm":
        return kernel
    return lambda *arrays: kernel(*arrays[:-1], out=arrays[-1])


_FIELDS = frozenset({"level", "device", "dtype", "stored", "truth", "backend", "array", "zeros", "floats", "ints",
                     "exact_floats", "exact_ints"})  # fmt: skip
_FIXED = _FIELDS | {"_guarded", *_RESULTS}


def key_for(d: Device, dtype: DType) -> Key:
    """The key of plain tensors of a device and dtype; errors when the device cannot be used."""
    key = _keys.get((d, dtype))
    if key is None:
        d = d.located
        backend = registry.resolve(d)
        held = backend.stored(dtype, d.number) if dtype in dt.ALL else _held_only(backend, dtype)
        if held is None and dtype not in dt.ALL:
            raise MissingKernelError(f"device {str(d)!r} holds no tensors of {dtype}, which is a name alone there")
        if held is None:
            raise DTypeError(f"device {str(d)!r} does not support {dtype}; use another dtype, for example float32")
        if held is not dtype and held.category == dt.FLOATING:
            warn_user(
                f"device {str(d)!r} has no {dtype.name}: such tensors are held there as {held.name}, with its "
                "precision and range"
            )
        with _lock:
            key = _keys.setdefault((d, dtype), Key(None, d, dtype, backend))
    return key


def _held_only(backend: Backend, dtype: DType) -> DType | None:
    """The same for dtypes in which nothing is computed: memory of the host has room for some of them."""
    return dtype if dtype in dt.HELD and (backend.has("shares_host") or backend.has("no_data")) else None


def forget_kernels() -> None:
    """Something registered: every key looks its kernels up anew."""
    with _lock:
        for pair, key in list(_keys.items()):
            if registry.backends.get(pair[0].type) is not key.backend:
                del _keys[pair]
            key.forget()


registry.on_change.append(forget_kernels)


def find_kernel(key: Key, op: Op) -> Kernel | None:
    """Overlays, then the backend's table, generated from the expression, and the parent tables; or None."""
    if key.level is not None:
        found: Kernel | None = key.level.kernel(op, key)
        return found
    if not op.accepts(key.dtype):
        return None
    kernel, owner = native_kernel(key, op), registry.sources.get(key.device.type, "")
    for overlay in registry.overlays.get((key.device.type, op.name), ()):
        if overlay.serves(key.stored):
            kernel, owner = overlay.make(kernel), overlay.source
    if lacks_dtypes(key):
        kernel = stored.adapted(kernel, op, key)
    return kernel if kernel is None or owner == OWN else checked(kernel, op, key, owner)


def lacks_dtypes(key: Key) -> bool:
    """Whether the key's device holds tensors of some dtype in arrays of another."""
    return any(_held(key, d) is not d for d in (dt.bool_, dt.int64, dt.float64))


def _held(key: Key, dtype: DType) -> DType:
    return key.backend.stored(dtype, key.device.number) or dtype


def native_kernel(key: Key, op: Op) -> Kernel | None:
    """The backend's own kernel for an op, overlays aside."""
    backend, dtype = key.backend, key.stored
    name = stored.name_of(op, key)
    if name is None:
        return None
    if name is not op.name:
        op = OPS[name]
    entry = backend.kernels.own(name, dtype)
    if entry is not None:
        return entry.fn
    if op.expr is not None and op.family is ELEMENTWISE:
        kinds = {"bool": _held(key, dt.bool_), "index": _held(key, dt.int64)}
        operands = tuple(kinds.get(op.kind_of(a), dtype) for a in op.schema.operands)
        result = _held(key, op.dtype.out(0, key.dtype, {}))
        kernel = backend.elementwise(op.name, expression(op, dtype), operands, result)
        if kernel is not None:
            return kernel
    if name == "empty":  # a storage call, so every backend has it
        return lambda *, shape, dtype, index: backend.empty(shape, dtype, index)
    parent = backend.kernels.parent
    found = parent.find(name, dtype) if parent is not None else None
    if found is None and op.body is None and op.infer is not None and backend.has("no_data"):
        without_data: Any = backend
        found = without_data.kernel_from_infer(op.infer, lambda i, params: op.dtype.out(i, dtype, params))
    return found


def precise(d: Device) -> DType:
    """The widest real dtype in which a device computes: float64, or float32 where it has none."""
    return dt.float64 if registry.resolve(d).supports(dt.float64, d.number) else dt.float32


_defined: set[str] = set()
_records_seen = 0


def expression(op: Op, dtype: DType | None = None) -> Any:
    """The parsed scalar expression of an op, for complex numbers where ``dtype`` is complex."""
    from flambeau.core import expr  # parsed at first need

    if len(OPS) != _records_seen:
        _define_expressions()
    return expr.parse(_expression_source(op, dtype), tuple(a.name for a in op.schema.operands))


def _define_expressions() -> None:
    """Make the expressions of new records known by name: they may call each other."""
    global _records_seen
    from flambeau.core import expr  # parsed at first need

    with _lock:
        for name, record in list(OPS.items()):
            if name not in _defined and record.expr is not None:
                expr.define(name, _expression_source(record), tuple(a.name for a in record.schema.operands))
                _defined.add(name)
        _records_seen = len(OPS)


def _expression_source(op: Op, dtype: DType | None = None) -> str:
    source = op.expr or ""
    if not source.startswith(SPECIAL):
        return source
    from flambeau.core import special  # parsed at first need

    name = source.removeprefix(SPECIAL)
    if dtype is not None and dtype.is_complex and name in special.COMPLEX:
        return special.COMPLEX[name]
    return special.EXPRESSIONS[name]


# -- the default device -----------------------------------------------------------------------------
def get_default_device() -> Device:
    """Where constructors put tensors: the innermost ``with device``, the set default, or the environment's.

    >>> fb.get_default_device()
    device(type='cpu')
    """
    global _chosen
    found = innermost() or getattr(_set, "device", None) or _chosen
    if found is None:
        found = _chosen = registry.choose_default()
    return found


_chosen: Device | None = None  # by the environment
_set = threading.local()  # by set_default_device: as in PyTorch, for the thread alone


def set_default_device(d: DeviceLike) -> None:
    """Set where this thread's constructors put tensors; None goes back to the environment's choice.

    >>> fb.set_default_device("cpu")
    >>> fb.ones(1).device
    device(type='cpu')
    """
    global _chosen
    chosen = None if d is None else located(d)
    if chosen is None:
        _chosen = None  # the environment is asked again
    else:
        registry.resolve(chosen)
    _set.device = chosen
