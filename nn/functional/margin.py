"""Losses of margins, of distances and of sequences, in torch's signatures."""

from __future__ import annotations

from collections.abc import Callable

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.creation import arange
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.expand import broadcast_tensors
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import domain
from flambeau.nn.functional.activation import logsigmoid, softplus
from flambeau.nn.functional.loss import reduced, reduction_of


@autocasting("float32")
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """input where target is 1, max(0, margin - input) where it is -1.

    >>> fb.nn.functional.hinge_embedding_loss(fb.tensor([0.5]), fb.tensor([1.0]))
    tensor(0.5000)
    """
    how = reduction_of(reduction, size_average, reduce)
    domain.check_numbers("hinge_embedding_loss", input=input)
    apart = where(target == 1, 0.0, (margin - input).clamp(min=0))
    return reduced(where(target == -1, 0.0, input) + apart, how)


@autocasting("float32")
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, -target (input1 - input2) + margin).

    >>> fb.nn.functional.margin_ranking_loss(fb.zeros(1), fb.ones(1), fb.ones(1))
    tensor(1.)
    """
    how = reduction_of(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            "margin_ranking_loss: input1, input2 and target should have the same number of dimensions, "
            f"got shapes {tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    domain.check_numbers("margin_ranking_loss", input1=input1, input2=input2, target=target)
    return reduced((-target * (input1 - input2) + float(margin)).clamp(min=0), how)


@autocasting("float32")
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """log(1 + exp(-target input)).

    >>> fb.nn.functional.soft_margin_loss(fb.tensor([0.0]), fb.tensor([1.0]))
    tensor(0.6931)
    """
    how = reduction_of(reduction, size_average, reduce)
    if input.dtype.category < dt.FLOATING:
        raise DTypeError(f"soft_margin_loss: input must be a floating tensor, got {input.dtype.name}")
    domain.check_within("soft_margin_loss", input, target=target)
    return reduced(softplus(-target * input), how)


def _rows(name: str, input: Tensor) -> Tensor:
    """Scores (N, C); (C,) and () as one row."""
    if input.ndim > 2 or 0 in input.shape[1:] or input.ndim == 1 and not input.numel():
        raise ShapeError(f"{name}: input must be (N, C) or (C,), and only N may be 0, got shape {tuple(input.shape)}")
    domain.check_floating(name, input=input)
    return input if input.ndim == 2 else input.reshape(1, input.numel())


@autocasting("float32")
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over the other classes of max(0, margin - input[target] + input[class]) ** p.

    >>> fb.nn.functional.multi_margin_loss(fb.zeros(1, 4), fb.tensor([3]))
    tensor(0.7500)
    """
    how = reduction_of(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: only p == 1 and p == 2 are supported, got {p}")
    rows, classes = _rows("multi_margin_loss", input), target.reshape(target.numel(), 1)
    if weight is not None and tuple(weight.shape) != (rows.shape[1],):
        raise ShapeError(f"multi_margin_loss: weight must be ({rows.shape[1]},), got shape {tuple(weight.shape)}")
    domain.check_classes("multi_margin_loss", target, (dt.int64,))
    domain.check_one_dtype("multi_margin_loss", input, weight=weight)
    if classes.shape[0] != rows.shape[0] or target.ndim > 1 or target.ndim == 0 and input.ndim == 2:
        raise ShapeError(
            f"multi_margin_loss: target of shape {tuple(target.shape)} does not fit input {tuple(input.shape)}"
        )
    short = (margin - rows.gather(1, classes) + rows).relu()
    short = short if p == 1 else short.square()
    if weight is not None:
        short = short * weight.take_along_dim(target.reshape(-1), 0).unsqueeze(-1)
    others = arange(rows.shape[1], device=input.device) != classes
    losses = where(others, short, 0.0).sum(1) / rows.shape[1]
    return reduced(losses.reshape(tuple(target.shape)), how)


@autocasting("float32")
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """The sum over labels and other classes of max(0, 1 - input[label] + input[class]), over the number of classes.

    ``target`` lists the labels of each row and ends at the first -1.

    >>> fb.nn.functional.multilabel_margin_loss(fb.zeros(1, 3), fb.tensor([[2, -1, 0]]))
    tensor(0.6667)
    """
    how = reduction_of(reduction, size_average, reduce)
    if tuple(target.shape) != tuple(input.shape) and not (
        max(input.ndim, target.ndim) == 1 == target.numel() == input.numel()
    ):
        raise ShapeError(
            f"multilabel_margin_loss: target {tuple(target.shape)} must have the shape of input {tuple(input.shape)}"
        )
    domain.check_classes("multilabel_margin_loss", target, (dt.int64,))
    rows = _rows("multilabel_margin_loss", input)
    labels = target.reshape(tuple(rows.shape))
    domain.check_between("multilabel_margin_loss", "target", labels, -1, rows.shape[1] - 1)
    listed = (labels < 0).cumsum(1) == 0
    safe = where(listed, labels, 0)
    is_label = rows.detach().new_zeros(tuple(rows.shape)).scatter_add(1, safe, listed.to(rows.dtype)) > 0
    short = (1 - rows.gather(1, safe).unsqueeze(2) + rows.unsqueeze(1)).relu()
    counted = listed.unsqueeze(2) & ~is_label.unsqueeze(1)
    losses = where(counted, short, 0.0).sum((1, 2)) / rows.shape[1]
    return reduced(losses.reshape(tuple(input.shape[:-1])), how)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over classes of the binary cross entropy of logits.

    >>> fb.nn.functional.multilabel_soft_margin_loss(fb.zeros(1, 3), fb.ones(1, 3))
    tensor(0.6931)
    """
    how = reduction_of(reduction, size_average, reduce)
    domain.check_numbers("multilabel_soft_margin_loss", target=target)
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    losses = losses if weight is None else losses * weight
    return reduced(losses.sum(-1) / input.shape[-1], how)


# -- distances ---------------------------------------------------------------------------------------
@autocasting("same|float32")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The scalar product along ``dim`` over the lengths, each of which counts as at least ``eps``.

    >>> fb.nn.functional.cosine_similarity(fb.ones(2, 3), fb.ones(2, 3))
    tensor([1.0000, 1.0000])
    """
    if not eps >= 0:
        raise RuntimeError(f"cosine_similarity: eps must not be negative, got {eps}")
    common = dt.promote_types(x1.dtype, x2.dtype)
    if common.category != dt.FLOATING:
        raise DTypeError(f"cosine_similarity: x1 and x2 must be real floating tensors, got {x1.dtype} and {x2.dtype}")
    x1, x2 = broadcast_tensors(x1.to(common), x2.to(common))
    return (_of_length_one(x1, dim, eps) * _of_length_one(x2, dim, eps)).sum(dim)


def _of_length_one(x: Tensor, dim: int, eps: float) -> Tensor:
    """The input over its length, at least ``eps``; the gradient is that of the length also where it is less."""
    length = x.norm(2, dim, keepdim=True)
    return x / (length + (length.clamp(min=eps) - length).detach())


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis.

    >>> fb.nn.functional.pairwise_distance(fb.zeros(1, 2), fb.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """
    domain.check_numbers("pairwise_distance", x1=x1, x2=x2)
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


@autocasting("float32")
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cosine where target is 1, max(0, cosine - margin) where it is -1.

    >>> fb.nn.functional.cosine_embedding_loss(fb.ones(1, 2), fb.ones(1, 2), fb.ones(1))
    tensor(0.)
    """
    how = reduction_of(reduction, size_average, reduce)
    if target.ndim > 1 or {input1.ndim, input2.ndim} != {target.ndim + 1}:
        raise ShapeError(
            "cosine_embedding_loss: inputs (N, D) take a target (N,) and (D,) a target (), got shapes "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    axis = target.ndim
    product = (input1 * input2).sum(axis)
    sizes = ((input1 * input1).sum(axis) + 1e-12) * ((input2 * input2).sum(axis) + 1e-12)
    cosine = product / sizes.sqrt()
    losses = where(target == 1, 1 - cosine, 0.0) + where(target == -1, (cosine - margin).clamp(min=0), 0.0)
    return reduced(losses, how)


@autocasting("float32")
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); ``swap`` takes the nearer negative distance.

    >>> fb.nn.functional.triplet_margin_loss(fb.zeros(1, 2), fb.zeros(1, 2), fb.ones(1, 2))
    tensor(0.)
    """
    how = reduction_of(reduction, size_average, reduce)
    return _triplet(lambda a, b: pairwise_distance(a, b, p, eps), anchor, positive, negative, margin, swap, how)


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """triplet_margin_loss with a distance of one's own.

    >>> fb.nn.functional.triplet_margin_with_distance_loss(fb.zeros(1, 2), fb.zeros(1, 2), fb.ones(1, 2))
    tensor(0.)
    """
    how = reduction_of(reduction)
    return _triplet(distance_function or pairwise_distance, anchor, positive, negative, margin, swap, how)


def _triplet(
    distance: Callable[[Tensor, Tensor], Tensor], anchor: Tensor, positive: Tensor, negative: Tensor, margin: float,
    swap: bool, how: str,
) -> Tensor:  # fmt: skip
    if margin <= 0:
        raise ValueError(f"triplet_margin_loss: margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            "triplet_margin_loss: anchor, positive and negative must have the same number of dimensions, got shapes "
            f"{tuple(anchor.shape)}, {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((near - far + margin).clamp(min=0), how)
