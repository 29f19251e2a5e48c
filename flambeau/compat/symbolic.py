"""Symbolic numbers and the tags of ops, as programs for compilers name them."""

from __future__ import annotations

import enum
from typing import Any

__all__ = ["SymBool", "SymFloat", "SymInt", "Tag"]


class _Symbolic:
    """A number that a compiler knows by a node; what is asked of it is asked of the node."""

    def __init__(self, node: Any):  # Any: a node of a compiler; flambeau makes none
        self.node = node

    def __hash__(self) -> int:
        return hash(self.node)


class SymInt(_Symbolic):
    """A size that is not known yet; here every size is, and no number is one of these."""

    def __int__(self) -> int:
        return int(self.node.guard_int("", 0))

    __index__ = __int__

    def as_integer_ratio(self) -> tuple[SymInt, int]:
        """Itself, over 1."""
        return self, 1


class SymFloat(_Symbolic):
    """A float that is not known yet; no number is one of these."""

    def __float__(self) -> float:
        return float(self.node.guard_float("", 0))

    def is_integer(self) -> bool:
        """Whether it is whole."""
        return float(self).is_integer()

    def as_integer_ratio(self) -> tuple[int, int]:
        """Two integers whose quotient it is."""
        return float(self).as_integer_ratio()

    def conjugate(self) -> SymFloat:
        """Itself."""
        return self

    def hex(self) -> str:
        """Its digits to the base 16, as text."""
        return float(self).hex()


class SymBool(_Symbolic):
    """A condition that is not known yet; no bool is one of these."""

    def __bool__(self) -> bool:
        return bool(self.node.guard_bool("", 0))


class Tag(enum.Enum):
    """What an op is, for compilers: ``library.define`` takes them, and nothing here depends on them."""

    core = 0
    cudagraph_unsafe = 1
    data_dependent_output = 2
    dynamic_output_shape = 3
    flexible_layout = 4
    generated = 5
    inplace = 6
    inplace_view = 7
    maybe_aliasing_or_mutating = 8
    needs_contiguous_strides = 9
    needs_exact_strides = 10
    needs_fixed_stride_order = 11
    nondeterministic_bitwise = 12
    nondeterministic_seeded = 13
    out = 14
    out_variant = 15
    pointwise = 16
    pt2_compliant_tag = 17
    reduction = 18
    view_copy = 19
