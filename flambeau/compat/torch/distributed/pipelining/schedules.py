"""torch.distributed.pipelining.schedules, under flambeau's own names."""

from __future__ import annotations

from flambeau.distributed.pipelining import Schedule1F1B, ScheduleGPipe

__all__ = ["Schedule1F1B", "ScheduleGPipe"]
