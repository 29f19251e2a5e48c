"""Batches cut into microbatches, and what comes of these put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flambeau.core.ops.joining import cat, stack
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten


@dataclass(frozen=True)
class TensorChunkSpec:
    """A tensor is cut along ``split_dim``."""

    split_dim: int

    @staticmethod
    def from_tuple(chunk_dims: Sequence[int]) -> tuple[TensorChunkSpec, ...]:
        """Those of positional arguments.

        >>> TensorChunkSpec.from_tuple((0, 1))
        (TensorChunkSpec(split_dim=0), TensorChunkSpec(split_dim=1))
        """
        return tuple(TensorChunkSpec(dim) for dim in chunk_dims)

    @staticmethod
    def from_dict(chunk_dims: Mapping[str, int]) -> dict[str, TensorChunkSpec]:
        """Those of keywords."""
        return {name: TensorChunkSpec(dim) for name, dim in chunk_dims.items()}


def split(value: Any, count: int, spec: TensorChunkSpec | None, what: str) -> list[Any]:  # Any: an argument
    """An argument for each microbatch: tensors in it cut, of sizes that differ by one at most, all else repeated.

    >>> [tuple(t.shape) for t in split(fb.ones(5, 2), 2, None, "input")]
    [(3, 2), (2, 2)]

    Raises:
        ValueError: a tensor has fewer samples than there are microbatches.
    """
    dim = 0 if spec is None else spec.split_dim
    leaves, structure = flatten(value)
    cut: list[Sequence[Any]] = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            cut.append([leaf] * count)
            continue
        if not -leaf.ndim <= dim < leaf.ndim or leaf.shape[dim] < count:
            raise ValueError(
                f"{what}: a tensor of shape {tuple(leaf.shape)} cannot be cut into {count} microbatches along "
                f"dimension {dim}"
            )
        cut.append(leaf.tensor_split(count, dim))
    return [unflatten([parts[i] for parts in cut], structure) for i in range(count)]


def split_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], count: int,
    args_spec: Sequence[TensorChunkSpec] | None, kwargs_spec: Mapping[str, TensorChunkSpec] | None,
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:  # fmt: skip
    """Positional arguments and keywords for each microbatch.

    Raises:
        ValueError: there are not as many specifications as arguments, or as in :func:`split`.
    """
    if args_spec is not None and args and len(args_spec) != len(args):
        raise ValueError(f"args_chunk_spec has {len(args_spec)} entries for {len(args)} arguments")
    by_position = [
        split(a, count, args_spec[i] if args_spec is not None else None, f"argument {i}") for i, a in enumerate(args)
    ]
    by_name = {name: split(a, count, (kwargs_spec or {}).get(name), f"argument {name}") for name, a in kwargs.items()}
    return [
        (tuple(parts[i] for parts in by_position), {name: parts[i] for name, parts in by_name.items()})
        for i in range(count)
    ]


def merge(values: Sequence[Any], spec: Any = None) -> Any:  # Any: what a stage gives, nested, and the like of specs
    """What the microbatches gave as if it came of the whole batch; numbers without dimensions are stacked."""
    first = values[0]
    if isinstance(first, tuple | list):
        specs = spec if isinstance(spec, tuple | list) else [spec] * len(first)
        return type(first)([merge(parts, s) for parts, s in zip(zip(*values, strict=True), specs, strict=True)])
    if isinstance(first, dict):
        return {name: merge([v[name] for v in values], (spec or {}).get(name)) for name in first}
    if not isinstance(first, Tensor):
        return first
    if not first.ndim:
        return stack(list(values))
    return cat(list(values), spec.split_dim if isinstance(spec, TensorChunkSpec) else 0)
