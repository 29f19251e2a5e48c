"""Gradients of several parameters in one piece of memory, which is reduced at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flambeau.core.box import box_of
from flambeau.core.creation import empty_like, zeros
from flambeau.core.dispatch import tensor_of
from flambeau.core.tensor import Tensor

MIB = 2**20


def divided(parameters: Sequence[Tensor], order: Iterable[int], limits: Sequence[int]) -> list[list[int]]:
    """The numbers of parameters in buckets: in this order, each bucket of one device and dtype.

    A bucket is full when it has ``limits`` bytes; the last limit holds for all further ones of that device and dtype.
    """
    found: list[list[int]] = []
    opened: dict[tuple[Any, Any], tuple[int, int, int]] = {}  # by kind: the bucket, its bytes, which limit
    for number in order:
        p = parameters[number]
        kind = (p.device, p.dtype)
        place, size, limit = opened.get(kind, (-1, 0, 0))
        if place < 0:
            place = len(found)
            found.append([])
        found[place].append(number)
        size += p.numel() * p.element_size()
        if size >= limits[min(limit, len(limits) - 1)]:
            place, size, limit = -1, 0, limit + 1
        opened[kind] = (place, size, limit)
    return found


def _view(flat: Tensor, at: int, like: Tensor) -> Tensor:
    """The part of ``flat`` from ``at`` with the shape of ``like``, and its strides where they leave no holes."""
    part = flat.as_strided(tuple(like.shape), empty_like(like).stride(), at)
    view = tensor_of(part._array, part._key)
    view._box = box_of(flat)  # nobody may take it over
    return view


class Bucket:
    """The gradients of the parameters of ``numbers``: ``flat``, and a view of it for each."""

    def __init__(self, index: int, numbers: Sequence[int], parameters: Sequence[Tensor]):
        self.index, self.numbers = index, list(numbers)
        self.parameters = [parameters[n] for n in numbers]
        first = self.parameters[0]
        self.flat = zeros(sum(p.numel() for p in self.parameters), dtype=first.dtype, device=first.device)
        self.views: dict[int, Tensor] = {}
        at = 0
        for n, p in zip(numbers, self.parameters, strict=True):
            self.views[n] = _view(self.flat, at, p)
            at += p.numel()
        self.left = len(self.numbers)  # whose gradients have not come
        self.work: Any = None  # the reduction under way: a Work or a Future


class GradBucket:
    """What a communication hook is given: the gradients of one bucket, before any division.

    Made by DistributedDataParallel.
    """

    def __init__(self, bucket: Bucket, last: bool):
        self._bucket, self._last, self._buffer = bucket, last, bucket.flat

    def index(self) -> int:
        """Its place among the buckets, in the order in which they are reduced."""
        return self._bucket.index

    def buffer(self) -> Tensor:
        """All its gradients as one tensor of one axis."""
        return self._buffer

    def gradients(self) -> list[Tensor]:
        """Views of the buffer, one for each parameter, with its shape."""
        if self._buffer is self._bucket.flat:
            return list(self._bucket.views.values())
        at, found = 0, []
        for p in self._bucket.parameters:
            found.append(_view(self._buffer, at, p))
            at += p.numel()
        return found

    def parameters(self) -> list[Tensor]:
        """The parameters, in the order of the gradients."""
        return list(self._bucket.parameters)

    def is_last(self) -> bool:
        """Whether it is the last bucket of this backward."""
        return self._last

    def set_buffer(self, tensor: Tensor) -> None:
        """Take another tensor of as many elements for the buffer.

        >>> bucket = GradBucket(Bucket(0, [0], [fb.zeros(2)]), True)
        >>> bucket.set_buffer(fb.ones(2))
        >>> bucket.gradients()
        [tensor([1., 1.])]
        """
        if tensor.numel() != self._bucket.flat.numel():
            raise ValueError(
                f"GradBucket.set_buffer: takes a tensor of {self._bucket.flat.numel()} elements, got one of shape "
                f"{tuple(tensor.shape)}"
            )
        self._buffer = tensor

    def __repr__(self) -> str:
        flat = self._bucket.flat
        return f"GradBucket(index={self.index()}, elements={flat.numel()}, dtype={flat.dtype}, device={flat.device})"
