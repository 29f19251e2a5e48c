"""Samples and references of Fourier transforms: lengths that are small, composite, and prime and long."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.plugins.conformance.opdb import Maker, Sample, references, sample_rows

Array = np.ndarray[Any, Any]


def _whole(m: Maker) -> list[Any]:
    return [
        (m(3, 4), False, "backward"), (m(3, 5), True, "backward"), (m(2, 1), False, "ortho"), (m(7), True, "forward"),
        Sample.rough(m(2, 3, 96), False, "ortho"), Sample.rough(m(2, 67), True, "backward"),
        Sample.rough(m(2, 134), False, "forward"), Sample.rough(m(0, 4), False, "backward"),
    ]  # fmt: skip


sample_rows({
    "fft_c2c": _whole,
    "fft_r2c": lambda m: [
        (m(3, 4), "backward"), (m(3, 5), "forward"), (m(2, 1), "ortho"), (m(6), "ortho"),
        Sample.rough(m(2, 2, 80), "backward"), Sample.rough(m(0, 4), "backward"),
    ],
    "fft_c2r": lambda m: [
        (m(3, 3), 4, "backward"), (m(3, 3), 5, "forward"), (m(2, 1), 1, "ortho"), (m(4), 6, "ortho"),
        Sample.rough(m(2, 41), 80, "backward"), Sample.rough(m(0, 3), 4, "backward"),
    ],
})  # fmt: skip


def _transform(x: Array, inverse: bool, norm: str) -> Array:
    run: Any = np.fft.ifft if inverse else np.fft.fft
    return np.asarray(run(x, norm=norm)) if x.size else x


references({
    "fft_c2c": _transform,
    "fft_r2c": lambda x, norm: np.fft.rfft(x, norm=norm) if x.size else np.zeros((*x.shape[:-1], x.shape[-1] // 2 + 1)),
    "fft_c2r": lambda x, n, norm: np.fft.irfft(x, n, norm=norm) if x.size else np.zeros((*x.shape[:-1], n)),
})  # fmt: skip
