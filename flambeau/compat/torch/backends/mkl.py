"""Intel's MKL: numpy brings a library of its own."""

from flambeau.compat.unchanged import no

__all__ = ["is_available"]

is_available = no
