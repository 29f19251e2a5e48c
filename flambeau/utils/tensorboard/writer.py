"""The writer of event files."""

from __future__ import annotations

import importlib
import io
import os
import socket
import time
import zlib
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import numpy as np

from flambeau.core.tensor import Tensor
from flambeau.utils.host import host_array
from flambeau.utils.tensorboard.summaries import bucketed, hparam_summaries, part, tiled

__all__ = ["FileWriter", "SummaryWriter"]


def _array(value: Any) -> np.ndarray[Any, Any]:
    return host_array(value) if isinstance(value, Tensor) else np.asarray(value)


class FileWriter:
    """Writes events to a file in a folder."""

    def __init__(
        self, log_dir: str | os.PathLike[str], max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = ""
    ):
        files = part("tensorboard.summary.writer.event_file_writer")
        self.event_writer = files.EventFileWriter(os.fspath(log_dir), max_queue, flush_secs, filename_suffix)

    def get_logdir(self) -> str:
        """The folder."""
        folder: str = self.event_writer.get_logdir()
        return folder

    def add_event(self, event: Any, step: int | None = None, walltime: float | None = None) -> None:
        """One event, with its step and time."""
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(step)
        self.event_writer.add_event(event)

    def add_summary(self, summary: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        """One summary."""
        event = part("tensorboard.compat.proto.event_pb2").Event(summary=summary)
        self.add_event(event, global_step, walltime)

    def flush(self) -> None:
        """Put onto the disk what was written."""
        self.event_writer.flush()

    def close(self) -> None:
        """End the file."""
        self.event_writer.close()


class SummaryWriter:
    """Writes what a training tells, each under a name and with the number of a step.

    Args:
        log_dir: the folder; by default ``runs/`` and the time and machine's name.
        comment: at the end of that default.
        purge_step: what has this step or a later one is to be forgotten, from a run before.
        max_queue, flush_secs: how many events, and how many seconds, may wait to be written.
        filename_suffix: at the end of the file's name.

    Raises:
        ModuleNotFoundError: the package ``tensorboard`` is not installed.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] | None = None, comment: str = "", purge_step: int | None = None,
        max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = "",
    ):  # fmt: skip
        if not log_dir:
            now = datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = os.fspath(log_dir)
        self._settings = (max_queue, flush_secs, filename_suffix)
        self.file_writer: FileWriter | None = None
        self.all_writers: dict[str, FileWriter] = {}
        self._summaries = part("tensorboard.compat.proto.summary_pb2")
        writer = self._get_file_writer()
        if purge_step is not None:
            events = part("tensorboard.compat.proto.event_pb2")
            start = events.SessionLog(status=events.SessionLog.START)
            writer.add_event(events.Event(step=purge_step, file_version="brain.Event:2"))
            writer.add_event(events.Event(step=purge_step, session_log=start))

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = self.all_writers[self.log_dir] = FileWriter(self.log_dir, *self._settings)
        return self.file_writer

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def _add(self, step: int | None, walltime: float | None, tag: str, **value: Any) -> None:
        summary = self._summaries.Summary(value=[self._summaries.Summary.Value(tag=tag, **value)])
        self._get_file_writer().add_summary(summary, step, walltime)

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None,
        new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number; with ``new_style`` as a tensor, which may then be of ``double_precision``."""
        value = _array(scalar_value)
        if value.size != 1:
            raise ValueError(f"add_scalar: scalar_value must be one number, got {value.size} of them")
        number = float(value.reshape(()).item())
        if not new_style:
            self._add(global_step, walltime, tag, simple_value=number)
            return
        exact = np.array(number, np.float64 if double_precision else np.float32)
        proto = part("tensorboard.util.tensor_util").make_tensor_proto(exact)
        self._add(global_step, walltime, tag, tensor=proto, metadata=self._metadata("scalars"))

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Several numbers, to be shown together: each in a folder of its own."""
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag}_{tag}".replace("/", "_"))
            if folder not in self.all_writers:
                self.all_writers[folder] = FileWriter(folder, *self._settings)
            entry = self._summaries.Summary.Value(tag=main_tag, simple_value=float(_array(value).reshape(()).item()))
            self.all_writers[folder].add_summary(self._summaries.Summary(value=[entry]), global_step, walltime)

    def add_tensor(
        self, tag: str, tensor: Tensor, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A tensor of numbers."""
        proto = part("tensorboard.util.tensor_util").make_tensor_proto(_array(tensor))
        self._add(global_step, walltime, tag, tensor=proto, metadata=self._metadata("tensor"))

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: str | Any = "tensorflow",
        walltime: float | None = None, max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """How values are spread; ``bins`` as numpy's ``histogram`` takes them, or "tensorflow" for those around 0.

        Of more than ``max_bins`` bins several are put together.
        """
        flat = _array(values).astype(np.float64).reshape(-1)
        if not flat.size:
            raise ValueError("add_histogram: values must have elements")
        limits, counts = bucketed(flat, bins, max_bins)
        made = self._summaries.HistogramProto(
            min=flat.min(), max=flat.max(), num=flat.size, sum=flat.sum(), sum_squares=float(flat @ flat),
            bucket_limit=limits, bucket=counts,
        )  # fmt: skip
        self._add(global_step, walltime, tag, histo=made)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """A picture: bytes, or numbers from 0 to 1; ``dataformats`` names the axes."""
        pixels = _pixels(_array(img_tensor), dataformats)
        height, width, channels = pixels.shape
        image = self._summaries.Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=_png(pixels)
        )
        self._add(global_step, walltime, tag, image=image)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """Several pictures in rows of eight."""
        array = np.moveaxis(_array(img_tensor), dataformats.index("N"), 0)
        axes = dataformats.replace("N", "")
        grid = tiled(np.stack([_pixels(a, axes) for a in array]))
        self.add_image(tag, grid, global_step, walltime, "HWC")

    def add_figure(
        self, tag: str, figure: Any, global_step: int | None = None, close: bool = True, walltime: float | None = None
    ) -> None:
        """A figure of matplotlib."""
        file = io.BytesIO()
        figure.savefig(file, format="png")
        width, height = (int(v) for v in figure.get_size_inches() * figure.dpi)
        image = self._summaries.Summary.Image(
            height=height, width=width, colorspace=4, encoded_image_string=file.getvalue()
        )
        self._add(global_step, walltime, tag, image=image)
        if close:
            importlib.import_module("matplotlib.pyplot").close(figure)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A text."""
        proto = part("tensorboard.util.tensor_util").make_tensor_proto(np.array([text_string.encode()], object))
        self._add(global_step, walltime, f"{tag}/text_summary", tensor=proto, metadata=self._metadata("text"))

    def _metadata(self, plugin: str) -> Any:
        """Which part of TensorBoard shows an entry."""
        about = self._summaries.SummaryMetadata.PluginData(plugin_name=plugin)
        return self._summaries.SummaryMetadata(plugin_data=about)

    def add_hparams(
        self, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any], hparam_domain_discrete: Any = None,
        run_name: str | None = None, global_step: int | None = None,
    ) -> None:  # fmt: skip
        """Settings of a run and what it reached, to be compared: a folder ``run_name``, by default the time.

        ``hparam_domain_discrete`` lists the values that a setting may have.
        """
        if not isinstance(hparam_dict, dict) or not isinstance(metric_dict, dict):
            raise TypeError("add_hparams: hparam_dict and metric_dict must be dicts")
        summaries = hparam_summaries(hparam_dict, metric_dict, hparam_domain_discrete)
        with SummaryWriter(os.path.join(self.log_dir, run_name or str(time.time()))) as inner:
            for summary in summaries:
                inner._get_file_writer().add_summary(summary, global_step)
            for name, value in metric_dict.items():
                inner.add_scalar(name, value, global_step)

    def flush(self) -> None:
        """Put onto the disk what was written."""
        for writer in self.all_writers.values():
            writer.flush()

    def close(self) -> None:
        """End the files."""
        for writer in self.all_writers.values():
            writer.close()
        self.file_writer, self.all_writers = None, {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pixels(array: np.ndarray[Any, Any], dataformats: str) -> np.ndarray[Any, Any]:
    """Bytes with the axes height, width and channel, of which there are 3 or 4."""
    if sorted(dataformats) not in (sorted("HW"), sorted("CHW")) or array.ndim != len(dataformats):
        raise ValueError(f"add_image: dataformats {dataformats!r} does not fit an array of shape {array.shape}")
    ordered = np.transpose(array, [dataformats.index(a) for a in "HWC" if a in dataformats])
    if ordered.ndim == 2:
        ordered = ordered[..., None]
    if ordered.dtype != np.uint8:
        ordered = (np.clip(ordered, 0, 1) * 255).astype(np.uint8)
    return np.repeat(ordered, 3, axis=2) if ordered.shape[2] == 1 else np.ascontiguousarray(ordered)


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    """A PNG file (https://www.w3.org/TR/png/): 8 bits a channel, rows without a filter."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, {3: 2, 4: 6}[channels], 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
