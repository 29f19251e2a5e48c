"""Files of pictures: PNG, GIF, and boxes drawn into them."""

from __future__ import annotations

import io
import math
import zlib
from typing import Any

import numpy as np

from flambeau.utils.host import HostArray
from flambeau.utils.tensorboard._parts import pillow


def as_bytes(array: HostArray) -> HostArray:
    """Bytes as they are; other numbers are 0 for dark and 1 for bright, cut off there."""
    if array.dtype == np.uint8:
        return array
    return (array.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)


def png(pixels: HostArray) -> bytes:
    """A PNG file (https://www.w3.org/TR/png/) of (height, width, 3 or 4 channels): 8 bits a channel, no filter."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, {3: 2, 4: 6}[channels], 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rescaled(pixels: HostArray, rescale: float) -> HostArray:
    """The picture in another size."""
    if rescale == 1:
        return pixels
    image = pillow("Image", "a picture in another size")
    height, width = (int(n * rescale) for n in pixels.shape[:2])
    if not (height and width):
        raise ValueError(f"rescale: {rescale} leaves nothing of a picture of {pixels.shape[1]} by {pixels.shape[0]}")
    return np.asarray(image.fromarray(pixels).resize((width, height), image.Resampling.LANCZOS))


def gif(frames: HostArray, fps: float) -> bytes:
    """A GIF file of (time, height, width, 3), which begins again at its end."""
    if not fps > 0:
        raise ValueError(f"fps must be a positive number of pictures in a second, got {fps}")
    image = pillow("Image", "a video")
    first, *others = (image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    return file.getvalue()


def draw_boxes(disp_image: Any, boxes: HostArray, labels: list[str] | None = None) -> Any:  # Any: pillow's Image
    """Draw boxes in red into an image of pillow's, with labels at their lower left.

    Args:
        disp_image: the image.
        boxes: of shape (n, 4): left, top, right, bottom, in pixels.
        labels: one for each box.
    """
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have the shape (n, 4): left, top, right, bottom; got {boxes.shape}")
    if labels is not None and len(labels) != len(boxes):
        raise ValueError(f"labels must be one for each box: got {len(labels)} for {len(boxes)} boxes")
    pen = pillow("ImageDraw", "a picture with boxes").Draw(disp_image)
    for i, (left, top, right, bottom) in enumerate(boxes.tolist()):
        corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
        pen.line(corners, fill="red", width=2)
        if labels is not None:
            _write(pen, labels[i], left, bottom)
    return disp_image


def _write(pen: Any, label: str, left: float, bottom: float) -> None:
    font = pillow("ImageFont", "a label of a box").load_default()
    _, _, width, height = pen.textbbox((0, 0), label, font=font)
    margin = math.ceil(0.05 * height)
    pen.rectangle([left, bottom - height - 2 * margin, left + width + 2 * margin, bottom], fill="red")
    pen.text((left + margin, bottom - height - margin), label, fill="black", font=font)
