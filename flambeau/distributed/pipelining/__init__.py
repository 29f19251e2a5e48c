"""Pipeline parallelism: a model cut into stages, one for each rank, that work on microbatches in turn."""

from __future__ import annotations

from flambeau.distributed.pipelining.microbatch import TensorChunkSpec
from flambeau.distributed.pipelining.schedules import Schedule1F1B, ScheduleGPipe
from flambeau.distributed.pipelining.stage import PipelineStage

__all__ = ["PipelineStage", "Schedule1F1B", "ScheduleGPipe", "TensorChunkSpec"]
