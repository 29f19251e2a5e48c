"""What is computed before it is written: histograms, and how precise a classifier is at each threshold."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from flambeau.utils.host import HostArray
from flambeau.utils.tensorboard._parts import part

#: How many thresholds TensorBoard shows at most.
MAX_THRESHOLDS: Final = 127
#: What is divided by where nothing was predicted, so that the precision is 0.
_LITTLE: Final = 1e-7


def default_bins() -> list[float]:
    """TensorFlow's limits of bins: 0, and both ways from 1e-12 to 1e20, each by a tenth further than the last."""
    above, limit = [], 1e-12
    while limit < 1e20:
        above.append(limit)
        limit *= 1.1
    return [*(-v for v in reversed(above)), 0.0, *above]


def make_histogram(values: Any, bins: Any, max_bins: int | None = None) -> Any:  # Any: a HistogramProto
    """The protobuf of a histogram.

    Args:
        values: numbers.
        bins: as numpy's ``histogram`` takes them; what lies outside is in no bin.
        max_bins: where there are more, as many neighbours are put together as go into their number.
    """
    flat = np.asarray(values).reshape(-1)
    if not flat.size:
        raise ValueError("add_histogram: values must have elements")
    if max_bins is not None and max_bins < 1:
        raise ValueError(f"add_histogram: max_bins must be positive, got {max_bins}")
    flat = flat.astype(np.float64)
    counts, limits = np.histogram(flat, bins=bins)
    together = 1 if max_bins is None else max(1, len(counts) // max_bins)
    starts = np.arange(0, len(counts), together)
    counts, limits = np.add.reduceat(counts, starts), np.append(limits[starts], limits[-1])
    filled = np.flatnonzero(counts)
    first, last = (filled[0], filled[-1] + 1) if filled.size else (len(counts), len(counts))
    return part("tensorboard.compat.proto.histogram_pb2").HistogramProto(
        min=flat.min(), max=flat.max(), num=flat.size, sum=flat.sum(), sum_squares=float(flat @ flat),
        bucket_limit=limits[first : last + 1].tolist(), bucket=[0.0, *map(float, counts[first:last])],
    )  # fmt: skip


def compute_curve(labels: Any, predictions: Any, num_thresholds: int | None = None, weights: Any = None) -> HostArray:
    """What a classifier's predictions are worth at evenly spaced thresholds from 0 to 1.

    Args:
        labels: 0 or 1, or booleans.
        predictions: from 0 to 1, of the same shape.
        num_thresholds: how many; 127 by default.
        weights: of each, or one number.

    Returns:
        Six rows: true positives, false positives, true negatives, false negatives, precision, recall.

    >>> from flambeau.utils.tensorboard.summary import compute_curve
    >>> import numpy as np
    >>> compute_curve(np.array([1, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), 5)[[0, 4]].round(2).tolist()
    [[3.0, 2.0, 1.0, 1.0, 0.0], [0.75, 0.67, 1.0, 1.0, 0.0]]
    """
    n = MAX_THRESHOLDS if num_thresholds is None else num_thresholds
    truth, scores = np.asarray(labels), np.asarray(predictions, np.float64)
    if truth.shape != scores.shape or not truth.size:
        raise ValueError(f"add_pr_curve: labels of shape {truth.shape} and predictions of shape {scores.shape}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("add_pr_curve: labels must be 0 or 1")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("add_pr_curve: predictions must lie between 0 and 1")
    if n < 1:
        raise ValueError(f"add_pr_curve: num_thresholds must be positive, got {n}")
    weight = np.asarray(1.0 if weights is None else weights, np.float64)
    if weight.size != 1 and weight.shape != scores.shape:
        raise ValueError(f"add_pr_curve: weights of shape {weight.shape} for predictions of shape {scores.shape}")
    flat = weight.reshape(-1)
    places = np.floor(scores.reshape(-1) * (n - 1)).astype(np.int64)
    above = {kind: np.bincount(places, flat * (truth.reshape(-1) == kind), n)[::-1].cumsum()[::-1] for kind in (1, 0)}
    tp, fp = above[1], above[0]
    tn, fn = fp[0] - fp, tp[0] - tp
    precision, recall = (tp / np.maximum(_LITTLE, tp + other) for other in (fp, fn))
    return np.stack((tp, fp, tn, fn, precision, recall))
