"""Collectives of arrays in host memory, by MPI.

Each method is a generator of requests (:mod:`flambeau.distributed.work`). Arrays are contiguous. What only travels
goes as bytes; values that are reduced go as MPI's own types where there are some, and numbers of 16 bits by an
exchange of parts, each of which one rank reduces.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from flambeau.distributed import reductions
from flambeau.distributed.errors import DistBackendError
from flambeau.distributed.reductions import ReduceOp, Reduction
from flambeau.distributed.staging import Host
from flambeau.distributed.work import Steps, pause

HostArray: TypeAlias = np.ndarray[Any, Any]

ANY: Final = -1  # any rank
_TAGS: Final = 32768  # that every MPI has
_FEW: Final = 4096  # numbers of 16 bits that every rank reduces for itself
_MISSING = (
    "flambeau.distributed needs mpi4py and an MPI library: pip install 'flambeau[distributed]' "
    "(mpi4py and the mpich wheel)"
)


def require() -> None:
    """Prepare mpi4py, whose module MPI initialises MPI at its import; ImportError names the extra that has it."""
    try:
        import mpi4py  # lazy: an extra
    except ImportError as error:
        raise ImportError(_MISSING) from error
    mpi4py.rc.thread_level = "multiple"


def load() -> Any:  # the module MPI of mpi4py, which has no types of its own here
    """The module ``mpi4py.MPI``, initialised for threads; ImportError names the extra that has it."""
    require()
    try:
        from mpi4py import MPI  # lazy: the import starts MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(f"{_MISSING}; mpi4py found none: {error}") from error
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise RuntimeError(
            "flambeau.distributed: MPI was initialised without MPI_THREAD_MULTIPLE; import flambeau.distributed before "
            "mpi4py.MPI, or set mpi4py.rc.thread_level = 'multiple'"
        )
    return MPI


def raw(array: HostArray) -> HostArray:
    """The bytes of a contiguous array."""
    return array.reshape(-1).view(np.uint8)


class MpiEngine:
    """The collectives of one communicator."""

    name = "mpi"
    staging = Host

    def __init__(self, comm: Any):  # Any: mpi4py's
        self._mpi = load()
        self.comm = comm
        self.rank: int = comm.rank
        self.size: int = comm.size
        mpi = self._mpi
        self._ops = {
            ReduceOp.SUM: mpi.SUM, ReduceOp.PRODUCT: mpi.PROD, ReduceOp.MIN: mpi.MIN, ReduceOp.MAX: mpi.MAX,
            ReduceOp.BAND: mpi.BAND, ReduceOp.BOR: mpi.BOR, ReduceOp.BXOR: mpi.BXOR,
        }  # fmt: skip
        self._nothing = np.empty(0, np.uint8)
        self._truth = {ReduceOp.BAND: mpi.LAND, ReduceOp.BOR: mpi.LOR, ReduceOp.BXOR: mpi.LXOR}

    def _op(self, op: ReduceOp, array: HostArray) -> Any:
        return self._truth[reductions.TRUTH[op]] if array.dtype.kind == "b" else self._ops[op]

    def split(self, ranks: Sequence[int], name: str) -> MpiEngine:
        """The engine of some of the ranks, all of which call this; ``name`` tells calls at one time apart."""
        tag = zlib.crc32(name.encode()) % _TAGS
        whole, part = self.comm.Get_group(), None
        try:
            part = whole.Incl(list(ranks))
            return MpiEngine(self.comm.Create_group(part, tag))
        finally:
            whole.Free()
            if part is not None:
                part.Free()

    def close(self) -> None:
        """Give the communicator back."""
        if not self._mpi.Is_finalized():
            self.comm.Free()

    def abort(self) -> None:
        """End the job, on every rank."""
        self.comm.Abort(1)

    # -- reductions: methods get what is given and what is filled ---------------------------------
    def all_reduce(self, _: None, array: HostArray, op: Reduction) -> Steps:
        base = reductions.base(op)
        reductions.before(op, array, fresh=True)
        if reductions.is_low(array.dtype):
            yield from self._low_all_reduce(array.reshape(-1), base)
        else:
            yield self.comm.Iallreduce(self._mpi.IN_PLACE, array, self._op(base, array))
        reductions.after(op, array, self.size)

    def reduce(self, given: HostArray | None, out: HostArray | None, op: Reduction, root: int) -> Steps:
        """The root fills ``out``, in which its own values are; the others give theirs."""
        base, here = reductions.base(op), self.rank == root
        array = out if given is None else given
        assert array is not None
        array = reductions.before(op, array, fresh=here)
        if reductions.is_low(array.dtype):
            yield from self._low_reduce(array.reshape(-1), out, base, root)
        elif here:
            yield self.comm.Ireduce(self._mpi.IN_PLACE, array, self._op(base, array), root)
        else:
            yield self.comm.Ireduce(array, None, self._op(base, array), root)
        if out is not None:
            reductions.after(op, out, self.size)

    def reduce_scatter(self, array: HostArray, out: HostArray, counts: Sequence[int], op: Reduction) -> Steps:
        """``counts`` are how many numbers of ``array``, flat, each rank gets."""
        base, given = reductions.base(op), reductions.before(op, array, fresh=False)
        if reductions.is_low(array.dtype):
            yield from self._exchange(given.reshape(-1), out.reshape(-1), counts, base)
        elif len(set(counts)) == 1:
            yield self.comm.Ireduce_scatter_block(given, out, self._op(base, array))
        else:
            yield self.comm.Ireduce_scatter(given, out, list(counts), self._op(base, array))
        reductions.after(op, out, self.size)

    def _exchange(self, flat: HostArray, mine: HostArray, counts: Sequence[int], op: ReduceOp) -> Steps:
        """Each rank gets its part of every rank's numbers of 16 bits, and reduces them into ``mine``."""
        parts = np.empty((self.size, mine.size), flat.dtype)
        yield from self.all_to_all(flat, parts, [mine.size] * self.size, counts)
        reductions.rows(op, parts, mine)

    def _low_all_reduce(self, flat: HostArray, op: ReduceOp) -> Steps:
        if flat.size <= _FEW:
            parts = np.empty((self.size, flat.size), flat.dtype)
            yield self.comm.Iallgather(raw(flat), raw(parts))
            reductions.rows(op, parts, flat)
            return
        counts = even(flat.size, self.size)
        mine = np.empty(counts[self.rank], flat.dtype)
        yield from self._exchange(flat, mine, counts, op)
        yield from self.all_gather(mine, flat, counts)

    def _low_reduce(self, given: HostArray, out: HostArray | None, op: ReduceOp, root: int) -> Steps:
        counts = even(given.size, self.size)
        mine = np.empty(counts[self.rank], given.dtype)
        yield from self._exchange(given, mine, counts, op)
        yield from self.gather(mine, out, counts, root)

    # -- what travels ---------------------------------------------------------------------------
    def broadcast(self, given: HostArray | None, out: HostArray | None, root: int) -> Steps:
        array = out if given is None else given
        assert array is not None
        yield self.comm.Ibcast(raw(array), root)

    def all_gather(self, array: HostArray, out: HostArray, counts: Sequence[int]) -> Steps:
        """``counts`` are how many numbers of ``out``, flat, come from each rank."""
        if len(set(counts)) == 1:
            yield self.comm.Iallgather(raw(array), raw(out))
        else:
            yield self.comm.Iallgatherv(raw(array), _spread(out, counts))

    def gather(self, array: HostArray, out: HostArray | None, counts: Sequence[int], root: int) -> Steps:
        """The root, which alone knows ``counts``, fills ``out``."""
        yield self.comm.Igatherv(raw(array), None if out is None else _spread(out, counts), root)

    def scatter(self, array: HostArray | None, out: HostArray, counts: Sequence[int], root: int) -> Steps:
        """The root, which alone knows ``counts``, gives ``array``."""
        yield self.comm.Iscatterv(None if array is None else _spread(array, counts), raw(out), root)

    def all_to_all(self, array: HostArray, out: HostArray, into: Sequence[int], given: Sequence[int]) -> Steps:
        """``given`` are how many numbers go to each rank, ``into`` how many come from each."""
        yield self.comm.Ialltoallv(_spread(array, given), _spread(out, into))

    def barrier(self, _: None, __: None) -> Steps:
        yield self.comm.Ibarrier()

    # -- messages -------------------------------------------------------------------------------
    def send(self, array: HostArray, _: None, to: int, tag: int) -> Steps:
        yield self.comm.Isend(raw(array), to, tag)

    def recv(self, _: None, array: HostArray, source: int, tag: int, came: list[int]) -> Steps:
        """``came`` gets the rank that sent."""
        mpi = self._mpi
        flat = raw(array)
        request = _Receive(mpi, self.comm.Irecv(flat, mpi.ANY_SOURCE if source == ANY else source, tag))
        yield request
        sent = request.status.Get_count(mpi.BYTE)
        if sent != flat.size:
            raise DistBackendError(
                f"recv: the message of rank {request.status.source} has {sent} bytes, the tensor {flat.size}"
            )
        came.append(request.status.source)

    def share(self, data: bytes) -> bytes:
        """The bytes of rank 0, on every rank."""
        found: bytes = self.comm.bcast(data if self.rank == 0 else None)
        return found

    # -- notes without content --------------------------------------------------------------------
    def note(self, to: int, tag: int) -> None:
        """Send a note that the engine keeps until it is fetched."""
        self.comm.Send(self._nothing, to, tag)

    def noted(self, ranks: Sequence[int], tag: int, deadline: float) -> set[int]:
        """Fetch a note of each rank; those whose notes came before the deadline."""
        came: set[int] = set()
        start = time.monotonic()
        while len(came) < len(ranks):
            for rank in ranks:
                if rank not in came and self.comm.Iprobe(rank, tag):
                    self.comm.Recv(self._nothing, rank, tag)
                    came.add(rank)
            if time.monotonic() > deadline:
                break
            pause(time.monotonic() - start)
        return came


class _Receive:
    """A message to come, with what is known of it when it is there."""

    def __init__(self, mpi: Any, request: Any):
        self._request, self.status = request, mpi.Status()

    def Test(self) -> bool:
        over: bool = self._request.Test(self.status)
        return over


def even(total: int, parts: int) -> list[int]:
    """``total`` in parts that differ by one at most.

    >>> even(7, 3)
    [3, 2, 2]
    """
    return [total // parts + (i < total % parts) for i in range(parts)]


def _spread(array: HostArray, counts: Sequence[int]) -> tuple[HostArray, tuple[list[int], list[int]]]:
    """The bytes of an array, with how many are each rank's and where they begin."""
    sizes = [n * array.itemsize for n in counts]
    return raw(array), (sizes, [0, *itertools.accumulate(sizes[:-1])])
