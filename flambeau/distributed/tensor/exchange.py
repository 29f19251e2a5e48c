"""Tensors that change how they lie over the ranks of a group, with the gradients that belong to that.

Each collective has a conjugate, which its gradient takes: the operators f and g of Shoeybi et al., "Megatron-LM",
arXiv:1909.08053, section 3, and those along the sequence of Korthikanti et al., arXiv:2205.05198, section 4.2.
All ranks of the group call each function, in the same order, forward and backward.
"""

from __future__ import annotations

from typing import Any

from flambeau.core.autograd.function import Function
from flambeau.core.creation import empty
from flambeau.core.tensor import Tensor
from flambeau.distributed.collectives import all_gather_into_tensor, all_reduce, reduce_scatter_tensor
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.tensor.placements import Partial, Placement, Shard


def part_size(size: int, ranks: int, what: str) -> int:
    """The size of one of ``ranks`` equal parts.

    >>> part_size(6, 3, "rows")
    2

    Raises:
        ValueError: the parts would not be equal.
    """
    if size % ranks:
        raise ValueError(f"{what}: {size} cannot be divided evenly among {ranks} ranks")
    return size // ranks


def part(x: Tensor, dim: int, group: ProcessGroup) -> Tensor:
    """This rank's part of a tensor that all have."""
    size = part_size(x.shape[dim], group.size(), f"dimension {dim} of a tensor of shape {tuple(x.shape)}")
    return x.narrow(dim, group.rank() * size, size)


def gather(x: Tensor, dim: int, group: ProcessGroup) -> Tensor:
    """The parts of all ranks along a dimension."""
    n, dim = group.size(), dim % x.ndim
    out = empty(n, *x.shape, dtype=x.dtype, device=x.device)
    all_gather_into_tensor(out, x.contiguous(), group)
    shape = list(x.shape)
    shape[dim] *= n
    return out.movedim(0, dim).reshape(shape)


def total(x: Tensor, group: ProcessGroup) -> Tensor:
    """The sum of all ranks' tensors, in a new one."""
    out = x.clone().contiguous()
    all_reduce(out, group=group)
    return out


def scatter_total(x: Tensor, dim: int, group: ProcessGroup) -> Tensor:
    """This rank's part of the sum of all ranks' tensors."""
    n, dim = group.size(), dim % x.ndim
    size = part_size(x.shape[dim], n, f"dimension {dim} of a tensor of shape {tuple(x.shape)}")
    parts = x.unflatten(dim, (n, size)).movedim(dim, 0).contiguous()
    out = empty(*parts.shape[1:], dtype=x.dtype, device=x.device)
    reduce_scatter_tensor(out, parts, group=group)
    return out


class _Copy(Function):
    """All have x, and each computes a summand of what comes of it: the gradients add up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return total(grad, ctx.group), None


class _Total(Function):
    """The conjugate: each has a summand, and all go on with the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        return total(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _Part(Function):
    """All have x, and each goes on with its part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, group: ProcessGroup) -> Tensor:
        ctx.dim, ctx.group = dim, group
        return part(x, dim, group).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return gather(grad, ctx.dim, ctx.group), None, None


class _Gather(Function):
    """The conjugate: each has a part, and all go on with the whole, in the same way or (``apart``) each in its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, group: ProcessGroup, apart: bool) -> Tensor:
        ctx.dim, ctx.group, ctx.apart = dim, group, apart
        return gather(x, dim, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        back = scatter_total if ctx.apart else part
        return back(grad, ctx.dim, ctx.group), None, None, None


class _ScatterTotal(Function):
    """Each has a summand, and goes on with its part of the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, group: ProcessGroup) -> Tensor:
        ctx.dim, ctx.group = dim, group
        return scatter_total(x, dim, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return gather(grad, ctx.dim, ctx.group), None, None


def enter(x: Tensor, group: ProcessGroup, layout: Placement | None = None) -> Tensor:
    """What all ranks have, as the input of work that is divided: each will give a summand of its gradient.

    ``layout`` is how x lies now: Replicate (None), or Shard, where it is gathered.
    """
    if group.size() == 1:
        return x
    if isinstance(layout, Shard):
        return _applied(_Gather, x, layout.dim, group, True)
    if layout is not None and not layout.is_replicate():
        raise ValueError(f"the input must be replicated or sharded, got {layout}")
    return _applied(_Copy, x, group)


def redistribute(x: Tensor, group: ProcessGroup, now: Placement, then: Placement) -> Tensor:
    """A tensor that lies as ``now``, lying as ``then``; its gradient goes the other way.

    Raises:
        ValueError: a tensor is to become partial; parts would not be equal.
    """
    n = group.size()
    if then.is_partial() and not now.is_partial():
        raise ValueError(f"a tensor that is {now} cannot become {then}")
    if n == 1 or _same(x, now, then):
        return x
    if isinstance(now, Partial):
        if now.reduce_op != "sum":
            raise ValueError(f"only sums are reduced, got {now}")
        return _applied(_ScatterTotal, x, then.dim, group) if isinstance(then, Shard) else _applied(_Total, x, group)
    if isinstance(now, Shard):
        x = _applied(_Gather, x, now.dim, group, False)
    return _applied(_Part, x, then.dim, group) if isinstance(then, Shard) else x


def _same(x: Tensor, now: Placement, then: Placement) -> bool:
    if isinstance(now, Shard) and isinstance(then, Shard):
        return now.dim % x.ndim == then.dim % x.ndim
    return now == then


def _applied(function: type[Function], *args: object) -> Tensor:
    found: Tensor = function.apply(*args)
    return found
