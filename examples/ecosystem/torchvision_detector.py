"""torchvision's Faster R-CNN finds squares, discs and triangles in pictures made on the spot:

    python -m flambeau run examples/ecosystem/torchvision_detector.py

Ren et al., arXiv:1506.01497, over a backbone of a few convolutions; nothing is downloaded. What is found is rated by
the mean average precision at an overlap of one half (Everingham et al., "The PASCAL visual object classes challenge",
2010).
"""

from __future__ import annotations

import time

import numpy as np
import torch
from shared import options
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, box_iou

SIZE, KINDS = 64, ("square", "disc", "triangle")
Targets = dict[str, torch.Tensor]


def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[list[float]], list[int]]:
    """A noisy picture (3, SIZE, SIZE), the boxes of its one to three shapes, and their kinds from 1 on."""
    picture = rng.uniform(0, 0.25, (3, SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    boxes: list[list[float]] = []
    kinds = []
    for _ in range(rng.integers(1, 4)):
        side = float(rng.integers(14, 27))
        left, top = rng.integers(0, SIZE - side + 1, 2).astype(float)
        box = [left, top, left + side, top + side]
        if any(min(box[2], b[2]) > max(box[0], b[0]) and min(box[3], b[3]) > max(box[1], b[1]) for b in boxes):
            continue  # shapes do not cover each other
        kind = int(rng.integers(1, 4))
        u, v = (x - left) / side, (y - top) / side
        inside = [
            (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1),
            np.hypot(u - 0.5, v - 0.5) <= 0.5,
            (v <= 1) & (np.abs(u - 0.5) <= v / 2),
        ][kind - 1]
        picture[:, inside] = rng.uniform(0.5, 1, (3, 1))
        boxes.append(box)
        kinds.append(kind)
    return picture.astype(np.float32), boxes, kinds


def scenes(rng: np.random.Generator, count: int, device: str) -> tuple[list[torch.Tensor], list[Targets]]:
    """Pictures, and for each the boxes (K, 4) and labels (K,)."""
    drawn = [draw(rng) for _ in range(count)]
    targets = [{"boxes": torch.tensor(b, device=device), "labels": torch.tensor(k, device=device)} for _, b, k in drawn]
    return [torch.from_numpy(picture).to(device) for picture, _, _ in drawn], targets


def detector() -> FasterRCNN:
    """Faster R-CNN for SIZE x SIZE pictures."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    backbone = nn.Sequential(*layers)
    backbone.out_channels = 64
    return FasterRCNN(
        backbone, min_size=SIZE, max_size=SIZE,
        rpn_anchor_generator=AnchorGenerator(((14, 20, 26),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2),
        rpn_pre_nms_top_n_train=100, rpn_post_nms_top_n_train=50, rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=50, box_batch_size_per_image=32, rpn_batch_size_per_image=64, box_detections_per_img=10,
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(64 * 25, 128), nn.ReLU()),
        box_predictor=Predictor(128, 1 + len(KINDS)),
    )  # fmt: skip


class Predictor(nn.Module):
    """Features (N, F) of regions to the scores of classes (N, C) and a box for each class (N, 4 C)."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.scores, self.boxes = nn.Linear(inputs, classes), nn.Linear(inputs, 4 * classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x), self.boxes(x)


def average_precision(found: list[Targets], wanted: list[Targets], kind: int, overlap: float = 0.5) -> float:
    """The area under the curve of precision over recall, for one kind of shape."""
    hits: list[tuple[float, bool]] = []
    for f, w in zip(found, wanted, strict=True):
        boxes, scores = f["boxes"][f["labels"] == kind], f["scores"][f["labels"] == kind]
        shares = box_iou(boxes, w["boxes"][w["labels"] == kind]).tolist()
        taken: set[int] = set()
        for score, row in sorted(zip(scores.tolist(), shares, strict=True), reverse=True):
            best = max(range(len(row)), key=row.__getitem__, default=-1)
            hit = best >= 0 and row[best] >= overlap and best not in taken
            taken |= {best} if hit else set()
            hits.append((score, hit))
    right = np.cumsum([hit for _, hit in sorted(hits, key=lambda h: -h[0])])
    total = sum(int((w["labels"] == kind).sum()) for w in wanted)
    precision = right / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(right, prepend=0) * best_from_here).sum() / total)


def rate(model: FasterRCNN, pictures: list[torch.Tensor], wanted: list[Targets]) -> tuple[float, float]:
    """Mean average precision, and how much of each shape its nearest box covers, by intersection over union."""
    model.eval()
    with torch.no_grad():
        found = [{k: v.cpu() for k, v in f.items()} for f in model(pictures)]
    model.train()
    wanted = [{k: v.cpu() for k, v in w.items()} for w in wanted]
    precise = [average_precision(found, wanted, kind) for kind in range(1, 1 + len(KINDS))]
    covered = [box_iou(w["boxes"], f["boxes"]) for f, w in zip(found, wanted, strict=True)]
    nearest = [row.max(1).values if row.shape[1] else row.new_zeros(len(row)) for row in covered]
    return float(np.mean(precise)), torch.cat(nearest).mean().item()


def main(quick: bool = False, device: str = "cpu") -> tuple[float, float]:
    """Train, and return the mean average precision before and after."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    test = scenes(rng, 10 if quick else 60, device)
    model = detector().to(device)
    steps = 4 if quick else 200
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    before, covered = rate(model, *test)
    print(f"mAP {before:.3f}, overlap {covered:.3f} before training, on {device}")
    start = time.perf_counter()
    for step in range(steps):
        losses = model(*scenes(rng, 4 if quick else 8, device))
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % (1 if quick else 20) == 0 or step == steps - 1:
            parts = "  ".join(f"{name.removeprefix('loss_')} {part.item():.3f}" for name, part in losses.items())
            print(f"step {step:3}  loss {loss.item():.4f}  {parts}  {time.perf_counter() - start:.0f} s")
    after, covered = rate(model, *test)
    print(f"mAP {after:.3f}, overlap {covered:.3f} after training")
    return before, after


if __name__ == "__main__":
    chosen = options(__doc__, "opencl")
    main(chosen.quick, chosen.device)
