"""Collectives through which gradients flow, under the names of torch.distributed.nn.functional.

The gradient is that of the sum of what all ranks compute from the results: what each rank's loss adds to a value is
added up, wherever the value went. So the backward of a collective is a collective too, and every rank must run it; it
is differentiable in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core import creation
from flambeau.core.autograd.function import Function, FunctionCtx
from flambeau.core.tensor import Tensor
from flambeau.distributed import collectives
from flambeau.distributed.collectives import peer
from flambeau.distributed.groups import Group, group_of
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.reductions import PremulSum, ReduceOp, Reduction, name_of

Grads = Any  # tensors, and None where an argument has no gradient


# -- reductions --------------------------------------------------------------------------------------
class _AllReduce(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, op: Reduction, pg: ProcessGroup) -> Tensor:
        ctx.op, ctx.pg = op, pg
        out = tensor.detach().clone().contiguous()
        collectives.all_reduce(out, op, pg)
        if op not in (ReduceOp.SUM, ReduceOp.AVG) and not isinstance(op, PremulSum):
            ctx.save_for_backward(tensor, out)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Grads:
        op, pg = ctx.op, ctx.pg
        if op in (ReduceOp.SUM, ReduceOp.AVG) or isinstance(op, PremulSum):
            together = _AllReduce.apply(grad, ReduceOp.SUM if isinstance(op, PremulSum) else op, pg)
            return together * op.factor if isinstance(op, PremulSum) else together, None, None
        if op not in (ReduceOp.MIN, ReduceOp.MAX, ReduceOp.PRODUCT):
            raise ValueError(f"all_reduce: {name_of(op)} has no gradient")
        tensor, out = ctx.saved_tensors
        together = _AllReduce.apply(grad, ReduceOp.SUM, pg)
        if op is ReduceOp.PRODUCT:
            others = [t for i, t in enumerate(all_gather(tensor, pg)) if i != pg.rank()]
            for other in others:
                together = together * other.conj() if other.is_complex() else together * other
            return together, None, None
        mine = (tensor == out).to(grad.dtype)  # where several ranks have the extreme value, each gets a part
        return together * mine / _AllReduce.apply(mine, ReduceOp.SUM, pg), None, None


def all_reduce(tensor: Tensor, op: Reduction = ReduceOp.SUM, group: Group = None) -> Tensor:
    """Reduce a tensor over all ranks; each has the result, in a new tensor."""
    result: Tensor = _AllReduce.apply(tensor, op, group_of(group))
    return result


class _Reduce(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, dst: int, op: Reduction, pg: ProcessGroup) -> Tensor:
        if op not in (ReduceOp.SUM, ReduceOp.AVG):
            raise ValueError(f"reduce: {name_of(op)} has no gradient here; all_reduce has it")
        ctx.dst, ctx.pg, ctx.op = dst, pg, op
        out = tensor.detach().clone().contiguous()
        collectives.reduce(out, op=op, group=pg, group_dst=dst)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Grads:
        found = _Broadcast.apply(grad, ctx.dst, ctx.pg)
        return found / ctx.pg.size() if ctx.op is ReduceOp.AVG else found, None, None, None


def reduce(tensor: Tensor, dst: int, op: Reduction = ReduceOp.SUM, group: Group = None) -> Tensor:
    """Reduce a tensor (by SUM or AVG) over all ranks to rank ``dst``; elsewhere the result is the rank's own tensor.

    Gradients come from the result on ``dst`` alone.
    """
    pg = group_of(group)
    result: Tensor = _Reduce.apply(tensor, peer(pg, "reduce", "dst", dst, None), op, pg)
    return result


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, op: Reduction, pg: ProcessGroup, output: Tensor, *inputs: Tensor) -> Tensor:
        if op not in (ReduceOp.SUM, ReduceOp.AVG):
            raise ValueError(f"reduce_scatter: {name_of(op)} has no gradient here; all_reduce has it")
        ctx.pg, ctx.op, ctx.shapes = pg, op, [t.shape for t in inputs]
        out = creation.empty_like(output)
        collectives.reduce_scatter(out, [t.contiguous() for t in inputs], op, pg)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Grads:
        parts = _AllGatherOf.apply(ctx.pg, ctx.shapes, grad.contiguous())
        scale = ctx.pg.size() if ctx.op is ReduceOp.AVG else 1
        return None, None, None, *(p / scale if scale > 1 else p for p in parts)


class _AllGatherOf(Function):
    """Gather tensors whose shapes are known from all ranks."""

    @staticmethod
    def forward(ctx: FunctionCtx, pg: ProcessGroup, shapes: Sequence[Sequence[int]], tensor: Tensor) -> Any:
        ctx.pg = pg
        out = [creation.empty(tuple(shape), dtype=tensor.dtype, device=tensor.device) for shape in shapes]
        collectives.all_gather(out, tensor.detach(), pg)
        return tuple(out)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Grads:
        mine = creation.empty_like(grads[ctx.pg.rank()])
        return None, None, _ReduceScatter.apply(ReduceOp.SUM, ctx.pg, mine, *grads)


def reduce_scatter(
    output: Tensor, input_list: Sequence[Tensor], op: Reduction = ReduceOp.SUM, group: Group = None
) -> Tensor:
    """Reduce a list of tensors (by SUM or AVG) over all ranks; rank i gets the i-th, in the form of ``output``."""
    result: Tensor = _ReduceScatter.apply(op, group_of(group), output, *input_list)
    return result


def all_gather(tensor: Tensor, group: Group = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks, of one shape."""
    pg = group_of(group)
    result: tuple[Tensor, ...] = _AllGatherOf.apply(pg, [tensor.shape] * pg.size(), tensor)
    return result


