"""The parameters of one module, gathered and reduced together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flambeau.distributed as dist
from flambeau.core import dtype as dt
from flambeau.core.creation import empty, zeros
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed.fsdp.meshes import Ranks
from flambeau.distributed.fsdp.parameters import ShardedParam
from flambeau.distributed.fsdp.policies import MixedPrecisionPolicy


@dataclass
class _Sent:
    """What is on its way: the tensors must live until it is there."""

    params: list[ShardedParam]
    out: Tensor
    source: Tensor
    work: Any  # a Work, or None where nothing is to be sent

    def wait(self) -> None:
        if self.work is not None:
            self.work.wait()
            self.work = None


@dataclass
class _Reduction(_Sent):
    scale: float = 1.0


class ParamGroup:
    """Parameters that are gathered by one call per dtype, and whose gradients are reduced by one."""

    def __init__(self, params: Sequence[ShardedParam], ranks: Ranks, precision: MixedPrecisionPolicy):
        self.params, self.ranks, self.precision = list(params), ranks, precision
        self.is_whole = False
        self.sync = self.all_reduce = True
        self.divide_by: float | None = None
        self.only_sums = False
        self._gathering: list[_Sent] = []
        self._reducing: list[_Reduction] = []
        self._kept: dict[tuple[DType, Device], Tensor] = {}  # sums over the shard group that wait for an all-reduce

    # -- parameters ----------------------------------------------------------------------------------
    def start_gather(self) -> None:
        """Begin to gather the parameters, if they are not there."""
        if self.is_whole or self._gathering:
            return
        for p in self.params:
            p.refresh()
        for (dtype, device), params in self._alike(self.params, self.precision.param_dtype).items():
            self._gathering.append(self._gather(params, dtype, device))

    def _alike(self, params: list[ShardedParam], asked: DType | None) -> dict[tuple[DType, Device], list[ShardedParam]]:
        found: dict[tuple[DType, Device], list[ShardedParam]] = {}
        for p in params:
            found.setdefault((p.gathered_dtype(asked), p.device), []).append(p)
        return found

    def _gather(self, params: list[ShardedParam], dtype: DType, device: Device) -> _Sent:
        width = sum(p.width for p in params)
        with no_grad():
            sent, at = zeros(width, dtype=dtype, device=device), 0
            for p in params:
                p.send_into(sent[at : at + p.width])
                at += p.width
            if self.ranks.parts == 1:
                return _Sent(params, sent, sent, None)
            out = empty(self.ranks.parts * width, dtype=dtype, device=device)
            work = dist.all_gather_into_tensor(out, sent, group=self.ranks.shard_group, async_op=True)
        return _Sent(params, out, sent, work)

    def gather(self) -> None:
        """Have the parameters whole."""
        if self.is_whole:
            return
        self.start_gather()
        for sent in self._gathering:
            sent.wait()
            with no_grad():
                rows, at = sent.out.view(self.ranks.parts, -1), 0
                for p in sent.params:
                    p.show_whole(p.take_from(rows[:, at : at + p.width]))
                    at += p.width
        self._gathering = []
        self.is_whole = True

    def free(self) -> None:
        """Have the shards alone."""
        for sent in self._gathering:
            sent.wait()
        self._gathering = []
        if self.is_whole:
            for p in self.params:
                p.show_shard()
        self.is_whole = False

    def owners(self) -> dict[int, Any]:
        """By the id of its box, each whole parameter's array and how to have it again."""
        return {id(p.whole._box): (p.whole._array, _Again(self, p)) for p in self.params if p.whole is not None}

    # -- gradients -----------------------------------------------------------------------------------
    def start_reduce(self) -> None:
        """Begin to sum the gradients that are there over the ranks."""
        if not self.sync:
            return
        there = [(p, g) for p in self.params if (g := p.take_grad()) is not None]
        grads = dict(there)
        asked = self.precision.reduce_dtype or self.precision.param_dtype
        for (dtype, device), params in self._alike(list(grads), asked).items():
            self._reducing.append(self._reduce(params, [grads[p] for p in params], dtype, device))

    def _reduce(self, params: list[ShardedParam], grads: list[Tensor], dtype: DType, device: Device) -> _Reduction:
        parts, width = self.ranks.parts, sum(p.width for p in params)
        before, after = self._factors(dtype)
        with no_grad():
            rows, at = zeros((parts, width), dtype=dtype, device=device), 0
            for p, g in zip(params, grads, strict=True):
                p.spread_into(rows[:, at : at + p.width], g)
                at += p.width
            if before != 1.0:
                rows.mul_(before)
            if parts == 1:
                return _Reduction(params, rows.view(-1), rows, None, after)
            out = empty(width, dtype=dtype, device=device)
            work = dist.reduce_scatter_tensor(out, rows.view(-1), group=self.ranks.shard_group, async_op=True)
        return _Reduction(params, out, rows, work, after)

    def _factors(self, dtype: DType) -> tuple[float, float]:
        """What gradients are multiplied with before and after they are summed.

        A half could overflow in the sum: half of the division comes before it, as in PyTorch.
        """
        if self.only_sums and self.divide_by is None:
            return 1.0, 1.0
        by = float(self.ranks.size if self.divide_by is None else self.divide_by)
        if dtype is not dt.float16 or by <= 1:
            return 1.0, 1.0 / by
        first = 1.0
        while by % first == 0 and by / first > first:
            first *= 2
        return 1.0 / first, first / by

    def finish_reduce(self) -> None:
        """Wait for the sums, and add them to the gradients of the shards."""
        waiting, self._reducing = self._reducing, []
        for found in waiting:
            found.wait()
            total, at = found.out, 0
            with no_grad():
                if self.ranks.copies > 1 and (total := self._over_copies(total)) is None:
                    continue
                if found.scale != 1.0:
                    total.mul_(found.scale)
                for p in found.params:
                    p.add_grad(total[at : at + p.width])
                    at += p.width

    def _over_copies(self, part: Tensor) -> Any:
        """The sum over the replicas too; None, and the part is kept, where this backward shall not sum over them."""
        key = part.dtype, part.device
        if key in self._kept:
            part.add_(self._kept.pop(key))
        if not self.all_reduce:
            self._kept[key] = part
            return None
        dist.all_reduce(part, group=self.ranks.copy_group)
        return part


class _Again:
    """Has a parameter's values again in backward, after they were given up."""

    def __init__(self, group: ParamGroup, param: ShardedParam):
        self.group, self.param = group, param

    def __call__(self) -> Tensor:
        self.group.gather()
        assert self.param.whole is not None
        return self.param.whole
