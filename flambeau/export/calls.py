"""What a call of an exported program must look like, and whether one does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.export.graph import ExportError
from flambeau.export.laws import Law
from flambeau.utils import _pytree as pytree


@dataclass(frozen=True)
class Range:
    """The sizes that a dimension may have, both ends included; ``upper`` is None without a limit."""

    lower: int = 0
    upper: int | None = None

    def __contains__(self, size: object) -> bool:
        return isinstance(size, int) and self.lower <= size and (self.upper is None or size <= self.upper)

    def __str__(self) -> str:
        return f"[{self.lower}, {'oo' if self.upper is None else self.upper}]"


@dataclass(frozen=True)
class TensorInput:
    """What a tensor of a call must be: sizes are ints, or laws of dimensions."""

    name: str
    shape: tuple[int | Law, ...]
    dtype: DType


@dataclass(frozen=True)
class ConstantInput:
    """What an argument that is no tensor must be."""

    name: str
    value: int | float | complex | str | None


Input: TypeAlias = TensorInput | ConstantInput


@dataclass(frozen=True)
class CallSpec:
    """The nestings of the arguments, a pair of a tuple and a dict, and of the result."""

    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec


def flat(spec: pytree.TreeSpec, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The leaves of the arguments of a call; ExportError where they do not nest as those of the program did."""
    try:
        return spec.flatten_up_to((tuple(args), dict(kwargs)))
    except ValueError as error:
        raise ExportError(
            f"the arguments do not nest as those that the program was exported with: {error} It takes {_told(spec)}"
        ) from None


def _told(spec: pytree.TreeSpec) -> str:
    args, kwargs = spec.children()
    count = f"{args.num_children} argument{'s' * (args.num_children != 1)}"
    names = ", ".join(map(str, kwargs.context))
    return f"{count} and the keywords {names}" if names else count


def check(inputs: Sequence[Input], leaves: Sequence[Any], ranges: Mapping[str, Range]) -> None:
    """ExportError that says which argument is none that the program is for."""
    for spec, leaf in zip(inputs, leaves, strict=True):
        if isinstance(spec, ConstantInput):
            if type(leaf) is not type(spec.value) or not _equal(leaf, spec.value):
                raise ExportError(f"argument {spec.name!r} must be {spec.value!r}, as at the export, got {leaf!r}")
        elif not isinstance(leaf, Tensor):
            raise ExportError(f"argument {spec.name!r} must be a tensor, got {type(leaf).__name__}")
        elif leaf.dtype is not spec.dtype:
            raise ExportError(f"argument {spec.name!r} must be of dtype {spec.dtype.name}, got {leaf.dtype.name}")
        elif len(leaf.shape) != len(spec.shape):
            raise ExportError(
                f"argument {spec.name!r} must have {len(spec.shape)} dimensions, got shape {tuple(leaf.shape)}"
            )
    sizes = sizes_of(inputs, leaves)
    for name, n in sizes.items():
        if n not in ranges.get(name, Range()):
            raise ExportError(f"dimension {name!r} must be in {ranges[name]}, got {n}")
    for spec, leaf in zip(inputs, leaves, strict=True):
        if isinstance(spec, TensorInput):
            _check_sizes(spec, leaf, sizes)


def _check_sizes(spec: TensorInput, leaf: Tensor, sizes: Mapping[str, int]) -> None:
    for axis, (n, want) in enumerate(zip(leaf.shape, spec.shape, strict=True)):
        wanted = want.at(sizes) if isinstance(want, Law) else want
        if n != wanted:
            of = f" ({want}, where {_sizes_told(want, sizes)})" if isinstance(want, Law) else ""
            raise ExportError(
                f"argument {spec.name!r} must have size {wanted}{of} at dimension {axis}, got shape {tuple(leaf.shape)}"
            )


def _sizes_told(law: Law, sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{d} = {sizes[d]}" for d in sorted(law.dims))


def _equal(a: object, b: object) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def sizes_of(inputs: Sequence[Input], leaves: Sequence[Any]) -> dict[str, int]:
    """The dimensions of a call by name: each is read where a size is that dimension, or a line of it."""
    found: dict[str, int] = {}
    lines: list[tuple[Law, int, str]] = []
    for spec, leaf in zip(inputs, leaves, strict=True):
        if isinstance(spec, TensorInput):
            for n, want in zip(leaf.shape, spec.shape, strict=True):
                if isinstance(want, Law):
                    lines.append((want, n, spec.name))
    lines.sort(key=lambda line: len(line[0].terms) != 1 or line[0].terms[0][0] != 1 or line[0].constant != 0)
    for law, n, name in lines:
        if len(law.dims) != 1 or (dim := next(iter(law.dims))) in found:
            continue
        factor = law.terms[0][0]
        size, rest = divmod(n * law.divisor - int(law.constant), factor)
        if rest or size < 0:
            raise ExportError(f"argument {name!r} must have a size of the form {law}, got {n}")
        found[dim] = size
    return found


__all__ = ["CallSpec", "ConstantInput", "Input", "Range", "TensorInput", "check", "flat", "sizes_of"]
