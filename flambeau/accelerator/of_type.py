"""What a module named after a type of device offers: one class, whose methods such a module gives its names.

Everything is asked of the backend that owns the type, or of the one that it is an alias of. One generator serves all
devices, so the functions about random numbers are about that one.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn, Self

from flambeau.accelerator.absent import NO_SENSORS, NoSensorsError, absent
from flambeau.backends.base import Backend, MemoryStats
from flambeau.core import dtype as dt
from flambeau.core import registry, streams
from flambeau.core.accelerator import current_index, set_current_index, untaken
from flambeau.core.device import device as Device
from flambeau.core.generator import Generator, default_generator
from flambeau.core.tensor import Tensor

Where = Device | str | int | None

_STATS = ("current", "peak", "allocated", "freed")


class NoDeviceError(AssertionError, RuntimeError):
    """There is no device of the type that was asked for; the text says why."""


@dataclass(frozen=True)
class DeviceProperties:
    """What a device is. ``major`` and ``minor`` are its compute capability, 0 where it has none.

    >>> fb.cpu.is_available()
    True
    """

    name: str
    total_memory: int
    major: int = 0
    minor: int = 0
    multi_processor_count: int = 0
    details: dict[str, Any] = field(default_factory=dict, repr=False)


class DeviceModule:
    """The functions about the devices of one type.

    Without such a device what counts is 0, and what there is to give back or to seed is nothing; where a device is
    ``needed`` that is NoDeviceError.
    """

    def __init__(self, kind: str, needed: bool = False):
        self.kind, self.needed = kind, needed

    # -- which devices there are -------------------------------------------------------------------
    def backend(self) -> Backend:
        """The backend that serves the type; NoDeviceError says why there is none."""
        try:
            found = registry.get_backend(self.type)
            reason = found.unavailable_reason()
        except Exception as error:
            raise NoDeviceError(f"flambeau.{self.kind}: {error}") from error
        if reason is None and found.device_count() < 1:
            reason = "it has no devices"
        if reason is not None:
            raise NoDeviceError(f"flambeau.{self.kind}: there is no device of type {self.type!r}: {reason}")
        return found

    @property
    def type(self) -> str:
        """The type of device that the name stands for."""
        return Device(self.kind).type

    def is_available(self) -> bool:
        """Whether a device of this type can be used."""
        try:
            self.backend()
        except NoDeviceError:
            return False
        return True

    def _there(self) -> bool:
        if self.needed:
            self.backend()
        return self.is_available()

    def device_count(self) -> int:
        """How many there are."""
        return self.backend().device_count() if self.is_available() else 0

    def is_initialized(self) -> bool:
        """Whether its driver is ready; it is made so at first use, and this says whether it can be."""
        return self.is_available()

    def init(self) -> None:
        """Make the driver ready; NoDeviceError without one."""
        self.backend()

    def at(self, where: Where = None) -> Device:
        """The device that is meant: the current one, one by its index, or by its name."""
        if where is None:
            index: int | None = None
        elif isinstance(where, int):
            index = where
        else:
            given = Device(where)
            if given.type != self.type:
                raise ValueError(f"flambeau.{self.kind}: expected a device of type {self.kind!r}, got {str(given)!r}")
            index = given.index
        backend = self.backend()
        number = current_index(self.type) if index is None or index < 0 else index
        if number >= backend.device_count():
            raise NoDeviceError(f"flambeau.{self.kind}: invalid device {number}; there are {backend.device_count()}")
        return Device(self.type, number)

    def current_device(self) -> int:
        """The index of this thread's current device."""
        return self.at().number

    def set_device(self, device: Where) -> None:
        """Make a device the current one; a negative index is ignored."""
        if device is None:
            raise ValueError(f"flambeau.{self.kind}.set_device: expected a device or its index, got None")
        if isinstance(device, int) and device < 0:
            return
        set_current_index(self.type, self.at(device).number)

    # -- what a device is ---------------------------------------------------------------------------
    def get_device_properties(self, device: Where = None) -> DeviceProperties:
        """Its name, memory and the like."""
        d = self.at(device)
        found = self.backend().properties(d.number)
        major, _, minor = str(found.details.get("compute_capability", "0.0")).partition(".")
        units = int(found.details.get("units", 0))
        return DeviceProperties(found.name, found.total_memory, int(major), int(minor or 0), units, dict(found.details))

    def get_device_name(self, device: Where = None) -> str:
        """Its name."""
        return self.get_device_properties(device).name

    def get_device_capability(self, device: Where = None) -> tuple[int, int]:
        """Its compute capability, (major, minor)."""
        found = self.get_device_properties(device)
        return found.major, found.minor

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        """Whether tensors there can be bfloat16."""
        return self.is_available() and self.backend().offers(dt.bfloat16, self.current_device())

    def is_tf32_supported(self) -> bool:
        """Whether products may be rounded to TensorFloat-32; they never are."""
        return False

    def can_device_access_peer(self, device: Where, peer_device: Where) -> bool:
        """Whether one device reads another's memory; copies go through the host or the driver."""
        self.at(device), self.at(peer_device)
        return False

    def get_arch_list(self) -> list[str]:
        """For which architectures kernels were compiled beforehand: none, they are compiled for the device at hand."""
        return []

    def get_gencode_flags(self) -> str:
        """With which flags that was."""
        return ""

    # -- streams --------------------------------------------------------------------------------------
    def synchronize(self, device: Where = None) -> None:
        """Wait until everything on a device is done."""
        d = self.at(device)
        backend = self.backend()
        backend.synchronize(d.number)
        backend.check(d.number)

    def current_stream(self, device: Where = None) -> streams.Stream:
        """The stream on which this thread's work goes."""
        return streams.current_stream(self.at(device))

    def default_stream(self, device: Where = None) -> streams.Stream:
        """The stream on which work goes unless somebody chose another."""
        return streams.default_stream(self.at(device))

    def stream(self, stream: streams.Stream | None) -> StreamContext:
        """The thread's work on a stream inside a block; None changes nothing."""
        return StreamContext(stream)

    def set_stream(self, stream: streams.Stream | None) -> None:
        """Put this thread's work on a stream; None changes nothing."""
        if stream is not None:
            streams.set_stream(stream)

    def is_current_stream_capturing(self) -> bool:
        """Whether work is written down rather than done; it never is."""
        return False

    # -- memory -----------------------------------------------------------------------------------------
    def stats(self, device: Where = None) -> MemoryStats | None:
        """What the backend counts; None without a device."""
        if not self._there():
            return None
        return self.backend().memory_stats(self.at(device).number)

    def memory_stats(self, device: Where = None) -> OrderedDict[str, Any]:
        """Bytes and counts under PyTorch's names, as far as they are counted; empty without a device."""
        found = self.stats(device)
        if found is None:
            return OrderedDict()
        values = {
            "active_bytes.all.current": found.allocated,
            "active_bytes.all.peak": found.peak,
            "allocated_bytes.all.current": found.allocated,
            "allocated_bytes.all.peak": found.peak,
            "allocation.all.current": found.allocations,
            "num_alloc_retries": 0,
            "num_ooms": 0,
            "reserved_bytes.all.current": found.reserved,
            "reserved_bytes.all.peak": max(found.reserved, found.peak),
        }
        return OrderedDict(sorted(values.items()))

    def memory_stats_as_nested_dict(self, device: Where = None) -> dict[str, Any]:
        """The same, a dict in a dict for each point in a name."""
        made: dict[str, Any] = {}
        for name, value in self.memory_stats(device).items():
            *path, last = name.split(".")
            inner = made
            for part in path:
                inner = inner.setdefault(part, {})
            inner[last] = value
        return made

    def memory_allocated(self, device: Where = None) -> int:
        """Bytes in live tensors."""
        found = self.stats(device)
        return 0 if found is None else found.allocated

    def max_memory_allocated(self, device: Where = None) -> int:
        """The most that they were."""
        found = self.stats(device)
        return 0 if found is None else found.peak

    def memory_reserved(self, device: Where = None) -> int:
        """Bytes that the pool holds."""
        found = self.stats(device)
        return 0 if found is None else found.reserved

    def max_memory_reserved(self, device: Where = None) -> int:
        """The most that it is known to have held."""
        found = self.stats(device)
        return 0 if found is None else max(found.reserved, found.peak)

    def mem_get_info(self, device: Where = None) -> tuple[int, int]:
        """Bytes that nobody is known to have taken, and all that there are."""
        d = self.at(device)
        total = self.get_device_properties(d).total_memory
        return untaken(d, total), total

    def device_memory_used(self, device: Where = None) -> int:
        """Bytes of the device that are taken, as far as it is known."""
        free, total = self.mem_get_info(device)
        return total - free

    def memory_summary(self, device: Where = None, abbreviated: bool = False) -> str:
        """The statistics as text, a line for each."""
        found = self.memory_stats(device)
        width = max(map(len, found), default=0)
        return "\n".join(f"{name:{width}}  {value:>16,}" for name, value in found.items())

    def memory_snapshot(self, mempool_id: object = None, include_traces: bool = True) -> list[Any]:
        """The pool's blocks; none are told."""
        return []

    def empty_cache(self) -> None:
        """Give the pool's unused memory back."""
        if self._there():
            self.backend().empty_cache()

    def reset_peak_memory_stats(self, device: Where = None) -> None:
        """Count the most anew, from now."""
        d = self.at(device)
        self.backend().reset_peak(d.number)

    def reset_accumulated_memory_stats(self, device: Where = None) -> None:
        """Sums over time are not kept; the device is looked up all the same."""
        self.at(device)

    def set_per_process_memory_fraction(self, fraction: float, device: Where = None) -> None:
        """Refuse allocations beyond a share of the device's memory, 0 to 1."""
        self.limit_memory(fraction, 1, device)

    def limit_memory(self, fraction: float, most: int, device: Where = None) -> None:
        """Refuse allocations beyond a share of the device's memory, 0 to ``most``."""
        d = self.at(device)
        if not isinstance(fraction, float):
            raise TypeError(f"set_per_process_memory_fraction: fraction must be a float, got {fraction!r}")
        if not 0 <= fraction <= most:
            raise ValueError(f"set_per_process_memory_fraction: fraction must be in [0, {most}], got {fraction}")
        total = self.get_device_properties(d).total_memory
        self.backend().set_memory_limit(int(total * fraction) if total else None, d.number)

    def get_per_process_memory_fraction(self, device: Where = None) -> float:
        """That share; 1 where there is no limit."""
        d = self.at(device)
        limit, total = self.backend().memory_stats(d.number).limit, self.get_device_properties(d).total_memory
        return 1.0 if limit is None or not total else limit / total

    # -- random numbers -----------------------------------------------------------------------------------
    @property
    def default_generators(self) -> tuple[Generator, ...]:
        """The generator, once for each device."""
        return (default_generator,) * self.device_count()

    def manual_seed(self, seed: int) -> None:
        """Start the generator's stream of a seed, if there is a device."""
        number = int(seed)
        if self.is_available():
            default_generator.manual_seed(number)

    manual_seed_all = manual_seed

    def seed(self) -> None:
        """Start the stream of a random seed."""
        if self._there():
            default_generator.manual_seed(random.SystemRandom().getrandbits(63))

    seed_all = seed

    def initial_seed(self) -> int:
        """The seed of the present stream."""
        self.backend()
        return default_generator.initial_seed()

    def get_rng_state(self, device: Where = None) -> Tensor:
        """The generator's state."""
        self.at(device)
        return default_generator.get_state()

    def set_rng_state(self, new_state: Tensor, device: Where = None) -> None:
        """Go on from a state."""
        self.at(device)
        default_generator.set_state(new_state)

    def get_rng_state_all(self) -> list[Tensor]:
        """The state, once for each device."""
        return [default_generator.get_state() for _ in range(self.device_count())]

    def set_rng_state_all(self, new_states: Iterable[Tensor]) -> None:
        """Go on from the first of the states, which belong to one generator, if there is a device."""
        for state in list(new_states)[:1] if self.is_available() else ():
            default_generator.set_state(state)

    # -- what is not there, and what is looked at late ------------------------------------------------------
    def absent(self, name: str, why: str) -> Callable[..., NoReturn]:
        """A function of the module that cannot do anything: NoDeviceError without a device, else ``why``."""
        return absent(f"flambeau.{self.kind}.{name}", why, first=self.init)

    def sensor(self, name: str) -> Callable[..., NoReturn]:
        """A function of the module that would read a sensor."""
        return absent(f"flambeau.{self.kind}.{name}", NO_SENSORS, NoSensorsError)

    def late(self, module: str) -> Callable[[str], Any]:
        """The module's ``__getattr__``: the generators are as many as there are devices, which is only then seen."""

        def look_up(name: str) -> Any:
            if name == "default_generators":
                return self.default_generators
            raise AttributeError(f"module {module!r} has no attribute {name!r}")

        return look_up


