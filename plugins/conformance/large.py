"""Samples larger than a work-group, with odd sizes, of the ops whose own samples are small.

Elementwise ops and reductions are not here: any shape does for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flambeau.plugins.conformance.opdb import Maker, Sample

Samples = Iterator[Sample]


def _products(m: Maker) -> Samples:
    yield Sample(m(129, 257, low=-1, high=1), m(257, 65, low=-1, high=1))
    yield Sample(m(3, 33, 70, low=-1, high=1), m(70, 41, low=-1, high=1))
    yield Sample(m(1, 1031, low=-1, high=1), m(1031, 1, low=-1, high=1))


def _linear(m: Maker) -> Samples:
    yield Sample(m(37, 130, low=-1, high=1), m(67, 130, low=-1, high=1), m(67))


def _convolutions(m: Maker) -> Samples:
    x, weight = m(2, 3, 33, 35, low=-1, high=1), m(8, 3, 3, 3, low=-1, high=1)
    yield Sample(x, weight, m(8), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    yield Sample(x, weight, None, stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=1)


def _max_pools(m: Maker) -> Samples:
    yield Sample(
        m.distinct(2, 3, 33, 9), kernel=(3, 2), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil=False
    )  # fmt: skip


def _means_of_windows(m: Maker) -> Samples:
    yield Sample(
        m(2, 3, 33, 35), kernel=(3, 2), stride=(2, 2), padding=(1, 0), ceil=False, count_include_pad=True, divisor=None
    )  # fmt: skip


def _along_an_axis(m: Maker) -> Samples:
    yield Sample(m(3, 1031), axis=1)
    yield Sample(m(1031, 5), axis=0)


def _products_along_an_axis(m: Maker) -> Samples:
    yield Sample(unit(m(3, 1031)), axis=1)


def unit(x: Any) -> Any:
    """Floating values made of size 1, so that a product of many of them is neither nothing nor infinite."""
    if x.dtype.kind in "iub":
        return x
    size = np.abs(x)
    return np.where(size == 0, np.ones_like(x), x / np.where(size == 0, 1, size).astype(size.dtype)).astype(x.dtype)


def _long_sums(m: Maker) -> Samples:
    yield from _along_an_axis(m)
    yield Sample(m(70001), axis=0)


def _orders(m: Maker) -> Samples:
    yield Sample(m(3, 1031), axis=1)
    yield Sample(m(5003), axis=0, descending=True)


def _largest(m: Maker) -> Samples:
    yield Sample(m.distinct(1031), k=17, axis=0)


def _gathers(m: Maker) -> Samples:
    yield Sample(m(50, 1031), m.index(33, 1031, high=50), axis=0)
    yield Sample(m(3, 1031), m.index(3, 2049, high=1031), axis=1)


def _scatters(m: Maker) -> Samples:
    yield Sample(m(1031), m.permutation(1031), m(1031), axis=0)
    yield Sample(m(5, 300, low=-1, high=1), m.index(5, 999, high=300), m(5, 999, low=-1, high=1), axis=1, reduce="add")


def _selections(m: Maker) -> Samples:
    yield Sample(m(50, 333), m.index(65, high=50), axis=0)


def _additions(m: Maker) -> Samples:
    yield Sample(m(40, 33, low=-1, high=1), m.index(999, high=40), m(999, 33, low=-1, high=1), axis=0)


def _embeddings(m: Maker) -> Samples:
    yield Sample(m(1000, 33), m.index(257, 5, high=1000), padding_idx=-1)


def _masked(m: Maker) -> Samples:
    yield Sample(m(65, 33), m.bools(65, 33), m())


def _places(m: Maker) -> Samples:
    yield Sample(m(65, 33))


def _searches(m: Maker) -> Samples:
    yield Sample(np.sort(m(1000)), m(1031))


def _joined(m: Maker) -> Samples:
    yield Sample([m(65, 33), m(64, 33), m(1, 33)], axis=0)
    yield Sample([m(33, 65), m(33, 1), m(33, 300)], axis=1)


def _padded(m: Maker) -> Samples:
    yield Sample(m(65, 33), widths=((3, 0), (1, 300)), value=1)


def _flipped(m: Maker) -> Samples:
    yield Sample(m(65, 333), axes=(0, 1))


def _plain(m: Maker) -> Samples:
    yield Sample(m(257, 65))


def _normalised_rows(m: Maker) -> Samples:
    yield Sample(m(7, 1031), m(1031), m(1031), normalized_shape=(1031,), eps=1e-5)


def _normalised_batches(m: Maker) -> Samples:
    yield Sample(m(5, 3, 33, 9), m(3), m(3), eps=1e-5)


LARGE: dict[str, Callable[[Maker], Samples]] = {
    "matmul": _products, "linear": _linear, "conv": _convolutions, "max_pool": _max_pools,
    "avg_pool": _means_of_windows, "softmax": _along_an_axis, "log_softmax": _along_an_axis,
    "cumsum": _long_sums, "cumprod": _products_along_an_axis, "cummax": _along_an_axis, "cummin": _along_an_axis,
    "logcumsumexp": _along_an_axis, "argsort": _orders, "sort": _orders, "topk": _largest, "gather": _gathers,
    "scatter": _scatters, "index_select": _selections, "index_add": _additions, "embedding": _embeddings,
    "masked_fill": _masked, "nonzero": _places, "searchsorted": _searches, "cat": _joined, "pad": _padded,
    "flip": _flipped, "tril": _plain, "triu": _plain, "clone": _plain, "layer_norm": _normalised_rows,
    "batch_norm": _normalised_batches,
}  # fmt: skip
