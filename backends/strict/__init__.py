"""The strict backend: a pretend accelerator with two devices, for tests on machines without one.

It is as unforgiving as hardware is: its memory is its own (numpy arrays are refused, its arrays cannot be read
without a copy to the host), it has no float64, some ops are missing, new memory holds rubbish, a bad index is
reported late, and a forked child has no device. With :func:`~.inject.inject` it fails on demand.
"""

from __future__ import annotations

from flambeau.backends.base import Backend


def flambeau_backends() -> Backend:
    """The hook: the backend, imported when its device is asked for."""
    from flambeau.backends.strict.backend import instance  # lazy for start-up: naming a plugin imports none of it

    return instance()
