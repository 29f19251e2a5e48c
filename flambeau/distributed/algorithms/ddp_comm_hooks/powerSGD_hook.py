"""Gradients sent as products of two thin matrices. Vogels, Karimireddy and Jaggi, PowerSGD, arXiv:1905.13727."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from flambeau.core import events
from flambeau.core.creation import empty, zeros
from flambeau.core.dtype import float32
from flambeau.core.generator import Generator
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.linalg import qr
from flambeau.core.ops.matmul import bmm
from flambeau.core.ops.random import randn
from flambeau.core.tensor import Tensor
from flambeau.distributed.algorithms.ddp_comm_hooks.default_hooks import mean, reduced
from flambeau.distributed.driven import Driven
from flambeau.futures import Future
from flambeau.nn.parallel.buckets import GradBucket

__all__ = ["PowerSGDState", "batched_powerSGD_hook", "powerSGD_hook"]

_log = logging.getLogger(__name__)
#: The memories of a state, by the index of a bucket, and the numbers of it that go on from a checkpoint.
_MEMORIES: Final = ("error_dict", "p_memory_dict", "q_memory_dict")
_OPTIONS: Final = (
    "matrix_approximation_rank", "start_powerSGD_iter", "min_compression_rate", "orthogonalization_epsilon",
    "use_error_feedback", "warm_start", "batch_tensors_with_same_shape", "compression_stats_logging_frequency",
)  # fmt: skip
_NUMBERS: Final = ("iter", "total_numel_before_compression", "total_numel_after_compression")


class PowerSGDState:
    """Options and memories of the PowerSGD hooks in one process.

    ``matrix_approximation_rank``: columns of the two factors. ``start_powerSGD_iter``: iterations before that, with
    the plain mean of the gradients, in which they change most. ``min_compression_rate``: a gradient is compressed
    where that saves at least so much. ``use_error_feedback``: what an iteration loses is added to the gradients of the
    next one. ``warm_start``: factors begin as they were before. ``orthogonalization_epsilon``: 0 makes factors
    orthogonal by QR; more by Gram-Schmidt, with that added to norms. ``batch_tensors_with_same_shape`` multiplies
    equal shapes together. Saved by :meth:`state_dict`.

    ValueError for a start below 2 with error feedback or warm start: buckets are made anew after the first iteration.
    """

    def __init__(
        self, process_group: Any, matrix_approximation_rank: int = 1, start_powerSGD_iter: int = 1_000,
        min_compression_rate: float = 2, use_error_feedback: bool = True, warm_start: bool = True,
        orthogonalization_epsilon: float = 0, random_seed: int = 0, compression_stats_logging_frequency: int = 10_000,
        batch_tensors_with_same_shape: bool = False,
    ):  # fmt: skip
        if (use_error_feedback or warm_start) and start_powerSGD_iter <= 1:
            raise ValueError(
                "PowerSGDState: expect start_powerSGD_iter > 1 with use_error_feedback or warm_start, because "
                f"DistributedDataParallel makes its buckets anew after the first iteration; got {start_powerSGD_iter}"
            )
        self.process_group = process_group
        self.matrix_approximation_rank, self.start_powerSGD_iter = matrix_approximation_rank, start_powerSGD_iter
        self.min_compression_rate, self.use_error_feedback = min_compression_rate, use_error_feedback
        self.warm_start, self.orthogonalization_epsilon = warm_start, orthogonalization_epsilon
        self.batch_tensors_with_same_shape = batch_tensors_with_same_shape
        self.compression_stats_logging_frequency = max(1, compression_stats_logging_frequency)
        self.rng = Generator().manual_seed(random_seed)
        self.error_dict: dict[int, Tensor] = {}
        self.p_memory_dict: dict[int, Tensor] = {}
        self.q_memory_dict: dict[int, Tensor] = {}
        self.iter = self.total_numel_before_compression = self.total_numel_after_compression = 0

    # -- checkpoints -----------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Options, numbers, memories and the state of its random numbers, without the group; tensors are not copied."""
        kept = {name: getattr(self, name) for name in (*_OPTIONS, *_NUMBERS)}
        memories = {name: dict(getattr(self, name)) for name in _MEMORIES}
        return {**kept, **memories, "rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the state that was saved; ValueError for what none saves."""
        wanted = {*_OPTIONS, *_NUMBERS, *_MEMORIES, "rng"}
        if set(state) != wanted:
            raise ValueError(f"PowerSGDState: expects the entries {sorted(wanted)}, got {sorted(state)}")
        for name in (*_OPTIONS, *_NUMBERS):
            setattr(self, name, state[name])
        for name in _MEMORIES:
            setattr(self, name, {int(index): t.clone() for index, t in state[name].items()})
        self.rng.set_state(state["rng"])

    def __getstate__(self) -> dict[str, Any]:
        _log.warning("PowerSGDState: the process group is not saved; what is loaded has that of all processes")
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.process_group, self.rng = None, Generator()
        self.load_state_dict(state)

    # -- iterations ------------------------------------------------------------------------------
    def compression_stats(self) -> tuple[float, int, int]:
        """How many times fewer elements were sent, and their numbers before and after."""
        before, after = self.total_numel_before_compression, self.total_numel_after_compression
        return (before / after if after else 0.0), before, after

    def _pass(self, bucket: GradBucket) -> None:
        """Count an iteration at its last bucket."""
        if not bucket.is_last():
            return
        self.iter += 1
        if self.iter == self.start_powerSGD_iter:
            _log.info("PowerSGD compresses gradients from iteration %d on", self.iter)
        if self.iter % self.compression_stats_logging_frequency == 0:
            _log.info("PowerSGD, iteration %d: %.1f times fewer elements", self.iter, self.compression_stats()[0])


class _Group(NamedTuple):
    """Gradients of one shape and their matrices, (count, rows, columns)."""

    gradients: list[Tensor]
    matrices: Tensor

    def write(self) -> None:
        """Bring the matrices to the gradients."""
        for g, m in zip(self.gradients, self.matrices.unbind(0), strict=True):
            g.copy_(m.reshape(g.shape))


def _groups(gradients: Sequence[Tensor], together: bool) -> list[_Group]:
    found: dict[tuple[Any, ...], list[Tensor]] = {}
    for i, g in enumerate(gradients):
        found.setdefault(tuple(g.shape) if together else (i,), []).append(g)
    return [_Group(gs, stack([g.reshape(g.shape[0], -1) for g in gs])) for gs in found.values()]


def _compresses(g: Tensor, state: PowerSGDState) -> bool:
    if g.ndim < 2:
        return False
    rows, columns = g.shape[0], g.numel() // max(g.shape[0], 1)
    rank = min(rows, columns, state.matrix_approximation_rank)
    return (rows + columns) * rank * state.min_compression_rate < rows * columns


def _orthogonal(matrices: Tensor, epsilon: float) -> Tensor:
    """Matrices (count, n, r) with orthonormal columns that span what theirs do."""
    if not epsilon:
        return qr(matrices.to(float32) if matrices.dtype.itemsize < 4 else matrices)[0].to(matrices.dtype)
    columns: list[Tensor] = []
    for i in range(matrices.shape[2]):
        c = matrices[:, :, i : i + 1]
        for other in columns:
            c = c - other * (other * c).sum(1, True)
        columns.append(c / (c.square().sum(1, True).sqrt() + epsilon))
    return cat(columns, 2)


def _thin(memory: Tensor, groups: Sequence[_Group], axis: int, most: int) -> list[Tensor]:
    """Views of a memory: for each group (count, its rows or columns, rank)."""
    found, at = [], 0
    for group in groups:
        count, rows, columns = group.matrices.shape
        shape = count, (rows, columns)[axis - 1], min(rows, columns, most)
        size = math.prod(shape)
        found.append(memory[at : at + size].view(shape))
        at += size
    return found


def _room(groups: Sequence[_Group], axis: int, most: int) -> int:
    shapes = (g.matrices.shape for g in groups)
    return sum(c * (n, m)[axis - 1] * min(n, m, most) for c, n, m in shapes)


class _Compression:
    """One bucket on its way: the factors P and Q of its groups of matrices, M = P Q'."""

    def __init__(self, state: PowerSGDState, index: int, groups: list[_Group], like: Tensor):
        self.state, self.groups = state, groups
        rank = state.matrix_approximation_rank
        known = state.warm_start and index in state.p_memory_dict
        if not known:
            for memory, axis in ((state.p_memory_dict, 1), (state.q_memory_dict, 2)):
                memory[index] = empty(_room(groups, axis, rank), dtype=like.dtype, device=like.device)
            begin = randn(state.q_memory_dict[index].numel(), generator=state.rng)  # the same on every device
            state.q_memory_dict[index].copy_(begin)
        self.p, self.q = state.p_memory_dict[index], state.q_memory_dict[index]
        self.ps, self.qs = _thin(self.p, groups, 1, rank), _thin(self.q, groups, 2, rank)

    def first(self) -> Future[Tensor]:
        """The sum over the processes of P = M Q."""
        for group, p, q in zip(self.groups, self.ps, self.qs, strict=True):
            q.copy_(_orthogonal(q, self.state.orthogonalization_epsilon))
            p.copy_(bmm(group.matrices, q))
        return reduced(self.p, self.state.process_group)

    def second(self) -> Future[Tensor]:
        """The mean over the processes of Q = M' P, for P with orthonormal columns."""
        for group, p, q in zip(self.groups, self.ps, self.qs, strict=True):
            p.copy_(_orthogonal(p, self.state.orthogonalization_epsilon))
            q.copy_(bmm(group.matrices.transpose(1, 2), p))
        return mean(self.q, self.state.process_group)

    def write(self) -> None:
        """M = P Q', where the gradients were."""
        for group, p, q in zip(self.groups, self.ps, self.qs, strict=True):
            group.matrices.copy_(bmm(p, q.transpose(1, 2)))
            group.write()


def _with_error(state: PowerSGDState, bucket: GradBucket, buffer: Tensor) -> Tensor | None:
    """Add to a bucket what was lost before; a copy of that, from which what is lost now is known."""
    if not state.use_error_feedback:
        return None
    lost = state.error_dict.get(bucket.index())
    if lost is not None:
        buffer.add_(lost)
    return buffer.clone()


def _keep_error(state: PowerSGDState, bucket: GradBucket, whole: Tensor | None, buffer: Tensor) -> None:
    if whole is not None:
        state.error_dict[bucket.index()] = whole.sub_(buffer)


def _plain_so_far(state: PowerSGDState, bucket: GradBucket) -> bool:
    """Whether it is too early to compress; counts the iteration."""
    events.refuse("PowerSGD counts its iterations")
    early = state.iter < state.start_powerSGD_iter
    state._pass(bucket)
    return early


def powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Future[Tensor]:
    """The mean of the gradients, each matrix of which is sent as a product of rank ``matrix_approximation_rank``.

    Gradients of one axis, and those that it would not make small enough, are sent as they are.

    >>> from flambeau.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
    >>> PowerSGDState(None, matrix_approximation_rank=2).start_powerSGD_iter
    1000
    """
    buffer = bucket.buffer()
    if _plain_so_far(state, bucket):
        return mean(buffer, state.process_group)
    whole = _with_error(state, bucket, buffer)
    gradients = bucket.gradients()
    thin = [g for g in gradients if _compresses(g, state)]
    others = [g for g in gradients if not _compresses(g, state)]
    found = _Compression(state, bucket.index(), _groups(thin, state.batch_tensors_with_same_shape), buffer)
    rest = cat([g.reshape(-1) for g in others]) if others else None
    state.total_numel_before_compression += buffer.numel()
    state.total_numel_after_compression += sum(t.numel() for t in (rest, found.p, found.q) if t is not None)
    plain = None if rest is None else mean(rest, state.process_group)
    first = found.first() if thin else None

    def finish() -> Tensor:
        if plain is not None:
            parts = plain.wait().split([g.numel() for g in others])
            for g, part in zip(others, parts, strict=True):
                g.copy_(part.view(g.shape))
        if first is not None:
            first.wait()
            found.second().wait()
            found.write()
        _keep_error(state, bucket, whole, buffer)
        return buffer

    return Driven(finish)


def batched_powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Future[Tensor]:
    """As :func:`powerSGD_hook`, of the whole bucket as one square matrix: faster, and loses more."""
    buffer = bucket.buffer()
    if _plain_so_far(state, bucket):
        return mean(buffer, state.process_group)
    side = math.isqrt(max(buffer.numel() - 1, 0)) + 1
    square = zeros(side * side, dtype=buffer.dtype, device=buffer.device)
    square[: buffer.numel()] = buffer
    whole = _with_error(state, bucket, square)
    found = _Compression(state, bucket.index(), [_Group([square.view(side, side)], square.view(1, side, side))], buffer)
    state.total_numel_before_compression += buffer.numel()
    state.total_numel_after_compression += found.p.numel() + found.q.numel()
    first = found.first()

    def finish() -> Tensor:
        first.wait()
        found.second().wait()
        found.write()
        _keep_error(state, bucket, whole, square)
        buffer.copy_(square[: buffer.numel()])
        return buffer

    return Driven(finish)
