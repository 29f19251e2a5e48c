"""OpenMP: kernels run on flambeau's threads."""

from flambeau.compat.unchanged import no

__all__ = ["is_available"]

is_available = no
