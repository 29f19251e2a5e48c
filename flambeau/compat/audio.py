"""Ops of torchaudio's C++ libraries: recursive filters, the transducer's loss and forced alignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

import flambeau as fb
from flambeau.core.keys import precise
from flambeau.core.library import Library, registered
from flambeau.core.ops.scan import affine_scan_p
from flambeau.core.tensor import Tensor

__all__ = ["forced_align", "lfilter_core_loop", "overdrive_core_loop", "register", "rnnt_loss_forward"]


def _check(holds: bool, op: str, text: str) -> None:
    if not holds:
        raise RuntimeError(f"{op}: {text}")


def _named(t: Tensor) -> str:
    return str(t.dtype).rpartition(".")[2]


def _dtypes(op: str, name: str, t: Tensor, *allowed: str) -> None:
    _check(_named(t) in allowed, op, f"{name} should be of {' or '.join(allowed)}, got {_named(t)}")


# -- filters ------------------------------------------------------------------------------------------
def lfilter_core_loop(input_signal_windows: Tensor, a_coeff_flipped: Tensor, padded_output_waveform: Tensor) -> Tensor:
    """out[t + p] = in[t] - Σ a[k] · out[t + k], k below the order p, written into ``padded_output_waveform``.

    ``input_signal_windows`` (batch, channels, n), ``a_coeff_flipped`` (channels, p + 1) with the coefficient 1 of the
    newest last, ``padded_output_waveform`` (batch, channels, n + p) whose first p are the outputs before. RuntimeError
    where shapes or dtypes do not fit. The recurrence of the last p outputs is one of a constant matrix, which is solved
    in log₂(n) steps of whole tensors (Hillis and Steele, "Data parallel algorithms", 1986) on any device, in the widest
    dtype that it has.

    >>> from flambeau.compat.audio import lfilter_core_loop
    >>> lfilter_core_loop(fb.tensor([[[1.0, 0, 0]]]), fb.tensor([[-0.5, 1.0]]), fb.zeros(1, 1, 4))
    tensor([[[0.0000, 1.0000, 0.5000, 0.2500]]])
    """
    x, a, out = input_signal_windows, a_coeff_flipped, padded_output_waveform
    op, order, n = "_lfilter_core_loop", a.shape[-1] - 1, x.shape[-1]
    _dtypes(op, "input_signal_windows", x, "float32", "float64")
    _check(a.dtype == x.dtype == out.dtype, op, f"one dtype is needed, got {x.dtype}, {a.dtype} and {out.dtype}")
    fits = x.dim() == out.dim() == 3 and a.dim() == 2 and a.shape[0] == x.shape[1] and x.shape[:2] == out.shape[:2]
    _check(fits and out.shape[-1] == n + order, op,
           f"shapes {tuple(x.shape)}, {tuple(a.shape)} and {tuple(out.shape)} do not fit")  # fmt: skip
    if not order or not x.numel():
        out[..., order:] = x
        return out
    wide = precise(x.device)
    a, channels = a.to(wide), x.shape[1]
    # one step of (out[t - p + 1], …, out[t]), as rows times a matrix: older ones move down, the newest is made
    step = fb.cat([fb.eye(order, order - 1, device=x.device, dtype=wide).roll(1, 0).expand(channels, -1, -1),
                   -a[:, :-1, None]], 2)  # fmt: skip
    fed = fb.nn.functional.pad(x.to(wide)[..., None], (order - 1, 0))
    first = out[..., None, :order].to(wide) @ step
    states = fb.cat([fed[..., :1, :] + first, fed[..., 1:, :]], 2)
    by = 1
    while by < n:
        states = fb.cat([states[..., :by, :], states[..., by:, :] + states[..., :-by, :] @ step], 2)
        step, by = step @ step, 2 * by
    out[..., order:] = states[..., -1].to(out.dtype)
    return out


def overdrive_core_loop(
    waveform: Tensor, temp: Tensor, last_in: Tensor, last_out: Tensor, output_waveform: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Half of ``waveform`` and three quarters of ``temp`` without its constant part, into ``output_waveform``.

    All are (channels, n), and ``last_in`` and ``last_out`` (channels) the values before, which become the last ones.
    The filter is out[t] = in[t] - in[t - 1] + 0.995 · out[t - 1]: a scan, on any device.

    >>> from flambeau.compat.audio import overdrive_core_loop
    >>> x = fb.tensor([[0.0, 1.0, 1.0]])
    >>> overdrive_core_loop(x, x, fb.zeros(1), fb.zeros(1), fb.zeros(1, 3))[2]
    tensor([[0.0000, 1.2500, 1.2463]])
    """
    _check(waveform.shape == temp.shape == output_waveform.shape and waveform.dim() == 2, "_overdrive_core_loop",
           f"two dimensions of one shape are needed, got {tuple(waveform.shape)}, {tuple(temp.shape)} and "
           f"{tuple(output_waveform.shape)}")  # fmt: skip
    if not waveform.numel():
        return last_in, last_out, output_waveform
    steps = temp.diff(dim=1, prepend=last_in[:, None])
    steps = fb.cat([steps[:, :1] + 0.995 * last_out[:, None], steps[:, 1:]], 1)
    high = affine_scan_p(fb.full_like(steps, 0.995), steps, axis=1)
    output_waveform.copy_(waveform * 0.5 + high * 0.75)
    return last_in.copy_(temp[:, -1]), last_out.copy_(high[:, -1]), output_waveform


