"""Streams and events of the devices of type cuda."""

from __future__ import annotations

from flambeau.accelerator.absent import NOT_TAKEN_OVER, absent_class
from flambeau.accelerator.of_type import event_class, stream_class
from flambeau.cuda._here import here as _here

Stream = stream_class(_here, "flambeau.cuda.streams")
Event = event_class(_here, "flambeau.cuda.streams")
ExternalStream = absent_class("flambeau.cuda.streams.ExternalStream", NOT_TAKEN_OVER)

__all__ = ["Event", "ExternalStream", "Stream"]
