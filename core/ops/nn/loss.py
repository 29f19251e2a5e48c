"""The parts of losses that a backend may fuse: one expression per element, and nll_loss with its sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import abs_p, elementwise, log_p, maximum_p, sigmoid_p, sign_p, where
from flambeau.core.ops.nn.rules import Shape, floats, gradient_of, per_channel, served, through_body
from flambeau.core.ops.nn.softmax import log_softmax_p, softmax_p
from flambeau.core.record import Vjp
from flambeau.core.tensor import Tensor


def _pair(
    name: str, expr: str, vjp: Mapping[str, Vjp | None], operands: str = "x: Tensor, target: Tensor"
) -> OpFunction[Tensor]:
    return elementwise(f"{name}({operands}) -> Tensor", expr, vjp, dtype=floats, public=False, inplace=False)


def _slope(name: str, expr: str, vjp: Mapping[str, Vjp | None], more: str = "") -> OpFunction[Tensor]:
    """The gradient of such a loss for ``x``: one pass. The one for ``target`` is it with the two exchanged."""
    return _pair(name, expr, vjp, f"grad: Tensor, x: Tensor, target: Tensor{more}")


squared_error_grad_p: OpFunction[Tensor] = _slope(
    "squared_error_grad",
    "grad * (2 * (x - target))",
    dict(
        grad=lambda g, x, target: squared_error_grad_p(g, x, target),
        x=lambda g, grad: g * (2 * grad),
        target=lambda g, grad: g * (-2 * grad),
    ),
)
squared_error_p = _pair(
    "squared_error",
    "(x - target) * (x - target)",
    dict(
        x=lambda g, x, target: squared_error_grad_p(g, x, target),
        target=lambda g, x, target: squared_error_grad_p(g, target, x),
    ),
)
absolute_error_p = _pair(
    "absolute_error",
    "abs(x - target)",
    dict(x=lambda g, x, target: g * sign_p(x - target), target=lambda g, x, target: g * sign_p(target - x)),
)


def _within(g: Tensor, grad: Tensor, x: Tensor, target: Tensor, delta: Tensor | float) -> Tensor:
    return where(abs_p(x - target) >= delta, 0.0, g * grad)


huber_error_grad_p: OpFunction[Tensor] = _slope(
    "huber_error_grad",
    "let d = x - target; grad * where(abs(d) < delta, d, where(d > 0, delta, where(d < 0, -delta, d)))",
    dict(
        grad=lambda g, x, target, delta: huber_error_grad_p(g, x, target, delta),
        x=_within,
        target=lambda g, grad, x, target, delta: -_within(g, grad, x, target, delta),
        delta=None,
    ),
    ", delta: Tensor",
)
huber_error_p = _pair(
    "huber_error",
    "let d = abs(x - target); where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))",
    dict(
        x=lambda g, x, target, delta: huber_error_grad_p(g, x, target, delta),
        target=lambda g, x, target, delta: huber_error_grad_p(g, target, x, delta),
        delta=None,
    ),
    "x: Tensor, target: Tensor, delta: Tensor",
)
#: -(target * log(x) + (1 - target) * log(1 - x)), each logarithm at least -100, as torch does.
cross_entropy_of_probability_p = _pair(
    "cross_entropy_of_probability",
    "(target - 1) * maximum(log1p(-x), -100) - target * maximum(log(x), -100)",
    dict(
        x=lambda g, x, target: g * (x - target) / maximum_p((1 - x) * x, 1e-12),
        target=lambda g, x: g * (maximum_p((-x).log1p(), -100.0) - maximum_p(log_p(x), -100.0)),
    ),
)
cross_entropy_of_logit_grad_p: OpFunction[Tensor] = _slope(
    "cross_entropy_of_logit_grad",
    "let s = 1 / (1 + exp(-x)); grad * (positive * target * (s - 1) + (1 - target) * s)",
    dict(
        grad=lambda g, x, target, positive: cross_entropy_of_logit_grad_p(g, x, target, positive),
        x=lambda g, grad, x, target, positive: (
            g * grad * (positive * target + (1 - target)) * sigmoid_p(x) * sigmoid_p(-x)
        ),
        target=lambda g, grad, x, positive: g * grad * (positive * (sigmoid_p(x) - 1) - sigmoid_p(x)),
        positive=lambda g, grad, x, target: g * grad * target * (sigmoid_p(x) - 1),
    ),
    ", positive: Tensor",
)
#: The same of sigmoid(x), with the loss of positives weighted by ``positive``.
cross_entropy_of_logit_p = _pair(
    "cross_entropy_of_logit",
    "(1 - target) * x + (1 + (positive - 1) * target) * (log1p(exp(-abs(x))) + maximum(-x, 0))",
    dict(
        x=lambda g, x, target, positive: cross_entropy_of_logit_grad_p(g, x, target, positive),
        target=lambda g, x, positive: g * (softplus_of_minus(x) * (positive - 1) - x),
        positive=lambda g, x, target: g * target * softplus_of_minus(x),
    ),
    "x: Tensor, target: Tensor, positive: Tensor",
)


def softplus_of_minus(x: Tensor) -> Tensor:
    """log(1 + exp(-x))."""
    return (-abs_p(x)).exp().log1p() + maximum_p(-x, 0.0)


# -- negative log likelihood -------------------------------------------------------------------------
_NLL = "ignore_index: int, reduction: str"


def _nll_infer(x: Shape, target: Shape, weight: Shape | None, *, reduction: str, **p: object) -> tuple[Shape, Shape]:
    if not x or len(target) != max(len(x) - 1, 0) or (*x[:1], *x[2:]) != tuple(target) and len(x) > 1:
        raise ShapeError(
            f"nll_loss: input must be (N, C, ...) or (C,) and target (N, ...) or (), got input of shape {tuple(x)} "
            f"and target of shape {tuple(target)}"
        )
    classes = x[1] if len(x) > 1 else x[0]
    if weight is not None and tuple(weight) != (classes,):
        raise ShapeError(
            f"nll_loss: weight of shape {tuple(weight)} must be ({classes},), one per class of input {tuple(x)}"
        )
    return (tuple(target) if reduction == "none" else ()), ()


def _class_axis(ndim: int) -> int:
    return 1 if ndim > 1 else 0


def _weights(x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Targets with a class in place of the ignored one, and the weight of each."""
    kept = target != ignore_index
    safe = where(kept, target, 0)
    if weight is None:
        return safe, kept.to(x.dtype)
    return safe, where(kept, weight.take_along_dim(safe.reshape(-1), 0).reshape(target.shape), 0.0)


