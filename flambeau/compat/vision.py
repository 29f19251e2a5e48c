"""Ops of torchvision's C++ library, written with flambeau's: suppression, and their entry under torchvision's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from flambeau.compat import images, regions
from flambeau.compat.deformed import deform_conv2d
from flambeau.core import state
from flambeau.core.from_data import tensor
from flambeau.core.library import Library, registered
from flambeau.core.ops import elementwise
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.gradients import grad as gradients

__all__ = ["nms", "register"]


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """The indices of boxes (n, 4) that overlap none of higher score by more than ``iou_threshold``, best first.

    Boxes are (left, top, right, bottom); the overlap is intersection over union. Greedy, as in Girshick et al.,
    arXiv:1311.2524.

    >>> from flambeau.compat.vision import nms
    >>> boxes = fb.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [3, 3, 4, 4]])
    >>> nms(boxes, fb.tensor([0.5, 0.9, 0.1]), 0.5)
    tensor([1, 2])
    """
    if dets.dim() != 2 or dets.shape[1] != 4:
        raise RuntimeError(f"nms: boxes should be a 2d tensor of 4 columns, got shape {tuple(dets.shape)}")
    if scores.dim() != 1 or scores.shape[0] != dets.shape[0]:
        raise RuntimeError(f"nms: scores should be {dets.shape[0]} numbers, got shape {tuple(scores.shape)}")
    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order]
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = (elementwise.minimum_p(high[:, None], high) - elementwise.maximum_p(low[:, None], low)).clamp(min=0)
    shared, area = sides.prod(-1), (high - low).prod(-1)
    overlaps: np.ndarray = (shared / (area[:, None] + area - shared) > iou_threshold).cpu().numpy()
    left = np.ones(len(overlaps), bool)
    for i in range(len(overlaps)):
        if left[i]:
            left[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[tensor(np.flatnonzero(left), device=order.device)]


def _qroi_align(
    input: Tensor, rois: Tensor, input_scale: float, input_zero: int, rois_scale: float, rois_zero: int, *params: Any
) -> Tensor:  # Any: the parameters of roi_align
    """:func:`regions.roi_align` of whole numbers that stand for (number - zero) · scale."""
    numbers, where = (input.float() - input_zero) * input_scale, (rois.float() - rois_zero) * rois_scale
    found = (regions.roi_align(numbers, where, *params) / input_scale).round() + input_zero
    limits = np.iinfo(str(input.dtype).rpartition(".")[2])
    return found.clamp(limits.min, limits.max).to(input.dtype)


def _back(fn: Callable[..., Any], grad: Tensor, inputs: list[Tensor], *params: Any) -> tuple[Tensor, ...]:
    """The gradients of ``fn(*inputs, *params)`` with respect to floats among ``inputs``, zero where none depends."""
    with state.enable_grad():
        given = [t.detach().requires_grad_() for t in inputs]
        out = fn(*given, *params)
        out = out[0] if isinstance(out, tuple) else out
        none = (None,) * len(given)  # without regions nothing depends on anything
        found = gradients(out, given, grad, allow_unused=True) if out.requires_grad else none
    return tuple(t.new_zeros(t.shape) if g is None else g for t, g in zip(inputs, found, strict=True))


def _roi_align_backward(
    grad: Tensor, rois: Tensor, scale: float, height: int, width: int, *rest: Any
) -> Tensor:  # Any: four sizes, the sampling ratio, and whether it is aligned
    *shape, ratio, aligned = rest
    return _back(regions.roi_align, grad, [grad.new_zeros(shape)], rois, scale, height, width, ratio, aligned)[0]


def _roi_pool_backward(
    grad: Tensor, rois: Tensor, argmax: Tensor, scale: float, height: int, width: int, *shape: int
) -> Tensor:
    images, channels, high, wide = shape
    return regions.roi_pool_backward(grad, rois, argmax, (images, channels, high, wide))


def _ps_roi_align_backward(
    grad: Tensor, rois: Tensor, mapping: Tensor, scale: float, height: int, width: int, ratio: int, *shape: int
) -> Tensor:
    return _back(regions.ps_roi_align, grad, [grad.new_zeros(shape)], rois, scale, height, width, ratio)[0]


def _ps_roi_pool_backward(
    grad: Tensor, rois: Tensor, mapping: Tensor, scale: float, height: int, width: int, *shape: int
) -> Tensor:
    return _back(regions.ps_roi_pool, grad, [grad.new_zeros(shape)], rois, scale, height, width)[0]


def _deform_conv2d_backward(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *params: Any
) -> tuple[Tensor, ...]:  # Any: six sizes, two numbers of groups, and whether the mask is used
    return _back(deform_conv2d, grad, [input, weight, offset, mask, bias], *params)


_BINS: Final = "float spatial_scale, int pooled_height, int pooled_width"
_SHAPE: Final = "int batch_size, int channels, int height, int width"
_TAPS: Final = (
    "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, int stride_h, int stride_w, int pad_h, "
    "int pad_w, int dilation_h, int dilation_w, int groups, int offset_groups, bool use_mask"
)
#: What torchvision's library of ops defines, and what does it here.
OPS: Final[dict[str, Callable[..., Any]]] = {
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor": nms,
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor": nms,
    f"roi_align(Tensor input, Tensor rois, {_BINS}, int sampling_ratio, bool aligned) -> Tensor": regions.roi_align,
    f"roi_pool(Tensor input, Tensor rois, {_BINS}) -> (Tensor, Tensor)": regions.roi_pool,
    f"ps_roi_align(Tensor input, Tensor rois, {_BINS}, int sampling_ratio) -> (Tensor, Tensor)": regions.ps_roi_align,
    f"ps_roi_pool(Tensor input, Tensor rois, {_BINS}) -> (Tensor, Tensor)": regions.ps_roi_pool,
    f"deform_conv2d({_TAPS}) -> Tensor": deform_conv2d,
    "qroi_align(Tensor input, Tensor rois, float input_scale, int input_zero_point, float rois_scale, "
    f"int rois_zero_point, {_BINS}, int sampling_ratio, bool aligned) -> Tensor": _qroi_align,
    f"_roi_align_backward(Tensor grad, Tensor rois, {_BINS}, {_SHAPE}, int sampling_ratio, bool aligned) -> Tensor":
        _roi_align_backward,
    f"_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, {_BINS}, {_SHAPE}) -> Tensor": _roi_pool_backward,
    f"_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor mapping, {_BINS}, int sampling_ratio, {_SHAPE})"
    " -> Tensor": _ps_roi_align_backward,
    f"_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor mapping, {_BINS}, {_SHAPE}) -> Tensor":
        _ps_roi_pool_backward,
    f"_deform_conv2d_backward(Tensor grad, {_TAPS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)":
        _deform_conv2d_backward,
    "_cuda_version() -> int": lambda: -1,
}  # fmt: skip


def register(namespace: str = "torchvision") -> None:
    """Enter the ops of a library of torchvision's, "torchvision" or "image", under their names; once."""
    library = Library(namespace, "FRAGMENT")
    for schema, fn in (OPS if namespace == "torchvision" else images.OPS).items():
        name = schema.partition("(")[0]
        if registered(f"{namespace}::{name}") is None:
            library.define(schema)
            library.impl(name, fn, "CompositeExplicitAutograd")
