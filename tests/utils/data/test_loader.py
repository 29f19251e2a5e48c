"""The DataLoader, with and without workers."""

import contextlib
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import flambeau as fb
from flambeau.utils.data import DataLoader, RandomSampler, TensorDataset, get_worker_info, worker
from tests.utils.data.helpers import (
    Count,
    DiesWhenUnpacked,
    Draws,
    Failing,
    Kinds,
    Sized,
    SizedStream,
    Slow,
    Squares,
    Where,
    fail_to_start,
    mark_start,
)  # fmt: skip

WORKERS = [0, 1, 3]


def seeded(seed=0):
    return fb.Generator().manual_seed(seed)


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def indices(loader):
    return [batch[1].tolist() for batch in loader]


# -- order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_order_does_not_depend_on_the_workers(workers):
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert indices(DataLoader(Slow(10), batch_size=4, num_workers=workers)) == expected
    shuffled = indices(DataLoader(Slow(10), 4, shuffle=True, num_workers=workers, generator=seeded(1)))
    assert shuffled == indices(DataLoader(Squares(10), 4, shuffle=True, generator=seeded(1)))
    assert sorted(flat(shuffled)) == list(range(10))
    assert shuffled != expected


def test_each_epoch_has_its_own_order():
    loader = DataLoader(Squares(20), 5, shuffle=True, generator=seeded())
    assert indices(loader) != indices(loader)


def test_the_default_generator_decides():
    fb.manual_seed(8)
    first = indices(DataLoader(Squares(20), 5, shuffle=True))
    fb.manual_seed(8)
    assert indices(DataLoader(Squares(20), 5, shuffle=True)) == first


def test_without_batches():
    loader = DataLoader(Squares(3), batch_size=None)
    assert [(x.tolist(), i) for x, i in loader] == [([0], 0), ([1], 1), ([4], 2)]
    assert len(loader) == 3
    assert [type(a) for a in DataLoader([np.zeros(1)], batch_size=None)] == [fb.Tensor]


def test_lists_and_tensors_are_datasets():
    assert [b.tolist() for b in DataLoader([1, 2, 3], 2)] == [[1, 2], [3]]
    assert [b.tolist() for b in DataLoader(fb.arange(3), 2)] == [[0, 1], [2]]


@pytest.mark.parametrize("workers", WORKERS)
def test_iterable(workers):
    loader = DataLoader(Count(10), batch_size=2, num_workers=workers)
    batches = [b.tolist() for b in loader]
    assert sorted(flat(batches)) == list(range(10))
    if workers == 0:
        assert batches == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    if workers == 3:  # shares 0369, 147, 258, in turns
        assert batches == [[0, 3], [1, 4], [2, 5], [6, 9], [7], [8]]
    with pytest.raises(TypeError):
        len(loader)


