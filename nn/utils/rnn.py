"""Sequences of different lengths: padded, or packed step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flambeau.core.blame import checking, explain_functions
from flambeau.core.creation import arange
from flambeau.core.dtype import int64
from flambeau.core.errors import ShapeError
from flambeau.core.from_data import tensor
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.joining import cat
from flambeau.core.tensor import Tensor


class PackedSequence(NamedTuple):
    """Sequences, the longest first, as the elements of all that have a first step, then a second, and so on.

    ``data`` is (sum of lengths, *), ``batch_sizes`` how many sequences have each step; the indices sort the
    caller's order by length and undo it.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a device of the type ``cuda``."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data is in page-locked memory."""
        return self.data.is_pinned()

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:  # Any: what Tensor.to takes
        """The same on another device or in another dtype; the batch sizes stay on the host."""
        data = self.data.to(*args, **kwargs)
        moved = [None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices)]
        return PackedSequence(data, self.batch_sizes, *moved)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one."""
    if permutation is None:
        return None
    order = arange(permutation.numel(), device=permutation.device)
    return order.new_zeros(permutation.numel()).scatter(0, permutation, order)


def _lengths(lengths: Tensor | Sequence[int], batch: int, longest: int) -> list[int]:
    found = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    if len(found) != batch:
        raise ShapeError(f"pack_padded_sequence: expected {batch} lengths, one per sequence, got {len(found)}")
    if any(not 0 < n <= longest for n in found):
        raise ValueError(f"pack_padded_sequence: lengths must be from 1 to {longest}, the padded length; got {found}")
    return found


def _places(lengths: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Batch sizes, and the step and sequence of every packed element; the longest sequence is the first."""
    sizes, size = [], len(lengths)
    for t in range(lengths[0]):
        while lengths[size - 1] <= t:
            size -= 1
        sizes.append(size)
    return sizes, [t for t, s in enumerate(sizes) for _ in range(s)], [i for s in sizes for i in range(s)]


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack padded sequences (T, N, *), or (N, T, *) with ``batch_first``, of the given lengths.

    The longest must come first unless ``enforce_sorted`` is False.
    """
    x = input.transpose(0, 1) if batch_first else input
    found = _lengths(lengths, x.shape[1], x.shape[0])
    order = None
    if not enforce_sorted:
        by_length = sorted(range(len(found)), key=lambda i: -found[i])
        order = tensor(by_length, dtype=int64, device=x.device)
        x, found = x.index_select(1, order), [found[i] for i in by_length]
    elif found != sorted(found, reverse=True):
        raise RuntimeError(
            f"pack_padded_sequence: with enforce_sorted=True lengths must go down, got {found}; pass "
            "enforce_sorted=False"
        )
    sizes, steps, sequences = _places(found)
    data = x[tensor(steps, dtype=int64, device=x.device), tensor(sequences, dtype=int64, device=x.device)]
    return PackedSequence(data, tensor(sizes, dtype=int64, device="cpu"), order, invert_permutation(order))


def _packed_lengths(packed: PackedSequence) -> list[int]:
    found: list[int] = []
    sizes = packed.batch_sizes.tolist()
    for t in range(len(sizes), 0, -1):
        found += [t] * (sizes[t - 1] - len(found))
    return found


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded sequences (T, N, *) in the caller's order, and their lengths."""
    lengths = _packed_lengths(sequence)
    length = total_length or max(lengths)
    if length < max(lengths):
        raise ValueError(
            f"pad_packed_sequence: total_length={total_length} is shorter than the longest sequence, {max(lengths)}"
        )
    _, steps, sequences = _places(lengths)
    data, batch = sequence.data, len(lengths)
    flat = tensor([t * batch + i for t, i in zip(steps, sequences, strict=True)], dtype=int64, device=data.device)
    padded = data.new_full((length * batch, *data.shape[1:]), padding_value).index_copy(0, flat, data)
    padded = padded.reshape(length, batch, *data.shape[1:])
    found = tensor(lengths, dtype=int64, device="cpu")
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        found = found[sequence.unsorted_indices.to("cpu")]
    return (padded.transpose(0, 1) if batch_first else padded), found


def repacked(padded: Tensor, like: PackedSequence) -> PackedSequence:
    """Padded results (T, N, *) in the caller's order, packed like their input."""
    if like.sorted_indices is not None:
        padded = padded.index_select(1, like.sorted_indices)
    _, steps, sequences = _places(_packed_lengths(like))
    at = [tensor(v, dtype=int64, device=padded.device) for v in (steps, sequences)]
    return like._replace(data=padded[at[0], at[1]])


def reverse_padded(x: Tensor, lengths: Tensor) -> Tensor:
    """Each sequence of (T, N, *) in reverse, its padding where it was."""
    steps = arange(x.shape[0], device=x.device).unsqueeze(1)
    index = where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, index.unsqueeze(-1).expand(x.shape[0], x.shape[1], x.shape[2]))


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Tensors (L_i, *) as one (T, N, *), or (N, T, *) with ``batch_first``, T the greatest length.

    >>> pad_sequence([fb.tensor([1, 2]), fb.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    if padding_side not in ("right", "left"):
        raise ValueError(f"pad_sequence: padding_side must be 'right' or 'left', got {padding_side!r}")
    rows = list(sequences)
    if not rows or any(not isinstance(r, Tensor) for r in rows):
        raise TypeError("pad_sequence: expected at least one tensor in a list or tuple")
    longest = max(r.shape[0] for r in rows)
    padded = []
    for r in rows:
        space = r.new_full((longest - r.shape[0], *r.shape[1:]), padding_value)
        padded.append(cat([r, space] if padding_side == "right" else [space, r], 0).unsqueeze(0 if batch_first else 1))
    return cat(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The tensors that :func:`pad_sequence` made one of."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [rows[i, :n] for i, n in enumerate(lengths.tolist())]


def pack_sequence(sequences: Iterable[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack tensors (L_i, *)."""
    rows = list(sequences)
    return pack_padded_sequence(pad_sequence(rows), [r.shape[0] for r in rows], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The tensors that :func:`pack_sequence` packed."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


explain_functions(
    globals(),
    "invert_permutation pack_padded_sequence pad_packed_sequence pad_sequence unpad_sequence pack_sequence "
    "unpack_sequence",
    wrap=checking,
)
