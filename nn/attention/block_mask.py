"""Masks of attention by blocks: which blocks of keys each block of queries has to look at."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any, Self

from flambeau.core.creation import arange, ones
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import bool_, int32, int64
from flambeau.core.ops.padding import pad
from flambeau.core.tensor import Tensor

#: From the numbers of batch, head, query and key, whether the query may look there.
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
_TENSORS = (
    "kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices",
    "full_q_num_blocks", "full_q_indices",
)  # fmt: skip


#: What stands below the pictures of a mask of which there are more.
_MORE = (
    "To print out more, set BlockMask.to_string(limit=N)",
    "You can also index (BlockMask[batch, head]) to choose a specific batch or head",
)


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """The mask that hides nothing.

    >>> fb.nn.attention.flex_attention.noop_mask(*[fb.tensor(0)] * 4)
    tensor(True)
    """
    return batch.new_ones((), dtype=bool_)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask that shows what all of these show.

    >>> late = lambda b, h, q, k: q >= k
    >>> near = lambda b, h, q, k: q - k < 2
    >>> flex = fb.nn.attention.flex_attention
    >>> flex.create_mask(flex.and_masks(late, near), 1, 1, 1, 3)
    tensor([[[[ True, False, False]]]])
    """
    _check_functions("and_masks", mask_mods)

    def both(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        shown = noop_mask(b, h, q, k)
        for mask in mask_mods:
            shown = shown & mask(b, h, q, k)
        return shown

    return both


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask that shows what one of these shows.

    >>> flex = fb.nn.attention.flex_attention
    >>> either = flex.or_masks(lambda b, h, q, k: q == k, lambda b, h, q, k: k == 2)
    >>> flex.create_mask(either, 1, 1, 1, 3)
    tensor([[[[ True, False,  True]]]])
    """
    _check_functions("or_masks", mask_mods)

    def either(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        shown = ~noop_mask(b, h, q, k)
        for mask in mask_mods:
            shown = shown | mask(b, h, q, k)
        return shown

    return either


def _check_functions(name: str, given: tuple[object, ...]) -> None:
    wrong = [f for f in given if not callable(f)]
    if wrong:
        raise RuntimeError(f"{name}: all arguments should be functions of (b, h, q_idx, kv_idx), got {wrong[0]!r}")


def places(B: int, H: int, Q: int, KV: int, device: DeviceLike) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The numbers of batch, head, query and key, each along an axis of its own, so that they broadcast."""
    b, h, q, k = (arange(n, dtype=int32, device=device) for n in (B, H, Q, KV))
    return b.reshape(-1, 1, 1, 1), h.reshape(-1, 1, 1), q.reshape(-1, 1), k


def mask_of(mask_mod: MaskMod, B: int, H: int, Q: int, KV: int, device: DeviceLike) -> Tensor:
    """The mask (B, H, Q, KV) as bools."""
    return mask_mod(*places(B, H, Q, KV, device)).to(bool_).expand(B, H, Q, KV)


def _listed(dense: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks each row has, and their numbers, those that it has first."""
    dense = dense.to(int32)
    return dense.sum(-1).to(int32), dense.argsort(-1, descending=True, stable=True).to(int32)


def _dense(counts: Tensor, indices: Tensor, columns: int) -> Tensor:
    """The blocks of :func:`_listed` as bools (..., rows, columns)."""
    valid = arange(indices.shape[-1], device=indices.device) < counts.unsqueeze(-1)
    found = counts.new_zeros(*indices.shape[:-1], columns + 1)
    at = indices.to(int64) * valid + columns * ~valid  # those that do not count go to a column too many
    return found.scatter(-1, at, 1)[..., :columns].to(bool_)


class BlockMask:
    """Which blocks of ``BLOCK_SIZE`` keys each block of queries sees, in parts or (``full_``) as a whole.

    ``kv_num_blocks`` (B, H, rows) counts, and ``kv_indices`` (B, H, rows, columns) lists the blocks in which
    ``mask_mod`` decides; ``q_...`` are the same by columns. :func:`create_block_mask` makes one.

    >>> causal = lambda b, h, q, k: q >= k
    >>> mask = fb.nn.attention.flex_attention.create_block_mask(causal, None, None, 256, 256)
    >>> mask.shape, mask.sparsity()
    ((1, 1, 256, 256), 25.0)
    """

    kv_num_blocks: Tensor
    kv_indices: Tensor
    full_kv_num_blocks: Tensor | None
    full_kv_indices: Tensor | None

    def __init__(
        self, seq_lengths: tuple[int, int], kv_num_blocks: Tensor, kv_indices: Tensor,
        full_kv_num_blocks: Tensor | None, full_kv_indices: Tensor | None, q_num_blocks: Tensor | None,
        q_indices: Tensor | None, full_q_num_blocks: Tensor | None, full_q_indices: Tensor | None,
        BLOCK_SIZE: tuple[int, int] = (128, 128), mask_mod: MaskMod = noop_mask,
    ):  # fmt: skip
        if kv_indices.ndim < 2:
            raise RuntimeError(f"BlockMask must have at least 2 dimensions, got kv_indices {tuple(kv_indices.shape)}")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise ValueError("BlockMask: full_kv_num_blocks and full_kv_indices must be given both, or neither")
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        given = (
            kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, q_num_blocks, q_indices, full_q_num_blocks,
            full_q_indices,
        )  # fmt: skip
        self.__dict__.update(zip(_TENSORS, given, strict=True))

    @classmethod
    def from_kv_blocks(
        cls, kv_num_blocks: Tensor, kv_indices: Tensor, full_kv_num_blocks: Tensor | None = None,
        full_kv_indices: Tensor | None = None, BLOCK_SIZE: int | tuple[int, int] = 128,
        mask_mod: MaskMod | None = None, seq_lengths: tuple[int, int] | None = None, compute_q_blocks: bool = True,
    ) -> Self:  # fmt: skip
        """A mask from the blocks of keys alone: those of queries follow."""
        size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
        columns = kv_indices.shape[-1]
        lengths = seq_lengths or (kv_indices.shape[-2] * size[0], columns * size[1])
        by_query: list[Tensor | None] = [None] * 4
        if compute_q_blocks:
            by_query[:2] = _listed(_dense(kv_num_blocks, kv_indices, columns).transpose(-2, -1))
            if full_kv_num_blocks is not None and full_kv_indices is not None:
                by_query[2:] = _listed(_dense(full_kv_num_blocks, full_kv_indices, columns).transpose(-2, -1))
        return cls(
            lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, by_query[0], by_query[1],
            by_query[2], by_query[3], size, mask_mod or noop_mask,
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, queries, keys)."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self) -> int:
        """How many elements the mask stands for."""
        return math.prod(self.shape)

    def _blocks(self) -> tuple[Tensor, Tensor | None]:
        columns = self.kv_indices.shape[-1]
        partial = _dense(self.kv_num_blocks, self.kv_indices, columns)
        if self.full_kv_num_blocks is None or self.full_kv_indices is None:
            return partial, None
        return partial, _dense(self.full_kv_num_blocks, self.full_kv_indices, columns)

    def to_dense(self) -> Tensor:
        """(B, H, rows, columns): 1 for each block that is looked at."""
        partial, full = self._blocks()
        return (partial if full is None else partial | full).to(int32)

    def visible(self, B: int, H: int, queries: int, keys: int, device: DeviceLike) -> Tensor:
        """(B, H, queries, keys): what a query may look at."""

        def elements(blocks: Tensor) -> Tensor:
            rows, columns = self.BLOCK_SIZE
            wide = blocks.repeat_interleave(rows, -2).repeat_interleave(columns, -1)
            return wide[..., :queries, :keys].expand(B, H, queries, keys)

        partial, full = self._blocks()
        found = elements(partial) & mask_of(self.mask_mod, B, H, queries, keys, device)
        return found if full is None else found | elements(full)

    def sparsity(self) -> float:
        """The share of elements whose blocks nobody looks at, in percent; blocks at the ends count as whole ones."""
        looked_at = float(self.to_dense().sum().item()) * math.prod(self.BLOCK_SIZE)
        return 100 * (1 - looked_at / self.numel())

    def as_tuple(self, flatten: bool = True) -> tuple[Any, ...]:
        """Lengths, tensors, block size and function."""
        ends = (*self.seq_lengths,) if flatten else (self.seq_lengths,)
        size = (*self.BLOCK_SIZE,) if flatten else (self.BLOCK_SIZE,)
        return (*ends, *(getattr(self, name) for name in _TENSORS), *size, self.mask_mod)

    def to(self, device: DeviceLike) -> BlockMask:
        """The mask with its tensors on another device."""
        return self._each(lambda t: t.to(device))

    def __getitem__(self, index: Any) -> BlockMask:  # Any: an index of the tensors (B, H, rows)
        """The mask of some batches, heads and rows of blocks."""
        index = index if isinstance(index, tuple) else (index,)
        index = tuple(slice(i, i + 1 or None) if isinstance(i, int) else i for i in index)
        cut = {name: t[index] for name in _TENSORS[:4] if (t := getattr(self, name)) is not None}
        lengths = self.seq_lengths
        if len(index) > 2:
            lengths = (cut["kv_num_blocks"].shape[-1] * self.BLOCK_SIZE[0], lengths[1])
        return BlockMask.from_kv_blocks(
            **cut, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=self.mask_mod if len(index) < 3 else None, seq_lengths=lengths
        )

    def _each(self, fn: Callable[[Tensor], Tensor]) -> BlockMask:
        moved: list[Any] = [None if (t := getattr(self, name)) is None else fn(t) for name in _TENSORS]
        made = copy.copy(self)
        made.__dict__.update(zip(_TENSORS, moved, strict=True))
        return made

    def to_string(self, grid_size: int | tuple[int, int] = (20, 20), limit: int = 4) -> str:
        """A picture of each batch and head, at most ``limit`` of them, in a grid of at most so many rows and columns.

        Of the blocks in a cell ``██`` means that all are looked at, ``░░`` some, spaces none; a grid size of -1 has a
        cell for each block.
        """
        dense = self.to_dense()
        rows, columns = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
        steps = [max(1, math.ceil(n / most)) for n, most in zip(dense.shape[-2:], (rows, columns), strict=True)]
        pictures = []
        for n, place in enumerate(itertools.product(*map(range, dense.shape[:-2]))):
            if n == limit:
                pictures += ["...", *_MORE]
                break
            lines = _picture(dense[place].tolist(), *steps)
            pictures.append("\n".join([str(place), *lines, ""]))
        return "\n".join(pictures)

    def __repr__(self) -> str:
        shapes = [None if t is None else t.shape for t in (getattr(self, name) for name in _TENSORS)]
        lines = [f"    {name}={shape},\n" for name, shape in zip(_TENSORS, shapes, strict=True)]
        lines += [f"    {name}={getattr(self, name)},\n" for name in ("BLOCK_SIZE", "shape")]
        shown = getattr(self.mask_mod, "__name__", self.mask_mod)
        return "".join(["BlockMask(\n", *lines, f"    sparsity={self.sparsity():.2f}%,\n", f"    mask_mod={shown}\n)"])

    def __str__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string().strip()}\n)"


def _picture(blocks: list[list[int]], step: int, side: int) -> list[str]:
    """A line for each ``step`` rows of blocks, two characters for each ``side`` columns."""
    lines = []
    for r in range(0, len(blocks), step):
        cells = ([v for row in blocks[r : r + step] for v in row[c : c + side]] for c in range(0, len(blocks[0]), side))
        lines.append("".join(2 * ("█" if all(cell) else "░" if any(cell) else " ") for cell in cells))
    return lines


def create_mask(
    mod_fn: Any, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: DeviceLike = None
) -> Tensor:
    """The mask (B, H, Q_LEN, KV_LEN) of a mask function as bools, or what a score function makes of zeros.

    >>> causal = lambda b, h, q, k: q >= k
    >>> fb.nn.attention.flex_attention.create_mask(causal, 1, 1, 2, 2)
    tensor([[[[ True, False],
              [ True,  True]]]])
    """
    batch, heads = B or 1, H or 1
    if mod_fn.__code__.co_argcount == 5 if hasattr(mod_fn, "__code__") else False:
        where = places(batch, heads, Q_LEN, KV_LEN, device)
        scores: Tensor = mod_fn(ones(batch, heads, Q_LEN, KV_LEN, device=device) * 0, *where)
        return scores
    return mask_of(mod_fn, batch, heads, Q_LEN, KV_LEN, device)


def create_block_mask(
    mask_mod: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: DeviceLike = None,
    BLOCK_SIZE: int | tuple[int, int] = 128, _compile: bool = False, separate_full_blocks: bool = True,
    compute_dq_write_order: bool = False, dq_kv_order: bool = True,
) -> BlockMask:  # fmt: skip
    """The blocks of a mask function: those hidden, those seen in parts, and (``separate_full_blocks``) as a whole.

    >>> causal = lambda b, h, q, k: q >= k
    >>> fb.nn.attention.flex_attention.create_block_mask(causal, 1, 1, 4, 4, BLOCK_SIZE=2).kv_num_blocks
    tensor([[[1, 1]]], dtype=flambeau.int32)
    """
    rows, columns = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    wide = pad(mask.to(int32), [0, -KV_LEN % columns, 0, -Q_LEN % rows])
    batch, heads, height, width = wide.shape
    counts = wide.reshape(batch, heads, height // rows, rows, width // columns, columns).sum(5).sum(3)
    full = counts == rows * columns
    partial = (counts > 0) & ~full if separate_full_blocks else counts > 0
    counts, indices = _listed(partial)
    full_counts, full_indices = _listed(full) if separate_full_blocks else (None, None)
    return BlockMask.from_kv_blocks(
        counts, indices, full_counts, full_indices, (rows, columns), mask_mod, (Q_LEN, KV_LEN)
    )
