"""The narrow backend: a pretend accelerator with few dtypes, as WebGPU has them, for tests on machines without one.

It computes in float32, int32 and uint32 alone, with the 33 kernels of the minimum over memory of its own. Tensors of
int64, bool and float64 are held there in these, as on every device that lacks dtypes; what relies on more fails here.
"""

from __future__ import annotations

from flambeau.backends.base import Backend


def flambeau_backends() -> Backend:
    """The hook: the backend, imported when its device is asked for."""
    from flambeau.backends.narrow.backend import NarrowBackend  # lazy for start-up: naming a plugin imports none of it

    return NarrowBackend()
