"""Layers of padding, resampling and rearranging in the torch API: what they print, give and refuse."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, Inputs, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)


def layers(name: str, shape: tuple[int, ...], *makers: Any) -> None:
    """Layers ``make(nn)``: their printed form, and their results."""

    def fn(T: Any, a: Inputs) -> Any:
        found = []
        for make in makers:
            m = make(T.nn)
            found += [repr(m), m.extra_repr(), m(a.x(*shape))]
        return found

    case(name, fn)


# -- padding -------------------------------------------------------------------------------------------
layers("ZeroPad1d", (1, 2, 3), lambda nn: nn.ZeroPad1d(2), lambda nn: nn.ZeroPad1d((1, -1)))
layers("ZeroPad2d", (1, 2, 3, 2), lambda nn: nn.ZeroPad2d(1), lambda nn: nn.ZeroPad2d((1, 2, 0, -1)))
layers("ZeroPad3d", (1, 2, 2, 3, 2), lambda nn: nn.ZeroPad3d(1), lambda nn: nn.ZeroPad3d((1, 0, -1, 0, 0, 2)))
layers(
    "ConstantPad2d", (1, 2, 3, 2), lambda nn: nn.ConstantPad2d(1, 2), lambda nn: nn.ConstantPad2d((2, 0, -1, 1), -0.5)
)
layers("ReplicationPad1d", (2, 2, 3), lambda nn: nn.ReplicationPad1d(2), lambda nn: nn.ReplicationPad1d((4, 0)))
layers("ReplicationPad3d", (1, 1, 2, 3, 2), lambda nn: nn.ReplicationPad3d(1),
       lambda nn: nn.ReplicationPad3d((0, 3, 1, 0, 0, 2)))  # fmt: skip
layers("ReplicationPad3d of one sample", (1, 2, 3, 2), lambda nn: nn.ReplicationPad3d((0, 1, 2, 0, 0, 1)))
layers("CircularPad1d", (2, 2, 3), lambda nn: nn.CircularPad1d(3), lambda nn: nn.CircularPad1d((1, 0)))
layers("CircularPad3d", (1, 1, 2, 3, 2), lambda nn: nn.CircularPad3d(1),
       lambda nn: nn.CircularPad3d((0, 2, 1, 0, 2, 0)))  # fmt: skip

# -- resampling and rearranging ------------------------------------------------------------------------
layers("PixelShuffle", (2, 8, 1, 3), lambda nn: nn.PixelShuffle(2), lambda nn: nn.PixelShuffle(1))
layers("PixelUnshuffle", (2, 4, 6), lambda nn: nn.PixelUnshuffle(2), lambda nn: nn.PixelUnshuffle(1))
layers("PixelUnshuffle of images", (2, 1, 6, 3), lambda nn: nn.PixelUnshuffle(3))
layers("ChannelShuffle", (2, 6, 2), lambda nn: nn.ChannelShuffle(2), lambda nn: nn.ChannelShuffle(3))
layers("Upsample", (1, 2, 3, 2), lambda nn: nn.Upsample(4), lambda nn: nn.Upsample((4, 3), mode="bilinear"),
       lambda nn: nn.Upsample(scale_factor=2), lambda nn: nn.Upsample(scale_factor=(2, 1.5), mode="nearest-exact"),
       lambda nn: nn.Upsample(scale_factor=1.7, mode="bicubic", align_corners=True, recompute_scale_factor=True),
       lambda nn: nn.UpsamplingNearest2d(scale_factor=2), lambda nn: nn.UpsamplingBilinear2d((2, 5)))  # fmt: skip
layers("Unfold", (2, 2, 4, 5), lambda nn: nn.Unfold(2), lambda nn: nn.Unfold((2, 3), dilation=2, padding=(1, 2)),
       lambda nn: nn.Unfold(3, 1, 1, (2, 3)))  # fmt: skip
layers("Fold", (2, 8, 6), lambda nn: nn.Fold((3, 4), 2), lambda nn: nn.Fold(output_size=(4, 3), kernel_size=(2, 2)))
layers("Fold strided", (12, 4), lambda nn: nn.Fold((5, 4), (2, 3), dilation=(2, 1), padding=(1, 2), stride=(3, 3)))
layers("Flatten", (2, 3, 2, 2), lambda nn: nn.Flatten(), lambda nn: nn.Flatten(0, -2), lambda nn: nn.Flatten(2, 2))
layers("Unflatten", (2, 6, 3), lambda nn: nn.Unflatten(1, (2, 3)), lambda nn: nn.Unflatten(-1, [1, 3, 1]),
       lambda nn: nn.Unflatten(1, (3, -1)))  # fmt: skip
layers("LocalResponseNorm", (2, 5, 2, 2), lambda nn: nn.LocalResponseNorm(2),
       lambda nn: nn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2),
       lambda nn: nn.LocalResponseNorm(7, 1.0))  # fmt: skip
layers("LocalResponseNorm of sequences", (2, 4, 3), lambda nn: nn.LocalResponseNorm(3, 0.2))


def _there_and_back(T: Any, a: Inputs) -> Any:
    x = a.x(1, 2, 4, 6)
    folds = {"kernel_size": (2, 3), "stride": (2, 3)}
    return [T.nn.Fold((4, 6), **folds)(T.nn.Unfold(**folds)(x)), T.nn.PixelShuffle(2)(T.nn.PixelUnshuffle(2)(x))]


case("Fold of Unfold, PixelShuffle of PixelUnshuffle", _there_and_back)

CASES |= {
    "ZeroPad3d of three widths": lambda T: T.nn.ZeroPad3d((1, 2, 3))(T.ones(1, 2, 2, 2)),
    "ZeroPad1d of too little": lambda T: T.nn.ZeroPad1d(-2)(T.ones(1, 2, 3)),
    "ConstantPad2d of integers": lambda T: T.nn.ConstantPad2d(1, 7)(T.ones(1, 1, 1, dtype=T.int64)),
    "ReplicationPad1d of a vector": lambda T: T.nn.ReplicationPad1d(1)(T.ones(3)),
    "ReplicationPad1d of nothing": lambda T: T.nn.ReplicationPad1d(1)(T.ones(1, 2, 0)),
    "ReplicationPad3d of an image": lambda T: T.nn.ReplicationPad3d(1)(T.ones(2, 3, 3)),
    "CircularPad1d too wide": lambda T: T.nn.CircularPad1d(4)(T.ones(1, 2, 3)),
    "CircularPad3d of a matrix": lambda T: T.nn.CircularPad3d(1)(T.ones(3, 3)),
    "PixelUnshuffle of odd sizes": lambda T: T.nn.PixelUnshuffle(2)(T.ones(1, 3, 4)),
    "PixelUnshuffle by 0": lambda T: T.nn.PixelUnshuffle(0)(T.ones(1, 4, 4)),
    "PixelShuffle of few channels": lambda T: T.nn.PixelShuffle(2)(T.ones(3, 4, 4)),
    "ChannelShuffle of odd channels": lambda T: T.nn.ChannelShuffle(2)(T.ones(1, 3, 4)),
    "Upsample of nothing": lambda T: T.nn.Upsample()(T.ones(1, 2, 3)),
    "Upsample unknown": lambda T: T.nn.Upsample(3, mode="cubic")(T.ones(1, 2, 3)),
    "Upsample attributes": lambda T: [getattr(T.nn.Upsample(scale_factor=(2, 3)), n) for n in ("scale_factor", "name")],
    "Fold of other blocks": lambda T: T.nn.Fold((3, 4), 2)(T.ones(2, 8, 5)),
    "Fold of other channels": lambda T: T.nn.Fold((3, 4), 2)(T.ones(2, 7, 6)),
    "Unflatten of other sizes": lambda T: T.nn.Unflatten(1, (2, 2))(T.ones(2, 6)),
    "Unflatten of a number": lambda T: T.nn.Unflatten(1, 6),
    "Unflatten of fractions": lambda T: T.nn.Unflatten(1, (2.0, 3)),
    "Flatten of no axis": lambda T: T.nn.Flatten(3)(T.ones(2, 6)),
    "LocalResponseNorm of a matrix": lambda T: T.nn.LocalResponseNorm(2)(T.ones(2, 3)),
}
