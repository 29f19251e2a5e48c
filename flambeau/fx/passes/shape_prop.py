"""Shapes and dtypes of all results of a graph, found by running it."""

from __future__ import annotations

from typing import Any, NamedTuple

from flambeau.core.dtype import DType
from flambeau.core.memory_format import MemoryFormat, channels_last, channels_last_3d, contiguous_format
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.node import Node, map_aggregate

__all__ = ["ShapeProp", "TensorMetadata"]


class TensorMetadata(NamedTuple):
    """What is known of a tensor without its values."""

    shape: Size
    dtype: DType
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: MemoryFormat | None
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: Tensor, include_contiguity: bool = True) -> TensorMetadata:
    """The metadata of a tensor."""
    form = None
    if include_contiguity and result._in_parts is False:
        formats = (contiguous_format, channels_last, channels_last_3d)
        needed = {channels_last: 4, channels_last_3d: 5}
        found = (f for f in formats if needed.get(f, result.ndim) == result.ndim)
        form = next((f for f in found if result.is_contiguous(memory_format=f)), None)
    stride = () if result._in_parts else tuple(result.stride())
    return TensorMetadata(result.shape, result.dtype, result.requires_grad, stride, form, False, {})


class ShapeProp(Interpreter):
    """Runs a graph and notes in each node's ``meta``, under "tensor_meta" and "type", what came out.

    >>> traced = fb.fx.symbolic_trace(lambda x: x.sum(0))
    >>> _ = fb.fx.passes.shape_prop.ShapeProp(traced).propagate(fb.ones(2, 3))
    >>> [tuple(node.meta["tensor_meta"].shape) for node in traced.graph.nodes]
    [(2, 3), (3,), (3,)]
    """

    def run_node(self, n: Node) -> Any:  # Any: the node's result
        """Run a node and note its shape; an error says at which node it was."""
        try:
            result = super().run_node(n)
        except Exception as error:
            raise RuntimeError(f"ShapeProp error for: node={n.format_node()} with meta={n.meta}") from error
        found = False

        def metadata(x: Any) -> Any:
            nonlocal found
            if not isinstance(x, Tensor):
                return x
            found = True
            return _extract_tensor_metadata(x)

        meta = map_aggregate(result, metadata)
        if found:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:  # Any: of the program
        """Run the graph on inputs; returns what it returns."""
        return super().run(*args)
