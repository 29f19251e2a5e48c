"""NestedTensor: sequences of several lengths, one after the other in memory (torch's jagged layout).

The elements stand in one tensor, the values, without the batch dimension; offsets say where each sequence starts. So
what treats the elements of a sequence alike is one call on the values, and what looks at a sequence as a whole (a sum
over it, attention) runs sequence by sequence: composed of public ops, on every device, with their gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from flambeau.core.dtype import int64 as INDEX
from flambeau.core.memory_format import Layout
from flambeau.core.ops.joining import cat, stack
from flambeau.core.overrides import DisableTorchFunctionSubclass
from flambeau.core.record import ELEMENTWISE, OPS
from flambeau.core.size import Size
from flambeau.core.symbolic import SymInt
from flambeau.core.tensor import Tensor

Function = Callable[..., Any]
jagged: Final = Layout("jagged")
_numbers: Final = itertools.count(1)

_OPERATORS: Final = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_OF_EACH = (
    "__abs__ __eq__ __ge__ __gt__ __invert__ __le__ __lt__ __ne__ __neg__ __pos__ divide dropout masked_fill "
    "nan_to_num relu6 round rsub selu sgn"
)
_OF_COPIES = (
    "bfloat16 bool clone cpu cuda detach double empty_like float full_like half int long ones_like rand_like "
    "randn_like to zeros_like"
)
_OF_FACTS = "backward data_ptr element_size get_device is_complex is_floating_point numel requires_grad_ retain_grad"
_EACH: Final = frozenset(
    [name for op in OPS.values() if op.family is ELEMENTWISE for name in (op.name, *op.public)]
    + [f"__{form}{name}__" for name in _OPERATORS for form in ("", "r", "i")]
    + _OF_EACH.split()
)
_ALIKE: Final = frozenset(_OF_COPIES.split())
_WHOLE: Final = frozenset(_OF_FACTS.split())
_REDUCTIONS: Final = frozenset({"sum", "mean", "amax", "amin", "prod", "any", "all"})


class Ragged(SymInt):
    """The size of a dimension whose sequences have several lengths: j1, j2, …; one for each tensor of offsets."""

    def __init__(self) -> None:
        super().__init__(f"j{next(_numbers)}")

    def __repr__(self) -> str:
        return str(self.node)


def ragged_of(offsets: Tensor) -> Ragged:
    """The symbol that stands for the lengths between offsets."""
    holder: Any = offsets
    found: Ragged | None = vars(offsets).get("_ragged")
    if found is None:
        found = holder._ragged = Ragged()
    return found


class NestedTensor(Tensor):
    """Sequences of several lengths as one tensor of shape (batch, …, j, …), made by the functions of ``nested``.

    Elementwise functions, linear layers, layer norm, softmax, reductions and attention take it, and give a nested
    tensor where the sequences remain. Operands must have the same offsets (RuntimeError). Functions that are not there
    for nested tensors are a NotImplementedError.

    >>> x = fb.nested.nested_tensor([fb.ones(1, 2), fb.ones(3, 2)], layout=fb.jagged)
    >>> x.sum(1)
    tensor([[1., 1.],
            [3., 3.]])
    """

    _offsets: Tensor
    _lengths: Tensor | None
    _ragged_idx: int

    @classmethod
    def __torch_function__(cls, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer ``func`` for nested tensors among the arguments. Any: whatever the function takes and gives."""
        with DisableTorchFunctionSubclass():
            return _answer(func, args, kwargs or {})

    def values(self) -> Tensor:
        """The elements of all sequences, one after the other, with the history.

        >>> fb.nested.nested_tensor([fb.ones(1), fb.zeros(2)], layout=fb.jagged).values()
        tensor([1., 0., 0.])
        """
        return self.as_subclass(Tensor)  # type: ignore[no-any-return]

    def offsets(self) -> Tensor:
        """Where the sequences start in the values, and where the last ends.

        >>> fb.nested.nested_tensor([fb.ones(1), fb.zeros(2)], layout=fb.jagged).offsets()
        tensor([0, 1, 3])
        """
        return self._offsets

    def lengths(self) -> Tensor | None:
        """The lengths where the sequences leave gaps between them; None where they do not.

        >>> fb.nested.nested_tensor([fb.ones(1)], layout=fb.jagged).lengths() is None
        True
        """
        return self._lengths

    def to_padded_tensor(self, padding: float, output_size: Sequence[int] | None = None) -> Tensor:
        """A dense tensor in which ``padding`` follows the sequences, up to the longest or to ``output_size``.

        >>> fb.nested.nested_tensor([fb.ones(1), fb.zeros(2)], layout=fb.jagged).to_padded_tensor(5.0)
        tensor([[1., 5.],
                [0., 0.]])
        """
        axis = self._ragged_idx - 1
        rows = sequences(self)
        longest = max(row.shape[axis] for row in rows)
        if output_size is not None:
            longest = _padded_length(self, tuple(output_size), longest)
        return stack([_lengthened(row, axis, longest, padding) for row in rows])

    def __repr__(self, *, tensor_contents: object = None) -> str:
        grad = f", grad_fn={self.grad_fn}" if self.grad_fn else ", requires_grad=True" if self.requires_grad else ""
        sizes = ", ".join(map(str, _sizes(self)))
        return f"NestedTensor(size=({sizes}), offsets={self._offsets}{grad}, contiguous={_is_contiguous(self)})"


