"""Collectives of tensors, under the names and with the arguments of torch.distributed.

With ``async_op=True`` each returns a :class:`~flambeau.distributed.work.Work`, and its tensors may not be touched
until that is waited for; else it returns None when it is done. A rank that is not in the group is warned and does
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core.tensor import Tensor
from flambeau.distributed import reductions
from flambeau.distributed.groups import Group, member
from flambeau.distributed.plans import plan
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.process_group import tensor as _tensor
from flambeau.distributed.reductions import ReduceOp, Reduction
from flambeau.distributed.work import Timeout, Work, seconds


def peer(
    pg: ProcessGroup, call: str, argument: str, rank: int | None, group_rank: int | None, default: int | None = None
) -> int:
    """A rank in the group, given as one of the job or as one of the group; ValueError where it is neither or both."""
    if rank is not None and group_rank is not None:
        raise ValueError(f"{call}: Can't specify both group_{argument} and {argument}")
    if group_rank is not None:
        if not 0 <= group_rank < pg.size():
            raise ValueError(f"{call}: group_{argument}={group_rank} is not in [0, {pg.size()})")
        return int(group_rank)
    rank = default if rank is None else rank
    if rank is None:
        raise ValueError(f"{call}: Must specify {argument} or group_{argument}")
    return pg.rank_of(int(rank), call, argument)


def same_dtype(call: str, tensors: Sequence[Tensor]) -> None:
    """TypeError where the tensors of one call differ in dtype, ValueError where in device."""
    dtypes, devices = {t.dtype.name for t in tensors}, {str(t.device) for t in tensors}
    if len(dtypes) > 1:
        raise TypeError(f"{call}: Invalid usage of tensors with different dtypes: found {', '.join(sorted(dtypes))}")
    if len(devices) > 1:
        raise ValueError(f"{call}: all tensors must be on one device, got {', '.join(sorted(devices))}")


def tensors(call: str, argument: str, values: object, count: int | None = None) -> list[Tensor]:
    """A list of tensors, of the length that is wanted."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{call}: {argument} must be a list of tensors, got {type(values).__name__}")
    if count is not None and len(values) != count:
        raise ValueError(f"{call}: {argument} needs a tensor for each of the {count} ranks, got {len(values)}")
    return [_tensor(call, f"{argument}[{i}]", t) for i, t in enumerate(values)]


def like(x: Tensor) -> str:
    """What ranks must have the same of a tensor."""
    return f"{x.dtype.name} {list(x.shape)}"


def sized(x: Tensor) -> str:
    """What ranks must have the same of a tensor whose shape is theirs."""
    return f"{x.dtype.name}, {x.numel()} elements"


