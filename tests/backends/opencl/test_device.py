"""Devices, memory, threads and forks."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import BackendUnavailableError, OutOfMemoryError
from flambeau.backends.opencl import discovery
from flambeau.backends.opencl.backend import OpenCLBackend
from flambeau.backends.opencl.memory import rounded
from flambeau.backends.opencl.queue import BURST
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.expr import parse
from tests.environments import ROOT


def test_without_pyopencl_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyopencl", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_NoPyOpenCL(), *sys.meta_path])
    backend = OpenCLBackend()
    assert not backend.is_available()
    assert backend.device_count() == 0
    assert 'pip install "flambeau[opencl]"' in backend.unavailable_reason()


class _NoPyOpenCL:
    def find_spec(self, name, path=None, target=None):
        if name == "pyopencl":
            raise ModuleNotFoundError("No module named 'pyopencl'", name="pyopencl")
        return


@pytest.mark.device("opencl")
class TestDiscovery:
    def test_every_device_is_named_and_the_usable_ones_come_first(self, opencl):
        reasons = [f.reason for f in opencl.devices()]
        assert reasons == sorted(reasons, key=lambda r: r is not None)
        assert opencl.device_count() == reasons.count(None)
        assert opencl.properties(0).total_memory > 0

    def test_verdicts_are_kept_on_disk(self, opencl, tmp_path, monkeypatch):
        runs = []
        real = discovery.run_canary
        monkeypatch.setattr(discovery, "run_canary", lambda *place: runs.append(place) or real(*place))
        with config.override(cache_dir=tmp_path):
            _, first, _ = discovery.discover()
            assert len(runs) == len(first)
            _, second, _ = discovery.discover()
        assert len(runs) == len(first)
        assert [f.label for f in first] == [f.label for f in second]

    def test_a_device_that_fails_the_canary_does_not_count(self, opencl, tmp_path, monkeypatch):
        monkeypatch.setattr(discovery, "run_canary", lambda *place: "unknown target CPU 'generic'")
        with config.override(cache_dir=tmp_path):
            backend = OpenCLBackend()
            assert backend.device_count() == 0
        assert "unknown target CPU" in backend.unavailable_reason()
        assert "apt install pocl-opencl-icd" in backend.unavailable_reason()
        with pytest.raises(BackendUnavailableError, match="opencl:0 does not exist"):
            backend.device(0)

    def test_a_canary_that_hangs_or_dies_is_a_reason(self, opencl, tmp_path, monkeypatch):
        for text, words in (
            ("import time; time.sleep(60)", "did not finish within 1 s"),
            ("import os; os.abort()", "crashed"),
        ):
            script = tmp_path / "canary.py"
            script.write_text(text)
            monkeypatch.setattr(discovery, "_CANARY", script)
            with config.override(probe_timeout=1):
                assert words in discovery.run_canary(0, 0)

    def test_no_such_device(self, opencl):
        with pytest.raises(BackendUnavailableError, match=r"opencl:99 does not exist: there are \d+ usable"):
            opencl.device(99)


@pytest.mark.device("opencl")
class TestMemory:
    def test_memory_comes_back_and_is_used_again(self, opencl):
        gc.collect()
        before = opencl.memory_stats()
        arrays = [opencl.empty((1000,), dt.float32) for _ in range(10)]
        assert opencl.memory_stats().allocated == before.allocated + 40_000
        del arrays
        after = opencl.memory_stats()
        assert after.allocated == before.allocated
        kept = [opencl.empty((1000,), dt.float32) for _ in range(10)]
        assert opencl.memory_stats().reserved == after.reserved
        del kept

    def test_the_limit_is_an_error_that_leaves_the_device_usable(self, opencl):
        opencl.empty_cache()
        opencl.set_memory_limit(opencl.memory_stats().reserved + (1 << 20))
        try:
            with pytest.raises(OutOfMemoryError, match=r"opencl:0 .* out of memory: \d+ bytes asked for"):
                opencl.empty((1 << 20,), dt.float32)
            assert opencl.to_host(opencl.from_host(np.ones(5), dt.float64)).tolist() == [1] * 5
            held = opencl.empty((200_000,), dt.float32)
            del held  # its block is in the pool, and goes when another size needs the room
            opencl.empty((190_000,), dt.float32)
        finally:
            opencl.set_memory_limit(None)

    def test_more_than_the_device_has(self, opencl):
        with pytest.raises(OutOfMemoryError, match="out of memory"):
            opencl.empty((1 << 50,), dt.uint8)

    @pytest.mark.parametrize("nbytes", [0, 1, 256, 257, 1000, 4096, 5000, 123456789])
    def test_size_classes_waste_little(self, nbytes):
        assert nbytes <= rounded(nbytes) <= max(256, nbytes * 1.13)


@pytest.mark.device("opencl")
def test_threads_hand_arrays_to_each_other(opencl):
    """Many threads on few queues read, write and free each other's arrays: no stale read, no block handed out twice."""
    step = opencl.elementwise("threads", parse("x * 2 + y", ("x", "y")), (dt.int64, dt.int64), dt.int64)
    shared = [opencl.from_host(np.full(3000, i), dt.int64) for i in range(6)]
    failures: list[str] = []
    mailbox: list[tuple[object, int]] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        own = np.random.default_rng(number)
        value, array = number, opencl.from_host(np.full(3000, number), dt.int64)
        for _ in range(150):
            i = int(own.integers(6))
            array, value = step(array, shared[i]), (value * 2 + i) % 2**40
            if value > 2**38:
                array, value = opencl.from_host(np.full(3000, i), dt.int64), i
            with lock:  # give it away, take another's
                mailbox.append((array, value))
                array, value = mailbox.pop(int(own.integers(len(mailbox))))
            if own.random() < 0.2:
                got = opencl.to_host(array)
                if not (got == value).all():
                    failures.append(f"thread {number}: {np.unique(got)} instead of {value}")
                    return

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]


