"""What is put into event files: buckets of histograms, pictures in rows, and the settings of a run."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from flambeau.core.tensor import Tensor

__all__ = ["bucketed", "hparam_summaries", "part", "tiled"]

Array = np.ndarray[Any, Any]


def part(name: str) -> Any:
    """A module of the package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"SummaryWriter: it writes through the package tensorboard, which is not here ({error}); "
            "pip install tensorboard"
        ) from error


@cache
def _growing() -> list[float]:
    """Limits of buckets around 0, each a tenth further out than the one before, as TensorFlow has them."""
    out = [1e-12]
    while out[-1] * 1.1 < 1e20:
        out.append(out[-1] * 1.1)
    return [*(-limit for limit in reversed(out)), 0.0, *out]


def bucketed(values: Array, bins: Any, max_bins: int | None) -> tuple[list[float], list[float]]:
    """Right limits of buckets, and what they hold: an empty one, then from the first to the last that holds any.

    Of more than ``max_bins`` bins, as many neighbours are put together as keep to it, or nearly.
    """
    counts, limits = np.histogram(values, bins=_growing() if isinstance(bins, str) and bins == "tensorflow" else bins)
    if max_bins is not None and len(counts) > max_bins:
        together = len(counts) // max_bins
        limits = np.append(limits[:-1:together], limits[-1])
        counts = np.add.reduceat(counts, range(0, len(counts), together))
    held = np.flatnonzero(counts)
    if not held.size:
        raise ValueError("add_histogram: no value lies in one of the bins")
    first, end = int(held[0]), int(held[-1]) + 1
    return limits[first : end + 1].tolist(), [0.0, *counts[first:end].tolist()]


def tiled(pictures: Array, columns: int = 8) -> Array:
    """Pictures of (height, width, channels) in rows of eight, black where the last row ends early."""
    count, height, width, channels = pictures.shape
    columns = min(count, columns)
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, height, width, channels), pictures.dtype)
    filled[:count] = pictures
    grid = filled.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


def hparam_summaries(
    settings: Mapping[str, Any], metrics: Mapping[str, Any], choices: Mapping[str, list[Any]] | None
) -> list[Any]:
    """The three summaries by which TensorBoard lists a run: its experiment, its settings, and that it ended."""
    api, names = part("tensorboard.plugins.hparams.api_pb2"), part("tensorboard.plugins.hparams.metadata")
    data = part("tensorboard.plugins.hparams.plugin_data_pb2")
    values = part("google.protobuf.struct_pb2")
    for name, allowed in (choices or {}).items():
        wanted = type(settings.get(name))
        if name not in settings or not isinstance(allowed, list) or not all(isinstance(v, wanted) for v in allowed):
            raise TypeError(f"add_hparams: hparam_domain_discrete[{name!r}] must list values of {name!r}'s type")
    start, infos = data.SessionStartInfo(), []
    for name, value in settings.items():
        if value is None:
            continue
        field, kind = ("string_value", "STRING") if isinstance(value, str) else ("number_value", "FLOAT64")
        if not isinstance(value, (str, int, float, Tensor)):
            raise ValueError(f"add_hparams: {name!r} must be a number, text, bool, None or tensor, got {value!r}")
        setattr(start.hparams[name], field, value.item() if isinstance(value, Tensor) else value)
        allowed = [values.Value(**{field: v}) for v in (choices or {}).get(name, ())]
        domain = {"domain_discrete": values.ListValue(values=allowed)} if allowed else {}
        infos.append(api.HParamInfo(name=name, type=api.DataType.Value(f"DATA_TYPE_{kind}"), **domain))
    reached = [api.MetricInfo(name=api.MetricName(tag=tag)) for tag in metrics]
    ended = data.SessionEndInfo(status=api.Status.Value("STATUS_SUCCESS"))
    parts = {
        names.EXPERIMENT_TAG: {"experiment": api.Experiment(hparam_infos=infos, metric_infos=reached)},
        names.SESSION_START_INFO_TAG: {"session_start_info": start},
        names.SESSION_END_INFO_TAG: {"session_end_info": ended},
    }
    return [_of_plugin(tag, names, data.HParamsPluginData(version=names.PLUGIN_DATA_VERSION, **found))
            for tag, found in parts.items()]  # fmt: skip


def _of_plugin(tag: str, names: Any, content: Any) -> Any:
    """A summary that holds nothing but data of the plugin for settings."""
    summaries = part("tensorboard.compat.proto.summary_pb2")
    about = summaries.SummaryMetadata.PluginData(plugin_name=names.PLUGIN_NAME, content=content.SerializeToString())
    metadata = summaries.SummaryMetadata(plugin_data=about)
    return summaries.Summary(value=[summaries.Summary.Value(tag=tag, metadata=metadata)])
