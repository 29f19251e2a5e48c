"""What is done with a recorded graph: the engine, writes in place, functions of one's own, hooks.

It stands above the dispatcher. What an op records is below, in :mod:`flambeau.core.tape`, and what the graph is made
of below Tensor, in :mod:`flambeau.core.graph`.
"""
