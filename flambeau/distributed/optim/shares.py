"""Which rank keeps the state for which part of an optimizer's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import flambeau.distributed as dist
from flambeau.core.creation import empty, zeros
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.parameter import Parameter
from flambeau.optim import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop

#: Rules that change each element by its own gradient and state alone, so that a parameter may be cut anywhere.
ELEMENTWISE: Final = (ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop)


@dataclass
class Slice:
    """Elements ``start`` to ``end`` of a parameter in row-major order, as a parameter of this rank's optimizer."""

    param: Tensor
    start: int
    end: int
    own: Tensor  # the parameter itself where it is kept whole

    @property
    def is_whole(self) -> bool:
        """Whether it is the parameter itself."""
        return self.own is self.param

    @property
    def shares(self) -> bool:
        """Whether a change of it changes the parameter."""
        return self.is_whole or self.param.is_contiguous()

    def take(self) -> None:
        """Take over the parameter's values, where they are not in the same memory, and its gradient."""
        if self.is_whole:
            return
        with no_grad():
            if self.shares:
                if self.own.data_ptr() != (view := self._view(self.param)).data_ptr():
                    self.own.data = view  # the parameter was moved since
            else:
                self.own.copy_(self._view(self.param))
            grad = self.param.grad
            self.own.grad = None if grad is None else self._view(grad).detach()

    def _view(self, t: Tensor) -> Tensor:
        return t.detach().reshape(-1)[self.start : self.end]

    def of(self, value: Any) -> Any:
        """This part of a tensor of the parameter's shape; other values as they are."""
        if self.is_whole or not isinstance(value, Tensor) or value.shape != self.param.shape:
            return value
        return self._view(value)


def sliced(params: list[Tensor], parts: int, rank: int) -> list[Slice]:
    """The slices of rank ``rank``: one of ``parts`` equal runs of all elements, the last ones shorter."""
    total = sum(p.numel() for p in params)
    chunk = -(-total // parts)
    low, high, at, found = rank * chunk, (rank + 1) * chunk, 0, []
    for p in params:
        start, end = max(low - at, 0), min(high - at, p.numel())
        if start < end:
            own = Parameter(p.detach().reshape(-1)[start:end], p.requires_grad)
            found.append(Slice(p, start, end, own))
        at += p.numel()
    return found


def bins(params: list[Tensor], parts: int, load: list[int]) -> list[int]:
    """The rank of each parameter: the largest first, each to the rank that has least so far (``load`` is added to)."""
    owners = [0] * len(params)
    for i in sorted(range(len(params)), key=lambda i: -params[i].numel()):
        owners[i] = min(range(parts), key=lambda r: load[r])
        load[owners[i]] += params[i].numel()
    return owners


class Run:
    """Parameters of one dtype and device of a group, whose elements in a row are cut into equal parts."""

    def __init__(self, params: list[Tensor], parts: int, rank: int, group: Any, as_views: bool):
        self.params, self.parts, self.rank, self.group = params, parts, rank, group
        self.total = sum(p.numel() for p in params)
        self.chunk = -(-self.total // parts)
        self.flat: Tensor | None = None
        if as_views:
            self._gather_up()
        self.slices = sliced(params, parts, rank)

    def _gather_up(self) -> None:
        """Let the parameters be views of one buffer."""
        with no_grad():
            self.flat = zeros(self.parts * self.chunk, dtype=self.params[0].dtype, device=self.params[0].device)
            at = 0
            for p in self.params:
                view = self.flat[at : at + p.numel()].view(p.shape)
                view.copy_(p.detach())
                p.data = view
                at += p.numel()

    def _in_place(self) -> bool:
        """Whether the parameters are still views of the buffer."""
        if self.flat is None:
            return False
        start, size = self.flat.data_ptr(), self.flat.itemsize
        at = 0
        for p in self.params:
            if p.data_ptr() != start + at * size:
                return False
            at += p.numel()
        return True

    def share(self) -> Callable[[], None]:
        """Begin to give all ranks what each has changed; the function ends it."""
        first = self.params[0]
        with no_grad():
            if self._in_place():
                assert self.flat is not None
                whole, mine = self.flat, self.flat[self.rank * self.chunk : (self.rank + 1) * self.chunk].clone()
            else:
                whole = empty(self.parts * self.chunk, dtype=first.dtype, device=first.device)
                mine, at = zeros(self.chunk, dtype=first.dtype, device=first.device), 0
                for s in self.slices:
                    mine[at : at + s.end - s.start].copy_(s.own.detach())
                    at += s.end - s.start
        work = dist.all_gather_into_tensor(whole, mine, group=self.group, async_op=True)

        def end() -> None:
            if work is not None:
                work.wait()
            if whole is not self.flat:
                at = 0
                with no_grad():
                    for p in self.params:
                        p.copy_(whole[at : at + p.numel()].view(p.shape))
                        at += p.numel()

        return end


class Bins:
    """Parameters that are kept whole, each by one rank."""

    def __init__(self, params: list[Tensor], parts: int, rank: int, group: Any, load: list[int]):
        self.params, self.group = params, group
        self.owners = bins(params, parts, load)
        self.slices = [Slice(p, 0, p.numel(), p) for p, r in zip(params, self.owners, strict=True) if r == rank]

    def share(self) -> Callable[[], None]:
        """Begin to give all ranks what each has changed; the function ends it."""
        works = []
        for p, owner in zip(self.params, self.owners, strict=True):
            if math.prod(p.shape):
                t = p.detach()
                sent = t if t.is_contiguous() else t.contiguous()
                works.append((dist.broadcast(sent, group_src=owner, group=self.group, async_op=True), t, sent))

        def end() -> None:
            for work, t, sent in works:
                if work is not None:
                    work.wait()
                if sent is not t:
                    with no_grad():
                        t.copy_(sent)

        return end
