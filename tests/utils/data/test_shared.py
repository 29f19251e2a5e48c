"""Batches of workers in memory that they share with the loader's process."""

from __future__ import annotations

import os
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flambeau.utils.data import DataLoader, shared, worker
from tests.utils.data.helpers import Keeping, Rising, without_shared_memory

pytestmark = pytest.mark.skipif(not shared.AVAILABLE, reason="this system has no memfd_create")
LARGE = 50_000  # float32 of a sample
HELD = Path("/proc/self/fd")


def check(batch: Any, first: int, numbers: int) -> None:
    values, indices = batch[:2]
    assert indices.tolist() == [first, first + 1] and values.shape == (2, numbers)
    assert bool((values == indices.unsqueeze(1)).all())


def numbered(loader: Any) -> Any:
    return zip(range(0, 40, 2), loader, strict=True)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors of blocks that have come."""
    found: list[int] = []

    def counted(connection: Any) -> int:
        found.append(reduction_recv(connection))
        return found[-1]

    reduction_recv = reduction.recv_handle
    monkeypatch.setattr(worker.reduction, "recv_handle", counted)
    return found


def test_blocks_are_made_once_and_used_again(made: list[int]) -> None:
    loader = DataLoader(Rising(LARGE), 2, num_workers=2, persistent_workers=True)
    for _ in range(4):
        for first, batch in numbered(loader):
            check(batch, first, LARGE)
    assert 2 <= len(made) <= 2 * 4  # of 80 batches


def test_a_batch_that_is_kept_stays_as_it_is(made: list[int]) -> None:
    window: deque[Any] = deque(maxlen=7)
    for first, batch in numbered(DataLoader(Rising(LARGE), 2, num_workers=1)):
        window.append((first, batch[0][1:], batch[1]))  # of the tensor a view alone
        for earlier, row, indices in window:
            assert row.unique().tolist() == [earlier + 1] and indices.tolist() == [earlier, earlier + 1]
    assert len(made) <= 2 + 7


def test_a_list_of_all_batches_takes_few_descriptors() -> None:
    before = len(list(HELD.iterdir()))
    loader = DataLoader(Rising(LARGE), 2, num_workers=2, persistent_workers=True)
    batches = list(loader)
    open_now = len(list(HELD.iterdir()))
    for first, batch in zip(range(0, 40, 2), batches, strict=True):
        check(batch, first, LARGE)
        batch[0].fill_(first)  # all are writable, and none is another's memory
    assert all(batch[0].unique().tolist() == [first] for first, batch in zip(range(0, 40, 2), batches, strict=True))
    assert open_now - before < 2 * (4 + 2 + shared.HELD + 2)
    del batch, batches, loader
    assert len(list(HELD.iterdir())) <= before + 1  # nothing but what multiprocessing itself keeps


def test_blocks_grow_with_the_batches(made: list[int]) -> None:
    loader = DataLoader(Rising(10, rising=20_000), 2, num_workers=2)
    for first, batch in numbered(loader):
        check(batch, first, 10 + first // 2 * 20_000)
    assert made


def test_small_batches_go_through_the_pipe(made: list[int]) -> None:
    for first, batch in numbered(DataLoader(Rising(10), 2, num_workers=1)):
        check(batch, first, 10)
    assert not made


def test_without_memory_to_share_all_goes_through_the_pipe(made: list[int]) -> None:
    loader = DataLoader(Rising(LARGE), 2, num_workers=2, worker_init_fn=without_shared_memory)
    for first, batch in numbered(loader):
        check(batch, first, LARGE)
    assert not made


def test_what_a_worker_keeps_is_not_written_over() -> None:
    loader = DataLoader(Rising(LARGE), 2, num_workers=1, collate_fn=Keeping())
    for first, batch in numbered(loader):
        check(batch, first, LARGE)
        assert batch[2] == [float(v) for v in range(0, first + 1, 2)]


def test_too_few_descriptors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(connection: Any) -> int:
        raise RuntimeError("received 0 items of ancdata")  # what the standard library says

    monkeypatch.setattr(worker.reduction, "recv_handle", refused)
    batches = iter(DataLoader(Rising(LARGE), 2, num_workers=1))
    with pytest.raises(RuntimeError, match=r"cannot be mapped .*: are too many files open"):
        next(batches)
    with pytest.raises(RuntimeError, match="the workers have stopped"):
        next(batches)


# -- the two sides in one process ----------------------------------------------------------------------
def leased(leases: shared.Leases, blocks: shared.Blocks, value: int) -> np.ndarray[Any, Any]:
    """An array that has gone through a block."""
    room = blocks.room(leases.offer())
    out = room.empty((shared.LEAST,), np.dtype(np.uint8))
    out = np.empty(shared.LEAST, np.uint8) if out is None else out
    out.fill(value)
    places = room.places([out])
    assert places is not None
    if room.descriptor is not None:
        leases.made(room.number, blocks.made[room.number])
        room.sent()
    return leases.buffers(room.number, places)[0]


def test_a_block_is_free_when_the_last_view_is_gone() -> None:
    leases, blocks = shared.Leases(), shared.Blocks()
    array = leased(leases, blocks, 1)
    view = array[5:]
    del array
    other = leased(leases, blocks, 2)
    assert len(blocks.made) == 2 and set(view.tolist()) == {1} and set(other.tolist()) == {2}
    del view
    third = leased(leases, blocks, 3)
    assert len(blocks.made) == 2 and set(other.tolist()) == {2} and set(third.tolist()) == {3}


def test_a_forked_child_keeps_the_batches_of_its_parent() -> None:
    leases, blocks = shared.Leases(), shared.Blocks()
    array = leased(leases, blocks, 1)
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(int(set(array.tolist()) != {1}))
    del array
    later = [leased(leases, blocks, value) for value in range(2, 5)]
    os.close(theirs)
    assert os.waitpid(child, 0)[1] == 0 and [int(a[0]) for a in later] == [2, 3, 4]


def test_an_array_of_another_thread_is_no_part_of_the_block() -> None:
    leases, blocks = shared.Leases(), shared.Blocks()
    leased(leases, blocks, 1)
    room = blocks.room(leases.offer())
    shared.use(room)
    try:
        with ThreadPoolExecutor(1) as pool:
            elsewhere = pool.submit(shared.empty, (8,), np.dtype(np.uint8)).result()
        here = shared.empty((8,), np.dtype(np.uint8))
        assert elsewhere.base is None and here.base is not None
        assert shared.empty((10 * shared.LEAST,), np.dtype(np.uint8)).base is None  # it has no room
    finally:
        shared.use(None)
