"""The data that comes with flambeau: a small set of real scans."""

from __future__ import annotations

from importlib import resources

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.exchange import from_numpy
from flambeau.utils.data.dataset import TensorDataset

_LEVELS = 16  # the largest pixel value


def digits() -> TensorDataset:
    """1,797 handwritten digits: images (1, 8, 8), float32 in [0, 1], and labels, int64 in [0, 10).

    No download: the data is part of the package. Source: E. Alpaydin and C. Kaynak, "Optical Recognition
    of Handwritten Digits", UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0.

    >>> image, label = digits()[0]
    >>> tuple(image.shape), label
    ((1, 8, 8), tensor(0))
    """
    file = resources.files("flambeau") / "data" / "digits.npz"
    with file.open("rb") as stream, np.load(stream) as arrays:
        images, labels = from_numpy(arrays["images"]), from_numpy(arrays["labels"])
    return TensorDataset(images.unsqueeze(1).to(dt.float32) / _LEVELS, labels.to(dt.int64))
