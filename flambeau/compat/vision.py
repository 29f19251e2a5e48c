"""Ops of torchvision's C++ library, written with flambeau's: so far the one without which it is not imported."""

from __future__ import annotations

import numpy as np

from flambeau.core.from_data import tensor
from flambeau.core.library import Library, registered
from flambeau.core.ops import elementwise
from flambeau.core.tensor import Tensor

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


def register() -> None:
    """Enter the ops under torchvision's names, once."""
    if registered("torchvision::nms") is None:
        library = Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", nms, "CompositeExplicitAutograd")
        library.impl("qnms", nms, "CompositeExplicitAutograd")
