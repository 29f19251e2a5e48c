"""Jobs: each chunk done once, with the values that were passed."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.backends.llvm.jobs import JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target, runnable
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
