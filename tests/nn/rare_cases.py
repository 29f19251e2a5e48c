"""Layers and functions that few use, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, Inputs, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)


def _adaptive(T: Any, a: Inputs) -> Any:
    m = a.module(T.nn.AdaptiveLogSoftmaxWithLoss(6, 12, [4, 8], div_value=2.0, head_bias=True))
    x = a.x(5, 6)
    out = m(x, T.tensor([0, 5, 11, 3, 9]))
    one = m(x[0], T.tensor(7))
    return [out.output, out.loss, one.output, m.log_prob(x), m.predict(x)]


case("adaptive softmax", _adaptive)
for _size in (1, 2, 3, 5):  # torch's gradient is not that of its forward
    case(
        f"CrossMapLRN2d {_size}",
        lambda T, a, s=_size: T.nn.CrossMapLRN2d(s, 0.5, 0.7, 2.0)(a.x(2, 6, 2, 3, grad=False)),
    )


def _fractional(T: Any, a: Inputs, n: int, **options: Any) -> Any:
    samples = a.x(2, 3, n, low=0.0, high=1.0, grad=False)
    layer = getattr(T.nn, f"FractionalMaxPool{n}d")(2, return_indices=True, _random_samples=samples, **options)
    return layer(a.distinct(2, 3, *[9, 7, 8][:n]))


for _n in (2, 3):
    case(f"fractional pool {_n} by ratio", lambda T, a, n=_n: _fractional(T, a, n, output_ratio=0.6))
    case(f"fractional pool {_n} by size", lambda T, a, n=_n: _fractional(T, a, n, output_size=4))
case("fractional pool of one", lambda T, a: T.nn.functional.fractional_max_pool2d(
    a.distinct(3, 9, 8), 3, 1, _random_samples=a.x(1, 3, 2, low=0.0, high=1.0, grad=False)))  # fmt: skip
case("fractional pool of nothing asked", lambda T, a: T.nn.functional.fractional_max_pool2d(a.x(1, 1, 4, 4), 2))
case("fractional pool too large", lambda T, a: T.nn.functional.fractional_max_pool2d(a.x(1, 1, 4, 4), 2, 5))
case("fractional layer of both", lambda T, a: T.nn.FractionalMaxPool2d(2, output_size=2, output_ratio=0.5))
case("fractional ratio", lambda T, a: T.nn.FractionalMaxPool2d(2, output_ratio=1.5))
case("adaptive cuts", lambda T, a: T.nn.AdaptiveLogSoftmaxWithLoss(4, 8, [5, 3]))
case("adaptive target", lambda T, a: T.nn.AdaptiveLogSoftmaxWithLoss(4, 8, [3])(T.ones(1, 4), T.tensor([8])))


def _linear_loss(T: Any, a: Inputs, **options: Any) -> Any:
    x, w, b = a.x(6, 3), a.x(5, 3), a.x(5)
    target = T.tensor([0, 4, 2, -100, 1, 1])
    weight = a.x(5, low=0.1, high=1.0, grad=False)
    return [
        T.nn.functional.linear_cross_entropy(x, w, target, linear_bias=b, weight=given, reduction=how, **options)
        for how in ("mean", "sum", "none")
        for given in (None, weight)
    ]


case("linear cross entropy", _linear_loss)
case("linear cross entropy smoothed", lambda T, a: _linear_loss(T, a, label_smoothing=0.2))
case("linear cross entropy of one", lambda T, a: T.nn.functional.linear_cross_entropy(a.x(3), a.x(5, 3), T.tensor(2)))
case("linear cross entropy of probabilities", lambda T, a: T.nn.functional.linear_cross_entropy(
    a.x(2, 3), a.x(5, 3), a.x(2, 5, low=0.0, high=1.0)))  # fmt: skip
case("linear cross entropy of images", lambda T, a: a.module(T.nn.LinearCrossEntropyLoss(3, 5, out_features=(2, 2),
     bias=True))(a.x(4, 3), a.ints(5, 4, 2, 2)))  # fmt: skip
case("linear cross entropy shape", lambda T, a: T.nn.functional.linear_cross_entropy(a.x(2, 3), a.x(5, 4),
     T.tensor([1, 2])))  # fmt: skip
case("conv_tbc", lambda T, a: T.conv_tbc(a.x(6, 2, 3), a.x(3, 3, 4), a.x(4), 1) if T.__name__ == "torch" else
     T.nn.functional.conv_tbc(a.x(6, 2, 3), a.x(3, 3, 4), a.x(4), 1))  # fmt: skip
case("in place", lambda T, a: [
    getattr(T.nn.functional, name)(a.x(2, 3, grad=False), *args)
    for name, args in (("celu_", (1.5,)), ("elu_", ()), ("hardtanh_", (-0.5, 0.7)), ("leaky_relu_", (0.2,)),
                       ("rrelu_", ()), ("selu_", ()), ("threshold_", (0.1, 2.0)))
])  # fmt: skip
case("upsample", lambda T, a: [T.nn.functional.upsample_nearest(a.x(1, 1, 2, 3), scale_factor=2),
                               T.nn.functional.upsample_bilinear(a.x(1, 1, 2, 3), size=(4, 5))])  # fmt: skip
case("adaptive max pools", lambda T, a: [
    getattr(T.nn.functional, f"adaptive_max_pool{n}d_with_indices")(a.distinct(1, 2, *[7, 5, 6][:n]), 3)
    for n in (1, 2, 3)
])  # fmt: skip
case("data parallel", lambda T, a: T.nn.DataParallel(a.module(T.nn.Linear(3, 2)))(a.x(4, 3)))
