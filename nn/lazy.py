"""Layers that learn the size of their input at the first call, and are ordinary layers from then on."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau.core.capture import structure
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType, int64
from flambeau.core.from_data import tensor
from flambeau.core.tensor import Tensor
from flambeau.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    _ConvNd,
)  # fmt: skip
from flambeau.nn.functional.conv import Sizes
from flambeau.nn.linear import Linear
from flambeau.nn.module import Module
from flambeau.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    _NormBase,
)  # fmt: skip
from flambeau.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy


class LazyModuleMixin(Module):
    """The way from a lazy layer to an ordinary one: a class in front of that of the layer.

    ``initialize_parameters``, which a class defines, gets the arguments of the first call and gives the parameters
    their shapes; then the layer becomes one of the class ``cls_to_become``, if that is not None.

    >>> class LazyScale(LazyModuleMixin, fb.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = fb.nn.UninitializedParameter()
    ...     def initialize_parameters(self, input):
    ...         self.weight.materialize(input.shape[-1:])
    ...         fb.nn.init.ones_(self.weight)
    ...     def forward(self, input):
    ...         return input * self.weight
    >>> LazyScale()(fb.tensor([2.0, 3.0]))
    tensor([2., 3.], grad_fn=<MulBackward0>)
    """

    cls_to_become: ClassVar[type[Module] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: those of the layer
        super().__init__(*args, **kwargs)
        self.register_forward_pre_hook(_infer, with_kwargs=True)

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer of the layer itself has no shape yet."""
        return any(is_lazy(t) for t in (*self._parameters.values(), *self._buffers.values()))

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:  # Any: as the first call was
        """Give the parameters the shapes that the input wants."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def _infer_parameters(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        self.initialize_parameters(*args, **(kwargs or {}))
        if self.has_uninitialized_params():
            raise RuntimeError(f"{type(self).__name__}.initialize_parameters left a parameter without a shape")
        for key in [k for k, hook in self._forward_pre_hooks.items() if hook is _infer]:
            structure.remove(self._forward_pre_hooks, key)
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become  # type: ignore[assignment]

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError("a lazy module cannot be copied to several devices before its first call")


def _infer(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """The hook before the first forward; a function, so that a copy of the module has it for itself."""
    if isinstance(module, LazyModuleMixin):
        module._infer_parameters(module, args, kwargs)


def _lazy(wanted: bool, device: DeviceLike, dtype: DType | None) -> UninitializedParameter | None:
    return UninitializedParameter(device=device, dtype=dtype) if wanted else None


class LazyLinear(LazyModuleMixin, Linear):
    """Linear whose in_features are those of its first input; then it becomes a Linear.

    >>> fb.nn.LazyLinear(2)(fb.ones(1, 5)).shape
    flambeau.Size([1, 2])
    """

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: DeviceLike = None, dtype: DType | None = None):
        super().__init__(0, 0, False)
        self.out_features = out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.bias = _lazy(bias, device, dtype)

    def reset_parameters(self) -> None:
        """New random values, once the shapes are known."""
        if not self.has_uninitialized_params() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take in_features from the input."""
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            self.weight.materialize((self.out_features, self.in_features))  # type: ignore[attr-defined]
            if self.bias is not None:
                self.bias.materialize((self.out_features,))  # type: ignore[attr-defined]
            self.reset_parameters()
        elif not self.in_features:  # its state was loaded
            self.in_features = self.weight.shape[-1]


# -- convolutions ----------------------------------------------------------------------------------------
class _LazyConvXdMixin(LazyModuleMixin, _ConvNd):
    """in_channels are those of the first input."""

    def _wait(self, out_channels: int, groups: int, bias: bool, device: DeviceLike, dtype: DType | None) -> None:
        self.out_channels, self.groups = out_channels, groups
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.bias = _lazy(bias, device, dtype)

    def reset_parameters(self) -> None:
        """New random values, once the shapes are known."""
        if not self.has_uninitialized_params() and self.in_channels:
            super().reset_parameters()

    def _get_in_channels(self, input: Tensor) -> int:
        n = len(self.kernel_size)
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"{type(self).__name__}: expected {n + 1}D (unbatched) or {n + 2}D (batched) input, got input of size "
                f"{tuple(input.shape)}"
            )
        return input.shape[-n - 1]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:  # Any: as the call was
        """Take in_channels from the input."""
        if self.has_uninitialized_params():
            self.in_channels = self._get_in_channels(input)
            if self.in_channels % self.groups:
                raise ValueError(
                    f"{type(self).__name__}: in_channels={self.in_channels} must be divisible by groups={self.groups}"
                )
            outside, inside = self.out_channels, self.in_channels
            lead = (inside, outside // self.groups) if self.transposed else (outside, inside // self.groups)
            self.weight.materialize((*lead, *self.kernel_size))  # type: ignore[attr-defined]
            if self.bias is not None:
                self.bias.materialize((outside,))  # type: ignore[attr-defined]
            self.reset_parameters()
        elif not self.in_channels:  # its state was loaded
            self.in_channels = self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups


class _LazyConv(_LazyConvXdMixin):
    def __init__(
        self, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, dilation, 1, False, padding_mode)
        self._wait(out_channels, groups, bias, device, dtype)


class _LazyConvTranspose(_LazyConvXdMixin):
    def __init__(
        self, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0,
        groups: int = 1, bias: bool = True, dilation: Sizes = 1, padding_mode: str = "zeros", device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, 1, False, dilation, padding_mode)
        self._wait(out_channels, groups, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """Conv1d whose in_channels are those of its first input; then it becomes a Conv1d.

    >>> fb.nn.LazyConv1d(4, 3)(fb.ones(1, 2, 8)).shape
    flambeau.Size([1, 4, 6])
    """

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """Conv2d whose in_channels are those of its first input; then it becomes a Conv2d.

    >>> fb.nn.LazyConv2d(4, 3)(fb.ones(1, 2, 8, 8)).shape
    flambeau.Size([1, 4, 6, 6])
    """

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """Conv3d whose in_channels are those of its first input; then it becomes a Conv3d.

    >>> fb.nn.LazyConv3d(4, 3)(fb.ones(1, 2, 8, 8, 8)).shape
    flambeau.Size([1, 4, 6, 6, 6])
    """

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """ConvTranspose1d whose in_channels are those of its first input; then it becomes a ConvTranspose1d.

    >>> fb.nn.LazyConvTranspose1d(4, 2, 2)(fb.ones(1, 2, 8)).shape
    flambeau.Size([1, 4, 16])
    """

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """ConvTranspose2d whose in_channels are those of its first input; then it becomes a ConvTranspose2d.

    >>> fb.nn.LazyConvTranspose2d(4, 2, 2)(fb.ones(1, 2, 8, 8)).shape
    flambeau.Size([1, 4, 16, 16])
    """

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """ConvTranspose3d whose in_channels are those of its first input; then it becomes a ConvTranspose3d.

    >>> fb.nn.LazyConvTranspose3d(4, 2, 2)(fb.ones(1, 2, 8, 8, 8)).shape
    flambeau.Size([1, 4, 16, 16, 16])
    """

    cls_to_become = ConvTranspose3d


# -- norms -----------------------------------------------------------------------------------------------
class _LazyNormBase(LazyModuleMixin, _NormBase):
    """num_features are the channels of the first input."""

    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        device: DeviceLike = None, dtype: DType | None = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(0, eps, momentum, False, False, bias=False)
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight, self.bias = _lazy(affine, device, dtype), _lazy(affine and bias, device, dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = tensor(0, dtype=int64, device=device)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and new running statistics, once the shapes are known."""
        if not self.has_uninitialized_params() and self.num_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take num_features from the input."""
        if self.has_uninitialized_params():
            self.num_features = input.shape[1]
            for t in (self.weight, self.bias, self.running_mean, self.running_var):
                if t is not None:
                    t.materialize((self.num_features,))  # type: ignore[attr-defined]
            self.reset_parameters()
        elif not self.num_features:  # its state was loaded
            known = self.weight if self.weight is not None else self.running_mean
            self.num_features = input.shape[1] if known is None else known.shape[0]


class LazyBatchNorm1d(_LazyNormBase, BatchNorm1d):
    """BatchNorm1d whose num_features are the channels of its first input; then it becomes a BatchNorm1d.

    >>> fb.nn.LazyBatchNorm1d()(fb.ones(2, 3, 8)).shape
    flambeau.Size([2, 3, 8])
    """

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNormBase, BatchNorm2d):
    """BatchNorm2d whose num_features are the channels of its first input; then it becomes a BatchNorm2d.

    >>> fb.nn.LazyBatchNorm2d()(fb.ones(2, 3, 8, 8)).shape
    flambeau.Size([2, 3, 8, 8])
    """

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNormBase, BatchNorm3d):
    """BatchNorm3d whose num_features are the channels of its first input; then it becomes a BatchNorm3d.

    >>> fb.nn.LazyBatchNorm3d()(fb.ones(2, 3, 8, 8, 8)).shape
    flambeau.Size([2, 3, 8, 8, 8])
    """

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNormBase, InstanceNorm1d):
    """InstanceNorm1d whose num_features are the channels of its first input; then it becomes an InstanceNorm1d.

    >>> fb.nn.LazyInstanceNorm1d()(fb.ones(2, 3, 8)).shape
    flambeau.Size([2, 3, 8])
    """

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNormBase, InstanceNorm2d):
    """InstanceNorm2d whose num_features are the channels of its first input; then it becomes an InstanceNorm2d.

    >>> fb.nn.LazyInstanceNorm2d()(fb.ones(2, 3, 8, 8)).shape
    flambeau.Size([2, 3, 8, 8])
    """

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNormBase, InstanceNorm3d):
    """InstanceNorm3d whose num_features are the channels of its first input; then it becomes an InstanceNorm3d.

    >>> fb.nn.LazyInstanceNorm3d()(fb.ones(2, 3, 8, 8, 8)).shape
    flambeau.Size([2, 3, 8, 8, 8])
    """

    cls_to_become = InstanceNorm3d
