"""torch.distributed.algorithms.join: uneven inputs."""

from __future__ import annotations

from flambeau.distributed.algorithms.join import Join, Joinable, JoinHook

__all__ = ["Join", "JoinHook", "Joinable"]
