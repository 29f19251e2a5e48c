"""Linear maps, and rows by number, in torch's signatures."""

from __future__ import annotations

from typing import Protocol

from flambeau.core.autocast import autocasting
from flambeau.core.creation import arange, ones_like, zeros
from flambeau.core.dtype import int64
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.matmul import linear_p
from flambeau.core.ops.nn import sparse as ops
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import domain


class _Linear(Protocol):
    def __call__(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor: ...


linear: _Linear = linear_p  # itself: a call more would cost time


@autocasting("inside|widest")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1ᵀ weight[o] input2 + bias[o] for each o: (..., A), (..., B), (O, A, B) to (..., O).

    >>> fb.nn.functional.bilinear(fb.ones(5, 2), fb.ones(5, 3), fb.ones(4, 2, 3)).shape
    flambeau.Size([5, 4])
    """
    if weight.ndim != 3 or input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        raise ShapeError(
            f"bilinear: input1 of shape {tuple(input1.shape)} and input2 of shape {tuple(input2.shape)} do not fit "
            f"weight of shape {tuple(weight.shape)}, which is (out, in1, in2)"
        )
    if tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        raise ShapeError(
            f"bilinear: input1 of shape {tuple(input1.shape)} and input2 of shape {tuple(input2.shape)} must agree but "
            "for their last sizes"
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(f"bilinear: bias of shape {tuple(bias.shape)} must be ({weight.shape[0]},), one per output")
    domain.check_one_dtype("bilinear", input1, input2=input2, weight=weight, bias=bias)
    left = input1 @ weight.movedim(0, -1).flatten(1)  # (..., B * O)
    left = left.reshape(*input1.shape[:-1], weight.shape[2], weight.shape[0])
    out = (input2.unsqueeze(-2) @ left).squeeze(-2)
    return out if bias is None else out + bias


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The rows of ``weight`` (rows, width) that ``input`` (any shape, integers) says.

    Row ``padding_idx`` gets no gradient; rows longer than ``max_norm`` are shortened in place first. With ``sparse``
    the gradient of ``weight`` is a sparse tensor of the rows that were used; with ``scale_grad_by_freq`` it has none.

    >>> fb.nn.functional.embedding(fb.tensor([2, 0]), fb.eye(3))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    padding = _padding_row(weight, padding_idx)
    if max_norm is not None:
        renormalise(weight, input, max_norm, norm_type)
    if sparse:
        from flambeau.core.sparse.answering import embedding as with_sparse_gradient  # it makes functions slower

        return with_sparse_gradient(weight, input, padding, scale_grad_by_freq)
    if scale_grad_by_freq:
        weight = _by_frequency(weight, input)
    return ops.embedding_p(weight, input, padding)


def _padding_row(weight: Tensor, padding_idx: int | None) -> int:
    """The row that gets no gradient, counted from the front; -1 where there is none."""
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight must be (rows, width), got shape {tuple(weight.shape)}")
    if padding_idx is None:
        return -1
    rows: int = weight.shape[0]
    if not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx={padding_idx} must be within the {rows} rows of weight")
    return padding_idx % rows


def renormalise(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Shorten the rows that are used and longer than ``max_norm``, in place, which no derivative follows.

    Of a row that is used several times, all shorten it alike.
    """
    used, values = input.reshape(-1), weight.detach()  # the same memory, without a tangent
    rows = values[used]
    size = rows.norm(norm_type, 1, keepdim=True)
    values.index_copy_(0, used, rows * where(size > max_norm, max_norm / (size + 1e-7), 1.0))


def _by_frequency(weight: Tensor, input: Tensor) -> Tensor:
    """``weight``, its gradient divided by how often each row is used."""
    counts = _counts(input.reshape(-1), weight.shape[0]).clamp(min=1)
    share = (1.0 / counts.to(weight.dtype)).unsqueeze(-1)
    return weight.detach() + (weight - weight.detach()) * share


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean or max of the rows of each bag.

    ``input`` is (bags, size), or (n,) with ``offsets`` where each bag starts. Returns (bags, width).

    >>> fb.nn.functional.embedding_bag(fb.tensor([[0, 2]]), fb.eye(3))
    tensor([[0.5000, 0.0000, 0.5000]])
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode must be 'sum', 'mean' or 'max', got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights needs mode='sum', got {mode!r}")
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("embedding_bag: offsets are for a 1-d input; a 2-d input has bags of equal size")
        bags, size = input.shape
        owner = arange(bags, device=input.device).unsqueeze(-1).expand(bags, size).reshape(-1)
        input = input.reshape(-1)
        per_sample_weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    elif input.ndim != 1 or offsets is None:
        raise ValueError(f"embedding_bag: input must be 2-d, or 1-d with offsets, got shape {tuple(input.shape)}")
    else:
        offsets = offsets[:-1] if include_last_offset else offsets
        bags, owner = offsets.shape[0], owners(offsets, input.shape[0])
    padding, wanted = _padding_row(weight, padding_idx), bags
    if padding >= 0:
        owner, bags = where(input == padding, bags, owner), bags + 1  # a bag more, for what counts in none
    if mode == "max" or per_sample_weights is not None or sparse:
        rows = embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.unsqueeze(-1)
        if mode == "max":
            index = owner.unsqueeze(-1).expand(-1, rows.shape[1])
            start = rows.new_zeros(bags, rows.shape[1])
            return start.scatter_reduce(0, index, rows, "amax", include_self=False)[:wanted]
        total: Tensor = rows.new_zeros(bags, rows.shape[1]).index_add(0, owner, rows)
    else:
        if max_norm is not None:
            renormalise(weight, input, max_norm, norm_type)
        total = ops.sum_rows_p(_by_frequency(weight, input) if scale_grad_by_freq else weight, input, owner, bags)
    if mode == "mean":
        total = total / _counts(owner, bags).clamp(min=1).to(total.dtype).unsqueeze(-1)
    return total if wanted == bags else total[:wanted]


def owners(offsets: Tensor, count: int) -> Tensor:
    """The bag of each of ``count`` places: how many bags start there or before, less one."""
    return _counts(offsets.to(int64), count + 1)[:count].cumsum(0) - 1


def _counts(places: Tensor, size: int) -> Tensor:
    """How often each of ``size`` places is named, under transforms too."""
    return zeros(size, dtype=int64, device=places.device).index_add(0, places, ones_like(places, dtype=int64))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A new last axis of ``num_classes`` with 1 at each class and 0 elsewhere; int64.

    >>> fb.nn.functional.one_hot(fb.tensor([0, 2]), 3)
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if tensor.dtype is not int64:
        raise TypeError(f"one_hot is only applicable to an index tensor of dtype int64, got {tensor.dtype}")
    if num_classes == -1:
        if tensor.numel() == 0:
            raise RuntimeError("one_hot: cannot infer num_classes from an empty tensor; give num_classes")
        num_classes = int(tensor.max().item()) + 1
    if (
        tensor._key.level is None
        and tensor.numel()
        and not 0 <= int(tensor.min().item()) <= int(tensor.max().item()) < num_classes
    ):
        raise RuntimeError(
            f"one_hot: class values must be at least 0 and smaller than num_classes={num_classes}, "
            f"got {tensor.min().item()} to {tensor.max().item()}"
        )
    return (tensor.unsqueeze(-1) == arange(num_classes, device=tensor.device)).to(int64)


__all__ = ["bilinear", "embedding", "embedding_bag", "linear", "one_hot"]
