"""What goes wrong between ranks is found and named: late ranks, mismatched collectives, and what each waits for."""

from __future__ import annotations

import re

import pytest

from tests.distributed.jobs import run_ranks

pytest.importorskip("mpi4py", reason="processes communicate through mpi4py, of the extra 'distributed'")

_DIFFERENT = """
import os
import flambeau as fb, flambeau.distributed as dist
try:
    dist.init_process_group("mpi" if int(os.environ["RANK"]) else "cpu:mpi")
    asked = "no error"
except ValueError as error:
    asked = str(error)
dist.init_process_group("mpi", timeout=10)
me = dist.get_rank()
group = [dist.new_group() for _ in range(5)]
def order(g):
    dist.all_reduce(fb.ones(2), group=g) if me else dist.broadcast(fb.ones(2), 0, g)
def shape(g):
    dist.all_reduce(fb.ones(2 + me), group=g)
def dtype(g):
    dist.all_reduce(fb.ones(2, dtype=fb.float64 if me else fb.float32), group=g)
def op(g):
    dist.all_reduce(fb.ones(2), dist.ReduceOp.MAX if me else dist.ReduceOp.SUM, group=g)
def splits(g):
    dist.all_to_all([fb.ones(1), fb.ones(2 + me)], [fb.ones(1), fb.ones(2 + me)], group=g)
result = [asked]
for g, case in zip(group, (order, shape, dtype, op, splits)):
    try:
        case(g)
        result.append("nothing was found")
    except dist.DistBackendError as error:
        result.append(str(error))
assert dist.get_debug_level() is dist.DebugLevel.DETAIL
x = fb.ones(2)
dist.all_reduce(x)
result.append(x.tolist())
"""


def test_detail_finds_mismatched_collectives() -> None:
    job = run_ranks(2, _DIFFERENT, environment={"TORCH_DISTRIBUTED_DEBUG": "DETAIL"}).check()
    for found in job.returned:
        asked, order, shape, dtype, op, splits, total = found
        assert "the ranks ask for different backends: ['cpu:mpi', 'mpi']" in asked
        assert re.search(r"rank 0: call #1, broadcast\(float32 \[2\], src=0\)\n  rank 1: call #1, all_reduce", order)
        assert re.search(r"rank 0: call #1, all_reduce\(float32 \[2\], SUM\)\n  rank 1: .*float32 \[3\]", shape)
        assert "float32 [2]" in dtype and "float64 [2]" in dtype
        assert "SUM" in op and "MAX" in op
        assert re.search(r"rank 0 gives rank 1 \d elements, which expects \d", splits)
        assert total == [2.0, 2.0]


_LATE = """
import sys, time
import flambeau as fb, flambeau.distributed as dist
dist.init_process_group("mpi", timeout=1.5)
me, result = dist.get_rank(), ""
dist.all_reduce(fb.ones(1))
if me == 0:
    start = time.monotonic()
    try:
        dist.all_reduce(fb.ones(3, 2))
    except dist.DistBackendError as error:
        result = str(error)
    took = time.monotonic() - start
    try:
        dist.barrier()
    except dist.DistBackendError as error:
        result = [result, str(error), took]
else:
    time.sleep(3)
"""


def test_a_late_rank_and_the_call_are_named() -> None:
    environment = {"FLAMBEAU_DISTRIBUTED_DEBUG": "info", "FLAMBEAU_DISTRIBUTED_PATIENCE": "0.3"}
    job = run_ranks(2, _LATE, environment=environment)
    late, dead, took = job.returned[0]
    assert "rank 0 of 2: all_reduce(float32 [3, 2], SUM) #2 in group '0': no answer within 1.5 s" in late
    assert "rank 1 of 2: all_reduce(float32 [1], SUM) #1" in late, "where the other rank is"
    assert "cannot be used any more" in dead and 1.4 < took < 2.9
    assert re.search(r"all_reduce\(float32 \[3, 2\], SUM\) #2 in group '0' waits for 0\.\d s", job.err)


_WAIT = """
import time
import flambeau as fb, flambeau.distributed as dist
dist.init_process_group("mpi", timeout=30)
result = None
if dist.get_rank() == 0:
    work = dist.all_reduce(fb.ones(2), async_op=True)
    assert not work.is_completed()
    try:
        work.wait(timeout=0.4)
    except dist.DistBackendError as error:
        result = str(error)
    dist.get_rank()
else:
    time.sleep(1)
    dist.all_reduce(fb.ones(2))
"""


def test_wait_has_a_deadline_of_its_own() -> None:
    job = run_ranks(2, _WAIT)
    assert "rank 0 of 2: all_reduce(float32 [2], SUM) #1 in group '0': no answer within 0.4 s" in job.returned[0]
