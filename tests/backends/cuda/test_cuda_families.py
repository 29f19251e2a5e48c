"""The kernels of the dialect's families compile with no GPU: by NVRTC, for each dtype, flag and number of axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from flambeau.backends.cuda.build import OPTIONS
from flambeau.backends.cuda.device import TARGET
from flambeau.backends.dialect import conv, nn, norm, parts, pool, scan, windows
from flambeau.backends.dialect.launch import Launch
from flambeau.backends.dialect.prelude import Target
from flambeau.core import dtype as dt
from tests.backends.cuda import nvrtc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(nvrtc.library() is None, reason="the wheel nvidia-cuda-nvrtc-cu12 is not installed"),
]
ORDERED = (dt.bool_, *dt.REALS)


@dataclass(frozen=True)
class Gpu:
    """What the geometry of launches depends on."""

    target: Target = TARGET
    units: int = 108
    group: int = 256


def _convolutions(dtype: dt.DType) -> Iterator[Launch]:
    for n in (1, 2, 3):
        g = conv.geometry((4, 6, *[9] * n), (6, 3, *[3] * n), (2,) * n, (1,) * n, (1,) * n, 2)
        images = conv.Images((6 * 9**n, 9**n, *[9**i for i in reversed(range(n))]), 0)
        columns = conv.Columns(4, 0, g.windows.outside[0], 4 * g.windows.places, g.windows.places)
        yield conv.columns(Gpu(), dtype, g, images, columns)
        yield conv.images(Gpu(), dtype, g, columns, 0)
        yield from (conv.direct(Gpu(), dtype, g, (0, 0, 0, 0), biased) for biased in (True, False))
        yield conv.spread(Gpu(), dtype, g, (0, 0, 0))
        yield conv.weigh(Gpu(), dtype, g, (0, 0, 0))


def _pools(dtype: dt.DType) -> Iterator[Launch]:
    for n in (1, 2, 3):
        w = windows.windows((9,) * n, (3,) * n, (2,) * n, (1,) * n, (1,) * n, ceil=True)
        yield pool.max_pool(Gpu(), dtype, (4, 6), w, 0)
        if dtype.is_floating_point:
            yield pool.avg_pool(Gpu(), dtype, (4, 6), w, 0, True, None)
            yield pool.avg_pool_grad(Gpu(), dtype, (4, 6), w, 0, False, 3)
    if dtype is not dt.bool_:
        yield pool.max_pool_grad(Gpu(), dtype, 24, 81, 25, (0, 0))


def _normalisations(dtype: dt.DType) -> Iterator[Launch]:
    affine = [(a, b) for a in (True, False) for b in (True, False)]
    for centred in (True, False):
        rows = norm.Rows(100, 300, centred, 1e-5)
        yield from (norm.norm(Gpu(), dtype, rows, (0, 0, 0), each) for each in affine)
        yield from (norm.norm_grad(Gpu(), dtype, rows, (0, 0, 0), weighted) for weighted in (True, False))
        yield norm.norm_sums(Gpu(), dtype, rows, (0, 0))
    channels = norm.Channels(4, 6, 81)
    yield from (norm.batch_norm(Gpu(), dtype, channels, 1e-5, (0, 0, 0), each) for each in affine)
    yield norm.batch_norm_sums(Gpu(), dtype, channels, (0, 0, 0))
    for logarithm in (True, False):
        yield nn.softmax(Gpu(), dtype, logarithm, 100, 300, 0)
        yield nn.softmax_grad(Gpu(), dtype, logarithm, 100, 300, (0, 0))


def _scans(dtype: dt.DType) -> Iterator[Launch]:
    ops = ["cummax", "cummin"]
    ops += ["cumsum", "cumprod", "affine_scan"] if dtype is not dt.bool_ else []
    ops += ["logcumsumexp"] if dtype.is_floating_point else []
    for op in ops:
        yield from (found for found in scan.scan(Gpu(), op, dtype, scan.lines(Gpu(), 1, 10**6, 1)) if found is not None)


CASES: list[tuple[Any, dt.DType]] = [
    *((family, d) for family in (_convolutions, _normalisations) for d in dt.FLOATS),
    *((family, d) for family in (_pools, _scans) for d in ORDERED),
]


@pytest.mark.parametrize(
    ("family", "dtype"), CASES, ids=lambda v: v.name if isinstance(v, dt.DType) else v.__name__[1:]
)
def test_family(family: Any, dtype: dt.DType) -> None:
    found = {launch.key: launch for launch in family(dtype)}
    assert found
    for launch in found.values():
        assert launch.size > 0 and launch.size % launch.group == 0
        assert f".visible .entry {launch.name}" in nvrtc.compile_ptx(launch.text(), "90", OPTIONS)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_pad(size: int) -> None:
    axes = parts.padded((3, 4, 5), (20, 5, 1), ((1, 0), (0, -1), (2, 2)))
    launch = parts.pad(Gpu(), size, axes, 0, b"\0" * size)
    assert ".visible .entry pad" in nvrtc.compile_ptx(launch.text(), "80", OPTIONS)
