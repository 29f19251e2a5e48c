"""The worker process of a DataLoader, and how batches travel from it.

A worker reads tasks from one pipe and answers through another, each in order. Tensors travel as the bytes
of numpy arrays, never as objects of a device, in memory that both processes share where there is some; what
goes through the pipe itself a thread sends, so that the next batch is fetched meanwhile.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import multiprocessing
import os
import pickle
import queue
import random as python_random
import select
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import numpy as np

from flambeau.core.dtype import DType
from flambeau.core.exchange import host_device
from flambeau.core.generator import manual_seed
from flambeau.core.keys import set_default_device
from flambeau.core.random import random_words
from flambeau.core.tensor import Tensor
from flambeau.core.threads import set_num_threads
from flambeau.utils.data import shared
from flambeau.utils.data.fetch import Exhausted, Recipe
from flambeau.utils.host import HostArray, host_array, tensor_from_host


@dataclass(frozen=True)
class WorkerInfo:
    """What :func:`get_worker_info` tells: this worker's number, how many there are, its seed and dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a DataLoader's worker process, what it is; elsewhere None.

    An IterableDataset takes its part by it: ``for i in range(info.id, n, info.num_workers)``.

    >>> fb.utils.data.get_worker_info() is None
    True
    """
    return _info


# -- messages ----------------------------------------------------------------------------------------


class Epoch(NamedTuple):
    """To a worker: an epoch begins; answers carry its number."""

    number: int
    seed: int


class Job(NamedTuple):
    """What a worker is started with; ``init`` is called in it once."""

    worker: int
    num_workers: int
    recipe: Recipe
    init: Callable[[int], None] | None


class Task(NamedTuple):
    """To a worker: fetch this batch, into the block of this offer."""

    batch: int
    what: Any
    offer: shared.Offer


class Failure(NamedTuple):
    """From a worker: why there is no batch."""

    error: BaseException | None  # None when it cannot travel
    summary: str
    traceback: str


class Answer(NamedTuple):
    """From a worker: a batch, a Failure, or the class Exhausted when its iterable dataset has no more."""

    epoch: int
    batch: int
    content: Any


class Head(NamedTuple):
    """What goes before an answer in the pipe: what follows it, and where its arrays are."""

    epoch: int
    batch: int
    block: int
    places: list[shared.Place] | None  # in the block; None where the arrays follow in the pipe
    sizes: list[int]  # of those
    size: int  # of the block if its descriptor follows, else 0


class Message(NamedTuple):
    """An answer as it came through the pipe."""

    epoch: int
    batch: int
    pickled: bytes
    buffers: Sequence[bytearray | HostArray]


class _Pickler(pickle.Pickler):
    """Sends the memory of arrays and tensors beside the pickle."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor) and not obj.requires_grad:
            host = host_array(obj)
            return _unpack_tensor, (np.ascontiguousarray(host).reshape(-1).view(np.uint8), obj.dtype, tuple(obj.shape))
        return NotImplemented


