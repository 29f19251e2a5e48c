"""What a summary writer tells, read back from the event files; what is expected is what PyTorch 2.13 writes there."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.utils.tensorboard import SummaryWriter

pytest.importorskip("tensorboard")
PICTURE = np.linspace(0, 1, 24).reshape(3, 2, 4)


def read(folder: Path) -> dict[str, Any]:
    """The entries of a folder's event file by tag, each with its event."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    (file,) = folder.glob("events.*")
    events = [Event.FromString(raw) for raw in RawEventFileLoader(str(file)).Load()]
    return {value.tag: (event, value) for event in events for value in event.summary.value}


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SummaryWriter]:
    with SummaryWriter(tmp_path) as made:
        yield made


def told(writer: SummaryWriter, tag: str) -> Any:
    writer.flush()
    return read(Path(writer.get_logdir()))[tag][1]


def pixels(value: Any) -> np.ndarray[Any, Any]:
    """The bytes of a picture."""
    from matplotlib.image import imread

    assert (value.image.height, value.image.width) == imread(io.BytesIO(value.image.encoded_image_string)).shape[:2]
    return (imread(io.BytesIO(value.image.encoded_image_string)) * 255).round().astype(np.uint8)


def test_add_scalar(writer: SummaryWriter) -> None:
    writer.add_scalar("loss", fb.tensor(2.5), 3, walltime=7.0)
    writer.add_scalar("new", 0.1, new_style=True)
    writer.add_scalar("exact", 0.1, new_style=True, double_precision=True)
    writer.flush()
    found = read(Path(writer.get_logdir()))
    event, value = found["loss"]
    assert (event.step, event.wall_time, value.simple_value) == (3, 7.0, 2.5)
    assert list(found["new"][1].tensor.float_val) == [np.float32(0.1)]
    assert list(found["exact"][1].tensor.double_val) == [0.1]
    assert found["exact"][1].metadata.plugin_data.plugin_name == "scalars"
    with pytest.raises(ValueError, match="one number, got 2"):
        writer.add_scalar("loss", fb.ones(2))


def test_add_scalars(writer: SummaryWriter, tmp_path: Path) -> None:
    writer.add_scalars("run/a", {"train": 1.0, "test": fb.tensor(2.0)}, 5)
    writer.flush()
    for name, number in (("run_a_train", 1.0), ("run_a_test", 2.0)):
        event, value = read(tmp_path / name)["run/a"]
        assert (event.step, value.simple_value) == (5, number)


def test_add_histogram(writer: SummaryWriter) -> None:
    values = fb.tensor([-1.0, 0.0, 2.0, 2.0, 3.0])
    writer.add_histogram("around zero", values, 1)
    found = told(writer, "around zero").histo
    assert (found.min, found.max, found.num, found.sum, found.sum_squares) == (-1, 3, 5, 6, 18)
    limits, held = np.array(found.bucket_limit), np.array(found.bucket)
    assert held[0] == 0 and held.sum() == 5 and limits[0] <= -1 and limits[-1] >= 3 and len(limits) == len(held)
    at = np.searchsorted(limits, 2.0)
    assert held[at] == 2 and limits[at] / limits[at - 1] == pytest.approx(1.1)
    writer.add_histogram("four bins", np.arange(10.0), bins=4)
    found = told(writer, "four bins").histo
    assert list(found.bucket_limit) == [0, 2.25, 4.5, 6.75, 9] and list(found.bucket) == [0, 3, 2, 2, 3]
    writer.add_histogram("put together", np.arange(10.0), bins="auto", max_bins=2)
    found = told(writer, "put together").histo
    assert list(found.bucket_limit) == pytest.approx([0, 3.6, 7.2, 9]) and list(found.bucket) == [0, 4, 4, 2]
    with pytest.raises(ValueError, match="must have elements"):
        writer.add_histogram("none", fb.zeros(0))


