"""Resampling: along each axis a result is the sum of some elements, each with its weight."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.declare import OpFunction, composite
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.nn.rules import Shape, floats
from flambeau.core.tensor import Tensor


class AxisTaps:
    """Which elements of an axis of ``size`` count for each result, and how much; as a param it is only itself.

    ``places`` (results, taps) are -1 where a result has fewer.
    """

    def __init__(self, size: int, places: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]):
        self.size, self.places = size, np.asarray(places, np.int64)
        self.weights = np.where(self.places < 0, 0.0, np.asarray(weights, np.float64))

    @classmethod
    def of(cls, size: int, taps: Sequence[Sequence[tuple[int, float]]], ragged: bool = False) -> AxisTaps:
        """From (place, weight) of as many taps for each result; places outside are the nearest inside.

        ``ragged`` ones of weight 0 only fill up.
        """
        places, weights = np.moveaxis(np.array(taps, np.float64), -1, 0)
        places = np.clip(places, 0, size - 1)
        return cls(size, np.where(weights == 0, -1, places) if ragged else places, weights)

    @property
    def shape(self) -> tuple[int, int]:
        """How many results there are, and how many taps each has at most."""
        return self.places.shape[0], self.places.shape[1]

    @cached_property
    def back(self) -> AxisTaps:
        """The way of a gradient: for each element, the results that it counts for."""
        outs, k = np.nonzero(self.places >= 0)
        at = self.places[outs, k]
        order = np.argsort(at, kind="stable")
        counts = np.bincount(at, minlength=self.size)
        number = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.full((self.size, max(int(counts.max(initial=0)), 1)), -1)
        weights = np.zeros(places.shape)
        places[at[order], number], weights[at[order], number] = outs[order], self.weights[outs, k][order]
        made = AxisTaps(self.shape[0], places, weights)
        made.__dict__["back"] = self
        return made

    def __repr__(self) -> str:
        return f"<{self.shape[1]} taps from {self.size} to {self.shape[0]}>"


def _infer(x: Shape, *, taps: Sequence[AxisTaps]) -> Shape:
    return (*x[: len(x) - len(taps)], *(t.shape[0] for t in taps))


def _resample(x: Tensor, *, taps: Sequence[AxisTaps]) -> Tensor:
    for axis, t in enumerate(taps, x.ndim - len(taps)):
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        total: Tensor | None = None
        for places, weights in zip(t.places.T, t.weights.T, strict=True):
            taken = x.index_select(axis, x.new_tensor(np.maximum(places, 0), dtype=dt.int64))
            part = taken * x.new_tensor(weights).reshape(shape)
            if (places < 0).any():
                part = where(x.new_tensor(places >= 0, dtype=dt.bool_).reshape(shape), part, 0.0)
            total = part if total is None else total + part
        assert total is not None
        x = total
    return x


resample_p: OpFunction[Tensor] = composite(
    "resample(x: Tensor, *, taps: Any) -> Tensor",
    autocast="same|float32",
    infer=_infer,
    dtype=floats,
    linear=["x"],
    public=False,
    doc="The last axes resampled, each by its AxisTaps; the gradient is the same op with the way back of each.",
    vjp=dict(x=lambda g, taps: resample_p(g, tuple(t.back for t in taps))),
)(_resample)