# -- from one and to one -----------------------------------------------------------------------------
class _Broadcast(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, src: int, pg: ProcessGroup) -> Tensor:
        ctx.src, ctx.pg = src, pg
        out = tensor.detach().clone().contiguous()
        collectives.broadcast(out, group=pg, group_src=src)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Grads:
        together = _Reduce.apply(grad, ctx.src, ReduceOp.SUM, ctx.pg)
        return together if ctx.pg.rank() == ctx.src else together * 0, None, None


def broadcast(tensor: Tensor, src: int, group: Group = None) -> Tensor:
    """The tensor of rank ``src`` on every rank; the others' give the shape."""
    pg = group_of(group)
    result: Tensor = _Broadcast.apply(tensor, peer(pg, "broadcast", "src", src, None), pg)
    return result


class _Gather(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, dst: int, pg: ProcessGroup, tensor: Tensor) -> Any:
        ctx.dst, ctx.pg = dst, pg
        out = [creation.zeros_like(tensor) for _ in range(pg.size())]
        collectives.gather(tensor.detach(), out if pg.rank() == dst else None, group=pg, group_dst=dst)
        return tuple(out)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Grads:
        return None, None, _Scatter.apply(ctx.dst, ctx.pg, *grads)


class _Scatter(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, src: int, pg: ProcessGroup, *tensors: Tensor) -> Tensor:
        ctx.src, ctx.pg = src, pg
        out = creation.zeros_like(tensors[0])
        given = [t.detach() for t in tensors] if pg.rank() == src else None
        collectives.scatter(out, given, group=pg, group_src=src)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Grads:
        return None, None, *_Gather.apply(ctx.src, ctx.pg, grad)


def gather(tensor: Tensor, dst: int = 0, group: Group = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks, of one shape, on rank ``dst``; zeros elsewhere."""
    pg = group_of(group)
    result: tuple[Tensor, ...] = _Gather.apply(peer(pg, "gather", "dst", dst, None), pg, tensor)
    return result


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Group = None) -> Tensor:
    """The tensor of the list of rank ``src`` that is this rank's; the others' lists give the shape."""
    pg = group_of(group)
    result: Tensor = _Scatter.apply(peer(pg, "scatter", "src", src, None), pg, *tensors)
    return result


# -- all to all --------------------------------------------------------------------------------------
class _AllToAll(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, pg: ProcessGroup, shapes: Sequence[Sequence[int]], *tensors: Tensor) -> Any:
        ctx.pg, ctx.shapes = pg, [t.shape for t in tensors]
        first = tensors[0]
        out = [creation.empty(tuple(shape), dtype=first.dtype, device=first.device) for shape in shapes]
        collectives.all_to_all(out, [t.detach() for t in tensors], pg)
        return tuple(out)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Grads:
        return None, None, *_AllToAll.apply(ctx.pg, ctx.shapes, *grads)


def all_to_all(
    output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Group = None
) -> tuple[Tensor, ...]:
    """Give rank i the i-th tensor of the list, and get one of each, in the shapes of ``output_tensor_list``."""
    shapes = [t.shape for t in output_tensor_list]
    result: tuple[Tensor, ...] = _AllToAll.apply(group_of(group), shapes, *input_tensor_list)
    return result


class _AllToAllSingle(Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, pg: ProcessGroup, shape: Sequence[int], into: Sequence[int] | None,
        given: Sequence[int] | None, tensor: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.pg, ctx.shape, ctx.into, ctx.given = pg, tensor.shape, into, given
        out = creation.empty(tuple(shape), dtype=tensor.dtype, device=tensor.device)
        collectives.all_to_all_single(out, tensor.detach(), into, given, pg)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Grads:
        return None, None, None, None, _AllToAllSingle.apply(ctx.pg, ctx.shape, ctx.given, ctx.into, grad)


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None, group: Group = None,
) -> Tensor:  # fmt: skip
    """Cut a tensor along its first dimension, give each rank a part, and get one of each, in the form of ``output``."""
    result: Tensor = _AllToAllSingle.apply(group_of(group), output.shape, output_split_sizes, input_split_sizes, input)
    return result


class _AllGatherBase(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, pg: ProcessGroup, output: Tensor, tensor: Tensor) -> Tensor:
        ctx.pg, ctx.shape = pg, tensor.shape
        out = creation.empty_like(output)
        collectives.all_gather_into_tensor(out, tensor.detach(), pg)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Grads:
        parts = grad.reshape(ctx.pg.size(), *ctx.shape)
        mine = parts[0]
        return None, None, _ReduceScatter.apply(ReduceOp.SUM, ctx.pg, mine, *parts)


def _all_gather_base(output_tensor: Tensor, input_tensor: Tensor, group: Group = None) -> Tensor:
    """The tensors of all ranks, of one size, in one, in the form of ``output_tensor``."""
    result: Tensor = _AllGatherBase.apply(group_of(group), output_tensor, input_tensor)
    return result