# -- blocks ---------------------------------------------------------------------------------------------------
class current_device_of:
    """Another current device of a type inside a block; None and negative indices change nothing."""

    of: DeviceModule

    def __init__(self, device: Where):
        self.idx: int | None = device if isinstance(device, int | None) else self.of.at(device).number
        self.prev_idx: int | None = None

    def __enter__(self) -> Self:
        if self.idx is not None and self.idx >= 0:
            self.prev_idx = self.of.current_device()
            self.of.set_device(self.idx)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.prev_idx is not None:
            self.of.set_device(self.prev_idx)


class current_device_of_tensor(current_device_of):
    """The device of a tensor as the current one inside a block; one of another type changes nothing."""

    def __init__(self, obj: Any):  # Any: a tensor or storage
        where = obj.device
        super().__init__(where.number if where.type == self.of.type and not getattr(obj, "is_cpu", False) else -1)


class StreamContext:
    """The thread's work on a stream inside a block; None changes nothing."""

    def __init__(self, stream: streams.Stream | None):
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.stream.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stream is not None:
            self.stream.__exit__(kind, error, trace)


def stream_class(of: DeviceModule, module: str) -> type[streams.Stream]:
    """The class of streams of one type of device."""

    class Stream(streams.Stream):
        __slots__ = ()

        def __init__(self, device: Where = None, priority: int = 0, **others: Any):
            super().__init__(of.at(device), priority)

    Stream.__doc__ = f"A queue of work on a device of type {of.kind}; as a context manager the current one inside."
    Stream.__module__, Stream.__qualname__ = module, "Stream"
    return Stream


def event_class(of: DeviceModule, module: str) -> type[streams.Event]:
    """The class of events of one type of device."""

    class Event(streams.Event):
        __slots__ = ()

        def __init__(
            self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False,
            external: bool = False, device: Where = None,
        ):  # fmt: skip
            if interprocess:
                raise RuntimeError(f"flambeau.{of.kind}.Event: events stay in their process")
            super().__init__(of.at(device), enable_timing=enable_timing)

        @classmethod
        def from_ipc_handle(cls, device: Where, handle: bytes) -> Self:
            """RuntimeError: events stay in their process."""
            raise RuntimeError(f"flambeau.{of.kind}.Event.from_ipc_handle: events stay in their process")

        def ipc_handle(self) -> bytes:
            """RuntimeError: events stay in their process."""
            raise RuntimeError(f"flambeau.{of.kind}.Event.ipc_handle: events stay in their process")

    Event.__doc__ = f"A point in the work of a stream of type {of.kind}, to wait for or to measure time by."
    Event.__module__, Event.__qualname__ = module, "Event"
    return Event
