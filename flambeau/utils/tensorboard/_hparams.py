"""What TensorBoard's page of hyperparameters shows: which there are, those of a run, and that it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flambeau.core.tensor import Tensor
from flambeau.utils.tensorboard._convert_np import make_np
from flambeau.utils.tensorboard._parts import part


def hparams(
    hparam_dict: Mapping[str, Any] | None = None, metric_dict: Mapping[str, Any] | None = None,
    hparam_domain_discrete: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Three protobufs: of the experiment, of the run's beginning and of its end.

    Args:
        hparam_dict: str, numbers, bools, tensors of one number; None is left out, True is the number 1.
        metric_dict: the tags of what the run reached; the values are written as scalars.
        hparam_domain_discrete: what a hyperparameter may be, by name.
    """
    given, metrics, domains = ({} if d is None else d for d in (hparam_dict, metric_dict, hparam_domain_discrete))
    for argument, passed in (("hparam_dict", given), ("metric_dict", metrics), ("hparam_domain_discrete", domains)):
        if not isinstance(passed, Mapping):
            raise TypeError(f"add_hparams: {argument} must be a dict, got {type(passed).__name__}")
    api, data = part("tensorboard.plugins.hparams.api_pb2"), part("tensorboard.plugins.hparams.plugin_data_pb2")
    settings = {name: _plain(name, value) for name, value in given.items() if value is not None}
    for name, allowed in domains.items():
        if name not in settings or any(_kind(_plain(name, a)) != _kind(settings[name]) for a in allowed):
            raise TypeError(f"add_hparams: hparam_domain_discrete[{name!r}] must list values of that hyperparameter")
    infos = [_info(api, name, value, domains.get(name)) for name, value in settings.items()]
    reached = [api.MetricInfo(name=api.MetricName(tag=tag)) for tag in metrics]
    start = data.SessionStartInfo()
    for name, value in settings.items():
        setattr(start.hparams[name], f"{_kind(value)}_value", value)
    names = part("tensorboard.plugins.hparams.metadata")
    return (
        _packed(names.EXPERIMENT_TAG, experiment=api.Experiment(hparam_infos=infos, metric_infos=reached)),
        _packed(names.SESSION_START_INFO_TAG, session_start_info=start),
        _packed(names.SESSION_END_INFO_TAG, session_end_info=data.SessionEndInfo(status=api.STATUS_SUCCESS)),
    )


def _plain(name: str, value: Any) -> float | str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, np.number, np.bool_, Tensor, np.ndarray)) and make_np(value).size == 1:
        number = make_np(value).reshape(()).item()
        if isinstance(number, (int, float)):
            return number
    raise ValueError(f"add_hparams: {name!r} must be a number, a str, a bool or a tensor of one, got {value!r:.100}")


def _kind(value: float | str) -> str:
    """How protobuf calls the field of a value."""
    return "string" if isinstance(value, str) else "number"


def _info(api: Any, name: str, value: float | str, allowed: Sequence[Any] | None) -> Any:
    kinds = {"string": api.DATA_TYPE_STRING, "number": api.DATA_TYPE_FLOAT64}
    info = api.HParamInfo(name=name, type=kinds[_kind(value)])
    for one in allowed or ():
        setattr(info.domain_discrete.values.add(), f"{_kind(value)}_value", _plain(name, one))
    return info


def _packed(tag: str, **content: Any) -> Any:
    data = part("tensorboard.plugins.hparams.plugin_data_pb2").HParamsPluginData(**content)
    metadata = part("tensorboard.plugins.hparams.metadata").create_summary_metadata(data)
    kinds = part("tensorboard.compat.proto.summary_pb2")
    return kinds.Summary(value=[kinds.Summary.Value(tag=tag, metadata=metadata)])
