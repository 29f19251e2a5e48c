"""A simulator on paper: what a step of training takes on many ranks, from one that was measured.

``python -m flambeau.distributed.plan MODEL --ranks N --bandwidth … --latency …`` prints a table; :func:`plan` is that
from Python.
"""

from __future__ import annotations

from flambeau.distributed.plan.across import fastest, pipeline, tensor
from flambeau.distributed.plan.costs import Link
from flambeau.distributed.plan.measured import measure_link
from flambeau.distributed.plan.profile import Profile, measure
from flambeau.distributed.plan.strategies import Prediction, Setting, ddp, zero1, zero2, zero3
from flambeau.distributed.plan.workloads import PlanError, Workload, workload_of

__all__ = [
    "Link", "PlanError", "Prediction", "Profile", "Setting", "Workload", "ddp", "measure",
    "measure_link", "pipeline", "plan", "tensor", "workload_of", "zero1", "zero2", "zero3",
]  # fmt: skip


def plan(
    profile: Profile,
    setting: Setting,
    memory: float | None = None,
    tensor_ranks: int | None = None,
    stages: int | None = None,
) -> list[Prediction]:
    """Predictions of all ways to divide the work that apply to the model.

    Args:
        profile: the measured step.
        setting: ranks, network and batch.
        memory: bytes that a rank has; degrees that do not fit are chosen only where none fits.
        tensor_ranks, stages: the degrees of tensor and pipeline parallelism; the fastest where None.

    >>> profile = measure(workload_of("mlp"), 8, repeats=1)
    >>> rows = plan(profile, Setting(4, Link(1e10, 1e-6), batch=8))
    >>> [row.strategy for row in rows]
    ['DDP', 'ZeRO 1', 'ZeRO 2', 'ZeRO 3', 'tensor', 'pipeline GPipe', 'pipeline 1F1B']

    Raises:
        PlanError: a degree that is given does not divide the ranks or the model.
    """
    rows = [way(profile, setting) for way in (ddp, zero1, zero2, zero3)]
    degrees = {"tensor": tensor_ranks, "pipeline": stages}
    return rows + fastest(profile, setting, memory, degrees)
