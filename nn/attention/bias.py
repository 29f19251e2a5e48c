"""Masks for attention that hide later keys, aligned at the first or at the last of queries and keys."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, SupportsIndex

from flambeau.core.box import box_of
from flambeau.core.creation import ones
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import bool_
from flambeau.core.keys import real_key
from flambeau.core.overrides import disabled_torch_function
from flambeau.core.tensor import Tensor

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(enum.IntEnum):
    """Where the diagonal of a mask begins or ends.

    >>> fb.nn.attention.bias.CausalVariant.LOWER_RIGHT.value
    2
    """

    UPPER_LEFT = 1
    LOWER_RIGHT = 2


class CausalBias(Tensor):
    """A bool mask (queries, keys), True where a query may look: an ``attn_mask`` of scaled_dot_product_attention.

    >>> fb.nn.attention.bias.causal_lower_right(2, 3)
    tensor([[ True,  True, False],
            [ True,  True,  True]])
    """

    __torch_function__ = staticmethod(disabled_torch_function)
    __slots__ = ("seq_len_kv", "seq_len_q", "variant")

    variant: CausalVariant
    seq_len_q: int
    seq_len_kv: int

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int, device: DeviceLike = None) -> CausalBias:
        if not isinstance(variant, CausalVariant):
            raise TypeError(f"CausalBias: variant must be a CausalVariant, got {variant!r}")
        shift = seq_len_kv - seq_len_q if variant is CausalVariant.LOWER_RIGHT else 0
        data = ones(seq_len_q, seq_len_kv, dtype=bool_, device=device).tril(shift)
        made: CausalBias = object.__new__(cls)
        made._array, made._key, made._box, made._node = data._array, real_key(data._key), box_of(data), None
        made.variant, made.seq_len_q, made.seq_len_kv = variant, seq_len_q, seq_len_kv
        return made

    def __init__(self, variant: CausalVariant, seq_len_q: int, seq_len_kv: int, device: DeviceLike = None):
        """``__new__`` has done it all."""

    def _materialize(self, device: DeviceLike = None) -> Tensor:
        """The mask as an ordinary tensor."""
        return self.detach().to(device or self.device)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        return type(self), (self.variant, self.seq_len_q, self.seq_len_kv, self.device)


def causal_upper_left(*size: int) -> CausalBias:
    """The mask (queries, keys) in which query i sees the keys up to i.

    >>> fb.nn.attention.bias.causal_upper_left(2, 3)
    tensor([[ True, False, False],
            [ True,  True, False]])
    """
    queries, keys = _two("causal_upper_left", size)
    return CausalBias(CausalVariant.UPPER_LEFT, queries, keys)


def causal_lower_right(*size: int) -> CausalBias:
    """The mask (queries, keys) in which the last query sees all the keys.

    >>> fb.nn.attention.bias.causal_lower_right(1, 3)
    tensor([[True, True, True]])
    """
    queries, keys = _two("causal_lower_right", size)
    return CausalBias(CausalVariant.LOWER_RIGHT, queries, keys)


def _two(name: str, size: tuple[int, ...]) -> tuple[int, int]:
    if len(size) != 2:
        raise ValueError(f"{name}: give two sizes, queries and keys, got {size}")
    return size[0], size[1]
