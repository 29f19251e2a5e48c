"""torch.distributed.algorithms.ddp_comm_hooks: communication hooks by their names."""

from __future__ import annotations

from flambeau.distributed.algorithms.ddp_comm_hooks import DDPCommHookType, register_ddp_comm_hook

__all__ = ["DDPCommHookType", "register_ddp_comm_hook"]
