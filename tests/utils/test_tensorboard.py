"""What is written for TensorBoard: read back by the package ``tensorboard``, and beside what PyTorch 2.13 writes.

The numbers, bytes and names under "as PyTorch" were read from files that PyTorch's writer made of the same calls.
"""

from __future__ import annotations

import datetime
import io
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn

pytest.importorskip("tensorboard")

from flambeau.utils.tensorboard import SummaryWriter, summary
from flambeau.utils.tensorboard._utils import _prepare_video, make_grid

VALUES = (np.arange(20) - 8) * 0.37
PICTURE = (np.arange(24).reshape(3, 2, 4) / 24).astype(np.float32)


def events(folder: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for file in sorted(folder.glob("events.out.tfevents.*")):
        yield from (Event.FromString(raw) for raw in RawEventFileLoader(str(file)).Load())


def values(folder: Path) -> dict[str, Any]:
    return {value.tag: value for event in events(folder) for value in event.summary.value}


def numbers(value: Any) -> Any:
    from tensorboard.util.tensor_util import make_ndarray

    return make_ndarray(value.tensor)


def pixels(made: Any) -> Any:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(made.value[0].image.encoded_image_string)))


# -- as PyTorch --------------------------------------------------------------------------------------
def test_numbers_texts_and_their_folders(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as w:
        w.add_scalar("old", fb.tensor([1.5]), 3, walltime=5.0)
        w.add_scalar("new", 0.1, 4, new_style=True)
        w.add_scalar("double", 0.1, 4, new_style=True, double_precision=True)
        w.add_scalars("a/loss", {"train": 1.0, "val/x": 2.0}, 4)
        w.add_text("t", "hello *you*", 1)
    found = values(tmp_path)
    assert found["old"].simple_value == 1.5
    assert [(e.step, e.wall_time) for e in events(tmp_path) if "old" in [v.tag for v in e.summary.value]] == [(3, 5.0)]
    assert [found[k].metadata.plugin_data.plugin_name for k in ("new", "double", "t/text_summary")] == [
        "scalars", "scalars", "text",
    ]  # fmt: skip
    assert (numbers(found["new"]), numbers(found["double"])) == (np.float32(0.1), 0.1)
    assert numbers(found["t/text_summary"]).tolist() == [b"hello *you*"]
    assert values(tmp_path / "a_loss_train")["a/loss"].simple_value == 1.0
    assert values(tmp_path / "a_loss_val" / "x")["a/loss"].simple_value == 2.0


@pytest.mark.parametrize(
    "dtype", [fb.float16, fb.float64, fb.uint8, fb.int32, fb.int64, fb.bool, fb.complex64], ids=lambda d: d.name
)
def test_tensors_keep_their_dtype(dtype: fb.dtype) -> None:
    made = summary.tensor_proto("t", fb.arange(6).reshape(2, 3).to(dtype)).value[0]
    read = numbers(made)
    assert made.metadata.plugin_data.plugin_name == "tensor" and read.dtype == dtype.numpy
    assert (read == np.arange(6).reshape(2, 3).astype(dtype.numpy)).all()


def test_a_tensor_in_bfloat16_is_its_bits_and_one_number_has_an_axis() -> None:
    from tensorboard.compat.proto.types_pb2 import DT_BFLOAT16

    made = summary.tensor_proto("t", fb.tensor([1.0, -2.0], dtype=fb.bfloat16)).value[0].tensor
    assert (made.dtype, list(made.half_val), made.tensor_shape.dim[0].size) == (DT_BFLOAT16, [0x3F80, 0xC000], 2)
    assert numbers(summary.tensor_proto("t", fb.tensor(3.0)).value[0]).shape == (1,)


@pytest.mark.parametrize(
    ("given", "bins", "max_bins", "count", "first", "last", "filled"),
    [
        (VALUES, "tensorflow", None, 610, -3.1665833053880363, 4.214722379471477,
         [1, 3, 4, 6, 8, 11, 16, 23, 304, 584, 591, 596, 599, 601, 603, 604, 606, 607, 608, 609]),
        (VALUES, "tensorflow", 5, 4, -16077033.378026905, 12078913.131500302, {1: 8, 2: 1, 3: 11}),
        (VALUES, "tensorflow", 100, 42, -5.609795487076537, 4.214722379471477, {1: 5, 2: 3, 21: 1, 40: 2, 41: 9}),
        (VALUES, "auto", None, 7, -2.96, 4.07, {1: 4, 2: 3, 3: 3, 4: 3, 5: 3, 6: 4}),
        (VALUES, [-3.0, -1.0, 0.0, 1.0, 4.0, 6.0, 8.0], None, 6, -3.0, 6.0, {1: 6, 2: 2, 3: 3, 4: 8, 5: 1}),
        (np.zeros(3), "tensorflow", None, 2, 0.0, 1e-12, {1: 3}),
        (np.array([0.5, 1e30, -1e30]), "tensorflow", None, 2, 0.47069243095356195, 0.5177616740489182, {1: 1}),
    ],
)  # fmt: skip
def test_histograms(
    tmp_path: Path, given: Any, bins: Any, max_bins: int | None, count: int, first: float, last: float, filled: Any
) -> None:
    with SummaryWriter(tmp_path) as w:
        w.add_histogram("h", fb.from_numpy(given), 1, bins=bins, max_bins=max_bins)
        assert (len(w.default_bins), w.default_bins[-1]) == (1549, 9.920775621859783e19)
    made = values(tmp_path)["h"].histo
    assert (len(made.bucket_limit), made.bucket_limit[0], made.bucket_limit[-1]) == (count, first, last)
    expected = filled if isinstance(filled, dict) else dict.fromkeys(filled, 1)
    assert {i: n for i, n in enumerate(made.bucket) if n} == expected and len(made.bucket) == count
    assert (made.num, made.min, made.max) == (len(given), given.min(), given.max())
    assert (made.sum, made.sum_squares) == pytest.approx((given.sum(), (given**2).sum()))


def test_a_histogram_that_was_counted_before() -> None:
    made = summary.histogram_raw("h", 0.0, 3.0, 4, 6.0, 14.0, [1.0, 2.0, 4.0], [1, 1, 2]).value[0].histo
    assert (list(made.bucket_limit), list(made.bucket), made.sum_squares) == ([1.0, 2.0, 4.0], [1.0, 1.0, 2.0], 14.0)


def test_pictures() -> None:
    over = pixels(summary.image("p", fb.from_numpy(PICTURE * 3 - 1), dataformats="CHW"))
    assert over[0].tolist() == [[0, 0, 255], [0, 31, 255], [0, 63, 255], [0, 95, 255]]
    many = np.stack([PICTURE * k / 5 for k in range(1, 6)] * 2)
    grid = pixels(summary.image("p", many))
    assert grid.shape == (4, 32, 3) and grid.astype(int).sum((1, 2)).tolist() == [5057, 7178, 2171, 3088]
    assert grid[2].astype(int).sum(1)[:9].tolist() == [204, 228, 254, 279, 255, 285, 318, 348, 0]
    for formats, axes in (("NHWC", (0, 2, 3, 1)), ("chwn", (1, 2, 3, 0))):
        assert (pixels(summary.image("p", many.transpose(axes), dataformats=formats)) == grid).all()
    grey = pixels(summary.image("p", many[:, 0], dataformats="NHW"))
    assert (grey == grid[:, :, :1]).all()
    large = summary.image("p", PICTURE, rescale=2, dataformats="CHW")
    assert pixels(large).shape == (4, 8, 3) and large.value[0].image.width == 4
    assert make_grid(np.arange(6).reshape(3, 1, 1, 2), 2)[0].tolist() == [[0, 1, 2, 3], [4, 5, 0, 0]]


def test_boxes_in_pictures() -> None:
    grey, box = np.full((3, 20, 30), 0.5), np.array([[5.4, 4.6, 20.0, 15.0]])
    drawn = pixels(summary.image_boxes("p", grey, box))
    red = (drawn == (255, 0, 0)).all(2)
    assert np.argwhere(red.any(1)).ravel().tolist() == list(range(3, 17))
    assert ["".join(" #"[int(b)] for b in row) for row in red[[3, 4, 5, 14, 15, 16], 3:23]] == [
        "  ################  ", "  ################  ", "  ##            ##  ", "  ##            ##  ",
        "  ################  ", "  ################  ",
    ]  # fmt: skip
    large = pixels(summary.image_boxes("p", grey, box, rescale=2))
    assert large.shape == (40, 60, 3) and large.astype(int).sum((0, 1)).tolist() == [353808, 256196, 256196]
    wide = np.full((3, 40, 90), 0.5)
    named = pixels(summary.image_boxes("p", wide, [[5.0, 4.0, 80.0, 35.0]] * 2, labels="cat"))
    assert (named[28:33, 7:14] != 127).any(2).all() and (named[10:20, 7:14] == 127).all()


@pytest.mark.parametrize(
    ("count", "rows"),
    [
        (1, [[1]]), (2, [[1, 2]]), (3, [[1, 2, 3, 0]]), (4, [[1, 2], [3, 4]]), (5, [[1, 2, 3, 4], [5, 0, 0, 0]]),
        (9, [[1, 2, 3, 4, 5, 6, 7, 8], [9, 0, 0, 0, 0, 0, 0, 0]]),
    ],
)  # fmt: skip
def test_videos_lie_in_a_grid(count: int, rows: list[list[int]]) -> None:
    made = _prepare_video(np.arange(1, count + 1, dtype=np.uint8).reshape(count, 1, 1, 1, 1).repeat(3, 2))
    assert made[0, :, :, 0].tolist() == rows


def test_a_video_is_a_moving_picture() -> None:
    from PIL import Image

    video = (np.arange(2 * 4 * 3 * 8 * 8) % 255).astype(np.uint8).reshape(2, 4, 3, 8, 8)
    made = summary.video("v", video, fps=2).value[0].image
    file = Image.open(io.BytesIO(made.encoded_image_string))
    assert (file.format, made.width, made.height, made.colorspace) == ("GIF", 16, 8, 3)
    for i in range(4):
        file.seek(i)
        assert (np.asarray(file.convert("RGB")) == np.moveaxis(np.concatenate(video[:, i], 2), 0, 2)).all()
        assert file.info["duration"] == 500
    grey = Image.open(io.BytesIO(summary.video("v", video[:1, :, :1] / 255).value[0].image.encoded_image_string))
    assert abs(np.asarray(grey.convert("RGB")).astype(int) - video[0, 0, 0][..., None]).max() <= 1


def test_figures_of_matplotlib(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from flambeau.utils.tensorboard._utils import figure_to_image

    pyplot.switch_backend("Agg")
    figure = pyplot.figure(figsize=(1, 1))
    figure.gca().plot([1, 2])
    file = io.BytesIO()
    figure.savefig(file, format="rgba")
    drawn = np.frombuffer(file.getvalue(), np.uint8).reshape(100, 100, 4)[..., :3]
    assert (figure_to_image([figure, figure], close=False) == np.moveaxis(drawn, 2, 0)).all()
    with SummaryWriter(tmp_path) as w:
        w.add_figure("one", figure, 1, close=False)
        assert pyplot.get_fignums()
        w.add_figure("two", [figure, figure], 1)
    assert not pyplot.get_fignums()
    sizes = {tag: (v.image.width, v.image.height, v.image.colorspace) for tag, v in values(tmp_path).items()}
    assert sizes == {"one": (100, 100, 3), "two": (200, 100, 3)}


def test_sound() -> None:
    made = summary.audio("s", np.sin(np.arange(40) / 3).astype(np.float32)[None]).value[0].audio
    assert (made.sample_rate, made.num_channels, made.length_frames, made.content_type) == (44100, 1, 40, "audio/wav")
    with wave.open(io.BytesIO(made.encoded_audio_string)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 44100)
        samples = np.frombuffer(file.readframes(40), "<i2").astype(int)
    assert samples[:8].tolist() == [0, 10721, 20262, 27572, 31847, 32616, 29794, 23693] and samples.sum() == 15895
    with pytest.warns(UserWarning, match="beyond -1 and 1 is cut off"):
        loud = summary.audio("s", [0.0, 3.0, -3.0], 8000).value[0].audio
    assert loud.encoded_audio_string[-6:] == b"\0\0\xff\x7f\x01\x80"


def test_precision_and_recall() -> None:
    labels, predictions = np.array([1, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    expected = [
        [8, 7, 4, 4, 0], [2, 2, 0, 0, 0], [0, 0, 2, 2, 2], [0, 1, 4, 4, 8], [0.8, 7 / 9, 1, 1, 0],
        [1, 0.875, 0.5, 0.5, 0],
    ]  # fmt: skip
    made = summary.pr_curve("c", fb.tensor(labels), fb.tensor(predictions), 5, fb.tensor([1, 2, 3, 4.0])).value[0]
    assert np.allclose(numbers(made), expected) and numbers(made).dtype == np.float32
    about = made.metadata.plugin_data
    assert (about.plugin_name, about.content) == ("pr_curves", b"\x10\x05")
    assert numbers(summary.pr_curve("c", labels, predictions, 300).value[0]).shape == (6, 127)
    ends = summary.compute_curve(np.array([True, False, True]), np.array([0.0, 1.0, 1.0]), 3, 2.0)
    assert ends.round(3).tolist() == [
        [4, 2, 2], [2, 2, 2], [0, 0, 0], [0, 2, 2], [0.667, 0.5, 0.5], [1, 0.5, 0.5]
    ]  # fmt: skip
    counts: list[Any] = [[1, 2, 3]] * 6
    raw = summary.pr_curve_raw("c", *counts).value[0]
    assert raw.metadata.plugin_data.content == b"\x10\x03" and numbers(raw).tolist() == counts


def test_meshes() -> None:
    points, triangles = fb.arange(12.0).reshape(1, 4, 3), fb.tensor([[[0, 1, 2], [1, 2, 3]]])
    made = summary.mesh("m", points, points.to(fb.uint8), triangles, {"camera": {"fov": 75}}).value
    config = b'*\x17{"camera": {"fov": 75}}'
    assert [(v.tag, v.metadata.plugin_data.plugin_name, v.metadata.plugin_data.content) for v in made] == [
        ("m_VERTEX", "mesh", b"\x12\x01m\x18\x01" + config + b"2\x03\x01\x04\x038\x0e"),
        ("m_FACE", "mesh", b"\x12\x01m\x18\x02" + config + b"2\x03\x01\x02\x038\x0e"),
        ("m_COLOR", "mesh", b"\x12\x01m\x18\x03" + config + b"2\x03\x01\x04\x038\x0e"),
    ]
    assert all((numbers(v) == t.numpy()).all() for v, t in zip(made, (points, triangles, points), strict=True))
    alone = summary.mesh("v", points, None, None, None).value
    assert [v.metadata.plugin_data.content for v in alone] == [b"\x12\x01v\x18\x01*\x02{}2\x03\x01\x04\x038\x02"]


def test_layouts_of_scalars(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as w:
        w.add_custom_scalars_multilinechart(["a/x", "a/y"], "cat", "ti")
        w.add_custom_scalars_marginchart(["a/x", "a/y", "a/z"], "cat", "ti")
    written = [v for e in events(tmp_path) for v in e.summary.value]
    assert {(v.tag, v.metadata.plugin_data.plugin_name) for v in written} == {
        ("custom_scalars__config__", "custom_scalars")
    }
    assert [numbers(v).item() for v in written] == [
        b"\x12\x17\n\x03cat\x12\x10\n\x02ti\x12\n\n\x03a/x\n\x03a/y",
        b"\x12\x1e\n\x03cat\x12\x17\n\x02ti\x1a\x11\n\x0f\n\x03a/x\x12\x03a/y\x1a\x03a/z",
    ]


def test_hyperparameters() -> None:
    settings, domains = {"lr": 0.1, "opt": "adam", "none": None}, {"lr": [0.1, 0.2], "opt": ["adam", "sgd"]}
    experiment, start, end = (s.value[0] for s in summary.hparams(settings, {"acc": 1}, domains))
    assert [v.tag for v in (experiment, start, end)] == [
        f"_hparams_/{name}" for name in ("experiment", "session_start_info", "session_end_info")
    ]
    assert experiment.metadata.plugin_data.content == (
        b'\x12C"\x1e\n\x02lr \x03*\x16\n\t\x11\x9a\x99\x99\x99\x99\x99\xb9?\n\t\x11\x9a\x99\x99\x99\x99\x99\xc9?'
        b'"\x18\n\x03opt \x01*\x0f\n\x06\x1a\x04adam\n\x05\x1a\x03sgd*\x07\n\x05\x12\x03acc'
    )
    alone = summary.hparams({"lr": fb.tensor([0.1], dtype=fb.float64)}, {})[1].value[0].metadata.plugin_data
    assert alone.content == b"\x1a\x11\n\x0f\n\x02lr\x12\t\x11\x9a\x99\x99\x99\x99\x99\xb9?"
    true = summary.hparams({"on": True}, {})[1].value[0].metadata.plugin_data
    assert true.content == b"\x1a\x11\n\x0f\n\x02on\x12\t\x11\0\0\0\0\0\0\xf0?"
    assert end.metadata.plugin_data.content == b'"\x02\x08\x01'


def test_points_for_the_projector(tmp_path: Path) -> None:
    points = fb.arange(10.0).reshape(5, 2) / 7
    pictures = (np.arange(60) / 60).reshape(5, 3, 2, 2)
    with SummaryWriter(tmp_path) as w:
        w.add_embedding(points, [["a", i] for i in range(5)], tag="named", global_step=2, metadata_header=["n", "i"])
        w.add_embedding(points, label_img=pictures, tag="im/g 5%\\")
        with pytest.warns(UserWarning, match="written again"):
            w.add_embedding(points, list("abcde"), tag="named", global_step=2)
    written = (tmp_path / "00002/named/tensors.tsv").read_text().splitlines()
    assert written[:2] == ["0.0\t0.1428571492433548", "0.2857142984867096\t0.4285714328289032"] and len(written) == 5
    assert (tmp_path / "00002/named/metadata.tsv").read_text() == "a\nb\nc\nd\ne\n"
    from PIL import Image

    sprite = np.asarray(Image.open(tmp_path / "00000/im%2fg 5%25%5c/sprite.png"))
    assert sprite.shape == (6, 6, 3) and sprite[0, :, 0].tolist() == [0, 4, 51, 55, 102, 106]
    assert sprite[2, :, 1].tolist() == [170, 174, 221, 225, 0, 0] and not sprite[4:].any()
    assert (tmp_path / "projector_config.pbtxt").read_text().startswith(
        'embeddings {\n  tensor_name: "named:00002"\n  metadata_path: "00002/named/metadata.tsv"\n'
        '  tensor_path: "00002/named/tensors.tsv"\n}\n'
        'embeddings {\n  tensor_name: "im/g 5%\\\\:00000"\n  sprite {\n'
        '    image_path: "00000/im%2fg 5%25%5c/sprite.png"\n    single_image_dim: 2\n    single_image_dim: 2\n  }\n'
    )  # fmt: skip


def test_statistics_of_the_monitor(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as w:
        handler = fb.monitor.register_event_handler(fb.monitor.TensorboardEventHandler(w))
        try:
            with fb.monitor.Stat("loss", [fb.monitor.Aggregation.MAX], datetime.timedelta(hours=1)) as stat:
                stat.add(2.0)
                stat.add(1.0)
        finally:
            fb.monitor.unregister_event_handler(handler)
    assert values(tmp_path)["loss.max"].simple_value == 2.0


def test_each_method_writes_its_summary_with_step_and_time(tmp_path: Path) -> None:
    many, video, points = np.stack([PICTURE] * 2), np.ones((1, 2, 3, 4, 4)), np.ones((1, 2, 3))
    rows: list[Any] = [[1.0, 2.0]] * 6
    when: dict[str, Any] = {"global_step": 7, "walltime": 5.0}
    with SummaryWriter(tmp_path) as w:
        w.add_scalar("0", 1.5, **when)
        w.add_tensor("1", fb.ones(2), **when)
        w.add_histogram("2", VALUES, bins=3, **when)
        w.add_histogram_raw("3", 0, 1, 1, 1, 1, [1.0], [1], **when)
        w.add_image("4", PICTURE, **when)
        w.add_images("5", many, **when)
        w.add_image_with_boxes("6", PICTURE, [[0, 0, 1, 1]], rescale=2, labels="a", **when)
        w.add_video("7", video, fps=2, **when)
        w.add_audio("8", [0.5], sample_rate=8000, **when)
        w.add_text("9", "text", **when)
        w.add_pr_curve("10", [0, 1], [0.2, 0.8], num_thresholds=3, weights=[1, 2], **when)
        w.add_pr_curve_raw("11", *rows, **when)
        w.add_mesh("12", points, points, points, {"a": 1}, **when)
    expected = [
        summary.scalar("0", 1.5), summary.tensor_proto("1", fb.ones(2)), summary.histogram("2", VALUES, 3),
        summary.histogram_raw("3", 0, 1, 1, 1, 1, [1.0], [1]), summary.image("4", PICTURE, dataformats="CHW"),
        summary.image("5", many), summary.image_boxes("6", PICTURE, [[0, 0, 1, 1]], 2, labels=["a"]),
        summary.video("7", video, 2), summary.audio("8", [0.5], 8000), summary.text("9", "text"),
        summary.pr_curve("10", [0, 1], [0.2, 0.8], 3, [1, 2]), summary.pr_curve_raw("11", *rows),
        summary.mesh("12", points, points, points, {"a": 1}),
    ]  # fmt: skip
    written = [e for e in events(tmp_path) if e.HasField("summary")]
    assert [e.summary for e in written] == expected
    assert {(e.step, e.wall_time) for e in written} == {(7, 5.0)}


# -- TensorBoard's own pages -------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:html5lib's sanitizer:DeprecationWarning")
def test_the_pages_show_it(tmp_path: Path) -> None:
    from tensorboard import context
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.graph.graphs_plugin import GraphsPlugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
    from tensorboard.plugins.pr_curve.pr_curves_plugin import PrCurvesPlugin

    with SummaryWriter(tmp_path) as w:
        w.add_graph(nn.Linear(2, 3), fb.ones(4, 2))
        w.add_pr_curve("curve", [0, 1, 1], [0.2, 0.6, 0.9], 1, num_thresholds=3)
        for i in range(2):
            w.add_hparams({"lr": 0.5 + i, "opt": "adam", "flag": i == 0}, {"acc": 0.5 * i}, run_name=f"run{i}")
    events_of = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    events_of.Reload()
    place = TBContext(data_provider=MultiplexerDataProvider(events_of, str(tmp_path)), logdir=str(tmp_path))
    asked, at = context.RequestContext(), backend_context.Context(place)
    experiment = get_experiment.Handler(asked, at, "", api_pb2.GetExperimentRequest()).run()
    assert {(i.name, api_pb2.DataType.Name(i.type)) for i in experiment.hparam_infos} == {
        ("lr", "DATA_TYPE_FLOAT64"), ("opt", "DATA_TYPE_STRING"), ("flag", "DATA_TYPE_FLOAT64"),
    }  # fmt: skip
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=9, allowed_statuses=[api_pb2.STATUS_SUCCESS])
    request.col_params.add(metric=experiment.metric_infos[0].name)
    shown = list_session_groups.Handler(asked, at, "", request).run().session_groups
    assert [(g.name, g.hparams["lr"].number_value, g.metric_values[0].value) for g in shown] == [
        ("run0", 0.5, 0.0), ("run1", 1.5, 0.5),
    ]  # fmt: skip
    assert GraphsPlugin(place).info_impl(asked, "")["."]["run_graph"]
    curve = PrCurvesPlugin(place).pr_curves_impl(asked, "", ["."], "curve")["."]
    assert curve[0]["recall"] == [1.0, 1.0] and curve[0]["true_positives"] == [2, 2]


# -- what cannot be written --------------------------------------------------------------------------
BAD: list[tuple[Callable[[SummaryWriter], Any], type[Exception], str]] = [
    (lambda w: w.add_scalar("a", [1.0, 2.0]), ValueError, "one number, got 2"),
    (lambda w: w.add_scalar("a", "x"), TypeError, "expected numbers .* got str"),
    (lambda w: w.add_scalar("a", None), TypeError, "got NoneType"),
    (lambda w: w.add_histogram("a", []), ValueError, "must have elements"),
    (lambda w: w.add_histogram("a", [1.0], max_bins=0), ValueError, "max_bins must be positive"),
    (lambda w: w.add_histogram_raw("a", 0, 1, 1, 1, 1, [1.0], [1, 2]), ValueError, "got 1 and 2"),
    (lambda w: w.add_image("a", PICTURE, dataformats="CHH"), ValueError, "'CHH' does not fit"),
    (lambda w: w.add_image("a", PICTURE, dataformats="HW"), ValueError, r"an array of shape \(3, 2, 4\)"),
    (lambda w: w.add_image("a", PICTURE[:2]), ValueError, "3 or 4 channels, got 2"),
    (lambda w: w.add_image_with_boxes("a", PICTURE, [1.0, 2, 3, 4]), ValueError, r"shape \(n, 4\)"),
    (lambda w: w.add_image_with_boxes("a", PICTURE, np.ones((2, 4)), labels=["a"]), ValueError, "1 for 2 boxes"),
    (lambda w: w.add_image_with_boxes("a", PICTURE, np.ones((1, 4)), rescale=0.1), ValueError, "leaves nothing"),
    (lambda w: w.add_video("a", np.ones((2, 3, 4, 5))), ValueError, "N, T, C, H and W"),
    (lambda w: w.add_video("a", np.ones((1, 2, 2, 4, 4))), ValueError, "1 or 3 channels, got 2"),
    (lambda w: w.add_video("a", np.ones((1, 2, 3, 4, 4)), fps=0), ValueError, "fps must be a positive"),
    (lambda w: w.add_audio("a", np.ones((2, 20))), ValueError, r"got \(2, 20\)"),
    (lambda w: w.add_text("a", 3), TypeError, "expected a str, got int"),  # type: ignore[arg-type]
    (lambda w: w.add_pr_curve("a", [1, 0], [0.5]), ValueError, r"shape \(2,\) and predictions of shape \(1,\)"),
    (lambda w: w.add_pr_curve("a", [1, 2], [0.5, 0.5]), ValueError, "labels must be 0 or 1"),
    (lambda w: w.add_pr_curve("a", [1, 0], [0.5, float("nan")]), ValueError, "between 0 and 1"),
    (lambda w: w.add_pr_curve("a", [1, 0], [0.5, 0.5], weights=[1, 2, 3]), ValueError, "weights of shape"),
    (lambda w: w.add_pr_curve_raw("a", [1], [1], [1, 2], [1], [1], [1]), ValueError, "of one length"),
    (lambda w: w.add_mesh("a", np.ones((2, 3))), ValueError, r"'vertex': \(2, 3\)"),
    (lambda w: w.add_custom_scalars({"a": {"b": ["Pie", ["x"]]}}), ValueError, "'Multiline' or 'Margin', got 'Pie'"),
    (lambda w: w.add_custom_scalars_marginchart(["x"]), ValueError, "needs 3 tags"),
    (lambda w: w.add_hparams([], {}), TypeError, "hparam_dict must be a dict, got list"),  # type: ignore[arg-type]
    (lambda w: w.add_hparams({"a": [1]}, {}), ValueError, "'a' must be a number"),
    (lambda w: w.add_hparams({"a": 1}, {}, {"a": ["x"]}), TypeError, "list values of that hyperparameter"),
    (lambda w: w.add_embedding(np.ones(3)), ValueError, r"shape \(n, length\), got \(3,\)"),
    (lambda w: w.add_embedding(np.ones((2, 2)), ["a"]), ValueError, "got 1 for 2"),
    (lambda w: w.add_embedding(np.ones((2, 2)), ["a\tb", "c"]), ValueError, "no tab"),
    (lambda w: w.add_embedding(np.ones((1, 2)), [["a"]], metadata_header=["x", "y"]), ValueError, "a row is"),
    (lambda w: w.add_embedding(np.ones((1, 2)), label_img=np.ones((1, 3, 2, 3))), ValueError, "must be squares"),
    (lambda w: w.add_embedding(np.ones((1, 2)), tag=".."), ValueError, "can name no folder"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "match"), BAD)
def test_errors_say_what_is_wrong(
    tmp_path: Path, call: Callable[[SummaryWriter], Any], kind: type[Exception], match: str
) -> None:
    with SummaryWriter(tmp_path) as w, pytest.raises(kind, match=match):
        call(w)
    assert not values(tmp_path) and not (tmp_path / "projector_config.pbtxt").exists()
