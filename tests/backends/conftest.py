"""Settings of the property tests: no deadline, since the machines of CI are shared and slow at times; and OpenCL."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from flambeau.backends.opencl.backend import OpenCLBackend
from flambeau.core.registry import get_backend

settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(scope="session")
def opencl() -> OpenCLBackend:
    pytest.importorskip("pyopencl", reason='PyOpenCL is not installed: pip install "flambeau[opencl]"')
    backend: Any = get_backend("opencl")
    reason = backend.unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return backend
