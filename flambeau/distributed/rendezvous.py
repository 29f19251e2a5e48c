"""How a process finds its place in a job: its rank, the others, and the world that MPI is to see.

A job is started by ``python -m flambeau launch``, by an ``mpiexec``, by SLURM's ``srun``, by torchrun, or by hand with
``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``. Where no MPI launcher did it, rank 0 starts the PMI
server from which MPI learns of its world, and tells the others through the store where it is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from flambeau.distributed import pmi
from flambeau.distributed.errors import DistError, DistStoreError
from flambeau.distributed.guard import watch_over
from flambeau.distributed.mpi import load
from flambeau.distributed.stores import FileStore, HashStore, PrefixStore, Store, TCPStore

__all__ = ["Place", "join"]

_DEFAULT = timedelta(seconds=300)
_MPI_VARIABLES = (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"))
_LOCAL_RANKS = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


@dataclass(frozen=True)
class Place:
    """Where a process stands in its job.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number among those of its machine, from 0.
        store: the store that they all share.
    """

    rank: int
    size: int
    local_rank: int
    store: Store


def join(
    init_method: str | None = None, rank: int = -1, world_size: int = -1, store: Store | None = None,
    timeout: timedelta = _DEFAULT,
) -> Place:  # fmt: skip
    """Find the place of this process, and set the environment so that MPI sees the same world when it is initialised.

    Args:
        init_method: ``env://`` (the default), ``tcp://host:port`` or ``file:///path``, the last two with rank and size
        as
            arguments or as in ``tcp://host:port?rank=0&world_size=2``.
        rank: the number of this process; -1 takes it from the environment.
        world_size: how many there are; -1 takes it from the environment.
        store: a store that all processes have, instead of ``init_method``; it needs rank and size.
        timeout: how long to wait for the others.

    Raises:
        ValueError: rank and size are not given, wrong, or other than what the launcher says.
        DistStoreError, DistNetworkError: the others did not come in time.
    """
    if store is not None and init_method is not None:
        raise ValueError("init_process_group: give init_method or store, not both")
    if store is not None and (rank < 0 or world_size < 1):
        raise ValueError(f"init_process_group: a store needs rank and world_size, got {rank} and {world_size}")
    url = urlparse(init_method or "env://")
    given = {name: int(values[0]) for name, values in parse_qs(url.query).items() if name in ("rank", "world_size")}
    rank = given.get("rank", rank) if rank < 0 else rank
    world_size = given.get("world_size", world_size) if world_size < 0 else world_size
    started = _started(os.environ)
    if started == "mpi":
        return _under_mpi(rank, world_size, store, timeout)
    if store is None:
        rank, world_size, store = _by_url(url.scheme, url.netloc, url.path, rank, world_size, timeout, started)
    _check(rank, world_size)
    store.set_timeout(timeout)
    if world_size > 1 and not _mpi_is_there():
        watch = None if started == "launcher" else _agree_on_server(rank, world_size, store)
        watch_over(rank, world_size, started, watch)
        _meet(rank, world_size, store, timeout, every=started in ("launcher", "torchrun"))
    place = Place(rank, world_size, _local_rank(os.environ, rank), store)
    _agree(place)
    return place


def _started(environ: Mapping[str, str]) -> str:
    """What started this process: "launcher", "torchrun", "mpi", "env", "slurm" or "alone"."""
    if "LAUNCHED_BY_FLAMBEAU" in environ:
        return "launcher"
    if "TORCHELASTIC_RUN_ID" in environ:
        return "torchrun"
    if any(rank in environ for rank, _ in _MPI_VARIABLES) and "SLURM_STEP_ID" not in environ:
        return "mpi"
    if "RANK" in environ or "MASTER_ADDR" in environ:
        return "env"
    if "SLURM_PROCID" in environ and "SLURM_STEP_ID" in environ:
        return "slurm"
    return "alone"


def _check(rank: int, world_size: int) -> None:
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(
            f"init_process_group: rank {rank} of world_size {world_size}: a rank is from 0 to world_size - 1"
        )


def _local_rank(environ: Mapping[str, str], rank: int) -> int:
    return next((int(environ[name]) for name in _LOCAL_RANKS if name in environ), rank)


def _by_url(
    scheme: str, netloc: str, path: str, rank: int, world_size: int, timeout: timedelta, started: str
) -> tuple[int, int, Store]:
    """Rank, size and store by an init_method."""
    if scheme == "env":
        return _by_environment(dict(os.environ), rank, world_size, timeout, started)
    if rank < 0 or world_size < 1:
        raise ValueError(f"init_process_group: {scheme}:// needs rank and world_size, got {rank} and {world_size}")
    if scheme == "file":
        return rank, world_size, FileStore(netloc + path, world_size)
    if scheme == "tcp":
        host, _, port = netloc.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"init_process_group: expected tcp://host:port, got {scheme}://{netloc}")
        return rank, world_size, TCPStore(host.strip("[]"), int(port), world_size, rank == 0, timeout)
    raise ValueError(f"init_process_group: init_method must begin with env://, tcp:// or file://, got {scheme}://")


def _by_environment(
    environ: dict[str, str], rank: int, world_size: int, timeout: timedelta, started: str
) -> tuple[int, int, Store]:
    """Rank, size and store by ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``, or for a process alone."""
    if started == "alone" and rank <= 0 and world_size in (-1, 1):
        return 0, 1, HashStore()
    if started == "slurm":
        environ = environ | slurm(environ)
    names = {"RANK": rank, "WORLD_SIZE": world_size, "MASTER_ADDR": -1, "MASTER_PORT": -1}
    missing = [name for name, given in names.items() if given < 0 and name not in environ]
    if missing:
        raise ValueError(
            f"init_process_group: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; start the "
            "program with `python -m flambeau launch --nproc-per-node N program.py`, or set what is missing"
        )
    rank, world_size = _same("rank", rank, environ, "RANK"), _same("world_size", world_size, environ, "WORLD_SIZE")
    _check(rank, world_size)
    agent = environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    host, port = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
    store = _stores.get((host, port))
    if store is None:
        store = TCPStore(host, port, None if agent else world_size, not agent and rank == 0, timeout)
        _stores[host, port] = store
    joins = next(_joins)
    attempt = f"worker/attempt_{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return rank, world_size, PrefixStore(f"{attempt}/{joins}" if joins else attempt, store)


_stores: dict[tuple[str, int], TCPStore] = {}  # they outlive their groups, which other ranks may leave later
_joins = itertools.count()  # one after the other with destroy_process_group between them


def _same(what: str, given: int, environ: Mapping[str, str], name: str) -> int:
    if given < 0:
        return int(environ[name])
    if "TORCHELASTIC_RUN_ID" in environ and name in environ and int(environ[name]) != given:
        raise ValueError(f"init_process_group: {what} is {given}, but the launcher says {name}={environ[name]}")
    return given


def slurm(environ: Mapping[str, str]) -> dict[str, str]:
    """torch's variables from SLURM's: the master is the step's first node, its port follows from the job's number."""
    missing = [name for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_ID") if name not in environ]
    if missing:
        raise ValueError(f"init_process_group: srun sets {', '.join(missing)}, which is not there")
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    step = environ.get("SLURM_STEP_ID", "0")
    made = {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": environ.get("SLURM_STEP_NUM_TASKS", environ["SLURM_NTASKS"]),
        "MASTER_ADDR": first_node(nodes),
        "MASTER_PORT": str(20000 + (int(environ["SLURM_JOB_ID"]) * 16 + int(step if step.isdigit() else 0)) % 20000),
    }
    return {name: environ.get(name, value) for name, value in made.items()}


def first_node(nodes: str) -> str:
    """The first host of SLURM's list.

    >>> from flambeau.distributed.rendezvous import first_node
    >>> first_node("gpu[003-005,9],login1"), first_node("n7,n8"), first_node("c1-[2,4]-ib")
    ('gpu003', 'n7', 'c1-2-ib')
    """
    head, bracket, rest = nodes.partition("[")
    if not bracket or "," in head:
        return nodes.partition(",")[0]
    inside, _, tail = rest.partition("]")
    return head + inside.partition(",")[0].partition("-")[0] + tail.partition(",")[0]


def _under_mpi(rank: int, world_size: int, store: Store | None, timeout: timedelta) -> Place:
    """The place that an mpiexec gave; rank 0 serves a store where none is given."""
    world = _world()
    watch_over(world.rank, world.size, "mpi")
    for what, given, found in (("rank", rank, world.rank), ("world_size", world_size, world.size)):
        if given not in (-1, found):
            raise ValueError(f"init_process_group: {what} is {given}, but mpiexec says {found}")
    if store is None:
        address = bytearray(256)
        if world.rank == 0:
            store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timeout)
            text = f"{own_address(world.size, os.environ)} {store.port}".encode()
            address[: len(text)] = text
        world.Bcast(address)
        host, port = bytes(address).rstrip(b"\0").decode().split()
        store = store or TCPStore(host, int(port), timeout=timeout)
    return Place(world.rank, world.size, _local_rank(os.environ, world.rank), store)


def own_address(size: int, environ: Mapping[str, str]) -> str:
    """An address of this machine at which the others reach it: the loopback where all are here."""
    if environ.get("MPI_LOCALNRANKS") == str(size) or environ.get("LOCAL_WORLD_SIZE") == str(size):
        return "127.0.0.1"
    return reachable_address()


def reachable_address() -> str:
    """An address of this machine for other machines: of the way out, or of its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that nobody has: nothing is sent, a way is looked up
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostbyname(socket.gethostname())


