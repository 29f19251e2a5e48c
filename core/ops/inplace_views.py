"""Views in place (``t_``, ``unsqueeze_``, ...) and new sizes for a tensor's memory (``resize_``, ``set_``).

Nothing is copied or written: the tensor itself gets the strides and the history that the view would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from flambeau.core import creation, events
from flambeau.core.autograd.inplace import require_writable_history
from flambeau.core.box import INFERENCE, box_of, require_tracked
from flambeau.core.errors import GradientError, ShapeError
from flambeau.core.graph import ITSELF, Leaf, View
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.ops import shape, storage, views
from flambeau.core.public import public
from flambeau.core.state import current, put
from flambeau.core.tensor import Tensor, blank


def _becomes(name: str, self: Tensor, view: Callable[[Tensor], Tensor]) -> Tensor:
    """``self`` made the view that ``view`` takes of it."""
    state = current()
    require_tracked(self, f"{name}: changing", state.inference)
    require_writable_history(name, self, False, state)
    before = blank()  # what the tensor is now: a view's history must not refer to the tensor that it is
    shared = self._box is not None  # by views, which go on from what the tensor is now
    events.touch(self)
    before._array, before._key, before._node, before._box = self._array, self._key, self._node, box_of(self)
    try:
        if not state.inference or self._box is not INFERENCE:  # its history stays its own in every mode
            put(state.replace(grad=True, inference=False))
        after = view(before)
    finally:
        put(state)
    if before._node.__class__ is not View or not self._is_view():
        after._node.made = (*after._node.made[:8], ITSELF)
    if self._node.__class__ is not Leaf:
        self._node = after._node if shared or self._node is None else after._node.resolve()
    self._array = after._array
    if self._node.__class__ is Leaf:
        self._node.shape = self._array.shape
    return self


@public()
def squeeze_(self: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """:func:`squeeze` in place: the tensor itself loses the dimensions.

    >>> fb.tensor([[1, 2]]).squeeze_()
    tensor([1, 2])
    """
    return _becomes("squeeze_", self, lambda x: shape.squeeze(x, dim))


@public()
def unsqueeze_(self: Tensor, dim: int) -> Tensor:
    """:func:`unsqueeze` in place.

    >>> fb.tensor([1, 2]).unsqueeze_(0)
    tensor([[1, 2]])
    """
    return _becomes("unsqueeze_", self, lambda x: shape.unsqueeze(x, dim))


@public()
def t_(self: Tensor) -> Tensor:
    """The transpose of a matrix, in place: only the strides change.

    >>> fb.tensor([[1, 2]]).t_()
    tensor([[1],
            [2]])
    """
    return _becomes("t_", self, shape.t)


@public(aliases=("swapaxes_", "swapdims_"), more={"axis0": "dim0", "axis1": "dim1"})
def transpose_(self: Tensor, dim0: int, dim1: int) -> Tensor:
    """:func:`transpose` in place: only the strides change."""
    return _becomes("transpose_", self, lambda x: shape.transpose(x, dim0, dim1))


@public(function=True)
def as_strided_(self: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """:func:`as_strided` in place."""
    return _becomes("as_strided_", self, lambda x: views.as_strided(x, size, stride, storage_offset))


# -- memory ------------------------------------------------------------------------------------------
def _plain(name: str, self: Tensor) -> None:
    if self.requires_grad:
        raise GradientError(f"{name}: cannot resize a tensor that requires grad; use detach() or no history")
    if self._key.level is not None:
        raise ShapeError(f"{name}: a tensor inside a transform has no memory of its own to resize")


@public()
def resize_(self: Tensor, *sizes: int | Sequence[int], memory_format: MemoryFormat | None = None) -> Tensor:
    """Another shape, in place: the elements in memory stay in their order, new ones are not defined.

    Memory is kept where it is large enough, and then still shared with other views of it.

    >>> fb.arange(6).resize_(2, 2)
    tensor([[0, 1],
            [2, 3]])
    """
    _plain("resize_", self)
    new = shape.sizes_of("resize_", sizes)
    if any(n < 0 for n in new):
        raise ShapeError(f"resize_: sizes must not be negative, got {new}")
    if new == tuple(self._array.shape):
        return self
    events.touch(self)
    count, have = math.prod(new), self.numel()
    whole = self.detach() if self.is_contiguous() else storage.clone_p(self.detach(), "C")
    flat = shape.reshape(whole, (have,))
    if count <= have:
        self._array = shape.reshape(views.narrow(flat, 0, 0, count), new)._array
        return self
    grown = creation.empty(count, dtype=self.dtype, device=self.device)
    views.narrow(grown, 0, 0, have).copy_(flat)
    self._array, self._box = shape.reshape(grown, new)._array, None
    self._node = None
    return self


@public(function=True)
def resize_as_(self: Tensor, other: Tensor, *, memory_format: MemoryFormat | None = None) -> Tensor:
    """:func:`resize_` to the shape of ``other``."""
    return resize_(self, tuple(other._array.shape))


def set_tensor(self: Tensor, source: Tensor | None = None) -> Tensor:
    """Share the memory, shape and strides of ``source``, of the same dtype; without it, become empty."""
    _plain("set_", self)
    if source is None:
        source = self.new_empty((0,))
    if source._key is not self._key:
        raise ShapeError(
            f"set_: source must have the dtype and device of the tensor, got {source.dtype} on {source.device} "
            f"and {self.dtype} on {self.device}"
        )
    events.touch(self)
    self._array, self._box, self._node = source._array, box_of(source), None
    return self
