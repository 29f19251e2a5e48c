"""nn.utils in the torch API: layers fused, laid out, made without values; gradients cut; lists of parametrizations."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tests.recorded import Case, Inputs, collected, on_inputs

CASES: dict[str, Case] = {}
on_input = on_inputs(CASES)
case = collected(CASES)


# -- fusion --------------------------------------------------------------------------------------------
def _statistics(a: Inputs, n: int) -> list[Any]:
    return [a.x(n, grad=False), a.x(n, low=0.1, grad=False)]


def _told(pair: Any) -> list[Any]:
    weight, bias = pair
    return [type(weight).__name__, weight, type(bias).__name__, bias]


def _fused(T: Any, a: Inputs, *shape: int, transpose: bool = False) -> Any:
    """Weights and biases of one convolution, with everything and with as little as there can be."""
    fuse, n = T.nn.utils.fuse_conv_bn_weights, shape[1 if transpose else 0]
    weight = T.nn.Parameter(a.x(*shape, grad=False))
    bias = T.nn.Parameter(a.x(n, grad=False), requires_grad=False)
    whole = fuse(weight, bias, *_statistics(a, n), 0.01, a.x(n, grad=False), a.x(n, grad=False), transpose)
    bare = fuse(weight.detach(), None, *_statistics(a, n), bn_eps=0.1, bn_w=None, bn_b=None, transpose=transpose)
    return [*_told(whole), *_told(bare)]


on_input("fuse_conv_bn_weights", lambda T, a: _fused(T, a, 3, 2, 2))
on_input("fuse_conv_bn_weights of images", lambda T, a: _fused(T, a, 3, 2, 1, 2))
on_input("fuse_conv_bn_weights transposed", lambda T, a: _fused(T, a, 2, 3, 2, transpose=True))


def _fused_linear(T: Any, a: Inputs) -> Any:
    fuse, weight, bias = T.nn.utils.fuse_linear_bn_weights, a.x(3, 2, grad=False), a.x(3, grad=False)
    whole = fuse(weight, bias, *_statistics(a, 3), 0.01, a.x(3, grad=False), a.x(3, grad=False))
    return [*_told(whole), *_told(fuse(weight, None, *_statistics(a, 3), 0.1, bias, bias))]


on_input("fuse_linear_bn_weights", _fused_linear)


def _fused_as_two(T: Any, a: Inputs) -> Any:
    """A convolution of the fused weights against the convolution and the batch norm after it."""
    x, w, b = a.x(2, 2, 5, grad=False), a.x(3, 2, 2, grad=False), a.x(3, grad=False)
    mean, var = _statistics(a, 3)
    F, fused = T.nn.functional, T.nn.utils.fusion.fuse_conv_bn_weights(w, b, mean, var, 0.01, b, mean)
    two = F.batch_norm(F.conv1d(x, w, b), mean, var, b, mean, eps=0.01)
    return [F.conv1d(x, *fused), (F.conv1d(x, *fused) - two).abs().max() < 1e-12]


on_input("fuse_conv_bn_weights as two layers", _fused_as_two)


@case
def fused_in_half_precision(T: Any) -> Any:
    half = {"dtype": T.float16}
    made = T.nn.utils.fuse_conv_bn_weights(
        T.ones(2, 1, 1, **half), T.ones(2, **half), T.zeros(2), T.ones(2), 1e-5, T.ones(2), T.ones(2)
    )
    return [made[0].dtype, made[1].dtype]


# -- memory formats and values ---------------------------------------------------------------------------
def _strides(net: Any) -> list[Any]:
    return [[name, list(p.stride()), p.requires_grad] for name, p in net.named_parameters()]


@case
def convert_conv2d_weight_memory_format(T: Any) -> Any:
    nn = T.nn
    net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Sequential(nn.ConvTranspose2d(3, 4, (1, 2))), nn.Conv1d(4, 2, 2),
                        nn.Linear(2, 3), nn.Conv3d(2, 2, 2))  # fmt: skip
    before = [p.clone() for p in net.parameters()]
    same = T.nn.utils.convert_conv2d_weight_memory_format(net, T.channels_last)
    kept = [bool((p == q).all()) for p, q in zip(net.parameters(), before, strict=True)]
    laid_out = _strides(net)
    T.nn.utils.convert_conv2d_weight_memory_format(net, T.contiguous_format)
    return [same is net, laid_out, kept, _strides(net)]


@case
def convert_conv3d_weight_memory_format(T: Any) -> Any:
    nn = T.nn
    net = nn.ModuleDict({"a": nn.Conv3d(2, 3, 2), "b": nn.ConvTranspose3d(3, 4, (1, 2, 2)), "c": nn.Conv2d(2, 3, 2)})
    same = T.nn.utils.convert_conv3d_weight_memory_format(net, T.channels_last_3d)
    alone = T.nn.utils.convert_conv3d_weight_memory_format(nn.Conv3d(2, 2, 2), T.channels_last_3d)
    return [same is net, _strides(net), alone.weight.is_contiguous(memory_format=T.channels_last_3d)]


@case
def skip_init(T: Any) -> Any:
    found = []
    for m in (
        T.nn.utils.skip_init(T.nn.Linear, 5, 2), T.nn.utils.skip_init(T.nn.Conv1d, 2, 3, kernel_size=2, bias=False),
        T.nn.utils.skip_init(T.nn.BatchNorm1d, num_features=3, dtype=T.float64, device="cpu"),
    ):  # fmt: skip
        tensors = [*m.named_parameters(), *m.named_buffers()]
        found.append([repr(m), [[n, list(t.shape), t.dtype, t.device.type, t.requires_grad] for n, t in tensors]])
    return found


@case
def skip_init_of_another_class(T: Any) -> Any:
    T.nn.utils.skip_init(int)


@case
def skip_init_of_a_layer_without_device(T: Any) -> Any:
    T.nn.utils.skip_init(T.nn.ReLU)


# -- gradients -------------------------------------------------------------------------------------------
def _parameters(T: Any) -> list[Any]:
    """Two with a gradient, and one without."""
    found = [T.nn.Parameter(T.zeros(n, dtype=T.float64)) for n in (2, 1, 3)]
    found[0].grad, found[1].grad = (T.tensor(g, dtype=T.float64) for g in ([3.0, 0.0], [-4.0]))
    return found


@case
def clip_grads_with_norm_(T: Any) -> Any:
    """Whatever norm one has: of these or of other gradients, above the greatest and below it."""
    found = []
    for most, norm in ((1.0, 5.0), (10.0, 5.0), (1.0, 50.0), (0.0, 5.0), (2, 1.0)):
        ps = _parameters(T)
        first = ps[0].grad
        answer = T.nn.utils.clip_grads_with_norm_(ps, most, T.tensor(norm, dtype=T.float64))
        found.append([answer, ps[0].grad, ps[1].grad, ps[2].grad, ps[0].grad is first])
    return found


@case
def clip_grads_with_norm_in_two_steps(T: Any) -> Any:
    """As clip_grad_norm_ does it, of several parameters, of one and of none."""
    found = []
    for norm_type in (2.0, 1, float("inf")):
        one, two = _parameters(T), _parameters(T)
        norm = T.nn.utils.get_total_norm([p.grad for p in one[:2]], norm_type)
        T.nn.utils.clip_grads_with_norm_(one, max_norm=2.0, total_norm=norm)
        T.nn.utils.clip_grad_norm_(two, 2.0, norm_type)
        found.append([norm, one[0].grad, bool((one[0].grad == two[0].grad).all())])
    alone = _parameters(T)[1]
    T.nn.utils.clip_grads_with_norm_(alone, 1.0, T.tensor(8.0), foreach=False)
    T.nn.utils.clip_grads_with_norm_([], 1.0, T.tensor(8.0))
    nan = _parameters(T)
    T.nn.utils.clip_grads_with_norm_(iter(nan), 1.0, T.tensor(float("nan")))
    return [*found, alone.grad, nan[0].grad]


# -- parametrizations ------------------------------------------------------------------------------------
def _halves(T: Any) -> Any:
    class Halves(T.nn.Module):
        def forward(self, a, b):
            return T.cat([a, b])

        def right_inverse(self, whole):
            return whole[:1], whole[1:]

    return Halves()


def _scaled(T: Any, factor: float) -> Any:
    class Scaled(T.nn.Module):
        def forward(self, x):
            return x * factor

        def right_inverse(self, x):
            return x / factor

    return Scaled()


@case
def parametrization_list(T: Any) -> Any:
    parametrize = importlib.import_module(f"{T.__name__}.nn.utils.parametrize")
    weight, other = (T.nn.Parameter(T.tensor(np.arange(6.0).reshape(2, 3))) for _ in range(2))
    made = parametrize.ParametrizationList([_scaled(T, 2.0), _scaled(T, 4.0)], weight)
    found = [
        len(made),
        made.is_tensor,
        made.original,
        made(),
        list(made.state_dict()),
        isinstance(made, T.nn.ModuleList),
    ]
    made.right_inverse(T.ones(2, 3, dtype=T.float64))
    found += [made.original is weight, made(), repr(made)]
    several = parametrize.ParametrizationList([_halves(T)], other)
    found += [several.is_tensor, several.ntensors, several.original0, several.original1, several()]
    several.right_inverse(T.full((2, 3), 7.0, dtype=T.float64))
    return [*found, several.original1, list(several.state_dict()), *_many(T, parametrize)]


def _many(T: Any, parametrize: Any) -> list[Any]:
    """More originals than there are digits."""

    class Joined(T.nn.Module):
        def forward(self, *rows):
            return T.stack(rows)

        def right_inverse(self, whole):
            return tuple(whole)

    made = parametrize.ParametrizationList([Joined()], T.nn.Parameter(T.arange(12.0)))
    made.right_inverse(T.arange(12.0) * 2)
    return [made(), list(made.state_dict())]


@case
def parametrization_list_of_a_layer(T: Any) -> Any:
    parametrize = importlib.import_module(f"{T.__name__}.nn.utils.parametrize")
    layer = T.nn.Linear(3, 2).double()
    parametrize.register_parametrization(layer, "weight", _scaled(T, 2.0))
    held = layer.parametrizations.weight
    found = [isinstance(held, parametrize.ParametrizationList), len(held)]
    parametrize.register_parametrization(layer, "weight", _scaled(T, 4.0))
    with T.no_grad():
        held.original.fill_(0.5)
    return [*found, len(held), layer.parametrizations.weight is held, layer.weight]


def _wrong_list(T: Any, *modules: Any, **options: Any) -> Any:
    parametrize = importlib.import_module(f"{T.__name__}.nn.utils.parametrize")
    return len(parametrize.ParametrizationList(list(modules), T.nn.Parameter(T.ones(2, 3)), **options))


def _longer(T: Any) -> Any:
    class Longer(T.nn.Module):
        def forward(self, x):
            return T.cat([x, x])

    return Longer()


CASES |= {
    "a list of no parametrization": _wrong_list,
    "a list of a parametrization that changes the shape": lambda T: _wrong_list(T, _longer(T)),
    "a list of one that may": lambda T: _wrong_list(T, _longer(T), unsafe=True),
}
