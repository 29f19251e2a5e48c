"""Checkpoints of several ranks: a folder of safetensors files that any number of ranks can load."""

from __future__ import annotations

from flambeau.distributed.checkpoint.flat import Stateful
from flambeau.distributed.checkpoint.folders import FileSystemReader, FileSystemWriter
from flambeau.distributed.checkpoint.loading import load
from flambeau.distributed.checkpoint.saving import async_save, save
from flambeau.distributed.checkpoint.steps import Checkpoints, latest
from flambeau.utils.safetensors import CheckpointError

CheckpointException = CheckpointError

__all__ = [
    "CheckpointError", "CheckpointException", "Checkpoints", "FileSystemReader", "FileSystemWriter", "Stateful",
    "async_save", "latest", "load", "save",
]  # fmt: skip
