"""Many small collectives as one: less waiting for each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flambeau.core.tensor import Tensor
from flambeau.distributed import reductions
from flambeau.distributed.collectives import tensors as _tensors
from flambeau.distributed.groups import Group, member
from flambeau.distributed.plans import Plan, plan
from flambeau.distributed.reductions import ReduceOp, Reduction
from flambeau.distributed.work import Timeout, Work


def all_reduce_coalesced(
    tensors: Tensor | Sequence[Tensor], op: Reduction = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Reduce each tensor of a list over all ranks, in place; those of one dtype travel together."""
    name = "all_reduce_coalesced"
    pg = member(group, name)
    if pg is None:
        return None
    given = _tensors(name, "tensors", [tensors] if isinstance(tensors, Tensor) else tensors)
    if not given:
        raise ValueError(f"{name}: tensors needs at least one")
    calls = [_reduced(name, reductions.checked(name, op, t.dtype), [t]) for t in given]
    return pg.together(merged(calls), async_op)


def all_gather_coalesced(
    output_tensor_lists: Sequence[Sequence[Tensor]], input_tensor_list: Sequence[Tensor], group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Gather each tensor of a list from all ranks: ``output_tensor_lists[i][j]`` is the j-th one of rank i."""
    name = "all_gather_coalesced"
    pg = member(group, name)
    if pg is None:
        return None
    given = _tensors(name, "input_tensor_list", input_tensor_list)
    if len(output_tensor_lists) != pg.size():
        raise ValueError(
            f"{name}: output_tensor_lists needs a list for each of {pg.size()} ranks, got {len(output_tensor_lists)}"
        )
    lists = [_tensors(name, f"output_tensor_lists[{i}]", part) for i, part in enumerate(output_tensor_lists)]
    for i, part in enumerate(lists):
        if [(t.dtype, t.shape) for t in part] != [(t.dtype, t.shape) for t in given]:
            raise ValueError(f"{name}: output_tensor_lists[{i}] must have the dtypes and shapes of input_tensor_list")
    calls = []
    for j, x in enumerate(given):
        counts = (x.numel(),) * pg.size()
        mark = f"{x.dtype.name} {list(x.shape)}"
        calls.append(plan(name, "all_gather", (counts,), reads=[x], writes=[p[j] for p in lists], mark=mark))
    return pg.together(calls, async_op) if calls else None


class Coalesced:
    """What a block of coalesced collectives gives: :meth:`wait` waits for all of them."""

    def __init__(self) -> None:
        self.works: list[Work] = []

    def append(self, work: Work | None) -> None:
        """Wait for this one too."""
        if work is not None:
            self.works.append(work)

    def wait(self, timeout: Timeout = None) -> None:
        """Wait until all are over."""
        for work in self.works:
            work.wait(timeout)
        self.works = []


@contextmanager
def coalescing_manager(group: Group = None, device: object = None, async_ops: bool = False) -> Iterator[Coalesced]:
    """Collectives inside the block begin together at its end; with ``async_ops`` the target's ``wait`` ends them."""
    found = Coalesced()
    pg = member(group, "coalescing_manager")
    if pg is None:
        yield found
        return
    calls: list[tuple[Plan, Sequence[Tensor]]] = []
    before, pg.collecting = pg.collecting, calls
    try:
        yield found
    finally:
        pg.collecting = before
    if calls:
        found.append(pg.together(merged(calls), async_ops))


def merged(calls: Sequence[tuple[Plan, Sequence[Tensor]]]) -> list[tuple[Plan, Sequence[Tensor]]]:
    """The same calls with reductions of one op, dtype and device as one, where the first of them stands."""
    found: list[tuple[Plan, Sequence[Tensor]]] = []
    places: dict[tuple[Any, ...], int] = {}
    for made, given in calls:
        if made.method != "all_reduce":
            found.append((made, given))
            places.clear()  # what comes behind may build on it
            continue
        same = made.name, made.params, made.keys[0]
        if same in places:
            at = places[same]
            found[at] = _reduced(made.name, made.params[0], [*found[at][1], *given])
        else:
            places[same] = len(found)
            found.append((made, given))
    return found


def _reduced(name: str, op: Reduction, given: Sequence[Tensor]) -> tuple[Plan, Sequence[Tensor]]:
    how = reductions.name_of(op)
    shapes = ", ".join(str(list(t.shape)) for t in given)
    return plan(name, "all_reduce", (op,), both=given, detail=how, mark=f"{how} {given[0].dtype.name} {shapes}")
