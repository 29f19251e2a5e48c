"""Blocks that are kept: numpy's arrays over the handler of generated code."""

from __future__ import annotations

import contextvars
import ctypes
import gc
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau.backends.llvm import blocks, handlers, target
from flambeau.backends.llvm.blocks import HITS, KEEP, KEPT, LEAST, LIMIT, MADE, SLACK, USED, Handler
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.module import Module

pytestmark = pytest.mark.skipif(handlers.unavailable() is not None, reason="numpy takes no handler here")

MB = 1 << 20
Scene = tuple[Handler, Callable[..., object]]


def _made() -> Scene:
    made = blocks.handler(target.host(), handlers.functions(handlers.own()))
    made.write(KEEP, -1)
    capsule = handlers.new("flambeau test", made.functions)

    def inside(work: Callable[..., object], *args: object) -> object:
        """Run ``work`` where the handler is set."""

        def run() -> object:
            handlers.put(capsule)
            return work(*args)

        return contextvars.copy_context().run(run)

    return made, inside


@pytest.fixture
def scene() -> Scene:
    return _made()


def test_freed_block_is_given_to_the_next_array_of_its_class(scene: Scene) -> None:
    made, inside = scene

    def work() -> None:
        x = np.empty(300_000, np.float32)
        place = x.ctypes.data
        del x
        y = np.empty((3, 100_001), np.float32)
        assert y.ctypes.data == place
        assert np.empty(10, np.float32).base is None and y.base is None and y.flags.owndata

    inside(work)
    assert (made.read(MADE), made.read(HITS)) == (2, 1)
    assert made.read(USED) == 0 and made.read(KEPT) >= 1_200_000


@pytest.mark.parametrize("size", [LEAST, LEAST + 1, 100_000, MB - 1, MB, 5 * MB + 3, 40 * MB])
def test_data_is_aligned_to_lines_and_all_of_it_can_be_written(scene: Scene, size: int) -> None:
    def work() -> None:
        for make in (np.empty, np.zeros):
            x = make(size, np.uint8)
            assert x.ctypes.data % 64 == 0
            assert make is np.empty or not x.any()
            x[:] = 255
            del x

    scene[1](work)
    assert scene[0].read(HITS) == 1


def test_zeros_in_a_kept_block_are_zeros(scene: Scene) -> None:
    def work() -> None:
        np.full(MB, 7, np.uint8)
        assert not np.zeros(MB - 5, np.uint8).any()

    scene[1](work)
    assert scene[0].read(HITS) == 1


def test_view_keeps_its_block(scene: Scene) -> None:
    made, inside = scene

    def work() -> None:
        x = np.arange(MB, dtype=np.int32)
        view, place = x[5:10], x.ctypes.data
        del x
        assert np.empty(MB, np.int32).ctypes.data != place
        assert view.tolist() == [5, 6, 7, 8, 9]

    inside(work)
    assert made.read(USED) == 0


def test_small_arrays_stay_with_numpys_own_handler(scene: Scene) -> None:
    scene[1](lambda: [np.ones(100) for _ in range(10)])
    assert scene[0].read(MADE) == 0


@pytest.mark.parametrize(
    ("before", "after"), [(10, 10 * MB), (10 * MB, 10), (2 * MB, 2 * MB - 8), (MB, 3 * MB), (100_000, 90_000)]
)
def test_resized_array_keeps_its_values(scene: Scene, before: int, after: int) -> None:
    def work() -> None:
        x = np.arange(before, dtype=np.int64)
        x.resize(after, refcheck=False)
        both = min(before, after)
        assert (x[:both] == np.arange(both)).all()
        assert not x[both:].any()
        x[:] = 1

    scene[1](work)
    assert scene[0].read(USED) == 0


