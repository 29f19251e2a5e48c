"""The OpenCL backend: every device of every platform on which a small program runs, as ``opencl:N``.

Devices are numbered so: those first whose name or platform contains the setting ``opencl_device``, then GPUs,
accelerators and processors, in each group by platform, name and the driver's own order. A device whose driver
cannot build and run a program (tried once in a process of its own) does not count; ``doctor`` names it.
"""

from __future__ import annotations

from flambeau.backends.base import Backend


def flambeau_backends() -> Backend:
    """The hook: the backend, whether or not a device is usable."""
    from flambeau.backends.opencl.backend import OpenCLBackend  # lazy for start-up: naming a plugin imports none of it

    return OpenCLBackend()