# -- making, and taking apart ------------------------------------------------------------------------
def nest(values: Tensor, offsets: Tensor, lengths: Tensor | None = None, ragged: int = 1) -> NestedTensor:
    """The nested tensor of values: a view of them, with their history."""
    made: NestedTensor = values.as_subclass(NestedTensor)
    made._offsets, made._lengths, made._ragged_idx = offsets, lengths, ragged
    return made


def like(values: Tensor, x: NestedTensor, ragged: int | None = None) -> NestedTensor:
    """Other values in the sequences of ``x``."""
    return nest(values, x._offsets, x._lengths, x._ragged_idx if ragged is None else ragged)


def sequences(x: NestedTensor) -> list[Tensor]:
    """The sequences as dense tensors: views."""
    values, axis = x.as_subclass(Tensor), x._ragged_idx - 1
    starts = x._offsets.tolist()
    if x._lengths is None:
        return list(values.split([b - a for a, b in itertools.pairwise(starts)], axis))
    lengths = x._lengths.tolist()
    return [values.narrow(axis, a, n) for a, n in zip(starts, lengths, strict=False)]


def _inner(x: NestedTensor) -> Size:
    """The shape of the values."""
    with DisableTorchFunctionSubclass():
        return x.shape


def _sizes(x: NestedTensor) -> Size:
    inner, at = _inner(x), x._ragged_idx
    sizes = (x._offsets.shape[0] - 1, *inner[: at - 1], ragged_of(x._offsets), *inner[at:])
    return tuple.__new__(Size, sizes)


def _is_contiguous(x: NestedTensor) -> bool:
    with DisableTorchFunctionSubclass():
        return x._lengths is None and x._ragged_idx == 1 and x.is_contiguous()


def _padded_length(x: NestedTensor, wanted: tuple[int, ...], longest: int) -> int:
    sizes, at = _sizes(x), x._ragged_idx
    fits = len(wanted) == len(sizes) and wanted[:at] == sizes[:at] and wanted[at + 1 :] == sizes[at + 1 :]
    if not fits or wanted[at] < longest:
        raise RuntimeError(f"to_padded_tensor: output_size {wanted} does not hold sequences of {tuple(sizes)}, the "
                           f"longest of {longest}")  # fmt: skip
    return wanted[at]


def _lengthened(row: Tensor, axis: int, length: int, padding: float) -> Tensor:
    shape = list(row.shape)
    shape[axis] = length - shape[axis]
    return cat([row, row.new_full(shape, padding)], axis) if shape[axis] else row


