"""Communication hooks of DistributedDataParallel: how the gradients of a bucket become those of all processes."""

from __future__ import annotations

from enum import Enum, member
from functools import partial
from typing import Any

from flambeau.distributed.algorithms.ddp_comm_hooks import debugging_hooks, default_hooks, powerSGD_hook
from flambeau.nn.parallel import DistributedDataParallel

__all__ = ["DDPCommHookType", "register_ddp_comm_hook"]


def _power(hook: Any, model: DistributedDataParallel, state: Any, rank: int, start: int = 1_000) -> None:
    made = powerSGD_hook.PowerSGDState(state, matrix_approximation_rank=rank, start_powerSGD_iter=start)
    model.register_comm_hook(made, hook)


def _plain(hook: Any, model: DistributedDataParallel, state: Any) -> None:
    model.register_comm_hook(state, hook)


class DDPCommHookType(Enum):
    """The hooks by their names, each a function of a model and a state that registers it.

    The state of those of PowerSGD is the process group; the others are as :func:`register_ddp_comm_hook` has them.
    """

    ALLREDUCE = member(partial(_plain, default_hooks.allreduce_hook))
    FP16_COMPRESS = member(partial(_plain, default_hooks.fp16_compress_hook))
    BF16_COMPRESS = member(partial(_plain, default_hooks.bf16_compress_hook))
    POWER_SGD = member(partial(_power, powerSGD_hook.powerSGD_hook, rank=1))
    POWER_SGD_RANK2 = member(partial(_power, powerSGD_hook.powerSGD_hook, rank=2))
    BATCHED_POWER_SGD = member(partial(_power, powerSGD_hook.batched_powerSGD_hook, rank=1))
    BATCHED_POWER_SGD_RANK2 = member(partial(_power, powerSGD_hook.batched_powerSGD_hook, rank=2))
    NOOP = member(partial(_plain, debugging_hooks.noop_hook))


def register_ddp_comm_hook(comm_hook_type: DDPCommHookType, model: DistributedDataParallel, state: Any = None) -> None:
    """Register a hook of this name; ``state`` is a process group, None for that of all processes."""
    comm_hook_type.value(model=model, state=state)
