"""nn.utils in the torch API: norms by hooks, pruning, fusion, parametrizations."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


def _filled(T: Any, module: Any, seed: int = 0) -> Any:
    """The module in float64, its parameters and statistics set."""
    rng, module = np.random.default_rng(seed), module.double()
    tensors = [*module.named_parameters(), *((n, b) for n, b in module.named_buffers() if b.is_floating_point())]
    with T.no_grad():
        for name, t in sorted(tensors, key=lambda pair: pair[0]):
            values = rng.normal(size=tuple(t.shape))
            t.copy_(T.tensor(abs(values) + 0.1 if "var" in name else values))
    return module


def _linear(T: Any, out: int = 5, seed: int = 0) -> Any:
    return _filled(T, T.nn.Linear(3, out), seed)


def _numbers(T: Any, *shape: int) -> Any:
    return T.tensor(np.random.default_rng(3).normal(size=shape))


def _prune(T: Any) -> Any:
    return importlib.import_module(f"{T.__name__}.nn.utils.prune")


@case
def weight_norm_hook(T: Any) -> Any:
    found = []
    for dim in (0, 1, None):
        m = T.nn.utils.weight_norm(_linear(T), dim=dim)
        y = m(_numbers(T, 4, 3))
        found += [y, *T.autograd.grad(y.pow(2).sum(), [m.weight_g, m.weight_v]), list(m.state_dict())]
        found.append(list(T.nn.utils.remove_weight_norm(m).state_dict().values()))
    return found


@case
def spectral_norm_hook(T: Any) -> Any:
    m, x = _filled(T, T.nn.utils.spectral_norm(_linear(T)), 2), _numbers(T, 4, 3)
    m(x)
    y = m(x)
    found = [y, *T.autograd.grad(y.pow(2).sum(), [m.weight_orig]), m.weight_u, m.weight_v, m.eval()(x)]
    state = m.state_dict()
    found += [list(state), state._metadata[""]["spectral_norm"]["weight.version"]]
    other = T.nn.utils.spectral_norm(T.nn.Linear(3, 5).double())
    other.load_state_dict(state)
    found.append(other.eval()(x))
    T.nn.utils.remove_spectral_norm(other)
    return [*found, other(x), list(other.state_dict()), len(other._forward_pre_hooks)]


@case
def prune_one_tensor(T: Any) -> Any:
    prune, x = _prune(T), _numbers(T, 4, 3)
    m = prune.l1_unstructured(_linear(T), "weight", 0.3)
    found = [m.weight_mask, m(x)]
    prune.l1_unstructured(m, "weight", 4)
    found.append(m.weight_mask)
    prune.ln_structured(m, "weight", 2, n=2, dim=0)
    found.append(m.weight_mask)
    prune.ln_structured(m, "weight", 1, n=float("inf"), dim=1)
    found += [m.weight_mask, m(x), T.autograd.grad(m(x).pow(2).sum(), [m.weight_orig])[0]]
    prune.custom_from_mask(m, "weight", T.ones(5, 3))
    found += [m.weight_mask, len(next(iter(m._forward_pre_hooks.values()))), prune.is_pruned(m)]
    prune.remove(m, "weight")
    return [*found, m.weight, list(m.state_dict()), prune.is_pruned(m)]


@case
def prune_several(T: Any) -> Any:
    prune, a, b = _prune(T), _linear(T), _linear(T, 2, 7)
    prune.global_unstructured([(a, "weight"), (b, "weight"), (b, "bias")], prune.L1Unstructured, amount=0.4)
    found = [a.weight, b.weight, b.bias]
    prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=3)
    return [*found, a.weight, b.weight]


@case
def prune_by_scores(T: Any) -> Any:
    prune, t = _prune(T), _numbers(T, 4, 4)
    m = prune.l1_unstructured(_linear(T), "weight", 2, importance_scores=_numbers(T, 5, 3))
    return [m.weight, prune.LnStructured(1, 2, 0).prune(t), prune.L1Unstructured(3).prune(t, importance_scores=-t)]


@case
def prune_by_chance(T: Any) -> Any:
    prune = _prune(T)
    counts = [prune.random_unstructured(_linear(T), "weight", 3), prune.random_structured(_linear(T), "weight", 2, 1)]
    return [[m.weight_mask.sum() for m in counts], prune.identity(_linear(T), "bias").bias_mask]


_WRONG: dict[str, Case] = {
    "share": lambda T: _prune(T).l1_unstructured(_linear(T), "weight", 1.5),
    "too many": lambda T: _prune(T).l1_unstructured(_linear(T), "weight", 100),
    "negative": lambda T: _prune(T).l1_unstructured(_linear(T), "weight", -1),
    "a word": lambda T: _prune(T).l1_unstructured(_linear(T), "weight", "a"),
    "not pruned": lambda T: _prune(T).remove(_linear(T), "weight"),
    "axis": lambda T: _prune(T).ln_structured(_linear(T), "weight", 1, 2, dim=5),
    "vector": lambda T: _prune(T).ln_structured(_linear(T), "bias", 1, 2, dim=0),
    "global by slices": lambda T: _prune(T).global_unstructured(
        [(_linear(T), "weight")], _prune(T).LnStructured, amount=1, n=2
    ),
    "no weight_norm": lambda T: T.nn.utils.remove_weight_norm(_linear(T)),
    "no spectral_norm": lambda T: T.nn.utils.remove_spectral_norm(_linear(T)),
    "weight_norm twice": lambda T: T.nn.utils.weight_norm(T.nn.utils.weight_norm(_linear(T))),
}
CASES |= {f"wrong {name}": wrong for name, wrong in _WRONG.items()}


@case
def fused(T: Any) -> Any:
    found = []
    for conv, norm, shape in (
        (T.nn.Conv2d(3, 4, 2), T.nn.BatchNorm2d(4), (2, 3, 5, 5)),
        (T.nn.Conv1d(3, 4, 2, bias=False), T.nn.BatchNorm1d(4, affine=False), (2, 3, 5)),
        (T.nn.ConvTranspose1d(3, 4, 2), T.nn.BatchNorm1d(4), (2, 3, 5)),
    ):
        conv, norm = _filled(T, conv).eval(), _filled(T, norm).eval()
        one = T.nn.utils.fuse_conv_bn_eval(conv, norm, transpose=conv.transposed)
        found += [one(_numbers(T, *shape)), one.weight, one.bias]
    linear = T.nn.utils.fuse_linear_bn_eval(_linear(T, 4).eval(), _filled(T, T.nn.BatchNorm1d(4)).eval())
    return [*found, linear(_numbers(T, 4, 3)), linear.bias]


@case
def transferred(T: Any) -> Any:
    parametrize = importlib.import_module(f"{T.__name__}.nn.utils.parametrize")
    a, b = importlib.import_module(f"{T.__name__}.nn.utils.parametrizations").weight_norm(_linear(T)), _linear(T, 5, 1)
    parametrize.transfer_parametrizations_and_params(a, b)
    kinds = [parametrize.type_before_parametrizations(m).__name__ for m in (b, _linear(T))]
    return [b.weight, list(b.state_dict()), kinds]


def _orthogonal(T: Any, shape: tuple[int, int], orthogonal_map: str | None, around: bool) -> Any:
    parametrizations = importlib.import_module(f"{T.__name__}.nn.utils.parametrizations")
    rng = np.random.default_rng(1)
    layer = T.nn.Linear(shape[1], shape[0], bias=False).double()
    with T.no_grad():
        layer.weight.copy_(T.tensor(rng.normal(size=shape)))
    parametrizations.orthogonal(layer, orthogonal_map=orthogonal_map, use_trivialization=around)
    original = layer.parametrizations.weight.original
    found = [original]
    if shape[0] == shape[1] or not around:  # what completes a matrix to a square is drawn
        found.append(layer.weight)
        with T.no_grad():
            below = T.tensor(np.tril(rng.normal(size=shape), -1))
            original.copy_(below + T.eye(*shape).double())
        loss = (layer.weight * T.tensor(rng.normal(size=shape))).sum()
        found += [layer.weight, *T.autograd.grad(loss, [original])]
    wide = shape[0] < shape[1]
    q = layer.weight.T if wide else layer.weight
    return [*found, (q.T @ q - T.eye(min(shape)).double()).abs().max() < 1e-12]


for _shape in ((3, 3), (5, 3), (3, 5)):
    for _map in (None, "matrix_exp", "cayley", "householder"):
        for _around in (True, False):
            CASES[f"orthogonal {_shape} {_map} {_around}"] = lambda T, s=_shape, m=_map, a=_around: _orthogonal(
                T, s, m, a
            )


@case
def orthogonal_assigned(T: Any) -> Any:
    found = []
    parametrizations = importlib.import_module(f"{T.__name__}.nn.utils.parametrizations")
    for options in ({}, {"orthogonal_map": "householder", "use_trivialization": False}):
        q = np.linalg.qr(np.random.default_rng(5).normal(size=(5, 3)))[0]
        layer = parametrizations.orthogonal(T.nn.Linear(3, 5, bias=False).double(), **options)
        layer.weight = T.tensor(q)
        found.append(layer.weight)
    return found


# -- old names -------------------------------------------------------------------------------------------
@case
def old_names(T: Any) -> Any:
    names = (
        "constant dirac kaiming_normal kaiming_uniform normal orthogonal sparse uniform xavier_normal xavier_uniform"
    )
    p = T.nn.Parameter(T.ones(2))
    p.grad = T.tensor([3.0, 4.0])
    norm = T.nn.utils.clip_grad_norm([p], 1.0)
    return [T.nn.init.constant(T.empty(2), 3.0), [hasattr(T.nn.init, n) for n in names.split()], norm, p.grad]
