"""Arm's KleidiAI: it is not used."""

from flambeau.compat.unchanged import no

__all__ = ["is_available"]

is_available = no
