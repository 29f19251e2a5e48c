"""Graphs of recorded work, which there are none of."""

from __future__ import annotations

from flambeau.accelerator.of_type import GRAPH, absent, absent_class
from flambeau.cuda._here import here as _here

is_current_stream_capturing = _here.is_current_stream_capturing
CUDAGraph = absent_class(
    "flambeau.cuda.graphs.CUDAGraph", "there are no graphs of recorded work",
    f"{GRAPH} get_graph_data raw_cuda_graph raw_cuda_graph_exec",
)  # fmt: skip
graph = absent_class("flambeau.cuda.graphs.graph", "there are no graphs of recorded work")
make_graphed_callables = absent("flambeau.cuda.graphs.make_graphed_callables", "there are no graphs of recorded work")
graph_pool_handle = absent("flambeau.cuda.graphs.graph_pool_handle", "there are no graphs of recorded work")

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables"]
