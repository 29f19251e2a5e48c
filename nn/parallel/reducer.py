"""Averages gradients over processes while backward still runs. Li et al., PyTorch Distributed, VLDB 2020.

Each parameter has a hook that runs when its gradient is there. It copies the gradient into its bucket; a bucket whose
gradients are all there is reduced, in the same order in every process. When all are under way, a callback at the end
of the backward waits for them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from flambeau.core import events
from flambeau.core.autograd.policy import queue_callback
from flambeau.core.dtype import int32, int64
from flambeau.core.from_data import tensor
from flambeau.core.graph import Leaf, edge_of, place_of
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.parallel.buckets import Bucket, GradBucket, divided
from flambeau.nn.parallel.processes import Collectives, Group


class Options(NamedTuple):
    """How gradients are reduced: arguments of DistributedDataParallel."""

    limits: Sequence[int]  #: bytes of the buckets, the last one for all further ones
    views: bool = False  #: whether gradients are views of the buckets
    find_unused: bool = False
    static: bool = False
    skip_unused: bool = False  #: whether buckets of nothing but unused parameters are not reduced


Hook = Callable[[Any, GradBucket], Any]  # Any: the hook's own state, and a Future


def _arrived(reducer: weakref.ref[Reducer], number: int, p: Tensor) -> None:
    """The hook of a parameter; the reducer is gone when its DistributedDataParallel is."""
    found = reducer()
    if found is not None and found.expecting:
        found.arrived(number)


def leaves_of(outputs: Sequence[Tensor]) -> set[Leaf]:
    """Where the graph of some results ends: the leaves that backward from them reaches."""
    stack = [place_of(edge)[0] for t in outputs if (edge := edge_of(t)) is not None]
    seen: set[Any] = set(stack)
    while stack:
        node = stack.pop()
        for edge in () if node.__class__ is Leaf else node.edges:
            below = None if edge is None else place_of(edge)[0]
            if below is not None and below not in seen:
                seen.add(below)
                stack.append(below)
    return {node for node in seen if node.__class__ is Leaf}


class Reducer:
    """Of parameters with their names, in the order of the module; ``group`` is of ``size`` processes."""

    def __init__(self, named: Sequence[tuple[str, Tensor]], talk: Collectives, group: Group, options: Options):
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.talk, self.group, self.options = talk, group, options
        self.size = talk.get_world_size(group)
        self.divisor: float = self.size
        self.alone = self.size == 1  # nothing is to be reduced: gradients are those of all processes as they are
        self.hook: Hook | None = None
        self.state: Any = None  # the hook's
        self.buckets: list[Bucket] = []
        self.place: list[Bucket] = []
        self.expecting = False  # whether gradients that arrive are to be reduced
        self.started = False  # whether some have arrived, and the reduction has not ended
        self.ready: set[int] = set()
        self.next = 0  # which bucket is reduced next
        self.arrivals: list[int] = []
        self.rebuilt = False
        self.unused: list[int] = []  # by this process, in this iteration
        self.used: list[int] | None = None  # by any process: a count for each parameter, None where all are
        self._map: tuple[Tensor, Any] | None = None  # the counts, and their reduction under way
        self.uses: list[int] | None = None  # in a static graph: how often each gradient comes, once it is known
        self.awaited: list[int] = []
        self._build(range(len(self.parameters) - 1, -1, -1))
        me = weakref.ref(self)
        handles = [
            p.register_post_accumulate_grad_hook(partial(_arrived, me, i)) for i, p in enumerate(self.parameters)
        ]
        weakref.finalize(self, _remove, handles)

    def use(self, hook: Hook, state: Any) -> None:  # Any: the hook's own
        """Let a communication hook reduce the buckets."""
        self.hook, self.state, self.alone = hook, state, False

    def _build(self, order: Sequence[int]) -> None:
        groups = divided(self.parameters, order, self.options.limits)
        self.buckets = [Bucket(i, numbers, self.parameters) for i, numbers in enumerate(groups)]
        place: dict[int, Bucket] = {n: b for b in self.buckets for n in b.numbers}
        self.place = [place[n] for n in range(len(self.parameters))]

    # -- before and after the forward ------------------------------------------------------------
    def begin(self) -> None:
        """Before a forward: the reduction before has ended; buckets are made anew once, in the order of arrival."""
        self._require_ended()
        if (
            not self.alone
            and not self.rebuilt
            and self.arrivals
            and not (self.options.find_unused and not self.options.static)
        ):
            self.rebuild()

    def rebuild(self) -> None:
        """Make the buckets anew in the order in which the gradients arrived in the first process of the group."""
        self.rebuilt = True
        mine = dict.fromkeys(self.arrivals)
        order = [*mine, *(n for b in self.buckets for n in b.numbers if n not in mine)]
        if self.size > 1:
            shared = tensor(order, dtype=int64, device=self.parameters[0].device)
            self.talk.broadcast(shared, group=self.group, group_src=0)
            order = shared.tolist()
        self._build(order)

    def prepare(self, outputs: Sequence[Tensor]) -> None:
        """After a forward whose gradients are to be reduced; ``outputs`` are the tensors that it gave.

        A recording of the forward does it again in each replay.
        """
        unused: list[int] = []
        if self.options.static:
            unused = [n for n, times in enumerate(self.uses or ()) if not times]
        elif self.options.find_unused:
            reached = leaves_of(outputs)
            unused = [n for n, p in enumerate(self.parameters) if edge_of(p) not in reached]
        events.host(self._expect, *unused)

    def _expect(self, *unused: int) -> None:
        self._require_ended()
        self._reset()
        self.expecting, self.unused = True, list(unused)
        if self.alone:
            self.expecting = not self.options.static
            self.ready.update(unused)

    def _reset(self) -> None:
        self.ready.clear()
        self.next, self.started, self._map = 0, False, None
        if self.alone:
            return
        self.awaited = list(self.uses or ())
        if not self.options.static:
            self.used = None
        for bucket in self.buckets:
            bucket.left, bucket.work = len(bucket.numbers), None

    def pause(self) -> None:
        """After a forward whose gradients stay those of this process."""
        events.host(self._pause)

    def _pause(self) -> None:
        self.expecting = False

    def _end(self) -> None:
        self.started = self.expecting = False

    def _require_ended(self) -> None:
        if not self.started:
            return
        missing = [n for n in range(len(self.parameters)) if n not in self.ready]
        names = ", ".join(f"{self.names[n]} ({n})" for n in missing)
        raise RuntimeError(
            "DistributedDataParallel: expected to have finished reduction in the prior iteration before starting a "
            f"new one, but in process {self.talk.get_rank(self.group)} no gradient came for {len(missing)} of "
            f"{len(self.parameters)} parameters: {names or 'none: backward raised an error'}. Parameters that do not "
            "take part in the loss need find_unused_parameters=True, or requires_grad=False before the module is "
            "wrapped; all outputs of the forward are to take part in the loss, unless that is set"
        )

    # -- in backward -----------------------------------------------------------------------------
    def arrived(self, number: int) -> None:
        """The gradient of a parameter is there."""
        first, self.started = not self.started, True
        if self.alone:
            self._require_first(number)
            self.ready.add(number)
            if len(self.ready) == len(self.parameters):
                events.host(self._end)
            return
        if self.options.static:
            if self.uses is None:
                self._count(number, first)
                return
            self.awaited[number] -= 1
            if self.awaited[number] > 0:
                return
        self._require_first(number)
        if first:
            for other in self.unused:
                self._enter(other)
        if not self.rebuilt:
            self.arrivals.append(number)
        self._enter(number)

    def _require_first(self, number: int) -> None:
        if number in self.ready:
            raise RuntimeError(
                f"DistributedDataParallel: expected to mark a variable ready only once, but the gradient of "
                f"{self.names[number]!r} ({number}) came a second time. It is used in several backward passes after "
                "one forward, as reentrant checkpoints of shared parameters do: use static_graph=True, or "
                "checkpoint(..., use_reentrant=False); or call forward before each backward"
            )

    def _count(self, number: int, first: bool) -> None:
        """The first iteration of a static graph: everything is reduced at the end of the outermost backward."""
        if first:
            events.refuse("DistributedDataParallel learns in this iteration how its static graph uses parameters")
            self.awaited = [0] * len(self.parameters)
            queue_callback(self._counted, outermost=True)
        self.awaited[number] += 1
        if self.awaited[number] == 1:
            self.arrivals.append(number)

    def _counted(self) -> None:
        self.uses = self.awaited
        self.unused = [n for n, times in enumerate(self.uses) if not times]
        for number in range(len(self.parameters)):
            self._enter(number)

    def _enter(self, number: int) -> None:
        """Copy a gradient into its bucket, and reduce the buckets that are complete by it."""
        self.ready.add(number)
        bucket = self.place[number]
        self._copy(number, bucket.views[number])
        bucket.left -= 1
        while self.next < len(self.buckets) and not self.buckets[self.next].left:
            self._launch(self.buckets[self.next])
            self.next += 1
            if self.next == len(self.buckets):
                self._share_used()
                queue_callback(self._finish, outermost=True)

    def _copy(self, number: int, view: Tensor) -> None:
        p = self.parameters[number]
        grad = p.grad
        if grad is view:
            return
        with no_grad():
            if grad is None:
                view.zero_()
                return
            if grad.is_sparse:
                raise RuntimeError(
                    f"DistributedDataParallel: the gradient of {self.names[number]!r} is sparse, which buckets cannot "
                    "hold; use sparse=False"
                )
            view.copy_(grad)
        if self.options.views:
            p.grad = view

    def _launch(self, bucket: Bucket) -> None:
        if self._skips(bucket):
            return
        with no_grad():
            if self.hook is None:
                if self.divisor != 1:
                    bucket.flat.div_(self.divisor)
                bucket.work = self.talk.all_reduce(bucket.flat, group=self.group, async_op=True)
            else:
                bucket.work = self.hook(self.state, GradBucket(bucket, bucket is self.buckets[-1]))
                if not hasattr(bucket.work, "wait"):
                    raise TypeError(
                        "DistributedDataParallel: a communication hook returns a Future of the reduced tensor, got "
                        f"{type(bucket.work).__name__}"
                    )

    def _skips(self, bucket: Bucket) -> bool:
        return self.options.skip_unused and set(bucket.numbers) <= set(self.unused)

    def _share_used(self) -> None:
        """Begin to count in how many processes each parameter was used, where that can differ."""
        known = self.options.static and self.used is not None
        if self.options.skip_unused or known or not (self.options.find_unused or self.options.static):
            return
        unused = set(self.unused)
        counts = [int(n not in unused) for n in range(len(self.parameters))]
        if self.size == 1:
            self.used = counts
            return
        found = tensor(counts, dtype=int32, device=self.parameters[0].device)
        self._map = found, self.talk.all_reduce(found, group=self.group, async_op=True)

    def _finish(self) -> None:
        """Wait for all buckets; the gradients are then those of all processes."""
        with no_grad():
            for bucket in self.buckets:
                self._collect(bucket)
            if self._map is not None:
                found, work = self._map
                work.wait()
                self.used, self._map = found.tolist(), None
            for bucket in self.buckets:
                self._hand_out(bucket)
        events.host(self._end)

    def _collect(self, bucket: Bucket) -> None:
        work, bucket.work = bucket.work, None
        if work is None:
            return
        result = work.wait()
        if self.hook is not None:
            found = result[0] if isinstance(result, (list, tuple)) else result
            if not isinstance(found, Tensor):
                raise TypeError(
                    "DistributedDataParallel: the Future of a communication hook holds the reduced tensor, got "
                    f"{type(found).__name__}"
                )
            if found is not bucket.flat:
                bucket.flat.copy_(found.reshape(bucket.flat.shape))

    def _hand_out(self, bucket: Bucket) -> None:
        for number, p in zip(bucket.numbers, bucket.parameters, strict=True):
            if self.used is not None and not self.used[number] or self._skips(bucket):
                continue  # by nobody: what is there stays as it is
            view, grad = bucket.views[number], p.grad
            if grad is view:
                continue
            if self.options.views:
                p.grad = view
            elif grad is None:
                p.grad = view.clone()
            else:
                grad.copy_(view)

    # -- for processes that have no inputs any more ------------------------------------------------
    def shadow(self) -> None:
        """Take part in a reduction with gradients of zero; the gradients here stay as they are."""
        self._reset()
        with no_grad():
            for bucket in self.buckets:
                bucket.flat.zero_()
                self._launch(bucket)
            self.unused = list(range(len(self.parameters)))
            self._share_used()
            for bucket in self.buckets:
                self._collect(bucket)
            if self._map is not None:
                self._map[1].wait()
        if not self.arrivals:
            self.arrivals = [n for b in self.buckets for n in b.numbers]
        self._reset()


def _remove(handles: Sequence[Any]) -> None:
    for handle in handles:
        handle.remove()
