"""Ray Train's workers as the ranks of a job: ``FlambeauConfig`` for its ``DataParallelTrainer``.

::

    trainer = DataParallelTrainer(
        train_loop, backend_config=FlambeauConfig(), scaling_config=ScalingConfig(num_workers=2)
    )

The names are those of https://docs.ray.io, "Ray Train API", which has ``TorchConfig`` in this place.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flambeau.distributed import groups, guard
from flambeau.distributed.rendezvous import reachable_address

try:
    import ray
    from ray.train.backend import Backend, BackendConfig
except ImportError as error:
    raise ImportError("flambeau.distributed.ray needs Ray Train: pip install 'flambeau[ray]'") from error

__all__ = ["FlambeauConfig"]


@dataclass
class FlambeauConfig(BackendConfig):
    """Each worker takes part in a job, and has called init_process_group when the training loop begins.

    Attributes:
        backend: as of init_process_group.
        timeout_s: seconds that a call waits for the others.
    """

    backend: str | None = None
    timeout_s: float = 1800.0

    @property
    def backend_cls(self) -> type[Backend]:
        return _Backend


class _Backend(Backend):
    """What Ray calls as its workers start and end."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: FlambeauConfig) -> None:
        nodes = worker_group.execute(_node)
        host, port = worker_group.execute_single(0, _free_address, len(set(nodes)) == 1)
        of_node = Counter(nodes)
        before: Counter[str] = Counter()
        started = []
        for rank, node in enumerate(nodes):
            environment = {
                "RANK": str(rank), "WORLD_SIZE": str(len(nodes)), "MASTER_ADDR": host, "MASTER_PORT": str(port),
                "LOCAL_RANK": str(before[node]), "LOCAL_WORLD_SIZE": str(of_node[node]),
            }  # fmt: skip
            before[node] += 1
            arguments = (environment, backend_config.backend, backend_config.timeout_s)
            started.append(worker_group.execute_single_async(rank, _begin, *arguments))
        ray.get(started)

    def on_shutdown(self, worker_group: Any, backend_config: FlambeauConfig) -> None:
        worker_group.execute(_leave)


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def _free_address(alone: bool) -> tuple[str, int]:
    """Where the first worker can serve the others."""
    with socket.create_server(("", 0)) as probe:
        return "127.0.0.1" if alone else reachable_address(), probe.getsockname()[1]


def _begin(environment: dict[str, str], backend: str | None, timeout: float) -> None:
    os.environ.update(environment)
    groups.init_process_group(backend, timeout=timedelta(seconds=timeout))


def _leave() -> None:
    """Ray ends its workers without what Python does at its end."""
    if groups.is_initialized():
        groups.destroy_process_group()
    guard.leave()