def test_iterable_details():
    assert [b.tolist() for b in DataLoader(Count(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    assert list(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]
    loader = DataLoader(Count(5, with_length=True), 2)
    assert len(loader) == 3
    assert len(DataLoader(Count(5, with_length=True), 2, drop_last=True)) == 2
    assert len(DataLoader(Count(5, with_length=True), None)) == 5


# -- workers -----------------------------------------------------------------------------------------


def test_everything_travels():
    here, there = (list(DataLoader(Kinds(), 2, num_workers=n)) for n in (0, 2))
    for a, b in zip(here, there, strict=True):
        assert list(a) == list(b)
        for name, value in a.items():
            other = b[name]
            if isinstance(value, fb.Tensor):
                assert (value.dtype, value.shape, value.tolist()) == (other.dtype, other.shape, other.tolist())
                other.fill_(0)  # the memory is writable
            else:
                assert value == other


def test_worker_info_and_start():
    loader = DataLoader(Where(), batch_size=None, num_workers=2, worker_init_fn=mark_start, generator=seeded(3))
    first = list(loader)
    assert [d["id"] for d in first] == [0, 1, 0, 1]
    assert {d["count"] for d in first} == {2}
    assert all(d["same"] for d in first)
    assert [d["started"] for d in first[:2]] == ["by 0", "by 1"]
    assert {d["threads"] for d in first} == {1}
    assert first[1]["seed"] == (first[0]["seed"] + 1) % 2**64
    assert os.getpid() not in {d["pid"] for d in first}
    assert next(iter(loader))["seed"] != first[0]["seed"]
    assert get_worker_info() is None


def test_random_numbers_in_workers():
    def draw(workers, seed):
        return list(DataLoader(Draws(), None, num_workers=workers, generator=seeded(seed)))

    one, three = draw(1, 5), draw(3, 5)
    assert [s[:3] for s in one] == [s[:3] for s in three]  # whichever worker fetched
    assert {s[3] for s in three} == {0, 1, 2}
    for column in range(3):
        assert len({s[column] for s in one}) == len(one)
    assert draw(1, 6) != one


def test_random_numbers_differ_each_epoch():
    loader = DataLoader(Draws(), None, num_workers=1, generator=seeded(5), persistent_workers=True)
    assert not {s[:3] for s in loader} & {s[:3] for s in loader}


def test_the_numbers_drawn_here_do_not_depend_on_the_workers():
    def after(workers):
        fb.manual_seed(2)
        for _ in DataLoader(Squares(4), 2, shuffle=True, num_workers=workers):
            pass
        return fb.rand(1).item()

    assert after(0) == after(2)


def test_persistent_workers_stay():
    loader = DataLoader(Where(), None, num_workers=1, persistent_workers=True)
    pids = {d["pid"] for d in loader} | {d["pid"] for d in loader}
    assert len(pids) == 1
    others = DataLoader(Where(), None, num_workers=1)
    assert {d["pid"] for d in others}.isdisjoint({d["pid"] for d in others})


def test_an_epoch_left_early():
    loader = DataLoader(Squares(20), 2, num_workers=2, persistent_workers=True)
    for batch in loader:
        assert batch[1].tolist() == [0, 1]
        break
    assert indices(loader)[:2] == [[0, 1], [2, 3]]


def test_two_iterators_of_persistent_workers():
    loader = DataLoader(Squares(20), 2, num_workers=1, persistent_workers=True)
    first, second = iter(loader), iter(loader)
    next(second)
    with pytest.raises(RuntimeError, match="a newer iterator has taken the persistent workers over"):
        next(first)


def test_spawn():
    loader = DataLoader(Squares(4), 2, num_workers=1, multiprocessing_context="spawn")
    assert indices(loader) == [[0, 1], [2, 3]]


# -- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_tells_where(workers):
    loader = iter(DataLoader(Failing(5), 2, num_workers=workers))
    assert [next(loader)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(KeyError, match="no such scan") as caught:
        next(loader)
    notes = "\n".join(caught.value.__notes__)
    assert "raised by dataset[5]" in notes
    if workers:
        assert "DataLoader worker 0, batch 2" in notes
        assert "helpers.py" in notes
        assert 'raise KeyError("no such scan")' in notes
    assert next(loader)[1].tolist() == [6, 7]  # the next batch goes on


def test_an_exception_that_cannot_travel():
    with pytest.raises(RuntimeError, match="OwnError: 1 and 2") as caught:
        list(DataLoader(Failing(1, "own"), 2, num_workers=1))
    assert "raised by dataset[1]" in caught.value.__notes__[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_stop_iteration_does_not_end_the_epoch_quietly(workers):
    with pytest.raises(RuntimeError, match=r"dataset\[3\] raised StopIteration"):
        list(DataLoader(Failing(3, "stop"), 2, num_workers=workers))


def test_a_batch_that_cannot_travel():
    with pytest.raises(Exception, match=r"(?i)pickle") as caught:
        list(DataLoader(Failing(1, "unpicklable"), None, num_workers=1))
    assert "DataLoader worker 0, batch 1" in caught.value.__notes__[0]


def test_a_worker_that_exits():
    with pytest.raises(RuntimeError, match=r"DataLoader: worker 0 \(pid \d+\) exited with code 3"):
        list(DataLoader(Failing(0, "exit"), 2, num_workers=1))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_worker_that_is_killed():
    loader = DataLoader(Where(), None, num_workers=1, persistent_workers=True, prefetch_factor=1)
    batches = iter(loader)
    pid = next(batches)["pid"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"was killed by SIGKILL: is there enough memory\?"):
        list(batches)
    assert len(list(loader)) == 4  # the next epoch starts new workers


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("nbytes", [10, 3_000_000])
@pytest.mark.parametrize("kind", [Sized, SizedStream])
def test_a_worker_that_is_killed_at_any_moment(kind, nbytes):
    """Between messages and in the middle of one: an error with its pid, and no batch after it."""
    moments = random.Random(nbytes)
    for trial in range(3):
        loader = DataLoader(kind(nbytes), 1, num_workers=2, persistent_workers=trial % 2 == 0)
        batches = iter(loader)
        pid = int(next(batches)[1])
        timer = threading.Timer(moments.random() * 0.03, os.kill, (pid, signal.SIGKILL))
        if trial == 0:
            os.kill(pid, signal.SIGKILL)  # what it sent is read, whole or not
        else:
            timer.start()
            timer.join()
        with pytest.raises(RuntimeError, match=rf"DataLoader: worker \d \(pid {pid}\) was killed by SIGKILL"):
            list(batches)
        with pytest.raises(RuntimeError, match="the workers have stopped"):
            next(batches)
        assert len(next(iter(loader))) == 2  # of new workers


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_worker_that_is_killed_as_it_starts():
    data = [DiesWhenUnpacked(), bytes(1_000_000)]
    with pytest.raises(RuntimeError, match="worker 0 ended before it had taken the dataset over"):
        next(iter(DataLoader(data, None, num_workers=1)))


@pytest.mark.parametrize("sign", ["hung up", "interrupted"])
def test_what_is_left_of_a_message_is_not_read(monkeypatch, sign):
    def broken(connection, leases):
        connection.recv_bytes()
        raise OSError("got end of file during message") if sign == "hung up" else KeyboardInterrupt

    batches = iter(DataLoader(Squares(9), 1, num_workers=1, persistent_workers=True))
    next(batches)
    monkeypatch.setattr(worker, "receive", broken)
    with pytest.raises(RuntimeError if sign == "hung up" else KeyboardInterrupt):
        next(batches)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="the workers have stopped"):
        next(batches)


def test_a_batch_that_was_late_is_the_next_one():
    batches = iter(DataLoader(Slow(4, 1.0), 1, num_workers=2, timeout=0.3))
    found = []
    while len(found) < 4:
        try:
            found.append(int(next(batches)[1]))
        except RuntimeError as error:
            assert "sent no batch for 0.3 seconds" in str(error)
    assert found == [0, 1, 2, 3]


RUNS = """
import os, sys, time
import flambeau as fb
from tests.utils.data.helpers import ignore_the_polite_signal

class Busy:
    def __len__(self): return 9
    def __getitem__(self, i):
        while i: sum(range(1000))
        return os.getpid()

if __name__ == "__main__":
    start = ignore_the_polite_signal if sys.argv[1] == "stubborn" else None
    context = sys.argv[2]
    batches = iter(fb.utils.data.DataLoader(Busy(), None, num_workers=1, worker_init_fn=start,
                                            multiprocessing_context=context))
    print(next(batches), flush=True)
    if sys.argv[1] != "stubborn":
        time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("context", ["forkserver", "spawn"])
@pytest.mark.parametrize("what", ["stubborn", "killed"])
def test_a_busy_worker_ends_with_the_program(tmp_path, what, context):
    """Though it ignores SIGTERM; and though the program was killed and could tell it nothing."""
    script = tmp_path / "script.py"
    script.write_text(RUNS)
    program = subprocess.Popen(
        [sys.executable, str(script), what, context], stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.getcwd()}, start_new_session=True,
    )  # fmt: skip
    try:
        pid = int(program.stdout.readline())
        if what == "killed":
            program.kill()
        assert program.wait(timeout=20) == (-signal.SIGKILL if what == "killed" else 0)
        deadline = time.monotonic() + 10
        while is_running(pid):
            assert time.monotonic() < deadline, "the worker is still there"
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_timeout():
    loader = DataLoader(Failing(0, "sleep"), 2, num_workers=1, timeout=0.5)
    with pytest.raises(RuntimeError, match=r"worker 0 sent no batch for 0\.5 seconds"):
        next(iter(loader))


def test_worker_init_fn_fails():
    with pytest.raises(OSError, match="worker 0 has no disk"):
        list(DataLoader(Squares(), 2, num_workers=1, worker_init_fn=fail_to_start))


def test_what_cannot_be_sent_to_a_worker():
    with pytest.raises(RuntimeError, match="top level of a module, or use num_workers=0"):
        list(DataLoader(Squares(), 2, num_workers=1, collate_fn=lambda batch: batch))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_workers": -1}, "num_workers must be an int, 0 or more, got -1"),
        ({"timeout": -1}, "timeout must be 0 or more seconds, got -1"),
        ({"prefetch_factor": 2}, "prefetch_factor must be 1 or more and needs num_workers > 0"),
        ({"persistent_workers": True}, "persistent_workers=True needs num_workers > 0"),
        ({"sampler": [1], "shuffle": True}, "sampler and shuffle exclude each other"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler excludes batch_size"),
        ({"batch_sampler": [[1]], "drop_last": True}, "batch_sampler excludes batch_size"),
        ({"batch_size": None, "drop_last": True}, "drop_last=True needs a batch_size"),
        ({"batch_size": 0}, "batch_size must be a positive int or None, got 0"),
        ({"num_workers": 1, "multiprocessing_context": "thread"}, "must be one of .* got 'thread'"),
    ],
)
def test_refused(arguments, words):
    with pytest.raises(ValueError, match=f"DataLoader: .*{words}"):
        DataLoader(Squares(), **arguments)


@pytest.mark.parametrize("arguments", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_refused_for_iterables(arguments):
    with pytest.raises(ValueError, match="an IterableDataset has its own order"):
        DataLoader(Count(), **arguments)


# -- resuming ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("given", [0, 3, 7])
def test_resuming_in_the_middle(workers, given):
    def made(generator):
        return DataLoader(Squares(15), 2, shuffle=True, num_workers=workers, generator=generator)

    loader = made(seeded(4))
    list(loader)
    batches = iter(loader)
    for _ in range(given):
        next(batches)
    state = loader.state_dict()
    expected = [b[1].tolist() for b in batches] + indices(loader)
    other = made(seeded(99))
    other.load_state_dict(state)
    assert other.state_dict() == state
    assert indices(other) + indices(other) == expected


def test_resuming_from_the_default_generator():
    fb.manual_seed(4)
    loader = DataLoader(Squares(15), 2, shuffle=True)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    state, expected = loader.state_dict(), [b[1].tolist() for b in batches]
    fb.manual_seed(77)
    before = fb.get_rng_state().tolist()
    other = DataLoader(Squares(15), 2, shuffle=True)
    other.load_state_dict(state)
    assert indices(other) == expected
    assert fb.get_rng_state().tolist() == before


def test_resuming_draws_the_same_numbers_in_workers():
    loader = DataLoader(Draws(), None, num_workers=2, generator=seeded(4))
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    state, expected = loader.state_dict(), [b[:3] for b in batches]
    other = DataLoader(Draws(), None, num_workers=1, generator=seeded(0))
    other.load_state_dict(state)
    assert [b[:3] for b in other] == expected


@pytest.mark.parametrize("workers", [0, 3])
def test_resuming_an_iterable(workers):
    loader = DataLoader(Count(20), 2, num_workers=workers)
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    state, expected = loader.state_dict(), [b.tolist() for b in batches]
    other = DataLoader(Count(20), 2, num_workers=workers)
    other.load_state_dict(state)
    assert [b.tolist() for b in other] == expected


def test_resuming_between_epochs():
    sampler = RandomSampler(range(15), generator=seeded(4))
    loader = DataLoader(Squares(15), 2, sampler=sampler)
    list(loader)
    state = loader.state_dict()
    expected = indices(loader)
    other = DataLoader(Squares(15), 2, sampler=RandomSampler(range(15), generator=seeded(0)))
    other.load_state_dict(state)
    assert indices(other) == expected


def test_the_state_can_be_saved(tmp_path):
    loader = DataLoader(Squares(15), 2, shuffle=True, generator=seeded(1))
    next(iter(loader))
    fb.save(loader.state_dict(), tmp_path / "a")
    assert fb.load(tmp_path / "a") == loader.state_dict()


def test_a_state_of_something_else():
    with pytest.raises(ValueError, match=r"state_dict must come from .* got keys \['epoch'\]"):
        DataLoader(Squares()).load_state_dict({"epoch": 1})
    with pytest.raises(ValueError, match="same sampler and generator arguments"):
        DataLoader(Squares()).load_state_dict(DataLoader(Squares(), generator=seeded()).state_dict())


ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    2**64,
    10**5000,
    math.nan,
    "x",
    [],
    {},
    [[]],
    [[0, 0]],
    [[0, 0, 0]],
    [["a", 0]],
    [[0, -1]],
]


@pytest.mark.parametrize("epoch", ["before", "within"])
def test_a_state_that_is_wrong_changes_nothing(epoch):
    def fresh():
        return DataLoader(Squares(9), 2, shuffle=True, generator=seeded(3))

    good = fresh().state_dict()
    states = [5, None, [], {}, {"batches": 1}, {**good, "x": 1}, {1: 2}]
    states += [{**good, key: odd} for key in good for odd in ODD]
    states += [{**good, "generators": [pair, good["generators"][1]]} for pair in ODD]
    for state in states:
        loader = fresh()
        if epoch == "within":
            next(iter(loader))
        before = loader.state_dict()
        try:
            loader.load_state_dict(state)
        except (TypeError, ValueError) as error:
            assert "DataLoader.load_state_dict" in str(error) and len(str(error)) < 500
            assert loader.state_dict() == before
        else:
            assert state["batches"] in (None, 0)
            list(loader)


# -- pinned memory -----------------------------------------------------------------------------------


def test_pin_memory_without_a_device_that_has_it():
    with pytest.warns(UserWarning, match="pin_memory=True has no effect, the device 'cpu' knows no pinned memory"):
        assert len(list(DataLoader(Squares(4), 2, pin_memory=True))) == 2


def test_pin_memory(monkeypatch):
    backend = fb.ones(1).device.backend
    monkeypatch.setattr(backend, "capabilities", backend.capabilities | {"can_pin"})
    monkeypatch.setattr(fb.Tensor, "pin_memory", lambda self: self + 100, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = list(DataLoader(TensorDataset(fb.arange(4)), 2, pin_memory=True))
    assert [b[0].tolist() for b in batches] == [[100, 101], [102, 103]]


# -- devices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_on_the_host_whatever_the_default_device(workers):
    with fb.device("meta"):
        batches = list(DataLoader([(1, 0.5), (2, 1.5)], 2, shuffle=True, num_workers=workers, generator=seeded()))
    assert sorted(batches[0][0].tolist()) == [1, 2]
    assert batches[0][1].device is fb.device("cpu")


def test_tensors_made_in_a_worker_are_on_the_host(monkeypatch):
    monkeypatch.setenv("FLAMBEAU_DEVICE", "meta")
    loader = DataLoader(Squares(2), 2, num_workers=1, multiprocessing_context="spawn")
    assert [b[0].tolist() for b in loader] == [[[0], [1]]]


@pytest.mark.parametrize("everyone", [False, True])
def test_an_interrupt_ends_the_program(tmp_path, everyone):
    """Ctrl-C, which reaches the workers too, in the middle of an epoch."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, time\nimport flambeau as fb\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it\n"
        "class Slow:\n"
        "    def __len__(self): return 1000\n"
        "    def __getitem__(self, i): time.sleep(0.2); return i\n"
        "if __name__ == '__main__':\n"
        "    for batch in fb.utils.data.DataLoader(Slow(), num_workers=2): print('batch', flush=True)\n"
    )
    program = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.getcwd()}, start_new_session=True,
    )  # fmt: skip
    try:
        assert program.stdout.readline() == "batch\n"
        (os.killpg if everyone else os.kill)(program.pid, signal.SIGINT)
        errors = program.communicate(timeout=30)[1]
    finally:
        program.kill()
        program.communicate()
    assert program.returncode != 0 and errors.rstrip().endswith("KeyboardInterrupt")