def _mpi_is_there() -> bool:
    """Whether MPI is initialised, and what this process knows of its world stays."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is not None and mpi.Is_initialized()


def _agree_on_server(rank: int, world_size: int, store: Store) -> tuple[str, int]:
    """Rank 0 starts the PMI server, in a process of its own, since MPI keeps Python's other threads from running while
    it is initialised. Where it is.
    """
    meeting = PrefixStore("flambeau", store)
    if rank == 0:
        meeting.set("pmi", f"{own_address(world_size, os.environ)}:{_start_server(world_size)}")
    address = meeting.get("pmi").decode()
    os.environ["PMI_PORT"], os.environ["PMI_ID"] = address, str(rank)
    for name in ("PMI_FD", "PMI_RANK", "PMI_SIZE"):  # of another launcher, for another world
        os.environ.pop(name, None)
    host, _, port = address.rpartition(":")
    return host, int(port)


def _meet(rank: int, world_size: int, store: Store, timeout: timedelta, every: bool) -> None:
    """Wait until all are here: initialising MPI has no deadline.

    Where the store lives in the process of rank 0, it alone waits, after the others have asked their last question: it
    does not answer while MPI is initialised.
    """
    meeting = PrefixStore("flambeau", store)
    meeting.set(f"there/{rank}", "1")
    if rank > 0 and not every:
        return
    keys = [f"there/{other}" for other in range(world_size)]
    try:
        meeting.wait(keys, timeout)
    except DistStoreError:
        late = [other for other, key in enumerate(keys) if not meeting.check([key])]
        raise DistStoreError(
            f"init_process_group: of {world_size} ranks {late} did not come within {timeout.total_seconds():g} s"
        ) from None


def _start_server(world_size: int) -> int:
    """Start the PMI server; its port."""
    input_end, _ours = os.pipe()  # ours is left open: the server ends when this process does, in whatever way
    with subprocess.Popen(
        [sys.executable, "-I", pmi.PROGRAM, str(world_size)],
        stdin=input_end, stdout=subprocess.PIPE, start_new_session=True,
    ) as server:  # fmt: skip
        os.close(input_end)
        assert server.stdout is not None
        line = server.stdout.readline()
        server.returncode = 0
    if not line:
        raise DistError("init_process_group: the server of the job did not start")
    return int(line)


def _world() -> Any:  # mpi4py's
    """All processes, as MPI sees them. MPI is initialised by this, for which the environment must be right."""
    try:
        import mpi4py  # lazy: an extra
    except ImportError:
        pass  # the next line says what is missing
    else:
        mpi4py.rc.finalize = False  # the guard does it
    world = load().COMM_WORLD
    world.Barrier()
    _unname_shared_memory()
    return world


def _unname_shared_memory() -> None:
    """Take the names from MPICH's shared memory, which all processes have by now: it goes with the last of them,
    however that ends.
    """
    with contextlib.suppress(OSError):  # there is no such file except on Linux
        for line in Path("/proc/self/maps").read_text().splitlines():
            found = line.partition("/dev/shm/mpich_")
            if found[1] and not line.endswith("(deleted)"):
                with contextlib.suppress(OSError):
                    Path(found[1] + found[2]).unlink()


def _agree(place: Place) -> None:
    """MPI must see the same world."""
    world = _world()
    if (world.rank, world.size) != (place.rank, place.size):
        raise DistError(
            f"init_process_group: this process is rank {place.rank} of {place.size}, but MPI, which was initialised "
            f"before, says rank {world.rank} of {world.size}"
        )
