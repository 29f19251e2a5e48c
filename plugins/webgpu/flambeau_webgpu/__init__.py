"""flambeau's tensors on WebGPU: kernels printed as WGSL, and run by wgpu on Vulkan, Metal or Direct3D 12."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend


def flambeau_backends() -> WebGPUBackend:
    """The hook: called when somebody first asks for the device ``webgpu``."""
    from flambeau_webgpu.backend import WebGPUBackend  # wgpu takes a moment to import

    return WebGPUBackend()
