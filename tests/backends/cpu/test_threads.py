"""One number of threads for the pool and BLAS; errors, nested work, forks, new threads."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from flambeau.backends.cpu import threads
from flambeau.core import config
from tests.backends.cpu.arrays import BACKEND, kernel


def test_parts_run_at_once_and_come_back_in_order() -> None:
    meet = threading.Barrier(3, timeout=20)

    def part(i: Any) -> Any:
        meet.wait()  # breaks unless three threads are here together
        return i

    with config.override(num_threads=3):
        assert threads.run([partial(part, i) for i in range(3)]) == [0, 1, 2]


def test_one_thread_means_the_callers() -> None:
    with config.override(num_threads=1):
        found = threads.run([threading.get_ident] * 4)
    assert found == [threading.get_ident()] * 4


def test_work_inside_a_worker_stays_there() -> None:
    def part() -> Any:
        return threads.num_threads(), threads.run([threading.get_ident] * 2), threading.get_ident()

    with config.override(num_threads=2):
        (count, inside, ident), _ = threads.run([part, part])
    assert count == 1 and inside == [ident, ident]


def test_an_error_arrives_when_every_part_has_ended() -> None:
    ended = threading.Event()

    def slow() -> Any:
        try:
            threading.Event().wait(0.2)
        finally:
            ended.set()

    def fails() -> Any:
        raise KeyError("lost")

    with config.override(num_threads=2):
        with pytest.raises(KeyError, match="lost"):
            threads.run([slow, fails])
        assert ended.is_set()
        with pytest.raises(KeyError, match="lost"):
            threads.run([fails, slow])


def test_ranges_cover_everything_once() -> None:
    for size in range(20):
        for parts in range(1, 7):
            chunks = threads.ranges(size, parts)
            assert [i for p in chunks for i in range(p.start, p.stop)] == list(range(size))
            assert len(chunks) <= parts


@pytest.mark.skipif(threads.blas_threads() is None, reason="numpy's BLAS here is none that can be asked")
def test_the_backend_tells_blas() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = threads.blas_threads()
    try:
        BACKEND.set_num_threads(1)
        assert threads.blas_threads() == 1
        paths = [i for i in threadpoolctl.threadpool_info() if "numpy" in i["filepath"] and i["user_api"] == "blas"]
        assert [i["num_threads"] for i in paths] == [1]
        BACKEND.set_num_threads(2)
        assert threads.blas_threads() == 2
        with threads.single_threaded_blas():
            assert threads.blas_threads() == 1
            with threads.single_threaded_blas():
                assert threads.blas_threads() == 1
            assert threads.blas_threads() == 1
        assert threads.blas_threads() == 2
    finally:
        threads.set_blas_threads(before)


def test_the_environment_holds_for_blas_too(run_python: Any) -> None:
    code = (
        "from flambeau.backends.cpu import backend, threads; backend.CpuBackend(); "
        "print(threads.num_threads(), threads.blas_threads())"
    )
    found = run_python("-c", code, FLAMBEAU_NUM_THREADS="1")
    assert found.stdout.split() in (["1", "1"], ["1", "None"]), found.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_makes_threads_of_its_own() -> None:
    with config.override(num_threads=2):
        threads.run([int, int])
        child = os.fork()
        if child == 0:
            ok = threads.run([partial(int, "1"), partial(int, "2")]) == [1, 2]
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_prepared_thread_does_not_warn() -> None:
    found = []

    def work() -> Any:
        BACKEND.prepare_thread()
        found.append(kernel("log")(np.array([-1.0, 0.0])))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert np.isnan(found[0][0]) and found[0][1] == -np.inf


def test_properties() -> None:
    found = BACKEND.properties()
    assert found.total_memory > 0 and found.details["cores"] >= 1
    assert BACKEND.is_available() and BACKEND.device_count() == 1 and BACKEND.has("has_fp64")
