"""Cases on the edges: of images, of the domain of activations and losses, of sizes and dtypes, in the torch API."""

from __future__ import annotations

import math
from typing import Any

from tests.recorded import Case, on_inputs

CASES: dict[str, Case] = {}

case = on_inputs(CASES)


def functions(name: str, fn: Any) -> None:
    """``fn(T, F, a)`` with F for nn.functional."""
    case(name, lambda T, a: fn(T, T.nn.functional, a))


def leaf(T: Any, a: Any, values: Any) -> Any:
    """A tensor of just these, to be differentiated by."""
    t = T.tensor(values, dtype=T.float64, requires_grad=True)
    a.leaves.append(t)
    return t


# -- grids -------------------------------------------------------------------------------------------------
_ON = [[-1, -1], [1, 0], [0, 1], [1, 1], [-1, 0.5], [3, -3], [0.5, -0.5], [-1.5, 1.5], [2, 0.25], [-2.5, -1.25]]


def _sample(T: Any, a: Any, n: int, mode: str, padding: str, corners: bool) -> Any:
    """At corners, edges, half elements and reflections of them."""
    rows = [row if n == 2 else [*row, row[0] / 2] for row in _ON]
    grid = leaf(T, a, [[rows]] if n == 2 else [[[rows]]])
    shape = (1, 1, 3, 4) if n == 2 else (1, 1, 2, 3, 4)
    return T.nn.functional.grid_sample(a.x(*shape), grid, mode, padding, corners)


for _padding in ("zeros", "border", "reflection"):
    for _corners in (False, True):
        for _n, _mode in ((2, "bilinear"), (2, "nearest"), (2, "bicubic"), (3, "bilinear"), (3, "nearest")):
            case(
                f"grid_sample {_n}d {_mode} {_padding} {_corners}",
                lambda T, a, n=_n, m=_mode, p=_padding, c=_corners: _sample(T, a, n, m, p, c),
            )
for _corners in (False, True):
    functions(
        f"affine_grid {_corners}",
        lambda T, F, a, c=_corners: F.affine_grid(a.x(1, 2, 3), (1, 1, 1, 3), align_corners=c),
    )
    for _mode in ("bilinear", "bicubic"):
        for _size in ((3, 2), (1, 9), (6, 5)):
            functions(
                f"interpolate {_mode} antialias {_size} {_corners}",
                lambda T, F, a, m=_mode, s=_size, c=_corners: F.interpolate(
                    a.x(1, 1, 6, 5), s, mode=m, align_corners=c, antialias=True
                ),
            )
functions(
    "interpolate bytes", lambda T, F, a: F.interpolate(a.ints(2, 1, 1, 3, 3).to(T.uint8) * 240, (2, 2), mode="bilinear")
)
for _mode in ("reflect", "replicate", "circular", "constant"):
    for _widths in ((2, -1), (-1, 2), (-2, 1), (-1, -2), (3, -3)):
        functions(f"pad {_mode} {_widths}", lambda T, F, a, m=_mode, w=_widths: F.pad(a.x(1, 1, 4), w, m))

# -- convolution -------------------------------------------------------------------------------------------
functions(
    "conv_transpose2d output padding beyond the stride",
    lambda T, F, a: F.conv_transpose2d(a.x(1, 2, 2, 3), a.x(2, 1, 2, 2), a.x(2), (3, 2), (1, 2), (2, 3), 2, 4),
)
functions(
    "conv_transpose1d output padding beyond the stride",
    lambda T, F, a: F.conv_transpose1d(a.x(2, 3), a.x(2, 2, 2), None, 1, 1, 2, dilation=3),
)
for _name in ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"):
    functions(
        f"{_name} of integers",
        lambda T, F, a, name=_name: getattr(F, name)(
            a.ints(9, 1, 2, *[3] * int(name[-2])), a.ints(5, 2, 2, *[2] * int(name[-2]), low=-4), a.ints(9, 2)
        ),
    )
for _dtype in ("int32", "uint8"):
    functions(
        f"conv2d of {_dtype}",
        lambda T, F, a, d=_dtype: F.conv2d(
            a.ints(9, 2, 3, 3).to(getattr(T, d)), a.ints(5, 1, 2, 2, 2).to(getattr(T, d))
        ),
    )
