"""Max pooling whose windows start at random places. Graham, arXiv:1412.6071."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core.autocast import autocasting
from flambeau.core.creation import arange
from flambeau.core.dtype import int64
from flambeau.core.errors import ShapeError
from flambeau.core.ops.random import rand
from flambeau.core.ops.storage import cast_p
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.conv import Sizes, batched, sizes

Ratio = float | Sequence[float]


def _starts(sample: Tensor, size: int, kernel: int, out: int) -> Tensor:
    """(N, C, out): where the windows start, by a number in [0, 1) for each (N, C); the last one ends at the end."""
    step = (size - kernel) / (out - 1) if out > 1 else 0.0
    places = arange(out, device=sample.device)
    u = sample.unsqueeze(-1)
    found = cast_p(((u + places) * step).trunc() - (u * step).trunc(), dtype=int64)
    last = places == out - 1
    return found * ~last + last * (size - kernel)


def _windows(starts: Sequence[Tensor], kernel: Sequence[int], shape: Sequence[int]) -> Tensor:
    """(N, C, *out, prod(kernel)): the places of the elements of each window in the flattened sizes."""
    n = len(kernel)
    lead = tuple(starts[0].shape[:2])
    flat: Any = 0
    for i, (start, k, size) in enumerate(zip(starts, kernel, shape, strict=True)):
        at = start.unsqueeze(-1) + arange(k, device=start.device)  # (N, C, out, k)
        own = [1] * (2 * n)
        own[i], own[n + i] = at.shape[2:]
        flat = flat * size + at.reshape(*lead, *own)
    result: Tensor = flat
    return result.flatten(2 + n)


def _out(name: str, n: int, shape: Sequence[int], size: Sizes | None, ratio: Ratio | None) -> tuple[int, ...]:
    if (size is None) == (ratio is None):
        raise ValueError(f"{name}: give one of output_size and output_ratio")
    if size is not None:
        return sizes(size, n, f"{name}: output_size")
    ratios = tuple(ratio) if isinstance(ratio, Sequence) else (ratio,) * n
    return tuple(int(s * r) for s, r in zip(shape, ratios, strict=True))  # type: ignore[operator]


def fractional_max_pool(
    n: int, input: Tensor, kernel_size: Sizes, output_size: Sizes | None, output_ratio: Ratio | None,
    samples: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The maxima of the windows, and their places in the flattened sizes."""
    name = f"fractional_max_pool{n}d"
    input, added = batched(input, n, name)
    kernel = sizes(kernel_size, n, f"{name}: kernel_size")
    shape, lead = tuple(input.shape[2:]), tuple(input.shape[:2])
    out = _out(name, n, shape, output_size, output_ratio)
    if any(o < 1 or o + k - 1 > s for o, k, s in zip(out, kernel, shape, strict=True)):
        raise ShapeError(
            f"{name}: {out} windows of {kernel} do not fit into the sizes {shape}: output_size + kernel_size - 1 must "
            "be at most the size"
        )
    if samples is None:
        samples = rand(*lead, n, dtype=input.dtype, device=input.device)
    elif samples.ndim != 3 or samples.shape[0] < lead[0] or tuple(samples.shape[1:]) != (*lead[1:], n):
        raise ShapeError(f"{name}: _random_samples must have shape {(*lead, n)}, got {tuple(samples.shape)}")
    samples = samples[: lead[0]]
    order = (1, 0) if n == 2 else range(n)  # of two numbers the first is that of the width
    starts = [
        _starts(samples[..., j], *row) for j, row in zip(order, zip(shape, kernel, out, strict=True), strict=True)
    ]
    places = _windows(starts, kernel, shape)
    taken = input.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)
    best = taken.detach().argmax(-1, keepdim=True)
    maxima, where = taken.gather(-1, best).squeeze(-1), places.gather(-1, best).squeeze(-1)
    return (maxima.squeeze(0), where.squeeze(0)) if added else (maxima, where)


def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """:func:`fractional_max_pool2d`, and where each maximum is in the flattened sizes.

    >>> fb.nn.functional.fractional_max_pool2d_with_indices(fb.ones(1, 3, 8, 8), 2, 5)[1].shape
    flambeau.Size([1, 3, 5, 5])
    """
    return fractional_max_pool(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """:func:`fractional_max_pool3d`, and where each maximum is in the flattened sizes.

    >>> fb.nn.functional.fractional_max_pool3d_with_indices(fb.ones(1, 3, 8, 8, 8), 2, 5)[1].shape
    flambeau.Size([1, 3, 5, 5, 5])
    """
    return fractional_max_pool(3, input, kernel_size, output_size, output_ratio, _random_samples)


@autocasting("float32|same")
def fractional_max_pool2d(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:  # Any: a tensor, or a pair with return_indices  # fmt: skip
    """Maxima of ``output_size`` windows of (N, C, H, W), or of a share ``output_ratio`` of the sizes.

    The windows start at random places, which ``_random_samples`` (N, C, 2), numbers in [0, 1), decide.

    >>> fb.nn.functional.fractional_max_pool2d(fb.ones(1, 3, 8, 8), 2, 5).shape
    flambeau.Size([1, 3, 5, 5])
    """
    pair = fractional_max_pool(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return pair if return_indices else pair[0]


@autocasting("float32|same")
def fractional_max_pool3d(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:  # Any: a tensor, or a pair with return_indices  # fmt: skip
    """Maxima of ``output_size`` windows of (N, C, D, H, W), or of a share ``output_ratio`` of the sizes.

    The windows start at random places, which ``_random_samples`` (N, C, 3), numbers in [0, 1), decide.

    >>> fb.nn.functional.fractional_max_pool3d(fb.ones(1, 3, 8, 8, 8), 2, 5).shape
    flambeau.Size([1, 3, 5, 5, 5])
    """
    pair = fractional_max_pool(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return pair if return_indices else pair[0]
