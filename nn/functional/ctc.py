"""Connectionist temporal classification: the loss of all alignments of a label sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core.autocast import autocasting
from flambeau.core.creation import arange
from flambeau.core.dtype import INTEGER, int64
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.from_data import tensor
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.nn import ctc as ops
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import domain
from flambeau.nn.functional.loss import reduced, reduction_of

Lengths = Tensor | Sequence[int]  # one number for each sequence


def _lengths(name: str, value: Lengths, most: int, log_probs: Tensor) -> Tensor:
    """One length for each of the batch's sequences, from 0 to ``most``."""
    found = value if isinstance(value, Tensor) else tensor(list(value) if isinstance(value, (tuple, list)) else [value])
    found, batch = found.reshape(found.numel()), log_probs.shape[1]
    if found.dtype.category != INTEGER:
        raise DTypeError(f"ctc_loss: {name} must be integers, got {found.dtype.name}")
    if found.numel() != batch:
        raise ShapeError(f"ctc_loss: {name} must have {batch} elements, one per sequence, got {found.numel()}")
    domain.check_between("ctc_loss", name, found, 0, most)
    return found.to(device=log_probs.device, dtype=int64)


def _check_targets(targets: Tensor, batch: int) -> None:
    if targets.dtype.category != INTEGER:
        raise DTypeError(f"ctc_loss: targets must be integers, got {targets.dtype.name}")
    if targets.ndim not in (1, 2) or targets.ndim == 2 and targets.shape[0] != batch:
        raise ShapeError(
            f"ctc_loss: targets must be ({batch}, S), or all in one vector, got shape {tuple(targets.shape)}"
        )


def _padded_targets(targets: Tensor, lengths: Tensor, batch: int) -> Tensor:
    """Label sequences (N, S): concatenated ones are taken apart."""
    if targets.ndim == 2:
        return targets.to(int64)
    longest = max(int(lengths.max().item()), 1)
    if (total := int(lengths.sum().item())) != targets.numel():
        raise ShapeError(f"ctc_loss: target_lengths add up to {total}, but targets has {targets.numel()} elements")
    starts = lengths.cumsum(0) - lengths
    at = starts.unsqueeze(1) + arange(longest, device=targets.device)
    return targets.to(int64)[at.clamp(max=max(targets.numel() - 1, 0))].reshape(batch, longest)


@autocasting("float32|same")
def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Minus the log probability of the label sequences under log probabilities (T, N, C) or (T, C).

    ``targets`` is (N, S), or all sequences in one vector; "mean" divides each loss by its target's length first.
    ``zero_infinity`` makes the loss of a target that is too long 0. Graves et al., ICML 2006.

    >>> fb.nn.functional.ctc_loss(fb.zeros(4, 1, 3).log_softmax(2), fb.tensor([[1]]), fb.tensor([4]), fb.tensor([1]))
    tensor(2.0919)
    """
    how = reduction_of(reduction)
    single = log_probs.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.ndim == 1 else targets
    if log_probs.ndim != 3 or not 0 <= blank < log_probs.shape[2]:
        raise ShapeError(
            f"ctc_loss: log_probs must be (T, N, C) with blank={blank} among the classes, got {tuple(log_probs.shape)}"
        )
    steps, batch, _ = log_probs.shape
    if not batch:
        raise ShapeError(f"ctc_loss: there must be a sequence, got log_probs of shape {tuple(log_probs.shape)}")
    _check_targets(targets, batch)
    seen = _lengths("input_lengths", input_lengths, steps, log_probs)
    wanted = _lengths("target_lengths", target_lengths, targets.shape[-1], log_probs)
    labels = _padded_targets(targets, wanted, batch)
    losses = ops.ctc(log_probs, labels, seen, wanted, blank)
    if zero_infinity:
        losses = where(losses == math.inf, 0.0, losses)
    if how == "mean":
        losses = losses / wanted.clamp(min=1).to(losses.dtype)
    return reduced(losses.squeeze(0) if single and how == "none" else losses, how)
