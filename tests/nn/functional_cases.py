"""Cases of nn.functional, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, OnInputs, on_inputs

CASES: dict[str, Case] = {}


case = on_inputs(CASES)
#: PyTorch's kernels have the constants 1/6 and 1/alpha in float32.
ROUNDED = {"hardsigmoid": 1e-7, "hardsigmoid wide": 1e-7, "celu alpha=0.7": 1e-7}


def simple(name: str, *shape: int, **options: Any) -> None:
    """A function of one tensor."""
    label = name + "".join(f" {k}={v}" for k, v in options.items())
    case(label, lambda T, a: getattr(T.nn.functional, name)(a.x(*(shape or (3, 7))), **options))


# -- activations ---------------------------------------------------------------------------------------
for _name in (
    "relu", "relu6", "elu", "selu", "celu", "silu", "mish", "softplus", "softsign", "tanhshrink", "softshrink",
    "hardshrink", "hardtanh", "hardsigmoid", "hardswish", "sigmoid", "logsigmoid", "tanh", "gelu", "leaky_relu",
):  # fmt: skip
    simple(_name)
simple("gelu", approximate="tanh")
simple("leaky_relu", negative_slope=0.3)
simple("elu", alpha=0.4)
simple("celu", alpha=0.7)
simple("softplus", beta=2.0, threshold=1.5)
simple("hardtanh", min_val=-0.5, max_val=1.5)
simple("threshold", threshold=0.3, value=-1.0)
simple("softshrink", lambd=0.9)
simple("glu", 3, 8, dim=-1)
simple("glu", 4, 3, dim=0)
for _name in ("softmax", "log_softmax", "softmin"):
    simple(_name, 3, 4, 5, dim=1)
    simple(_name, 3, 4, 5, dim=-1)
case("hardswish wide", lambda T, a: T.nn.functional.hardswish(a.x(40, low=-6, high=6)))
case("hardsigmoid wide", lambda T, a: T.nn.functional.hardsigmoid(a.x(40, low=-6, high=6)))
case("relu6 wide", lambda T, a: T.nn.functional.relu6(a.x(40, low=-2, high=9)))
case("softplus wide", lambda T, a: T.nn.functional.softplus(a.x(40, low=-30, high=30)))
case("logsigmoid wide", lambda T, a: T.nn.functional.logsigmoid(a.x(40, low=-30, high=30)))
case("prelu one", lambda T, a: T.nn.functional.prelu(a.x(2, 3, 4), a.x(1)))
case("prelu channels", lambda T, a: T.nn.functional.prelu(a.x(2, 3, 4, 5), a.x(3)))
case("rrelu eval", lambda T, a: T.nn.functional.rrelu(a.x(3, 7)))
case("normalize", lambda T, a: T.nn.functional.normalize(a.x(4, 5), p=3.0, dim=0))
case("relu in place", lambda T, a: T.nn.functional.relu(a.x(3, 4) * 1.0, inplace=True))
case("silu in place", lambda T, a: T.nn.functional.silu(a.x(3, 4) * 1.0, inplace=True))
case("leaky_relu in place", lambda T, a: T.nn.functional.leaky_relu(a.x(3, 4) * 1.0, 0.2, inplace=True))


# -- linear maps and tables ----------------------------------------------------------------------------
case("linear", lambda T, a: T.nn.functional.linear(a.x(2, 3, 4), a.x(5, 4), a.x(5)))
case("linear vector", lambda T, a: T.nn.functional.linear(a.x(4), a.x(5, 4)))
case("bilinear", lambda T, a: T.nn.functional.bilinear(a.x(6, 3), a.x(6, 4), a.x(5, 3, 4), a.x(5)))
case("embedding", lambda T, a: T.nn.functional.embedding(a.ints(7, 3, 4), a.x(7, 5)))
case("embedding padding", lambda T, a: T.nn.functional.embedding(a.ints(4, 9), a.x(4, 5), padding_idx=-2))
case("embedding by frequency", lambda T, a: T.nn.functional.embedding(a.ints(4, 9), a.x(4, 5), scale_grad_by_freq=True))
for _mode in ("sum", "mean", "max"):
    case(
        f"embedding_bag {_mode}",
        lambda T, a, m=_mode: T.nn.functional.embedding_bag(a.ints(6, 3, 4), a.x(6, 5), mode=m),
    )
    case(
        f"embedding_bag {_mode} offsets",
        lambda T, a, m=_mode: T.nn.functional.embedding_bag(a.ints(6, 9), a.x(6, 5), T.tensor([0, 4, 4]), mode=m),
    )
case(
    "embedding_bag weights",
    lambda T, a: T.nn.functional.embedding_bag(a.ints(6, 3, 4), a.x(6, 5), mode="sum", per_sample_weights=a.x(3, 4)),
)
case("one_hot", lambda T, a: T.nn.functional.one_hot(a.ints(5, 2, 3), 6))

# -- convolution ---------------------------------------------------------------------------------------
case("conv1d", lambda T, a: T.nn.functional.conv1d(a.x(2, 3, 9), a.x(4, 3, 3), a.x(4)))
case("conv1d options", lambda T, a: T.nn.functional.conv1d(a.x(2, 4, 12), a.x(6, 2, 3), a.x(6), 2, 2, 2, 2))
case("conv1d unbatched", lambda T, a: T.nn.functional.conv1d(a.x(3, 9), a.x(4, 3, 3)))
case("conv2d", lambda T, a: T.nn.functional.conv2d(a.x(2, 3, 7, 6), a.x(4, 3, 3, 2), a.x(4)))
case("conv2d padding", lambda T, a: T.nn.functional.conv2d(a.x(2, 3, 7, 6), a.x(4, 3, 3, 3), a.x(4), padding=1))
case("conv2d stride", lambda T, a: T.nn.functional.conv2d(a.x(2, 3, 8, 9), a.x(4, 3, 3, 3), None, (2, 3), (1, 2)))
case("conv2d dilation", lambda T, a: T.nn.functional.conv2d(a.x(1, 2, 9, 9), a.x(3, 2, 3, 2), None, (2, 1), 1, (2, 3)))
case(
    "conv2d depthwise",
    lambda T, a: T.nn.functional.conv2d(a.x(2, 4, 6, 6), a.x(8, 1, 3, 3), a.x(8), padding=1, groups=4),
)
case("conv2d left over", lambda T, a: T.nn.functional.conv2d(a.x(1, 2, 8, 8), a.x(3, 2, 3, 3), None, 3))
case("conv2d same", lambda T, a: T.nn.functional.conv2d(a.x(2, 2, 5, 6), a.x(3, 2, 3, 5), padding="same"))
case(
    "conv2d same even",
    lambda T, a: T.nn.functional.conv2d(a.x(2, 2, 5, 6), a.x(3, 2, 2, 4), padding="same", dilation=(1, 2)),
)
case("conv2d valid", lambda T, a: T.nn.functional.conv2d(a.x(2, 2, 5, 6), a.x(3, 2, 3, 3), padding="valid"))
case("conv2d pointwise", lambda T, a: T.nn.functional.conv2d(a.x(2, 6, 5, 5), a.x(4, 6, 1, 1), a.x(4)))
case("conv2d pointwise stride", lambda T, a: T.nn.functional.conv2d(a.x(2, 6, 5, 5), a.x(4, 6, 1, 1), None, 2))
case("conv3d", lambda T, a: T.nn.functional.conv3d(a.x(1, 2, 4, 5, 6), a.x(3, 2, 2, 3, 2), a.x(3), 1, (1, 0, 1)))
case(
    "conv3d options",
    lambda T, a: T.nn.functional.conv3d(a.x(1, 2, 5, 6, 6), a.x(4, 1, 2, 2, 3), a.x(4), (2, 1, 2), 1, (1, 2, 1), 2),
)
case("conv_transpose1d", lambda T, a: T.nn.functional.conv_transpose1d(a.x(2, 3, 5), a.x(3, 4, 3), a.x(4), 2, 1, 1))
case("conv_transpose2d", lambda T, a: T.nn.functional.conv_transpose2d(a.x(2, 3, 4, 5), a.x(3, 2, 3, 3), a.x(2)))
case(
    "conv_transpose2d options",
    lambda T, a: T.nn.functional.conv_transpose2d(
        a.x(1, 4, 4, 5), a.x(4, 3, 3, 2), a.x(6), (2, 3), (1, 0), (1, 2), 2, (2, 1)
    ),
)
case(
    "conv_transpose3d", lambda T, a: T.nn.functional.conv_transpose3d(a.x(1, 2, 3, 2, 3), a.x(2, 2, 2, 2, 2), a.x(2), 2)
)
case("unfold", lambda T, a: T.nn.functional.unfold(a.x(2, 3, 6, 7), (2, 3), dilation=(2, 1), padding=1, stride=2))
case("fold", lambda T, a: T.nn.functional.fold(a.x(2, 18, 12), (6, 7), (2, 3), dilation=(2, 1), padding=1, stride=2))

# -- pooling -------------------------------------------------------------------------------------------
for _n, _shape in ((1, (2, 3, 10)), (2, (2, 3, 7, 8)), (3, (1, 2, 5, 6, 5))):
    case(f"max_pool{_n}d", lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"max_pool{n}d")(a.distinct(*s), 2))
    case(
        f"max_pool{_n}d options",
        lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"max_pool{n}d")(
            a.distinct(*s), 3, 2, 1, 1, ceil_mode=True, return_indices=True
        ),
    )
    case(f"avg_pool{_n}d", lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"avg_pool{n}d")(a.x(*s), 2))
    case(
        f"avg_pool{_n}d options",
        lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"avg_pool{n}d")(a.x(*s), 3, 2, 1, True, False),
    )
    case(
        f"avg_pool{_n}d counting padding",
        lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"avg_pool{n}d")(a.x(*s), 3, 2, 1, True, True),
    )
    case(
        f"adaptive_avg_pool{_n}d",
        lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"adaptive_avg_pool{n}d")(a.x(*s), 3),
    )
    case(
        f"adaptive_avg_pool{_n}d one",
        lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"adaptive_avg_pool{n}d")(a.x(*s), 1),
    )
    case(
        f"adaptive_max_pool{_n}d",
        lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"adaptive_max_pool{n}d")(
            a.distinct(*s), 3, return_indices=True
        ),
    )
    case(
        f"lp_pool{_n}d", lambda T, a, n=_n, s=_shape: getattr(T.nn.functional, f"lp_pool{n}d")(a.x(*s, low=0.1), 3.0, 2)
    )
case(
    "max_pool2d dilated",
    lambda T, a: T.nn.functional.max_pool2d(a.distinct(1, 2, 9, 9), (2, 3), (2, 1), 1, (2, 3), return_indices=True),
)
case("max_pool2d unbatched", lambda T, a: T.nn.functional.max_pool2d(a.distinct(3, 6, 6), 3, 1))
case("avg_pool2d divisor", lambda T, a: T.nn.functional.avg_pool2d(a.x(1, 2, 6, 6), 3, divisor_override=5))
case("adaptive_avg_pool2d none", lambda T, a: T.nn.functional.adaptive_avg_pool2d(a.x(2, 3, 7, 5), (None, 2)))


def _unpool(T: Any, a: Any) -> Any:
    pooled, indices = T.nn.functional.max_pool2d(a.distinct(2, 3, 7, 8), 2, return_indices=True)
    return T.nn.functional.max_unpool2d(pooled, indices, 2, output_size=(7, 8))


case("max_unpool2d", _unpool)

# -- normalisation -------------------------------------------------------------------------------------
case("layer_norm", lambda T, a: T.nn.functional.layer_norm(a.x(2, 3, 4), (4,), a.x(4), a.x(4)))
case("layer_norm two axes", lambda T, a: T.nn.functional.layer_norm(a.x(2, 3, 4), (3, 4), a.x(3, 4), a.x(3, 4), 0.1))
case("layer_norm bare", lambda T, a: T.nn.functional.layer_norm(a.x(2, 3, 4), (4,)))
case("layer_norm weight", lambda T, a: T.nn.functional.layer_norm(a.x(5, 4), (4,), a.x(4)))
case("rms_norm", lambda T, a: T.nn.functional.rms_norm(a.x(2, 3, 4), (4,), a.x(4), 1e-5))
case("rms_norm bare", lambda T, a: T.nn.functional.rms_norm(a.x(2, 3, 4), (3, 4)))
case("group_norm", lambda T, a: T.nn.functional.group_norm(a.x(2, 6, 3, 2), 3, a.x(6), a.x(6)))
case("instance_norm", lambda T, a: T.nn.functional.instance_norm(a.x(2, 3, 5, 4), weight=a.x(3), bias=a.x(3)))
case("local_response_norm", lambda T, a: T.nn.functional.local_response_norm(a.x(2, 6, 4), 3, 0.5, 0.7, 2.0))


def _batch_norm(training: bool, *shape: int, affine: bool = True, momentum: float = 0.3) -> OnInputs:
    def fn(T: Any, a: Any) -> Any:
        x, c = a.x(*shape), shape[1]
        mean, var = a.x(c, grad=False), a.x(c, low=0.5, grad=False)
        weight, bias = (a.x(c), a.x(c)) if affine else (None, None)
        out = T.nn.functional.batch_norm(x, mean, var, weight, bias, training, momentum, 1e-3)
        return out, mean, var

    return fn


case("batch_norm training", _batch_norm(True, 4, 3, 2, 5))
case("batch_norm training 2d", _batch_norm(True, 6, 3))
case("batch_norm training 3d bare", _batch_norm(True, 6, 3, 4, affine=False))
case("batch_norm eval", _batch_norm(False, 4, 3, 2, 5))
case("batch_norm eval bare", _batch_norm(False, 4, 3, affine=False))
