"""Initial values of parameters, in place and without recording, as in torch.nn.init.

Every function returns its tensor; ``generator`` takes the random numbers from a Generator of one's own.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from flambeau.core.blame import checking, explain_functions, users_level
from flambeau.core.creation import eye
from flambeau.core.generator import Generator
from flambeau.core.ops.linalg import qr
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor

P = ParamSpec("P")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """How much a nonlinearity shrinks the standard deviation of its input, as a factor to make up for it.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity in ("linear", "sigmoid") or re.fullmatch(r"conv(_transpose)?[123]d", nonlinearity):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "selu":
        return 3.0 / 4
    if nonlinearity == "leaky_relu":
        if param is not None and (isinstance(param, bool) or not isinstance(param, (int, float))):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def _unrecorded(fn: Callable[P, Tensor]) -> Callable[P, Tensor]:
    @wraps(fn)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with no_grad():
            return fn(*args, **kwargs)

    return inside


@_unrecorded
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Numbers evenly from [a, b).

    >>> fb.nn.init.uniform_(fb.empty(3, 5)).shape
    flambeau.Size([3, 5])
    """
    return tensor.uniform_(a, b, generator=generator)


@_unrecorded
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Numbers of the normal distribution.

    >>> fb.nn.init.normal_(fb.empty(3, 5)).shape
    flambeau.Size([3, 5])
    """
    return tensor.normal_(mean, std, generator=generator)


@_unrecorded
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Numbers of the normal distribution between ``a`` and ``b``, by its inverse distribution function.

    >>> fb.nn.init.trunc_normal_(fb.empty(3, 5)).shape
    flambeau.Size([3, 5])
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be "
            "incorrect.",
            stacklevel=users_level(),
        )

    def phi(x: float) -> float:
        return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0

    low, high = phi((a - mean) / std), phi((b - mean) / std)
    tensor.uniform_(2 * low - 1, 2 * high - 1, generator=generator)
    tensor.erfinv_()
    tensor.mul_(std * math.sqrt(2.0)).add_(mean)
    return tensor.clamp_(min=a, max=b)


@_unrecorded
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element ``val``.

    >>> fb.nn.init.constant_(fb.empty(2, 2), 0.5)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    return tensor.fill_(val)


@_unrecorded
def ones_(tensor: Tensor) -> Tensor:
    """Every element 1.

    >>> fb.nn.init.ones_(fb.empty(2, 2))
    tensor([[1., 1.],
            [1., 1.]])
    """
    return tensor.fill_(1.0)


@_unrecorded
def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0.

    >>> fb.nn.init.zeros_(fb.empty(2, 2))
    tensor([[0., 0.],
            [0., 0.]])
    """
    return tensor.zero_()


@_unrecorded
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix.

    >>> fb.nn.init.eye_(fb.empty(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if tensor.ndim != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}")
    return tensor.copy_(eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


@_unrecorded
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight that keeps as many channels as it can, in each of ``groups``.

    >>> fb.nn.init.dirac_(fb.empty(1, 1, 3))
    tensor([[[0., 1., 0.]]])
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"Only tensors with 3, 4, or 5 dimensions are supported, got shape {tuple(tensor.shape)}")
    if tensor.shape[0] % groups:
        raise ValueError(f"dim 0 must be divisible by groups={groups}, got shape {tuple(tensor.shape)}")
    tensor.zero_()
    per_group = tensor.shape[0] // groups
    middle = tuple(s // 2 for s in tensor.shape[2:])
    for g in range(groups):
        for d in range(min(per_group, tensor.shape[1])):
            tensor[(g * per_group + d, d, *middle)] = 1.0
    return tensor


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output has, and how many outputs each input."""
    if tensor.ndim < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, got shape "
            f"{tuple(tensor.shape)}"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fans = _calculate_fan_in_and_fan_out(tensor)
    return fans[0] if mode.lower() == "fan_in" else fans[1]


@_unrecorded
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot and Bengio, AISTATS 2010: variance 2 gain² / (fan_in + fan_out), even.

    >>> fb.nn.init.xavier_uniform_(fb.empty(3, 5)).shape
    flambeau.Size([3, 5])
    """
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return tensor.uniform_(-bound, bound, generator=generator)


@_unrecorded
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot and Bengio, AISTATS 2010: variance 2 gain² / (fan_in + fan_out), normal.

    >>> fb.nn.init.xavier_normal_(fb.empty(3, 5)).shape
    flambeau.Size([3, 5])
    """
    return tensor.normal_(0.0, gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor))), generator=generator)


@_unrecorded
def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """He et al., arXiv:1502.01852: variance gain² / fan, even.

    >>> fb.nn.init.kaiming_uniform_(fb.empty(3, 5)).shape
    flambeau.Size([3, 5])
    """
    if 0 in tensor.shape:
        return _nothing_to_do(tensor)
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return tensor.uniform_(-bound, bound, generator=generator)


@_unrecorded
def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """He et al., arXiv:1502.01852: variance gain² / fan, normal.

    >>> fb.nn.init.kaiming_normal_(fb.empty(3, 5)).shape
    flambeau.Size([3, 5])
    """
    if 0 in tensor.shape:
        return _nothing_to_do(tensor)
    return tensor.normal_(
        0.0, calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode)), generator=generator
    )


def _nothing_to_do(tensor: Tensor) -> Tensor:
    warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=users_level())
    return tensor


@_unrecorded
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Rows (or columns, of which there are fewer) that are orthogonal. Saxe et al., arXiv:1312.6120.

    >>> w = fb.nn.init.orthogonal_(fb.empty(2, 3))
    >>> fb.allclose(w @ w.T, fb.eye(2), atol=1e-5)
    True
    """
    if tensor.ndim < 2:
        raise ValueError(f"Only tensors with 2 or more dimensions are supported, got shape {tuple(tensor.shape)}")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    flat = tensor.new_empty(rows, columns).normal_(0, 1, generator=generator)
    flat = flat.t() if rows < columns else flat
    q, r = qr(flat)
    q = q * r.diagonal().sign()
    q = q.t() if rows < columns else q
    return tensor.copy_(q.reshape(tuple(tensor.shape))).mul_(gain)


@_unrecorded
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Normal numbers, with a share ``sparsity`` of each column 0. Martens, ICML 2010.

    >>> (fb.nn.init.sparse_(fb.empty(4, 2), 0.5) == 0).sum()
    tensor(4)
    """
    if tensor.ndim != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    order = tensor.new_empty(rows, columns).uniform_(generator=generator).argsort(0).argsort(0)
    tensor.normal_(0, std, generator=generator)
    return tensor.mul_((order >= zeros).to(tensor.dtype))


explain_functions(globals(), wrap=checking)


# -- the names of old --------------------------------------------------------------------------------------
def _old(new: Callable[P, Tensor]) -> Callable[P, Tensor]:
    name = new.__name__.rstrip("_")

    @wraps(new)
    def call(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        warnings.warn(
            f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`.", FutureWarning,
            stacklevel=users_level(),
        )  # fmt: skip
        return new(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The old name of :func:`{name}_`, which it calls with a FutureWarning."
    return call


uniform, normal, constant = _old(uniform_), _old(normal_), _old(constant_)
dirac, sparse, orthogonal = _old(dirac_), _old(sparse_), _old(orthogonal_)
xavier_uniform, xavier_normal = _old(xavier_uniform_), _old(xavier_normal_)
kaiming_uniform, kaiming_normal = _old(kaiming_uniform_), _old(kaiming_normal_)