# -- the transducer ------------------------------------------------------------------------------------
_NEVER: Final = -1e30  # the logarithm of no chance, which differences of it do not turn into NaN


def _lattice(down: Tensor, across: Tensor, first: Tensor, starts: Tensor) -> Tensor:
    """The logarithm of the sum over paths to each place of a lattice (T, batch, U).

    A path comes to (t, u) from (t - 1, u) by ``down[t, u]`` and from (t, u - 1) by ``across[t, u]``, both (T, batch, U)
    with 0 in ``across[t, 0]``. What comes into row t is ``first`` (batch, U) where ``starts[t]`` (batch, 1). Along u
    the recurrence is a cumulative sum of exponentials; along t a row needs the one before, so that is a loop.
    """
    moved = across.cumsum(-1)
    row, rows = first, []
    for t in range(down.shape[0]):
        row = fb.where(starts[t], first, row) + down[t]
        row = (row - moved[t]).logcumsumexp(-1) + moved[t]
        rows.append(row)
    return fb.stack(rows)


def _check_transducer(
    logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int
) -> None:
    op = "rnnt_loss_forward"
    _dtypes(op, "logits", logits, "float32", "float16")
    for name, t in (("targets", targets), ("logit_lengths", logit_lengths), ("target_lengths", target_lengths)):
        _check(t.device == logits.device, op, f"logits and {name} should be on one device")
        _dtypes(op, name, t, "int32")
    _check(logits.dim() == 4, op, f"logits should be (batch, time, target, class), got {tuple(logits.shape)}")
    batch, times, places, classes = logits.shape
    _check(tuple(targets.shape) == (batch, places - 1), op,
           f"targets should have shape {(batch, places - 1)}, got {tuple(targets.shape)}")  # fmt: skip
    for name, t, size in (("logit_lengths", logit_lengths, times), ("target_lengths", target_lengths, places - 1)):
        _check(tuple(t.shape) == (batch,), op, f"{name} should have shape {(batch,)}, got {tuple(t.shape)}")
        _check(int(t.max()) == size, op, f"the longest of {name} should be {size}, got {int(t.max())}")
    _check(0 <= blank < classes, op, f"blank should be from 0 to {classes - 1}, got {blank}")


