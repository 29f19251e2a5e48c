"""Collectives of tensors, under the names of torch.distributed."""

from __future__ import annotations

from flambeau.core.tensor import Tensor
from flambeau.distributed import reductions
from flambeau.distributed.groups import Group, member
from flambeau.distributed.mpi import ANY
from flambeau.distributed.process_group import Call, ProcessGroup, tensor
from flambeau.distributed.reductions import ReduceOp, Reduction
from flambeau.distributed.work import Work


def peer(
    pg: ProcessGroup, call: str, argument: str, rank: int | None, group_rank: int | None, default: int | None = None
) -> int:
    """A rank in the group, of one of the job or of one of the group."""
    if rank is not None and group_rank is not None:
        raise ValueError(f"{call}: give {argument} or group_{argument}, not both")
    if group_rank is not None:
        if not 0 <= group_rank < pg.size():
            raise ValueError(f"{call}: group_{argument}={group_rank} is not in [0, {pg.size()})")
        return int(group_rank)
    rank = default if rank is None else rank
    if rank is None:
        raise ValueError(f"{call}: give {argument} or group_{argument}")
    return pg.rank_of(int(rank), call, argument)


def all_reduce(
    tensor: Tensor, op: Reduction = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Reduce a tensor over all ranks, in place: each has the result."""
    pg = member(group, "all_reduce")
    if pg is None:
        return None
    x = _tensor("all_reduce", "tensor", tensor)
    op = reductions.checked("all_reduce", op, x.dtype)
    call = Call("all_reduce", [x], reductions.name_of(op))
    return pg.start(call, lambda e, _, w: e.all_reduce(w[0], op), both=[x], async_op=async_op)


_tensor = tensor


def broadcast(
    tensor: Tensor, src: int | None = None, group: Group = None, async_op: bool = False, group_src: int | None = None
) -> Work | None:
    """Give every rank the tensor of one."""
    pg = member(group, "broadcast")
    if pg is None:
        return None
    x, root = _tensor("broadcast", "tensor", tensor), peer(pg, "broadcast", "src", src, group_src)
    call = Call("broadcast", [x], f"src={pg.ranks[root]}")
    kind = {"reads": [x]} if pg.rank() == root else {"writes": [x]}
    return pg.start(call, lambda e, r, w: e.broadcast((r or w)[0], root), async_op=async_op, **kind)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """The tensors of all ranks, one after the other or stacked, in one."""
    pg = member(group, "all_gather_into_tensor")
    if pg is None:
        return None
    name = "all_gather_into_tensor"
    out, x = _tensor(name, "output_tensor", output_tensor), _tensor(name, "input_tensor", input_tensor)
    same_dtype(name, out, x)
    if out.numel() != x.numel() * pg.size():
        raise ValueError(
            f"{name}: output_tensor needs {pg.size()} times the {x.numel()} elements of input_tensor, got {out.numel()}"
        )
    counts = [x.numel()] * pg.size()
    return pg.start(Call(name, [x]), lambda e, r, w: e.all_gather(w[0], r[0], counts), [x], [out], async_op=async_op)


def same_dtype(call: str, *tensors: Tensor) -> None:
    """TypeError where dtypes differ."""
    found = {t.dtype for t in tensors}
    if len(found) > 1:
        names = ", ".join(sorted(d.name for d in found))
        raise TypeError(f"{call}: all tensors must have one dtype, got {names}")


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Reduction = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Reduce a tensor over all ranks, each of which gets its part of the result."""
    name = "reduce_scatter_tensor"
    pg = member(group, name)
    if pg is None:
        return None
    out, x = _tensor(name, "output", output), _tensor(name, "input", input)
    same_dtype(name, out, x)
    op = reductions.checked(name, op, x.dtype)
    if x.numel() != out.numel() * pg.size():
        raise ValueError(f"{name}: input needs {pg.size()} times the {out.numel()} elements of output, got {x.numel()}")
    counts = [out.numel()] * pg.size()
    call = Call(name, [x], reductions.name_of(op))
    return pg.start(call, lambda e, r, w: e.reduce_scatter(w[0], r[0], counts, op), [x], [out], async_op=async_op)


def barrier(group: Group = None, async_op: bool = False, device_ids: object = None) -> Work | None:
    """Wait until every rank has come here."""
    pg = member(group, "barrier")
    if pg is None:
        return None
    return pg.start(Call("barrier", []), lambda e, _, __: e.barrier(), async_op=async_op)


def isend(
    tensor: Tensor, dst: int | None = None, group: Group = None, tag: int = 0, group_dst: int | None = None
) -> Work | None:
    """Begin to send a tensor to one rank."""
    return _send("isend", tensor, dst, group, tag, group_dst, True)


def send(
    tensor: Tensor, dst: int | None = None, group: Group = None, tag: int = 0, group_dst: int | None = None
) -> None:
    """Send a tensor to one rank."""
    _send("send", tensor, dst, group, tag, group_dst, False)


def _send(
    name: str, tensor: Tensor, dst: int | None, group: Group, tag: int, group_dst: int | None, async_op: bool
) -> Work | None:
    pg = member(group, name)
    if pg is None:
        return None
    x, to = _tensor(name, "tensor", tensor), peer(pg, name, "dst", dst, group_dst)
    if to == pg.rank():
        raise ValueError(
            "Invalid destination rank: destination rank should not be the same as the rank of the current process."
        )
    call = Call(name, [x], f"dst={pg.ranks[to]}, tag={tag}")
    return pg.start(call, lambda e, r, _: e.send(r[0], to, tag), [x], async_op=async_op, message=True)


def irecv(
    tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0, group_src: int | None = None
) -> Work | None:
    """Begin to receive a tensor from one rank (None: from any)."""
    work, _ = _recv("irecv", tensor, src, group, tag, group_src, True)
    return work


def recv(
    tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0, group_src: int | None = None
) -> int:
    """Receive a tensor from one rank (None: from any); the rank that sent it."""
    _, came = _recv("recv", tensor, src, group, tag, group_src, False)
    return came[0] if came else -1


def _recv(
    name: str, tensor: Tensor, src: int | None, group: Group, tag: int, group_src: int | None, async_op: bool
) -> tuple[Work | None, list[int]]:
    pg = member(group, name)
    if pg is None:
        return None, []
    x = _tensor(name, "tensor", tensor)
    source = ANY if src is None and group_src is None else peer(pg, name, "src", src, group_src)
    came: list[int] = []
    call = Call(name, [x], f"src={'any' if source == ANY else pg.ranks[source]}, tag={tag}")
    work = pg.start(call, lambda e, _, w: e.recv(w[0], source, tag, came), (), [x], async_op=async_op, message=True)
    return work, [pg.ranks[r] for r in came]
