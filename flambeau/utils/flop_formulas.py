"""What products, convolutions and attention compute, from the shapes of what goes in and comes out.

Two operations for each multiplication that is added up. Operands are given as shapes or as tensors, and the result as
``out_val``.

>>> mm_flop((2, 3), (3, 4))
48
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import prod
from typing import Any

from flambeau.core.tree import tree_map

__all__ = [
    "addmm_flop", "baddbmm_flop", "bmm_flop", "conv_backward_flop", "conv_flop", "conv_flop_count", "mm_flop",
    "sdpa_backward_flop", "sdpa_backward_flop_count", "sdpa_flop", "sdpa_flop_count", "shape_wrapper",
]  # fmt: skip

Shape = Sequence[int]


def _shape_of(value: Any) -> Any:  # Any: tensors become shapes, the rest stays
    return tuple(value.shape) if hasattr(value, "shape") else value


def shape_wrapper(f: Callable[..., int]) -> Callable[..., int]:
    """A formula of shapes as one of tensors: their shapes are looked up, that of the result from ``out_val``."""

    @wraps(f)
    def formula(*args: Any, out_val: Any = None, **kwargs: Any) -> int:  # Any: of the formula
        shapes, named, out = tree_map(_shape_of, (args, kwargs, out_val))
        return f(*shapes, out_shape=out, **named)

    return formula


@shape_wrapper
def mm_flop(a_shape: Shape, b_shape: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Of a matrix (m, k) times one (k, n)."""
    (m, k), (other, n) = a_shape, b_shape
    if k != other:
        raise AssertionError(f"matmul: inner dimensions must match (k == k2), got {k} and {other}")
    return int(2 * m * n * k)


@shape_wrapper
def addmm_flop(self_shape: Shape, a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """As :func:`mm_flop`: adding the first tensor is not counted."""
    return mm_flop(a_shape, b_shape)


@shape_wrapper
def bmm_flop(a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """Of matrices (b, m, k) times as many (b, k, n)."""
    if a_shape[0] != b_shape[0]:
        raise AssertionError(f"bmm: batch dimensions must match (b == b2), got {a_shape[0]} and {b_shape[0]}")
    return a_shape[0] * mm_flop(a_shape[1:], b_shape[1:])


@shape_wrapper
def baddbmm_flop(self_shape: Shape, a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """As :func:`bmm_flop`: adding the first tensor is not counted."""
    return bmm_flop(a_shape, b_shape)


def conv_flop_count(x_shape: Shape, w_shape: Shape, out_shape: Shape, transposed: bool = False) -> int:
    """Each element of the result, or of the input of a transposed convolution, meets the whole weight."""
    return 2 * x_shape[0] * prod((x_shape if transposed else out_shape)[2:]) * prod(w_shape)


@shape_wrapper
def conv_flop(
    x_shape: Shape, w_shape: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any, transposed: bool,
    *args: Any, out_shape: Any = None, **kwargs: Any,
) -> int:  # fmt: skip
    """Of a convolution, from the arguments of PyTorch's op."""
    return conv_flop_count(x_shape, w_shape, out_shape, transposed)


@shape_wrapper
def conv_backward_flop(
    grad_out_shape: Shape, x_shape: Shape, w_shape: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any,
    transposed: bool, _output_padding: Any, _groups: Any, output_mask: Sequence[bool], out_shape: Any, **kwargs: Any,
) -> int:  # fmt: skip
    """Of the gradients of a convolution that ``output_mask`` asks for: of the input, the weight and the bias."""
    total = 0
    if output_mask[0]:
        total += conv_flop_count(grad_out_shape, w_shape, out_shape[0], not transposed)
    if output_mask[1]:  # a convolution over the batch, whose result is the weight
        first, second = (grad_out_shape, x_shape) if transposed else (x_shape, grad_out_shape)
        total += conv_flop_count(_turned(first), _turned(second), _turned(out_shape[1]), False)
    return total


def _turned(shape: Shape) -> Shape:
    return shape[1], shape[0], *shape[2:]


def sdpa_flop_count(query_shape: Shape, key_shape: Shape, value_shape: Shape) -> int:
    """Of attention over (b, h, length, size): the scores, and what they choose."""
    batch, q_length, size = _heads(query_shape, key_shape, value_shape)
    return 2 * batch * q_length * key_shape[-2] * (size + value_shape[-1])


def _heads(query: Shape, key: Shape, value: Shape) -> tuple[int, int, int]:
    """How many pairs of matrices there are, and the shape of one of the queries."""
    if not (query[0] == key[0] == value[0] and query[-1] == key[-1] and key[-2] == value[-2]):
        raise AssertionError(f"sdpa: query, key and value shapes must fit, got {query}, {key} and {value}")
    if key[1] != value[1] or query[1] % key[1]:
        raise AssertionError(f"sdpa: heads must fit, got {query[1]}, {key[1]} and {value[1]}")
    return query[0] * query[1], query[2], query[3]


@shape_wrapper
def sdpa_flop(
    query_shape: Shape, key_shape: Shape, value_shape: Shape, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    """Of attention."""
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def sdpa_backward_flop_count(grad_out_shape: Shape, query_shape: Shape, key_shape: Shape, value_shape: Shape) -> int:
    """Of the gradients of attention: the scores once more, theirs and the values', the queries' and the keys'."""
    batch, q_length, size = _heads(query_shape, key_shape, value_shape)
    return 2 * batch * q_length * key_shape[-2] * (3 * size + 2 * value_shape[-1])


@shape_wrapper
def sdpa_backward_flop(
    grad_out_shape: Shape, query_shape: Shape, key_shape: Shape, value_shape: Shape, *args: Any,
    out_shape: Any = None, **kwargs: Any,
) -> int:  # fmt: skip
    """Of the gradients of attention."""
    return sdpa_backward_flop_count(grad_out_shape, query_shape, key_shape, value_shape)
