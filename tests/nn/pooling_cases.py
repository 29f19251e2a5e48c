"""Layers of pooling in the torch API: what they print, give and refuse, with several options."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, Inputs, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)


def layers(name: str, shape: tuple[int, ...], *makers: Any) -> None:
    """Layers ``make(nn)``: their printed form, and their results for a batch and for one sample."""

    def fn(T: Any, a: Inputs) -> Any:
        found = []
        for make in makers:
            m = make(T.nn)
            found += [repr(m), m.extra_repr(), m(a.distinct(*shape)), m(a.distinct(*shape[1:]))]
        return found

    case(name, fn)


layers("AvgPool1d", (2, 2, 7), lambda nn: nn.AvgPool1d(2), lambda nn: nn.AvgPool1d(3, 2, 1),
       lambda nn: nn.AvgPool1d((3,), stride=2, padding=(1,), ceil_mode=True, count_include_pad=False))  # fmt: skip
layers("AvgPool3d", (1, 2, 4, 3, 5), lambda nn: nn.AvgPool3d((2, 1, 2)),
       lambda nn: nn.AvgPool3d(2, 1, 1, divisor_override=3))  # fmt: skip
layers("AdaptiveAvgPool1d", (2, 2, 7), lambda nn: nn.AdaptiveAvgPool1d(3), lambda nn: nn.AdaptiveAvgPool1d((5,)))
layers("AdaptiveAvgPool3d", (1, 2, 4, 3, 5), lambda nn: nn.AdaptiveAvgPool3d(2),
       lambda nn: nn.AdaptiveAvgPool3d((3, None, 2)))  # fmt: skip
layers("AdaptiveMaxPool1d", (2, 2, 7), lambda nn: nn.AdaptiveMaxPool1d(3, return_indices=True))
layers("AdaptiveMaxPool2d", (2, 2, 5, 4), lambda nn: nn.AdaptiveMaxPool2d(2),
       lambda nn: nn.AdaptiveMaxPool2d((3, None), return_indices=True))  # fmt: skip
layers("AdaptiveMaxPool3d", (1, 2, 4, 3, 5), lambda nn: nn.AdaptiveMaxPool3d(2),
       lambda nn: nn.AdaptiveMaxPool3d((None, 2, 3), True))  # fmt: skip
layers("MaxPool3d", (1, 2, 4, 3, 5), lambda nn: nn.MaxPool3d(2), lambda nn: nn.MaxPool3d((2, 1, 3), 1, (1, 0, 1)),
       lambda nn: nn.MaxPool3d(2, (2, 1, 2), dilation=(1, 2, 1), return_indices=True, ceil_mode=True))  # fmt: skip
layers("LPPool1d", (2, 2, 7), lambda nn: nn.LPPool1d(2, 3), lambda nn: nn.LPPool1d(3, 3, 2, ceil_mode=True))
layers("LPPool3d", (1, 2, 4, 3, 5), lambda nn: nn.LPPool3d(2, 2), lambda nn: nn.LPPool3d(4.0, (2, 1, 2), 1))


#: Functions, each with the sizes of its input and with options.
FUNCTIONS: dict[str, tuple[tuple[int, ...], tuple[dict[str, Any], ...]]] = {
    "adaptive_avg_pool3d": ((2, 2, 4, 3, 5), ({"output_size": 2}, {"output_size": (3, None, 1)})),
    "adaptive_max_pool3d": ((2, 2, 4, 3, 5), ({"output_size": 2}, {"output_size": (1, 2, 3), "return_indices": True})),
    "lp_pool1d": ((2, 2, 7), ({"norm_type": 2, "kernel_size": 3}, {"norm_type": 3.0, "kernel_size": 2, "stride": 1})),
    "lp_pool3d": ((1, 2, 4, 3, 5), ({"norm_type": 2, "kernel_size": (2, 1, 3), "ceil_mode": True},)),
    "max_pool3d": ((1, 2, 4, 3, 5), ({"kernel_size": 2}, {"kernel_size": (2, 3, 1), "padding": 1, "stride": 1,
                                                          "return_indices": False})),
}  # fmt: skip
for _name, (_shape, _options) in FUNCTIONS.items():
    case(
        _name, lambda T, a, n=_name, s=_shape, o=_options: [getattr(T.nn.functional, n)(a.distinct(*s), **k) for k in o]
    )


def _fractional(T: Any, a: Inputs, **options: Any) -> Any:
    samples = a.x(2, 3, 3, low=0.0, high=1.0, grad=False)
    m = T.nn.FractionalMaxPool3d((2, 1, 2), return_indices=True, _random_samples=samples, **options)
    return [repr(m), m.kernel_size, m.output_size, m.output_ratio, m(a.distinct(2, 3, 5, 4, 6))]


case("FractionalMaxPool3d of a size", lambda T, a: _fractional(T, a, output_size=(3, 2, 4)))
case("FractionalMaxPool3d of a ratio", lambda T, a: _fractional(T, a, output_ratio=(0.5, 0.8, 0.6)))
case("FractionalMaxPool3d of neither", lambda T, a: _fractional(T, a))
case("FractionalMaxPool3d of both", lambda T, a: _fractional(T, a, output_size=2, output_ratio=0.5))


def _unpooled(T: Any, a: Inputs, n: int, **options: Any) -> Any:
    """What a pooling took, put back, in the size that follows from its own and in the given one."""
    pool = (T.nn.MaxPool1d, T.nn.MaxPool2d, T.nn.MaxPool3d)[n - 1](2, return_indices=True, **options)
    unpool = (T.nn.MaxUnpool1d, T.nn.MaxUnpool2d, T.nn.MaxUnpool3d)[n - 1](2, **options)
    x, odd = a.distinct(1, 2, *(4, 6, 4)[:n]), a.distinct(1, 2, *(5, 6, 5)[:n])
    return [repr(unpool), unpool.extra_repr(), unpool(*pool(x)), unpool(*pool(odd), output_size=odd.shape)]


case("MaxUnpool1d", lambda T, a: _unpooled(T, a, 1))
case("MaxUnpool2d", lambda T, a: _unpooled(T, a, 2))
case("MaxUnpool3d", lambda T, a: _unpooled(T, a, 3))
case("MaxUnpool3d strided", lambda T, a: _unpooled(T, a, 3, stride=(2, 3, 2)))

CASES |= {
    "AvgPool1d of an image": lambda T: T.nn.AvgPool1d(2)(T.ones(1, 2, 3, 4)),
    "AvgPool1d of too much padding": lambda T: T.nn.AvgPool1d(2, padding=2)(T.ones(1, 2, 5)),
    "AvgPool3d of a divisor 0": lambda T: T.nn.AvgPool3d(2, divisor_override=0)(T.ones(1, 2, 3, 4, 5)),
    "AdaptiveAvgPool1d of two sizes": lambda T: T.nn.AdaptiveAvgPool1d((2, 3))(T.ones(1, 2, 5)),
    "AdaptiveAvgPool3d of an image": lambda T: T.nn.AdaptiveAvgPool3d(2)(T.ones(1, 2, 3)),
    "AdaptiveMaxPool2d of nothing": lambda T: T.nn.AdaptiveMaxPool2d(2)(T.ones(1, 2, 0, 4)),
    "AdaptiveMaxPool3d of size 0": lambda T: T.nn.AdaptiveMaxPool3d(0)(T.ones(1, 2, 3, 4, 5)),
    "MaxPool3d too large": lambda T: T.nn.MaxPool3d(4)(T.ones(1, 2, 3, 4, 5)),
    "MaxPool3d of a matrix": lambda T: T.nn.MaxPool3d(1)(T.ones(2, 3)),
    "MaxUnpool3d of other indices": lambda T: T.nn.MaxUnpool3d(2)(T.ones(1, 1, 2, 2, 2), T.zeros(1, 1, 2, 2, 1).long()),
    "MaxUnpool3d of another size": lambda T: T.nn.MaxUnpool3d(2)(
        T.ones(1, 1, 2, 2, 2), T.zeros(1, 1, 2, 2, 2).long(), output_size=(9, 4, 4)
    ),
    "LPPool3d of an image": lambda T: T.nn.LPPool3d(2, 2)(T.ones(1, 2, 5)),
}
