"""Training in which processes have different numbers of batches."""

from __future__ import annotations

from flambeau.nn.parallel.join import Join, Joinable, JoinHook

__all__ = ["Join", "JoinHook", "Joinable"]
