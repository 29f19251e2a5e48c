"""Collectives of arrays in a device's memory, by the communicator that its backend offers: NCCL on CUDA.

A call is enqueued on a stream of the engine's own, behind the work that the program had enqueued when it made the
call, and is over when an event behind it is. What a communicator does not have (parts of several sizes, gather,
scatter, all to all) is made of its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from flambeau.backends.base import Backend, BackendUnavailableError, Event
from flambeau.backends.communicator import Communicator, Fold
from flambeau.core import registry
from flambeau.core.device import device as Device
from flambeau.core.dispatch import tensor_of
from flambeau.core.keys import key_for
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed import reductions
from flambeau.distributed.mpi import ANY, MpiEngine
from flambeau.distributed.reductions import PremulSum, ReduceOp, Reduction
from flambeau.distributed.staging import OnDevice

Array: TypeAlias = Any  # of the backend
_FOLDS: Final[dict[ReduceOp, Fold]] = {
    ReduceOp.SUM: "sum", ReduceOp.PRODUCT: "prod", ReduceOp.MIN: "min", ReduceOp.MAX: "max",
}  # fmt: skip


class Marked:
    """Work on a device, over when an event is."""

    def __init__(self, event: Event, check: Callable[[], None]):
        self._event, self._check = event, check

    def Test(self) -> bool:
        if not self._event.done:
            return False
        self._check()
        return True


class DeviceEngine:
    """The collectives of one device in each process of a group."""

    name = "nccl"
    staging = OnDevice

    def __init__(self, device: Device, host: MpiEngine):
        self.device, self.rank, self.size = device, host.rank, host.size
        self._backend: Backend = registry.resolve(device)
        why = self._backend.lacks_collectives()
        if why is not None:
            raise BackendUnavailableError(why)
        self._with_streams = self._backend.has("has_streams")
        self._stream = self._backend.stream(device.number) if self._with_streams else None
        self._ready: Event | None = None
        self._comm: Communicator = self._backend.communicator(host.rank, host.size, host.share, device.number)

    # -- when -----------------------------------------------------------------------------------
    def mark(self) -> None:
        """The calls from now on come behind what this thread has enqueued."""
        if self._with_streams:
            ready = self._backend.event(self.device.number)
            ready.record(self._backend.current_stream(self.device.number))
            self._ready = ready

    @contextmanager
    def enqueueing(self) -> Iterator[list[Marked]]:
        """What is enqueued inside goes on the engine's stream; the list then has a request of its end."""
        backend, number, marks = self._backend, self.device.number, list[Marked]()
        if self._stream is None:
            yield marks
            backend.synchronize(number)
            return
        before = backend.current_stream(number)
        if self._ready is not None:
            self._stream.wait_event(self._ready)
        backend.set_stream(self._stream, number)
        try:
            with no_grad():
                yield marks
            over = backend.event(number)
            over.record(self._stream)
            marks.append(Marked(over, lambda: backend.check(number)))
        finally:
            backend.set_stream(before, number)

    # -- reductions -----------------------------------------------------------------------------
    def _fold(self, op: Reduction, array: Array) -> Fold:
        base, dtype = reductions.base(op), self._backend.dtype_of(array)
        fold = _FOLDS.get(base)
        if fold is None or not self._comm.folds(fold, dtype):
            raise ValueError(
                f"{reductions.name_of(op)} of {dtype.name} is no op of {self.device.type}'s collectives; a group with "
                "backend 'mpi' has it"
            )
        return fold

    def _tensor(self, array: Array) -> Tensor:
        return tensor_of(array, key_for(self.device, self._backend.dtype_of(array)))

    def _before(self, op: Reduction, array: Array) -> None:
        if isinstance(op, PremulSum):
            self._tensor(array).mul_(op.factor)

    def _after(self, op: Reduction, array: Array) -> None:
        if op is ReduceOp.AVG:
            found = self._tensor(array)
            whole = not (found.is_floating_point() or found.is_complex())
            found.div_(self.size, rounding_mode="trunc" if whole else None)

    def all_reduce(self, _: None, array: Array, op: Reduction) -> None:
        fold = self._fold(op, array)
        self._before(op, array)
        self._comm.all_reduce(array, fold)
        self._after(op, array)

    def reduce(self, given: Array | None, out: Array | None, op: Reduction, root: int) -> None:
        array = self._copy(given) if out is None else out
        fold = self._fold(op, array)
        self._before(op, array)
        self._comm.reduce(array, fold, root)
        if out is not None:
            self._after(op, out)

    def reduce_scatter(self, array: Array, out: Array, counts: Sequence[int], op: Reduction) -> None:
        fold = self._fold(op, out)
        if isinstance(op, PremulSum):
            array = self._copy(array)
            self._before(op, array)
        if len(set(counts)) == 1:
            self._comm.reduce_scatter(array, out, fold)
        else:
            whole = self._copy(array)
            self._comm.all_reduce(whole, fold)
            start = sum(counts[: self.rank])
            self._backend.copy_into(self._part(out, 0, counts[self.rank]), self._part(whole, start, counts[self.rank]))
        self._after(op, out)

    # -- what travels ---------------------------------------------------------------------------
    def _copy(self, array: Array) -> Array:
        made = self._backend.empty(tuple(array.shape), self._backend.dtype_of(array), self.device.number)
        self._backend.copy_into(made, array)
        return made

    def _part(self, flat: Array, start: int, count: int) -> Array:
        offset = self._backend.layout(flat).offset
        return self._backend.as_strided(flat, (count,), (1,), offset + start)

    def _parts(self, array: Array | None, counts: Sequence[int]) -> list[Array]:
        starts = [sum(counts[:i]) for i in range(len(counts))]
        return [] if array is None else [self._part(array, s, n) for s, n in zip(starts, counts, strict=True)]

    def broadcast(self, given: Array | None, out: Array | None, root: int) -> None:
        self._comm.broadcast(out if given is None else given, root)

    def all_gather(self, array: Array, out: Array, counts: Sequence[int]) -> None:
        if len(set(counts)) == 1:
            self._comm.all_gather(array, out)
        else:
            self.all_to_all(array, out, counts, None)

    def gather(self, array: Array, out: Array | None, counts: Sequence[int], root: int) -> None:
        parts = self._parts(out, counts)
        self._messages([(root, array)], [(i, part) for i, part in enumerate(parts)])

    def scatter(self, array: Array | None, out: Array, counts: Sequence[int], root: int) -> None:
        parts = self._parts(array, counts)
        self._messages([(i, part) for i, part in enumerate(parts)], [(root, out)])

    def all_to_all(self, array: Array, out: Array, into: Sequence[int], given: Sequence[int] | None) -> None:
        """Without ``given`` every rank gets all of ``array``."""
        parts = [array] * self.size if given is None else self._parts(array, given)
        self._messages(list(enumerate(parts)), list(enumerate(self._parts(out, into))))

    def _messages(self, given: list[tuple[int, Array]], taken: list[tuple[int, Array]]) -> None:
        """Messages to and from others; those to this rank itself are copies."""
        own = [part for to, part in given if to == self.rank]
        for mine, (_, part) in zip(own, [t for t in taken if t[0] == self.rank], strict=True):
            self._backend.copy_into(self._part(part, 0, _size(part)), self._part(mine, 0, _size(mine)))
        with self._comm.together():
            for to, part in given:
                if to != self.rank and _size(part):
                    self._comm.send(part, to)
            for source, part in taken:
                if source != self.rank and _size(part):
                    self._comm.recv(part, source)

    def send(self, array: Array, _: None, to: int, tag: int) -> None:
        self._comm.send(array, to)

    def recv(self, _: None, array: Array, source: int, tag: int, came: list[int]) -> None:
        if source == ANY:
            raise ValueError(f"recv: {self.device.type}'s collectives receive from a given rank; give src")
        self._comm.recv(array, source)
        came.append(source)

    # -- its end --------------------------------------------------------------------------------
    def close(self) -> None:
        """Give the communicator back."""
        self._comm.close()

    def abort(self) -> None:
        """Give up what is under way."""
        self._comm.abort()


def _size(array: Array) -> int:
    count = 1
    for n in array.shape:
        count *= n
    return count
