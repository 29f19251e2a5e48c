"""The backend contract: what a device's plugin gives, and the table that its kernels stand in.

A backend subclasses :class:`Backend`, gives it storage calls, and registers kernels in its
``kernels`` table. Kernels take and return the backend's arrays; they never see a Tensor and know
nothing of autograd. ``docs/writing-a-backend`` walks through one.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self
from weakref import WeakValueDictionary

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

if TYPE_CHECKING:
    from flambeau.backends.communicator import Communicator  # likewise
    from flambeau.backends.group import Group, Head, Operand, Step  # lazy for start-up
    from flambeau.core.expr import Expr  # likewise

API_VERSION = 1

Kernel = Callable[..., Any]  # of whatever operands and params its op has
Shape = tuple[int, ...]
Array = Any  # of the backend's own class, which nobody else looks into
HostArray = np.ndarray[Any, Any]  # of any shape and dtype

#: The kernels that a backend must have; every op decomposes to these. Frozen per API version.
MINIMUM_ELEMENTWISE = (
    "neg", "abs", "exp", "log", "sqrt", "sin", "cos", "floor",
    "add", "sub", "mul", "div", "idiv", "fmod", "pow", "maximum", "lt", "eq",
    "bitwise_and", "bitwise_or", "bitwise_xor", "shl", "shr", "where",
)  # fmt: skip
MINIMUM = (
    *MINIMUM_ELEMENTWISE,
    "sum",
    "max",
    "argmax",
    "argsort",
    "matmul",
    "gather",
    "scatter",
    "arange",
    "random_bits",
)


class Layout(NamedTuple):
    """Where an array's elements stand in its storage; strides and offset count elements, not bytes."""

    shape: Shape
    strides: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Registered:
    """One kernel in a table: the function and the dtypes it is for (None: every dtype)."""

    fn: Kernel
    dtypes: frozenset[DType] | None
    source: str  # the plugin or table that registered it, for `explain`

    def serves(self, dtype: DType) -> bool:
        return self.dtypes is None or dtype in self.dtypes


class KernelTable:
    """Kernels by op name, each with its dtypes, and a parent table to ask next.

    >>> table = KernelTable("demo")
    >>> @table.kernel("neg", dtypes=[fb.float32])
    ... def neg(x, out=None): ...
    >>> table.find("neg", fb.float32) is neg, table.find("neg", fb.int8)
    (True, None)
    """

    def __init__(self, source: str, parent: KernelTable | None = None):
        self.source = source
        self.parent = parent
        self.on_change: list[Callable[[], None]] = []
        self._entries: dict[str, list[Registered]] = {}

    def register(self, name: str, fn: Kernel, dtypes: Iterable[DType] | None = None) -> Kernel:
        """Add a kernel; for dtypes that an earlier one of this table serves too, the later one wins."""
        entry = Registered(fn, None if dtypes is None else frozenset(dtypes), self.source)
        self._entries.setdefault(name, []).insert(0, entry)
        self.changed()
        return fn

    def changed(self) -> None:
        """Tell those who keep kernels to look them up anew."""
        for notify in self.on_change:
            notify()

    def kernel(self, name: str, dtypes: Iterable[DType] | None = None) -> Callable[[Kernel], Kernel]:
        """The decorator form of :meth:`register`."""
        return lambda fn: self.register(name, fn, dtypes)

    def own(self, name: str, dtype: DType) -> Registered | None:
        return next((e for e in self._entries.get(name, ()) if e.serves(dtype)), None)

    def lookup(self, name: str, dtype: DType) -> Registered | None:
        """The entry that serves ``name`` for ``dtype``, here or in a parent."""
        table: KernelTable | None = self
        while table is not None:
            found = table.own(name, dtype)
            if found is not None:
                return found
            table = table.parent
        return None

    def find(self, name: str, dtype: DType) -> Kernel | None:
        found = self.lookup(name, dtype)
        return None if found is None else found.fn

    def names(self) -> Iterator[str]:
        yield from self._entries
        if self.parent is not None:
            yield from (n for n in self.parent.names() if n not in self._entries)


@dataclass(frozen=True)
class DeviceProperties:
    """What a device is: its name for people, and its memory in bytes (0: not known).

    ``details`` are for people too; "compute_capability" ("9.0") and "units" (how many compute at once) are looked at.
    """

    name: str
    total_memory: int = 0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Limitation:
    """What a backend cannot do, declared: the conformance kit then expects the op to fail, and only then.

    ``dtypes`` None means every dtype; ``reason`` is shown in the support matrix.
    """

    op: str
    reason: str
    dtypes: frozenset[DType] | None = None

    def covers(self, op_name: str, dtype: DType) -> bool:
        return self.op == op_name and (self.dtypes is None or dtype in self.dtypes)