def test_beyond_the_limit_is_a_memory_error_and_what_is_freed_counts_no_more(scene: Scene) -> None:
    made, inside = scene
    made.write(LIMIT, 10 * MB)

    def work() -> None:
        x = np.empty(6 * MB, np.uint8)
        with pytest.raises(MemoryError):
            np.empty(6 * MB, np.uint8)
        del x
        np.empty(9 * MB, np.uint8)  # what was kept gives way
        assert made.read(USED) + made.read(KEPT) <= 10 * MB

    inside(work)


def test_absurd_sizes_are_memory_errors(scene: Scene) -> None:
    def work() -> None:
        for size in (1 << 47, 1 << 60):
            with pytest.raises(MemoryError):
                np.empty(size, np.uint8)
            with pytest.raises(MemoryError):
                np.zeros(size, np.uint8)

    scene[1](work)
    assert scene[0].read(USED) == 0


def test_no_more_is_kept_than_the_setting_says_and_nothing_after_trimming(scene: Scene) -> None:
    made, inside = scene
    made.write(KEEP, 3 * MB)

    def work() -> None:
        held = [np.empty(MB, np.uint8) for _ in range(8)]
        del held

    inside(work)
    assert 0 < made.read(KEPT) <= 3 * MB
    made.trim(MB)
    assert made.read(KEPT) <= MB
    made.trim(0)
    assert made.read(KEPT) == 0
    made.write(KEEP, 0)
    inside(work)
    assert made.read(KEPT) == 0


def test_kept_and_used_are_never_more_than_was_in_use_at_once(scene: Scene) -> None:
    made, inside = scene

    def work() -> None:
        most = 0
        for i in range(200):
            size = 100_000 + (i * 7919 % 97) * 65_536
            x = np.empty(size, np.uint8)
            most = max(most, made.read(USED))
            assert made.read(USED) + made.read(KEPT) <= most + SLACK
            del x

    inside(work)


def test_threads_share_the_blocks(scene: Scene) -> None:
    made, inside = scene
    wrong: list[int] = []

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        held = []
        for size in rng.integers(LEAST // 2, 3 * LEAST, 300):
            held.append(np.full(size, number, np.uint8))
            if len(held) > 5 and not (held.pop(int(rng.integers(5))) == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=inside, args=(work, i)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert made.read(USED) == 0


def test_memory_that_looks_like_a_block_and_was_one_is_none(scene: Scene) -> None:
    """A freed block's line is no longer its sign when the C library gives the place to somebody else."""
    made, inside = scene
    made.write(KEEP, 0)
    free = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(made.functions[3])
    malloc = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(made.functions[0])
    for _ in range(50):
        first, second = malloc(None, LEAST), malloc(None, 4000)
        free(None, first, LEAST)
        third = malloc(None, 4000)
        free(None, second, 4000)
        free(None, third, 4000)
    assert made.read(USED) == 0
    inside(gc.collect)


_CHILD = """
import os, sys
import numpy as np
from flambeau.backends.llvm import blocks, handlers, target
made = blocks.handler(target.host(), handlers.functions(handlers.own()))
made.write(blocks.KEEP, -1)
handlers.put(handlers.new("flambeau test", made.functions))
kept = np.arange(1 << 20)
sys.modules["kept_to_the_end"] = kept
class Late:
    def __init__(self): self.x = np.ones(1 << 20)
    def __del__(self): self.x = None
late = Late()
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        x = np.ones(1 << 20); del x
        os._exit(0 if np.ones(1 << 20).all() and kept[-1] == (1 << 20) - 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
print("well")
"""


def test_children_of_a_fork_and_the_end_of_the_process_are_well() -> None:
    done = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "well"), done.stderr


@pytest.mark.parametrize("elsewhere", target.ELSEWHERE, ids=lambda t: t.name)
def test_it_compiles_for_other_systems(elsewhere: target.Target) -> None:
    module = Module(elsewhere)
    blocks.define(module, 8, (0, 8, 8, 8, 8), lambda name: 8)
    assert compiler_for(elsewhere).compile(module.text())
