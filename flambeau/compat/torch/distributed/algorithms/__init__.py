"""torch.distributed.algorithms: what training over processes can do beside the mean of all gradients."""

from __future__ import annotations

from flambeau.distributed.algorithms.join import Join, Joinable, JoinHook

__all__ = ["Join", "JoinHook", "Joinable"]
