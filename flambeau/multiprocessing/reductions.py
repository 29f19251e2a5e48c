"""How tensors are sent to other processes."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any

import numpy as np

from flambeau.core.errors import GradientError
from flambeau.core.sharing import Part, mapped, place_of, segment_of, tensor_at
from flambeau.core.tensor import Tensor
from flambeau.nn.parameter import Parameter

__all__ = ["init_reductions", "reduce_tensor"]


def reduce_tensor(tensor: Tensor) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What makes the tensor again in the process that receives it."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise GradientError(
            "multiprocessing: a computed tensor that requires grad cannot be sent, as its graph stays; send x.detach()"
        )
    if not tensor._key.backend.has("shares_host") or not tensor.numel():
        made: tuple[Callable[..., Any], tuple[Any, ...]] = tensor.__reduce_ex__(2)
        return made
    tensor.share_memory_()
    segment = segment_of(tensor)
    assert segment is not None
    part = place_of(tensor, segment)
    kind = "parameter" if isinstance(tensor, Parameter) else "tensor"
    return rebuild, (DupFd(segment.descriptor), segment.size, part, kind, tensor.requires_grad)


def rebuild(descriptor: Any, size: int, part: Part, kind: str, requires_grad: bool) -> Tensor:
    """A tensor over the segment of a descriptor that came."""
    memory: np.ndarray[Any, Any] = mapped(descriptor.detach(), size)
    made = tensor_at(memory, part)
    if kind == "parameter":
        return Parameter(made, requires_grad=requires_grad)
    return made.requires_grad_(True) if requires_grad else made


def init_reductions() -> None:
    """Tell Python's ``multiprocessing``."""
    ForkingPickler.register(Tensor, reduce_tensor)
    ForkingPickler.register(Parameter, reduce_tensor)
