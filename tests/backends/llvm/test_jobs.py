"""Jobs: each chunk done once, with the values that were passed."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from flambeau.backends.llvm import quick
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.llvm.types import F32, F64, I32, I64, PTR


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
def test_values_of_every_type_arrive(target: Target) -> None:
    f = JobFunction(Module(target), "job", [PTR, F32, I32, F64, I64])
    out, a, b, c, d = f.values
    total = a.convert("fpext", F64) + b.convert("sitofp", F64) + c + d.convert("sitofp", F64)
    f.store(f.load(F64, out, f.chunk) + total, out, f.chunk)
    f.ret()
    (job,) = jobs(f)
    found = np.arange(5.0)
    job(4, found.ctypes.data, 0.5, -3, 0.25, 1 << 40)
    assert found.tolist() == [*(i + 0.5 - 3 + 0.25 + (1 << 40) for i in range(4)), 4.0]


def _sums(count: int) -> Job:
    """A job that adds up so many values."""
    f = JobFunction(Module(host()), "sums", [PTR, *[I64] * count])
    out, *values = f.values
    total = values[0]
    for v in values[1:]:
        total = total + v
    f.store(total + f.chunk, out, f.chunk)
    f.ret()
    (job,) = jobs(f)
    return job


@pytest.mark.parametrize("count", [1, 5, 63, 64, 100])
@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_any_number_of_values_and_chunks(count: int, chunks: int) -> None:
    found = np.full(3, -1)
    _sums(count)(chunks, found.ctypes.data, *range(-1, count - 1))
    expected = sum(range(-1, count - 1))
    assert found.tolist() == [expected + i if i < chunks else -1 for i in range(3)]


@pytest.mark.parametrize("chunks", [1, 2])
def test_values_that_are_wrong_raise(chunks: int) -> None:
    job, found = _sums(2), np.zeros(2, np.int64)
    place = found.ctypes.data
    for values in ((), (place,), (place, 1), (place, 1, 2, 3)):
        with pytest.raises((TypeError, struct.error)):
            job(chunks, *values)
    for wrong in (None, "1", 2.5, 1 << 70):
        with pytest.raises((TypeError, struct.error, OverflowError)):
            job(chunks, place, 1, wrong)
    assert found.tolist() == [0, 0]
    job(chunks, place, np.int64(-3), True)
    assert found.tolist() == [-2, 0 if chunks == 1 else -1]


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_the_call_compiles_for_other_systems(target: Target) -> None:
    for write in (quick.write_run, quick.write_run_all, quick.write_run_bound):
        module = Module(target)
        write(module)
        assert compiler_for(target).compile(module.text())


# -- calls that are written down -------------------------------------------------------------------
def _copies() -> Job:
    """A job that writes to place ``chunk`` the number there times a factor, and 1 more with a third array."""
    f = JobFunction(Module(host()), "copies", [PTR, PTR, PTR, F32])
    x, out, more, factor = f.values
    f.store(f.load(F64, x, f.chunk) * factor.convert("fpext", F64), out, f.chunk)
    with f.when(more.address().ne(0)):
        f.store(f.load(F64, out, f.chunk) + f.load(F64, more), out, f.chunk)
    f.ret()
    return jobs(f)[0]


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("chunks", [0, 1, 2, 50])
def test_a_call_that_is_written_down_serves_any_arrays(
    chunks: int, built: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not built:
        monkeypatch.setattr(quick, "run_bound", lambda: None)
    call = quick.bound(_copies(), chunks, 3, 0.5, skip=16)
    for seed in range(3):
        x, out = np.random.default_rng(seed).standard_normal(60), np.zeros(60)
        call(x, out, None)
        assert np.array_equal(out[:chunks], x[2 : 2 + chunks] / 2) and not out[chunks:].any()
        call(x, out, np.array([1.0]))
        assert np.array_equal(out[:chunks], x[2 : 2 + chunks] / 2 + 1) and not out[chunks:].any()


def test_a_call_refuses_what_are_no_arrays() -> None:
    call = quick.bound(_copies(), 1, 3, 1.0)
    x, out = np.arange(4.0), np.zeros(4)
    odd = np.zeros(33, np.uint8)[1:].view(np.float64)
    wrong: tuple[tuple[object, ...], ...] = (
        (), (x, out), (x, out, None, None), (x, 3, None), ([1.0], out, None), (odd, out, None),
    )  # fmt: skip
    for arguments in wrong:
        with pytest.raises(TypeError, match="aligned arrays"):
            call(*arguments)
    with pytest.raises(TypeError, match="aligned arrays"):
        quick.run_bound()(3, x, out, None)  # type: ignore[misc]  # there is one here
    assert not out.any()
