"""Tensors in pieces over several processes, of which there are none: pieces are plain tensors here."""

from __future__ import annotations

from flambeau.distributed import DeviceMesh

__all__ = ["DTensor", "DeviceMesh"]


class DTensor:
    """A tensor of which each process has a piece; no tensor is one."""
