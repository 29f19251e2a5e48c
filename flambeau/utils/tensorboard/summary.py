"""The protobufs of what is written, each made by a function: what :class:`SummaryWriter`'s methods write.

They need the package ``tensorboard``; each gives a protobuf ``Summary``.
"""

from __future__ import annotations

import io
import json
import warnings
import wave
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.tensor import Tensor
from flambeau.utils.host import HostArray
from flambeau.utils.tensorboard._convert_np import make_np
from flambeau.utils.tensorboard._curves import MAX_THRESHOLDS, compute_curve, make_histogram
from flambeau.utils.tensorboard._hparams import hparams
from flambeau.utils.tensorboard._parts import part, pillow
from flambeau.utils.tensorboard._pictures import as_bytes, draw_boxes, gif, png, rescaled
from flambeau.utils.tensorboard._utils import _prepare_video, convert_to_HWC

__all__ = [
    "audio", "compute_curve", "convert_to_HWC", "custom_scalars", "draw_boxes", "histogram", "histogram_raw", "hparams",
    "image", "image_boxes", "make_histogram", "make_image", "make_np", "make_video", "mesh", "pr_curve",
    "pr_curve_raw", "scalar", "tensor_proto", "text", "video",
]  # fmt: skip

_BELOW_ONE: Final = 32767  #: the largest sample of sound


def _summary(tag: str, **value: Any) -> Any:
    kinds = part("tensorboard.compat.proto.summary_pb2")
    return kinds.Summary(value=[kinds.Summary.Value(tag=tag, **value)])


def _plugin(name: str) -> Any:
    kinds = part("tensorboard.compat.proto.summary_pb2")
    return kinds.SummaryMetadata(plugin_data=kinds.SummaryMetadata.PluginData(plugin_name=name))


def _proto(array: HostArray) -> Any:
    return part("tensorboard.util.tensor_util").make_tensor_proto(array)


def scalar(
    name: str, tensor: Any, collections: Any = None, new_style: bool = False, double_precision: bool = False
) -> Any:
    """One number; ``new_style`` as a tensor, then with ``double_precision`` of float64."""
    value = make_np(tensor)
    if value.size != 1:
        raise ValueError(f"add_scalar: scalar_value must be one number, got {value.size} of them")
    if new_style:
        number = value.reshape(()).astype(np.float64 if double_precision else np.float32)
        return _summary(name, tensor=_proto(number), metadata=_plugin("scalars"))
    return _summary(name, simple_value=float(value.reshape(()).item()))


def tensor_proto(tag: str, tensor: Any) -> Any:
    """A tensor of numbers, in its dtype; one number has one axis."""
    return _summary(tag, tensor=_of_dtype(tensor), metadata=_plugin("tensor"))


def _of_dtype(tensor: Any) -> Any:
    array = np.atleast_1d(make_np(tensor))
    if not isinstance(tensor, Tensor) or tensor.dtype is not dt.bfloat16:
        return _proto(array)
    made = _proto(array)  # of bfloat16 the package knows no array: its bits are the upper half of float32's
    bits = array.view(np.uint32).reshape(-1) >> 16
    kinds = part("tensorboard.compat.proto.tensor_pb2"), part("tensorboard.compat.proto.types_pb2")
    return kinds[0].TensorProto(dtype=kinds[1].DT_BFLOAT16, tensor_shape=made.tensor_shape, half_val=bits.tolist())


def histogram(name: str, values: Any, bins: Any, max_bins: int | None = None) -> Any:
    """How numbers are spread; see :func:`make_histogram`."""
    return _summary(name, histo=make_histogram(make_np(values), bins, max_bins))


def histogram_raw(
    name: str, min: float, max: float, num: float, sum: float, sum_squares: float, bucket_limits: Sequence[float],
    bucket_counts: Sequence[float],
) -> Any:  # fmt: skip
    """A histogram that was counted before: of each bucket the upper limit, and how many are in it."""
    if len(bucket_limits) != len(bucket_counts):
        raise ValueError(
            f"add_histogram_raw: as many limits as counts are needed, got {len(bucket_limits)} and {len(bucket_counts)}"
        )
    kinds = part("tensorboard.compat.proto.histogram_pb2")
    made = kinds.HistogramProto(
        min=min, max=max, num=num, sum=sum, sum_squares=sum_squares, bucket_limit=bucket_limits, bucket=bucket_counts
    )
    return _summary(name, histo=made)


