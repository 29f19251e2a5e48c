"""Deformable convolution, as torchvision's C++ library has it, written with flambeau's ops."""

from __future__ import annotations

import flambeau as fb
from flambeau.core.tensor import Tensor

__all__ = ["deform_conv2d"]


def _sampled(planes: Tensor, y: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Linear samples of (N, G, C, H·W) at places (N, G, P), zero outside: (N, G, C, P)."""
    high, wide = size
    top, left = y.detach().floor(), x.detach().floor()
    down, across = y - top, x - left
    within = (y > -1) & (y < high) & (x > -1) & (x < wide)
    found = None
    for i, row in enumerate((1 - down, down)):
        for j, column in enumerate((1 - across, across)):
            r, c = top + i, left + j
            inside = within & (r >= 0) & (r < high) & (c >= 0) & (c < wide)
            at = fb.where(inside, r * wide + c, 0.0).long()[:, :, None].expand(-1, -1, planes.shape[2], -1)
            part = planes.gather(-1, at) * (row * column * inside)[:, :, None]
            found = part if found is None else found + part
    assert found is not None
    return found


def deform_conv2d(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, stride_h: int, stride_w: int,
    pad_h: int, pad_w: int, dilation_h: int, dilation_w: int, groups: int, offset_groups: int, use_mask: bool,
) -> Tensor:  # fmt: skip
    """A convolution whose taps are moved by ``offset`` and, with ``use_mask``, weighted by ``mask``.

    ``input`` (N, C, H, W), ``weight`` (O, C/groups, h, w), ``offset`` (N, 2·offset_groups·h·w, H', W') with y before x,
    ``mask`` half as many channels, ``bias`` (O). Samples are linear, zero outside. Zhu et al., arXiv:1811.11168.
    RuntimeError where the shapes do not fit.

    >>> from flambeau.compat.deformed import deform_conv2d
    >>> x, moved = fb.arange(4.0).reshape(1, 1, 2, 2), fb.full((1, 2, 2, 2), 0.5)
    >>> deform_conv2d(x, fb.ones(1, 1, 1, 1), moved, x[:0], fb.zeros(1), 1, 1, 0, 0, 1, 1, 1, 1, False)
    tensor([[[[1.5000, 1.0000],
              [1.2500, 0.7500]]]])
    """
    images, channels, high, wide = input.shape
    outs, _, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    rows = (high + 2 * pad_h - dilation_h * (kernel_h - 1) - 1) // stride_h + 1
    columns = (wide + 2 * pad_w - dilation_w * (kernel_w - 1) - 1) // stride_w + 1
    if tuple(offset.shape) != (images, 2 * offset_groups * taps, rows, columns):
        wanted = (images, 2 * offset_groups * taps, rows, columns)
        raise RuntimeError(f"deform_conv2d: offset should have shape {wanted}, got {tuple(offset.shape)}")
    if use_mask and tuple(mask.shape) != (images, offset_groups * taps, rows, columns):
        wanted = (images, offset_groups * taps, rows, columns)
        raise RuntimeError(f"deform_conv2d: mask should have shape {wanted}, got {tuple(mask.shape)}")
    if channels % offset_groups or channels % groups or outs % groups or weight.shape[1] * groups != channels:
        raise RuntimeError(
            f"deform_conv2d: {channels} channels, {groups} groups, {offset_groups} offset groups and weight of shape "
            f"{tuple(weight.shape)} do not fit"
        )

    def steps(count: int, by: int, start: int = 0) -> Tensor:
        return (fb.arange(count, device=input.device) * by - start).to(input.dtype)

    moved = offset.reshape(images, offset_groups, kernel_h, kernel_w, 2, rows, columns)
    y = moved[..., 0, :, :] + steps(rows, stride_h, pad_h)[:, None] + steps(kernel_h, dilation_h)[:, None, None, None]
    x = moved[..., 1, :, :] + steps(columns, stride_w, pad_w) + steps(kernel_w, dilation_w)[:, None, None]
    planes = input.reshape(images, offset_groups, channels // offset_groups, high * wide)
    taken = _sampled(planes, y.flatten(2), x.flatten(2), (high, wide))
    if use_mask:
        taken = taken * mask.reshape(images, offset_groups, 1, -1)
    taken = taken.reshape(images, groups, channels // groups * taps, rows * columns)
    out = weight.reshape(groups, outs // groups, -1) @ taken
    return out.reshape(images, outs, rows, columns) + bias[:, None, None]
