"""Saving: each rank writes what it alone has, and its share of what all have."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

import flambeau.distributed as dist
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.distributed.checkpoint import index
from flambeau.distributed.checkpoint.flat import Leaf, Stateful, encode, leaves
from flambeau.distributed.checkpoint.folders import FileSystemWriter, Saving, new_id
from flambeau.distributed.checkpoint.index import Entry, File, Index, Part
from flambeau.distributed.checkpoint.peers import Peers
from flambeau.distributed.pieces import Region, piece_of, whole_region
from flambeau.futures import Future
from flambeau.utils import safetensors
from flambeau.utils.files import atomic_write
from flambeau.utils.host import HostArray, host_array
from flambeau.utils.safetensors import CheckpointError

Where = str | os.PathLike[str]


class _Tensor:
    """A tensor of this rank that is to be saved: which region of which whole it is."""

    def __init__(self, leaf: Leaf):
        self.tensor: Tensor = leaf.value
        piece = piece_of(self.tensor)
        self.shape = tuple(self.tensor.shape) if piece is None else piece.shape
        self.region = whole_region(self.shape) if piece is None else piece.region
        self.dtype: DType = self.tensor.dtype
        if self.tensor._key.backend.has("no_data") or self.tensor._in_parts:
            raise TypeError(f"checkpoint: {leaf.path!r} is a tensor without data, or a sparse one, which is not saved")
        if self.dtype.name not in index.STORED:
            raise TypeError(
                f"checkpoint: {leaf.path!r} has dtype {self.dtype.name}, which files of tensors cannot hold"
            )

    def described(self) -> list[Any]:
        return [self.dtype.name, self.shape, self.region.offsets, self.region.shape]


def save(
    state_dict: Mapping[str, Any], *, checkpoint_id: Where | None = None,
    storage_writer: FileSystemWriter | None = None, planner: None = None, process_group: Any = None,
    no_dist: bool = False,
) -> Index:  # fmt: skip
    """Write a state as a folder: a safetensors file of each rank, and an index. Every rank must call it.

    The folder appears under its name when all ranks are done, in one step: whoever dies before leaves the checkpoint
    of before as it was. Tensors that are pieces are written by the ranks that have them, others once, by whichever
    rank has least to write. Nothing is pickled.

    Args:
        state_dict: nested dicts and lists of tensors and Python values; what has ``state_dict()`` is asked for it.
        checkpoint_id: the folder, on a file system that all ranks share.
        storage_writer: in its place, with options.
        planner: None; the plan is fixed.
        process_group: the ranks that have a part; all of them if None.
        no_dist: save what this process alone has.

    Returns:
        The index, as PyTorch returns its metadata.

    Raises:
        CheckpointError: on all ranks, when one of them could not write; it says which and why.

    >>> import flambeau.distributed.checkpoint as dcp
    >>> index = dcp.save({"w": fb.ones(2), "epoch": 3}, checkpoint_id="last")
    >>> state = {"w": fb.zeros(2), "epoch": 0}
    >>> dcp.load(state, checkpoint_id="last")
    >>> state
    {'w': tensor([1., 1.]), 'epoch': 3}
    """
    writer = _writer(checkpoint_id, storage_writer, planner)
    return _Save(writer, Peers(process_group, no_dist), asked(state_dict)).run()


def async_save(
    state_dict: Mapping[str, Any], *, checkpoint_id: Where | None = None,
    storage_writer: FileSystemWriter | None = None, planner: None = None, process_group: Any = None,
    no_dist: bool = False,
) -> Future[Index]:  # fmt: skip
    """As :func:`save`, in a thread: it copies the state to the host, and returns; the future waits for the rest.

    Every rank must call it, in the same order. What it says to the other ranks goes over a group of its own, so that
    the program's collectives need not wait.
    """
    writer = _writer(checkpoint_id, storage_writer, planner)
    peers = Peers(process_group, no_dist)
    if peers.size > 1:
        peers.group = _group_of(process_group)
    state = asked(state_dict)
    job = _Save(writer, peers, state, copy=True)
    future: Future[Index] = Future()

    def run() -> None:
        try:
            future.set_result(job.run())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, name="flambeau checkpoint").start()
    return future


_groups: dict[Any, Any] = {}


def _group_of(group: Any) -> Any:
    """A group of the same ranks for saves in the background."""
    found = _groups.get(group)
    if found is None or found.dead:
        ranks = None if group is None else list(group.ranks)
        found = _groups[group] = dist.new_group(ranks)
    return found


def _writer(where: Where | None, writer: FileSystemWriter | None, planner: object) -> FileSystemWriter:
    if planner is not None:
        raise ValueError("checkpoint: planner must be None; how a state is divided into files is fixed")
    if writer is not None:
        if where is not None:
            writer.path = Path(where)
        return writer
    if where is None:
        raise ValueError("checkpoint: give checkpoint_id, the folder to save to, or a storage_writer")
    return FileSystemWriter(where)


def asked(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state in which what has ``state_dict()`` was asked for it."""
    if not isinstance(state, Mapping):
        raise TypeError(f"checkpoint: the state must be a dict, got {type(state).__name__}")
    return {k: v.state_dict() if isinstance(v, Stateful) else v for k, v in state.items()}


FILE: Final = "rank-{:05d}.safetensors"


