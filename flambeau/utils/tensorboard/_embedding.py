"""The files of TensorBoard's projector: points, what they are called, and a picture of each."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau.utils.host import HostArray
from flambeau.utils.tensorboard._parts import part
from flambeau.utils.tensorboard._pictures import as_bytes, png
from flambeau.utils.tensorboard._utils import make_grid


def get_embedding_info(
    metadata: Any, label_img: HostArray | None, subdir: str, global_step: int | None, tag: str
) -> Any:
    """What the projector's configuration says of one set of points, whose files are in ``subdir``."""
    kinds = part("tensorboard.plugins.projector.projector_config_pb2")
    info = kinds.EmbeddingInfo(tensor_name=f"{tag}:{_step(global_step)}", tensor_path=f"{subdir}/tensors.tsv")
    if metadata is not None:
        info.metadata_path = f"{subdir}/metadata.tsv"
    if label_img is not None:
        info.sprite.image_path = f"{subdir}/sprite.png"
        info.sprite.single_image_dim.extend([label_img.shape[3], label_img.shape[2]])
    return info


def folder_of(tag: str, global_step: int | None) -> str:
    """Where the files of a tag and step are, below the writer's folder."""
    if tag in ("", ".", ".."):
        raise ValueError(f"add_embedding: {tag!r} can name no folder; give another tag")
    for letter, written in (("%", "%25"), ("/", "%2f"), ("\\", "%5c")):
        tag = tag.replace(letter, written)
    return f"{_step(global_step)}/{tag}"


def _step(global_step: int | None) -> str:
    return f"{0 if global_step is None else int(global_step):05d}"


def write_embedding(
    folder: str, points: HostArray, metadata: Any, label_img: HostArray | None, header: Sequence[str] | None
) -> None:
    """Write all files of one set of points, (n, length)."""
    if points.ndim != 2:
        raise ValueError(f"add_embedding: mat must have the shape (n, length), got {points.shape}")
    if metadata is not None and len(metadata) != len(points):
        raise ValueError(f"add_embedding: metadata must be one for each point: got {len(metadata)} for {len(points)}")
    if label_img is not None and (label_img.ndim != 4 or len(label_img) != len(points)):
        raise ValueError(
            f"add_embedding: label_img must have the shape ({len(points)}, channel, height, width), "
            f"got {label_img.shape}"
        )
    files = _files()
    if files.exists(folder):
        warnings.warn(f"add_embedding: {folder} is there and written again; give each a global_step", stacklevel=3)
    files.makedirs(folder)
    make_mat(points.tolist(), folder)
    if metadata is not None:
        make_tsv(metadata, folder, header)
    if label_img is not None:
        make_sprite(label_img, folder)


def make_mat(matlist: Sequence[Sequence[float]], save_path: str) -> None:
    """Write the points: a line for each."""
    _write(f"{save_path}/tensors.tsv", "".join("\t".join(map(str, row)) + "\n" for row in matlist))


def make_tsv(metadata: Any, save_path: str, metadata_header: Sequence[str] | None = None) -> None:
    """Write what points are called: a line for each, with a column for each name of the header if there is one."""
    rows = [[str(one)] for one in metadata]
    if metadata_header:
        rows = [[str(value) for value in one] for one in metadata]
        wrong = next((row for row in rows if len(row) != len(metadata_header)), None)
        if wrong is not None:
            raise ValueError(f"add_embedding: {len(metadata_header)} names in metadata_header, and a row is {wrong!r}")
        rows.insert(0, list(map(str, metadata_header)))
    if any("\t" in value or "\n" in value for row in rows for value in row):
        raise ValueError("add_embedding: metadata is written as lines of columns: it can have no tab and no line end")
    _write(f"{save_path}/metadata.tsv", "".join("\t".join(row) + "\n" for row in rows))


def make_sprite(label_img: HostArray, save_path: str) -> None:
    """Write a picture of each point, (n, channel, height, width), into one square of them."""
    side = math.ceil(math.sqrt(len(label_img)))
    n, channels, height, width = label_img.shape
    if height != width:
        raise ValueError(f"add_embedding: label_img must be squares, got {height} by {width}")
    if channels not in (1, 3, 4):
        raise ValueError(f"add_embedding: label_img has 1, 3 or 4 channels, got {channels}")
    square = np.concatenate([label_img, np.zeros((side * side - n, channels, height, width), label_img.dtype)])
    pixels = np.moveaxis(as_bytes(make_grid(square, side)), 0, 2)
    with _files().GFile(f"{save_path}/sprite.png", "wb") as file:
        file.write(png(np.ascontiguousarray(pixels)))


def write_pbtxt(save_path: str, contents: str) -> None:
    """Write the projector's configuration."""
    _write(f"{save_path}/projector_config.pbtxt", contents)


def _files() -> Any:
    """tensorboard's own way to files, which are where it writes its events."""
    return part("tensorboard.compat").tf.io.gfile


def _write(path: str, text: str) -> None:
    with _files().GFile(path, "wb") as file:
        file.write(text.encode())