for _n in (1, 2, 3):
    functions(
        f"avg_pool{_n}d of integers",
        lambda T, F, a, n=_n: getattr(F, f"avg_pool{n}d")(a.ints(9, 1, 1, *[4] * n, low=-9), 3, 2, 1, True, False),
    )
functions("max_pool2d of integers", lambda T, F, a: F.max_pool2d(a.ints(9, 1, 4, 4), 2, return_indices=True))
functions("local_response_norm of integers", lambda T, F, a: F.local_response_norm(a.ints(9, 1, 4, 3), 2))

# -- activations -------------------------------------------------------------------------------------------
_CORNERS = [0, 0.5, -0.5, 1, -1, 6, 3, -3, math.inf, -math.inf]
for _name in ("relu6", "hardtanh", "softshrink", "hardshrink", "elu", "selu"):
    functions(f"{_name} at corners", lambda T, F, a, name=_name: getattr(F, name)(leaf(T, a, _CORNERS)))
for _name in ("relu", "leaky_relu"):
    functions(f"{_name} at corners", lambda T, F, a, name=_name: getattr(F, name)(leaf(T, a, [math.nan, *_CORNERS])))
for _dtype in ("int64", "int32", "uint8"):
    functions(f"relu6 of {_dtype}", lambda T, F, a, d=_dtype: F.relu6(a.ints(12, 6).to(getattr(T, d))))
functions("hardtanh of integers", lambda T, F, a: F.hardtanh(a.ints(5, 6, low=-4), -0.5, 2.5))
functions("prelu 0-d", lambda T, F, a: F.prelu(leaf(T, a, -2.0), a.x(1)))

# -- losses ------------------------------------------------------------------------------------------------
functions(
    "margin_ranking_loss even",
    lambda T, F, a: F.margin_ranking_loss(leaf(T, a, [1.0, 2]), leaf(T, a, [1.0, 2]), T.ones(2)),
)
functions("hinge_embedding_loss even", lambda T, F, a: F.hinge_embedding_loss(leaf(T, a, [1.0, 2, 0]), -T.ones(3)))
functions(
    "triplet_margin_loss even",
    lambda T, F, a: F.triplet_margin_loss(leaf(T, a, [[0.0]]), leaf(T, a, [[1.0]]), leaf(T, a, [[2.0]]), eps=0.0),
)
for _dim in (0, -2):
    functions(
        f"cosine_similarity broadcast {_dim}",
        lambda T, F, a, d=_dim: F.cosine_similarity(a.x(1, 2, 3), a.x(2, 1, 3), d),
    )
functions(
    "cosine_similarity of nothing long", lambda T, F, a: F.cosine_similarity(leaf(T, a, [[1e-9, 0]]), a.x(1, 2), 1, 0.1)
)
functions("l1_loss complex", lambda T, F, a: F.l1_loss(T.tensor([3 + 4j, 0]), T.tensor([0j, 1])))
functions("l1_loss of integers", lambda T, F, a: F.l1_loss(a.ints(9, 4), a.ints(9, 4), reduction="sum"))
functions("multi_margin_loss of one score", lambda T, F, a: F.multi_margin_loss(a.x(), T.tensor(0)))
functions(
    "multi_margin_loss of one row",
    lambda T, F, a: F.multi_margin_loss(a.x(4), T.tensor(2), p=2, weight=a.x(4, grad=False)),
)
functions("multilabel_margin_loss of one score", lambda T, F, a: F.multilabel_margin_loss(a.x(), T.tensor(0)))
functions("multilabel_margin_loss of one row", lambda T, F, a: F.multilabel_margin_loss(a.x(3), T.tensor([1, -1, 0])))
functions("kl_div of one number", lambda T, F, a: F.kl_div(a.x(), a.x(grad=False, low=0.1), reduction="batchmean"))
functions(
    "gaussian_nll_loss of one variance for all rows",
    lambda T, F, a: F.gaussian_nll_loss(a.x(3, 2), a.x(3, 2), a.x(1, 2, low=0.1)),
)
functions("cross_entropy all ignored", lambda T, F, a: F.cross_entropy(a.x(2, 3), T.tensor([1, 1]), ignore_index=1))
functions(
    "cross_entropy all ignored, sum",
    lambda T, F, a: F.cross_entropy(a.x(2, 3), T.tensor([1, 1]), ignore_index=1, reduction="sum"),
)
functions("embedding of integers", lambda T, F, a: F.embedding(a.ints(3, 4), a.ints(9, 3, 2)))
