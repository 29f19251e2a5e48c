"""Sampling of images, and boxes in them."""

from __future__ import annotations

import math

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.core.dtype import bool_
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op


@op("GridSample")
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call["mode"], call["mode"])
    if x.ndim not in (4, 5) or mode == "bicubic" and x.ndim != 4:
        raise call.refuse(f"sampling {mode} of {x.ndim - 2} axes")
    return F.grid_sample(x, grid, mode, call["padding_mode"], bool(call["align_corners"]))


@op("AffineGrid", ints=(1,))
def affine_grid(call: Call, theta: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.affine_grid(theta, size, bool(call["align_corners"]))


@op("RoiAlign", since=10)
def roi_align(call: Call, x: Tensor, rois: Tensor, batches: Tensor) -> Tensor:
    """Points of a fine grid in each cell of each box, read bilinearly (He et al., arXiv:1703.06870)."""
    scale, ratio = call["spatial_scale"], call["sampling_ratio"]
    half = call["coordinate_transformation_mode"] == "half_pixel"
    rows = []
    for box, batch in zip((rois * scale - (0.5 if half else 0.0)).tolist(), batches.tolist(), strict=True):
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        if not half:
            width, height = max(width, 1.0), max(height, 1.0)
        cells = []
        for start, length, count, size in (
            (top, height, call["output_height"], x.shape[2]),
            (left, width, call["output_width"], x.shape[3]),
        ):
            points = ratio if ratio > 0 else max(math.ceil(length / count), 1)
            steps = fb.arange(count * points, device=x.device, dtype=fb.float32)
            cells.append((_taps(start + (steps + 0.5) * (length / count / points), size), points))
        rows.append(_pooled(call, x[int(batch)], cells))
    shape = (0, x.shape[1], call["output_height"], call["output_width"])
    return fb.stack(rows).to(x.dtype) if rows else fb.zeros(shape, dtype=x.dtype, device=x.device)


def _taps(at: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two places around each position, and their weights: 0 for positions beyond the image."""
    inside = ((at >= -1) & (at <= size)).to(at.dtype)
    at = at.clamp(0, size - 1)
    low = fb.floor(at)
    high = (low + 1).clamp(max=size - 1)
    share = at - low
    return low.to(fb.int64), high.to(fb.int64), (1 - share) * inside, share * inside


def _pooled(call: Call, image: Tensor, cells: list[tuple[tuple[Tensor, Tensor, Tensor, Tensor], int]]) -> Tensor:
    ((y0, y1, v0, v1), down), ((x0, x1, w0, w1), along) = cells
    corners = [
        image[:, rows][:, :, columns] * (v[:, None] * w)
        for rows, v in ((y0, v0), (y1, v1))
        for columns, w in ((x0, w0), (x1, w1))
    ]
    size = (image.shape[0], call["output_height"], down, call["output_width"], along)
    if call["mode"] == "avg":
        return (corners[0] + corners[1] + corners[2] + corners[3]).reshape(size).mean((2, 4))
    return fb.amax(fb.stack(corners), 0).reshape(size).amax((2, 4))


@op("NonMaxSuppression", ints=(2,))
def non_max_suppression(
    call: Call,
    boxes: Tensor,
    scores: Tensor,
    most: tuple[int, ...] | None = None,
    overlap: Tensor | None = None,
    least: Tensor | None = None,
) -> Tensor:
    """The best box, then the best of those that overlap no chosen one by more than a bound, and so on."""
    limit = most[0] if most else 0
    bound = 0.0 if overlap is None else float(overlap.reshape(-1)[0].item())
    floor = None if least is None else float(least.reshape(-1)[0].item())
    found = []
    for b in range(boxes.shape[0]):
        corners = _corners(boxes[b], centred=bool(call["center_point_box"]))
        for c in range(scores.shape[1]):
            found += [[b, c, i] for i in _chosen(corners, scores[b, c], min(limit, boxes.shape[1]), bound, floor)]
    return fb.tensor(found, dtype=fb.int64, device=boxes.device).reshape((-1, 3))


def _corners(boxes: Tensor, *, centred: bool) -> Tensor:
    """The lower and the upper corner of each box, of shape (2, boxes, 2)."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if centred:
        first, second = first - second / 2, first + second / 2
    return fb.stack([fb.minimum(first, second), fb.maximum(first, second)])


def _chosen(corners: Tensor, scores: Tensor, most: int, bound: float, floor: float | None) -> list[int]:
    low, high = corners[0], corners[1]
    areas = (high - low).prod(1)
    alive = fb.ones_like(scores, dtype=bool_) if floor is None else scores > floor
    chosen: list[int] = []
    while len(chosen) < most and bool(alive.any().item()):
        best = int(fb.where(alive, scores, fb.full_like(scores, -fb.inf)).argmax().item())
        if not bool(alive[best].item()):  # all that is left has the score −inf
            best = int(alive.to(fb.int64).argmax().item())
        chosen.append(best)
        common = (fb.minimum(high, high[best]) - fb.maximum(low, low[best])).clamp(min=0).prod(1)
        together = areas + areas[best] - common
        alive = alive & ~(common > bound * together)
        alive[best] = False
    return chosen
