"""Forked children: what a thread of the parent held is free, a pool of processes ends, drivers refuse at once."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
import flambeau.nn.functional as F
from flambeau.backends import base
from flambeau.core.locks import fork_safe

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def in_child(work: Any) -> int:
    """The exit status of a forked child that does ``work``; 124 where it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    timer = threading.Timer(60, os.kill, (child, 9))
    timer.start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    timer.cancel()
    return 124 if status == -9 else status


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_a_lock_of_another_thread_is_free_in_the_child(make: Any) -> None:
    lock, held, over = fork_safe(make()), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(lambda: lock.acquire(timeout=5)) == 0
        assert not lock.acquire(timeout=0)
    finally:
        over.set()
        thread.join()


def test_a_lock_of_the_forking_thread_stays_its_own() -> None:
    lock = fork_safe(threading.RLock())
    with lock:
        assert in_child(lambda: lock.release() is None and lock.acquire(timeout=5)) == 0


def test_no_lock_is_made_past_them() -> None:
    found = []
    for part in ("core", "backends"):
        for path in (Path(fb.__file__).parent / part).resolve().rglob("*.py"):
            made = re.findall(r"(?<!fork_safe\()threading\.R?Lock\(\)", path.read_text())
            found += [str(path)] if made else []
    assert found == []


def test_every_backend_hears_of_a_fork_though_one_fails(capfd: pytest.CaptureFixture[str]) -> None:
    told = []

    class Bad(base.Backend):
        def after_fork(self) -> None:
            raise KeyError("bad")

    class Good(base.Backend):
        def after_fork(self) -> None:
            told.append(1)

    kept = [Bad(), Good(), Bad()]
    assert in_child(lambda: told == [1]) == 0
    assert len(kept) == 3 and "KeyError: 'bad'" in capfd.readouterr().err


def _square(n: int) -> Any:
    return fb.rand(n, n, requires_grad=True)


OPS: dict[str, Any] = {
    "gelu": lambda: F.gelu(_square(500)),
    "add": lambda: _square(500) + _square(500),
    "softmax": lambda: F.softmax(_square(500), -1),
    "sum": lambda: _square(1200).sum(0),
    "matmul": lambda: _square(300) @ _square(300),
    "conv": lambda: F.conv2d(fb.rand(8, 8, 40, 40, requires_grad=True), fb.rand(8, 8, 3, 3)),
    "layer_norm": lambda: F.layer_norm(_square(500), (500,)),
    "svd": lambda: fb.linalg.svdvals(_square(40)),
    "random": lambda: fb.rand(300_000) * _square(1).sum(),
}


def run(name: str) -> bool:
    OPS[name]().sum().backward()
    return True


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_pool_of_forked_processes_ends(busy: bool) -> None:
    """Also while other threads of the parent compute, whose threads and locks do not come along."""
    before, over = fb.get_num_threads(), threading.Event()
    fb.set_num_threads(2)

    def work() -> None:
        while not over.is_set():
            for name in OPS:
                run(name)

    threads = [threading.Thread(target=work) for _ in range(2 if busy else 0)]
    try:
        for name in OPS:
            run(name)
        for thread in threads:
            thread.start()
        for _ in range(3):
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert all(pool.map_async(run, list(OPS)).get(120))
                pool.close()
                pool.join()
    finally:
        over.set()
        for thread in threads:
            thread.join()
        fb.set_num_threads(before)


@pytest.mark.device("opencl")
@pytest.mark.parametrize("parent", ["used", "asked", "pending"])
def test_opencl_refuses_and_the_child_ends(parent: str) -> None:
    """Also where the parent had only asked for the devices, and where it left work behind a gate."""
    script = textwrap.dedent(f"""
        import os, sys, warnings
        warnings.simplefilter("ignore")
        import flambeau as fb
        from flambeau.core import registry
        if {parent!r} == "asked":
            assert registry.get_backend("opencl").device_count()
        else:
            x = fb.ones(300, 300, device="opencl")
            assert (x @ x).sum().item() == 300**3
        if {parent!r} == "pending":
            for _ in range(9):
                y = x[0, 0] + 1
        child = os.fork()
        if child == 0:
            try:
                fb.ones(3, device="opencl").sum().item()
            except RuntimeError as error:
                sys.exit(7 if "forked" in str(error) and "spawn" in str(error) else str(error))
            sys.exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert fb.ones(3, device="opencl").sum().item() == 3
        os._exit(status)
    """)
    done = subprocess.run([sys.executable, "-c", script], timeout=100, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
