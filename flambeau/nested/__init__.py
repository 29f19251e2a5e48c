"""Sequences of several lengths as one tensor, without padding: ``flambeau.nested``, in torch's jagged layout.

>>> x = fb.nested.nested_tensor([fb.ones(1, 2), fb.ones(3, 2)], layout=fb.jagged)
>>> x.to_padded_tensor(0.0).shape
flambeau.Size([2, 3, 2])
"""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DTypeLike
from flambeau.core.dtype import as_dtype as _as_dtype
from flambeau.core.dtype import int64 as _int64
from flambeau.core.memory_format import Layout, strided
from flambeau.core.methods import give_homes as _give_homes
from flambeau.core.ops.joining import cat as _cat
from flambeau.core.tensor import Tensor
from flambeau.nested.tensor import NestedTensor as _NestedTensor
from flambeau.nested.tensor import jagged as _jagged
from flambeau.nested.tensor import nest as _nest

__all__ = [
    "as_nested_tensor", "masked_select", "narrow", "nested_tensor", "nested_tensor_from_jagged", "to_padded_tensor",
]  # fmt: skip


def nested_tensor(
    tensor_list: Sequence[Tensor], *, dtype: DTypeLike | None = None, layout: Layout | None = None,
    device: DeviceLike = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A nested tensor of copies of dense tensors that differ in the size of one dimension, without their history.

    Errors: NotImplementedError for a layout that is not jagged; RuntimeError where there are no tensors, or they have
    no dimension, or differ in dtype, number of dimensions or more than one size.

    >>> x = fb.nested.nested_tensor([fb.ones(1, 2), fb.ones(3, 2)], layout=fb.jagged)
    >>> [t.shape[0] for t in x.unbind()]
    [1, 3]
    """
    values, lengths, ragged = _joined("nested_tensor", tensor_list, dtype, layout, device)
    made = _nest(values.detach(), _ends(lengths, values), None, ragged)
    made.requires_grad_(requires_grad)
    return made


def as_nested_tensor(
    ts: Tensor | Sequence[Tensor], dtype: DTypeLike | None = None, device: DeviceLike = None,
    layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """A nested tensor of dense tensors, with their history; a nested tensor as it is. Errors: nested_tensor's.

    >>> x = fb.ones(2, requires_grad=True)
    >>> fb.nested.as_nested_tensor([x, fb.ones(1)], layout=fb.jagged).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """
    if isinstance(ts, _NestedTensor):
        return ts
    values, lengths, ragged = _joined("as_nested_tensor", ts, dtype, layout, device)
    return _nest(values, _ends(lengths, values), None, ragged)


def _need_jagged(name: str, layout: Layout | None) -> None:
    if layout is not _jagged:
        raise NotImplementedError(f"{name}: nested tensors have the layout flambeau.jagged, got layout={layout}")


def _joined(
    name: str, ts: Tensor | Sequence[Tensor], dtype: DTypeLike | None, layout: Layout | None, device: DeviceLike
) -> tuple[Tensor, list[int], int]:
    """The values, the lengths, and which dimension of the nested tensor is ragged."""
    _need_jagged(name, layout)
    rows = list(ts)
    if not rows:
        raise RuntimeError(f"{name}: expects at least one tensor, got an empty list")
    for row in rows:
        if not isinstance(row, Tensor):
            raise RuntimeError(f"{name}: expects a list of tensors, got one of {type(row).__name__}")
    for what, found in (("dtypes", {r.dtype for r in rows}), ("numbers of dimensions", {r.ndim for r in rows})):
        if len(found) > 1:
            raise RuntimeError(f"{name}: expects tensors alike, got {what} {sorted(map(str, found))}")
    if not rows[0].ndim:
        raise RuntimeError(f"{name}: expects tensors with a dimension, got some without")
    unlike = [d for d, sizes in enumerate(zip(*(r.shape for r in rows), strict=True)) if len(set(sizes)) > 1]
    if len(unlike) > 1:
        raise RuntimeError(f"{name}: expects shapes that differ in one dimension, got {[tuple(r.shape) for r in rows]}")
    axis = unlike[0] if unlike else 0
    values = _cat(rows, axis)
    if dtype is not None or device is not None:
        kind = values.dtype if dtype is None else _as_dtype(dtype)
        values = values.to(values.device if device is None else device, kind)
    return values, [r.shape[axis] for r in rows], axis + 1


def _ends(lengths: Sequence[int], values: Tensor) -> Tensor:
    return values.new_tensor([0, *lengths], dtype=_int64).cumsum(0)


def nested_tensor_from_jagged(
    values: Tensor, offsets: Tensor | None = None, lengths: Tensor | None = None, jagged_dim: int | None = None,
    min_seqlen: int | None = None, max_seqlen: int | None = None,
) -> Tensor:  # fmt: skip
    """A nested tensor of values in which the sequences follow each other, with their history: a view.

    Sequence i starts at ``offsets[i]`` and ends at ``offsets[i + 1]``, or after ``lengths[i]``. ``jagged_dim`` is the
    ragged dimension of the result (1). The shortest and longest length are not needed. Errors: RuntimeError without
    offsets and lengths, or for a ``jagged_dim`` that values have not.

    >>> fb.nested.nested_tensor_from_jagged(fb.arange(3), lengths=fb.tensor([1, 2])).unbind()
    (tensor([0]), tensor([1, 2]))
    """
    name, ragged = "nested_tensor_from_jagged", 1 if jagged_dim is None else jagged_dim
    if not 1 <= ragged <= values.ndim:
        raise RuntimeError(f"{name}: jagged_dim must be 1 to {values.ndim}, got {jagged_dim}")
    if offsets is None:
        if lengths is None:
            raise RuntimeError(f"{name}: expects offsets or lengths, got neither")
        return _nest(values, _cat([lengths.new_zeros(1), lengths.cumsum(0)]), None, ragged)
    return _nest(values, offsets, lengths, ragged)


def narrow(tensor: Tensor, dim: int, start: int | Tensor, length: int | Tensor, layout: Layout = strided) -> Tensor:
    """The first ``length`` places from ``start`` of every row of a dense tensor (batch, places, …): a view.

    ``start`` and ``length`` are numbers or tensors with one for each row. Errors: NotImplementedError for a layout that
    is not jagged, RuntimeError for a dim that is not 1.

    >>> x = fb.nested.narrow(fb.arange(6).view(2, 3), 1, fb.tensor([0, 1]), fb.tensor([1, 2]), layout=fb.jagged)
    >>> x.unbind()
    (tensor([0]), tensor([4, 5]))
    """
    _need_jagged("narrow", layout)
    if dim != 1:
        raise RuntimeError(f"narrow: a jagged result narrows dimension 1, got dim={dim}")
    batch, places = tensor.shape[:2]
    like = tensor.new_zeros(batch, dtype=_int64)
    firsts = like.new_tensor(range(batch)) * places + start
    lengths = like + length
    return _nest(tensor.flatten(0, 1), _cat([firsts, firsts[-1:] + lengths[-1:]]), lengths)


def masked_select(tensor: Tensor, mask: Tensor) -> Tensor:
    """The elements of each row of a matrix at which the mask is True, as a nested tensor.

    Errors: RuntimeError for a tensor that is no matrix, or a mask that does not broadcast to it.

    >>> fb.nested.masked_select(fb.tensor([[1, 2], [3, 4]]), fb.tensor([[True, True], [False, True]])).unbind()
    (tensor([1, 2]), tensor([4]))
    """
    if tensor.ndim != 2:
        raise RuntimeError(f"masked_select: expects a tensor of two dimensions, got {tensor.ndim}")
    mask = mask.expand(tuple(tensor.shape))
    lengths = mask.sum(-1)
    return _nest(tensor.masked_select(mask), _cat([lengths.new_zeros(1), lengths.cumsum(0)]))


def to_padded_tensor(
    input: Tensor, padding: float, output_size: Sequence[int] | None = None, out: Tensor | None = None
) -> Tensor:
    """A dense tensor in which ``padding`` follows the sequences, up to the longest or to ``output_size``.

    Errors: TypeError for a tensor that is not nested, RuntimeError for an output_size that does not hold it.

    >>> x = fb.nested.nested_tensor([fb.ones(1), fb.zeros(2)], layout=fb.jagged)
    >>> fb.nested.to_padded_tensor(x, 5.0)
    tensor([[1., 5.],
            [0., 0.]])
    """
    if not isinstance(input, _NestedTensor):
        raise TypeError(f"to_padded_tensor: expects a nested tensor, got {type(input).__name__}")
    found = input.to_padded_tensor(padding, output_size)
    return found if out is None else out.copy_(found)


_give_homes(__name__, {name: globals()[name] for name in __all__})
