"""Marks for the profiler of a processor's maker, as in a build without it: they are taken, and go nowhere."""

from flambeau.compat.unchanged import no
from flambeau.cuda.nvtx import mark, range, range_pop, range_push

__all__ = ["is_available", "mark", "range", "range_pop", "range_push"]

is_available = no