# -- answering ---------------------------------------------------------------------------------------
def _answer(func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__qualname__", "").rpartition(".")[2]
    plain = name[:-1] if name.endswith("_") and not name.startswith("_") else name
    if name == "__get__":
        return _property(func, args[0])
    if name in _WHOLE or name in ("__set__", "__delete__"):
        return func(*args, **kwargs)
    if plain in _EACH or name in _ALIKE:
        return _each(name, func, args, kwargs)
    given = dict(kwargs)
    x = args[0] if args else given.pop("input", given.pop("query", None))
    if name in _REDUCTIONS and isinstance(x, NestedTensor):
        return _reduced(name, func, x, *args[1:], **given)
    if name in _ANSWERS:
        return _ANSWERS[name](name, func, x, *args[1:], **given)
    raise NotImplementedError(f"{name}: not implemented for nested tensors; take unbind() or to_padded_tensor()")


def _property(func: Function, x: NestedTensor) -> Any:
    asked = getattr(func, "__self__", None)
    name = next((n for n, v in vars(Tensor).items() if v is asked and isinstance(v, property)), "")
    if name == "shape":
        return _sizes(x)
    if name == "ndim":
        return len(_sizes(x))
    if name in ("is_nested", "layout"):
        return True if name == "is_nested" else jagged
    found = func(x)
    if isinstance(found, Tensor):
        if name == "":  # the slot in which the tape accumulates
            return found
        if name not in ("grad", "data"):
            raise NotImplementedError(f"{name}: not implemented for nested tensors; take unbind()")
        return like(found, x)
    return found


def _nested_of(values: Sequence[Any]) -> list[NestedTensor]:
    return [v for v in values if isinstance(v, NestedTensor)]


def _each(name: str, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    first, *rest = _nested_of([*args, *kwargs.values()])
    for other in rest:
        _same_offsets(name, first, other)
    found = func(*[_dense(name, v, first) for v in args], **{k: _dense(name, v, first) for k, v in kwargs.items()})
    return found if isinstance(found, NestedTensor) or not isinstance(found, Tensor) else like(found, first)


def _same_offsets(name: str, x: NestedTensor, y: NestedTensor) -> None:
    a, b = x._offsets, y._offsets
    alike = a is b or (a.shape == b.shape and bool((a == b).all()))
    if not alike or x._ragged_idx != y._ragged_idx or (x._lengths is None) is not (y._lengths is None):
        raise RuntimeError(f"{name}: expects nested tensors with the same offsets, got shapes {tuple(_sizes(x))} and "
                           f"{tuple(_sizes(y))}")  # fmt: skip


def _dense(name: str, value: Any, x: NestedTensor) -> Any:
    """An operand laid out as the values of ``x``; one of their own shape is, as gradients are that add up."""
    after = len(_inner(x)) - x._ragged_idx
    if not isinstance(value, Tensor) or isinstance(value, NestedTensor) or value.ndim <= after:
        return value
    if value.shape == _inner(x) or (value.ndim <= len(_inner(x)) and value.shape[value.ndim - after - 1] == 1):
        return value
    if value.ndim != len(_inner(x)) + 1 or x._lengths is not None or value.shape[0] not in (1, len(x._offsets) - 1):
        raise RuntimeError(f"{name}: a tensor of shape {tuple(value.shape)} does not broadcast to {tuple(_sizes(x))}")
    axis, starts = x._ragged_idx - 1, x._offsets.tolist()
    rows = [(value[i if value.shape[0] > 1 else 0], b - a) for i, (a, b) in enumerate(itertools.pairwise(starts))]
    laid = [r.narrow(axis, 0, n) if r.shape[axis] != 1 else r.expand([*r.shape[:axis], n, *r.shape[axis + 1 :]])
            for r, n in rows]  # fmt: skip
    return cat(laid, axis)


def _axis(name: str, x: NestedTensor, dim: int) -> int:
    """A dimension as one counted from the front."""
    n = len(_inner(x)) + 1
    if not -n <= dim < n:
        raise IndexError(f"{name}: Dimension out of range: dim={dim}, but a nested tensor with {n} dimensions takes "
                         f"{-n} to {n - 1}")  # fmt: skip
    return dim % n


def _within(name: str, x: NestedTensor, dim: int) -> int:
    """A dimension that is neither the batch nor the ragged one, as one of the values."""
    at = _axis(name, x, dim)
    if at in (0, x._ragged_idx):
        raise RuntimeError(f"{name}: not supported for nested tensors on dim={dim}, the batch or ragged dimension")
    return at - 1


# -- functions ---------------------------------------------------------------------------------------
def _reduced(name: str, func: Function, x: NestedTensor, dim: Any = None, keepdim: bool = False, **kw: Any) -> Any:
    if dim is None:
        return func(cat([row.reshape(-1) for row in sequences(x)]), **kw)
    axes = sorted(_axis(name, x, d) for d in ([dim] if isinstance(dim, int) else dim))
    at = x._ragged_idx
    if axes == [at]:
        return stack([func(row, at - 1, keepdim, **kw) for row in sequences(x)])
    if axes == [0, at] and not keepdim:
        return func(cat(sequences(x), at - 1), at - 1, **kw)
    if 0 in axes or at in axes:
        raise RuntimeError(f"{name}: nested tensors reduce over the ragged dimension alone, with the batch, or over "
                           f"others, got dim={dim}")  # fmt: skip
    found = func(x.as_subclass(Tensor), [d - 1 for d in axes], keepdim, **kw)
    return like(found, x, at if keepdim else at - sum(d < at for d in axes))


def _softmax(name: str, func: Function, x: NestedTensor, dim: int, *args: Any, **kw: Any) -> NestedTensor:
    if _axis(name, x, dim) != x._ragged_idx:
        return like(func(x.as_subclass(Tensor), _within(name, x, dim), *args, **kw), x)
    if x._lengths is not None:
        raise RuntimeError(f"{name}: the ragged dimension has gaps between its sequences; call contiguous() first")
    return like(cat([func(row, x._ragged_idx - 1, *args, **kw) for row in sequences(x)], x._ragged_idx - 1), x)


def _last(name: str, func: Function, x: Any, *args: Any, **kw: Any) -> NestedTensor:
    """Functions of the last dimension: of the values."""
    if not isinstance(x, NestedTensor) or _nested_of([*args, *kw.values()]):
        raise NotImplementedError(f"{name}: takes a nested tensor as its first argument alone")
    if x._ragged_idx == len(_inner(x)) and name != "embedding":
        raise RuntimeError(f"{name}: the last dimension of a nested tensor must not be the ragged one")
    return like(func(x.as_subclass(Tensor), *args, **kw), x)


def _matmul(name: str, func: Function, x: Any, other: Any) -> NestedTensor:
    if isinstance(other, NestedTensor) or other.ndim != 2:
        raise RuntimeError(f"{name}: a nested tensor is multiplied by a dense matrix, got {type(other).__name__}")
    return _last(name, func, x, other)


def _layer_norm(name: str, func: Function, x: NestedTensor, normalized_shape: Any, *a: Any, **kw: Any) -> NestedTensor:
    normalized = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    if len(normalized) > len(_inner(x)) - x._ragged_idx:
        raise RuntimeError(f"{name}: expects dimensions after the ragged one, got normalized_shape={normalized}")
    return _last(name, func, x, normalized, *a, **kw)


def _attention(
    name: str, func: Function, query: Any, key: Any, value: Any, attn_mask: Any = None, *args: Any, **kw: Any
) -> NestedTensor:
    if attn_mask is not None:
        raise RuntimeError(f"{name}: attn_mask is not supported with nested tensors, whose lengths are the mask")
    if not all(isinstance(t, NestedTensor) and len(_inner(t)) == 3 and t._ragged_idx == 2 for t in (query, key, value)):
        raise RuntimeError(f"{name}: expects nested query, key and value of shape (batch, heads, j, features)")
    _same_offsets(name, key, value)
    rows = zip(sequences(query), sequences(key), sequences(value), strict=True)
    found = cat([func(q, k, v, None, *args, **kw) for q, k, v in rows], 1)
    return nest(found, query._offsets if query._lengths is None else _offsets_of(sequences(query), 1), None, 2)


def _offsets_of(rows: Sequence[Tensor], axis: int) -> Tensor:
    ends = list(itertools.accumulate((row.shape[axis] for row in rows), initial=0))
    return rows[0].new_tensor(ends, dtype=INDEX)


def _unbind(name: str, func: Function, x: NestedTensor, dim: int = 0) -> tuple[Tensor, ...]:
    if _axis(name, x, dim):
        raise RuntimeError(f"{name}: only supported for nested tensors on dim=0, got dim={dim}")
    return tuple(sequences(x))


def _item(name: str, func: Function, x: NestedTensor, index: Any) -> Tensor:
    if not isinstance(index, int):
        raise RuntimeError(f"indexing: a nested tensor takes an int, the number of a sequence, got {index!r}")
    return sequences(x)[index]


def _contiguous(name: str, func: Function, x: NestedTensor, **kw: Any) -> NestedTensor:
    if x._lengths is None:
        return like(func(x.as_subclass(Tensor), **kw), x)
    rows = sequences(x)
    return nest(cat(rows, x._ragged_idx - 1), _offsets_of(rows, x._ragged_idx - 1), None, x._ragged_idx)


def _transposed(name: str, func: Function, x: NestedTensor, dim0: int, dim1: int) -> NestedTensor:
    a, b = _axis(name, x, dim0), _axis(name, x, dim1)
    if 0 in (a, b) and a != b:
        raise RuntimeError(f"{name}: not supported for nested tensors on the batch dimension, got {dim0} and {dim1}")
    ragged = {a: b, b: a}.get(x._ragged_idx, x._ragged_idx)
    return like(func(x.as_subclass(Tensor), max(a - 1, 0), max(b - 1, 0)), x, ragged)


def _unflatten(name: str, func: Function, x: NestedTensor, dim: int, sizes: Sequence[int]) -> NestedTensor:
    at = _within(name, x, dim)
    return like(func(x.as_subclass(Tensor), at, sizes), x, x._ragged_idx + (len(sizes) - 1) * (at < x._ragged_idx - 1))


def _flatten(name: str, func: Function, x: NestedTensor, start_dim: int = 0, end_dim: int = -1) -> NestedTensor:
    a, b = _axis(name, x, start_dim), _axis(name, x, end_dim)
    if a == 0 or a <= x._ragged_idx <= b:
        raise RuntimeError(f"{name}: not supported for nested tensors on the batch or ragged dimension")
    return like(func(x.as_subclass(Tensor), a - 1, b - 1), x, x._ragged_idx - (b - a) * (b < x._ragged_idx))


def _viewed(name: str, func: Function, x: NestedTensor, *shape: Any) -> NestedTensor:
    sizes = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else list(shape)
    at, inner = x._ragged_idx, _inner(x)
    batch = len(x._offsets) - 1
    if len(sizes) <= at or sizes[0] not in (-1, batch) or not (sizes[at] == -1 or isinstance(sizes[at], Ragged)):
        raise RuntimeError(f"{name}: shape {sizes} must keep the batch and the ragged dimension of {tuple(_sizes(x))}")
    sizes[at] = inner[at - 1]
    return like(func(x.as_subclass(Tensor), sizes[1:]), x)


def _split(name: str, func: Function, x: NestedTensor, size: Any, dim: int = 0) -> tuple[NestedTensor, ...]:
    return tuple(like(part, x) for part in func(x.as_subclass(Tensor), size, _within(name, x, dim)))


def _size(name: str, func: Function, x: NestedTensor, dim: int | None = None) -> Any:
    return _sizes(x) if dim is None else _sizes(x)[_axis(name, x, dim)]


_ANSWERS: Final[dict[str, Function]] = {
    "softmax": _softmax, "log_softmax": _softmax, "linear": _last, "rms_norm": _last, "embedding": _last,
    "matmul": _matmul, "__matmul__": _matmul, "layer_norm": _layer_norm, "scaled_dot_product_attention": _attention,
    "unbind": _unbind, "__getitem__": _item, "contiguous": _contiguous, "transpose": _transposed,
    "unflatten": _unflatten, "flatten": _flatten, "view": _viewed, "reshape": _viewed, "split": _split,
    "chunk": _split, "size": _size, "dim": lambda name, func, x: len(_sizes(x)),
    "__len__": lambda name, func, x: len(x._offsets) - 1, "is_contiguous": lambda name, func, x: _is_contiguous(x),
}  # fmt: skip
