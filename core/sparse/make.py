"""Constructors of sparse tensors, and the checks of what they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import pairwise
from types import TracebackType
from typing import Any, Final, TypeVar

from flambeau.core import dtype as dt
from flambeau.core.blame import constructor, explain_functions
from flambeau.core.creation import zeros
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import ShapeError
from flambeau.core.from_data import as_tensor
from flambeau.core.memory_format import Layout, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr
from flambeau.core.ops.joining import stack
from flambeau.core.sparse.tensor import BY_ROW, NAMES, OF_BLOCKS, SparseTensor, coo, made
from flambeau.core.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Data = Any  # Any: a tensor, or nested sequences of numbers

_checking: Final[list[bool]] = [False]


class check_sparse_tensor_invariants:
    """Whether constructors check what they are given: a switch, a context manager and a decorator.

    Off by default: sizes that fit each other are always checked, the values of indices only where this is on, or
    ``check_invariants=True``.

    >>> with fb.sparse.check_sparse_tensor_invariants():
    ...     fb.sparse.check_sparse_tensor_invariants.is_enabled()
    True
    """

    def __init__(self, enable: bool = True):
        self.state = enable
        self._before: list[bool] = []

    @staticmethod
    def is_enabled() -> bool:
        """Whether values of indices are checked."""
        return _checking[0]

    @staticmethod
    def enable() -> None:
        """Check them from now on."""
        _checking[0] = True

    @staticmethod
    def disable() -> None:
        """Do not check them."""
        _checking[0] = False

    def __enter__(self) -> None:
        self._before.append(_checking[0])
        _checking[0] = self.state

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _checking[0] = self._before.pop()

    def __call__(self, fn: F) -> F:
        @wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.state):
                return fn(*args, **kwargs)

        return call  # type: ignore[return-value]


def _values_of(values: Data, dtype: DTypeLike | None, device: DeviceLike, requires_grad: bool) -> Tensor:
    """The values that a constructor holds: of a leaf a view, so that its history stays its own."""
    held = as_tensor(values, dtype=dtype, device=device)
    if requires_grad:
        return held.detach().requires_grad_()
    return held.view(tuple(held.shape)) if held.requires_grad and held.is_leaf else held


def _indices_of(indices: Data, device: Any) -> Tensor:
    found = as_tensor(indices, device=device)
    if found.dtype.category > dt.INTEGER or found.dtype is dt.bool_:
        found = found.to(dt.int64)
    return found


def sparse_coo_tensor(
    indices: Data, values: Data = None, size: Sequence[int] | None = None, *, dtype: DTypeLike | None = None,
    device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None, is_coalesced: bool | None = None,
) -> Tensor:  # fmt: skip
    """A tensor that is ``values[k]`` at ``indices[:, k]`` and zero elsewhere; equal places add up.

    ``indices`` is (sparse_dim, nnz), ``values`` (nnz, *sizes of the dense dimensions); without ``size`` the smallest
    that holds all indices. ``sparse_coo_tensor(size)`` is empty. ShapeError where the sizes do not fit each other.

    >>> fb.sparse_coo_tensor([[0, 1], [2, 0]], [3.0, 4.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 0.]])
    """
    if values is None:
        return _empty_coo(tuple(indices if size is None else size), dtype, device, requires_grad)
    held = _values_of(values, dtype, device, requires_grad)
    where = _indices_of(indices, held.device).to(dt.int64)
    if where.ndim == 1 and not where.numel():
        where = where.reshape((1, 0))
    if where.ndim != 2:
        raise ShapeError(f"sparse_coo_tensor: indices must be (sparse_dim, nnz), got shape {tuple(where.shape)}")
    if held.ndim == 0:
        held = held.reshape((1,)).expand((where.shape[1],))
    if where.shape[1] != held.shape[0]:
        raise ShapeError(
            f"sparse_coo_tensor: indices and values must have same nnz, got {where.shape[1]} and {held.shape[0]}"
        )
    shape = _smallest(where, held) if size is None else tuple(int(n) for n in size)
    if len(shape) != where.shape[0] + held.ndim - 1 or shape[where.shape[0] :] != tuple(held.shape[1:]):
        raise ShapeError(
            f"sparse_coo_tensor: size {shape} does not fit indices of shape {tuple(where.shape)} and values of shape "
            f"{tuple(held.shape)}: it has one number for each row of indices, then those of values[0]"
        )
    if _checking[0] if check_invariants is None else check_invariants:
        _check_coo(where, shape, bool(is_coalesced))
    return coo(where, held, shape, bool(is_coalesced) or where.shape[1] < 2)


def _empty_coo(
    shape: tuple[int, ...], dtype: DTypeLike | None, device: DeviceLike, requires_grad: bool
) -> SparseTensor:
    held = zeros(0, dtype=dtype, device=device, requires_grad=requires_grad)
    return coo(zeros(len(shape), 0, dtype=dt.int64, device=held.device), held, shape, True)


def emptied(x: SparseTensor, like: Tensor, kind: Layout | None = None) -> SparseTensor:
    """A tensor of the sizes of ``x`` that holds nothing, in the dtype and on the device of ``like``."""
    kind, n, shape = kind or x._kind, x._sparse_dims, tuple(x.shape)
    places: dict[str, Any] = {"dtype": x._where[0].dtype, "device": like.device}
    if kind is sparse_coo:
        return coo(zeros(n, 0, **places), like.new_zeros((0, *shape[n:])), shape, True)
    if n < 2:
        raise ShapeError(f"zeros_like: layout {kind!r} is for matrices, got size {shape}")
    batch, sizes, blocks = shape[: n - 2], shape[n - 2 : n], x._blocksize if kind in OF_BLOCKS else ()
    if kind in OF_BLOCKS and not blocks:
        raise RuntimeError(f"zeros_like: from {x._kind!r} to {kind!r} needs the size of blocks; use to_sparse()")
    axis = 0 if kind in BY_ROW else 1
    start = zeros(*batch, sizes[axis] // (blocks or (1, 1))[axis] + 1, **places)
    held = like.new_zeros((*batch, 0, *blocks, *shape[n:]))
    return made((start, zeros(*batch, 0, **places)), held, shape, kind, True)


def _smallest(where: Tensor, held: Tensor) -> tuple[int, ...]:
    if where.numel():
        return (*(int(n) + 1 for n in where.amax(1).tolist()), *held.shape[1:])
    return (*(0 for _ in range(where.shape[0])), *held.shape[1:])


def _check_coo(where: Tensor, shape: tuple[int, ...], coalesced: bool) -> None:
    if not where.numel():
        return
    low, high = where.amin(1).tolist(), where.amax(1).tolist()
    for axis, (least, most, n) in enumerate(zip(low, high, shape, strict=False)):
        if least < 0:
            raise RuntimeError(f"sparse_coo_tensor: found negative index {least} for dim {axis}")
        if most >= n:
            raise RuntimeError(
                f"sparse_coo_tensor: size is inconsistent with indices: dim {axis} has size {n} and an index {most}"
            )
    if coalesced:
        flat = flat_places(where, shape)
        if flat.shape[0] > 1 and bool((flat[1:] <= flat[:-1]).any()):
            raise RuntimeError("sparse_coo_tensor: is_coalesced=True, but indices are not sorted and different")


def flat_places(where: Tensor, sizes: Sequence[int]) -> Tensor:
    """The number of each place when the sparse dimensions are made one."""
    flat = where.new_zeros((where.shape[1],))
    for axis in range(where.shape[0]):
        flat = flat * sizes[axis] + where[axis]
    return flat


def places_of(flat: Tensor, sizes: Sequence[int]) -> Tensor:
    """The indices of numbered places: what undoes :func:`flat_places`."""
    rows: list[Tensor] = []
    for n in reversed(sizes):
        n = max(n, 1)
        rows.append(flat % n)
        flat = flat.div(n, rounding_mode="floor")
    return stack(rows[::-1]) if rows else flat.new_zeros((0, flat.shape[0]))


def _compressed(
    name: str, kind: Layout, starts: Data, plain: Data, values: Data, size: Sequence[int] | None,
    dtype: DTypeLike | None, device: DeviceLike, requires_grad: bool, check: bool | None,
) -> Tensor:  # fmt: skip
    held = _values_of(values, dtype, device, requires_grad)
    start, other = (_indices_of(part, held.device) for part in (starts, plain))
    batch, inside = start.ndim - 1, 2 * (kind in OF_BLOCKS)
    if batch < 0 or other.ndim != start.ndim:
        raise ShapeError(
            f"{name}: compressed indices and plain indices must have the same number of dimensions, at least one, got "
            f"shapes {tuple(start.shape)} and {tuple(other.shape)}"
        )
    if held.ndim < batch + inside + 1:
        raise ShapeError(
            f"{name}: values must have dimensionality > sum of batch and block dimensionalities (={batch} + {inside}) "
            f"but got {held.ndim}"
        )
    if not tuple(start.shape[:-1]) == tuple(other.shape[:-1]) == tuple(held.shape[:batch]):
        raise ShapeError(
            f"{name}: compressed indices, plain indices and values must have one batch, got shapes "
            f"{tuple(start.shape)}, {tuple(other.shape)} and {tuple(held.shape)}"
        )
    if other.shape[-1] != held.shape[batch]:
        raise ShapeError(
            f"{name}: plain indices and values must have same nnz, got {other.shape[-1]}, {held.shape[batch]}"
        )
    blocks = tuple(held.shape[batch + 1 : batch + 3]) if inside else (1, 1)
    shape = _grown(kind, start, other, held, blocks) if size is None else tuple(int(n) for n in size)
    _check_size(name, kind, shape, start, held, blocks)
    if _checking[0] if check is None else check:
        axis = 1 if kind in BY_ROW else 0
        across = shape[batch + axis] // blocks[axis]
        rows = zip(start.reshape((-1, start.shape[-1])), other.reshape((-1, other.shape[-1])), strict=True)
        for one, its_places in rows:
            _check_compressed(name, one, its_places, across)
    return made((start, other), held, shape, kind, True)


def _grown(kind: Layout, start: Tensor, other: Tensor, held: Tensor, blocks: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest size that holds all."""
    lines, across = start.shape[-1] - 1, int(other.max().item()) + 1 if other.numel() else 0
    rows, columns = (lines, across) if kind in BY_ROW else (across, lines)
    dense = held.shape[start.ndim + 2 * (kind in OF_BLOCKS) :]
    return (*start.shape[:-1], rows * blocks[0], columns * blocks[1], *dense)


