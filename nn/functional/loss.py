"""Losses of classes and of regression, in torch's signatures.

``reduction`` is "none" (a loss for each element), "mean" or "sum". The older arguments ``size_average`` and
``reduce`` are accepted and mean what they meant.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.blame import users_level
from flambeau.core.creation import full_like
from flambeau.core.errors import DTypeError, ShapeError, not_a_tensor
from flambeau.core.ops.elementwise import abs_p, exp_p, log_p, where, xlogy_p
from flambeau.core.ops.nn import loss as ops
from flambeau.core.ops.nn.softmax import log_softmax as log_softmax_of
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import domain
from flambeau.nn.functional.guard import quick


def reduction_of(
    reduction: str, size_average: bool | None = None, reduce: bool | None = None, also: tuple[str, ...] = ()
) -> str:
    """The reduction that the arguments ask for; ValueError for another word."""
    if size_average is not None or reduce is not None:
        words = "size_average and reduce are deprecated, use reduction instead"
        warnings.warn(words, UserWarning, stacklevel=users_level())
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    if reduction not in ("none", "mean", "sum", *also):
        raise ValueError(f"{reduction!r} is not a valid value for reduction; it is 'none', 'mean' or 'sum'")
    return reduction


def _check_tensors(name: str, input: Any, target: Any) -> None:
    for argument, value in (("input", input), ("target", target)):
        if not isinstance(value, Tensor):
            raise not_a_tensor(name, argument, value, "a tensor")


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The losses by themselves, their mean or their sum."""
    if reduction == "mean":
        return losses.mean()
    return losses.sum() if reduction == "sum" else losses


def _warn_broadcast(name: str, input: Tensor, target: Tensor) -> None:
    _check_tensors(name, input, target)
    if input.shape != target.shape:
        warnings.warn(
            f"{name}: using a target size {tuple(target.shape)} that is different to the input size "
            f"{tuple(input.shape)}. "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            UserWarning,
            stacklevel=users_level(),
        )


# -- regression --------------------------------------------------------------------------------------
def _weighted(losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return reduced(losses, reduction)
    if not isinstance(weight, Tensor):
        raise TypeError(f"loss: argument 'weight' must be a Tensor or None, got {weight!r} ({type(weight).__name__})")
    losses = losses * weight
    return losses.sum() / weight.expand_as(losses).sum() if reduction == "mean" else reduced(losses, reduction)


@quick
@autocasting("float32")
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(input - target)², averaged.

    >>> fb.nn.functional.mse_loss(fb.tensor([1.0, 3.0]), fb.tensor([1.0, 1.0]))
    tensor(2.)
    """
    how = reduction_of(reduction, size_average, reduce)
    _warn_broadcast("mse_loss", input, target)
    return _weighted(ops.squared_error_p(input, target), weight, how)


@quick
@autocasting("float32")
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """abs(input - target), averaged.

    >>> fb.nn.functional.l1_loss(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))
    tensor(0.7500)
    """
    how = reduction_of(reduction, size_average, reduce)
    _warn_broadcast("l1_loss", input, target)
    if input.dtype.category == target.dtype.category == dt.FLOATING:
        return _weighted(ops.absolute_error_p(input, target), weight, how)
    domain.check_numbers("l1_loss", input=input, target=target)
    return _weighted(abs_p(input - target), weight, how)


@autocasting("float32")
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """0.5 d² / beta where d = abs(input - target) is below ``beta``, d - 0.5 beta elsewhere.

    >>> fb.nn.functional.smooth_l1_loss(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))
    tensor(0.3125)
    """
    how = reduction_of(reduction, size_average, reduce)
    if not beta >= 0:
        raise RuntimeError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    _warn_broadcast("smooth_l1_loss", input, target)
    domain.check_floating("smooth_l1_loss", input=input)
    if beta == 0:
        return reduced(ops.absolute_error_p(input, target), how)
    return reduced(ops.huber_error_p(input, target, beta), how) / beta


@autocasting("float32")
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """0.5 d² where d = abs(input - target) is below ``delta``, delta (d - 0.5 delta) elsewhere.

    >>> fb.nn.functional.huber_loss(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))
    tensor(0.3125)
    """
    how = reduction_of(reduction)
    if isinstance(delta, complex):
        raise TypeError(f"huber_loss: delta must be a float or int, got {delta!r}")
    if not delta > 0:
        raise RuntimeError(f"huber_loss: delta must be positive, got {delta}")
    _warn_broadcast("huber_loss", input, target)
    domain.check_floating("huber_loss", input=input)
    return _weighted(ops.huber_error_p(input, target, delta), weight, how)


# -- classes -----------------------------------------------------------------------------------------
@autocasting("float32")
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Minus the log probabilities (N, C, ...) of the target classes (N, ...), weighted per class.

    >>> fb.nn.functional.nll_loss(fb.zeros(2, 4), fb.tensor([0, 3]))
    tensor(0.)
    """
    how = reduction_of(reduction, size_average, reduce)
    _check_tensors("nll_loss", input, target)
    domain.check_classes("nll_loss", target)
    domain.check_one_dtype("nll_loss", input, weight=weight)
    out, _ = ops.nll_loss_p(input, target, weight, ignore_index, how)
    return out


