"""The built-ins that kernels call themselves: addresses, and a row added to a small matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau.backends.cpu.helpers import _by_interface, _by_numpy
from flambeau.backends.llvm import calls, pieces
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.backends.llvm.types import F32
from flambeau.core import dtype as dt

pytestmark = pytest.mark.skipif(calls.unavailable() is not None, reason="no built-ins here")


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
def test_address_is_that_of_the_first_element(target: Target) -> None:
    address, _ = pieces.built(target, _by_interface, _by_numpy)
    x = np.arange(24.0).reshape(4, 6)
    for v in (x, x[1:], x[::-1], x.T, x[2, 3:3], x[..., 5], np.zeros(()), np.zeros(0)):
        assert address(v) == v.__array_interface__["data"][0]
    for wrong in (None, 3, [1.0]):
        with pytest.raises(AttributeError):
            address(wrong)
    with pytest.raises(TypeError):
        address()


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.complex64])
def test_row_is_added_to_each_row(target: Target, dtype: Any) -> None:
    _, add_rows = pieces.built(target, _by_interface, _by_numpy)
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 1), (3, 16), (5, 17), (8, 40), (0, 3), (3, 0), (300, 200)):
        for turned in (False, True):
            x = rng.standard_normal((columns, rows) if turned else (rows, columns)).astype(dtype)
            row, x = rng.standard_normal(columns).astype(dtype), x.T if turned else x
            expected = x + row
            assert add_rows(x, row) is x
            assert x.tobytes() == expected.tobytes()


def test_what_overlaps_or_does_not_fit_is_numpys_business() -> None:
    _, add_rows = pieces.built(runnable()[0], _by_interface, _by_numpy)
    x = np.ones((3, 4), "f4")
    add_rows(x, x[1])
    assert x.tolist() == [[2.0] * 4] * 3
    with pytest.raises(ValueError, match="broadcast"):
        add_rows(x, np.ones(3, "f4"))
    x.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        add_rows(x, np.ones(4, "f4"))


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_they_compile_for_other_systems(target: Target) -> None:
    module = Module(target)
    pieces.write_address(module)
    pieces.write_add_rows(module, dt.float32, F32)
    assert compiler_for(target).compile(module.text())
