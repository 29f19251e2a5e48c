"""The writer of event files."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from flambeau.core.tensor import Tensor
from flambeau.utils.tensorboard import _embedding, summary
from flambeau.utils.tensorboard._convert_np import make_np
from flambeau.utils.tensorboard._curves import MAX_THRESHOLDS, default_bins
from flambeau.utils.tensorboard._parts import part
from flambeau.utils.tensorboard._pytorch_graph import graph
from flambeau.utils.tensorboard._utils import figure_to_image

__all__ = ["FileWriter", "SummaryWriter"]


class FileWriter:
    """Writes events to a file in a folder."""

    def __init__(
        self, log_dir: str | os.PathLike[str], max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = ""
    ):
        self._settings = (os.fspath(log_dir), max_queue, flush_secs, filename_suffix)
        self.reopen()

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

    def add_graph(self, graph_profile: tuple[Any, Any], walltime: float | None = None) -> None:
        """The graph of a model and the record of its run, as protobufs."""
        kinds = part("tensorboard.compat.proto.event_pb2")
        nodes, run = (proto.SerializeToString() for proto in graph_profile)
        self.add_event(kinds.Event(graph_def=nodes), None, walltime)
        self.add_event(kinds.Event(tagged_run_metadata=kinds.TaggedRunMetadata(tag="step1", run_metadata=run)))

    def flush(self) -> None:
        """Put onto the disk what was written."""
        self.event_writer.flush()

    def close(self) -> None:
        """End the file."""
        self.event_writer.close()

    def reopen(self) -> None:
        """Begin another file in the folder."""
        self.event_writer = part("tensorboard.summary.writer.event_file_writer").EventFileWriter(*self._settings)


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
        self.default_bins = default_bins()
        self._projector = part("tensorboard.plugins.projector.projector_config_pb2").ProjectorConfig()
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

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None,
        new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number; ``new_style`` as a tensor, then with ``double_precision`` of float64."""
        made = summary.scalar(tag, scalar_value, None, new_style, double_precision)
        self._get_file_writer().add_summary(made, global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Several numbers, to be shown together: each in a folder of its own."""
        for tag, value in tag_scalar_dict.items():
            folder = f"{self.log_dir}/{main_tag.replace('/', '_')}_{tag}"
            if folder not in self.all_writers:
                self.all_writers[folder] = FileWriter(folder, *self._settings)
            self.all_writers[folder].add_summary(summary.scalar(main_tag, value), global_step, walltime)

    def add_tensor(
        self, tag: str, tensor: Tensor, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A tensor of numbers."""
        self._get_file_writer().add_summary(summary.tensor_proto(tag, tensor), global_step, walltime)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: str | Any = "tensorflow",
        walltime: float | None = None, max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """How values are spread.

        Args:
            tag, values: a name, and numbers.
            bins: "tensorflow" for limits from 1e-12 to 1e20, each by a tenth further from 0 than the last, or what
                numpy's ``histogram`` takes.
            max_bins: about how many bins there may be at most.
            global_step, walltime: number of the step, and seconds since 1970.
        """
        limits = self.default_bins if isinstance(bins, str) and bins == "tensorflow" else bins
        self._get_file_writer().add_summary(summary.histogram(tag, values, limits, max_bins), global_step, walltime)

    def add_histogram_raw(
        self, tag: str, min: float, max: float, num: float, sum: float, sum_squares: float,
        bucket_limits: Sequence[float], bucket_counts: Sequence[float], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A histogram that was counted before: of each bucket the upper limit, and how many are in it."""
        made = summary.histogram_raw(tag, min, max, num, sum, sum_squares, bucket_limits, bucket_counts)
        self._get_file_writer().add_summary(made, global_step, walltime)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """A picture: bytes, or numbers from 0 to 1; ``dataformats`` names the axes."""
        made = summary.image(tag, img_tensor, dataformats=dataformats)
        self._get_file_writer().add_summary(made, global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """Several pictures in rows of eight."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_image_with_boxes(
        self, tag: str, img_tensor: Any, box_tensor: Any, global_step: int | None = None,
        walltime: float | None = None, rescale: float = 1, dataformats: str = "CHW",
        labels: str | Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """A picture with boxes, (n, 4): left, top, right, bottom in pixels; one label is for all of them."""
        made = summary.image_boxes(tag, img_tensor, box_tensor, rescale, dataformats, labels)
        self._get_file_writer().add_summary(made, global_step, walltime)

    def add_figure(
        self, tag: str, figure: Any, global_step: int | None = None, close: bool = True, walltime: float | None = None
    ) -> None:
        """A figure of matplotlib, or a list of them."""
        formats = "NCHW" if isinstance(figure, (list, tuple)) else "CHW"
        self.add_image(tag, figure_to_image(figure, close), global_step, walltime, formats)

    def add_video(
        self, tag: str, vid_tensor: Any, global_step: int | None = None, fps: float = 4, walltime: float | None = None
    ) -> None:
        """Videos in a grid, (n, time, channel, height, width): bytes, or numbers from 0 to 1."""
        self._get_file_writer().add_summary(summary.video(tag, vid_tensor, fps), global_step, walltime)

    def add_audio(
        self, tag: str, snd_tensor: Any, global_step: int | None = None, sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Sound of one channel: numbers from -1 to 1, of shape (length,) or (1, length)."""
        self._get_file_writer().add_summary(summary.audio(tag, snd_tensor, sample_rate), global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A text in Markdown."""
        self._get_file_writer().add_summary(summary.text(tag, text_string), global_step, walltime)

    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """The ops of a model's forward pass, by module, with shapes and edges: it runs once, in evaluation.

        Args:
            model: a module.
            input_to_model: a tensor, or a tuple or list of what forward takes.
            verbose: print the nodes.
            use_strict_trace: accepted for PyTorch's sake: forward may give containers of any kind.

        Raises:
            TypeError: the model is no module, or its forward does not take these inputs.
            RuntimeError: the forward pass raises.
            ValueError: there are no inputs, or the pass gives no tensor.
        """
        self._get_file_writer().add_graph(graph(model, input_to_model, verbose, use_strict_trace))

    def add_embedding(
        self, mat: Any, metadata: Any = None, label_img: Any = None, global_step: int | None = None,
        tag: str = "default", metadata_header: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """Points for the projector.

        Args:
            mat: of shape (n, length).
            metadata: what each is called; with ``metadata_header`` a list of each, of the columns that it names.
            label_img: a square picture of each, (n, channel, height, width).
            global_step, tag: number of the step, and a name.
        """
        pictures = None if label_img is None else make_np(label_img)
        below = _embedding.folder_of(tag, global_step)
        folder = f"{self._get_file_writer().get_logdir()}/{below}"
        _embedding.write_embedding(folder, make_np(mat), metadata, pictures, metadata_header)
        info = _embedding.get_embedding_info(metadata, pictures, below, global_step, tag)
        self._projector.embeddings.append(info)
        contents = part("google.protobuf.text_format").MessageToString(self._projector)
        _embedding.write_pbtxt(self.log_dir, contents)

    def add_pr_curve(
        self, tag: str, labels: Any, predictions: Any, global_step: int | None = None,
        num_thresholds: int = MAX_THRESHOLDS, weights: Any = None, walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Precision and recall of a classifier at thresholds between 0 and 1.

        Args:
            tag, labels: a name, and 0 or 1 for each.
            predictions: how likely each is 1.
            num_thresholds: at most 127.
            weights: of each, or one number.
            global_step, walltime: number of the step, and seconds since 1970.
        """
        made = summary.pr_curve(tag, labels, predictions, num_thresholds, weights)
        self._get_file_writer().add_summary(made, global_step, walltime)

    def add_pr_curve_raw(
        self, tag: str, true_positive_counts: Any, false_positive_counts: Any, true_negative_counts: Any,
        false_negative_counts: Any, precision: Any, recall: Any, global_step: int | None = None,
        num_thresholds: int = MAX_THRESHOLDS, weights: Any = None, walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Precision and recall that were computed before; how many thresholds there are is how many each has."""
        made = summary.pr_curve_raw(
            tag, true_positive_counts, false_positive_counts, true_negative_counts, false_negative_counts, precision,
            recall, num_thresholds, weights,
        )  # fmt: skip
        self._get_file_writer().add_summary(made, global_step, walltime)

    def add_custom_scalars_multilinechart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """Have several scalars shown in one chart."""
        self.add_custom_scalars({category: {title: ["Multiline", tags]}})

    def add_custom_scalars_marginchart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """Have a scalar shown between two others: ``tags`` of its value, the lower and the upper bound."""
        self.add_custom_scalars({category: {title: ["Margin", tags]}})

    def add_custom_scalars(self, layout: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Which scalars are shown together: by category and title ``["Multiline", tags]`` or ``["Margin", tags]``.

        TensorBoard shows the one that was written last.
        """
        self._get_file_writer().add_summary(summary.custom_scalars(layout))

    def add_mesh(
        self, tag: str, vertices: Any, colors: Any = None, faces: Any = None,
        config_dict: Mapping[str, Any] | None = None, global_step: int | None = None, walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A mesh in space, or points.

        Args:
            tag, vertices: a name, and points of shape (batch, n, 3).
            colors: of these, from 0 to 255.
            faces: triangles of the points' numbers, (batch, m, 3).
            config_dict: for the classes of three.js that show it.
            global_step, walltime: number of the step, and seconds since 1970.
        """
        made = summary.mesh(tag, vertices, colors, faces, config_dict)
        self._get_file_writer().add_summary(made, global_step, walltime)

    def add_hparams(
        self, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any],
        hparam_domain_discrete: Mapping[str, Sequence[Any]] | None = None, run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:  # fmt: skip
        """Hyperparameters and what a run reached with them, in a folder of the run's own.

        Args:
            hparam_dict: bool, str, numbers, tensors of one number; None is left out.
            metric_dict: numbers, which are written as scalars too.
            hparam_domain_discrete: what a hyperparameter may be, by name.
            run_name: of the folder; by default the time.
            global_step: number of the step.
        """
        made = summary.hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        folder = f"{self.log_dir}/{str(time.time()) if run_name is None else run_name}"
        with SummaryWriter(folder, "", None, *self._settings) as run:
            for one in made:
                run._get_file_writer().add_summary(one, global_step)
            for name, value in metric_dict.items():
                run.add_scalar(name, value, global_step)

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
