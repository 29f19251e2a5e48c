"""Convolutions of any number of dimensions and both their gradients, each a matmul over windows of its input.

The three are each other's gradients: conv_grad_input is also the transposed convolution. Shapes: input
(N, C, *S), weight (O, C / groups, *K), result (N, O, *L).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import cj
from flambeau.core.ops.nn.rules import Shape, all_but_channel, products
from flambeau.core.ops.storage import pad_p
from flambeau.core.tensor import Tensor


def conv_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _conv_infer(
    x: Shape, weight: Shape, bias: Shape | None, *, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> Shape:
    n = len(weight) - 2
    name, where = f"conv{n}d", f"input of shape {tuple(x)} and weight of shape {tuple(weight)}"
    if n < 1 or len(x) != len(weight):
        raise ShapeError(f"conv: input must be (N, C, *sizes) and weight (O, C / groups, *kernel), got {where}")
    if groups < 1 or weight[0] < groups or weight[0] % groups or x[1] != weight[1] * groups:
        raise ShapeError(
            f"{name}: {where} do not fit with groups={groups}: the input has {x[1]} channels, "
            f"the weight takes {weight[1] * groups}, and its {weight[0]} output channels must divide by groups"
        )
    if bias is not None and tuple(bias) != (weight[0],):
        raise ShapeError(
            f"{name}: bias of shape {tuple(bias)} must be ({weight[0]},), one per output channel of weight "
            f"{tuple(weight)}"
        )
    for option, value, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        if len(value) != n or any(v < least for v in value):
            raise ShapeError(f"{name}: {option} must be {n} numbers of at least {least}, got {tuple(value)}")
    sizes = tuple(map(conv_size, x[2:], weight[2:], stride, padding, dilation))
    if any(s < 1 for s in sizes) or 0 in weight[2:] or 0 in x[2:]:
        raise ShapeError(
            f"{name}: the kernel does not fit into {where} with padding={tuple(padding)} and dilation={tuple(dilation)}"
        )
    return (x[0], weight[0], *sizes)


# -- pieces ------------------------------------------------------------------------------------------
def padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0) -> Tensor:
    """Space (negative: less) before and after along the axes from 2."""
    widths = ((0, 0), (0, 0), *zip(before, after, strict=True))
    return pad_p(x, widths=widths, value=value) if any(a or b for a, b in widths) else x


def windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """A view (N, C, *L, *K) of (N, C, *S): every window of every place."""
    for i, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + i, d * (k - 1) + 1, s)
        if d > 1:
            x = x[..., ::d]
    return x


def spread(x: Tensor, stride: Sequence[int]) -> Tensor:
    """The input (N, C, *L) as (N, C, *(L * stride)), every element followed by stride - 1 zeros."""
    n = len(stride)
    if all(s == 1 for s in stride):
        return x
    lead, sizes = x.shape[:2], x.shape[2:]
    x = x.reshape(*lead, *(v for size in sizes for v in (size, 1)))
    widths = ((0, 0), (0, 0), *(w for s in stride for w in ((0, 0), (0, s - 1))))
    return pad_p(x, widths=widths, value=0).reshape(*lead, *(sizes[i] * stride[i] for i in range(n)))


def grouped_windows(x: Tensor, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int) -> Tensor:
    """Windows as a view (N, groups, C / groups, *L, *K)."""
    w = windows(padded(x, padding, padding), kernel, stride, dilation)
    return w.reshape(w.shape[0], groups, w.shape[1] // groups, *w.shape[2:])


# -- the three ---------------------------------------------------------------------------------------
_OPTIONS = "stride: Ints, padding: Ints, dilation: Ints, groups: int"


@composite(
    f"conv(x: Tensor, weight: Tensor, bias: Tensor?, *, {_OPTIONS}) -> Tensor",
    autocast="low",
    infer=_conv_infer,
    dtype=products,
    check=True,
    public=False,
    vjp=dict(
        x=lambda g, weight, x_shape, stride, padding, dilation, groups: conv_grad_input_p(
            g, cj(weight), tuple(x_shape), stride, padding, dilation, groups
        ),
        weight=lambda g, x, weight_shape, stride, padding, dilation, groups: conv_grad_weight_p(
            g, cj(x), tuple(weight_shape), stride, padding, dilation, groups
        ),
        bias=lambda g: g.sum(dim=all_but_channel(g.ndim)),
    ),
)
def conv_p(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> Tensor:
    """Cross-correlation of ``x`` (N, C, *S) with ``weight`` (O, C / groups, *K), plus ``bias`` (O,)."""
    out_channels, per_group, *kernel = weight.shape
    n, rows = len(kernel), per_group * math.prod(kernel)
    w = grouped_windows(x, tuple(kernel), stride, padding, dilation, groups)
    sizes = w.shape[3 : 3 + n]
    columns = w.permute(0, 1, 2, *range(3 + n, 3 + 2 * n), *range(3, 3 + n)).reshape(
        x.shape[0], groups, rows, math.prod(sizes)
    )
    out = (weight.reshape(groups, out_channels // groups, rows) @ columns).reshape(x.shape[0], out_channels, *sizes)
    return out if bias is None else out + bias.reshape(-1, *[1] * n)


def _conv_grad_input(
    grad: Tensor, weight: Tensor, *, shape: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> Tensor:
    """The gradient of conv for an input of ``shape``: a convolution of the spread gradient with the turned weight."""
    out_channels, per_group, *kernel = weight.shape
    n = len(kernel)
    turned = weight.reshape(groups, out_channels // groups, per_group, *kernel).transpose(1, 2)
    turned = turned.flip(*range(3, 3 + n)).reshape(groups * per_group, out_channels // groups, *kernel)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    before = [r - p for r, p in zip(reach, padding, strict=True)]
    wide = spread(grad, stride)
    after = [size + r - b - have for size, r, b, have in zip(shape[2:], reach, before, wide.shape[2:], strict=True)]
    ones, zeros = (1,) * n, (0,) * n
    return conv_p(padded(wide, before, after), turned, None, ones, zeros, tuple(dilation), groups)


conv_grad_input_p: OpFunction[Tensor] = composite(
    f"conv_grad_input(grad: Tensor, weight: Tensor, *, shape: Ints, {_OPTIONS}) -> Tensor",
    infer=lambda grad, weight, *, shape, **p: shape,
    dtype=products,
    public=False,
    vjp=dict(
        grad=lambda g, weight, stride, padding, dilation, groups: conv_p(
            g, cj(weight), None, stride, padding, dilation, groups
        ),
        weight=lambda g, grad, weight_shape, stride, padding, dilation, groups: conv_grad_weight_p(
            cj(grad), g, tuple(weight_shape), stride, padding, dilation, groups
        ),
    ),
)(_conv_grad_input)


def _conv_grad_weight(
    grad: Tensor, x: Tensor, *, shape: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> Tensor:
    """The gradient of conv for a weight of ``shape``: the gradient times the windows of the input."""
    batch, out_channels = grad.shape[:2]
    n, rows, places = len(shape) - 2, math.prod(shape[1:]), math.prod(grad.shape[2:])
    w = grouped_windows(x, shape[2:], stride, padding, dilation, groups)
    w = w.permute(1, *range(3, 3 + n), 0, 2, *range(3 + n, 3 + 2 * n)).reshape(groups, places * batch, rows)
    g = grad.reshape(batch, groups, out_channels // groups, places).permute(1, 2, 3, 0)
    return (g.reshape(groups, out_channels // groups, places * batch) @ w).reshape(tuple(shape))


conv_grad_weight_p: OpFunction[Tensor] = composite(
    f"conv_grad_weight(grad: Tensor, x: Tensor, *, shape: Ints, {_OPTIONS}) -> Tensor",
    infer=lambda grad, x, *, shape, **p: shape,
    dtype=products,
    public=False,
    vjp=dict(
        grad=lambda g, x, stride, padding, dilation, groups: conv_p(cj(x), g, None, stride, padding, dilation, groups),
        x=lambda g, grad, x_shape, stride, padding, dilation, groups: conv_grad_input_p(
            cj(grad), g, tuple(x_shape), stride, padding, dilation, groups
        ),
    ),
)(_conv_grad_weight)
