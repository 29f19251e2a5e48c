"""Images from and to files, as torchvision's C++ library has it, through Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from flambeau.core.from_data import tensor
from flambeau.core.tensor import Tensor

__all__ = [
    "decode_gif", "decode_image", "decode_jpeg", "decode_png", "decode_webp", "encode_jpeg", "encode_png", "read_file",
    "write_file",
]  # fmt: skip

#: Pillow's modes by torchvision's ImageReadMode; 0 leaves an image as it is.
_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
#: What an image is turned into where it is left as it is: palettes and inks become colours.
_AS_IS: Final = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}


def _pillow(asked: str) -> Any:  # Any: a module that need not be installed
    try:
        from PIL import Image  # only who reads images needs Pillow
    except ImportError as error:
        raise RuntimeError(f"{asked}: needs the package pillow, which is not installed") from error
    return Image


def _bytes(asked: str, data: Tensor) -> bytes:
    if str(data.dtype).rpartition(".")[2] != "uint8" or data.dim() != 1 or not data.numel():
        raise RuntimeError(
            f"{asked}: expected a non-empty 1-dimensional tensor of uint8, got {data.dtype} of {tuple(data.shape)}"
        )
    return data.cpu().numpy().tobytes()


def read_file(filename: str) -> Tensor:
    """The bytes of a file, uint8. RuntimeError where it is not there or empty.

    >>> from flambeau.compat.images import read_file
    >>> read_file("/nowhere")
    Traceback (most recent call last):
    RuntimeError: read_file: [Errno 2] No such file or directory: '/nowhere'
    """
    try:
        found = Path(filename).read_bytes()
    except OSError as error:
        raise RuntimeError(f"read_file: {error}") from error
    if not found:
        raise RuntimeError(f"read_file: {filename} is empty")
    return tensor(np.frombuffer(found, np.uint8).copy())


def write_file(filename: str, data: Tensor) -> None:
    """Write a tensor of bytes, uint8, to a file."""
    Path(filename).write_bytes(_bytes("write_file", data))


def _planes(image: Any) -> Tensor:  # Any: an image of Pillow
    pixels = np.asarray(image)
    if pixels.dtype == np.int32:
        pixels = pixels.astype(np.uint16)  # sixteen bits of grey
    return tensor(np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))


def _grey(image: Any) -> Any:  # Any: an image of Pillow
    """A coloured PNG in grey as libpng has it, by parts of 32768, cut off."""
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    mixed = (pixels @ np.array([9794, 19235, 3739])) >> 15
    return _pillow("decode_png").fromarray(mixed.astype(np.uint8))


def _decode(asked: str, data: Tensor, mode: int, exif: bool, formats: tuple[str, ...]) -> Tensor:
    pillow = _pillow(asked)
    try:
        image = pillow.open(io.BytesIO(_bytes(asked, data)), formats=formats)
        if mode == 1:
            image.draft("L", image.size)  # a JPEG's own grey
        image.load()
    except (OSError, SyntaxError) as error:
        raise RuntimeError(f"{asked}: expected an image in {' or '.join(formats)}: {error}") from error
    if exif:
        from PIL import ImageOps  # only who reads images needs Pillow

        image = ImageOps.exif_transpose(image)
    if not mode and image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if mode == 1 and image.format == "PNG" and image.mode in ("P", "RGB", "RGBA"):
        image = _grey(image)
    wanted = _MODES[mode] if mode else _AS_IS.get(image.mode, image.mode)
    return _planes(image if image.mode == wanted else image.convert(wanted))


def decode_png(data: Tensor, mode: int, apply_exif_orientation: bool = False) -> Tensor:
    """A PNG file's bytes as an image (C, H, W), uint8, or uint16 of a grey one of sixteen bits."""
    return _decode("decode_png", data, mode, apply_exif_orientation, ("PNG",))


def decode_jpeg(data: Tensor, mode: int, apply_exif_orientation: bool = False) -> Tensor:
    """A JPEG file's bytes as an image (C, H, W), uint8."""
    return _decode("decode_jpeg", data, mode, apply_exif_orientation, ("JPEG",))


def decode_webp(data: Tensor, mode: int) -> Tensor:
    """A WebP file's bytes as an image (C, H, W), uint8."""
    return _decode("decode_webp", data, mode, False, ("WEBP",))


def decode_gif(data: Tensor) -> Tensor:
    """A GIF file's bytes as an image (3, H, W), uint8, or all of its images (N, 3, H, W)."""
    pillow = _pillow("decode_gif")
    try:
        film = pillow.open(io.BytesIO(_bytes("decode_gif", data)), formats=("GIF",))
    except OSError as error:
        raise RuntimeError(f"decode_gif: expected an image in GIF: {error}") from error
    images = []
    for i in range(film.n_frames):
        film.seek(i)
        images.append(np.asarray(film.convert("RGB")).transpose(2, 0, 1))
    return tensor(np.stack(images) if len(images) > 1 else np.ascontiguousarray(images[0]))


def decode_image(data: Tensor, mode: int, apply_exif_orientation: bool = False) -> Tensor:
    """The bytes of a JPEG, PNG, GIF or WebP file as an image (C, H, W), by what they begin with."""
    if _bytes("decode_image", data[:6]).startswith((b"GIF87a", b"GIF89a")):
        return decode_gif(data)
    return _decode("decode_image", data, mode, apply_exif_orientation, ("JPEG", "PNG", "WEBP"))


def _encode(asked: str, image: Tensor, **options: Any) -> Tensor:  # Any: what Pillow's writers take
    if str(image.dtype).rpartition(".")[2] != "uint8" or image.dim() != 3 or image.shape[0] not in (1, 3):
        raise RuntimeError(
            f"{asked}: expected uint8 of shape (1 or 3, H, W), got {image.dtype} of {tuple(image.shape)}"
        )
    pixels = image.cpu().permute(1, 2, 0).contiguous().numpy()
    written = io.BytesIO()
    _pillow(asked).fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(written, **options)
    return tensor(np.frombuffer(written.getvalue(), np.uint8).copy())


def encode_png(data: Tensor, compression_level: int) -> Tensor:
    """An image (1 or 3, H, W), uint8, as the bytes of a PNG file; ``compression_level`` from 0 to 9."""
    if not 0 <= compression_level <= 9:
        raise RuntimeError(f"encode_png: compression_level should be from 0 to 9, got {compression_level}")
    return _encode("encode_png", data, format="PNG", compress_level=compression_level)


def encode_jpeg(data: Tensor, quality: int) -> Tensor:
    """An image (1 or 3, H, W), uint8, as the bytes of a JPEG file; ``quality`` from 1 to 100."""
    return _encode("encode_jpeg", data, format="JPEG", quality=quality)


#: What torchvision's library of images defines, and what does it here.
OPS: Final[dict[str, Callable[..., Any]]] = {
    "read_file(str filename) -> Tensor": read_file,
    "write_file(str filename, Tensor data) -> ()": write_file,
    "decode_png(Tensor data, int mode, bool apply_exif_orientation=False) -> Tensor": decode_png,
    "decode_jpeg(Tensor data, int mode, bool apply_exif_orientation=False) -> Tensor": decode_jpeg,
    "decode_webp(Tensor encoded_data, int mode) -> Tensor": decode_webp,
    "decode_gif(Tensor encoded_data) -> Tensor": decode_gif,
    "decode_image(Tensor data, int mode, bool apply_exif_orientation=False) -> Tensor": decode_image,
    "encode_png(Tensor data, int compression_level) -> Tensor": encode_png,
    "encode_jpeg(Tensor data, int quality) -> Tensor": encode_jpeg,
}
