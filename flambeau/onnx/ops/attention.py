"""Attention, where its form is one that flambeau has as one op; every other form runs by ONNX's own body of the op."""

from __future__ import annotations

import math
from typing import Any

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import Value


@op("Attention", raw=True, declines=True)
def attention(
    call: Call, query: Value, key: Value, value: Value, mask: Value = None, *cache: Value
) -> Any:  # Any: a tensor, or NotImplemented for a form that is not plain
    if not isinstance(query, Tensor) or not isinstance(key, Tensor) or not isinstance(value, Tensor):
        return NotImplemented
    if mask is not None and not isinstance(mask, Tensor) or not _plain(call, query, key, mask, cache):
        return NotImplemented
    q, k, v = _heads(query, call["q_num_heads"]), _heads(key, call["kv_num_heads"]), _heads(value, call["kv_num_heads"])
    scale = call["scale"] or 1 / math.sqrt(q.shape[-1])
    grouped = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(q, k, v, mask, 0.0, bool(call["is_causal"]), scale=scale, enable_gqa=grouped)
    return out if query.ndim == 4 else out.transpose(1, 2).reshape((*query.shape[:2], -1))


def _plain(call: Call, query: Tensor, key: Tensor, mask: Tensor | None, cache: tuple[Value, ...]) -> bool:
    """Whether there is neither cache, soft cap, window nor half precision, and the mask is one number for each pair."""
    if any(call.wants(i) for i in (1, 2, 3)) or any(c is not None for c in cache):
        return False
    windowed = any(call[name] not in (None, -1) for name in ("left_window_size", "right_window_size"))
    if windowed or call["softcap"] or call["softmax_precision"] or query.dtype in (fb.float16, fb.bfloat16):
        return False
    if mask is not None:
        return mask.dtype is query.dtype and not call["is_causal"] and mask.shape[-1] == key.shape[-2]
    return not call["is_causal"] or query.shape[-2] == key.shape[-2]


def _heads(x: Tensor, count: int | None) -> Tensor:
    """(batch, heads, length, size) of (batch, length, heads · size)."""
    if x.ndim == 4 or not count:
        return x
    return x.reshape((x.shape[0], x.shape[1], count, -1)).transpose(1, 2)
