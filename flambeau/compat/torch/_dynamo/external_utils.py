"""Whether a compiler is at work: never."""

from flambeau.compat.unchanged import no

__all__ = ["is_compiling"]

is_compiling = no
