"""Graphs of recorded work, which there are none of."""

from __future__ import annotations

from flambeau.accelerator.absent import GRAPH, NO_GRAPHS, absent_class
from flambeau.cuda._here import here as _here

is_current_stream_capturing = _here.is_current_stream_capturing
CUDAGraph = absent_class(
    "flambeau.cuda.graphs.CUDAGraph", NO_GRAPHS, f"{GRAPH} get_graph_data raw_cuda_graph raw_cuda_graph_exec"
)
graph = absent_class("flambeau.cuda.graphs.graph", NO_GRAPHS)
make_graphed_callables = _here.absent("graphs.make_graphed_callables", NO_GRAPHS)
graph_pool_handle = _here.absent("graphs.graph_pool_handle", NO_GRAPHS)

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables"]