def test_add_image(writer: SummaryWriter) -> None:
    wanted = (PICTURE * 255).astype(np.uint8)
    writer.add_image("channels first", fb.tensor(PICTURE), 1)
    writer.add_image("bytes", wanted.transpose(1, 2, 0), dataformats="HWC")
    for tag in ("channels first", "bytes"):
        assert np.array_equal(pixels(told(writer, tag)), wanted.transpose(1, 2, 0))
    writer.add_image("grey", wanted[0], dataformats="HW")
    assert np.array_equal(pixels(told(writer, "grey")), np.stack([wanted[0]] * 3, -1))
    with pytest.raises(ValueError, match="does not fit"):
        writer.add_image("flat", wanted[0])


def test_add_images(writer: SummaryWriter) -> None:
    many = (np.stack([np.roll(PICTURE, i) for i in range(10)]) * 255).astype(np.uint8)
    writer.add_images("ten", fb.tensor(many), 1)
    found = pixels(told(writer, "ten"))
    assert found.shape == (4, 32, 3) and not found[2:, 8:].any()
    for i, picture in enumerate(many):
        row, column = divmod(i, 8)
        assert np.array_equal(found[row * 2 :][:2, column * 4 :][:, :4], picture.transpose(1, 2, 0))
    writer.add_images("last", many.transpose(0, 2, 3, 1)[:2], dataformats="NHWC")
    assert np.array_equal(pixels(told(writer, "last")), found[:2, :8])


def test_add_figure(writer: SummaryWriter) -> None:
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(2, 1), dpi=50, facecolor=(1.0, 0.0, 0.0))
    writer.add_figure("figure", figure, 2, close=False)
    assert plt.fignum_exists(figure.number) and pixels(told(writer, "figure"))[0, 0].tolist() == [255, 0, 0, 255]
    writer.add_figure("closed", figure)
    assert not plt.fignum_exists(figure.number) and told(writer, "closed").image.width == 100


def test_add_text(writer: SummaryWriter) -> None:
    writer.add_text("note", "hello, *world*", 1)
    found = told(writer, "note/text_summary")
    assert list(found.tensor.string_val) == [b"hello, *world*"]
    assert found.metadata.plugin_data.plugin_name == "text"


def test_add_hparams(writer: SummaryWriter, tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    settings = {"rate": 0.1, "method": "sgd", "on": True, "size": fb.tensor(3), "none": None}
    writer.add_hparams(settings, {"loss": fb.tensor(1.5)}, {"method": ["sgd", "adam"]}, run_name="first", global_step=4)
    found = read(tmp_path / "first")
    assert (found["loss"][0].step, found["loss"][1].simple_value) == (4, 1.5)
    data = {
        tag.partition("/")[2]: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for tag, (_, value) in found.items()
        if tag != "loss"
    }
    chosen = data["session_start_info"].session_start_info.hparams
    assert {n: v.number_value or v.string_value for n, v in chosen.items()} == {
        "rate": 0.1, "method": "sgd", "on": 1.0, "size": 3.0
    }  # fmt: skip
    infos = {info.name: info for info in data["experiment"].experiment.hparam_infos}
    assert [v.string_value for v in infos["method"].domain_discrete.values] == ["sgd", "adam"]
    assert [m.name.tag for m in data["experiment"].experiment.metric_infos] == ["loss"]
    assert data["session_end_info"].session_end_info.status == 1
    with pytest.raises(TypeError, match="must list values of 'rate'"):
        writer.add_hparams(settings, {}, {"rate": ["fast"]})
    with pytest.raises(ValueError, match="'rate' must be a number"):
        writer.add_hparams({"rate": [1]}, {})


def test_statistics_of_the_monitor(writer: SummaryWriter) -> None:
    handler = fb.monitor.register_event_handler(fb.monitor.TensorboardEventHandler(writer))
    try:
        with fb.monitor.Stat("loss", [fb.monitor.Aggregation.MAX], datetime.timedelta(hours=1)) as stat:
            stat.add(2.0)
            stat.add(1.0)
    finally:
        fb.monitor.unregister_event_handler(handler)
    assert told(writer, "loss.max").simple_value == 2.0
