"""The pretend machine: the CUDA backend over a CuPy of numpy and g++, registered as ``cuda`` while a test runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from flambeau.backends.cuda.backend import CudaBackend
from flambeau.core import config, registry
from tests.backends.cuda import emulator


@contextmanager
def pretend(devices: int = 2) -> Iterator[Any]:
    """A machine: ``fake`` is its state, ``backend`` the CUDA backend on it."""
    pytest.importorskip("cupy", reason="CuPy is not installed: its names and signatures are what is checked")
    if emulator.COMPILER is None:
        pytest.skip("there is no g++ to run the kernels")
    from tests.backends.cuda.fake_cupy import Fake

    real = registry.get_backend("cuda")
    source = registry.sources["cuda"]
    registry.unregister_backend("cuda")
    fake = Fake(devices)
    backend = CudaBackend(fake.module)
    registry.register_backend(backend, "tests")
    try:
        with config.override(cache_dir=str(emulator.FOLDER)):
            yield SimpleNamespace(fake=fake, backend=backend)
    finally:
        registry.unregister_backend("cuda")
        registry.register_backend(real, source)
    gc.collect()
    assert not fake.overruns, f"kernels wrote out of range of allocations of these sizes: {fake.overruns}"


@pytest.fixture
def machine() -> Iterator[Any]:
    """A machine of the test's own."""
    with pretend() as found:
        yield found


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    """A machine for the tests of a module."""
    with pretend() as found:
        yield found
