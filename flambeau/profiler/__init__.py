"""The profiler: time, calls and bytes by op, device and module, as a table and as a Chrome trace."""

from __future__ import annotations

from flambeau.profiler.actions import (
    DeviceType,
    ProfilerAction,
    ProfilerActivity,
    kineto_available,
    schedule,
    supported_activities,
)  # fmt: skip
from flambeau.profiler.averages import Averages, FunctionEvent, FunctionEventAvg
from flambeau.profiler.ranges import ExecutionTraceObserver, record_function, tensorboard_trace_handler
from flambeau.profiler.recording import Event, Row, profile

_KinetoProfile = profile

__all__ = [
    "Averages", "DeviceType", "Event", "ExecutionTraceObserver", "FunctionEvent", "FunctionEventAvg", "ProfilerAction",
    "ProfilerActivity", "Row", "kineto_available", "profile", "record_function", "schedule", "supported_activities",
    "tensorboard_trace_handler",
]  # fmt: skip