class _Save:
    """One save, as one rank sees it."""

    def __init__(self, writer: FileSystemWriter, peers: Peers, state: Mapping[str, Any], copy: bool = False):
        self.writer, self.peers = writer, peers
        self.error: Exception | None = None
        self.tensors: dict[str, _Tensor] = {}
        self.values: dict[str, Any] = {}
        self.copies: dict[str, HostArray] = {}
        try:
            for path, leaf in leaves(state).items():
                if isinstance(leaf.value, Tensor):
                    self.tensors[path] = found = _Tensor(leaf)
                    if copy:
                        array = host_array(found.tensor)
                        self.copies[path] = array.copy() if found.tensor.device.type == "cpu" else array
                else:
                    self.values[path] = encode(leaf.value, path)
        except Exception as error:  # the others wait for what this rank has to say
            self.error = error

    def run(self) -> Index:
        """Write, and have all ranks do so."""
        peers, what = self.peers, f"checkpoint {str(self.writer.path)!r} was not saved"
        mine = {
            "error": self.error and f"{type(self.error).__name__}: {self.error}",
            "id": new_id(),
            "tensors": {path: t.described() for path, t in self.tensors.items()},
            "values": self.values,
        }
        plans = peers.gather(mine)
        peers_said = [f"rank {r}: {p['error']}" for r, p in enumerate(plans) if p["error"]]
        if peers_said:
            if peers.size == 1 and self.error is not None:
                raise self.error
            raise CheckpointError(f"{what}: {'; '.join(peers_said)}") from self.error
        found = _shared(plans)  # the same on every rank, and so is its error
        saving = Saving(self.writer.path.absolute(), plans[0]["id"], self.writer.overwrite)
        try:
            self._do(saving.begin if peers.rank == 0 else None, what)
            written: list[File] = []
            try:
                self._do(lambda: written.append(self._write(saving.folder, found)), what)
                for rank, (nbytes, header) in enumerate(peers.gather([written[0].nbytes, written[0].header])):
                    found.files[FILE.format(rank)] = File(nbytes, header)
                self._do((lambda: self._publish(saving, found)) if peers.rank == 0 else None, what)
            except BaseException:
                if peers.rank == 0:
                    saving.give_up()
                raise
        finally:
            saving._unlock()
        return found

    def _do(self, step: Any, what: str) -> None:
        """A step of this rank, after which all ranks know whether all could do theirs."""
        error = None
        try:
            if step is not None:
                step()
        except Exception as e:
            error = e
        self.peers.agree(error, what)

    def _write(self, folder: Path, found: Index) -> File:
        name = FILE.format(self.peers.rank)
        arrays: dict[str, HostArray] = {}
        for path, entry in found.tensors.items():
            for part in entry.parts:
                if part.file == name:
                    arrays[part.key] = self._array(path)
        header = safetensors.plan(arrays)
        with open(folder / name, "xb") as file:
            safetensors.write(file, arrays, header)
            file.flush()
            if self.writer.sync_files:
                os.fsync(file.fileno())
        with open(folder / name, "rb") as file:
            digest = index.header_hash(file)
        return File((folder / name).stat().st_size, digest)

    def _array(self, path: str) -> HostArray:
        array = self.copies.get(path)
        if array is None:
            array = host_array(self.tensors[path].tensor)
        array = np.ascontiguousarray(array).reshape(array.shape)
        return array.view(np.float64).reshape(*array.shape, 2) if array.dtype == np.complex128 else array

    def _publish(self, saving: Saving, found: Index) -> None:
        with atomic_write(saving.folder / index.NAME) as file:
            file.write(found.text().encode())
        saving.publish()


def _shared(plans: list[dict[str, Any]]) -> Index:
    """Who writes what: a region that several ranks have is written by the one that has least to write so far."""
    found, load = Index(len(plans)), [0] * len(plans)
    owners: dict[str, dict[Region, list[int]]] = {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for rank, plan in enumerate(plans):
        for path, (dtype, shape, offsets, extent) in plan["tensors"].items():
            kind = dtype, tuple(shape)
            if kinds.setdefault(path, kind) != kind:
                raise CheckpointError(f"checkpoint: {path!r} is {kinds[path]} on one rank and {kind} on rank {rank}")
            owners.setdefault(path, {}).setdefault(Region(tuple(offsets), tuple(extent)), []).append(rank)
        for path, value in plan["values"].items():
            found.values.setdefault(path, value)
    if both := owners.keys() & found.values.keys():
        raise CheckpointError(f"checkpoint: {min(both)!r} is a tensor on some ranks, and another value on others")
    for path, regions in owners.items():
        dtype, shape = kinds[path]
        parts = []
        for region, ranks in regions.items():
            rank = min(ranks, key=lambda r: load[r])
            load[rank] += math.prod(region.shape)
            whole = region == whole_region(shape)
            key = path if whole else f"{path}@{','.join(map(str, region.offsets))}"
            if math.prod(region.shape) or whole:
                parts.append(Part(FILE.format(rank), key, region))
        if not index.covers(shape, [p.region for p in parts]):
            raise CheckpointError(f"checkpoint: the pieces of {path!r} on these ranks do not make up its shape {shape}")
        found.tensors[path] = Entry(dtype, shape, tuple(parts))
    return found