def make_image(tensor: HostArray, rescale: float = 1, rois: HostArray | None = None, labels: Any = None) -> Any:
    """The protobuf of a picture, (height, width, 3 or 4 channels), with boxes if there are ``rois``.

    It tells the size before ``rescale``.
    """
    height, width, channels = tensor.shape
    if channels not in (3, 4):
        raise ValueError(f"add_image: a picture has 1, 3 or 4 channels, got {channels}")
    pixels = tensor
    if rois is not None:
        pixels = np.asarray(draw_boxes(pillow("Image", "a picture with boxes").fromarray(tensor), rois, labels))
    return part("tensorboard.compat.proto.summary_pb2").Summary.Image(
        height=height, width=width, colorspace=channels, encoded_image_string=png(rescaled(pixels, rescale))
    )


def image(tag: str, tensor: Any, rescale: float = 1, dataformats: str = "NCHW") -> Any:
    """A picture, or several in a grid: bytes, or numbers from 0 to 1; ``dataformats`` names the axes."""
    pixels = as_bytes(convert_to_HWC(make_np(tensor), dataformats))
    return _summary(tag, image=make_image(np.ascontiguousarray(pixels), rescale))


def image_boxes(
    tag: str, tensor_image: Any, tensor_boxes: Any, rescale: float = 1, dataformats: str = "CHW",
    labels: str | Sequence[str] | None = None,
) -> Any:  # fmt: skip
    """A picture with boxes, (n, 4): left, top, right, bottom in pixels; one label is for all of them."""
    boxes = make_np(tensor_boxes)
    named = [labels] * len(boxes) if isinstance(labels, str) else None if labels is None else list(labels)
    pixels = as_bytes(convert_to_HWC(make_np(tensor_image), dataformats))
    return _summary(tag, image=make_image(np.ascontiguousarray(pixels), rescale, boxes, named))


def make_video(tensor: HostArray, fps: float) -> Any:
    """The protobuf of a video, bytes of (time, height, width, 3): a picture that moves."""
    _, height, width, channels = tensor.shape
    if channels != 3:
        raise ValueError(f"add_video: a video has 1 or 3 channels, got {channels}")
    return part("tensorboard.compat.proto.summary_pb2").Summary.Image(
        height=height, width=width, colorspace=channels, encoded_image_string=gif(tensor, fps)
    )


def video(tag: str, tensor: Any, fps: float = 4) -> Any:
    """Videos in a grid, (n, time, channel, height, width): bytes, or numbers from 0 to 1."""
    frames = as_bytes(_prepare_video(make_np(tensor)))
    return _summary(tag, image=make_video(np.repeat(frames, 3, 3) if frames.shape[3] == 1 else frames, fps))


def audio(tag: str, tensor: Any, sample_rate: int = 44100) -> Any:
    """Sound of one channel: numbers from -1 to 1, cut off there with a warning."""
    wanted = make_np(tensor)
    if not wanted.size or wanted.size != max(wanted.shape, default=0):
        raise ValueError(f"add_audio: sound has the shape (length,) or (1, length), got {wanted.shape}")
    samples = wanted.reshape(-1)
    if np.abs(samples).max() > 1:
        warnings.warn("add_audio: sound beyond -1 and 1 is cut off", stacklevel=3)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes((samples.clip(-1, 1) * _BELOW_ONE).astype("<i2").tobytes())
    made = part("tensorboard.compat.proto.summary_pb2").Summary.Audio(
        sample_rate=sample_rate, num_channels=1, length_frames=len(samples), encoded_audio_string=file.getvalue(),
        content_type="audio/wav",
    )  # fmt: skip
    return _summary(tag, audio=made)


def text(tag: str, text: str) -> Any:
    """A text in Markdown."""
    if not isinstance(text, str):
        raise TypeError(f"add_text: expected a str, got {type(text).__name__}")
    return _summary(
        f"{tag}/text_summary", tensor=_proto(np.array([text.encode()], object)), metadata=_plugin("text")
    )  # fmt: skip