def _unpack_tensor(raw: HostArray, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    return tensor_from_host(raw.view(dtype.numpy).reshape(shape), "cpu")


_SHORT = 1 << 13  # bytes; a socket that can be written to takes more than that at once


class Packed(NamedTuple):
    """An answer ready to be sent, which holds none of the batch's own arrays that are in a block."""

    head: Head
    pickled: memoryview
    raws: list[memoryview]

    @property
    def is_short(self) -> bool:
        return not self.raws and self.pickled.nbytes + 64 * len(self.head.places or ()) < _SHORT


def pack(answer: Answer, room: shared.Room) -> Packed:
    """The pickle of an answer, with its arrays' bytes in a block, or to go through the pipe without another copy."""
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(answer.content)
    raws = [b.raw() for b in buffers]
    places = room.places([np.frombuffer(raw, np.uint8) for raw in raws])
    raws = [] if places is not None else [raw for raw in raws if raw.nbytes]
    sizes = [] if places is not None else [b.raw().nbytes for b in buffers]
    size = 0 if room.descriptor is None else room.size
    head = Head(answer.epoch, answer.batch, room.number, places, sizes, size)
    return Packed(head, stream.getbuffer(), raws)


def send(connection: Connection, packed: Packed, room: shared.Room) -> None:
    """Write an answer to a pipe."""
    connection.send_bytes(pickle.dumps(packed.head))
    if room.descriptor is not None:
        reduction.send_handle(connection, room.descriptor, None)
        room.sent()
    connection.send_bytes(packed.pickled)
    for raw in packed.raws:
        connection.send_bytes(raw)


def receive(connection: Connection, leases: shared.Leases) -> Message:
    """Read what :func:`send` wrote; the arrays own their memory, or lease it."""
    head: Head = pickle.loads(connection.recv_bytes())
    if head.size:
        leases.made(head.block, _mapped(connection, head.size))
    if head.places is not None:
        arrays = leases.buffers(head.block, head.places)
        return Message(head.epoch, head.batch, connection.recv_bytes(), arrays)
    leases.unused(head.block)
    data = connection.recv_bytes()
    buffers = [bytearray(size) for size in head.sizes]
    for buffer in buffers:
        if buffer:
            connection.recv_bytes_into(buffer)
    return Message(head.epoch, head.batch, data, buffers)


def _mapped(connection: Connection, size: int) -> mmap.mmap:
    """The memory whose descriptor comes next through the pipe."""
    try:
        descriptor = reduction.recv_handle(connection)
        try:
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    except ConnectionError:
        raise
    except (RuntimeError, OSError) as error:
        raise RuntimeError(
            f"DataLoader: a worker's batch cannot be mapped ({error}): are too many files open, or is memory short?"
        ) from error


def answer(message: Message) -> Answer:
    """What a message says; a Failure where this process cannot make an object of it."""
    try:
        content = pickle.loads(message.pickled, buffers=message.buffers)
    except Exception as error:
        content = _failure(error)
    return Answer(message.epoch, message.batch, content)


# -- the process -------------------------------------------------------------------------------------


class _Outbox:
    """Sends answers in order: itself what is short, for a thread takes its time to wake up; by a thread what is not."""

    def __init__(self, answers: Connection):
        self._answers = answers
        self._queue: queue.SimpleQueue[tuple[Packed, shared.Room] | None] = queue.SimpleQueue()
        self._queued = self._sent = 0
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def put(self, answer: Answer, room: shared.Room) -> None:
        try:
            packed = pack(answer, room)
        except Exception as error:  # the batch cannot be pickled
            packed = pack(answer._replace(content=_failure(error)), room)
        if self._queued == self._sent and packed.is_short and _has_room(self._answers):
            send(self._answers, packed, room)
        else:
            self._queued += 1
            self._queue.put((packed, room))

    def close(self) -> None:
        """Wait until all is sent."""
        self._queue.put(None)
        self._thread.join()

    def _send_all(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                send(self._answers, *item)
            except OSError:  # the loader hung up
                return
            del item  # or its memory looked as if something here still read it
            self._sent += 1


def _has_room(connection: Connection) -> bool:
    """Whether a short message goes into the pipe at once. Without an answer to this both processes could wait."""
    if not shared.AVAILABLE:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLOUT)
    return bool(poll.poll(0))


def run(tasks: Connection, answers: Connection, job: Job) -> None:
    """The main function of a worker; returns when the loader hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loader's process handles Ctrl-C and hangs up
    threading.Thread(target=_end_with_the_loader, daemon=True).start()
    outbox = _Outbox(answers)
    with contextlib.suppress(EOFError, OSError):
        _serve(tasks, outbox, job)
    outbox.close()


def _end_with_the_loader() -> None:
    """End this process when the loader's is gone, whatever the dataset does at that time."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    signs: list[Any] = [parent.sentinel]  # the end of a pipe, which a child of the loader's may have inherited
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            signs.append(os.pidfd_open(parent.pid))  # type: ignore[arg-type]
    with contextlib.suppress(OSError):  # the dataset may have closed what is not its own
        wait(signs)
        os._exit(1)


def _serve(tasks: Connection, outbox: _Outbox, job: Job) -> None:
    epoch = Epoch(-1, 0)
    fetch: Callable[[Any], Any] | None = None
    problem: Failure | None = None
    blocks = shared.Blocks()
    while True:
        message = tasks.recv()
        if isinstance(message, Epoch):
            fetch, problem, epoch = None, None, message
            try:
                _prepare(job, epoch.seed)
                job = job._replace(init=None)
                fetch = job.recipe.fetcher()
            except Exception as error:
                problem = _failure(error)
        else:
            room = blocks.room(message.offer)
            shared.use(room)
            outbox.put(Answer(epoch.number, message.batch, _fetch(problem or fetch, epoch, message)), room)
            del room


def _fetch(fetch: Callable[[Any], Any] | Failure | None, epoch: Epoch, task: Task) -> Any:
    if fetch is None or isinstance(fetch, Failure):
        return fetch
    seed_everything(batch_seed(epoch.seed, task.batch))
    try:
        return fetch(task.what)
    except Exhausted:
        return Exhausted
    except Exception as error:
        return _failure(error)


def _prepare(job: Job, base_seed: int) -> None:
    """Set this process up for an epoch."""
    global _info
    seed = (base_seed + job.worker) % 2**64
    if _info is None:
        set_num_threads(1)
        set_default_device(host_device())
    _info = WorkerInfo(job.worker, job.num_workers, seed, job.recipe.dataset)
    seed_everything(seed)
    if job.init is not None:
        job.init(job.worker)


def batch_seed(base_seed: int, batch: int) -> int:
    """The seed of one batch, whichever worker fetches it."""
    low, high = random_words(base_seed, batch, 2)
    return low | high << 32


def seed_everything(seed: int) -> None:
    """Seed flambeau's default generator, Python's and numpy's."""
    manual_seed(seed)
    python_random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


def _failure(error: Exception) -> Failure:
    text = "".join(traceback.format_exception(error))
    summary = f"{type(error).__name__}: {error}"
    error.__traceback__ = error.__cause__ = error.__context__ = None  # are in the text
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception class that cannot be made again from its arguments
        return Failure(None, summary, text)
    return Failure(error, summary, text)


def describe_exit(code: int | None) -> str:
    """Why a worker process ended, in words."""
    if code is None:
        return "closed its pipe"
    if code >= 0:
        return (
            f"exited with code {code} (its own message, if any, is above). Does the main module start the loader "
            "at import? Workers import it anew: put what it runs under `if __name__ == '__main__':`"
        )
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"was killed by {name}" + (": is there enough memory?" if name == "SIGKILL" else "")
    return f"was killed by signal {-code}"


def process_name(worker: int) -> str:
    return f"flambeau-data-{os.getpid()}-{worker}"
