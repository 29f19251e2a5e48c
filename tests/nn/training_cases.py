"""Losses, pooling, clipping and nn.init in the torch API."""

from __future__ import annotations

import warnings
from typing import Any

from tests.nn.models import filled, numbers
from tests.recorded import Case, collected

CASES: dict[str, Case] = {
    "cross_entropy_4d": lambda T: T.nn.functional.cross_entropy(
        numbers(T, 2, 3, 2, 2), T.tensor([[[0, 1], [2, 0]], [[1, 1], [-100, 2]]]), label_smoothing=0.1
    ),
    "cross_entropy_1d": lambda T: T.nn.functional.cross_entropy(numbers(T, 3), T.tensor(1)),
    "cross_entropy_allign": lambda T: T.nn.functional.cross_entropy(numbers(T, 2, 3), T.tensor([-100, -100])),
    "cross_entropy_oob": lambda T: T.nn.functional.cross_entropy(numbers(T, 2, 3), T.tensor([3, 0])),
    "cross_entropy_batch": lambda T: T.nn.functional.cross_entropy(numbers(T, 2, 3), T.tensor([1, 0, 2])),
    "cross_entropy_red": lambda T: T.nn.functional.cross_entropy(numbers(T, 2, 3), T.tensor([1, 0]), reduction="avg"),
    "cross_entropy_floattgt": lambda T: T.nn.functional.cross_entropy(numbers(T, 2, 3), T.tensor([1.0, 0.0])),
    "bce_shape": lambda T: T.nn.functional.binary_cross_entropy(T.tensor([0.5]), T.tensor([1.0, 0.0])),
    "bcel_shape": lambda T: T.nn.functional.binary_cross_entropy_with_logits(T.tensor([0.5]), T.tensor([1.0, 0.0])),
    "size_avg": lambda T: T.nn.functional.mse_loss(numbers(T, 2), numbers(T, 2) * 2, size_average=False),
    "pool_pad": lambda T: T.nn.functional.max_pool2d(T.ones(1, 1, 4, 4), 2, padding=2),
    "pool_small": lambda T: T.nn.functional.max_pool2d(T.ones(1, 1, 2, 2), 3),
    "clip_none": lambda T: T.nn.utils.clip_grad_norm_([T.nn.Parameter(T.ones(2))], 1.0),
    "total_norm": lambda T: [T.nn.utils.get_total_norm([T.ones(2), T.ones(3)])],
    "init_err": lambda T: T.nn.init.xavier_uniform_(T.ones(2)),
    "init_gain": lambda T: (
        [T.nn.init.calculate_gain(k) for k in ("linear", "relu", "tanh", "selu", "conv2d", "sigmoid")]
        + [T.nn.init.calculate_gain("leaky_relu", 0.3)]
    ),
}
case = collected(CASES)


@case
def losses(T: Any) -> Any:
    n = T.nn
    x = numbers(T, 4, 3)
    t = T.tensor([0, 2, 1, -100])
    w = T.tensor([1.0, 2.0, 0.5], dtype=T.float64)
    out = []
    for r in ("mean", "sum", "none"):
        for kw in (
            {},
            dict(weight=w),
            dict(label_smoothing=0.1),
            dict(weight=w, label_smoothing=0.2, ignore_index=1),
            dict(ignore_index=-100),
        ):
            out.append(n.CrossEntropyLoss(reduction=r, **kw)(x, t))
        out.append(n.CrossEntropyLoss(reduction=r, weight=w, label_smoothing=0.1)(x, x.softmax(1)))
        out.append(n.NLLLoss(reduction=r, weight=w)(x, t))
        out.append(n.MSELoss(reduction=r)(x, x * 2))
        out.append(n.L1Loss(reduction=r)(x, x * 2))
        out.append(n.SmoothL1Loss(reduction=r, beta=0.3)(x, x * 2))
        out.append(n.HuberLoss(reduction=r, delta=0.3)(x, x * 2))
        out.append(n.BCELoss(reduction=r, weight=w)(x.sigmoid(), (x > 0).double()))
        out.append(n.BCEWithLogitsLoss(reduction=r, pos_weight=w)(x, (x > 0).double()))
        out.append(n.KLDivLoss(reduction=r)(x, x.exp()))
        out.append(n.KLDivLoss(reduction=r, log_target=True)(x, x))
    out.append(n.KLDivLoss(reduction="batchmean")(x, x.exp()))
    return out


@case
def mse_bcast(T: Any) -> Any:
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always")
        r = T.nn.functional.mse_loss(numbers(T, 2, 3), numbers(T, 3))
        return [r, len(w)]


@case
def pools(T: Any) -> Any:
    F = T.nn.functional
    x = numbers(T, 1, 2, 7, 6) ** 2
    return [
        F.max_pool2d(x, 3, 2, 1),
        F.max_pool2d(x, (3, 2), ceil_mode=True),
        F.max_pool2d(x, 2, return_indices=True),
        F.max_pool2d(x, 2, dilation=2),
        F.avg_pool2d(x, 3, 2, 1),
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False, ceil_mode=True),
        F.avg_pool2d(x, 2, divisor_override=3),
        F.adaptive_avg_pool2d(x, (3, None)),
        F.adaptive_max_pool2d(x, (2, 4), return_indices=True),
        F.max_pool1d(x[0], 2),
        F.avg_pool1d(x[0], 3, padding=1),
        F.lp_pool2d(x, 2, 2),
    ]


@case
def clips(T: Any) -> Any:
    ps = [T.nn.Parameter(T.ones(2, dtype=T.float64)) for _ in range(2)]
    ps[0].grad = numbers(T, 2)
    ps[1].grad = numbers(T, 2) * 5
    r = []
    for nt in (2.0, 1.0, float("inf"), 0.5):
        r.append(T.nn.utils.clip_grad_norm_(ps, 0.1, norm_type=nt))
        r += [p.grad.clone() for p in ps]
    ps[0].grad = numbers(T, 2) * 9
    T.nn.utils.clip_grad_value_(ps, 0.4)
    r += [p.grad for p in ps]
    return r


@case
def clip_nonfinite(T: Any) -> Any:
    p = T.nn.Parameter(T.ones(2))
    p.grad = T.tensor([float("nan"), 1.0])
    T.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


@case
def clip_one(T: Any) -> Any:
    p = T.nn.Parameter(T.ones(2))
    p.grad = T.ones(2) * 3
    return [T.nn.utils.clip_grad_norm_(p, 1.0), p.grad]


@case
def parameters_to_vector(T: Any) -> Any:
    m = filled(T, T.nn.Linear(2, 2))
    v = T.nn.utils.parameters_to_vector(m.parameters())
    T.nn.utils.vector_to_parameters(v * 2, m.parameters())
    return [v, m.weight]


@case
def init_det(T: Any) -> Any:
    i = T.nn.init
    return [
        i.constant_(T.empty(2), 3.0),
        i.ones_(T.empty(2)),
        i.zeros_(T.empty(2)),
        i.eye_(T.empty(2, 3)),
        i.dirac_(T.empty(2, 2, 3)),
        i.dirac_(T.empty(4, 2, 3, 3), 2),
    ]