@dataclass
class MemoryStats:
    """Bytes and counts of one device's allocations."""

    allocated: int = 0
    peak: int = 0
    reserved: int = 0
    limit: int | None = None
    allocations: int = 0


class BackendUnavailableError(RuntimeError):
    """A device was asked for whose backend cannot run here; the text says why and what to install."""


class OutOfMemoryError(RuntimeError):
    """A device has no room for an allocation; the device stays usable."""


class DeviceLostError(RuntimeError):
    """A device stopped answering, or belongs to the process before a fork."""


class Declined(Exception):  # no error: nobody but the dispatcher sees it
    """A kernel of a composite does not serve these operands after all; the op's body computes them."""


class OutOfRangeError(IndexError, RuntimeError):
    """An index that points outside; torch raises one or the other, by the function."""


class LinAlgError(RuntimeError, ValueError):
    """A matrix that has not what was asked for: an inverse, a Cholesky factor, converging singular values.

    >>> issubclass(fb.linalg.LinAlgError, RuntimeError)
    True
    """


class Stream(Protocol):
    """A queue of a device's work, compared by ``==``."""

    @property
    def done(self) -> bool:
        """Whether all its work is."""

    def synchronize(self) -> None:
        """Wait for it."""

    def wait_event(self, event: Event) -> None:
        """Let the work that follows wait for an event."""


class Event(Protocol):
    """A mark in a stream."""

    @property
    def done(self) -> bool:
        """Whether the work before it is."""

    def record(self, stream: Stream) -> object:
        """Set it behind the stream's work so far."""

    def synchronize(self) -> None:
        """Wait for it."""


