"""What PyTorch calls the nodes of its graph, so that programs that look at ``grad_fn`` find the names they know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

#: Ops by another name than their own in capitals.
_NAMES: Final = {
    "attention": "ScaledDotProductFlashAttentionForCpu", "batch_norm": "NativeBatchNorm", "cast": "ToCopy",
    "conv": "Convolution", "group_norm": "NativeGroupNorm", "index_get": "Index", "layer_norm": "NativeLayerNorm",
    "masked_scale": "Mul", "pad": "ConstantPadNd", "square": "Pow", "vector_norm": "LinalgVectorNorm",
}  # fmt: skip


def _index(params: Mapping[str, Any], shape: Any) -> str:
    removes = any(isinstance(i, int) for i in params["index"])
    return "Select" if removes else "Unsqueeze" if None in params["index"] else "Slice"


def _spatial(name: str) -> Callable[[Mapping[str, Any], Any], str]:
    return lambda params, shape: f"{name}{len(params['kernel'])}D{'WithIndices' if name == 'MaxPool' else ''}"


#: Ops whose name depends on the call.
_RULES: Final[dict[str, Callable[[Mapping[str, Any], Any], str]]] = {
    "avg_pool": _spatial("AvgPool"), "max_pool": _spatial("MaxPool"), "basic_index": _index,
    "matmul": lambda params, shape: "Mm" if len(shape) == 2 else "Bmm",
    "linear": lambda params, shape: "Addmm",
}  # fmt: skip
#: Ops of which PyTorch counts forms: those over dimensions, or over all elements, are the second.
_OVER_DIMENSIONS: Final = frozenset({"sum", "mean", "prod"})
_OVER_ALL: Final = frozenset({"max", "min"})
_SECOND: Final = frozenset({"clamp"})


def node_name(op: str, params: Any, shape: Any, operands: int = 0) -> str:  # Any: as the node keeps them
    """``MulBackward0`` for the op ``mul``; ``params`` and ``shape`` are those of the call.

    >>> node_name("mul", {}, ()), node_name("sum", {"axis": (0,)}, (2,)), node_name("matmul", {}, (2, 2))
    ('MulBackward0', 'SumBackward1', 'MmBackward0')
    """
    if op == "clamp_min" or op == "clamp_max":
        return "ClampBackward1"
    known = params if isinstance(params, dict) else {}
    rule = _RULES.get(op)
    try:
        stem = rule(known, shape) if rule is not None else _NAMES.get(op)
    except (KeyError, TypeError):
        stem = None
    if stem is None:
        stem = "".join(part.capitalize() for part in op.split("_"))
    axis = known.get("axis")
    second = op in _SECOND or op in _OVER_DIMENSIONS and axis is not None or op in _OVER_ALL and axis is None
    return f"{stem}Backward{int(second)}"