# -- reductions --------------------------------------------------------------------------------------
def all_reduce(
    tensor: Tensor, op: Reduction = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Reduce a tensor over all ranks, in place: each has the result."""
    pg = member(group, "all_reduce")
    if pg is None:
        return None
    x = _tensor("all_reduce", "tensor", tensor)
    op = reductions.checked("all_reduce", op, x.dtype)
    name = reductions.name_of(op)
    return pg.start(*plan("all_reduce", "all_reduce", (op,), both=[x], detail=name, mark=f"{name} {like(x)}"), async_op)


def reduce(
    tensor: Tensor, dst: int | None = None, op: Reduction = ReduceOp.SUM, group: Group = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Reduce a tensor over all ranks, in place on rank ``dst``; elsewhere it stays as it is."""
    pg = member(group, "reduce")
    if pg is None:
        return None
    x, root = _tensor("reduce", "tensor", tensor), peer(pg, "reduce", "dst", dst, group_dst)
    op = reductions.checked("reduce", op, x.dtype)
    detail = f"{reductions.name_of(op)}, dst={pg.ranks[root]}"
    here, apart = ([x], []) if pg.rank() == root else ([], [x])
    return pg.start(
        *plan("reduce", "reduce", (op, root), reads=apart, both=here, detail=detail, mark=f"{detail} {like(x)}"),
        async_op,
    )


def reduce_scatter(
    output: Tensor, input_list: Sequence[Tensor], op: Reduction = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Reduce a list of tensors over all ranks; rank i gets the i-th. Their shapes may differ from each other."""
    name = "reduce_scatter"
    pg = member(group, name)
    if pg is None:
        return None
    out, given = _tensor(name, "output", output), tensors(name, "input_list", input_list, pg.size())
    same_dtype(name, [out, *given])
    op = reductions.checked(name, op, out.dtype)
    if out.numel() != given[pg.rank()].numel():
        raise ValueError(
            f"{name}: output has shape {list(out.shape)}, and this rank's tensor of input_list "
            f"{list(given[pg.rank()].shape)}"
        )
    counts, how = tuple(t.numel() for t in given), reductions.name_of(op)
    return pg.start(
        *plan(name, "reduce_scatter", (counts, op), reads=given, writes=[out], detail=how,
              mark=f"{how} {out.dtype.name} {list(counts)}"), async_op,
    )  # fmt: skip


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Reduction = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Reduce a tensor over all ranks, each of which gets its part of the result, of equal size."""
    name = "reduce_scatter_tensor"
    pg = member(group, name)
    if pg is None:
        return None
    out, x = _tensor(name, "output", output), _tensor(name, "input", input)
    same_dtype(name, [out, x])
    op = reductions.checked(name, op, x.dtype)
    if x.numel() != out.numel() * pg.size():
        raise ValueError(
            f"{name}: input tensor must be the same size as output size times world size, got {x.numel()} elements "
            f"for {pg.size()} times {out.numel()}"
        )
    how = reductions.name_of(op)
    return pg.start(
        *plan(name, "reduce_scatter", ((out.numel(),) * pg.size(), op), reads=[x], writes=[out], detail=how,
              mark=f"{how} {sized(x)}"), async_op,
    )  # fmt: skip


# -- one to all, all to one ---------------------------------------------------------------------------
def broadcast(
    tensor: Tensor, src: int | None = None, group: Group = None, async_op: bool = False, group_src: int | None = None
) -> Work | None:
    """Give every rank the values of the tensor of rank ``src``."""
    pg = member(group, "broadcast")
    if pg is None:
        return None
    x, root = _tensor("broadcast", "tensor", tensor), peer(pg, "broadcast", "src", src, group_src)
    here, apart = ([x], []) if pg.rank() == root else ([], [x])
    detail = f"src={pg.ranks[root]}"
    return pg.start(
        *plan("broadcast", "broadcast", (root,), reads=here, writes=apart, detail=detail, mark=f"{detail} {sized(x)}"),
        async_op,
    )


def gather(
    tensor: Tensor, gather_list: Sequence[Tensor] | None = None, dst: int | None = None, group: Group = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Bring the tensors of all ranks to rank ``dst`` (by default 0), into its ``gather_list``; sizes may differ."""
    pg = member(group, "gather")
    if pg is None:
        return None
    x, root = _tensor("gather", "tensor", tensor), peer(pg, "gather", "dst", dst, group_dst, pg.ranks[0])
    into: list[Tensor] = []
    if pg.rank() == root:
        if gather_list is None:
            raise ValueError("gather: Argument ``gather_list`` must be specified on destination rank.")
        into = tensors("gather", "gather_list", gather_list, pg.size())
        same_dtype("gather", [x, *into])
        _room("gather", into[root], x)
    elif gather_list:
        raise ValueError("gather: Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    detail = f"dst={pg.ranks[root]}"
    counts = tuple(t.numel() for t in into)
    return pg.start(
        *plan("gather", "gather", (counts, root), reads=[x], writes=into, detail=detail,
              mark=f"{detail} {x.dtype.name}"), async_op,
    )  # fmt: skip


def scatter(
    tensor: Tensor, scatter_list: Sequence[Tensor] | None = None, src: int | None = None, group: Group = None,
    async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Give rank i the i-th tensor of the ``scatter_list`` of rank ``src`` (by default 0); sizes may differ."""
    pg = member(group, "scatter")
    if pg is None:
        return None
    x, root = _tensor("scatter", "tensor", tensor), peer(pg, "scatter", "src", src, group_src, pg.ranks[0])
    given: list[Tensor] = []
    if pg.rank() == root:
        if scatter_list is None:
            raise ValueError("scatter: Argument ``scatter_list`` must be specified on source rank.")
        given = tensors("scatter", "scatter_list", scatter_list, pg.size())
        same_dtype("scatter", [x, *given])
        _room("scatter", x, given[root])
    elif scatter_list:
        raise ValueError("scatter: Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    detail = f"src={pg.ranks[root]}"
    counts = tuple(t.numel() for t in given)
    return pg.start(
        *plan("scatter", "scatter", (counts, root), reads=given, writes=[x], detail=detail,
              mark=f"{detail} {x.dtype.name}"), async_op,
    )  # fmt: skip


def _room(call: str, into: Tensor, x: Tensor) -> None:
    if into.numel() != x.numel():
        raise ValueError(f"{call}: a tensor of shape {list(x.shape)} does not fit into one of {list(into.shape)}")


# -- all to all --------------------------------------------------------------------------------------
def all_gather(
    tensor_list: Sequence[Tensor], tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """The tensors of all ranks, in a list; their sizes may differ from rank to rank."""
    pg = member(group, "all_gather")
    if pg is None:
        return None
    x, into = _tensor("all_gather", "tensor", tensor), tensors("all_gather", "tensor_list", tensor_list, pg.size())
    same_dtype("all_gather", [x, *into])
    _room("all_gather", into[pg.rank()], x)
    counts = tuple(t.numel() for t in into)
    return pg.start(
        *plan("all_gather", "all_gather", (counts,), reads=[x], writes=into, mark=f"{x.dtype.name} {list(counts)}"),
        async_op,
    )


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """The tensors of all ranks, of one size, one after the other or stacked, in one."""
    name = "all_gather_into_tensor"
    pg = member(group, name)
    if pg is None:
        return None
    out, x = _tensor(name, "output_tensor", output_tensor), _tensor(name, "input_tensor", input_tensor)
    same_dtype(name, [out, x])
    if out.numel() != x.numel() * pg.size():
        raise ValueError(
            f"{name}: output tensor size must be equal to world_size times input tensor size, got {out.numel()} "
            f"elements for {pg.size()} times {x.numel()}"
        )
    return pg.start(
        *plan(name, "all_gather", ((x.numel(),) * pg.size(),), reads=[x], writes=[out], mark=sized(x)), async_op
    )


def all_to_all(
    output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Give rank i the i-th tensor of the list, and get one of each; sizes may differ."""
    name = "all_to_all"
    pg = member(group, name)
    if pg is None:
        return None
    into = tensors(name, "output_tensor_list", output_tensor_list, pg.size())
    given = tensors(name, "input_tensor_list", input_tensor_list, pg.size())
    same_dtype(name, [*into, *given])
    _room(name, into[pg.rank()], given[pg.rank()])
    counts = tuple(t.numel() for t in into), tuple(t.numel() for t in given)
    return pg.start(*plan(name, name, counts, reads=given, writes=into, mark=into[0].dtype.name), async_op)


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None, group: Group = None, async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Cut a tensor along its first dimension, give each rank a part, and get one of each.

    Without sizes the parts are equal.
    """
    name = "all_to_all_single"
    pg = member(group, name)
    if pg is None:
        return None
    out, x = _tensor(name, "output", output), _tensor(name, "input", input)
    same_dtype(name, [out, x])
    counts = _cut(pg, name, "output", out, output_split_sizes), _cut(pg, name, "input", x, input_split_sizes)
    return pg.start(*plan(name, "all_to_all", counts, reads=[x], writes=[out], mark=x.dtype.name), async_op)


def _cut(pg: ProcessGroup, call: str, argument: str, x: Tensor, sizes: Sequence[int] | None) -> tuple[int, ...]:
    rows = x.shape[0] if x.ndim else 1
    if not sizes:
        if rows % pg.size():
            raise ValueError(
                f"{call}: the {rows} rows of {argument} do not divide among {pg.size()} ranks; give split sizes"
            )
        return (x.numel() // pg.size(),) * pg.size()
    if len(sizes) != pg.size() or sum(sizes) != rows or min(sizes) < 0:
        raise ValueError(
            f"{call}: {argument}_split_sizes needs {pg.size()} sizes that add up to {rows}, got {list(sizes)}"
        )
    row = x.numel() // rows if rows else 0
    return tuple(int(n) * row for n in sizes)


def barrier(
    group: Group = None, async_op: bool = False, device_ids: object = None, timeout: Timeout = None
) -> Work | None:
    """Wait until every rank of the group has come here."""
    pg = member(group, "barrier")
    if pg is None:
        return None
    return pg.start(*plan("barrier", "barrier"), async_op, None if timeout is None else seconds(timeout, 0.0))