@composite(
    f"nll_loss(x: Tensor, target: Tensor, weight: Tensor?, *, {_NLL}) -> (out: Tensor, total: Tensor)",
    autocast="float32",
    infer=_nll_infer,
    dtype=floats,
    kinds={"target": "index"},
    check=True,
    public=False,
    vjp=dict(
        x=lambda g, x_shape, target, weight, total, ignore_index, reduction: nll_loss_grad_p(
            g[0], target, weight, total, tuple(x_shape), ignore_index, reduction
        ),
        weight=lambda g, x, target, weight, out, total, ignore_index, reduction: _nll_of_weight(
            g, x, target, weight, out, total, ignore_index, reduction
        ),
    ),
)
def nll_loss_p(
    x: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int, reduction: str
) -> tuple[Tensor, Tensor]:
    """Minus the log probability of each target class, weighted, and the sum of the weights.

    ``x`` is (N, C, ...) or (C,), ``target`` (N, ...) or () of classes; the weight of ``ignore_index`` is 0.
    """
    safe, weights = _weights(x, target, weight, ignore_index)
    axis = _class_axis(x.ndim)
    losses = -(x.gather(axis, safe.unsqueeze(axis)).squeeze(axis)) * weights
    losses = where(weights == 0, 0.0, losses)  # an ignored -inf is 0, not nan
    total = weights.sum()
    if reduction == "none":
        return losses, total
    return (losses.sum() / total if reduction == "mean" else losses.sum()), total


