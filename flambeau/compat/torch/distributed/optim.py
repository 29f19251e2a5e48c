"""Optimizers over several processes."""

from flambeau.distributed.optim import PostLocalSGDOptimizer, ZeroRedundancyOptimizer

__all__ = ["PostLocalSGDOptimizer", "ZeroRedundancyOptimizer"]