def _check_size(
    name: str, kind: Layout, shape: tuple[int, ...], start: Tensor, held: Tensor, blocks: tuple[int, ...]
) -> None:
    batch, lead = start.ndim - 1, start.ndim + 2 * (kind in OF_BLOCKS)
    if len(shape) != batch + 2 + held.ndim - lead or shape[batch + 2 :] != tuple(held.shape[lead:]):
        raise ShapeError(f"{name}: size {shape} does not fit values of shape {tuple(held.shape)}")
    for axis in (0, 1):
        if blocks[axis] and shape[batch + axis] % blocks[axis]:
            raise ShapeError(
                f"{name}: tensor shape[{batch + axis}] (={shape[batch + axis]}) must be divisible with "
                f"blocksize[{axis}] (={blocks[axis]}) as defined by values shape"
            )
    axis = 0 if kind in BY_ROW else 1
    if shape[:batch] != tuple(start.shape[:-1]) or shape[batch + axis] != (start.shape[-1] - 1) * blocks[axis]:
        raise ShapeError(f"{name}: size {shape} does not fit compressed indices of shape {tuple(start.shape)}")


def _check_compressed(name: str, start: Tensor, other: Tensor, across: int) -> None:
    begins, places, nnz = start.tolist(), other.tolist(), other.shape[0]
    if begins[0] != 0:
        raise RuntimeError(f"{name}: the first compressed index must be 0, got {begins[0]}")
    if begins[-1] != nnz:
        raise RuntimeError(f"{name}: the last compressed index must be nnz={nnz}, got {begins[-1]}")
    if any(not 0 <= b - a <= across for a, b in pairwise(begins)):
        raise RuntimeError(f"{name}: compressed indices must rise by 0 to {across}, got {begins}")
    if places and not 0 <= min(places) <= max(places) < across:
        raise RuntimeError(f"{name}: plain indices must be 0 to {across - 1}, got {min(places)} to {max(places)}")
    for a, b in pairwise(begins):
        if any(y <= x for x, y in pairwise(places[a:b])):
            raise RuntimeError(f"{name}: plain indices must be sorted and different within each row or column")