def _over(x: Tensor, total: Tensor) -> Tensor:
    """The gradient of a mean, which is 0 where nothing counts."""
    return where(total == 0, 0.0, x / total)


def _nll_loss_grad(
    grad: Tensor, target: Tensor, weight: Tensor | None, total: Tensor, *, shape: Shape, ignore_index: int, reduction:
    str,
) -> Tensor:  # fmt: skip
    """The gradient of nll_loss for an input of ``shape``."""
    axis = _class_axis(len(shape))
    safe, weights = _weights(grad, target, weight, ignore_index)
    scaled = -(_over(grad, total) if reduction == "mean" else grad) * weights
    return grad.new_zeros(shape).scatter_add(axis, safe.unsqueeze(axis), scaled.unsqueeze(axis))


nll_loss_grad_p: OpFunction[Tensor] = composite(
    f"nll_loss_grad(grad: Tensor, target: Tensor, weight: Tensor?, total: Tensor, *, shape: Ints, {_NLL}) -> Tensor",
    infer=lambda grad, target, weight, total, *, shape, **p: shape,
    dtype=floats,
    kinds={"target": "index"},
    public=False,
    vjp=dict(
        grad=lambda g, target, weight, total, ignore_index, reduction: _nll_grad_back(
            g, target, weight, total, ignore_index, reduction
        ),
        weight=lambda g, grad, target, weight, total, ignore_index, reduction: _per_class(
            -_picked(g, target, ignore_index) * (_over(grad, total) if reduction == "mean" else grad),
            target,
            weight,
            ignore_index,
        ),
        total=lambda g, out, total, reduction: -_over((g * out).sum(), total) if reduction == "mean" else total * 0,
    ),
)(_nll_loss_grad)


