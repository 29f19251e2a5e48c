"""The larger kernels of a device beside the CPU backend's: convolutions, pools, normalisations, sorting, copies.

    python -m benchmarks.kernels [--device opencl:0] [--rounds 7] [NAME...]

The two take turns, and the best time of each counts, in milliseconds. A NAME selects the rows that it begins.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.registry import get_backend

#: (label, input, weight, stride, padding, groups)
CONVOLUTIONS = (
    ("1 to 32", (64, 1, 28, 28), (32, 1, 3, 3), 1, 0, 1),
    ("32 to 64", (64, 32, 26, 26), (64, 32, 3, 3), 1, 0, 1),
    ("64 of 32x32", (16, 64, 32, 32), (64, 64, 3, 3), 1, 1, 1),
    ("256 of 8x8", (16, 256, 8, 8), (256, 256, 3, 3), 1, 1, 1),
    ("512 of 4x4", (16, 512, 4, 4), (512, 512, 3, 3), 1, 1, 1),
    ("strided", (16, 64, 32, 32), (128, 64, 3, 3), 2, 1, 1),
    ("1x1", (16, 64, 32, 32), (128, 64, 1, 1), 1, 0, 1),
    ("depthwise", (16, 64, 32, 32), (64, 1, 3, 3), 1, 1, 64),
    ("groups of 8", (16, 64, 32, 32), (64, 8, 3, 3), 1, 1, 8),
)  # fmt: skip
Case = tuple[str, str, tuple[Any, ...], dict[str, Any]]


def convolutions(rng: np.random.Generator) -> Iterator[Case]:
    for label, shape, kernel, stride, padding, groups in CONVOLUTIONS:
        x, weight = rng.standard_normal(shape, "f"), rng.standard_normal(kernel, "f")
        options = dict(stride=(stride,) * 2, padding=(padding,) * 2, dilation=(1, 1), groups=groups)
        sizes = [(n + 2 * padding - k) // stride + 1 for n, k in zip(shape[2:], kernel[2:], strict=True)]
        grad = rng.standard_normal((shape[0], kernel[0], *sizes), "f")
        yield f"conv, {label}", "conv", (x, weight, None), options
        yield f"conv, {label}, input", "conv_grad_input", (grad, weight), options | {"shape": shape}
        yield f"conv, {label}, weight", "conv_grad_weight", (grad, x), options | {"shape": kernel}


def others(rng: np.random.Generator) -> Iterator[Case]:
    x, rows = rng.standard_normal((64, 64, 24, 24), "f"), rng.standard_normal((1024, 384), "f")
    image, channels, features = rng.standard_normal((16, 64, 32, 32), "f"), np.ones(64, "f"), np.ones(384, "f")
    window: dict[str, Any] = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), ceil=False)
    last: dict[str, Any] = dict(normalized_shape=(384,), eps=1e-5)
    long, square = rng.standard_normal(1 << 20, "f"), rng.standard_normal((1000, 1000), "f")
    yield "max_pool", "max_pool", (x,), window | {"dilation": (1, 1)}
    yield "avg_pool", "avg_pool", (x,), window | {"count_include_pad": True, "divisor": None}
    yield "layer_norm", "layer_norm", (rows, features, features), last
    yield "layer_norm, gradient", "layer_norm_grad", (rows, rows, features), last
    yield "batch_norm", "batch_norm", (image, channels, channels), {"eps": 1e-5}
    yield "batch_norm, sums", "batch_norm_sums", (image, image, channels), {}
    yield "softmax, rows", "softmax", (square,), {"axis": 1}
    yield "softmax, gradient", "softmax_grad", (square, square), {"axis": 1}
    yield "pad", "pad", (image,), {"widths": ((0, 0), (0, 0), (1, 1), (1, 1)), "value": 0.0}
    yield "cat", "cat", (square, square, square), {"axis": 1}
    yield "argsort, 1 M", "argsort", (long,), {"axis": 0, "descending": False}
    yield "argsort, rows", "argsort", (square,), {"axis": 1, "descending": False}
    yield "cumsum, 1 M", "cumsum", (long,), {"axis": 0}
    yield "cummax, columns", "cummax", (square,), {"axis": 0}


def compare(device: str, rounds: int, names: list[str]) -> None:
    where, rng = Device(device), np.random.default_rng(0)
    there, here = get_backend(where.type), get_backend("cpu")
    print(f"{'':28}{'cpu':>9}{device:>12}")
    for label, name, operands, options in (*convolutions(rng), *others(rng)):
        if names and not any(label.startswith(n) for n in names):
            continue
        mine, theirs = (backend.kernels.find(name, dt.float32) for backend in (there, here))
        assert mine is not None and theirs is not None
        copies = [None if v is None else there.from_host(v, dt.float32, where.number) for v in operands]
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds + 1):  # the first of which builds
            start = time.perf_counter()
            theirs(*operands, **options)
            middle = time.perf_counter()
            mine(*copies, **options)
            there.synchronize(where.number)
            times[0].append(middle - start)
            times[1].append(time.perf_counter() - middle)
        print(f"{label:28}{min(times[0]) * 1e3:9.2f}{min(times[1]) * 1e3:12.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--device", default="opencl:0")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    compare(options.device, options.rounds, options.names)


if __name__ == "__main__":
    main()
