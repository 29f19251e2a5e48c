"""The mean of parameters over processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau.core.ops.joining import cat
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed.collectives import all_reduce
from flambeau.distributed.groups import get_rank, get_world_size

__all__ = ["average_parameters", "average_parameters_or_parameter_groups", "get_params_to_average"]

Groups = Iterable[Tensor] | Iterable[dict[str, Any]]


def average_parameters(params: Iterable[Tensor], process_group: Any) -> None:
    """Give parameters their mean over a group; a process that is not in it keeps its own."""
    if get_rank(process_group) < 0:
        return
    kinds: dict[tuple[Any, Any], list[Tensor]] = {}
    for p in params:
        kinds.setdefault((p.device, p.dtype), []).append(p)
    with no_grad():
        for together in kinds.values():
            flat = cat([p.detach().reshape(-1) for p in together]).div_(get_world_size(process_group))
            all_reduce(flat, group=process_group)
            for p, part in zip(together, flat.split([p.numel() for p in together]), strict=True):
                p.copy_(part.view(p.shape))


def get_params_to_average(params: Groups) -> list[Tensor]:
    """Those parameters, of a list or of an optimizer's groups, that have a gradient.

    >>> from flambeau.distributed.algorithms.model_averaging.utils import get_params_to_average
    >>> get_params_to_average([fb.nn.Parameter(fb.ones(1))])
    []
    """
    found: list[Tensor] = []
    for entry in params:
        if isinstance(entry, Tensor):
            found += [entry] if entry.grad is not None else []
        elif isinstance(entry, dict):
            found += [p for p in entry["params"] if p.grad is not None]
        else:
            raise NotImplementedError(
                f"get_params_to_average: takes tensors or an optimizer's groups, got {type(entry).__name__}"
            )
    return found


def average_parameters_or_parameter_groups(params: Groups, process_group: Any) -> None:
    """Give the parameters that have a gradient their mean over a group."""
    average_parameters(get_params_to_average(params), process_group)
