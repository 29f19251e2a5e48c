"""What nn asks of communication between processes, and the slot in which ``flambeau.distributed`` offers it.

nn stands below ``flambeau.distributed`` and does not import it. Who makes a process group has imported that, which puts
itself into the slot.
"""

from __future__ import annotations

from typing import Any, Protocol

from flambeau.core.tensor import Tensor

Group = Any  #: a process group, whose class stands above; None is the default group


class Waited(Protocol):
    """A collective under way."""

    def wait(self, timeout: Any = None) -> Any: ...  # Any: a timedelta, and what the collective says of itself


class Collectives(Protocol):
    """The functions of ``flambeau.distributed`` that nn calls: names and arguments are torch.distributed's."""

    ReduceOp: Any  # its class stands above
    group: Any  # has the default group as WORLD

    def is_initialized(self) -> bool: ...
    def get_rank(self, group: Group = None) -> int: ...
    def get_world_size(self, group: Group = None) -> int: ...
    def all_reduce(self, tensor: Tensor, op: Any = ..., group: Group = None, async_op: bool = False) -> Any: ...
    def broadcast(
        self, tensor: Tensor, src: int | None = None, group: Group = None, async_op: bool = False,
        group_src: int | None = None,
    ) -> Any: ...  # fmt: skip
    def all_gather_into_tensor(
        self, output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
    ) -> Any: ...
    def all_gather_object(self, object_list: list[Any], obj: Any, group: Group = None) -> None: ...


_offered: list[Collectives] = []


def offer(found: Collectives) -> None:
    """Fill the slot."""
    _offered[:] = [found]


def available() -> bool:
    """Whether this process is one of a group."""
    return bool(_offered) and _offered[0].is_initialized()


def collectives(who: str) -> Collectives:
    """The collectives; ValueError in the name of ``who`` needs them where no process group was made."""
    if not available():
        raise ValueError(
            f"{who}: the default process group has not been initialized; call "
            "flambeau.distributed.init_process_group() first, or start the program with python -m flambeau launch"
        )
    return _offered[0]
