"""Launches of the dialect on an OpenCL device."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.backends.dialect.launch import Launch
from flambeau.backends.opencl.device import Device
from flambeau.backends.strided import StridedArray


def enqueue(device: Device, launch: Launch, ins: Sequence[StridedArray], outs: Sequence[StridedArray]) -> None:
    """Build the kernel at its first use, and run it on the storages of arrays."""
    kernel = device.kernel(launch.key, launch.name, launch.text)
    device.launch(
        kernel, [x.buffer for x in ins], [x.buffer for x in outs], launch.params, launch.size, launch.group
    )  # fmt: skip
