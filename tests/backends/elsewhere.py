"""Running the op database's samples, which name the CPU where they name a device, on another device."""

from __future__ import annotations

from typing import Any

import flambeau as fb
from flambeau.core.record import Op
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb import run as database


def run_on(op: Op, sample: opdb.Sample, device: str) -> tuple[Any, ...]:
    """The op's results for a sample, everything on ``device``."""
    fb.manual_seed(3)
    kwargs = {k: _there(v, device) for k, v in sample.kwargs.items()}
    with fb.device(device):
        return database.run(op, opdb.Sample(*[_there(a, device) for a in sample.args], **kwargs), device)


def _there(value: Any, device: str) -> Any:
    if value is fb.device("cpu") or isinstance(value, str) and value == "cpu":
        return fb.device(device)
    return value
