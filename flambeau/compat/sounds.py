"""Sound from and to files as torchcodec has it from FFmpeg, here through the package soundfile.

Ops hold a decoder or an encoder as a tensor of one number, by which it is kept here until the tensor is gone.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

import flambeau as fb
from flambeau.core.tensor import Tensor

__all__ = ["OPS", "Sink", "Sound", "enter_file", "resampled", "write"]

_kept: Final[dict[int, Any]] = {}  # Any: a Sound, a Sink, or a file that an op will take
_numbers: Final = itertools.count(1)
#: FFmpeg's names of codecs and of their samples, by soundfile's of the subtype.
_CODECS: Final = {
    "PCM_U8": ("pcm_u8", "u8"), "PCM_S8": ("pcm_s8", "u8"), "PCM_16": ("pcm_s16le", "s16"),
    "PCM_24": ("pcm_s24le", "s32"), "PCM_32": ("pcm_s32le", "s32"), "FLOAT": ("pcm_f32le", "flt"),
    "DOUBLE": ("pcm_f64le", "dbl"), "ULAW": ("pcm_mulaw", "s16"), "ALAW": ("pcm_alaw", "s16"),
    "VORBIS": ("vorbis", "fltp"), "OPUS": ("opus", "fltp"), "MPEG_LAYER_III": ("mp3", "fltp"),
}  # fmt: skip
#: What a file is written as, by the end of its name: soundfile's format and subtype, and the bits of its samples.
_WRITTEN: Final = {
    "wav": ("WAV", "PCM_16", 16), "flac": ("FLAC", "PCM_24", 24), "ogg": ("OGG", "VORBIS", 0), "mp3": ("MP3", None, 0),
    "aiff": ("AIFF", "PCM_16", 16), "au": ("AU", "PCM_16", 16), "w64": ("W64", "PCM_16", 16),
    "opus": ("OGG", "OPUS", 0), "caf": ("CAF", "PCM_16", 16),
}  # fmt: skip


def enter_file(file: Any, writing: bool) -> int:  # Any: whatever reads, or writes, and seeks
    """A number for a file, which an op takes once."""
    number = next(_numbers)
    _kept[number] = file
    return number


def write(number: int, data: Tensor) -> None:
    """Write a tensor of bytes into a file that has a number."""
    _kept.pop(number).write(data.cpu().numpy().tobytes())


def _handle(made: Any) -> Tensor:  # Any: a Sound or a Sink
    number = next(_numbers)
    handle = fb.tensor(number)
    _kept[number] = made
    weakref.finalize(handle._array, _kept.pop, number, None)
    return handle


def _held(handle: Tensor) -> Any:  # Any: a Sound or a Sink
    return _kept[int(handle)]


def resampled(x: np.ndarray, rate: int, new: int) -> np.ndarray:
    """Samples (channels, n) at another rate: a band-limited sinc of 32 zero crossings under a Kaiser window of β 9.

    J. O. Smith, "Digital Audio Resampling". Outside the samples is silence. FFmpeg's has the same window; the first and
    last few samples differ.
    """
    shared = math.gcd(rate, new)
    down, up = rate // shared, new // shared
    count, factor = math.ceil(x.shape[1] * up / down), min(1.0, 0.97 * up / down)
    half = math.ceil(16 / factor)
    padded = np.pad(x.astype(np.float64), ((0, 0), (half, half + 1)))
    out = np.empty((x.shape[0], count), np.float32)
    window_at = np.i0(9.0)
    for phase in range(min(up, count)):  # outputs of one phase have the same weights
        places = np.arange(phase, count, up)
        start, rest = np.divmod(places * down, up)
        steps = np.arange(-half + 1, half + 1) - rest[0] / up
        weights = np.sinc(factor * steps) * np.i0(9.0 * np.sqrt(np.maximum(0, 1 - (steps / half) ** 2))) / window_at
        near = padded[:, start[:, None] + half + np.arange(-half + 1, half + 1)]
        out[:, places] = near @ (weights / weights.sum())
    return out


def _mixed(x: np.ndarray, channels: int) -> np.ndarray:
    """Two channels as one, by 1/√2 each, or one as many."""
    if channels == len(x):
        return x
    if channels == 1 and len(x) == 2:
        return np.asarray(x.sum(0, keepdims=True) * math.sqrt(0.5), np.float32)
    if len(x) == 1:
        return np.repeat(x, channels, 0)
    raise RuntimeError(f"sounds: {len(x)} channels can't be made {channels}; one and two are mixed")


class Sound:
    """An open file of sound. RuntimeError where soundfile knows none in it."""

    def __init__(self, source: str | bytes | Any):  # Any: whatever reads and seeks
        import soundfile  # only who reads sound needs it

        given = io.BytesIO(source) if isinstance(source, bytes) else source
        try:
            self.file = soundfile.SoundFile(given)
        except (OSError, RuntimeError, TypeError) as error:
            raise RuntimeError(f"sounds: this can't be opened: {error}") from error
        self.rate, self.channels = self.file.samplerate, self.file.channels
        self.out_rate, self.out_channels = self.rate, self.channels

    def samples(self, start: float, stop: float | None) -> tuple[Tensor, float]:
        """Samples (channels, n) from ``start`` seconds to ``stop`` or the end, with a few more, and when the first is.

        RuntimeError where the sound is over before.
        """
        if stop is not None and start == stop:
            return fb.zeros(self.out_channels, 0), start
        begin = max(0, math.floor(start * self.rate) - 1)
        if begin >= self.file.frames:
            raise RuntimeError(f"sounds: start_seconds={start} is after the end of {self.file.frames / self.rate} s")
        if self.out_rate != self.rate:
            begin = 0  # what is resampled has the phase of the whole
        count = -1 if stop is None else max(0, math.ceil(stop * self.rate) + 1 - begin)
        self.file.seek(begin)
        found = _mixed(np.ascontiguousarray(self.file.read(count, "float32", always_2d=True).T), self.out_channels)
        if self.out_rate != self.rate:
            found = resampled(found, self.rate, self.out_rate)
        return fb.tensor(found), begin / self.rate

    def about(self) -> dict[str, Any]:  # Any: what JSON holds
        """What torchcodec tells of a stream of sound."""
        seconds = self.file.frames / self.rate
        codec, samples = _CODECS.get(self.file.subtype, (self.file.subtype.lower(), "flt"))
        codec = "flac" if self.file.format == "FLAC" else codec
        bits = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
        rate = bits.get(self.file.subtype, 0) * self.rate * self.channels if codec.startswith("pcm") else 0
        return {
            "mediaType": "audio", "codec": codec, "sampleFormat": samples, "sampleRate": self.rate,
            "numChannels": self.channels, "bitRate": float(rate), "durationSeconds": seconds, "streamIndex": 0,
            "durationSecondsFromHeader": seconds, "beginStreamSeconds": 0.0,
            **({} if codec.startswith("pcm") else {"beginStreamSecondsFromHeader": 0.0}),
        }  # fmt: skip


class Sink:
    """What is to be written as a file of sound."""

    def __init__(self) -> None:
        self.rate = self.out_rate = self.out_channels = 0
        self.to: Any = None  # Any: a path, or what writes
        self.format = ""
        self.parts: list[np.ndarray] = []

    def open(self, to: Any, kind: str) -> None:  # Any: a path, or what writes
        """Say where the sound goes, and as what. RuntimeError for a kind that is not written here."""
        if kind.lower() not in _WRITTEN:
            raise RuntimeError(f"sounds: a file is written as {', '.join(_WRITTEN)}, got {kind!r}")
        self.to, self.format = to, kind.lower()

    def close(self) -> None:
        """Write the file, once."""
        if self.to is None:
            return
        import soundfile  # only who writes sound needs it

        x = np.concatenate([*self.parts, np.zeros((len(self.parts[0]) if self.parts else 1, 0), np.float32)], 1)
        x = _mixed(x, self.out_channels)
        x = x if self.rate == self.out_rate else resampled(x, self.rate, self.out_rate)
        form, subtype, bits = _WRITTEN[self.format]
        data: np.ndarray = x.T
        if bits:  # as FFmpeg rounds: by a power of two, to even
            top = 2 ** (bits - 1)
            whole = np.clip(np.rint(data.astype(np.float64) * top), -top, top - 1)
            data = whole.astype(np.int16) if bits == 16 else (whole.astype(np.int64) << 8).astype(np.int32)
        target, self.to = self.to, None
        try:
            soundfile.write(target, data, self.out_rate, subtype, format=form)
        except (OSError, RuntimeError) as error:
            raise RuntimeError(f"sounds: this can't be written: {error}") from error


def _add_audio_stream(
    decoder: Tensor, *, stream_index: int | None = None, sample_rate: int | None = None, num_channels: int | None = None
) -> None:
    sound = _held(decoder)
    if stream_index not in (None, 0):
        raise RuntimeError(f"sounds: the only stream is 0, got {stream_index}")
    sound.out_rate, sound.out_channels = sample_rate or sound.rate, num_channels or sound.channels


def _in_range(decoder: Tensor, *, start_seconds: float, stop_seconds: float | None) -> tuple[Tensor, Tensor]:
    found, first = _held(decoder).samples(start_seconds, stop_seconds)
    return found, fb.tensor(first, dtype=fb.float64)


def _wav_in_range(decoder: Tensor, start_seconds: float, stop_seconds: float | None) -> tuple[Tensor, Tensor]:
    sound = _held(decoder)
    begin = math.ceil(start_seconds * sound.rate - 1e-6)
    found, first = sound.samples(start_seconds, stop_seconds)
    skipped = begin - round(first * sound.rate)
    end = None if stop_seconds is None else skipped + math.ceil(stop_seconds * sound.rate - 1e-6) - begin
    return found[:, skipped:end], fb.tensor(begin / sound.rate, dtype=fb.float64)


def _container(decoder: Tensor) -> str:
    about = _held(decoder).about()
    told = {key: about[key] for key in ("durationSecondsFromHeader", "bitRate")}
    return json.dumps({"numStreams": 1, "bestAudioStreamIndex": 0, **told})


def _add_sink_stream(
    encoder: Tensor, sample_rate: int, num_channels: int, bit_rate: int | None = None,
    output_num_channels: int | None = None, output_sample_rate: int | None = None,
) -> int:  # fmt: skip
    sink = _held(encoder)
    sink.rate, sink.out_rate = sample_rate, output_sample_rate or sample_rate
    sink.out_channels = output_num_channels or num_channels
    return 0


def _add_samples(encoder: Tensor, samples: Tensor, stream_index: int) -> None:
    _held(encoder).parts.append(samples.detach().cpu().numpy().copy())


def _bytes(data: Tensor) -> bytes:
    return data.cpu().numpy().tobytes()


def _from_file(filename: str, seek_mode: str | None = None) -> Tensor:
    return _handle(Sound(filename))


def _from_tensor(video_tensor: Tensor, seek_mode: str | None = None) -> Tensor:
    return _handle(Sound(_bytes(video_tensor)))


def _from_file_like(file_like_context: int, seek_mode: str | None = None) -> Tensor:
    return _handle(Sound(_kept.pop(file_like_context).read()))


_SOUND: Final = "Tensor(a!) decoder"
_SINK: Final = "Tensor(a!) encoder"
#: torchcodec's ops of sound, and what does them here.
OPS: Final[dict[str, Callable[..., Any]]] = {
    "create_from_file(str filename, str? seek_mode=None) -> Tensor": _from_file,
    "create_from_tensor(Tensor video_tensor, str? seek_mode=None) -> Tensor": _from_tensor,
    "_create_from_file_like(int file_like_context, str? seek_mode=None) -> Tensor": _from_file_like,
    f"add_audio_stream({_SOUND}, *, int? stream_index=None, int? sample_rate=None, int? num_channels=None) -> ()":
        _add_audio_stream,
    f"get_frames_by_pts_in_range_audio({_SOUND}, *, float start_seconds, float? stop_seconds) -> (Tensor, Tensor)":
        _in_range,
    f"get_json_metadata({_SOUND}) -> str": lambda decoder: json.dumps(_held(decoder).about()),
    f"get_container_json_metadata({_SOUND}) -> str": _container,
    f"get_stream_json_metadata({_SOUND}, int stream_index) -> str": lambda decoder, index: json.dumps(
        _held(decoder).about()
    ),
    f"scan_all_streams_to_update_metadata({_SOUND}) -> ()": lambda decoder: None,
    "_get_json_ffmpeg_library_versions() -> str": lambda: "{}",
    f"_get_backend_details({_SOUND}) -> str": lambda decoder: "soundfile",
    "create_wav_decoder_from_file(str filename) -> Tensor": _from_file,
    "create_wav_decoder_from_tensor(Tensor data) -> Tensor": _from_tensor,
    "_create_wav_decoder_from_file_like(int file_like_context) -> Tensor": _from_file_like,
    f"get_wav_samples_in_range({_SOUND}, float start_seconds, float? stop_seconds) -> (Tensor, Tensor)": _wav_in_range,
    f"get_wav_metadata_from_decoder({_SOUND}) -> str": lambda decoder: json.dumps(_held(decoder).about()),
    "create_streaming_encoder() -> Tensor": lambda: _handle(Sink()),
    f"streaming_encoder_close({_SINK}) -> ()": lambda encoder: _held(encoder).close(),
    f"streaming_encoder_add_audio_stream({_SINK}, int sample_rate, int num_channels, int? bit_rate=None, "
    "int? output_num_channels=None, int? output_sample_rate=None) -> int": _add_sink_stream,
    f"streaming_encoder_open_file({_SINK}, str filename) -> ()": lambda encoder, filename: _held(encoder).open(
        filename, Path(filename).suffix[1:]
    ),
    f"streaming_encoder_open_file_like({_SINK}, str format, int file_like_context) -> ()": (
        lambda encoder, kind, number: _held(encoder).open(_kept.pop(number), kind)
    ),
    f"streaming_encoder_add_samples({_SINK}, Tensor samples, int stream_index) -> ()": _add_samples,
    "set_nvdec_cache_capacity(int capacity) -> ()": lambda capacity: None,
    "get_nvdec_cache_capacity() -> int": lambda: 0,
    "_get_nvdec_cache_size(int device_index) -> int": lambda index: 0,
    "_set_cpp_log_level(int level) -> ()": lambda level: None,
    "_get_log_level() -> int": lambda: 0,
}  # fmt: skip