def sparse_csr_tensor(
    crow_indices: Data, col_indices: Data, values: Data, size: Sequence[int] | None = None, *,
    dtype: DTypeLike | None = None, device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:  # fmt: skip
    """A matrix by compressed rows: row i has ``values[crow[i]:crow[i + 1]]``, in the columns ``col_indices`` there.

    Of a batch of matrices all three begin with its dimensions; more dimensions of ``values`` are dense ones.

    >>> fb.sparse_csr_tensor([0, 1, 3], [2, 0, 2], [3.0, 4.0, 5.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 5.]])
    """
    name, kind = "sparse_csr_tensor", sparse_csr
    return _compressed(
        name, kind, crow_indices, col_indices, values, size, dtype, device, requires_grad, check_invariants
    )


def sparse_csc_tensor(
    ccol_indices: Data, row_indices: Data, values: Data, size: Sequence[int] | None = None, *,
    dtype: DTypeLike | None = None, device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:  # fmt: skip
    """A matrix by compressed columns: column j has ``values[ccol[j]:ccol[j + 1]]``, in the rows ``row_indices`` there.

    >>> fb.sparse_csc_tensor([0, 1, 2], [1, 0], [3.0, 4.0], (2, 2)).to_dense()
    tensor([[0., 4.],
            [3., 0.]])
    """
    name, kind = "sparse_csc_tensor", sparse_csc
    return _compressed(
        name, kind, ccol_indices, row_indices, values, size, dtype, device, requires_grad, check_invariants
    )


def sparse_bsr_tensor(
    crow_indices: Data, col_indices: Data, values: Data, size: Sequence[int] | None = None, *,
    dtype: DTypeLike | None = None, device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:  # fmt: skip
    """A matrix by compressed rows of blocks: ``values`` is (nnz, *blocksize), indices count blocks.

    >>> fb.sparse_bsr_tensor([0, 1], [1], [[[1.0, 2.0], [3.0, 4.0]]], (2, 4)).to_dense()
    tensor([[0., 0., 1., 2.],
            [0., 0., 3., 4.]])
    """
    name, kind = "sparse_bsr_tensor", sparse_bsr
    return _compressed(
        name, kind, crow_indices, col_indices, values, size, dtype, device, requires_grad, check_invariants
    )


def sparse_bsc_tensor(
    ccol_indices: Data, row_indices: Data, values: Data, size: Sequence[int] | None = None, *,
    dtype: DTypeLike | None = None, device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:  # fmt: skip
    """A matrix by compressed columns of blocks: ``values`` is (nnz, *blocksize), indices count blocks.

    >>> fb.sparse_bsc_tensor([0, 0, 1], [0], [[[1.0, 2.0], [3.0, 4.0]]], (2, 4)).to_dense()
    tensor([[0., 0., 1., 2.],
            [0., 0., 3., 4.]])
    """
    name, kind = "sparse_bsc_tensor", sparse_bsc
    return _compressed(
        name, kind, ccol_indices, row_indices, values, size, dtype, device, requires_grad, check_invariants
    )


def sparse_compressed_tensor(
    compressed_indices: Data, plain_indices: Data, values: Data, size: Sequence[int] | None = None, *,
    dtype: DTypeLike | None = None, layout: Layout | None = None, device: DeviceLike = None, pin_memory: bool = False,
    requires_grad: bool = False, check_invariants: bool | None = None,
) -> Tensor:  # fmt: skip
    """A matrix by compressed rows or columns, of elements or of blocks, as ``layout`` says: ``sparse_csr``,
    ``sparse_csc``, ``sparse_bsr`` or ``sparse_bsc``.

    >>> fb.sparse_compressed_tensor([0, 1], [1], [3.0], (1, 2), layout=fb.sparse_csr).to_dense()
    tensor([[0., 3.]])
    """
    name = "sparse_compressed_tensor"
    if layout is None or layout is sparse_coo or layout not in NAMES:
        given = "none" if layout is None else NAMES.get(layout, "Strided")
        raise RuntimeError(f"{name} expected sparse compressed tensor layout but got {given}")
    return _compressed(
        name, layout, compressed_indices, plain_indices, values, size, dtype, device, requires_grad, check_invariants
    )


explain_functions(
    globals(),
    "sparse_coo_tensor sparse_csr_tensor sparse_csc_tensor sparse_bsr_tensor sparse_bsc_tensor "
    "sparse_compressed_tensor",
    wrap=constructor,
)
