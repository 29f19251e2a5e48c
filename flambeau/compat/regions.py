"""Pooling over regions of images, as torchvision's C++ library has it: by matrices of weights, on every device."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import flambeau as fb
from flambeau.core.tensor import Tensor

__all__ = ["ps_roi_align", "ps_roi_pool", "roi_align", "roi_pool", "roi_pool_backward"]

#: Regions are done in groups, that what is held at once stays below about this many numbers.
_MOST = 1 << 24


def _checked(name: str, input: Tensor, rois: Tensor) -> None:
    if rois.dim() != 2 or rois.shape[1] != 5:
        raise RuntimeError(f"{name}: rois must have shape (K, 5), got {tuple(rois.shape)}")
    if input.dim() != 4:
        raise RuntimeError(f"{name}: input must have shape (N, C, H, W), got {tuple(input.shape)}")
    if input.dtype != rois.dtype:
        raise RuntimeError(f"{name}: input and rois must have one dtype, got {input.dtype} and {rois.dtype}")


def _groups(rois: Tensor, numbers: int) -> Iterator[tuple[int, list[int]]]:
    """Each image that has regions, and the places of some of its regions; ``numbers`` is what one region takes."""
    by_image: dict[int, list[int]] = {}
    for place, image in enumerate(rois[:, 0].tolist()):
        by_image.setdefault(int(image), []).append(place)
    step = max(1, _MOST // max(1, numbers))
    for image, places in by_image.items():
        for at in range(0, len(places), step):
            yield image, places[at : at + step]


def _joined(found: list[Tensor], order: list[int], empty: Tensor) -> Tensor:
    if not found:
        return empty
    return fb.cat(found)[fb.tensor(order, device=empty.device).argsort()]


def _samples(start: Tensor, length: Tensor, bins: int, ratio: int, size: int) -> Tensor:
    """(K, bins, size): what each of ``size`` pixels weighs in the mean of linear samples of a bin."""
    by = length / bins
    count = fb.ceil(by) if ratio <= 0 else fb.full_like(by, ratio)
    most = int(count.max().item()) if ratio <= 0 else ratio
    steps = fb.arange(max(most, 1), device=start.device).to(start.dtype)
    first = start[:, None] + fb.arange(bins, device=start.device).to(start.dtype) * by[:, None]
    where = first[..., None] + ((steps + 0.5) * (by / count.clamp(min=1))[:, None])[:, None]
    used = (where >= -1) & (where <= size) & (steps < count[:, None])[:, None]
    pixels = fb.arange(size, device=start.device).to(start.dtype)
    near = (1 - (where.clamp(0, size - 1)[..., None] - pixels).abs()).clamp(min=0)
    return (near * used[..., None]).sum(2) / count.clamp(min=1)[:, None, None]


def _weights(
    rois: Tensor, scale: float, offset: float, least: float, bins: tuple[int, int], ratio: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    left, top, right, bottom = (rois[:, i] * scale - offset for i in (1, 2, 3, 4))
    wide, high = right - left, bottom - top
    if least:
        wide, high = wide.clamp(min=least), high.clamp(min=least)
    return _samples(top, high, bins[0], ratio, size[0]), _samples(left, wide, bins[1], ratio, size[1])


def roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int,
    aligned: bool,
) -> Tensor:  # fmt: skip
    """Means of linear samples over bins of regions: (K, C, pooled_height, pooled_width).

    ``rois`` is (K, 5): the image's place in the batch, then left, top, right, bottom, times ``spatial_scale`` in
    pixels; ``sampling_ratio`` samples a bin a side, or as many as pixels where it is not above 0. He et al.,
    arXiv:1703.06870. RuntimeError for other shapes, and two dtypes.

    >>> from flambeau.compat.regions import roi_align
    >>> x = fb.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_align(x, fb.tensor([[0.0, 0, 0, 2, 2]]), 1.0, 1, 1, 2, False)
    tensor([[[[5.]]]])
    """
    _checked("roi_align", input, rois)
    (_, channels, high, wide), bins = input.shape, (pooled_height, pooled_width)
    found, order = [], []
    for image, places in _groups(rois, channels * pooled_height * wide):
        own = rois[fb.tensor(places, device=rois.device)]
        rows, columns = _weights(own, spatial_scale, 0.5 * aligned, 1.0 - aligned, bins, sampling_ratio, (high, wide))
        part = rows.reshape(-1, high) @ input[image].permute(1, 0, 2).reshape(high, -1)
        part = part.reshape(len(places), pooled_height * channels, wide) @ columns.mT
        found.append(part.reshape(len(places), pooled_height, channels, pooled_width).permute(0, 2, 1, 3))
        order += places
    return _joined(found, order, input.new_zeros(0, channels, *bins))


def _positioned(name: str, input: Tensor, bins: tuple[int, int]) -> tuple[Tensor, int]:
    """The input as (N, C, bins, H, W), a channel for each bin; and C."""
    images, channels, *size = input.shape
    if channels % math.prod(bins):
        raise RuntimeError(
            f"{name}: input's channels must be a multiple of pooled_height · pooled_width = {math.prod(bins)}, "
            f"got {channels}"
        )
    deep = channels // math.prod(bins)
    return input.reshape(images, deep, *bins, *size), deep


def _mapped(rois: Tensor, deep: int, bins: tuple[int, int]) -> Tensor:
    """The channel that each number of a position-sensitive result was read from."""
    channels = fb.arange(deep * math.prod(bins), dtype=fb.int32, device=rois.device)
    return channels.reshape(1, deep, *bins).repeat(rois.shape[0], 1, 1, 1)


def _position_sensitive(
    input: Tensor, rois: Tensor, bins: tuple[int, int], weights: functools.partial[tuple[Tensor, Tensor]]
) -> Tensor:
    positions, deep = _positioned(weights.func.__name__, input, bins)
    high, wide = input.shape[2:]
    found, order = [], []
    for image, places in _groups(rois, deep * math.prod(bins) * wide):
        rows, columns = weights(rois[fb.tensor(places, device=rois.device)])
        planes = positions[image].permute(1, 3, 0, 2, 4).reshape(bins[0], high, -1)
        part = (rows.permute(1, 0, 2) @ planes).reshape(bins[0], len(places), deep, bins[1], wide)
        found.append((part * columns[:, None]).sum(-1).permute(1, 2, 0, 3))
        order += places
    return _joined(found, order, input.new_zeros(0, deep, *bins))


def ps_roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """:func:`roi_align` where each bin has channels of its own; with the channels read, int32.

    ``input`` has pooled_height · pooled_width times the channels of the result. Li et al., arXiv:1711.07264.

    >>> from flambeau.compat.regions import ps_roi_align
    >>> x = fb.arange(64.0).reshape(1, 4, 4, 4)
    >>> ps_roi_align(x, fb.tensor([[0.0, 0, 0, 2, 2]]), 1.0, 2, 2, 1)[0]
    tensor([[[[ 0., 17.],
              [36., 53.]]]])
    """
    _checked("ps_roi_align", input, rois)
    bins, size = (pooled_height, pooled_width), (input.shape[2], input.shape[3])
    weights = functools.partial(
        _weights, scale=spatial_scale, offset=0.5, least=0.0, bins=bins, ratio=sampling_ratio, size=size
    )
    out = _position_sensitive(input, rois, bins, weights)
    return out, _mapped(rois, out.shape[1], bins)


def _whole(rois: Tensor, scale: float) -> tuple[Tensor, ...]:
    """Left, top, right, bottom in whole pixels, halves away from 0."""
    sides = rois[:, 1:] * scale
    return (sides.sign() * (sides.abs() + 0.5).floor()).unbind(1)


def _edges(start: Tensor, length: Tensor, bins: int, most: int) -> tuple[Tensor, Tensor]:
    """(K, bins): where each bin begins and ends, in pixels from 0 to ``most``."""
    by, steps = (length / bins)[:, None], fb.arange(bins, device=start.device).to(start.dtype)
    begin, end = (steps * by).floor() + start[:, None], ((steps + 1) * by).ceil() + start[:, None]
    return begin.clamp(0, most), end.clamp(0, most)


def _means(start: Tensor, end: Tensor, bins: int, size: int) -> Tensor:
    begin, end = _edges(start, (end - start).clamp(min=1), bins, size - 1)
    pixels = fb.arange(size, device=start.device).to(start.dtype)
    inside = (pixels >= begin[..., None]) & (pixels < end[..., None])
    return inside / (end - begin).clamp(min=1)[..., None]


def _averages(rois: Tensor, scale: float, bins: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    left, top, right, bottom = _whole(rois, scale)
    return _means(top, bottom, bins[0], size[0]), _means(left, right, bins[1], size[1])


def ps_roi_pool(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    """Means over whole pixels of each bin of a region, each bin from channels of its own; with the channels, int32.

    Dai et al., arXiv:1605.06409.

    >>> from flambeau.compat.regions import ps_roi_pool
    >>> x = fb.arange(64.0).reshape(1, 4, 4, 4)
    >>> ps_roi_pool(x, fb.tensor([[0.0, 0, 0, 2, 2]]), 1.0, 2, 2)[0]
    tensor([[[[ 0., 17.],
              [36., 53.]]]])
    """
    _checked("ps_roi_pool", input, rois)
    bins, size = (pooled_height, pooled_width), (input.shape[2], input.shape[3])
    weights = functools.partial(_averages, scale=spatial_scale, bins=bins, size=size)
    out = _position_sensitive(input, rois, bins, weights)
    return out, _mapped(rois, out.shape[1], bins)


def _pixels(begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """(K, bins, longest): the pixels of each bin, and which of them are inside it."""
    longest = max(1, int((end - begin).max().item()))
    steps = fb.arange(longest, device=begin.device)
    begin, end = begin.long()[..., None], end.long()[..., None]
    return begin + steps, begin + steps < end


def roi_pool(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    """The largest of the pixels of each bin of a region, and its place in the plane, int32, -1 for an empty bin.

    Girshick, arXiv:1504.08083.

    >>> from flambeau.compat.regions import roi_pool
    >>> x = fb.arange(16.0).reshape(1, 1, 4, 4)
    >>> roi_pool(x, fb.tensor([[0.0, 0, 0, 2, 2]]), 1.0, 1, 1)
    (tensor([[[[10.]]]]), tensor([[[[10]]]], dtype=flambeau.int32))
    """
    _checked("roi_pool", input, rois)
    (_, channels, high, wide), bins = input.shape, (pooled_height, pooled_width)
    found, places_found, order = [], [], []
    for image, places in _groups(rois, channels * high * wide):
        left, top, right, bottom = _whole(rois[fb.tensor(places, device=rois.device)], spatial_scale)
        rows, row_in = _pixels(*_edges(top, (bottom - top + 1).clamp(min=1), bins[0], high))
        columns, column_in = _pixels(*_edges(left, (right - left + 1).clamp(min=1), bins[1], wide))
        inside = (row_in[:, :, None, :, None] & column_in[:, None, :, None, :]).flatten(3)
        at = rows[:, :, None, :, None] * wide + columns[:, None, :, None, :]
        at = fb.where(inside, at.flatten(3), 0)
        values = fb.where(inside, input[image].reshape(channels, -1)[:, at], -math.inf)
        best, which = values.max(-1)
        some = inside.any(-1)
        found.append(fb.where(some, best, 0.0).to(input.dtype).transpose(0, 1))
        place = at.expand(channels, *at.shape).gather(-1, which[..., None])[..., 0]
        places_found.append(fb.where(some, place, -1).to(fb.int32).transpose(0, 1))
        order += places
    empty = input.new_zeros(0, channels, *bins)
    return _joined(found, order, empty), _joined(places_found, order, empty.to(fb.int32))


def roi_pool_backward(grad: Tensor, rois: Tensor, argmax: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """The gradient of :func:`roi_pool` with respect to its input of ``shape``: each number's goes to its place.

    >>> from flambeau.compat.regions import roi_pool_backward
    >>> roi_pool_backward(fb.ones(1, 1, 1, 1), fb.zeros(1, 5), fb.tensor([[[[2]]]]), (1, 1, 2, 2))
    tensor([[[[0., 0.],
              [1., 0.]]]])
    """
    _, channels, high, wide = shape
    plane = rois[:, 0].long()[:, None] * channels + fb.arange(channels, device=rois.device)
    at = plane[:, :, None, None] * (high * wide) + argmax.clamp(min=0)
    given = fb.where(argmax >= 0, grad, 0.0).to(grad.dtype)
    return grad.new_zeros(math.prod(shape)).scatter_add(0, at.reshape(-1), given.reshape(-1)).reshape(shape)