def custom_scalars(layout: Mapping[str, Mapping[str, Sequence[Any]]]) -> Any:
    """Which scalars are shown together: by category and title a kind of chart and tags.

    The kind is ``"Multiline"``, or ``"Margin"`` for the tags of a value, its lower and its upper bound.
    """
    protos = part("tensorboard.plugins.custom_scalar.layout_pb2")
    categories = [
        protos.Category(title=title, chart=[_chart(protos, name, *what) for name, what in charts.items()])
        for title, charts in layout.items()
    ]
    about = part("tensorboard.plugins.custom_scalar.metadata")
    packed = protos.Layout(category=categories).SerializeToString()
    return _summary(
        about.CONFIG_SUMMARY_TAG, tensor=_proto(np.array(packed, object)), metadata=about.create_summary_metadata()
    )


def _chart(protos: Any, title: str, kind: str, tags: Sequence[str]) -> Any:
    if kind == "Multiline":
        return protos.Chart(title=title, multiline=protos.MultilineChartContent(tag=tags))
    if kind != "Margin":
        raise ValueError(f"add_custom_scalars: chart {title!r} must be 'Multiline' or 'Margin', got {kind!r}")
    if len(tags) != 3:
        raise ValueError(f"add_custom_scalars: chart {title!r} needs 3 tags, value, lower and upper; got {tags!r}")
    value, lower, upper = tags
    series = protos.MarginChartContent.Series(value=value, lower=lower, upper=upper)
    return protos.Chart(title=title, margin=protos.MarginChartContent(series=[series]))


def pr_curve(tag: str, labels: Any, predictions: Any, num_thresholds: int = MAX_THRESHOLDS, weights: Any = None) -> Any:
    """Precision and recall at thresholds, 127 at most; see :func:`compute_curve`."""
    given = None if weights is None else make_np(weights)
    return _curve(tag, compute_curve(make_np(labels), make_np(predictions), min(num_thresholds, MAX_THRESHOLDS), given))


def pr_curve_raw(
    tag: str, tp: Any, fp: Any, tn: Any, fn: Any, precision: Any, recall: Any, num_thresholds: int = MAX_THRESHOLDS,
    weights: Any = None,
) -> Any:  # fmt: skip
    """Precision and recall that were computed before; how many thresholds there are is how many each has."""
    rows = [make_np(row) for row in (tp, fp, tn, fn, precision, recall)]
    if {row.shape for row in rows} != {(rows[0].size,)}:
        raise ValueError(f"add_pr_curve_raw: counts must have one axis of one length, got {[r.shape for r in rows]}")
    return _curve(tag, np.stack(rows))


def _curve(tag: str, rows: HostArray) -> Any:
    metadata = part("tensorboard.plugins.pr_curve.metadata").create_summary_metadata("", "", rows.shape[1])
    return _summary(tag, tensor=_proto(rows.astype(np.float32)), metadata=metadata)


def mesh(
    tag: str, vertices: Any, colors: Any, faces: Any, config_dict: Mapping[str, Any] | None,
    display_name: str | None = None, description: str | None = None,
) -> Any:  # fmt: skip
    """A mesh in space: points of shape (batch, n, 3), and if there are colours of these and triangles of their numbers.

    ``config_dict`` is for the classes of three.js that show it.
    """
    about = part("tensorboard.plugins.mesh.metadata")
    kinds = part("tensorboard.plugins.mesh.plugin_data_pb2").MeshPluginData
    given = {kinds.VERTEX: vertices, kinds.FACE: faces, kinds.COLOR: colors}
    arrays = {kind: make_np(value) for kind, value in given.items() if value is not None}
    bad = {kinds.ContentType.Name(k).lower(): a.shape for k, a in arrays.items() if a.ndim != 3 or a.shape[2] != 3}
    if bad or kinds.VERTEX not in arrays:
        raise ValueError(f"add_mesh: vertices, faces and colors must have the shape (batch, n, 3), got {bad or None}")
    mask = about.get_components_bitmask(list(arrays))
    config = json.dumps(config_dict or {}, sort_keys=True)
    values = [
        _summary(
            about.get_instance_name(tag, kind), tensor=_proto(array.astype(np.float32)),
            metadata=about.create_summary_metadata(tag, display_name, kind, mask, array.shape, description, config),
        ).value[0]
        for kind, array in arrays.items()
    ]  # fmt: skip
    return part("tensorboard.compat.proto.summary_pb2").Summary(value=values)
