"""How pictures lie in an array: axes, grids, figures, videos."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from flambeau.utils.host import HostArray

__all__ = ["convert_to_HWC", "figure_to_image", "make_grid"]


def convert_to_HWC(tensor: HostArray, input_format: str) -> HostArray:
    """A picture with the axes height, width, channel; several make a grid, and grey becomes red, green and blue.

    Args:
        tensor: the array.
        input_format: a letter for each axis: H, W, and if they are there C and N, for one of several.

    >>> from flambeau.utils.tensorboard.summary import convert_to_HWC
    >>> import numpy as np
    >>> convert_to_HWC(np.zeros((5, 3, 2, 4)), "NCHW").shape
    (2, 20, 3)
    """
    axes = input_format.upper()
    if len(set(axes)) != len(axes) or not set("HW") <= set(axes) <= set("NCHW") or tensor.ndim != len(axes):
        raise ValueError(
            f"dataformats must name each axis once, H, W and if they are there C and N; {input_format!r} does not fit "
            f"an array of shape {tensor.shape}"
        )
    ordered = np.transpose(tensor, [axes.index(a) for a in "NCHW" if a in axes])
    if "C" not in axes:
        ordered = np.expand_dims(ordered, -3)
    grid = make_grid(ordered) if "N" in axes else ordered
    picture = np.moveaxis(grid, 0, 2)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def make_grid(I: HostArray, ncols: int = 8) -> HostArray:  # noqa: E741  # PyTorch's name
    """Pictures, (n, channel, height, width), side by side in rows of ``ncols``; what is left of the last row is 0."""
    if I.ndim != 4 or not len(I):
        raise ValueError(f"make_grid: expected pictures with the axes N, C, H and W, got an array of shape {I.shape}")
    pictures = np.repeat(I, 3, axis=1) if I.shape[1] == 1 else I
    columns = min(len(pictures), ncols)
    return _tiled(pictures, -(-len(pictures) // columns), columns)


def _tiled(pictures: HostArray, rows: int, columns: int) -> HostArray:
    """Of (n, ..., height, width) the last two axes over a grid; 0 where there are too few."""
    n, *inner, height, width = pictures.shape
    whole = np.zeros((rows * columns, *inner, height, width), pictures.dtype)
    whole[:n] = pictures
    split = np.moveaxis(whole.reshape(rows, columns, *inner, height, width), (0, 1), (-4, -2))
    return split.reshape(*inner, rows * height, columns * width)


def _prepare_video(V: HostArray) -> HostArray:
    """Videos, (n, time, channel, height, width), as one, (time, height, width, channel).

    They fill a grid whose number of rows is a power of two, as that of its cells.
    """
    if V.ndim != 5 or not V.size:
        raise ValueError(f"add_video: expected videos with the axes N, T, C, H and W, got an array of shape {V.shape}")
    n = len(V)
    cells, rows = 1 << (n - 1).bit_length(), 1 << (n.bit_length() - 1) // 2
    return np.moveaxis(_tiled(V, rows, cells // rows), 1, 3)


def figure_to_image(figures: Any, close: bool = True) -> HostArray:
    """Figures of matplotlib as bytes: (channel, height, width) of one, (n, channel, height, width) of a list."""
    many = figures if isinstance(figures, (list, tuple)) else [figures]
    pictures = [_drawn(figure) for figure in many]
    if close:
        plots = importlib.import_module("matplotlib.pyplot")
        for figure in many:
            plots.close(figure)
    return np.stack(pictures) if many is figures else pictures[0]


def _drawn(figure: Any) -> HostArray:
    canvas = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    canvas.draw()
    return np.moveaxis(np.asarray(canvas.buffer_rgba())[..., :3], 2, 0)
