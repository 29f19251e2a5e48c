"""What three ranks do that train one model on different backends: cpu, opencl where there is a device, and strict."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import flambeau.distributed as dist
from benchmarks.workloads import WORKLOADS, Training
from flambeau.core.registry import get_backend
from flambeau.nn.parallel import DistributedDataParallel as DDP

SIZES = {
    "gpt": dict(batch=6, vocabulary=11, length=6, width=8, layers=1, heads=2),
    "lenet": dict(width=2, side=10, hidden=8),
    "lstm": dict(features=3, length=4, hidden=4),
}


def trained(name: str, device: str, ranks: int, rank: int, steps: int = 4) -> list[float]:
    """The losses of one rank's part of 6 examples."""
    training = Training(fb, WORKLOADS[name], SIZES[name], device)
    per, rows = len(training.target) // len(training.x), 6 // ranks
    training.x = training.x[rank * rows : (rank + 1) * rows]
    training.target = training.target[rank * rows * per : (rank + 1) * rows * per]
    if ranks > 1:
        training.model = DDP(training.model, device_ids=None if device == "cpu" else [0])
        training.x = training.x.to("cpu")  # it is brought to the device of the module
    return [training.step() for _ in range(steps)]


def losses() -> dict[str, Any]:
    """By workload: those of the ranks together, and of cpu alone."""
    second = "opencl" if get_backend("opencl").unavailable_reason() is None else "strict"
    devices = ["cpu", second, "strict"]
    dist.init_process_group("cpu:mpi,opencl:mpi,strict:mpi")
    rank, found = dist.get_rank(), dict[str, Any](devices=devices)
    for name in SIZES:
        mine = fb.tensor(trained(name, devices[rank], 3, rank), dtype=fb.float64)
        dist.all_reduce(mine)
        found[name] = {"mixed": (mine / 3).tolist(), "whole": trained(name, "cpu", 1, 0)}
    return found
