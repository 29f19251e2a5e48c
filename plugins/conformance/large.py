"""Samples larger than a work-group, with odd sizes, of the ops whose own samples are small.

Elementwise ops and reductions are not here: any shape does for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from flambeau.plugins.conformance.opdb import Maker, Sample, Samples


def _convolutions(m: Maker) -> Iterator[Sample]:
    x, weight = m(2, 3, 33, 35, low=-1, high=1), m(8, 3, 3, 3, low=-1, high=1)
    yield Sample(x, weight, m(8), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    yield Sample(x, weight, None, stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=1)


def unit(x: Any) -> Any:
    """Floating values made of size 1, so that a product of many of them is neither nothing nor infinite."""
    if x.dtype.kind in "iub":
        return x
    size = np.abs(x)
    return np.where(size == 0, np.ones_like(x), x / np.where(size == 0, 1, size).astype(size.dtype)).astype(x.dtype)


_TABLE: Final[dict[str, Samples]] = {
    "matmul": lambda m: [
        Sample(m(129, 257, low=-1, high=1), m(257, 65, low=-1, high=1)),
        Sample(m(3, 33, 70, low=-1, high=1), m(70, 41, low=-1, high=1)),
        Sample(m(1, 1031, low=-1, high=1), m(1031, 1, low=-1, high=1)),
    ],
    "linear": lambda m: [Sample(m(37, 130, low=-1, high=1), m(67, 130, low=-1, high=1), m(67))],
    "conv": _convolutions,
    "max_pool": lambda m: [
        Sample(m.distinct(2, 3, 33, 9), kernel=(3, 2), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil=False),
    ],
    "avg_pool": lambda m: [
        Sample(m(2, 3, 33, 35), kernel=(3, 2), stride=(2, 2), padding=(1, 0), ceil=False, count_include_pad=True,
               divisor=None),
    ],
    "softmax log_softmax cummax cummin logcumsumexp": lambda m: [
        Sample(m(3, 1031), axis=1), Sample(m(1031, 5), axis=0),
    ],
    "cumsum": lambda m: [Sample(m(3, 1031), axis=1), Sample(m(1031, 5), axis=0), Sample(m(70001), axis=0)],
    "cumprod": lambda m: [Sample(unit(m(3, 1031)), axis=1)],
    "argsort sort": lambda m: [Sample(m(3, 1031), axis=1), Sample(m(5003), axis=0, descending=True)],
    "topk": lambda m: [Sample(m.distinct(1031), k=17, axis=0)],
    "gather": lambda m: [
        Sample(m(50, 1031), m.index(33, 1031, high=50), axis=0),
        Sample(m(3, 1031), m.index(3, 2049, high=1031), axis=1),
    ],
    "scatter": lambda m: [
        Sample(m(1031), m.permutation(1031), m(1031), axis=0),
        Sample(m(5, 300, low=-1, high=1), m.index(5, 999, high=300), m(5, 999, low=-1, high=1), axis=1, reduce="add"),
    ],
    "index_select": lambda m: [Sample(m(50, 333), m.index(65, high=50), axis=0)],
    "index_add": lambda m: [
        Sample(m(40, 33, low=-1, high=1), m.index(999, high=40), m(999, 33, low=-1, high=1), axis=0),
    ],
    "embedding": lambda m: [Sample(m(1000, 33), m.index(257, 5, high=1000), padding_idx=-1)],
    "masked_fill": lambda m: [Sample(m(65, 33), m.bools(65, 33), m())],
    "nonzero": lambda m: [Sample(m(65, 33))],
    "searchsorted": lambda m: [Sample(np.sort(m(1000)), m(1031))],
    "cat": lambda m: [
        Sample([m(65, 33), m(64, 33), m(1, 33)], axis=0), Sample([m(33, 65), m(33, 1), m(33, 300)], axis=1),
    ],
    "pad": lambda m: [Sample(m(65, 33), widths=((3, 0), (1, 300)), value=1)],
    "flip": lambda m: [Sample(m(65, 333), axes=(0, 1))],
    "tril triu clone": lambda m: [Sample(m(257, 65))],
    "layer_norm": lambda m: [Sample(m(7, 1031), m(1031), m(1031), normalized_shape=(1031,), eps=1e-5)],
    "batch_norm": lambda m: [Sample(m(5, 3, 33, 9), m(3), m(3), eps=1e-5)],
}  # fmt: skip

LARGE: Final = {name: made for names, made in _TABLE.items() for name in names.split()}
