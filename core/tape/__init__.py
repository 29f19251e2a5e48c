"""What happens while an op is recorded: the generated savers and backwards, and the modes that watch them.

The parts that a graph is made of stand below Tensor, in :mod:`flambeau.core.graph`; the engine and all else
that is done with a graph stand above the dispatcher, in :mod:`flambeau.core.autograd`.
"""
