"""Normalisation layers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from flambeau.core.creation import arange, empty, ones, zeros
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType, int64
from flambeau.core.errors import ShapeError
from flambeau.core.from_data import tensor
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn import init
from flambeau.nn.module import Module
from flambeau.nn.of_function import OfTensor
from flambeau.nn.parameter import Parameter
from flambeau.nn.spatial import Spatial


class _Affine(Module):
    """A weight and a bias that scale and shift what was normalised."""

    def _register(self, shape: tuple[int, ...], device: DeviceLike, dtype: DType | None, **wanted: bool) -> None:
        for name, is_wanted in wanted.items():
            made = Parameter(empty(*shape, device=device, dtype=dtype)) if is_wanted else None
            self.register_parameter(name, made)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        for name, fill in (("weight", init.ones_), ("bias", init.zeros_)):
            made = self._parameters.get(name)
            if made is not None:
                fill(made)


class _NormBase(_Affine, Spatial):
    """Weights and running statistics for each channel."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    _version = 2  # since 2 the number of batches is counted

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: DeviceLike = None, dtype: DType | None = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._register((num_features,), device, dtype, weight=affine, bias=affine and bias)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0, dtype=int64, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches."""
        for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            buffer = self._buffers[name]
            if buffer is not None:
                buffer.fill_(value)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and new running statistics."""
        self.reset_running_stats()
        super().reset_parameters()

    def _dims_of_input(self) -> tuple[int, ...]:
        raise NotImplementedError(f"{type(self).__name__} must define _check_input_dim(input)")

    def _check_input_dim(self, input: Tensor) -> None:
        """ValueError for an input of another number of axes than the layer is for."""
        ndims = self._dims_of_input()
        if input.ndim not in ndims:
            wanted = " or ".join(f"{n}D" for n in ndims)
            raise ValueError(
                f"{type(self).__name__}: expected {wanted} input, got {input.ndim}D input of shape {tuple(input.shape)}"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        """Files of old have not counted the batches."""
        if local_metadata.get("version", 1) < 2 and self.num_batches_tracked is not None:
            state_dict.setdefault(f"{prefix}num_batches_tracked", self.num_batches_tracked.detach() * 0)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    """Evaluation uses running statistics, which training moves by ``momentum``. Ioffe and Szegedy, arXiv:1502.03167.

    >>> fb.nn.BatchNorm{n}d(3)(fb.ones(2, 3{s:8})).shape
    flambeau.Size([2, 3{s:8}])
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: DeviceLike = None, dtype: DType | None = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _dims_of_input(self) -> tuple[int, ...]:
        dims: int | None = getattr(self, "dims", None)
        return super()._dims_of_input() if dims is None else (2, 3) if dims == 1 else (dims + 2,)

    def forward(self, input: Tensor) -> Tensor:
        """The input normalised per channel."""
        self._check_input_dim(input)
        factor = self._count_batch()
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        running = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if running else (None, None)
        return F.batch_norm(input, mean, var, self.weight, self.bias, by_batch, factor, self.eps)

    def _count_batch(self) -> float:
        """Count a batch of training; how much of its statistics goes into the running ones."""
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the plain average over all batches
                return 1.0 / float(self.num_batches_tracked)
        return 0.0 if self.momentum is None else self.momentum


class BatchNorm1d(_BatchNorm, dims=1):
    """Each channel of (N, C) or (N, C, L) with mean 0 and variance 1 over the batch, then scaled and shifted."""


class BatchNorm2d(_BatchNorm, dims=2):
    """Each channel of (N, C, H, W) with mean 0 and variance 1 over the batch, then scaled and shifted."""


class BatchNorm3d(_BatchNorm, dims=3):
    """Each channel of (N, C, D, H, W) with mean 0 and variance 1 over the batch, then scaled and shifted."""


class _InstanceNorm(_NormBase):
    """Takes one example without a batch axis too. Ulyanov et al., arXiv:1607.08022.

    >>> fb.nn.InstanceNorm{n}d(3)(fb.ones(2, 3{s:8})).shape
    flambeau.Size([2, 3{s:8}])
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: DeviceLike = None, dtype: DType | None = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _get_no_batch_dim(self) -> int:
        """How many axes an input without a batch has."""
        return self.dims + 1

    def _dims_of_input(self) -> tuple[int, ...]:
        return self._get_no_batch_dim(), self._get_no_batch_dim() + 1

    def forward(self, input: Tensor) -> Tensor:
        """The input normalised per channel and example."""
        self._check_input_dim(input)
        unbatched = input.ndim == self._get_no_batch_dim()
        if input.shape[0 if unbatched else 1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: expected {self.num_features} channels, got input of shape {tuple(input.shape)}"
            )
        out = F.instance_norm(
            input.unsqueeze(0) if unbatched else input, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return out.squeeze(0) if unbatched else out


class InstanceNorm1d(_InstanceNorm, dims=1):
    """Each channel of each example of (N, C, L) with mean 0 and variance 1."""


class InstanceNorm2d(_InstanceNorm, dims=2):
    """Each channel of each example of (N, C, H, W) with mean 0 and variance 1."""


class InstanceNorm3d(_InstanceNorm, dims=3):
    """Each channel of each example of (N, C, D, H, W) with mean 0 and variance 1."""


def _shape(value: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(operator.index(v) for v in value) if isinstance(value, Sequence) else (operator.index(value),)


class LayerNorm(_Affine):
    """The last axes, of sizes ``normalized_shape``, with mean 0 and variance 1, then scaled and shifted per element.

    >>> fb.nn.LayerNorm(2)(fb.tensor([[0.0, 2.0]])).detach().round(decimals=3)
    tensor([[-1.,  1.]])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        affine = elementwise_affine
        self._register(self.normalized_shape, device, dtype, weight=affine, bias=affine and bias)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine, bias = self.elementwise_affine, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias}"


class RMSNorm(_Affine):
    """The last axes divided by the root of their mean square, then scaled. Zhang and Sennrich, arXiv:1910.07467.

    >>> fb.nn.RMSNorm(3)(fb.full((2, 3), 2.0))
    tensor([[1., 1., 1.],
            [1., 1., 1.]], grad_fn=<RmsNormBackward0>)
    """

    weight: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True,
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        self.normalized_shape, self.eps, self.elementwise_affine = _shape(normalized_shape), eps, elementwise_affine
        self._register(self.normalized_shape, device, dtype, weight=elementwise_affine)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """Groups of channels of (N, C, ...) with mean 0 and variance 1, then scaled and shifted per channel.

    >>> fb.nn.GroupNorm(2, 4)(fb.ones(1, 4, 8)).shape
    flambeau.Size([1, 4, 8])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: DeviceLike = None,
        dtype: DType | None = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_channels={num_channels} must be divisible by num_groups={num_groups}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._register((num_channels,), device, dtype, weight=affine, bias=affine and bias)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine, bias = self.affine, self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={affine}, bias={bias}"


class LocalResponseNorm(OfTensor, function=F.local_response_norm):
    """Each element over a power of the mean square of its neighbouring channels.

    >>> fb.nn.LocalResponseNorm(2)(fb.ones(1, 4, 8)).shape
    flambeau.Size([1, 4, 8])
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(Module):
    """LocalResponseNorm of old, (N, C, H, W): channel 0 counts in the sums of all the later channels.

    That is what torch's answers show: the first channel never leaves the window that moves over the others.

    >>> fb.nn.CrossMapLRN2d(3)(fb.ones(1, 4, 8, 8)).shape
    flambeau.Size([1, 4, 8, 8])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        if input.ndim != 4:
            raise ValueError(f"CrossMapLRN2d: expected 4D input, got {input.ndim}D input of shape {tuple(input.shape)}")
        reach, channels = (self.size - 1) // 2 + 1, input.shape[1]
        sums = (input * input).cumsum(1)
        places = arange(channels, device=input.device)
        window = sums.index_select(1, (places + reach - 1).clamp(max=channels - 1))
        left = sums.index_select(1, (places - reach).clamp(min=0)) - sums[:, :1]
        window = window - left * (places > reach).to(input.dtype).reshape(1, -1, 1, 1)
        return input * (self.k + self.alpha / self.size * window) ** -self.beta

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
