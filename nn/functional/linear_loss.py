"""The cross entropy of a linear map's scores, of which a large vocabulary's need not be in memory all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from flambeau.core.autograd.api import grad
from flambeau.core.autograd.engine import alias
from flambeau.core.autograd.function import Function
from flambeau.core.dtype import DType, int64
from flambeau.core.errors import ShapeError
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.matmul import linear_p
from flambeau.core.state import enable_grad, is_grad_enabled
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.loss import cross_entropy


@dataclass
class LinearCrossEntropyOptions:
    """How :func:`linear_cross_entropy` works through the examples piece by piece, forgetting a piece's scores.

    ``batch_chunk_size`` examples make a piece; None: as many as have scores that take about twice the memory of the
    input. ``acc_dtype`` is the dtype that losses of pieces are added up in. ``allow_retain_graph``, ``chunking_method``
    and ``acc_policy`` are torch's; scores are computed again in backward, which may run as often as one likes.

    >>> fb.nn.LinearCrossEntropyOptions(batch_chunk_size=4).batch_chunk_size
    4
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: Literal["accurate", "balanced", "compact", "auto"] = "auto"
    acc_dtype: DType | None = None


class _Forgetting(Function):
    """``function`` of tensors, computed again in backward rather than kept."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*tensors)
        return function(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        again = is_grad_enabled()  # the gradient is differentiated, by a second backward or by forward mode
        given = list(ctx.saved_tensors)
        wanted = [i for i, needs in enumerate(ctx.needs_input_grad[1:]) if needs]
        with enable_grad():
            for i in wanted:
                given[i] = alias(given[i]) if again else given[i].detach().requires_grad_()
            out = ctx.function(*given)
            made = grad(out, [given[i] for i in wanted], grads[0], create_graph=again, allow_unused=True)
        found = dict(zip(wanted, made, strict=True))
        return None, *(found.get(i) for i in range(len(given)))


def _scores(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, C, d1, ...), or (C, d1, ...) of one example."""
    flat = linear_p(input, weight.reshape(-1, weight.shape[-1]), None if bias is None else bias.reshape(-1))
    return flat.reshape(*input.shape[:-1], *weight.shape[:-1])


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
    weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
    label_smoothing: float = 0.0, options: LinearCrossEntropyOptions | None = None,
) -> Tensor:  # fmt: skip
    """:func:`cross_entropy` of ``linear(input, linear_weight, linear_bias)``.

    Shapes: input (N, in) or (in,), linear_weight (C, in) or (C, d1, ..., in), target as for the scores (N, C, d1, ...).
    With ``options``, classes as targets and a weight (C, in) the scores are made and forgotten piece by piece.

    >>> fb.nn.functional.linear_cross_entropy(fb.zeros(2, 3), fb.zeros(4, 3), fb.tensor([0, 3]))
    tensor(1.3863)
    """
    if input.ndim not in (1, 2) or linear_weight.ndim < 2 or input.shape[-1] != linear_weight.shape[-1]:
        raise ShapeError(
            f"linear_cross_entropy: input of shape {tuple(input.shape)} must be (N, in) or (in,), and linear_weight "
            f"(C, ..., in), got {tuple(linear_weight.shape)}"
        )
    if input.ndim == 1 and linear_weight.ndim > 2:
        raise ShapeError(
            f"linear_cross_entropy: linear_weight of shape {tuple(linear_weight.shape)}, which has a loss of several "
            f"dimensions, needs input (N, {input.shape[0]}), got {tuple(input.shape)}"
        )
    ignored = -100 if ignore_index is None else ignore_index

    def losses(how: str, x: Tensor, w: Tensor, b: Tensor | None, labels: Tensor, share: Tensor | None) -> Tensor:
        return cross_entropy(_scores(x, w, b), labels, share, None, ignored, None, how, label_smoothing)

    in_pieces = options is not None and input.ndim == 2 and linear_weight.ndim == 2 and target.dtype is int64
    if not in_pieces or options is None:
        return losses(reduction, input, linear_weight, linear_bias, target, weight)
    how = "none" if reduction == "none" else "sum"
    found = []
    for part in _parts(input.shape[0], input.shape[1], linear_weight.shape[0], options.batch_chunk_size):
        # all tensors are operands: under a transform each of them is lowered by a level
        one = _Forgetting.apply(partial(losses, how), input[part], linear_weight, linear_bias, target[part], weight)
        found.append(one if options.acc_dtype is None else one.to(options.acc_dtype))
    total = cat(found) if how == "none" else stack(found).sum()
    if reduction == "mean":
        kept = (target != ignored).to(input.dtype)
        total = total / (kept if weight is None else kept * weight[target * kept.to(int64)]).sum()
    return total.to(input.dtype)


def _parts(rows: int, width: int, classes: int, size: int | None) -> Iterator[slice]:
    size = max(1, size or math.ceil(2 * rows * width / max(classes, 1)))
    return (slice(start, start + size) for start in range(0, rows, size))