@autocasting("float32")
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """The cross entropy of scores (N, C, ...) and classes (N, ...), or probabilities of the shape of the scores.

    >>> fb.nn.functional.cross_entropy(fb.zeros(2, 4), fb.tensor([0, 3]))
    tensor(1.3863)
    """
    how = reduction_of(reduction, size_average, reduce)
    _check_tensors("cross_entropy", input, target)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    if input.ndim == 0:
        raise ShapeError("cross_entropy: input must have at least one dimension, the classes; got a 0-d tensor")
    axis = 1 if input.ndim > 1 else 0
    if tuple(target.shape) == tuple(input.shape) and target.dtype.category == dt.FLOATING:
        if ignore_index >= 0:
            raise RuntimeError(f"cross_entropy: ignore_index={ignore_index} is not for probabilities as target")
        return _of_probabilities(log_softmax_of(input, axis), target, weight, how, label_smoothing, axis)
    _check_classes(input, target)
    domain.check_classes("cross_entropy", target)
    domain.check_one_dtype("cross_entropy", input, weight=weight)
    return ops.cross_entropy(input, target, weight, ignore_index, how, label_smoothing)


def _check_classes(input: Tensor, target: Tensor) -> None:
    shape, given = tuple(input.shape), tuple(target.shape)
    wanted = shape[:1] + shape[2:] if len(shape) > 1 else ()
    either = f"class numbers, an integer tensor of shape {wanted}, or probabilities, a floating one of shape {shape}"
    if target.dtype.category != dt.INTEGER:
        hint = "; target.long() makes integers" if given == wanted else ""
        raise DTypeError(f"cross_entropy: target of dtype {target.dtype.name} and shape {given} must be {either}{hint}")
    if given != wanted:
        hint = "; target.squeeze(1) fits" if given == (*wanted[:1], 1, *wanted[1:]) else ""
        hint = "; target.float() makes probabilities of a one-hot target" if given == shape else hint
        raise ShapeError(f"cross_entropy: target of shape {given} must be {either}{hint}")


def _class_weights(weight: Tensor, ndim: int) -> Tensor:
    return weight.reshape(-1, *[1] * (ndim - 2)) if ndim > 1 else weight


def _of_probabilities(
    log_probabilities: Tensor, target: Tensor, weight: Tensor | None, how: str, smoothing: float, axis: int
) -> Tensor:
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / target.shape[axis]
    products = log_probabilities * target
    if weight is not None:
        products = products * _class_weights(weight, target.ndim)
    return reduced(-products.sum(axis), how)