def _picked(x: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """The element of each target's class (of an ignored one, of class 0)."""
    axis = _class_axis(x.ndim)
    return x.gather(axis, where(target == ignore_index, 0, target).unsqueeze(axis)).squeeze(axis)


def _per_class(values: Tensor, target: Tensor, weight: Tensor, ignore_index: int) -> Tensor:
    """The sum of the values of each class, without the ignored ones."""
    kept = target != ignore_index
    index = where(kept, target, 0).reshape(-1)
    return weight.new_zeros(tuple(weight.shape)).index_add(0, index, where(kept, values, 0.0).reshape(-1))


def _nll_of_weight(
    g: Sequence[Tensor], x: Tensor, target: Tensor, weight: Tensor, out: Tensor, total: Tensor, ignore_index: int,
    reduction: str,
) -> Tensor:  # fmt: skip
    of_out, of_total = g
    each = -_picked(x, target, ignore_index)
    if reduction == "mean":
        of_out, each = of_out / total, each - out
    return _per_class(of_out * each + of_total, target, weight, ignore_index)


def _nll_grad_back(
    g: Tensor, target: Tensor, weight: Tensor | None, total: Tensor, ignore_index: int, reduction: str
) -> Tensor:
    back = -_picked(g, target, ignore_index) * _weights(g, target, weight, ignore_index)[1]
    return back if reduction == "none" else _over(back.sum(), total) if reduction == "mean" else back.sum()


# -- cross entropy -----------------------------------------------------------------------------------
_CROSS = f"{_NLL}, smoothing: float"


def smoothed(
    log_probabilities: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str,
    smoothing: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """nll_loss of a target with 1 - smoothing of the probability, all classes sharing the rest.

    Szegedy et al., arXiv:1512.00567.
    """
    if smoothing == 0:
        return nll_loss_p(log_probabilities, target, weight, ignore_index, reduction)
    axis = _class_axis(log_probabilities.ndim)
    losses, total = nll_loss_p(log_probabilities, target, weight, ignore_index, "none")
    weights = weight if weight is None or axis == 0 else per_channel(weight, log_probabilities.ndim)
    weighted = log_probabilities if weights is None else log_probabilities * weights
    spread = where(target == ignore_index, 0.0, -weighted.sum(axis))
    share = smoothing / log_probabilities.shape[axis]
    if reduction == "mean":
        return (losses.sum() * (1 - smoothing) + spread.sum() * share) / total, total
    losses = losses * (1 - smoothing) + spread * share
    return (losses.sum() if reduction == "sum" else losses), total


def _cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int, reduction: str, smoothing: float
) -> tuple[Tensor, Tensor]:
    return smoothed(log_softmax_p(x, _class_axis(x.ndim)), target, weight, ignore_index, reduction, smoothing)


_OPTIONS = ("ignore_index", "reduction", "smoothing")
_with_weight = gradient_of(_cross_entropy, ("x", "target", "weight"), ("x", "weight"), _OPTIONS)


def _cross_entropy_vjp(
    g: Sequence[Tensor], needs: Sequence[bool], x: Tensor, target: Tensor, weight: Tensor | None, total: Tensor,
    ignore_index: int, reduction: str, smoothing: float,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    options = dict(ignore_index=ignore_index, reduction=reduction, smoothing=smoothing)
    if needs[1]:
        return _with_weight(*g, x, target, weight, **options)
    return cross_entropy_grad_p(g[0], x, target, weight, total, **options), None


@composite(
    f"cross_entropy(x: Tensor, target: Tensor, weight: Tensor?, *, {_CROSS}) -> (out: Tensor, total: Tensor)",
    autocast="float32",
    infer=_nll_infer,
    dtype=floats,
    kinds={"target": "index"},
    check=True,
    public=False,
    vjp=_cross_entropy_vjp,
)
def cross_entropy_p(
    x: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int, reduction: str, smoothing: float
) -> tuple[Tensor, Tensor]:
    """nll_loss of log_softmax(x) with smoothed targets, and the sum of the weights.

    For devices with a kernel that keeps no log probabilities; elsewhere it is composed, and they are.
    """
    return _cross_entropy(x, target, weight, ignore_index=ignore_index, reduction=reduction, smoothing=smoothing)


def _cross_entropy_grad(
    grad: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, total: Tensor, *, ignore_index: int,
    reduction: str, smoothing: float,
) -> Tensor:  # fmt: skip
    axis = _class_axis(x.ndim)
    safe, weights = _weights(x, target, weight, ignore_index)
    g = _over(grad, total) if reduction == "mean" else grad
    first = g * weights * (1 - smoothing)
    every = where(target == ignore_index, 0.0, g * (smoothing / x.shape[axis]))
    all_weights = x.new_tensor(x.shape[axis]) if weight is None else weight.sum()
    found = softmax_p(x, axis) * (first + every * all_weights).unsqueeze(axis)
    of_all = every.unsqueeze(axis)
    found = found - (of_all if weight is None else of_all * (per_channel(weight, x.ndim) if axis else weight))
    return found.scatter_add(axis, safe.unsqueeze(axis), -first.unsqueeze(axis))


cross_entropy_grad_p: OpFunction[Tensor] = composite(
    "cross_entropy_grad(grad: Tensor, x: Tensor, target: Tensor, weight: Tensor?, total: Tensor, *, "
    f"{_CROSS}) -> Tensor",
    infer=lambda grad, x, *others, **p: x,
    dtype=floats,
    kinds={"target": "index"},
    public=False,
    doc="The gradient of cross_entropy for its input.",
    vjp=through_body(_cross_entropy_grad, ("grad", "x", "target", "weight", "total"), _OPTIONS, ["target"]),
)(_cross_entropy_grad)


def cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    """The cross entropy of scores and classes: one op where the device has it, else nll_loss of log_softmax."""
    if served(cross_entropy_p, x):
        return cross_entropy_p(x, target, weight, ignore_index, reduction, smoothing)[0]
    return smoothed(log_softmax_p(x, _class_axis(x.ndim)), target, weight, ignore_index, reduction, smoothing)[0]
