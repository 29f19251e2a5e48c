"""The nodes of the graph that TensorBoard shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.utils.tensorboard._parts import part


def tensor_shape_proto(outputsize: Sequence[int]) -> Any:
    """The protobuf of a shape."""
    kinds = part("tensorboard.compat.proto.tensor_shape_pb2").TensorShapeProto
    return kinds(dim=[kinds.Dim(size=n) for n in outputsize])


def node_proto(
    name: str, op: str = "UnSpecified", input: Sequence[str] = (), shapes: Sequence[Sequence[int]] = (),
    attributes: str = "", device: str = "",
) -> Any:  # fmt: skip
    """The protobuf of a node: ``input`` are the names of others, ``shapes`` those of what it gives."""
    value = part("tensorboard.compat.proto.attr_value_pb2").AttrValue
    attr = {"attr": value(s=attributes.encode())}
    if shapes:
        listed = value.ListValue(shape=[tensor_shape_proto(shape) for shape in shapes])
        attr["_output_shapes"] = value(list=listed)
    kinds = part("tensorboard.compat.proto.node_def_pb2")
    return kinds.NodeDef(name=name, op=op, input=input, device=device, attr=attr)
