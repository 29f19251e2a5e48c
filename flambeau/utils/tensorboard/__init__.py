"""Scalars, histograms, images and texts of a training for TensorBoard, written through the package ``tensorboard``.

That package is not installed with flambeau: ``pip install tensorboard``. Importing this needs nothing of it; making a
writer does.
"""

from __future__ import annotations

from flambeau.utils.tensorboard.writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
