"""Whether torch's own backend for Apple's GPUs is here: no; a device of that type would be a plugin's."""

from __future__ import annotations

from flambeau.compat.unchanged import no
from flambeau.core import registry

__all__ = ["get_core_count", "get_name", "is_available", "is_built", "is_macos13_or_newer", "is_macos_or_newer"]

is_macos_or_newer = is_macos13_or_newer = no


def is_built() -> bool:
    """Whether some plugin brings devices of type "mps"."""
    return "mps" in registry.known_types()


is_available = is_built


def get_name() -> str:
    """RuntimeError: there is no such GPU."""
    raise RuntimeError("torch.backends.mps.get_name: there is no device of type mps")


def get_core_count() -> int:
    """RuntimeError: there is no such GPU."""
    raise RuntimeError("torch.backends.mps.get_core_count: there is no device of type mps")
