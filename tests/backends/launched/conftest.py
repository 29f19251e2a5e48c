"""What is launched, on OpenCL, in both styles of kernels: the device's own and the other kind's."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from flambeau.backends.opencl.backend import OpenCLBackend
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from flambeau.core.registry import get_backend
from tests.backends.hosts import put


class Bench:
    """A backend with kernels of one style, and numpy at the other end."""

    def __init__(self, backend: OpenCLBackend):
        self.backend = backend

    def put(self, host: Any) -> Any:
        return put(self.backend, host)

    def get(self, array: Any) -> np.ndarray[Any, Any]:
        return self.backend.to_host(array)

    def cpu(self, name: str, dtype: DType, *args: Any, **params: Any) -> Any:
        """What the CPU's kernel gives."""
        return get_backend("cpu").kernels.find(name, dtype)(*args, **params)

    def op(self, name: str, dtype: DType) -> Any:
        return self.backend.kernels.find(name, dtype)

    def expr(self, source: str, *dtypes: DType, out: DType | None = None) -> Any:
        names = ("x", "y", "z")[: len(dtypes)]
        return self.backend.elementwise(f"test {source}", parse(source, names), dtypes, out or dtypes[-1])


@pytest.fixture(params=["own", pytest.param("other", marks=pytest.mark.slow)])
def bench(request: pytest.FixtureRequest, opencl: OpenCLBackend) -> Any:
    """Kernels for the device's own kind, then those for the other one (a processor runs them too)."""
    device = opencl.device(0)
    before, programs = device.target, device._programs
    device.products.clear()
    if request.param == "other":
        device.target = dataclasses.replace(before, cpu=not before.cpu)
        device._programs = _other_programs
    yield Bench(opencl)
    device.synchronize()
    device.target, device._programs = before, programs
    opencl._expressions.clear()  # their plans hold kernels of one style
    opencl._copying.clear()
    device.products.clear()


_other_programs: dict[Any, Any] = {}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
