"""What training over processes can do beside the mean of all gradients: join, communication hooks, averaged models."""

from __future__ import annotations

from flambeau.distributed.algorithms.join import Join, Joinable, JoinHook

__all__ = ["Join", "JoinHook", "Joinable"]
