"""Batch normalisation over the batches of all processes."""

from __future__ import annotations

from flambeau.core.autograd.function import Function, FunctionCtx
from flambeau.core.creation import empty, full, zeros
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType, float32
from flambeau.core.ops.joining import cat
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module
from flambeau.nn.norm import _BatchNorm
from flambeau.nn.parallel.processes import Collectives, Group, available, collectives


def _per_channel(statistic: Tensor, like: Tensor) -> Tensor:
    """A value for each channel, so that it broadcasts over (N, C, ...)."""
    return statistic.view(1, -1, *([1] * (like.ndim - 2)))


def _over(x: Tensor) -> list[int]:
    """All axes but that of the channels."""
    return [0, *range(2, x.ndim)]


def _wide(x: Tensor) -> Tensor:
    """In at least 32 bits, in which statistics are computed."""
    return x.to(float32) if x.dtype.itemsize < float32.itemsize else x


def _statistics(x: Tensor, talk: Collectives, group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel over the batches of all processes, and how many values each is of.

    Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.
    """
    channels, count = x.shape[1], x.numel() // x.shape[1]
    mine = zeros(2 * channels + 1, dtype=x.dtype, device=x.device)
    if count:
        mean = x.mean(_over(x))
        squares = (x - _per_channel(mean, x)).square().sum(_over(x))
        mine = cat([mean, squares, full((1,), count, dtype=x.dtype, device=x.device)])
    each = empty(talk.get_world_size(group) * mine.numel(), dtype=x.dtype, device=x.device)
    talk.all_gather_into_tensor(each, mine, group=group)
    means, squares, counts = each.view(-1, mine.numel()).split([channels, channels, 1], dim=1)
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    return mean, (squares + counts * (means - mean).square()).sum(0) / total, total


class _Normalised(Function):
    """The input normalised by the statistics of all processes, these, and their number of values."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, talk: Collectives,
        group: Group,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        x = _wide(input)
        mean, var, total = _statistics(x, talk, group)
        scale = (var + eps).rsqrt()
        ctx.talk, ctx.group, ctx.has_bias = talk, group, bias is not None
        ctx.save_for_backward(input, weight, mean, scale, total)
        ctx.mark_non_differentiable(mean, var, total)
        out = (x - _per_channel(mean, x)) * _per_channel(scale if weight is None else scale * weight, x)
        if bias is not None:
            out = out + _per_channel(bias, x)
        return out.to(input.dtype), mean, var, total

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, scale, total = ctx.saved_tensors
        x, g = _wide(input), _wide(grad)
        normal = (x - _per_channel(mean, x)) * _per_channel(scale, x)
        sums = cat([g.sum(_over(x)), (g * normal).sum(_over(x))])
        of_bias, of_weight = (part.clone() for part in sums.chunk(2))  # averaged as all gradients of parameters are
        ctx.talk.all_reduce(sums, group=ctx.group)
        shift, slope = (_per_channel(part, x) for part in (sums / total).chunk(2))
        out = (g - shift - normal * slope) * _per_channel(scale if weight is None else scale * weight, x)
        return (
            out.to(input.dtype), None if weight is None else of_weight.to(weight.dtype),
            of_bias if ctx.has_bias else None, None, None, None,
        )  # fmt: skip


class SyncBatchNorm(_BatchNorm):
    """Each channel of (N, C, ...) with mean 0 and variance 1 over the batches of all processes.

    The processes are those of ``process_group``, of all that there are by default; their batches may have different
    sizes, also 0. Where there is one process, and in evaluation, it is an ordinary batch norm. Gradients of weight and
    bias are of the batch of this process, as of any parameter: DistributedDataParallel averages them.

    >>> fb.nn.SyncBatchNorm(3)(fb.ones(2, 3, 8)).shape
    flambeau.Size([2, 3, 8])
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, process_group: object = None, device: DeviceLike = None,
        dtype: DType | None = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2 or input.shape[1] == 0:
            raise ValueError(
                f"SyncBatchNorm: expected an input of at least 2D with channels, got shape {tuple(input.shape)}"
            )

    def forward(self, input: Tensor) -> Tensor:
        """The input normalised per channel."""
        synced = self.training and available()
        talk = collectives("SyncBatchNorm") if synced else None
        if talk is None or talk.get_world_size(self.process_group) == 1:
            return super().forward(input)
        self._check_input_dim(input)
        factor = self._count_batch()
        found: tuple[Tensor, ...] = _Normalised.apply(input, self.weight, self.bias, self.eps, talk, self.process_group)
        out, mean, var, total = found
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with no_grad():
                unbiased = var * (total / (total - 1))
                self.running_mean.mul_(1 - factor).add_(mean.to(self.running_mean.dtype) * factor)
                self.running_var.mul_(1 - factor).add_(unbiased.to(self.running_var.dtype) * factor)
        return out

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: object = None) -> Module:
        """The module with every batch norm in it made a SyncBatchNorm of the same parameters and statistics.

        >>> fb.nn.SyncBatchNorm.convert_sync_batchnorm(fb.nn.Sequential(fb.nn.BatchNorm1d(3)))[0]._get_name()
        'SyncBatchNorm'
        """
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                process_group, bias=module.bias is not None,
            )  # fmt: skip
            made._parameters.update(module._parameters)
            made._buffers.update(module._buffers)
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made
