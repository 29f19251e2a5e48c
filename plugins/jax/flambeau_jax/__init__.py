"""flambeau's tensors on JAX: device ``jax`` runs op by op, ``jaxlazy`` compiles whole steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend


def flambeau_backends() -> JaxBackend:
    """The hook: called when somebody first asks for the device ``jax``."""
    from flambeau_jax.backend import JaxBackend  # JAX takes a second to import

    return JaxBackend()
