"""The kernels of the device: pure functions of whole arrays, by the family of their ops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambeau_jax.kernels import fourier, index, linalg, makers, nn, norm, optim, pool, recurrent, reduce

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend


def bind(backend: JaxBackend) -> None:
    """Register all of them."""
    for family in (makers, reduce, index, fourier, linalg, nn, norm, pool, recurrent, optim):
        family.bind(backend)
