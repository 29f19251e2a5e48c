"""The memory of the CPU backend: statistics, limits, and that large results are made in blocks that are kept."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau as fb
from flambeau.backends.base import OutOfMemoryError
from flambeau.backends.cpu.memory import memory
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.llvm import handlers
from flambeau.core import config

pytestmark = pytest.mark.skipif(handlers.unavailable() is not None, reason="numpy takes no handler here")

COUNT = 1 << 20


@pytest.fixture(autouse=True)
def machine_code() -> object:
    with config.override(cpu_code="host"):
        active()
        yield


def _place(x: fb.Tensor) -> int:
    return x.data_ptr()


def test_results_are_made_where_freed_ones_were() -> None:
    x = fb.rand(COUNT)
    held = [x + x for _ in range(2)]  # may be kept
    places = {_place(h) for h in held}
    del held
    assert _place(x + x) in places
    assert _place(x.exp()) in places


def test_statistics_count_large_tensors_alone() -> None:
    before = fb.accelerator.memory_stats("cpu")
    x, small = fb.rand(COUNT), fb.rand(10)
    after = fb.accelerator.memory_stats("cpu")
    assert 4 * COUNT <= after.allocated - before.allocated < 5 * COUNT
    assert after.reserved >= after.allocated and after.peak >= after.allocated
    del x, small
    assert fb.accelerator.memory_allocated("cpu") == before.allocated
    fb.accelerator.reset_peak_memory_stats("cpu")
    assert fb.accelerator.max_memory_allocated("cpu") == before.allocated
    fb.accelerator.empty_cache("cpu")
    stats = fb.accelerator.memory_stats("cpu")
    assert stats.reserved == stats.allocated


def test_limit_refuses_what_is_beyond_it() -> None:
    used = fb.accelerator.memory_allocated("cpu")
    fb.accelerator.set_memory_limit(used + 8 * COUNT, "cpu")
    try:
        assert fb.accelerator.memory_stats("cpu").limit == used + 8 * COUNT
        x = fb.rand(COUNT)
        with pytest.raises(OutOfMemoryError, match="cat: out of memory"):
            fb.cat([x] * 4)
        fb.rand(COUNT // 2)
    finally:
        fb.accelerator.set_memory_limit(None, "cpu")
    with pytest.raises(ValueError, match="negative"):
        fb.accelerator.set_memory_limit(-1, "cpu")


def test_memory_is_shared_as_before() -> None:
    x = fb.rand(COUNT)
    seen = x.numpy()
    seen[3] = 5.0
    assert x[3].item() == 5.0
    assert x.untyped_storage().nbytes() == 4 * COUNT
    other = np.from_dlpack(x)
    assert other.ctypes.data == x.data_ptr()
    back = fb.from_numpy(seen[10:20])
    del x, seen, other
    assert back.shape == (10,) and back.untyped_storage().nbytes() == 4 * COUNT
    storage = fb.zeros(COUNT).untyped_storage()
    storage.resize_(8 * COUNT)
    assert storage.nbytes() == 8 * COUNT


_OTHER_THREADS = """
import threading
import flambeau as fb
x = fb.rand(1 << 20)
x.exp()
from flambeau.backends.base import OutOfMemoryError
from flambeau.backends.cpu.memory import memory
found = []
def work():
    before = memory.stats().allocations
    kept = x.exp()
    found.append(memory.stats().allocations - before)
t = threading.Thread(target=work); t.start(); t.join()
assert found[0] >= 1, found
print("well")
"""


def test_threads_that_come_later_have_it_too() -> None:
    code = f"import os; os.environ['FLAMBEAU_CPU_CODE'] = 'host'\n{_OTHER_THREADS}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "well"), done.stderr


def test_setting_of_zero_keeps_nothing() -> None:
    code = (
        "import os; os.environ.update(FLAMBEAU_CPU_CODE='host', FLAMBEAU_CPU_CACHE='0')\n"
        "import flambeau as fb\nx = fb.rand(1 << 20).exp()\nfor _ in range(3): y = x.exp()\n"
        "del y\nstats = fb.accelerator.memory_stats('cpu')\n"
        "assert stats.allocations and stats.reserved == stats.allocated, stats\nprint('well')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "well"), done.stderr


def test_user_who_has_a_handler_keeps_it() -> None:
    import contextvars

    def work() -> None:
        mine = handlers.new("mine", handlers.functions(handlers.own())[1:])
        handlers.put(mine)
        memory.enter()
        assert handlers.current() is mine

    contextvars.copy_context().run(work)
