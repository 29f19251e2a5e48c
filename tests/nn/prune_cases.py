"""Methods of pruning in the torch API: their masks, their containers, and classes of one's own."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tests.nn.models import filled
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {
    "prune": lambda T: importlib.import_module(f"{T.__name__}.nn.utils.prune"),
    "t": lambda T: T.tensor(np.random.default_rng(0).normal(size=(4, 3))),
    "mask": lambda T: T.tensor([[1.0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=T.float64),
    "layer": lambda T: filled(T, T.nn.Linear(3, 4)),
}
CASES: dict[str, Case] = {}
case = collected(CASES)


@case
def compute_mask(T: Any, prune: Any, t: Any, mask: Any) -> Any:
    """What each method makes of a mask, which it leaves as it was."""
    before = mask.clone()
    methods = [
        prune.Identity(), prune.L1Unstructured(3), prune.L1Unstructured(0.5), prune.L1Unstructured(0),
        prune.LnStructured(1, 2, 0), prune.LnStructured(0.5, 1, -1), prune.LnStructured(2, n=float("inf"), dim=1),
        prune.LnStructured(1, "fro", dim=0), prune.CustomFromMask(1 - mask), prune.CustomFromMask(T.ones(4, 3)),
    ]  # fmt: skip
    found = [m.compute_mask(t, default_mask=mask) for m in methods]
    return [*found, [m.PRUNING_TYPE for m in methods], bool((mask == before).all())]


@case
def compute_mask_by_chance(T: Any, prune: Any, t: Any, mask: Any) -> Any:
    """Of what is drawn the counts: elements, rows or columns that are gone."""
    ones, found = T.ones_like(t), []
    for amount in (0, 5, 0.25, 1.0, 12):
        made = prune.RandomUnstructured(amount).compute_mask(t, ones)
        found.append([made.sum(), made.dtype, made.shape])
    for amount, dim in ((0, 0), (1, 0), (0.5, 0), (2, 1), (3, -1)):
        made = prune.RandomStructured(amount, dim).compute_mask(t, ones)
        found.append([(made.sum(1 - dim % 2) > 0).sum(), made.sum()])
    within = [prune.RandomUnstructured(4).compute_mask(t, mask), prune.RandomStructured(2, 0).compute_mask(t, mask)]
    return [*found, [bool((m <= mask).all()) for m in within]]


@case
def random_methods_applied(T: Any, prune: Any, layer: Any) -> Any:
    first = prune.RandomUnstructured.apply(layer, "weight", amount=5)
    found = [type(first).__name__, first.amount, layer.weight_mask.sum(), (layer.weight == 0).sum()]
    second = prune.RandomStructured.apply(layer, "weight", amount=2, dim=0)
    empty = (layer.weight_mask.sum(1) == 0).sum()
    return [*found, type(second).__name__, len(second), second[1].dim, bool(empty >= 2)]


@case
def apply_mask(T: Any, prune: Any, layer: Any) -> Any:
    method = prune.L1Unstructured.apply(layer, "weight", 5)
    kept = method.apply_mask(layer)
    with T.no_grad():
        layer.weight_orig.fill_(2.0)
    found = [kept, layer.weight, method.apply_mask(layer), layer(T.ones(1, 3, dtype=T.float64)), layer.weight]
    return [*found, T.autograd.grad(method.apply_mask(layer).sum(), [layer.weight_orig])[0]]


@case
def containers(T: Any, prune: Any, t: Any, mask: Any) -> Any:
    a, b = prune.L1Unstructured(2), prune.LnStructured(1, 2, 0)
    a._tensor_name = b._tensor_name = "weight"
    made = prune.PruningContainer(a)
    made.add_pruning_method(b)
    found = [len(made), made[0] is a, made[-1] is b, [type(m).__name__ for m in made], made._tensor_name]
    return [*found, made.compute_mask(t, mask.clone()), made.compute_mask(t, T.ones_like(t)), made[:1][0] is a]


@case
def containers_by_kind(T: Any, prune: Any, t: Any, mask: Any) -> Any:
    """What the last method sees of a tensor: elements that are left, slices that are left, or all."""
    found = []
    for method in (prune.L1Unstructured(2), prune.LnStructured(1, 1, 1), prune.LnStructured(1, 2, 0),
                   prune.CustomFromMask(T.ones_like(t)), prune.Identity()):  # fmt: skip
        method._tensor_name = "weight"
        found.append(prune.PruningContainer(method).compute_mask(t, mask.clone()))
    return found


@case
def a_method_of_ones_own(T: Any, prune: Any, layer: Any) -> Any:
    class EverySecond(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def __init__(self, start=0):
            self.start = start

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[self.start :: 2] = 0
            return mask

    x = T.ones(2, 3, dtype=T.float64)
    found = [type(EverySecond.apply(layer, "weight", start=1)).__name__, layer.weight_mask, layer(x)]
    again = EverySecond.apply(layer, "weight")
    found += [
        type(again).__name__,
        layer.weight_mask,
        layer(x),
        list(layer.state_dict()),
        len(layer._forward_pre_hooks),
    ]
    found += [EverySecond().prune(x), EverySecond(1).prune(x, default_mask=T.ones_like(x) * (x > 2))]
    again.remove(layer)
    return [*found, list(layer.state_dict()), layer.weight, type(layer.weight).__name__]


@case
def a_bias_by_itself(T: Any, prune: Any, layer: Any) -> Any:
    prune.L1Unstructured.apply(layer, "bias", amount=2)
    prune.CustomFromMask.apply(layer, "weight", T.tensor([[0.0, 1, 1]] * 4))
    x = T.ones(1, 3, dtype=T.float64)
    found = [layer(x), list(layer.state_dict()), len(layer._forward_pre_hooks), prune.is_pruned(layer)]
    prune.remove(layer, "bias")
    return [*found, layer(x), list(layer.state_dict()), prune.is_pruned(layer)]


@case
def scores_of_ones_own(T: Any, prune: Any, layer: Any, t: Any) -> Any:
    prune.L1Unstructured.apply(layer, "weight", 4, importance_scores=t)
    found = [layer.weight_mask]
    prune.LnStructured.apply(layer, "weight", 1, 2, 1, importance_scores=t)
    other = filled(T, T.nn.Linear(3, 4))
    scores = {(other, "weight"): t, (other, "bias"): T.arange(4.0)}
    pairs = [(other, "weight"), (other, "bias")]
    prune.global_unstructured(pairs, prune.L1Unstructured, importance_scores=scores, amount=5)
    prune.global_unstructured([(other, "bias")], prune.RandomUnstructured, amount=1)
    return [*found, layer.weight_mask, other.weight_mask, other.bias_mask.sum()]


def _named(method: Any, name: str) -> Any:
    method._tensor_name = name
    return method


def _two_names(T: Any, prune: Any) -> Any:
    made = prune.PruningContainer(_named(prune.Identity(), "weight"))
    made.add_pruning_method(_named(prune.L1Unstructured(1), "bias"))


def _unknown_kind(T: Any, prune: Any, t: Any, mask: Any) -> Any:
    method = _named(prune.L1Unstructured(1), "weight")
    method.PRUNING_TYPE = "by colour"
    prune.PruningContainer(method).compute_mask(t, mask)


CASES |= {
    "BasePruningMethod is abstract": lambda T, prune: prune.BasePruningMethod(),
    "two names in a container": _two_names,
    "a kind that nobody knows": _unknown_kind,
    "no method in a container": lambda T, prune: prune.PruningContainer(
        _named(prune.Identity(), "w")
    ).add_pruning_method(3),
    "CustomFromMask of another size": lambda T, prune, layer: prune.CustomFromMask.apply(layer, "weight", T.ones(5, 2)),
    "RandomUnstructured of a share too large": lambda T, prune: prune.RandomUnstructured(1.1),
    "RandomUnstructured of too many": lambda T, prune, t: prune.RandomUnstructured(13).compute_mask(t, T.ones_like(t)),
    "RandomStructured of a word": lambda T, prune: prune.RandomStructured("half"),
    "RandomStructured of too many": lambda T, prune, t: prune.RandomStructured(4, 1).compute_mask(t, T.ones_like(t)),
    "RandomStructured of a vector": lambda T, prune: prune.RandomStructured(1).compute_mask(T.ones(3), T.ones(3)),
    "LnStructured along no axis": lambda T, prune, t: prune.LnStructured(1, 2, 2).compute_mask(t, T.ones_like(t)),
    "LnStructured of a negative number": lambda T, prune: prune.LnStructured(-1, 2),
    "scores of another shape": lambda T, prune, layer: prune.L1Unstructured.apply(
        layer, "weight", 1, importance_scores=T.ones(2, 2)
    ),
    "scores that are no tensor": lambda T, prune, layer: prune.L1Unstructured.apply(
        layer, "weight", 1, importance_scores=3
    ),
    "no such parameter": lambda T, prune, layer: prune.Identity.apply(layer, "kernel"),
    "what is pruned without its name": lambda T, prune, layer: prune.L1Unstructured(1).apply_mask(layer),
}
