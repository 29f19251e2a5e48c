"""torchaudio's operators as flambeau has them, against plain loops; sound in files as torchcodec has it."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import flambeau as fb
from flambeau.compat import audio, codec, sounds
from flambeau.core.library import registered

RNG = np.random.default_rng


def filtered(x: np.ndarray, a: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The recurrence, one sample after the other, from the outputs before."""
    out = list(before)
    for sample in x:
        out.append(sample - sum(a[k] * out[len(out) - len(a) + 1 + k] for k in range(len(a) - 1)))
    return np.array(out)


@pytest.mark.parametrize("order", [0, 1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_recursive_filter_goes_on_from_the_outputs_before(order, dtype):
    numbers = RNG(order)
    x = numbers.standard_normal((2, 3, 37)).astype(dtype)
    roots = 0.9 * numbers.uniform(-1, 1, (3, order))
    a = np.array([np.atleast_1d(np.poly(r))[::-1] for r in roots], dtype).reshape(3, order + 1)
    out = np.zeros((2, 3, 37 + order), dtype)
    out[..., :order] = numbers.standard_normal((2, 3, order))
    wanted = [[filtered(x[b, c], a[c], out[b, c, :order]) for c in range(3)] for b in range(2)]
    given = fb.tensor(out)
    found = audio.lfilter_core_loop(fb.tensor(x), fb.tensor(a), given)
    assert found is given
    np.testing.assert_allclose(given.numpy(), wanted, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-5)


@pytest.mark.slow
def test_a_recursive_filter_is_scipys():
    signal = pytest.importorskip("scipy.signal")
    x = RNG(1).standard_normal(4000)
    _, a = signal.butter(4, 0.2)
    out = fb.zeros(1, 1, 4004, dtype=fb.float64)
    audio.lfilter_core_loop(fb.tensor(x[None, None]), fb.tensor(a[None, ::-1].copy()), out)
    np.testing.assert_allclose(out.numpy()[0, 0, 4:], signal.lfilter([1.0], a, x), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "x, a, out",
    [
        (fb.ones(1, 2, 3), fb.ones(1, 2), fb.ones(1, 2, 4)),
        (fb.ones(1, 1, 3), fb.ones(1, 2), fb.ones(1, 1, 3)),
        (fb.ones(1, 1, 3), fb.ones(1, 2, dtype=fb.float64), fb.ones(1, 1, 4)),
        (*(fb.ones(*s, dtype=fb.float16) for s in ((1, 1, 3), (1, 2), (1, 1, 4))),),
    ],
)
def test_a_recursive_filter_of_wrong_shapes_is_refused(x, a, out):
    with pytest.raises(RuntimeError, match="_lfilter_core_loop"):
        audio.lfilter_core_loop(x, a, out)


def test_overdrive_is_a_filter_with_a_memory():
    numbers = RNG(2)
    wave, temp, last_in, last_out = (numbers.standard_normal(s) for s in ((2, 20), (2, 20), 2, 2))
    given = [fb.tensor(v) for v in (wave, temp, last_in, last_out, np.zeros((2, 20)))]
    audio.overdrive_core_loop(*given)
    out = np.zeros((2, 20))
    for i in range(20):
        last_out = temp[:, i] - last_in + 0.995 * last_out
        last_in = temp[:, i]
        out[:, i] = 0.5 * wave[:, i] + 0.75 * last_out
    for found, wanted in zip(given[2:], (last_in, last_out, out), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)


def transduced(logits: np.ndarray, labels: list[int], times: int) -> float:
    """-log of the sum over all ways to set labels between times, each way by itself."""
    chances = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total = -np.inf
    for when in itertools.combinations_with_replacement(range(times), len(labels)):
        path, u = 0.0, 0
        for t in range(times):
            while u < len(labels) and when[u] == t:
                path += chances[t, u, labels[u]]
                u += 1
            path += chances[t, u, 0]
        total = np.logaddexp(total, path)
    return -total


def test_the_transducers_loss_is_the_sum_over_all_paths_and_its_gradient_the_differences():
    logits = RNG(3).standard_normal((3, 4, 4, 3)).astype(np.float32)
    targets, times, lengths = [[1, 2, 2], [2, 1, 0], [1, 0, 0]], [4, 2, 3], [3, 2, 0]
    given = [fb.tensor(v, dtype=fb.int32) for v in (targets, times, lengths)]
    cost, grad = audio.rnnt_loss_forward(fb.tensor(logits), *given, 0, -1.0, True)
    for b in range(3):
        one = logits[b].astype(np.float64)
        labels = targets[b][: lengths[b]]
        assert cost[b].item() == pytest.approx(transduced(one, labels, times[b]), rel=1e-5)
        for place in itertools.product(range(4), range(4), range(3)):
            moved = [one.copy(), one.copy()]
            moved[0][place] += 1e-4
            moved[1][place] -= 1e-4
            slope = (transduced(moved[0], labels, times[b]) - transduced(moved[1], labels, times[b])) / 2e-4
            assert grad[b][place].item() == pytest.approx(slope, abs=1e-4)
    bounded = audio.rnnt_loss_forward(fb.tensor(logits), *given, 0, 0.05, True)[1]
    np.testing.assert_allclose(bounded.numpy(), grad.numpy().clip(-0.05, 0.05))


def test_the_transducers_loss_takes_logarithms_of_chances_and_half_precision():
    logits = fb.tensor(RNG(4).standard_normal((1, 3, 3, 4)).astype(np.float32))
    given = [fb.tensor(v, dtype=fb.int32) for v in ([[1, 3]], [3], [2])]
    cost, grad = audio.rnnt_loss_forward(logits, *given, 0, -1.0, True)
    chances = logits.log_softmax(-1)
    plain, flow = audio.rnnt_loss_forward(chances, *given, 0, -1.0, False)
    np.testing.assert_allclose(plain.numpy(), cost.numpy(), rtol=1e-6)
    through = flow - chances.exp() * flow.sum(-1, keepdim=True)  # the gradient of log_softmax
    np.testing.assert_allclose(through.numpy(), grad.numpy(), atol=1e-6)
    half = audio.rnnt_loss_forward(logits.half(), *given, 0, -1.0, True)
    assert [t.dtype for t in half] == [fb.float16] * 2
    with pytest.raises(RuntimeError, match="longest of logit_lengths should be 3, got 2"):
        audio.rnnt_loss_forward(logits, given[0], given[1] - 1, given[2], 0, -1.0, True)
    with pytest.raises(RuntimeError, match="targets should be of int32, got int64"):
        audio.rnnt_loss_forward(logits, given[0].long(), *given[1:], 0, -1.0, True)


def collapsed(path: tuple[int, ...]) -> list[int]:
    return [p for p, _ in itertools.groupby(path) if p]


@pytest.mark.parametrize("labels", [[1], [1, 2], [2, 2], [1, 2, 1]])
def test_an_alignment_is_the_likeliest_path(labels):
    likely = RNG(len(labels)).standard_normal((5, 3))
    whole = [fb.tensor([5]), fb.tensor([len(labels)])]
    path, same = audio.forced_align(fb.tensor(likely[None]), fb.tensor([labels]), *whole, 0)
    ways = [p for p in itertools.product(range(3), repeat=5) if collapsed(p) == labels]
    assert path[0].tolist() == list(max(ways, key=lambda p: sum(likely[t, c] for t, c in enumerate(p))))
    assert same.shape == (1, 5, 3) and path.dtype == fb.int64


def test_an_alignment_that_can_not_be_is_refused():
    likely = fb.zeros(1, 3, 3)
    for labels, text in (([1, 1, 1], "2 repeats"), ([1, 2, 1, 2], "4 targets")):
        with pytest.raises(RuntimeError, match=text):
            audio.forced_align(likely, fb.tensor([labels]), fb.tensor([3]), fb.tensor([len(labels)]), 0)
    empty = audio.forced_align(likely, fb.zeros(1, 0, dtype=fb.int32), fb.tensor([3]), fb.tensor([0]), 2)[0]
    assert empty.tolist() == [[2, 2, 2]] and empty.dtype == fb.int32


def test_the_operators_stand_under_torchaudios_names():
    for namespace in audio.OPS:
        audio.register(namespace)
        audio.register(namespace)
    op = registered("torchaudio::forced_align")
    assert op is not None and registered("_torchaudio::is_align_available") is not None
    assert op(fb.zeros(1, 2, 2), fb.tensor([[1]]), fb.tensor([2]), fb.tensor([1]), 0)[0].shape == (1, 2)


TONE = (0.5 * np.sin(np.arange(2000) / 5)).astype(np.float32)


def test_samples_at_another_rate_are_the_same_tone():
    seconds = np.arange(2000) / 8000
    x = np.sin(2 * np.pi * 300 * seconds)[None].astype(np.float32)
    for rate in (16000, 11025, 6000):
        found = sounds.resampled(x, 8000, rate)
        assert found.shape == (1, -(-2000 * rate // 8000))
        there = np.arange(found.shape[1]) / rate
        inner = slice(60, -60)
        np.testing.assert_allclose(found[0, inner], np.sin(2 * np.pi * 300 * there)[inner], atol=2e-4)


@pytest.mark.parametrize("kind, near", [("wav", 2**-16), ("flac", 2**-24), ("ogg", 0.1)])
def test_sound_is_written_and_read(kind, near, tmp_path: Path):
    pytest.importorskip("soundfile")
    codec.load_core_libraries()
    sink = sounds.Sink()
    sink.rate = sink.out_rate = 8000
    sink.out_channels = 1
    sink.parts.append(TONE[None])
    sink.open(str(tmp_path / f"a.{kind}"), kind)
    sink.close()
    sink.close()
    sound = sounds.Sound(str(tmp_path / f"a.{kind}"))
    found, first = sound.samples(0.0, None)
    assert found.shape == (1, 2000) and first == 0
    assert np.abs(found.numpy()[0] - TONE).max() <= near
    part, first = sound.samples(0.1, 0.2)
    begin = round(first * 8000)
    assert begin <= 800 and begin + part.shape[1] >= 1600
    np.testing.assert_array_equal(part.numpy()[0], found.numpy()[0, begin : begin + part.shape[1]])
    assert sound.about()["sampleRate"] == 8000 and sound.about()["durationSeconds"] == 0.25
    with pytest.raises(RuntimeError, match="after the end"):
        sound.samples(3.0, None)


def test_the_operators_of_sound_hold_a_file_as_long_as_its_handle(tmp_path: Path):
    pytest.importorskip("soundfile")
    codec.load_core_libraries()
    ops = {name: registered(f"torchcodec_ns::{name}") for name in (
        "create_streaming_encoder", "streaming_encoder_add_audio_stream", "streaming_encoder_open_file_like",
        "streaming_encoder_add_samples", "streaming_encoder_close", "create_from_tensor", "get_json_metadata",
        "add_audio_stream", "get_frames_by_pts_in_range_audio", "add_video_stream",
    )}  # fmt: skip
    before = len(sounds._kept)
    file, encoder = io.BytesIO(), ops["create_streaming_encoder"]()
    assert ops["streaming_encoder_add_audio_stream"](encoder, 8000, 1) == 0
    number = codec.load_pybind_ops().create_file_like_context(file, True)
    ops["streaming_encoder_open_file_like"](encoder, "wav", number)
    ops["streaming_encoder_add_samples"](encoder, fb.tensor(TONE[None]), 0)
    ops["streaming_encoder_close"](encoder)
    decoder = ops["create_from_tensor"](fb.tensor(np.frombuffer(file.getvalue(), np.uint8).copy()))
    ops["add_audio_stream"](decoder, num_channels=2)
    samples, _ = ops["get_frames_by_pts_in_range_audio"](decoder, start_seconds=0.0, stop_seconds=None)
    assert samples.shape == (2, 2000)
    assert json.loads(ops["get_json_metadata"](decoder))["codec"] == "pcm_s16le"
    with pytest.raises(RuntimeError, match="no video"):
        ops["add_video_stream"](decoder)
    with pytest.raises(RuntimeError, match="can't be opened"):
        sounds.Sound(b"nothing of sound")
    assert len(sounds._kept) == before + 2
    del encoder, decoder
    assert len(sounds._kept) == before
