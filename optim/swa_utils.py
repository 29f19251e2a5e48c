"""Averages of a model's parameters over a training. Izmailov et al., arXiv:1803.05407."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from flambeau.core import dtype as dt
from flambeau.core.device import DeviceLike
from flambeau.core.from_data import tensor
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module
from flambeau.nn.norm import _BatchNorm
from flambeau.optim.lr_scheduler.base import Anneal, Choices, LRScheduler, PerGroup, per_group
from flambeau.optim.optimizer import Optimizer

#: From an average, the new value and the count so far to the next average; Averages does so on lists, in place.
Average = Callable[[Tensor, Tensor, int], Tensor]
Averages = Callable[[list[Tensor], list[Tensor], int], None]


def get_swa_avg_fn() -> Average:
    """The plain average of all models so far."""
    return lambda average, new, count: average + (new - average) / (count + 1)


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """The running average: decay of the old, the rest of the new."""
    if not 0 <= decay <= 1:
        raise ValueError(f"get_ema_avg_fn: decay must be between 0 and 1, got {decay}")
    return lambda average, new, count: average * decay + new * (1 - decay)


def _many(one: Average) -> Averages:
    def update(averages: list[Tensor], new: list[Tensor], count: int) -> None:
        for a, n in zip(averages, new, strict=True):
            a.copy_(n if a.dtype is dt.bool_ else one(a, n, count))

    return update


def get_swa_multi_avg_fn() -> Averages:
    """get_swa_avg_fn on lists, in place."""
    return _many(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Averages:
    """get_ema_avg_fn on lists, in place."""
    return _many(get_ema_avg_fn(decay))


class AveragedModel(Module):
    """A copy of a model whose parameters are averages over what the model's were at each ``update_parameters``."""

    n_averaged: Tensor

    def __init__(
        self, model: Module, device: DeviceLike = None, avg_fn: Average | None = None,
        multi_avg_fn: Averages | None = None, use_buffers: bool = False,
    ):  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("AveragedModel: give avg_fn or multi_avg_fn, not both")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, dtype=dt.int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: object, **kwargs: object) -> Any:  # Any: as the model's own
        """What the averaged model computes."""
        return self.module(*args, **kwargs)

    def _tensors(self, module: Module) -> list[Tensor]:
        chained = itertools.chain(module.parameters(), module.buffers()) if self.use_buffers else module.parameters()
        return [t.detach() for t in chained]

    def update_parameters(self, model: Module) -> None:
        """Take the model's present parameters into the averages, each on the device where its average is."""
        own = self._tensors(self.module)
        new = [t.to(a.device) for a, t in zip(own, self._tensors(model), strict=True)]
        count = self.n_averaged.item()
        with no_grad():
            if count == 0:
                for a, n in zip(own, new, strict=True):
                    a.copy_(n)
            else:
                self._average(own, new, count)
            if not self.use_buffers:
                for a, n in zip(self.module.buffers(), model.buffers(), strict=True):
                    a.detach().copy_(n.detach())
            self.n_averaged.add_(1)

    def _average(self, own: list[Tensor], new: list[Tensor], count: int) -> None:
        update = self.multi_avg_fn or _many(self.avg_fn or get_swa_avg_fn())
        groups: dict[Any, list[tuple[Tensor, Tensor]]] = {}  # a function of lists may join them
        for a, n in zip(own, new, strict=True):
            groups.setdefault((a.device, a.dtype), []).append((a, n))
        for members in groups.values():
            update([a for a, _ in members], [n for _, n in members], count)


def update_bn(
    loader: Iterable[Tensor | list[Tensor] | tuple[Tensor, ...]], model: Module, device: DeviceLike = None
) -> None:
    """Compute the running statistics of the batch norms anew over ``loader``'s batches."""
    momenta = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for m in momenta:
        m.reset_running_stats()
        m.momentum = None
    with no_grad():
        for batch in loader:
            given = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(given if device is None else given.to(device))
    for m, momentum in momenta.items():
        m.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the rate as it is to ``swa_lr`` in ``anneal_epochs``, then constant."""

    _choices: ClassVar[Choices] = {"_anneal_strategy": ("cos", "linear")}

    def __init__(
        self, optimizer: Optimizer, swa_lr: PerGroup[float], anneal_epochs: int = 10, anneal_strategy: Anneal = "cos",
        last_epoch: int = -1,
    ):  # fmt: skip
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"SWALR: anneal_strategy must be one of 'cos' or 'linear', got {anneal_strategy!r}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs must be a non-negative integer, got {anneal_epochs}")
        for group, lr in zip(optimizer.param_groups, per_group(optimizer, "swa_lr", swa_lr), strict=True):
            group["swa_lr"] = lr
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, t: float) -> float:
        t = max(0.0, min(1.0, t))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[float]:
        step = self._step_count - 1
        length = max(1, self.anneal_epochs) if self.anneal_epochs == 0 else self.anneal_epochs
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share((step - 1) / length), self._share(step / length)
        lrs = []
        for group, lr in zip(self.optimizer.param_groups, self._lrs, strict=True):
            start = group["swa_lr"] if before == 1 else (lr - before * group["swa_lr"]) / (1 - before)
            lrs.append(group["swa_lr"] * now + start * (1 - now))
        return lrs