@pytest.mark.device("opencl")
class TestBursts:
    """Short launches wait for company, and nobody waits for them in vain."""

    @pytest.fixture
    def device(self, opencl):
        device = opencl.device(0)
        if not device.queues[0].bursts:
            pytest.skip("this driver is not made to wait")
        return device

    def test_results_are_there_when_asked_for(self, opencl, device):
        step = opencl.elementwise("bursts", parse("x + y", ("x", "y")), (dt.int64, dt.int64), dt.int64)
        one = opencl.from_host(np.ones(3), dt.int64)
        for launches in (1, 2, BURST - 1, BURST, BURST + 1, 3 * BURST):
            array = one
            for _ in range(launches):
                array = step(array, one)
            assert opencl.to_host(array).tolist() == [launches + 1] * 3

    def test_another_thread_may_ask(self, opencl, device):
        step = opencl.elementwise("bursts", parse("x + y", ("x", "y")), (dt.int64, dt.int64), dt.int64)
        one = opencl.from_host(np.ones(3), dt.int64)
        array, found = step(one, one), []
        asking = threading.Thread(target=lambda: found.append(opencl.to_host(step(array, one)).tolist()))
        asking.start()
        asking.join(30)
        assert found == [[3, 3, 3]]

    def test_a_long_launch_lets_short_ones_go(self, opencl, device):
        step = opencl.elementwise("bursts", parse("x + y", ("x", "y")), (dt.int64, dt.int64), dt.int64)
        queue = device.queues[device.queue()]
        short = opencl.from_host(np.ones(3), dt.int64)
        long = opencl.from_host(np.ones(100_000), dt.int64)
        step(short, short)
        assert queue._gate is not None
        step(long, long)
        assert queue._gate is None

    def test_a_process_ends_with_work_held_back(self, opencl):
        script = textwrap.dedent("""
            import warnings
            import numpy as np
            warnings.simplefilter("ignore")
            from flambeau.backends.opencl import flambeau_backends
            from flambeau.core import dtype as dt
            from flambeau.core.expr import parse
            backend = flambeau_backends()
            step = backend.elementwise("end", parse("x + x", ("x",)), (dt.float32,), dt.float32)
            array = step(step(backend.from_host(np.ones(3), dt.float32)))
        """)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, timeout=60, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.device("opencl")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_gets_an_error_at_once(opencl):
    script = textwrap.dedent("""
        import os, sys, warnings
        import numpy as np
        warnings.simplefilter("ignore")
        from flambeau.backends.base import DeviceLostError
        from flambeau.backends.opencl import flambeau_backends
        from flambeau.core import dtype as dt
        backend = flambeau_backends()
        array = backend.from_host(np.ones(10, np.float32), dt.float32)
        if os.fork() == 0:
            tries = [
                lambda: backend.to_host(array),
                lambda: backend.empty((3,), dt.float32),
                lambda: backend.from_host(np.ones(2, np.float32), dt.float32),
                lambda: backend.constant(1.0, dt.float32),
                lambda: backend.synchronize(),
                lambda: backend.check(),
            ]
            for i, use in enumerate(tries):
                try:
                    use()
                except DeviceLostError as error:
                    assert "forked" in str(error) and "spawn" in str(error)
                else:
                    os._exit(10 + i)
            del array
            os._exit(0)
        _, status = os.wait()
        assert backend.to_host(array).tolist() == [1] * 10
        sys.exit(os.waitstatus_to_exitcode(status))
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], timeout=60, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.device("opencl")
def test_the_host_does_not_run_far_ahead(opencl):
    """A loop of launches waits for the device now and then, so that a read does not wait for all of them."""
    x = fb.rand(512, 512, device="opencl")
    (x @ x).sum().item()
    start = time.perf_counter()
    for _ in range(200):
        y = x @ x
    launched = time.perf_counter() - start
    y.sum().item()
    assert time.perf_counter() - start < 3 * launched + 0.5


@pytest.mark.device("opencl")
@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
def test_a_wait_can_be_interrupted(opencl, request):
    """Ctrl-C comes through while a read waits, and the device goes on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    x = fb.rand(1200, 1200, device="opencl")
    (x @ x).sum().item()
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            for _ in range(3):
                y = x @ x
            y.cpu()
    assert time.perf_counter() - sent[0] < 5.0  # about 0.2 s on a machine with nothing else to do
    timer.join()
    assert fb.ones(3, device="opencl").sum().item() == 3
    assert (x @ x).cpu().shape == (1200, 1200)


def test_the_newest_of_one_drivers_versions_comes_first():
    """PoCL of pip is older than many systems' own, and does not know the newest processors."""
    cl = SimpleNamespace(device_type=SimpleNamespace(GPU=4, ACCELERATOR=8, CPU=2))

    def found(version, label, platform):
        own = SimpleNamespace(name="Portable Computing Language", version=version)
        return discovery.Found(SimpleNamespace(name=label, type=2, platform=own), platform, 0, None, False)

    pip, system = found("OpenCL 3.0 PoCL 3.0-rc2  Linux", "a", 0), found("OpenCL 3.0 PoCL 3.1+debian  Linux", "b", 1)
    newer = found("OpenCL 3.0 PoCL 10.0  Linux", "c", 2)
    assert sorted([pip, system, newer], key=lambda f: discovery._order(f, cl)) == [newer, system, pip]
