"""What a training tells TensorBoard, written through the package ``tensorboard``: scalars, pictures, graphs and others.

That package is not installed with flambeau: ``pip install tensorboard``. Importing this needs nothing of it; making a
writer does.
"""

from __future__ import annotations

from typing import Any

from flambeau.utils.tensorboard._parts import part
from flambeau.utils.tensorboard.writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]


def __getattr__(name: str) -> Any:  # Any: the package's class
    """``RecordWriter`` is the package's own; AttributeError where it is not installed."""
    if name != "RecordWriter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return part("tensorboard.summary.writer.record_writer").RecordWriter
    except ModuleNotFoundError as error:
        raise AttributeError(str(error)) from error
