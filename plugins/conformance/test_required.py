"""The minimum of the contract is there, for every dtype in which each kernel has a meaning."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.backends.base import API_VERSION, MINIMUM, MINIMUM_ELEMENTWISE, Backend
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.keys import key_for
from flambeau.core.record import OPS
from flambeau.plugins.conformance import kit
from flambeau.plugins.conformance.opdb import Sample
from flambeau.plugins.gaps import dtype_of


def test_api_version(backend: Backend) -> None:
    assert 1 <= backend.api_version <= API_VERSION


def test_limitations_name_ops(target: str, backend: Backend) -> None:
    """A limitation of an op, or for a dtype, that does not exist would never be looked at."""
    for x in backend.limitations:
        assert x.op in OPS, f"a limitation of {target} names {x.op!r}, which is no op"
        assert x.reason, f"the limitation of {x.op} gives no reason"
        taken = [d for d in x.dtypes or dt.ALL if OPS[x.op].dtype.compute(d) in OPS[x.op].dtype.accepts]
        assert any(backend.offers(d, Device(target).number) for d in taken), f"{x.op} takes none of {x.dtypes}"


@kit.about(lambda params: (params["kernel"], dtype_of(params["kernel"])))
@pytest.mark.parametrize("kernel", MINIMUM)
def test_required(kernel: str, target: str, backend: Backend) -> None:
    """A kernel for float32 or, where it is for integers or booleans alone, for int64 or bool."""
    dtype = dtype_of(kernel)
    if kit.limitation(kernel, dtype, backend) is not None:
        pytest.skip("declared")
    found = getattr(key_for(Device(target), dtype), kernel)
    assert found is not None, f"{kernel} is in the minimum, but {target} has no kernel for {dtype.name}"


SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.5, -2.5, float("inf"), float("-inf"), float("nan"))
FLOATING = [n for n in MINIMUM_ELEMENTWISE if OPS[n].accepts(dt.float32) and n != "where"]


@kit.about(lambda params: (params["kernel"], dt.float32))
@pytest.mark.parametrize("kernel", FLOATING)
def test_special_values(kernel: str, target: str, backend: Backend) -> None:
    """Zeros, infinities and nan, in all pairs, give what the CPU gives; nan is never lost."""
    if kit.limitation(kernel, dt.float32, backend) is not None:
        pytest.skip("declared")
    op = OPS[kernel]
    x, y = (a.reshape(-1).astype(np.float32) for a in np.meshgrid(SPECIAL, SPECIAL))
    sample = Sample(*(x, y)[: len(op.schema.operands)])
    for found, wanted in zip(kit.call(op, sample, target), kit.call(op, sample, "cpu"), strict=True):
        kit.assert_close(kit.host(found), kit.host(wanted), found.dtype, f"{kernel} of {sample}")


#: Whole numbers past what float64 or, where a device holds int64 in 32 bits, float32 holds exactly; and what to
#: combine them with.
LONG = [2**24 + 1, 2**31 + 3, 2**53 + 1, -(2**53) - 1, 2**61 + 5, -(2**61) - 7], [1, 3, 1, 2, 1, 1]
SHORT = [2**24 + 1, 2**29 + 3, 2**30 + 1, -(2**29) - 1, 2**30 + 5, -(2**30) - 7], [1, 3, 1, 2, 1, 1]
WHOLE = ("neg", "abs", "add", "sub", "mul", "idiv", "fmod", "maximum", "lt", "eq", "where", "sum", "max")


@kit.about(lambda params: (params["kernel"], dt.int64))
@pytest.mark.parametrize("kernel", WHOLE)
def test_integers_are_exact(kernel: str, target: str, backend: Backend) -> None:
    """int64 past what floating-point numbers hold exactly: none of them stands in for it."""
    if kit.limitation(kernel, dt.int64, backend) is not None:
        pytest.skip("declared")
    op = OPS[kernel]
    x, y = LONG if kit.held(np.array(LONG[0]), dt.int64, target).tolist() == LONG[0] else SHORT
    operands = (np.array(x) > 0, np.array(x), np.array(x[::-1])) if kernel == "where" else (np.array(x), np.array(y))
    sample = Sample(*operands[: len(op.schema.operands)])
    for found, wanted in zip(kit.call(op, sample, target), kit.call(op, sample, "cpu"), strict=True):
        np.testing.assert_array_equal(kit.host(found), kit.host(wanted), err_msg=f"{kernel} of {sample}")
