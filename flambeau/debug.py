"""Finding the op that goes wrong."""

from flambeau.core.lockstep import Difference, Report, compare

__all__ = ["Difference", "Report", "compare"]
