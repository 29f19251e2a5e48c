"""Programs as graphs: symbolic tracing of modules, graphs to look at and change, and their interpreter.

After Reed et al., arXiv:2112.08429.
"""

from __future__ import annotations

from flambeau.fx import graph, graph_module, interpreter, node, proxy, tracer
from flambeau.fx.graph import CodeGen, Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.node import Node, has_side_effect, map_arg
from flambeau.fx.proxy import Proxy
from flambeau.fx.tracer import Tracer, symbolic_trace, wrap
from flambeau.fx.transformer import Transformer

__all__ = [
    "CodeGen",
    "Graph",
    "GraphModule",
    "Interpreter",
    "Node",
    "Proxy",
    "Tracer",
    "Transformer",
    "graph",
    "graph_module",
    "has_side_effect",
    "interpreter",
    "map_arg",
    "node",
    "proxy",
    "symbolic_trace",
    "tracer",
    "wrap",
]  # fmt: skip
