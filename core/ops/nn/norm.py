"""Normalisation: over the last axes (layer_norm, rms_norm) and per channel over a batch (batch_norm).

Variances are the mean square of the centred values (two passes), biased as in the papers: Ba, Kiros and
Hinton, arXiv:1607.06450; Zhang and Sennrich, arXiv:1910.07467; Ioffe and Szegedy, arXiv:1502.03167.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core.autocast import autocasting
from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import elementwise, rsqrt_p
from flambeau.core.ops.nn.rules import Shape, all_but_channel, floats, normalised, per_channel, served, through_body
from flambeau.core.record import Infer
from flambeau.core.tensor import Tensor


def _normalised_infer(name: str) -> Infer:
    def infer(
        x: Shape, weight: Shape | None, bias: Shape | None = None, *, normalized_shape: Shape, **p: object
    ) -> Shape:
        wanted = tuple(normalized_shape)
        if not wanted or tuple(x[-len(wanted) :]) != wanted:
            raise ShapeError(f"{name}: normalized_shape {wanted} must be the last sizes of input of shape {tuple(x)}")
        for which, s in (("weight", weight), ("bias", bias)):
            if s is not None and tuple(s) != wanted:
                raise ShapeError(f"{name}: {which} of shape {tuple(s)} must have normalized_shape {wanted}")
        return x

    return infer


def _gradient_infer(
    grad: Shape, x: Shape, weight: Shape | None, *, normalized_shape: Shape, eps: float
) -> tuple[Shape, Shape, Shape]:
    return x, tuple(normalized_shape), tuple(normalized_shape)


def _last(normalized_shape: Shape) -> Shape:
    return tuple(range(-len(normalized_shape), 0))


def _over_rows(x: Tensor, count: int) -> Tensor:
    """The sum over every axis but the last ``count``."""
    lead = tuple(range(x.ndim - count))
    return x.sum(dim=lead) if lead else x


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


# -- layer_norm --------------------------------------------------------------------------------------
def _standard(x: Tensor, axes: Shape, eps: float) -> tuple[Tensor, Tensor]:
    """``x`` with mean 0 and variance 1 over ``axes``, and one over its standard deviation."""
    centred = x - x.mean(dim=axes, keepdim=True)
    rstd = rsqrt_p(centred.square().mean(dim=axes, keepdim=True) + eps)
    return centred * rstd, rstd


@composite(
    "layer_norm(x: Tensor, weight: Tensor?, bias: Tensor?, *, normalized_shape: Ints, eps: float) -> Tensor",
    autocast="first|float32",
    infer=_normalised_infer("layer_norm"),
    dtype=normalised,
    check=True,
    public=False,
    vjp=lambda g, needs, x, weight, normalized_shape, eps: layer_norm_grad_p(g, x, weight, normalized_shape, eps),
)
def layer_norm_p(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, normalized_shape: Shape, eps: float
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose sizes are ``normalized_shape``."""
    return _scaled(_standard(x, _last(normalized_shape), eps)[0], weight, bias)


def _layer_norm_grad(
    grad: Tensor, x: Tensor, weight: Tensor | None, *, normalized_shape: Shape, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    axes = _last(normalized_shape)
    standard, rstd = _standard(x, axes, eps)
    inner = grad if weight is None else grad * weight
    along = (inner * standard).mean(dim=axes, keepdim=True)
    of_x = rstd * (inner - inner.mean(dim=axes, keepdim=True) - standard * along)
    return of_x, _over_rows(grad * standard, len(axes)), _over_rows(grad, len(axes))


layer_norm_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "layer_norm_grad(grad: Tensor, x: Tensor, weight: Tensor?, *, normalized_shape: Ints, eps: float)"
    " -> (of_x: Tensor, of_weight: Tensor, of_bias: Tensor)",
    infer=_gradient_infer,
    dtype=floats,
    public=False,
    doc="The gradients of layer_norm for its input, weight and bias.",
    vjp=through_body(_layer_norm_grad, ("grad", "x", "weight"), ("normalized_shape", "eps")),
)(_layer_norm_grad)


# -- rms_norm ----------------------------------------------------------------------------------------
def _by_rms(x: Tensor, axes: Shape, eps: float) -> tuple[Tensor, Tensor]:
    rrms = rsqrt_p(x.square().mean(dim=axes, keepdim=True) + eps)
    return x * rrms, rrms


