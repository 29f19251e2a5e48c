"""Files that a device reads and writes past the host: no backend here does."""

from __future__ import annotations

from flambeau.accelerator.absent import absent_class
from flambeau.compat.unchanged import lacking

__all__ = ["GdsFile", "gds_deregister_buffer", "gds_register_buffer"]

_WHY = "files are read and written by the host"
gds_register_buffer = lacking("cuda.gds.gds_register_buffer", _WHY)
gds_deregister_buffer = lacking("cuda.gds.gds_deregister_buffer", _WHY)
GdsFile = absent_class("torch.cuda.gds.GdsFile", _WHY, "deregister_handle load_storage register_handle save_storage")
