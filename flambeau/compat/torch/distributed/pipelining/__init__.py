"""torch.distributed.pipelining, under flambeau's own names."""

from __future__ import annotations

from flambeau.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

__all__ = ["PipelineStage", "Schedule1F1B", "ScheduleGPipe"]
