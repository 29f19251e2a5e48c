"""torch.distributed.pipelining.microbatch, under flambeau's own names."""

from __future__ import annotations

from flambeau.distributed.pipelining import TensorChunkSpec

__all__ = ["TensorChunkSpec"]
