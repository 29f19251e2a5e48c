"""torchvision's operators and image files as flambeau has them, against plain loops and Pillow."""

from __future__ import annotations

import math

import numpy as np
import pytest

import flambeau as fb
from flambeau.compat import images, regions, vision
from flambeau.compat.deformed import deform_conv2d
from flambeau.core.library import registered


def linear(plane: np.ndarray, y: float, x: float) -> float:
    """A sample between pixels, with pixels outside as 0."""
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for r, wr in ((top, 1 - (y - top)), (top + 1, y - top)):
        for c, wc in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= r < plane.shape[0] and 0 <= c < plane.shape[1]:
                total += wr * wc * plane[r, c]
    return total


X = np.random.default_rng(0).standard_normal((2, 4, 7, 8))
ROIS = np.array([[0, 1.0, 1.5, 5.0, 4.0], [1, 0.2, 0.0, 6.6, 5.9], [0, 2.0, 2.0, 3.0, 5.0]])


def test_roi_align_is_a_mean_of_samples():
    found = regions.roi_align(fb.tensor(X), fb.tensor(ROIS), 1.0, 2, 2, 2, True).numpy()
    for k, (image, left, top, right, bottom) in enumerate(ROIS):
        high, wide = (bottom - top) / 2, (right - left) / 2
        for p in range(2):
            for q in range(2):
                ys = [top - 0.5 + (p + (i + 0.5) / 2) * high for i in range(2)]
                xs = [left - 0.5 + (q + (i + 0.5) / 2) * wide for i in range(2)]
                inside = [(min(max(y, 0), 6), min(max(x, 0), 7)) for y in ys for x in xs]
                want = [np.mean([linear(X[int(image), c], y, x) for y, x in inside]) for c in range(4)]
                np.testing.assert_allclose(found[k, :, p, q], want, rtol=1e-9, atol=1e-12)


def test_position_sensitive_pooling_reads_a_channel_for_each_bin():
    full = regions.roi_align(fb.tensor(X), fb.tensor(ROIS), 1.0, 2, 2, 2, True)
    found, mapping = regions.ps_roi_align(fb.tensor(X), fb.tensor(ROIS), 1.0, 2, 2, 2)
    assert mapping.dtype is fb.int32 and mapping[0].flatten().tolist() == [0, 1, 2, 3]
    for p in range(2):
        for q in range(2):
            np.testing.assert_allclose(found[:, 0, p, q].numpy(), full[:, 2 * p + q, p, q].numpy(), rtol=1e-9)


def test_roi_pool_and_its_gradient():
    x = fb.tensor(X)
    found, place = regions.roi_pool(x, fb.tensor(ROIS), 1.0, 1, 1)
    want = X[0, :, 2:5, 1:6].reshape(4, -1).max(1)  # 1.5 rounds to 2
    np.testing.assert_array_equal(found[0, :, 0, 0].numpy(), want)
    back = regions.roi_pool_backward(fb.ones_like(found), fb.tensor(ROIS), place, (2, 4, 7, 8))
    assert back.sum().item() == found.numel()
    assert all(back[0, c].flatten()[place[0, c, 0, 0]].item() >= 1 for c in range(4))


@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolution(masked):
    rng = np.random.default_rng(1)
    weight, offset = rng.standard_normal((3, 4, 2, 2)), rng.standard_normal((2, 8, 6, 7))
    mask, bias = rng.uniform(size=(2, 4, 6, 7)), rng.standard_normal(3)
    found = deform_conv2d(*map(fb.tensor, (X, weight, offset, mask, bias)), 1, 1, 0, 0, 1, 1, 1, 1, masked).numpy()
    for n, i, j in ((0, 0, 0), (1, 5, 6), (0, 3, 2)):
        want = bias.copy()
        for tap in range(4):
            y = i + tap // 2 + offset[n, 2 * tap, i, j]
            x = j + tap % 2 + offset[n, 2 * tap + 1, i, j]
            taken = np.array([linear(X[n, c], y, x) for c in range(4)]) * (mask[n, tap, i, j] if masked else 1)
            want += weight[:, :, tap // 2, tap % 2] @ taken
        np.testing.assert_allclose(found[n, :, i, j], want, rtol=1e-9)


def test_gradients_by_name():
    vision.register()
    x, rois = fb.tensor(X[:, :, :4, :4]), fb.tensor(ROIS)
    back = registered("torchvision::_roi_align_backward")
    grad = fb.ones(3, 4, 1, 1, dtype=fb.float64)
    found = back(grad, rois, 0.5, 1, 1, 2, 4, 4, 4, 2, True)
    moved = regions.roi_align(x + found, rois, 0.5, 1, 1, 2, True) - regions.roi_align(x, rois, 0.5, 1, 1, 2, True)
    assert moved.sum().item() == pytest.approx(found.square().sum().item())  # a linear function
    assert registered("torchvision::_cuda_version")() == -1


def test_shapes_are_checked():
    with pytest.raises(RuntimeError, match="rois must have shape"):
        regions.roi_align(fb.ones(1, 1, 2, 2), fb.ones(1, 4), 1.0, 1, 1, 1, False)
    with pytest.raises(RuntimeError, match="multiple of"):
        regions.ps_roi_pool(fb.ones(1, 3, 2, 2), fb.ones(1, 5), 1.0, 2, 2)
    with pytest.raises(RuntimeError, match="offset should have shape"):
        one = fb.ones(1, 1, 2, 2)
        deform_conv2d(one, one, one, one, fb.ones(1), 1, 1, 0, 0, 1, 1, 1, 1, False)


def test_images_in_files(tmp_path):
    pytest.importorskip("PIL")
    picture = fb.tensor(np.random.default_rng(2).integers(0, 256, (3, 5, 6), dtype=np.uint8))
    images.write_file(str(tmp_path / "x.png"), images.encode_png(picture, 6))
    data = images.read_file(str(tmp_path / "x.png"))
    assert fb.equal(images.decode_image(data, 0), picture) and images.decode_png(data, 4).shape[0] == 4
    assert fb.equal(images.decode_png(images.encode_png(picture[:1], 9), 0), picture[:1])
    flat = fb.full((3, 8, 8), 100, dtype=fb.uint8)
    assert (images.decode_jpeg(images.encode_jpeg(flat, 95), 3).int() - 100).abs().max().item() <= 2
    for wrong in (lambda: images.decode_jpeg(data, 0), lambda: images.decode_png(flat, 0),
                  lambda: images.encode_png(flat.float(), 1), lambda: images.read_file("/nowhere")):  # fmt: skip
        with pytest.raises(RuntimeError):
            wrong()
