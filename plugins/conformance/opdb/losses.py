"""Samples and references of losses and norms that a device may compute in one op."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau.plugins.conformance.opdb import Failure, Maker, Sample, error_rows, reference, sample_rows
from flambeau.plugins.conformance.opdb import nn_references as ref

Array = Any  # numpy's


def by_complex_step(fn: Callable[[Array], Array], grad: Array, x: Array) -> Array:
    """The gradient of sum(grad * fn(x)), from a step into the complex plane for each number of ``x``."""
    out = np.zeros(x.shape)
    for at in np.ndindex(*x.shape):
        moved = x.astype(np.complex128)
        moved[at] += 1e-30j
        out[at] = (grad * fn(moved).imag).sum() / 1e-30
    return out


# -- slopes ------------------------------------------------------------------------------------------
reference("squared_error_grad", lambda g, x, target: 2 * g * (x - target), tolerance=4)
reference("huber_error_grad", lambda g, x, target, delta: g * np.clip(x - target, -delta, delta), tolerance=4)
reference(
    "cross_entropy_of_logit_grad",
    lambda g, x, target, positive: g * ((1 - target) * ref.sigmoid(x) - positive * target * ref.sigmoid(-x)),
    tolerance=4,
)


def _of_errors(m: Maker) -> list[Any]:
    x, target = m(3, 4, low=-1, high=1), m(3, 4, low=1.5, high=4)
    return [(m(3, 4), x, target, np.asarray(d).astype(m.dtype.numpy)) for d in (0.3, 2.0)]


sample_rows({"huber_error_grad": _of_errors})


# -- cross entropy -----------------------------------------------------------------------------------
def _options(reduction: str, ignore_index: int = -1, smoothing: float = 0.0) -> dict[str, Any]:
    return dict(ignore_index=ignore_index, reduction=reduction, smoothing=smoothing)


def _targets(weights: Array, c: int, smoothing: float) -> Array:
    """What the log probabilities of an example of class ``c`` are multiplied by."""
    share = weights * smoothing / len(weights)
    share[c] += weights[c] * (1 - smoothing)
    return share


def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str, smoothing: float
) -> tuple[Array, Array]:
    rows, classes = np.moveaxis(x, 1, -1) if x.ndim > 1 else x, target.astype(int)
    weights = np.ones(rows.shape[-1]) if weight is None else weight
    sums = np.log(np.exp(rows).sum(-1))
    losses, total = np.zeros(target.shape, rows.dtype), 0.0
    for at in np.ndindex(*target.shape):
        c = int(classes[at])
        if c != ignore_index:
            losses[at] = -(_targets(weights, c, smoothing) * (rows[at] - sums[at])).sum()
            total += weights[c]
    found = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / np.float64(total)}[reduction]
    return np.asarray(found), np.asarray(total)


def cross_entropy_grad(
    grad: Array, x: Array, target: Array, weight: Array | None, total: Array, **options: Any
) -> Array:
    how = options.pop("reduction")
    g = grad / total if how == "mean" and total else grad * (how != "mean")
    return by_complex_step(lambda v: cross_entropy(v, target, weight, reduction="none", **options)[0], g, x)


def _as(m: Maker, value: Any) -> Array:
    return np.asarray(value).astype(m.dtype.numpy)


def _cross_entropies(m: Maker) -> list[Sample]:
    weights = _as(m, [1, 0.5, 2])
    return [
        *(Sample(m(5, 3), m.index(5, high=3), None, **_options(how)) for how in ("none", "sum", "mean")),
        *(Sample(m(2, 3, 2), m.index(2, 2, high=3), weights, **_options(how, 1, 0.25)) for how in ("none", "mean")),
        Sample(m(4), np.array(2), None, **_options("mean", smoothing=0.5)),
    ]


def _gradients(m: Maker) -> list[Sample]:
    found = []
    weights = _as(m, [1, 0.5, 2])
    for shape, weight, how, ignore, smoothing in (
        ((5, 3), None, "none", -1, 0.0), ((5, 3), None, "mean", 1, 0.25), ((2, 3, 2), weights, "sum", 1, 0.0),
        ((2, 3, 2), weights, "mean", 1, 0.25),
    ):  # fmt: skip
        each = (shape[0], *shape[2:])
        grad, target = m(*each) if how == "none" else m(), m.index(*each, high=3)
        found.append(Sample(grad, m(*shape), target, weight, _as(m, 4), **_options(how, ignore, smoothing)))
    return found


sample_rows({"cross_entropy": _cross_entropies, "cross_entropy_grad": _gradients})
reference("cross_entropy", cross_entropy, tolerance=10)
reference("cross_entropy_grad", cross_entropy_grad, tolerance=10)
error_rows({
    "cross_entropy": lambda m: [
        Failure(RuntimeError, ("(5, 3)", "(4,)"), m(5, 3), m.index(4, high=3), None, **_options("mean")),
        Failure(RuntimeError, ("weight", "(2,)", "(3,)"), m(5, 3), m.index(5, high=3), m(2), **_options("mean")),
    ],
})  # fmt: skip


# -- groups ------------------------------------------------------------------------------------------
def group_norm(x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float) -> Array:
    rows = x.reshape(x.shape[0], groups, -1)
    centred = rows - rows.mean(-1, keepdims=True)
    out = (centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)).reshape(x.shape)
    each = (-1, *[1] * (x.ndim - 2))
    return out * (1 if weight is None else weight.reshape(each)) + (0 if bias is None else bias.reshape(each))


def group_norm_grad(grad: Array, x: Array, weight: Array | None, groups: int, eps: float) -> tuple[Array, ...]:
    axes = tuple(i for i in range(x.ndim) if i != 1)
    of_x = by_complex_step(lambda v: group_norm(v, weight, None, groups, eps), grad, x)
    return of_x, (grad * group_norm(x, None, None, groups, eps)).sum(axes), grad.sum(axes)


sample_rows({
    "group_norm": lambda m: [
        Sample(m(2, 4, 3), m(4), m(4), groups=2, eps=1e-2), Sample(m(3, 6), None, None, groups=2, eps=1e-1),
        Sample(m(2, 3, 2, 2), m(3), None, groups=3, eps=1e-2),
    ],
    "group_norm_grad": lambda m: [
        Sample(m(2, 4, 3), m(2, 4, 3), m(4), groups=2, eps=1e-1), Sample(m(2, 4), m(2, 4), None, groups=1, eps=1e-1),
    ],
})  # fmt: skip
reference("group_norm", group_norm, tolerance=20)
reference("group_norm_grad", group_norm_grad, tolerance=1000)


# -- connectionist temporal classification -----------------------------------------------------------
def _ways(steps: int, classes: int, labels: list[int], blank: int) -> list[tuple[int, ...]]:
    """The sequences of classes that become the labels: repeats are merged, then blanks dropped."""
    return [
        way for way in itertools.product(range(classes), repeat=steps)
        if [c for c, _ in itertools.groupby(way) if c != blank] == labels
    ]  # fmt: skip


def _likelihoods(log_probs: Array, labels: Array, seen: Array, wanted: Array, blank: int) -> Any:
    """For each sequence the ways, and the probability of each."""
    for n in range(log_probs.shape[1]):
        steps = int(seen[n])
        ways = _ways(steps, log_probs.shape[2], [int(c) for c in labels[n][: int(wanted[n])]], blank)
        yield ways, np.array([np.exp(sum(log_probs[t, n, c] for t, c in enumerate(way))) for way in ways])


def ctc(log_probs: Array, labels: Array, seen: Array, wanted: Array, blank: int) -> Array:
    found = [p.sum() for _, p in _likelihoods(log_probs, labels, seen, wanted, blank)]
    return np.array([-np.log(p) if p else np.inf for p in found])


def ctc_grad(grad: Array, log_probs: Array, labels: Array, seen: Array, wanted: Array, blank: int) -> Array:
    out = np.zeros(log_probs.shape)
    for n, (ways, shares) in enumerate(_likelihoods(log_probs, labels, seen, wanted, blank)):
        if not shares.sum():
            continue
        steps = int(seen[n])
        out[:steps, n] = grad[n] * np.exp(log_probs[:steps, n])
        for way, share in zip(ways, shares / shares.sum(), strict=True):
            for t, c in enumerate(way):
                out[t, n, c] -= grad[n] * share
    return out


def _sequences(m: Maker) -> tuple[Array, ...]:
    log_probs = _as(m, ref.log_softmax(m(4, 3, 3).astype(float)))
    return log_probs, np.array([[1, 2], [1, 1], [2, 0]]), np.array([4, 3, 2]), np.array([2, 2, 1])


sample_rows({
    "ctc": lambda m: [Sample.rough(*_sequences(m), blank=0)],  # its gradient is that of the scores before log_softmax
    "ctc_grad": lambda m: [Sample.rough(m(3), *_sequences(m), blank=0)],
})  # fmt: skip
reference("ctc", ctc, tolerance=20)
reference("ctc_grad", ctc_grad, tolerance=100)


# -- distances ---------------------------------------------------------------------------------------
def pdist(x: Array, p: float) -> Array:
    pairs = itertools.combinations(range(len(x)), 2)
    return np.array([np.linalg.norm(x[i] - x[j], p) for i, j in pairs])


def pdist_grad(grad: Array, x: Array, distances: Array, p: float) -> Array:
    found = np.zeros(x.shape)
    for k, (i, j) in enumerate(itertools.combinations(range(len(x)), 2)):
        d = x[i] - x[j]
        slope = np.sign(d) if p == 1 else d / distances[k]
        found[i] += grad[k] * slope
        found[j] -= grad[k] * slope
    return found


def _with_distances(m: Maker, p: float) -> Sample:
    x = m(4, 3)
    return Sample.rough(m(6), x, _as(m, pdist(x.astype(float), p)), p=p)


sample_rows({
    "pdist": lambda m: [Sample(m(4, 3), p=p) for p in (1.0, 2.0, np.inf)],
    "pdist_grad": lambda m: [_with_distances(m, p) for p in (1.0, 2.0)],
})  # fmt: skip
reference("pdist", pdist, tolerance=10)
reference("pdist_grad", pdist_grad, tolerance=100)