def _check_same(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(
            f"{name}: target of shape {tuple(target.shape)} must be the same as input of shape {tuple(input.shape)}; "
            "reshape one of them, for example with unsqueeze"
        )


@autocasting("float32|raises")
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-(target log(input) + (1 - target) log(1 - input)), logarithms at least -100.

    >>> fb.nn.functional.binary_cross_entropy(fb.tensor([0.5]), fb.tensor([1.0]))
    tensor(0.6931)
    """
    how = reduction_of(reduction, size_average, reduce)
    _check_same("binary_cross_entropy", input, target)
    domain.check_floating("binary_cross_entropy", input=input)
    domain.check_one_dtype("binary_cross_entropy", input, target=target)
    domain.check_within("binary_cross_entropy", input, weight=weight)
    domain.check_between("binary_cross_entropy", "input", input, 0, 1)
    domain.check_between("binary_cross_entropy", "target", target, 0, 1)
    losses = ops.cross_entropy_of_probability_p(input, target)
    return reduced(losses if weight is None else losses * weight, how)


@autocasting("float32")
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """binary_cross_entropy of sigmoid(input), without overflow; ``pos_weight`` weighs the positive targets.

    >>> fb.nn.functional.binary_cross_entropy_with_logits(fb.tensor([0.0]), fb.tensor([1.0]))
    tensor(0.6931)
    """
    how = reduction_of(reduction, size_average, reduce)
    _check_same("binary_cross_entropy_with_logits", input, target)
    domain.check_floating("binary_cross_entropy_with_logits", input=input, target=target)
    domain.check_within("binary_cross_entropy_with_logits", input, weight=weight, pos_weight=pos_weight)
    losses = ops.cross_entropy_of_logit_p(input, target, 1.0 if pos_weight is None else pos_weight)
    return reduced(losses if weight is None else losses * weight, how)


# -- distributions -----------------------------------------------------------------------------------
@autocasting("float32")
def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target (log(target) - input), where ``input`` holds log probabilities; "batchmean" divides by the batch only.

    >>> fb.nn.functional.kl_div(fb.zeros(1, 2), fb.ones(1, 2), reduction="batchmean")
    tensor(0.)
    """
    how = reduction_of(reduction, size_average, reduce, ("batchmean",))
    for argument, t in (("input", input), ("target", target)):
        if t.dtype.category == dt.COMPLEX:
            raise DTypeError(f"kl_div: {argument} must be real, got {t.dtype.name}")
    if input.dtype.category < dt.FLOATING:
        raise DTypeError(f"kl_div: input must be a floating tensor of log probabilities, got {input.dtype.name}")
    losses = exp_p(target) * (target - input) if log_target else xlogy_p(target, target) - target * input
    if how == "batchmean":
        return losses.sum() / (input.shape[0] if input.ndim else 1)
    return reduced(losses, how)


@autocasting("float32")
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """exp(input) - target input (or of rates, with ``log_input=False``); ``full`` adds Stirling's term.

    >>> fb.nn.functional.poisson_nll_loss(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))
    tensor(3.2689)
    """
    how = reduction_of(reduction, size_average, reduce)
    losses = exp_p(input) - target * input if log_input else input - target * log_p(input + eps)
    if full:
        stirling = target * log_p(target) - target + 0.5 * log_p(2 * math.pi * target)
        losses = losses + where(target > 1, stirling, 0.0)
    return reduced(losses, how)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """0.5 (log(var) + (input - target)² / var); ``full`` adds the constant.

    >>> fb.nn.functional.gaussian_nll_loss(fb.zeros(2), fb.ones(2), fb.ones(2))
    tensor(0.5000)
    """
    how = reduction_of(reduction)
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError(f"gaussian_nll_loss: var has negative entry {var}")
        filled: Tensor = full_like(input, var)
        var = filled
    elif (found := domain.bounds(var)) is not None and found[0] < 0:
        raise ValueError(f"gaussian_nll_loss: var has negative entry {found[0]}")
    if tuple(var.shape) != tuple(input.shape):
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif input.ndim != var.ndim or [v for s, v in zip(input.shape, var.shape, strict=True) if s != v] != [1]:
            raise ValueError(
                f"gaussian_nll_loss: var of shape {tuple(var.shape)} does not fit input of shape {tuple(input.shape)}"
            )
    var = var + (var.clamp(min=eps) - var).detach()  # its gradient passes where it is below eps too
    losses = 0.5 * (log_p(var) + (input - target).square() / var)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, how)
