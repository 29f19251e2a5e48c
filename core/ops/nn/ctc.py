"""Connectionist temporal classification, which a backend may fuse: its recursion has an op for each step of time."""

from __future__ import annotations

import math

from flambeau.core.creation import arange
from flambeau.core.declare import OpFunction, composite
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.nn.rules import floats, gradient_of, served, through_body
from flambeau.core.tensor import Tensor

_NEVER = -1e30  # stands for log(0): with a true infinity the gradients of impossible paths would be nan


def _ctc(log_probs: Tensor, labels: Tensor, seen: Tensor, wanted: Tensor, *, blank: int) -> Tensor:
    losses = -_log_likelihood(log_probs, labels, seen, wanted, blank)
    return where(losses > -_NEVER / 2, math.inf, losses + _normalised(log_probs, seen))


_OPERANDS = ("log_probs", "labels", "seen", "wanted")
_gradient = gradient_of(_ctc, _OPERANDS, ("log_probs",), ("blank",))


@composite(
    "ctc(log_probs: Tensor, labels: Tensor, seen: Tensor, wanted: Tensor, *, blank: int) -> Tensor",
    autocast="float32|same",
    infer=lambda log_probs, labels, seen, wanted, **p: tuple(seen),
    dtype=floats,
    kinds={"labels": "index", "seen": "index", "wanted": "index"},
    public=False,
    vjp=dict(
        log_probs=lambda g, log_probs, labels, seen, wanted, blank: ctc_grad_p(
            g, log_probs, labels, seen, wanted, blank
        )
    ),
)
def ctc_p(log_probs: Tensor, labels: Tensor, seen: Tensor, wanted: Tensor, *, blank: int) -> Tensor:
    """Minus the log likelihood of labels (N, S) under log probabilities (T, N, C), of which so many count in each.

    inf where there is no way to the labels. Graves et al., ICML 2006.
    """
    return _ctc(log_probs, labels, seen, wanted, blank=blank)


def _ctc_grad(grad: Tensor, log_probs: Tensor, labels: Tensor, seen: Tensor, wanted: Tensor, *, blank: int) -> Tensor:
    return _gradient(grad, log_probs, labels, seen, wanted, blank=blank)[0]


ctc_grad_p: OpFunction[Tensor] = composite(
    "ctc_grad(grad: Tensor, log_probs: Tensor, labels: Tensor, seen: Tensor, wanted: Tensor, *, blank: int) -> Tensor",
    infer=lambda grad, log_probs, *others, **p: log_probs,
    dtype=floats,
    kinds={"labels": "index", "seen": "index", "wanted": "index"},
    public=False,
    doc="The gradient of ctc for its log probabilities: that for the scores they are log_softmax of.",
    vjp=through_body(_ctc_grad, ("grad", *_OPERANDS), ("blank",), _OPERANDS[1:]),
)(_ctc_grad)


def ctc(log_probs: Tensor, labels: Tensor, seen: Tensor, wanted: Tensor, blank: int) -> Tensor:
    """The same: one op where the device has it."""
    if served(ctc_p, log_probs):
        return ctc_p(log_probs, labels, seen, wanted, blank)
    return _ctc(log_probs, labels, seen, wanted, blank=blank)


def _normalised(log_probs: Tensor, seen: Tensor) -> Tensor:
    """Zeros with the gradient of sum(exp(log_probs)), which is constant for log probabilities.

    With it the gradient is that for the scores before log_softmax, as torch has it; through log_softmax both are one.
    """
    steps = arange(log_probs.shape[0], device=seen.device).unsqueeze(-1)
    total = where(steps < seen, log_probs.exp().sum(2), 0.0).sum(0)
    return total - total.detach()


def _log_likelihood(log_probs: Tensor, labels: Tensor, seen: Tensor, wanted: Tensor, blank: int) -> Tensor:
    """The forward recursion over the labels with a blank before, between and after them."""
    batch, longest = labels.shape
    gaps = labels.new_full((batch, longest), blank)
    extended = cat([stack([gaps, labels], -1).reshape(batch, 2 * longest), gaps[:, :1]], 1)
    before = cat([labels.new_full((batch, 2), -1), extended[:, :-2]], 1)
    may_skip = (extended != blank) & (extended != before)
    places = arange(extended.shape[1], device=labels.device)
    emitted = log_probs.gather(2, extended.unsqueeze(0).expand(log_probs.shape[0], *extended.shape))
    alpha = where(places < 2, emitted[0], _NEVER)
    never = alpha.detach().new_full((batch, 2), _NEVER)
    for t in range(1, log_probs.shape[0]):
        stepped = cat([never[:, :1], alpha[:, :-1]], 1)
        skipped = where(may_skip, cat([never, alpha[:, :-2]], 1), _NEVER)
        following = stack([alpha, stepped, skipped], 0).logsumexp(0) + emitted[t]
        alpha = where((t < seen).unsqueeze(1), following.clamp(min=_NEVER), alpha)
    last = (2 * wanted).unsqueeze(1)
    at_blank = alpha.gather(1, last)
    at_label = where(last == 0, _NEVER, alpha.gather(1, (last - 1).clamp(min=0)))
    return cat([at_blank, at_label], 1).logsumexp(1)
