"""What the programs of ranks share that train by DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import flambeau as fb
import flambeau.distributed as dist
from benchmarks.workloads import WORKLOADS, Training
from flambeau import nn

SIZES = {
    "lenet": dict(width=4, side=12, hidden=16),
    "gpt": dict(batch=8, vocabulary=17, length=8, width=16, layers=2, heads=2),
    "lstm": dict(features=4, length=6, hidden=8),
}
SMALL = 0.001  # MiB of a bucket: several of them in small models


def begin() -> None:
    """Take part in the job, on one thread."""
    dist.init_process_group()
    fb.set_num_threads(1)


def part(values: Any) -> Any:
    """This rank's part of a batch."""
    return values.chunk(dist.get_world_size())[dist.get_rank()]


def mean_of(value: float) -> float:
    """The mean over the ranks."""
    found = fb.tensor([value], dtype=fb.float64)
    dist.all_reduce(found)
    return found.item() / dist.get_world_size()


def shared(training: Training, wrap: Callable[[Any], Any]) -> Training:
    """A training of this rank's part of the batch, with a wrapped model."""
    training.model = wrap(training.model)
    training.x, training.target = part(training.x), part(training.target)
    return training


def losses(name: str, wrap: Callable[[Any], Any], steps: int = 5, optimizer: Any = None) -> list[float]:
    training = shared(Training(fb, WORKLOADS[name], SIZES[name]), wrap)
    return [mean_of(training.step()) for _ in range(steps)]


def whole(name: str, steps: int = 5) -> list[float]:
    """The losses of one rank with the whole batch."""
    training = Training(fb, WORKLOADS[name], SIZES[name])
    return [training.step() for _ in range(steps)]


def close(one: Any, other: Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=tolerance, atol=tolerance)


def same_everywhere(t: Any) -> None:
    """The tensor is the same in all ranks."""
    first = t.detach().clone()
    dist.broadcast(first, 0)
    assert bool((first == t).all()), (first, t)


def network(seed: int = 0) -> nn.Sequential:
    fb.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def batch(rows: int = 8) -> Any:
    return fb.tensor(np.random.default_rng(7).standard_normal((rows, 4), "f"))


def mean_gradients(model: Any, x: Any) -> list[Any]:
    """Those of one rank with the whole batch, of the mean of squares."""
    model.zero_grad()
    model(x).square().mean().backward()
    found = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return found


def trained_once(model: Any, optimizer: Any, x: Any) -> Any:
    """Train on the mean of squares; the loss before that."""
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss


def trained(model: Any, x: Any, steps: int) -> list[float]:
    optimizer = fb.optim.SGD(model.parameters(), lr=0.1)
    return [trained_once(model, optimizer, x).item() for _ in range(steps)]


def gradients_are(ddp: Any, wanted: list[Any]) -> None:
    for (name, p), other in zip(ddp.module.named_parameters(), wanted, strict=True):
        assert (p.grad is None) == (other is None), name
        if other is not None:
            close(p.grad.numpy(), other.numpy())
