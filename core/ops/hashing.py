"""A hash of a tensor's values: the exclusive or of their bits."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core import dtype as dt
from flambeau.core.errors import ArgumentError, DTypeError
from flambeau.core.ops.joining import cat
from flambeau.core.ops.shape import axis_of
from flambeau.core.ops.views import narrow
from flambeau.core.public import public
from flambeau.core.tensor import Tensor


@public(out=True)
def hash_tensor(input: Tensor, dim: int | Sequence[int] = (), *, keepdim: bool = False, mode: int = 0) -> Tensor:
    """The exclusive or (uint64) over ``dim``, or all, of the bits of floats as float64 and of the rest as int64.

    >>> fb.hash_tensor(fb.tensor([1, 2, 7]))
    tensor(4, dtype=flambeau.uint64)
    """
    if mode != 0:
        raise ArgumentError(f"hash_tensor: mode must be 0, got {mode}")
    if input.is_complex():
        raise DTypeError(f"hash_tensor: input must be real, got {input.dtype.name}")
    bits = input.to(dt.float64).view(dt.int64) if input.is_floating_point() else input.to(dt.int64)
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    axes = [axis_of("hash_tensor", input, d) for d in given] or list(range(input.ndim))
    if not input.ndim:  # its dim 0 is there in name alone
        axes = []
    for axis in axes:
        bits = _folded(bits, axis)
    if not keepdim:
        bits = bits.squeeze(tuple(axes))
    return bits.view(dt.uint64)


def _folded(x: Tensor, axis: int) -> Tensor:
    """The exclusive or along an axis, of which 1 is left: halves at a time."""
    while (n := x._array.shape[axis]) > 1:
        half = n // 2
        both = narrow(x, axis, 0, half).bitwise_xor(narrow(x, axis, half, half))
        x = cat([both, narrow(x, axis, n - 1, 1)], axis) if n % 2 else both
    return x if n else x.new_zeros(tuple([1 if i == axis else s for i, s in enumerate(x._array.shape)]))
