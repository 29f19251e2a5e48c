"""Parameters averaged often in small groups of processes, and seldom in large ones."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from flambeau.core import events
from flambeau.distributed.algorithms.model_averaging.averagers import ModelAverager
from flambeau.distributed.algorithms.model_averaging.utils import Groups, average_parameters_or_parameter_groups
from flambeau.distributed.groups import get_rank, get_world_size, new_group

__all__ = ["HierarchicalModelAverager"]


class HierarchicalModelAverager(ModelAverager):
    """Averages by ``period_group_size_dict``: periods with the sizes of the groups, both from small to large.

    In a step that several periods divide, the largest group averages. The last size is that of the whole group.
    ValueError for other orders, for sizes that do not divide the number of processes, and for no periods.
    """

    def __init__(
        self, period_group_size_dict: OrderedDict[int, int] | None = None, warmup_steps: int = 0,
        process_group: Any = None,
    ):  # fmt: skip
        super().__init__(process_group)
        if not period_group_size_dict:
            raise ValueError("HierarchicalModelAverager: expects a non-empty dict of periods and sizes of groups")
        periods, sizes = list(period_group_size_dict), list(period_group_size_dict.values())
        if min(periods) <= 0 or periods != sorted(set(periods)) or sizes != sorted(set(sizes)):
            raise ValueError(
                f"HierarchicalModelAverager: periods and sizes must increase, got {period_group_size_dict}"
            )
        if warmup_steps < 0:
            raise ValueError(
                f"HierarchicalModelAverager: warmup_steps must be a non-negative number, got {warmup_steps}"
            )
        count = get_world_size(self.process_group)
        if sizes[-1] != count or any(count % size for size in sizes):
            raise ValueError(
                f"HierarchicalModelAverager: the last size must be the {count} of the group, and each divide it, got "
                f"{sizes}"
            )
        self.warmup_steps, self.period_process_group_dict = warmup_steps, OrderedDict[int, Any]()
        for period, size in period_group_size_dict.items():
            self.period_process_group_dict[period] = self._mine(size, count)

    def _mine(self, size: int, count: int) -> Any:
        """This process's group among those of a size."""
        if size == count:
            return self.process_group
        rank, ranks = get_rank(self.process_group), self.process_group.ranks
        made = [new_group(list(ranks[i : i + size])) for i in range(0, count, size)]
        return made[rank // size]

    def average_parameters(self, params: Groups) -> None:
        """Average the parameters that have a gradient, if it is time."""
        events.refuse("a model averager counts its steps")
        if self.step >= self.warmup_steps:
            for period, group in reversed(self.period_process_group_dict.items()):
                if self.step % period == 0:
                    average_parameters_or_parameter_groups(params, group)
                    break
        self.step += 1