@composite(
    "rms_norm(x: Tensor, weight: Tensor?, *, normalized_shape: Ints, eps: float) -> Tensor",
    autocast="first|float32",
    infer=_normalised_infer("rms_norm"),
    dtype=floats,
    check=True,
    public=False,
    vjp=lambda g, needs, x, weight, normalized_shape, eps: rms_norm_grad_p(g, x, weight, normalized_shape, eps),
)
def rms_norm_p(x: Tensor, weight: Tensor | None, *, normalized_shape: Shape, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last axes, whose sizes are ``normalized_shape``."""
    return by_rms(x, weight, normalized_shape, eps)


def by_rms(x: Tensor, weight: Tensor | None, normalized_shape: Shape, eps: float) -> Tensor:
    """What rms_norm computes, in ops."""
    return _scaled(_by_rms(x, _last(normalized_shape), eps)[0], weight)


def _rms_norm_grad(
    grad: Tensor, x: Tensor, weight: Tensor | None, *, normalized_shape: Shape, eps: float
) -> tuple[Tensor, Tensor]:
    axes = _last(normalized_shape)
    standard, rrms = _by_rms(x, axes, eps)
    inner = grad if weight is None else grad * weight
    of_x = rrms * (inner - standard * (inner * standard).mean(dim=axes, keepdim=True))
    return of_x, _over_rows(grad * standard, len(axes))


rms_norm_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "rms_norm_grad(grad: Tensor, x: Tensor, weight: Tensor?, *, normalized_shape: Ints, eps: float)"
    " -> (of_x: Tensor, of_weight: Tensor)",
    infer=lambda *shapes, **p: _gradient_infer(*shapes, **p)[:2],
    dtype=floats,
    public=False,
    doc="The gradients of rms_norm for its input and weight.",
    vjp=through_body(_rms_norm_grad, ("grad", "x", "weight"), ("normalized_shape", "eps")),
)(_rms_norm_grad)


# -- group_norm --------------------------------------------------------------------------------------
def _group_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, groups: int, eps: float) -> Tensor:
    rows = x.reshape(x.shape[0], groups, -1)
    out = layer_norm_p(rows, None, None, (rows.shape[-1],), eps).reshape(tuple(x.shape))
    return _scaled(out, per_channel(weight, x.ndim), per_channel(bias, x.ndim))


@composite(
    "group_norm(x: Tensor, weight: Tensor?, bias: Tensor?, *, groups: int, eps: float) -> Tensor",
    autocast="first|float32",
    infer=lambda x, weight, bias, **p: x,
    dtype=normalised,
    public=False,
    vjp=lambda g, needs, x, weight, groups, eps: group_norm_grad_p(g, x, weight, groups, eps),
)
def group_norm_p(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, groups: int, eps: float) -> Tensor:
    """The input (N, C, ...) normalised over each group of channels, for devices with a kernel of its own."""
    return _group_norm(x, weight, bias, groups=groups, eps=eps)


@autocasting("first|float32")
def group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """The same: one op where the device has it, else layer_norm of the groups."""
    if served(group_norm_p, x):
        return group_norm_p(x, weight, bias, groups, eps)
    return _group_norm(x, weight, bias, groups=groups, eps=eps)


def _group_norm_grad(
    grad: Tensor, x: Tensor, weight: Tensor | None, *, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    rows = (x.shape[0], groups, -1)
    standard, rstd = _standard(x.reshape(rows), (-1,), eps)
    inner = (grad if weight is None else grad * per_channel(weight, x.ndim)).reshape(rows)
    along = (inner * standard).mean(dim=-1, keepdim=True)
    of_x = rstd * (inner - inner.mean(dim=-1, keepdim=True) - standard * along)
    axes = all_but_channel(x.ndim)
    return of_x.reshape(tuple(x.shape)), (grad * standard.reshape(tuple(x.shape))).sum(dim=axes), grad.sum(dim=axes)


group_norm_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "group_norm_grad(grad: Tensor, x: Tensor, weight: Tensor?, *, groups: int, eps: float)"
    " -> (of_x: Tensor, of_weight: Tensor, of_bias: Tensor)",
    infer=lambda grad, x, weight, **p: (x, x[1:2], x[1:2]),
    dtype=floats,
    public=False,
    doc="The gradients of group_norm for its input, weight and bias.",
    vjp=through_body(_group_norm_grad, ("grad", "x", "weight"), ("groups", "eps")),
)(_group_norm_grad)


# -- batch_norm --------------------------------------------------------------------------------------
#: (x - mean) * scale + shift, the values of a channel broadcast: one pass.
scale_shift_p = elementwise(
    "scale_shift(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor",
    "(x - mean) * scale + shift",
    dtype=floats,
    public=False,
    inplace=False,
    vjp=dict(
        x=lambda g, scale: g * scale,
        mean=lambda g, scale: -(g * scale),
        scale=lambda g, x, mean: g * (x - mean),
        shift=lambda g: g,
    ),
)
#: grad * scale + (x - mean) * slope + shift: the gradient of batch_norm from values per channel, one pass.
scale_shift_grad_p = elementwise(
    "scale_shift_grad(grad: Tensor, scale: Tensor, x: Tensor, mean: Tensor, slope: Tensor, shift: Tensor) -> Tensor",
    "grad * scale + (x - mean) * slope + shift",
    dtype=floats,
    public=False,
    inplace=False,
    vjp=dict(
        grad=lambda g, scale: g * scale,
        scale=lambda g, grad: g * grad,
        x=lambda g, slope: g * slope,
        mean=lambda g, slope: -(g * slope),
        slope=lambda g, x, mean: g * (x - mean),
        shift=lambda g: g,
    ),
)


def _batch_norm_infer(x: Shape, weight: Shape | None, bias: Shape | None, *, eps: float) -> tuple[Shape, Shape, Shape]:
    if len(x) < 2:
        raise ShapeError(f"batch_norm: input must be (N, C, ...), got shape {tuple(x)}")
    for name, s in (("weight", weight), ("bias", bias)):
        if s is not None and tuple(s) != (x[1],):
            raise ShapeError(f"batch_norm: {name} of shape {tuple(s)} must be ({x[1]},) for input of shape {tuple(x)}")
    return x, (x[1],), (x[1],)


def _batch_norm_vjp(
    g: Sequence[Tensor], needs: Sequence[bool], x: Tensor, weight: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Everything per channel first, so that the gradient of x is one pass (and those of mean and var cost nothing)."""
    total, dot = batch_norm_sums_p(g[0], x, mean)
    rstd = rsqrt_p(var + eps)
    count = math.prod(x.shape) // max(x.shape[1], 1)
    of_x = None
    if needs[0]:
        scale = rstd if weight is None else weight * rstd
        slope = (2 * g[2] - scale * rstd * rstd * dot) / count
        shift = (g[1] - scale * total) / count
        of_x = scale_shift_grad_p(
            g[0], *(per_channel(v, x.ndim) if v is not x else v for v in (scale, x, mean, slope, shift))
        )
    return of_x, dot * rstd, total


@composite(
    "batch_norm(x: Tensor, weight: Tensor?, bias: Tensor?, *, eps: float) -> (out: Tensor, mean: Tensor, var: Tensor)",
    infer=_batch_norm_infer,
    dtype=normalised,
    check=True,
    public=False,
    vjp=_batch_norm_vjp,
)
def batch_norm_p(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The input (N, C, ...) normalised by each channel's mean and biased variance, and those two."""
    axes = all_but_channel(x.ndim)
    mean = x.mean(dim=axes)
    var = (x - per_channel(mean, x.ndim)).square().mean(dim=axes)
    return normalised_by(x, mean, var, weight, bias, eps), mean, var


def normalised_by(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """The input (N, C, ...) normalised by given values per channel."""
    rstd = rsqrt_p(var + eps)
    scale = rstd if weight is None else weight * rstd
    return scale_shift_p(
        x, *(per_channel(v, x.ndim) for v in (mean, scale)), 0.0 if bias is None else per_channel(bias, x.ndim)
    )


def _given_infer(x: Shape, mean: Shape, var: Shape, weight: Shape | None, bias: Shape | None, *, eps: float) -> Shape:
    return x


def _given_vjp(
    g: Tensor, needs: Sequence[bool], x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor | None, ...]:
    """One pass for the gradient of x, one for all others."""
    rstd = rsqrt_p(var + eps)
    scale = rstd if weight is None else weight * rstd
    of_x = g * per_channel(scale, x.ndim) if needs[0] else None
    if not any(needs[1:]):
        return of_x, None, None, None, None
    total, dot = batch_norm_sums_p(g, x, mean)
    of_mean = -scale * total if needs[1] else None
    of_var = scale * rstd * rstd * dot * -0.5 if needs[2] else None
    return of_x, of_mean, of_var, dot * rstd, total


@composite(
    "batch_norm_given(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor?, bias: Tensor?, *, eps: float) -> Tensor",
    infer=_given_infer,
    dtype=floats,
    public=False,
    vjp=_given_vjp,
)
def batch_norm_given_p(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float
) -> Tensor:
    """The input (N, C, ...) normalised by given values per channel, all of one dtype."""
    return normalised_by(x, mean, var, weight, bias, eps)


def _sums(grad: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    axes = all_but_channel(x.ndim)
    return grad.sum(dim=axes), (grad * (x - per_channel(mean, x.ndim))).sum(dim=axes)


batch_norm_sums_p = composite(
    "batch_norm_sums(grad: Tensor, x: Tensor, mean: Tensor) -> (total: Tensor, dot: Tensor)",
    infer=lambda grad, x, mean: ((x[1],), (x[1],)),
    dtype=floats,
    public=False,
    doc="Per channel of (N, C, ...): the sum of ``grad``, and of ``grad * (x - mean)``.",
    vjp=through_body(_sums, ("grad", "x", "mean")),
)(_sums)
