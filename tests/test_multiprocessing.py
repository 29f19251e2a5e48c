"""Tensors that go to other processes are the same memory there."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import pytest

import flambeau as fb
import flambeau.multiprocessing as mp

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shares memory by file descriptors")


def adds(number: int, queue: Any, results: fb.Tensor, weight: fb.nn.Parameter, taken: Any) -> None:
    results[number] = number + 1
    queue.put((fb.full((2, 2), float(number)).T, number))
    if number == 0:
        with fb.no_grad():
            weight.add_(1)
    taken.wait(60)  # memory is given on by the process that sent it


def fails(number: int) -> None:
    raise ValueError("oops")


def leaves(number: int) -> None:
    sys.exit(3)


def test_share_memory() -> None:
    x = fb.arange(6.0, device="cpu").reshape(2, 3).T
    assert not mp.is_shared(x) and x.share_memory_() is x and mp.is_shared(x)
    assert x.tolist() == [[0, 3], [1, 4], [2, 5]]
    model = fb.nn.Linear(2, 2).share_memory()
    assert all(mp.is_shared(p) for p in model.parameters())
    model(fb.ones(1, 2)).sum().backward()


def test_the_names_of_python() -> None:
    assert set(multiprocessing.__all__) <= set(dir(mp)) and mp.get_context("spawn").Queue
    assert mp.get_all_sharing_strategies() == {"file_descriptor", "file_system"}
    with pytest.raises(AssertionError, match="expected one of"):
        mp.set_sharing_strategy("post")


@pytest.mark.slow
def test_processes_see_one_memory() -> None:
    context: Any = mp.get_context("spawn")
    queue, taken = context.Queue(), context.Event()
    results, model = fb.zeros(3, device="cpu"), fb.nn.Linear(1, 1, device="cpu").share_memory()
    before = model.weight.item()
    processes = mp.spawn(adds, (queue, results, model.weight, taken), nprocs=2, join=False)
    got = sorted((queue.get(timeout=60) for _ in range(2)), key=lambda e: e[1])
    assert [t.tolist() for t, _ in got] == [[[0, 0], [0, 0]], [[1, 1], [1, 1]]]
    taken.set()
    assert isinstance(processes, mp.SpawnContext) and len(processes.pids()) == 2
    while not processes.join():
        pass
    assert results.tolist() == [1, 2, 0] and model.weight.item() == pytest.approx(before + 1)


@pytest.mark.slow
def test_errors_come_back() -> None:
    with pytest.raises(mp.ProcessRaisedException, match=r"(?s)Process 0 terminated.*ValueError: oops"):
        mp.spawn(fails, nprocs=1)
    with pytest.raises(mp.ProcessExitedException, match="exit code 3") as caught:
        mp.spawn(leaves, nprocs=1)
    assert caught.value.exit_code == 3


def test_computed_tensors_stay() -> None:
    with pytest.raises(RuntimeError, match="its graph stays"):
        mp.reductions.reduce_tensor(fb.ones(1, requires_grad=True) * 2)
