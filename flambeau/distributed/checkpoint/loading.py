"""Loading: each rank reads the slices that it needs, whichever ranks wrote them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flambeau.core.exchange import from_numpy
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed.checkpoint.flat import Leaf, Stateful, leaves
from flambeau.distributed.checkpoint.folders import FileSystemReader, existing
from flambeau.distributed.checkpoint.index import STORED, Entry, Index, open_file, overlap, part_of, read
from flambeau.distributed.checkpoint.peers import Peers
from flambeau.distributed.checkpoint.saving import asked
from flambeau.distributed.pieces import Region, piece_of, whole_region
from flambeau.utils import safetensors
from flambeau.utils.host import HostArray
from flambeau.utils.safetensors import CheckpointError, Header

Where = str | os.PathLike[str]


def load(
    state_dict: dict[str, Any], *, checkpoint_id: Where | None = None, storage_reader: FileSystemReader | None = None,
    planner: None = None, process_group: Any = None, no_dist: bool = False,
) -> None:  # fmt: skip
    """Read a checkpoint into the tensors of a state, and its values into their places. Every rank must call it.

    The number of ranks, and how tensors are cut, may be others than those of the job that saved: each rank reads the
    slices that make up its pieces. Everything in the state must be in the checkpoint, which may hold more.

    Args:
        state_dict: as for :func:`~flambeau.distributed.checkpoint.save`: its tensors are written to, its values
            replaced; what has ``load_state_dict`` is given what was read.
        checkpoint_id: the folder.
        storage_reader: in its place.
        planner: None.
        process_group: the ranks that load; all of them if None.
        no_dist: load in this process alone.

    Raises:
        CheckpointError: on all ranks: files are missing or damaged, or something of the state is not there or has
            another shape. What is wrong with the index or the state is found before a tensor is changed.
    """
    if planner is not None:
        raise ValueError("checkpoint: planner must be None; every rank reads what its state asks for")
    if storage_reader is None and checkpoint_id is None:
        raise ValueError("checkpoint: give checkpoint_id, the folder to load from, or a storage_reader")
    path = Path(checkpoint_id) if checkpoint_id is not None else storage_reader.path  # type: ignore[union-attr]
    peers = Peers(process_group, no_dist)
    state, error = asked(state_dict), None
    try:
        _fill(existing(path), state)
    except Exception as e:
        error = e
    peers.agree(error, f"checkpoint {str(path)!r} was not loaded")
    for key, value in state.items():
        if isinstance(state_dict[key], Stateful):
            state_dict[key].load_state_dict(value)
        else:
            state_dict[key] = value


def _fill(folder: Path, state: Mapping[str, Any]) -> None:
    index, wanted = read(folder), leaves(state)
    _check(folder, index, wanted)
    with ExitStack() as stack, no_grad():
        files = _Files(folder, index, stack)
        for path, leaf in wanted.items():
            if isinstance(leaf.value, Tensor):
                files.fill(leaf.value, index.tensors[path])
            else:
                leaf.put(index.values[path])


def _check(folder: Path, index: Index, wanted: Mapping[str, Leaf]) -> None:
    """Whether everything that is wanted is there, in the right shape."""
    wrong = []
    for path, leaf in wanted.items():
        if not isinstance(leaf.value, Tensor):
            if path not in index.values:
                wrong.append(f"{path!r} is not in it" if path not in index.tensors else f"{path!r} is a tensor in it")
        elif path not in index.tensors:
            wrong.append(f"{path!r} is not in it" if path not in index.values else f"{path!r} is no tensor in it")
        else:
            piece, entry = piece_of(leaf.value), index.tensors[path]
            shape = tuple(leaf.value.shape) if piece is None else piece.shape
            if shape != entry.shape:
                wrong.append(f"{path!r} has shape {entry.shape} in it, and {shape} here")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{str(folder)!r}: it does not fit the state: {'; '.join(wrong[:5])}{more}")


class _Files:
    """The files of a checkpoint, each opened when it is needed."""

    def __init__(self, folder: Path, index: Index, stack: ExitStack):
        self.folder, self.index, self.stack = folder, index, stack
        self.opened: dict[str, tuple[BinaryIO, Header]] = {}

    def _open(self, name: str) -> tuple[BinaryIO, Header]:
        found = self.opened.get(name)
        if found is None:
            found = self.opened[name] = open_file(self.folder, name, self.index)
            self.stack.callback(found[0].close)
        return found

    def fill(self, target: Tensor, entry: Entry) -> None:
        """Read the region that a tensor is of its whole."""
        piece = piece_of(target)
        region = whole_region(entry.shape) if piece is None else piece.region
        values = np.empty(region.shape, STORED[entry.dtype].numpy)
        for part in entry.parts:
            common = overlap(region, part.region)
            if common is not None:
                values[_slices(common, region)] = self._array(entry, part)[_slices(common, part.region)]
        target.detach().copy_(from_numpy(values))

    def _array(self, entry: Entry, part: Any) -> HostArray:
        file, header = self._open(part.file)
        where = repr(str(self.folder / part.file))
        found = safetensors.read_array(file, part_of(header, part, entry, where), where, mmap=True)
        return found.view(np.complex128)[..., 0] if entry.dtype == "complex128" else found


def _slices(common: Region, within: Region) -> tuple[slice, ...]:
    return tuple(slice(o - w, o - w + n) for o, n, w in zip(common.offsets, common.shape, within.offsets, strict=True))
