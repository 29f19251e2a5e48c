"""What loads torchcodec's libraries: ops of sound through the package soundfile in place of FFmpeg's."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from flambeau.compat import images, sounds
from flambeau.compat.unchanged import lacking
from flambeau.core.library import Library, registered

__all__ = ["load_core_libraries", "load_heic_library", "load_image_library", "load_pybind_ops"]

_PICTURES: Final[dict[str, Callable[..., Any]]] = {
    "decode_jpeg(Tensor input, int mode) -> Tensor": images.decode_jpeg,
    "decode_png(Tensor input, int mode, int output_dtype=0) -> Tensor": lambda data, mode, output_dtype=0: (
        images.decode_png(data, mode)
    ),
    "decode_webp(Tensor input, int mode) -> Tensor": images.decode_webp,
    "decode_gif(Tensor input, int mode) -> Tensor": lambda data, mode: images.decode_gif(data),
    "encode_png_to_file(Tensor img, str filename, int compression_level) -> ()": lambda image, filename, level: (
        images.write_file(filename, images.encode_png(image, level))
    ),
    "encode_jpeg_to_file(Tensor img, str filename, int quality) -> ()": lambda image, filename, quality: (
        images.write_file(filename, images.encode_jpeg(image, quality))
    ),
    "encode_png_to_file_like(Tensor img, int file_like_context, int compression_level) -> ()": (
        lambda image, context, level: sounds.write(context, images.encode_png(image, level))
    ),
    "encode_jpeg_to_file_like(Tensor img, int file_like_context, int quality) -> ()": (
        lambda image, context, quality: sounds.write(context, images.encode_jpeg(image, quality))
    ),
}
_HANDLE: Final = "Tensor(a!) decoder"
_FRAMES: Final = "(Tensor, Tensor, Tensor)"
#: Ops of pictures that move, of single packets, and of one vendor's cards: what soundfile does not do.
_LACKING: Final = (
    "decode_avif(Tensor input, int mode, int output_dtype=0, int num_threads=1) -> Tensor",
    "decode_jpegs_cuda(Tensor[] encoded_images, int mode, Device device) -> Tensor[]",
    "encode_jpeg_to_tensor_cuda(Tensor img, int quality) -> Tensor",
)
_VIDEO: Final = (
    f"_add_video_stream({_HANDLE}, *, int? num_threads=None, str? dimension_order=None, int? stream_index=None, "
    'str device="cpu", str device_variant="default", str transform_specs="", Tensor? custom_frame_mappings_pts=None, '
    "Tensor? custom_frame_mappings_duration=None, Tensor? custom_frame_mappings_keyframe_indices=None, "
    'str? color_conversion_library=None, str output_dtype="uint8") -> ()',
    f"add_video_stream({_HANDLE}, *, int? num_threads=None, str? dimension_order=None, int? stream_index=None, "
    'str device="cpu", str device_variant="default", str transform_specs="", Tensor? custom_frame_mappings_pts=None, '
    "Tensor? custom_frame_mappings_duration=None, Tensor? custom_frame_mappings_keyframe_indices=None, "
    'str output_dtype="uint8") -> ()',
    f"seek_to_pts({_HANDLE}, float seconds) -> ()",
    f"get_next_frame({_HANDLE}) -> {_FRAMES}",
    f"get_frame_at_pts({_HANDLE}, float seconds) -> {_FRAMES}",
    f"get_frame_at_index({_HANDLE}, *, int frame_index) -> {_FRAMES}",
    f"get_frames_at_indices({_HANDLE}, *, Tensor frame_indices) -> {_FRAMES}",
    f"get_frames_in_range({_HANDLE}, *, int start, int stop, int? step=None) -> {_FRAMES}",
    f"get_frames_by_pts_in_range({_HANDLE}, *, float start_seconds, float stop_seconds, float? fps=None) -> {_FRAMES}",
    f"get_frames_by_pts({_HANDLE}, *, Tensor timestamps) -> {_FRAMES}",
    f"_get_key_frame_indices({_HANDLE}) -> Tensor",
    f"_test_frame_pts_equality({_HANDLE}, *, int frame_index, float pts_seconds_to_test) -> bool",
    "streaming_encoder_add_video_stream(Tensor(a!) encoder, int height, int width, float frame_rate, "
    'str device="cpu", str? codec=None, str? pixel_format=None, float? crf=None, str? preset=None, '
    "str[]? extra_options=None) -> int",
    "streaming_encoder_add_frames(Tensor(a!) encoder, Tensor frames, int stream_index) -> ()",
    *(
        f"_blocks_{tail}"
        for tail in (
            "create_demuxer_from_file(str filename) -> Tensor",
            "create_demuxer_from_tensor(Tensor video_tensor) -> Tensor",
            "create_demuxer_from_file_like(int file_like_context) -> Tensor",
            "demuxer_add_stream(Tensor(a!) demuxer, int? stream_index=None, str? media_type=None) -> (int, str)",
            "demuxer_get_audio_video_stream_indices(Tensor demuxer) -> Tensor",
            "demuxer_container_json_metadata(Tensor demuxer) -> str",
            "demuxer_stream_json_metadata(Tensor demuxer, int stream_index) -> str",
            "demuxer_next_packet(Tensor(a!) demuxer) -> (Tensor, bool, int)",
            "demuxer_seek(Tensor(a!) demuxer, float seconds, int? stream_index=None) -> ()",
            "demuxer_scan(Tensor(a!) demuxer, int? stream_index=None) -> (Tensor, Tensor, Tensor, int, int)",
            "create_packet_decoder(Tensor demuxer, *, int? stream_index=None, int? num_threads=None, "
            'str device="cpu") -> Tensor',
            f"packet_decoder_send_packet({_HANDLE}, Tensor packet) -> int",
            f"packet_decoder_send_eof({_HANDLE}) -> int",
            f"packet_decoder_reset({_HANDLE}) -> ()",
            f"packet_decoder_receive_frame({_HANDLE}) -> (Tensor, int, float, float, Tensor)",
            f"audio_packet_decoder_receive_frame({_HANDLE}) -> (Tensor, int, float, float, int, str)",
            'create_color_converter(str device="cpu", str output_dtype="uint8") -> Tensor',
            "create_audio_converter(int? sample_rate=None, int? num_channels=None) -> Tensor",
            "audio_converter_convert(Tensor(a!) converter, Tensor samples, int sample_rate) -> Tensor",
            "audio_converter_drain(Tensor(a!) converter) -> Tensor",
            "audio_converter_reset(Tensor(a!) converter) -> ()",
            "convert_frame(Tensor(a!) converter, Tensor frame, Device device) -> Tensor",
            "frame_metadata(Tensor frame) -> (str, str, str, str, str, int, int, int, float)",
            "frame_planes(Tensor frame, Device device) -> (Tensor, Tensor, Tensor, Tensor)",
        )
    ),
)
_WHY: Final = "sound is read and written through the package soundfile here, which has no video and no packets"


def _register(ops: dict[str, Callable[..., Any]]) -> None:
    library = Library("torchcodec_ns", "FRAGMENT")
    for schema, fn in ops.items():
        name = schema.partition("(")[0]
        if registered(f"torchcodec_ns::{name}") is None:
            library.define(schema)
            library.impl(name, fn, "CompositeExplicitAutograd")


def _refused(schemas: tuple[str, ...], why: str) -> dict[str, Callable[..., Any]]:
    return {schema: lacking(f"ops.torchcodec_ns.{schema.partition('(')[0]}", why) for schema in schemas}


def load_image_library() -> None:
    """Enter the ops of pictures, through Pillow."""
    _register({**_PICTURES, **_refused(_LACKING, "pictures are read and written through the package pillow here")})


def load_pybind_ops() -> SimpleNamespace:
    """What hands Python's files to ops: numbers for them."""
    return SimpleNamespace(create_file_like_context=sounds.enter_file)


def load_heic_library() -> None:
    """HEIC's library is none of Pillow's: OSError."""
    raise OSError("torchcodec: HEIC is not read here; pictures are read through the package pillow")


def load_core_libraries() -> tuple[int, str]:
    """Enter the ops of sound. RuntimeError where the package soundfile is not installed. No FFmpeg has a version."""
    if importlib.util.find_spec("soundfile") is None:
        raise RuntimeError("torchcodec: sound needs the package soundfile, which is not installed")
    _register({**sounds.OPS, **_refused(_VIDEO, _WHY)})
    return 0, ""