def rnnt_loss_forward(
    logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int, clamp: float,
    fused_log_softmax: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """-log of the chance of ``targets`` in a transducer, (batch), and its gradient with respect to ``logits``.

    ``logits`` (batch, T, U + 1, classes), float32 or float16, logarithms of chances unless ``fused_log_softmax``;
    ``targets`` (batch, U), ``logit_lengths`` and ``target_lengths`` (batch), int32. A ``clamp`` above 0 bounds the
    gradient. RuntimeError where these do not fit. Graves, arXiv:1211.3711, with a loop over T of whole tensors.

    >>> from flambeau.compat.audio import rnnt_loss_forward
    >>> one = fb.ones(1, dtype=fb.int32)
    >>> rnnt_loss_forward(fb.zeros(1, 1, 2, 2), one[None], one, one, 0, -1.0, True)
    (tensor([1.3863]), tensor([[[[ 0.5000, -0.5000],
              [-0.5000,  0.5000]]]]))
    """
    _check_transducer(logits, targets, logit_lengths, target_lengths, blank)
    wide = logits.to(precise(logits.device))
    if fused_log_softmax:
        wide = wide.log_softmax(-1)
    batch, times, places, _ = logits.shape
    times_left = logit_lengths.long()[:, None] - fb.arange(times, device=logits.device)
    places_left = target_lengths.long()[:, None] - fb.arange(places, device=logits.device)
    # (T, batch, U + 1): silence ends a row; a label goes on in it
    label = fb.nn.functional.pad(targets.long(), (0, 1)).clamp(min=0)
    silent = wide[..., blank].transpose(0, 1)
    spoken = wide.gather(-1, label[:, None, :, None].expand(-1, times, -1, 1))[..., 0].transpose(0, 1)
    spoken = fb.where(places_left > 0, spoken, 0.0)

    before = fb.nn.functional.pad(spoken[..., :-1], (1, 0))
    origin = fb.where(fb.arange(places, device=logits.device) == 0, 0.0, _NEVER).to(wide.dtype).expand(batch, -1)
    starts = (fb.arange(times, device=logits.device) == 0)[:, None, None].expand(-1, batch, 1)
    alpha = _lattice(fb.nn.functional.pad(silent[:-1], (0, 0, 0, 0, 1, 0)), before, origin, starts)

    end = fb.where(places_left == 0, 0.0, _NEVER).to(wide.dtype)
    after = fb.nn.functional.pad(spoken.flip(0, 2)[..., 1:], (1, 0))
    ends = (times_left == 1).transpose(0, 1)[..., None]
    beta = _lattice(silent.flip(0, 2), after, end.flip(1), ends.flip(0)).flip(0, 2)
    found = beta[0, :, :1]

    # the chance that a path goes through a place and on from it, by silence and by the label
    below = fb.where(ends, end, fb.nn.functional.pad(beta[1:], (0, 0, 0, 0, 0, 1), value=_NEVER))
    beside = fb.nn.functional.pad(beta[..., 1:], (0, 1), value=_NEVER)
    inside = (times_left > 0)[:, :, None] & (places_left >= 0)[:, None]

    def chance(exponent: Tensor) -> Tensor:
        return fb.where(inside, (alpha + exponent - found).transpose(0, 1).exp(), 0.0)

    grad = wide.exp() * chance(beta)[..., None] if fused_log_softmax else fb.zeros_like(wide)
    grad[..., blank] -= chance(silent + below)
    by_label = fb.where((places_left > 0)[:, None], chance(spoken + beside), 0.0)
    grad.scatter_add_(-1, label[:, None, :, None].expand(-1, times, -1, 1), -by_label[..., None])
    if clamp > 0:
        grad.clamp_(-clamp, clamp)
    return -found[:, 0].to(logits.dtype), grad.to(logits.dtype)


# -- alignment ----------------------------------------------------------------------------------------
def forced_align(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """The likeliest alignment of ``targets`` by CTC: the label of each time (1, T), and ``log_probs``.

    ``log_probs`` (1, T, classes), float16, float32 or float64; ``targets`` (1, L), int32 or int64; both lengths (1).
    RuntimeError where these do not fit, or L labels and the silences between equal ones need more than T times.
    Viterbi's algorithm (Graves et al., "Connectionist temporal classification", 2006): labels' logarithms are gathered
    on their device, and the path through them, each step of which needs the one before, is found on the host.

    >>> from flambeau.compat.audio import forced_align
    >>> likely = fb.tensor([[[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]]).log()
    >>> forced_align(likely, fb.tensor([[1]]), fb.tensor([3]), fb.tensor([1]), 0)[0]
    tensor([[1, 1, 0]])
    """
    op = "forced_align"
    _dtypes(op, "log_probs", log_probs, "float64", "float32", "float16")
    _dtypes(op, "targets", targets, "int32", "int64")
    _check(log_probs.dim() == 3, op, f"log_probs should be (batch, time, classes), got {tuple(log_probs.shape)}")
    _check(targets.dim() == 2, op, f"targets should be (batch, length), got {tuple(targets.shape)}")
    _check(log_probs.shape[0] == 1 == targets.shape[0], op, "a batch of one is taken")
    _check(input_lengths.dim() == 1 == target_lengths.dim(), op, "lengths should have one dimension")
    _check(0 <= blank < log_probs.shape[2], op, f"blank should be from 0 to {log_probs.shape[2] - 1}, got {blank}")
    _check(int(input_lengths.max()) == log_probs.shape[1], op, "input_lengths should be the time of log_probs")
    _check(int(target_lengths.max()) == targets.shape[1], op, "target_lengths should be the length of targets")
    labels: np.ndarray = targets[0].cpu().numpy()
    between = fb.full((2 * len(labels) + 1,), blank, dtype=fb.int64, device=log_probs.device)
    between[1::2] = targets[0].long()
    found: np.ndarray = log_probs[0].index_select(1, between).cpu().numpy()
    repeats = int((labels[1:] == labels[:-1]).sum())
    _check(len(found) >= len(labels) + repeats, op,
           f"{len(labels)} targets with {repeats} repeats need as many times, got {len(found)}")  # fmt: skip
    path = _viterbi(found, labels)
    states = np.full(len(path), blank)
    states[path % 2 == 1] = labels[path[path % 2 == 1] // 2]
    return fb.tensor(states.astype(labels.dtype)[None], device=targets.device), log_probs


def _viterbi(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The states, silences even and labels odd, of the likeliest path; ``found`` (T, 2 · labels + 1)."""
    times, states = found.shape
    skips = np.zeros(states, bool)
    skips[3::2] = labels[1:] != labels[:-1]
    best = np.full(states, -np.inf, found.dtype)
    best[:2] = found[0, :2]
    back = np.zeros((times, states), np.int8)
    one, two = np.full((2, states), -np.inf, found.dtype)
    for t in range(1, times):
        one[1:] = best[:-1]
        two[2:] = np.where(skips[2:], best[:-2], -np.inf)
        jump = (two > one) & (two > best)
        move = ~jump & (one > best) & (one > two)
        back[t] = jump * 2 + move
        best = np.where(jump, two, np.where(move, one, best)) + found[t]
    path = np.empty(times, np.int64)
    path[-1] = states - 1 if states == 1 or best[-1] > best[-2] else states - 2
    for t in range(times - 1, 0, -1):
        path[t - 1] = path[t] - back[t, path[t]]
    return path


#: What torchaudio's libraries define, by namespace, and what does it here.
OPS: Final[dict[str, dict[str, Callable[..., Any]]]] = {
    "torchaudio": {
        "_lfilter_core_loop(Tensor input_signal_windows, Tensor a_coeff_flipped, Tensor(a!) padded_output_waveform)"
        " -> Tensor(a!)": lfilter_core_loop,
        "_overdrive_core_loop(Tensor waveform, Tensor temp, Tensor(a!) last_in, Tensor(b!) last_out, "
        "Tensor(c!) output_waveform) -> (Tensor(a!), Tensor(b!), Tensor(c!))": overdrive_core_loop,
        "rnnt_loss_forward(Tensor logits, Tensor targets, Tensor logit_lengths, Tensor target_lengths, int blank, "
        "float clamp, bool fused_log_softmax) -> (Tensor, Tensor)": rnnt_loss_forward,
        "forced_align(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank)"
        " -> (Tensor, Tensor)": forced_align,
    },
    "_torchaudio": {"is_align_available() -> bool": lambda: True, "cuda_version() -> int?": lambda: None},
}


def register(namespace: str) -> None:
    """Enter the ops of a library of torchaudio's, "torchaudio" or "_torchaudio", under their names; once."""
    library = Library(namespace, "FRAGMENT")
    for schema, fn in OPS[namespace].items():
        name = schema.partition("(")[0]
        if registered(f"{namespace}::{name}") is None:
            library.define(schema)
            library.impl(name, fn, "CompositeExplicitAutograd")