class Backend:
    """One device type. Subclass it, set ``device_type``, ``array`` and ``kernels``, write the storage calls.

    ``index`` arguments are the device's number within the type. Shapes are tuples of ints, dtypes
    :class:`~flambeau.core.dtype.DType`; "host" arrays are numpy's.
    """

    device_type: ClassVar[str]
    api_version: ClassVar[int] = API_VERSION
    array: type  # the class of this backend's arrays
    kernels: KernelTable
    #: has_fp64, has_fp16, has_streams, can_pin, shares_host, lazy, compiler, collectives, distinct_memory, ...
    capabilities: frozenset[str] = frozenset()
    limitations: tuple[Limitation, ...] = ()
    #: What holds int64 (positions, labels, counts) on a device that :meth:`supports` no int64.
    index_dtype: DType = dt.int32
    #: The types of device that automatic choice tries before this one, though they are built in.
    yields_to: ClassVar[tuple[str, ...]] = ()
    #: The type of device by which DLPack knows the memory (2: CUDA); None where other libraries cannot share it.
    dlpack_kind: ClassVar[int | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        _alive[id(made)] = made
        return made

    # -- what is there -------------------------------------------------------------------------
    def is_available(self) -> bool:
        """Whether at least one device can be used now; must not raise."""
        return self.unavailable_reason() is None

    def unavailable_reason(self) -> str | None:
        """Why not, and what would help; None when available."""
        return None

    def device_count(self) -> int:
        return 1 if self.is_available() else 0

    def accelerators(self) -> tuple[int, ...]:
        """The device numbers that automatic choice takes before the cpu, the best first; none by default.

        For real accelerators only: not for a simulator, nor for a driver that runs on the cpu. Must be quick
        where there is none.
        """
        return ()

    def notes(self) -> list[str]:
        """What `doctor` should tell besides: devices that do not count, each with the reason and the remedy."""
        return []

    def properties(self, index: int = 0) -> DeviceProperties:
        return DeviceProperties(self.device_type)

    def processor(self, index: int = 0) -> str:
        """What tells a device from those on which the same code takes other time: what was measured holds for it."""
        found = self.properties(index)
        return " ".join([found.name, *(f"{k} {v}" for k, v in sorted(found.details.items()))])

    def supports(self, dtype: DType, index: int = 0) -> bool:
        """Whether arrays of ``dtype`` can live on the device, and kernels compute with them."""
        return True

    def stored(self, dtype: DType, index: int = 0) -> DType | None:
        """The dtype of the arrays that hold tensors of ``dtype``; None where the device can hold none.

        It is ``dtype`` where the device supports that. Else int64 is held as :attr:`index_dtype`, bool as 0 and 1 in
        the first of uint8, int32 and ``index_dtype`` that there is, and float64 as float32. Kernels and storage
        calls get arrays of these dtypes alone, and are looked up by them.
        """
        if self.supports(dtype, index):
            return dtype
        instead = {
            dt.int64: (self.index_dtype, dt.int32),
            dt.bool_: (dt.uint8, dt.int32, self.index_dtype),
            dt.float64: (dt.float32,),
        }
        return next((d for d in instead.get(dtype, ()) if self.supports(d, index)), None)

    def offers(self, dtype: DType, index: int = 0) -> bool:
        """Whether tensors of ``dtype`` lose nothing but the range of integers: not float64 held as float32."""
        held = self.stored(dtype, index)
        return held is not None and (held is dtype or held.category == dt.INTEGER)

    def has(self, capability: str) -> bool:
        return capability in self.capabilities

    def memory_stats(self, index: int = 0) -> MemoryStats:
        return MemoryStats()

    def free_memory(self, index: int = 0) -> int | None:
        """Bytes that the driver could still give to anybody; None where it does not tell."""
        return None

    def largest_array(self, index: int = 0) -> int | None:
        """Bytes that one array can have at most, where the device sets a bound below its memory; None without one."""
        return None

    def set_memory_limit(self, limit: int | None, index: int = 0) -> None:
        """Refuse allocations beyond ``limit`` bytes in all (None: no limit)."""
        raise NotImplementedError(f"{self.device_type}: this backend has no memory limit")

    def reset_peak(self, index: int = 0) -> None:
        """Count the peak of :meth:`memory_stats` anew, from what is allocated now."""
        raise NotImplementedError(f"{self.device_type}: this backend keeps no peak of its memory")

    def empty_cache(self) -> None:
        """Give pooled memory back to the driver."""

    # -- sharing memory with other libraries, of a backend with a ``dlpack_kind`` -----------------
    def to_dlpack(
        self, array: Array, *, stream: object, max_version: tuple[int, int] | None, copy: bool | None
    ) -> object:
        """A DLPack capsule of an array, which keeps its memory; the options are those of ``__dlpack__``."""
        raise BufferError(f"{self.device_type}: this backend does not share its memory by DLPack")

    def from_dlpack(self, x: object, index: int, copy: bool | None) -> Array:
        """An array over the memory of ``x``, which has ``__dlpack__``, on device ``index``; with ``copy`` a copy."""
        raise BufferError(f"{self.device_type}: this backend does not share memory by DLPack")

    # -- pinned memory, of a backend with "can_pin" --------------------------------------------
    def pinned(self, shape: Shape, dtype: DType) -> HostArray:
        """A host array in page-locked memory, its values undefined: copies from it need not wait."""
        raise NotImplementedError(f"{self.device_type}: this backend has no pinned memory")

    def is_pinned(self, host: HostArray) -> bool:
        """Whether a host array is (a view of) one that :meth:`pinned` made."""
        return False

    def send(self, host: HostArray, dtype: DType, index: int, later: bool) -> Array:
        """:meth:`from_host` that with ``later``, from pinned memory, may return before ``host`` was read.

        The memory is kept until then; changing the values before is the caller's mistake.
        """
        return self.from_host(host, dtype, index)

    # -- other processes, of a backend with "collectives" ----------------------------------------
    def lacks_collectives(self) -> str | None:
        """Why devices of several processes cannot communicate now; None where they can."""
        return None if self.has("collectives") else f"{self.device_type}: this backend has no collectives of its own"

    def communicator(self, rank: int, size: int, share: Callable[[bytes], bytes], index: int = 0) -> Communicator:
        """A communicator of ``size`` processes, of which this is ``rank``, on device ``index``; all call it together.

        ``share`` gives every process the bytes of rank 0; each calls it equally often.
        """
        raise NotImplementedError(f"{self.device_type}: this backend has no collectives of its own")

    # -- storage -------------------------------------------------------------------------------
    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> Array:
        """A new contiguous array, its values undefined."""
        raise NotImplementedError

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> Array:
        """A new array with a copy of ``host``'s values (any strides; its dtype is ``dtype.numpy``)."""
        raise NotImplementedError

    def to_host(self, array: Array) -> HostArray:
        """The values as a numpy array of the same shape; it may share memory only if ``shares_host``."""
        raise NotImplementedError

    def copy_into(self, dst: Array, src: Array) -> None:
        """Write ``src`` to ``dst`` on one device: any strides, casting, broadcasting, overlap allowed."""
        raise NotImplementedError

    def move(self, array: Array, index: int) -> Array | None:
        """A contiguous copy of ``array`` on another device of this backend; None goes through host memory."""
        return None

    def as_strided(
        self, array: Array, shape: Shape, strides: tuple[int, ...], offset: int, dtype: DType | None = None
    ) -> Array:
        """A view of the same storage; strides (any sign) and absolute offset in elements of the result's dtype."""
        raise NotImplementedError

    # -- what an array is ----------------------------------------------------------------------
    def layout(self, array: Array) -> Layout:
        raise NotImplementedError

    def dtype_of(self, array: Array) -> DType:
        raise NotImplementedError

    def index_of(self, array: Array) -> int:
        """The number of the device that holds ``array``."""
        return 0

    def storage_id(self, array: Array) -> int:
        """An integer that two arrays share exactly when they share storage."""
        raise NotImplementedError

    def storage_nbytes(self, array: Array) -> int:
        """The size of the whole storage behind ``array``, in bytes."""
        raise NotImplementedError

    def wrap(self, value: object, dtype: DType, index: int = 0) -> Array:
        """An array of this backend from a kernel's result of another class (numpy's scalars)."""
        return self.from_host(np.asarray(value, dtype.numpy), dtype, index)

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> Array:
        """The form in which elementwise kernels of this backend like a scalar operand; integers wrap around."""
        with np.errstate(all="ignore"):
            return self.from_host(np.asarray(value).astype(dtype.numpy), dtype, index)

    # -- kernels -------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        """A kernel ``fn(*ins, out=None)`` for a scalar expression (:mod:`flambeau.core.expr`), or None.

        ``dtypes`` are the operands' and ``out`` the result's. None sends the op on to its body.
        """
        return None

    def fuses(self, step: Step, operands: Sequence[Operand], shape: Shape) -> bool:
        """Whether :meth:`compile` serves groups with this step, to the bit as its kernel; False by default."""
        return False

    def fuses_rows(self, step: Step, operands: Sequence[Operand], shape: Shape) -> bool:
        """Whether :meth:`compile` serves groups with this step of a kernel of rows; False by default.

        It is a reduction, or one of the other steps that softmax or a norm is made of: their results may lie a few
        units in the last place from the kernel's. Such a group's other steps are those that it :meth:`fuses`.
        """
        return False

    def fuses_head(self, head: Head, inputs: Sequence[Operand], result: Operand) -> bool:
        """Whether :meth:`compile` serves groups that begin with a kernel, to the bit; False by default.

        ``inputs`` are those that ``head.operands`` count.
        """
        return False

    def compile(self, group: Group) -> Kernel | None:
        """One function for several kernels (:class:`~flambeau.backends.group.Group`), or None."""
        return None

    # -- time ----------------------------------------------------------------------------------
    def synchronize(self, index: int = 0) -> None:
        """Wait until everything enqueued is done; a "lazy" backend runs what it has noted first."""

    def mark_step(self, index: int = 0) -> None:
        """A step ended: run what was noted so far, without waiting for it. Called of a "lazy" backend alone.

        Optimizers call it after each step, and :func:`flambeau.accelerator.mark_step` does. What goes wrong late is
        raised in :meth:`check`.
        """

    # of a backend with "has_streams"; core.streams has the meaning of each
    def stream(self, index: int = 0, priority: int = 0) -> Stream:
        """A new stream."""
        raise NotImplementedError(f"{self.device_type}: this backend has no streams")

    def current_stream(self, index: int = 0) -> Stream:
        """The stream on which this thread's work goes."""
        raise NotImplementedError(f"{self.device_type}: this backend has no streams")

    def default_stream(self, index: int = 0) -> Stream:
        """The stream on which work goes unless a thread chose another."""
        raise NotImplementedError(f"{self.device_type}: this backend has no default stream")

    def set_stream(self, stream: Stream, index: int = 0) -> None:
        """Put this thread's work on ``stream`` from now on."""
        raise NotImplementedError(f"{self.device_type}: this backend has no streams")

    def event(self, index: int = 0, timing: bool = False) -> Event:
        """A new event."""
        raise NotImplementedError(f"{self.device_type}: this backend has no streams")

    def elapsed(self, start: Event, end: Event) -> float:
        """Milliseconds between two events that were made for it."""
        raise NotImplementedError(f"{self.device_type}: this backend has no streams")

    def check(self, index: int = 0) -> None:
        """Raise what went wrong late (a bad index, a lost device); called at each host read."""

    def set_num_threads(self, count: int) -> None:
        """Use at most ``count`` host threads; a backend without host threads ignores it."""

    def after_fork(self) -> None:
        """Called in a forked child: mark what cannot be used there."""


#: Every backend that there is, by identity.
_alive: WeakValueDictionary[int, Backend] = WeakValueDictionary()


def _after_fork() -> None:
    for backend in list(_alive.values()):
        try:
            backend.after_fork()
        except Exception:  # as Python does with such a hook; the other backends still get theirs
            traceback.print_exc()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
