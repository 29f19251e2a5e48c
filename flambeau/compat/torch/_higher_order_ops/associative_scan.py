"""All partial results of an associative function, in a logarithmic number of steps. Hillis & Steele, 1986."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core.ops.joining import cat
from flambeau.core.tensor import Tensor
from flambeau.utils._pytree import tree_flatten, tree_map, tree_unflatten

__all__ = ["associative_scan"]


# Any: tensors in any nesting
def associative_scan(
    combine_fn: Callable[[Any, Any], Any], xs: Any, dim: int, reverse: bool = False, combine_mode: str = "pointwise"
) -> Any:
    """The combinations of the first 1, 2, 3, … elements along ``dim``: of the last ones with ``reverse``.

    ``combine_fn`` takes two nestings like ``xs`` and must be associative; it is called with many elements at a time.
    """
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(f"associative_scan: combine_mode must be 'pointwise' or 'generic', got {combine_mode!r}")
    leaves, spec = tree_flatten(xs)
    if not leaves or not all(isinstance(x, Tensor) for x in leaves):
        raise ValueError("associative_scan: xs must be a nesting of at least one tensor, and of nothing else")
    sizes = {x.shape[dim] for x in leaves}
    if len(sizes) > 1:
        raise ValueError(f"associative_scan: the tensors of xs must have one size along dim {dim}, got {sorted(sizes)}")
    found, size, step = [x.flip(dim) if reverse else x for x in leaves], sizes.pop(), 1
    while step < size:
        earlier = tree_unflatten([x.narrow(dim, 0, size - step) for x in found], spec)
        later = tree_unflatten([x.narrow(dim, step, size - step) for x in found], spec)
        joined = tree_flatten(combine_fn(earlier, later))[0]
        found = [cat([x.narrow(dim, 0, step), y], dim) for x, y in zip(found, joined, strict=True)]
        step *= 2
    done = tree_unflatten(found, spec)
    return tree_map(lambda x: x.flip(dim), done) if reverse else done
