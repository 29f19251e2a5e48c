"""The minimum kernels are enough: a backend with these alone, frozen at version 1 of the contract, runs every op."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.backends.base import API_VERSION, MINIMUM, MINIMUM_ELEMENTWISE
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.backends.generic import generic_table
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.errors import MissingKernelError
from flambeau.core.record import OPS, Op
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb import run as database
from tests.backends.elsewhere import run_on
from tests.plugins.frozen_api_1 import FrozenBackend
from tests.plugins.minimum import check_minimum

DTYPES = (dt.float32, dt.int64, dt.bool_, dt.complex64, dt.uint8)


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[FrozenBackend]:
    backend = FrozenBackend()
    registry.register_backend(backend, "tests")
    yield backend
    registry.unregister_backend("frozen")


# -- the contract ------------------------------------------------------------------------------------
def test_the_minimum_is_frozen() -> None:
    assert API_VERSION == 1
    assert MINIMUM == (
        "neg", "abs", "exp", "log", "sqrt", "sin", "cos", "floor",
        "add", "sub", "mul", "div", "idiv", "fmod", "pow", "maximum", "lt", "eq",
        "bitwise_and", "bitwise_or", "bitwise_xor", "shl", "shr", "where",
        "sum", "max", "argmax", "argsort", "matmul", "gather", "scatter", "arange", "random_bits",
    )  # fmt: skip


def test_the_frozen_backend_has_these_and_no_others(frozen: FrozenBackend) -> None:
    own = set(frozen.kernels.names()) - set(frozen.kernels.parent.names())
    assert own == set(MINIMUM) and len(own) == 33
    assert frozen.elementwise("exp", None, (dt.float32,), dt.float32) is None


@pytest.mark.parametrize("name", MINIMUM)
def test_its_kernels_are_right(frozen: FrozenBackend, name: str) -> None:
    check_minimum(name, frozen, CpuBackend())


@pytest.mark.parametrize("name", ["idiv", "fmod"])
def test_integers_by_zero_do_not_trap(frozen: FrozenBackend, name: str) -> None:
    """A device cannot raise from inside a kernel; the CPU, which can look first, does."""
    zeros = frozen.from_host(np.zeros(3, np.int32), dt.int32)
    ones = frozen.from_host(np.ones(3, np.int32), dt.int32)
    assert (frozen.to_host(frozen.kernels.find(name, dt.int32)(ones, zeros)) == 0).all()
    with pytest.raises(ZeroDivisionError, match=f"{name}.*int32 cannot be divided by 0"):
        CpuBackend().kernels.find(name, dt.int32)(np.ones(3, np.int32), np.zeros(3, np.int32))


@pytest.mark.parametrize("name", [n for n in MINIMUM if n in OPS])
def test_a_kernel_of_the_minimum_is_an_op(name: str) -> None:
    kinds = [a.type for a in OPS[name].schema.operands]
    assert name not in MINIMUM_ELEMENTWISE or set(kinds) == {"Tensor"}


# -- every op ----------------------------------------------------------------------------------------
GENERIC = frozenset({*generic_table(FrozenBackend()).names(), "empty"})  # views, copies, a storage call
RECORDS = opdb.load()
SAMPLED = [name for name, op in RECORDS.items() if op.samples is not None]


LINEAR_ALGEBRA = frozenset({
    "cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq", "lu_factor", "qr", "slogdet", "solve",
    "solve_triangular", "svd", "svdvals",
})  # fmt: skip


def has_a_way(op: Op) -> bool:
    """Whether an op has a kernel in the minimum, a body or an expression; the others obey the fallback policy."""
    return op.decomposes or op.name in MINIMUM or op.name in GENERIC


def check_sample(op: Op, sample: opdb.Sample) -> None:
    """The frozen backend gives what the CPU gives, or names the matrix decomposition that has no kernel."""
    expected = run_on(op, sample, "cpu")
    try:
        found = run_on(op, sample, "frozen")
    except MissingKernelError as error:
        name, _, rest = str(error).partition(": ")
        assert name in LINEAR_ALGEBRA and "no kernel for device 'frozen:0'" in rest, error
        return
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        assert str(f.device) == "frozen:0" and (f.dtype, f.shape) == (e.dtype, e.shape), sample
        if op.name != "empty":
            database.assert_close(op, database.to_host(f.cpu()), database.to_host(e), e.dtype, f"{sample}")


@pytest.mark.parametrize("name", SAMPLED)
def test_ops_run_on_the_minimum_alone(name: str) -> None:
    op = RECORDS[name]
    dtypes = database.dtypes_of(op)
    samples = [s for d in dtypes if d in DTYPES or len(dtypes) == 1 for s in database.samples_of(op, d)]
    assert samples, f"{name}: no sample for {dtypes}"
    for sample in samples:
        check_sample(op, sample)


def test_only_linear_algebra_has_no_way() -> None:
    """Decompositions of matrices would be thousands of launches: they alone obey the fallback policy."""
    without = {name for name, op in RECORDS.items() if not has_a_way(op)}
    assert without <= LINEAR_ALGEBRA, without - LINEAR_ALGEBRA


# -- training ----------------------------------------------------------------------------------------
def losses(device: str, steps: int = 8) -> list[float]:
    """A small classifier with a convolution, batch statistics, dropout and Adam."""
    fb.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25),
        nn.Linear(4 * 4 * 4, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3),
    ).to(device)  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(1)
    x = fb.tensor(rng.normal(size=(12, 1, 8, 8)).astype(np.float32), device=device)
    y = fb.tensor(rng.integers(0, 3, 12), device=device)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_training_gives_the_cpus_losses() -> None:
    expected, found = losses("cpu"), losses("frozen")
    assert expected[-1] < expected[0] / 2, "it learns"
    np.testing.assert_allclose(found, expected, rtol=1e-4)
