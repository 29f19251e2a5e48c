"""What each rank does in the tests of collectives: every rank knows what the others give, and works out the result."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flambeau as fb
import flambeau.distributed as dist
from flambeau.backends.llvm import compiler
from flambeau.core.dispatch import fallback_counts
from flambeau.core.errors import MissingKernelError
from flambeau.distributed import ReduceOp, waiting

NUMBERS = [fb.uint8, fb.int8, fb.int16, fb.int32, fb.int64, fb.uint16, fb.uint32, fb.uint64, fb.float16, fb.bfloat16,
           fb.float32, fb.float64, fb.complex64, fb.complex128]  # fmt: skip
SHAPES: list[tuple[int, ...]] = [(), (0,), (7,), (3, 5), (2, 0, 3), (4099,), (3, 1367)]
BY_NUMPY = {ReduceOp.SUM: np.add, ReduceOp.PRODUCT: np.multiply, ReduceOp.MIN: np.minimum, ReduceOp.MAX: np.maximum,
            ReduceOp.BAND: np.bitwise_and, ReduceOp.BOR: np.bitwise_or, ReduceOp.BXOR: np.bitwise_xor}  # fmt: skip


def setup() -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=20))


def me() -> int:
    return dist.get_rank()


def size() -> int:
    return dist.get_world_size()


def values(rank: int, shape: tuple[int, ...], dtype: Any = fb.float32, seed: int = 0) -> np.ndarray[Any, Any]:
    """What a rank gives: small whole numbers, which every dtype adds exactly."""
    drawn = np.random.default_rng((seed, rank, *shape)).integers(0, 4, shape)
    if dtype is fb.bool:
        return drawn > 1
    found = drawn.astype(dtype.numpy)
    return np.asarray(found + 1j * found.T.reshape(shape)) if dtype.is_complex else np.asarray(found)


def tensor(rank: int, shape: tuple[int, ...], dtype: Any = fb.float32, seed: int = 0) -> fb.Tensor:
    return fb.from_numpy(values(rank, shape, dtype, seed).copy())


def folded(op: ReduceOp, parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    fn = BY_NUMPY[op]
    whole = parts[0]
    for part in parts[1:]:
        whole = fn(whole, part)
    return np.asarray(whole).astype(parts[0].dtype)


def equal(x: fb.Tensor, wanted: np.ndarray[Any, Any]) -> None:
    assert x.shape == wanted.shape, (x.shape, wanted.shape)
    np.testing.assert_array_equal(x.numpy(), wanted)


def ranks() -> Iterator[int]:
    return iter(range(size()))


# -- reductions --------------------------------------------------------------------------------------
def case_all_reduce_of_every_dtype_and_shape() -> None:
    for dtype in NUMBERS:
        for shape in SHAPES:
            x = tensor(me(), shape, dtype)
            assert dist.all_reduce(x) is None
            assert x.dtype is dtype
            equal(x, folded(ReduceOp.SUM, [values(r, shape, dtype) for r in ranks()]))


def case_all_reduce_of_every_op() -> None:
    for dtype in NUMBERS:
        ops = list(BY_NUMPY)
        if dtype.is_complex:
            ops = [ReduceOp.SUM, ReduceOp.PRODUCT]
        elif dtype.is_floating_point:
            ops = ops[:4]
        for op in ops:
            x = tensor(me(), (5, 3), dtype)
            dist.all_reduce(x, op)
            equal(x, folded(op, [values(r, (5, 3), dtype) for r in ranks()]))


def case_all_reduce_of_truth_values() -> None:
    parts = [values(r, (64,), fb.bool) for r in ranks()]
    for op, fn in [(ReduceOp.SUM, np.logical_or), (ReduceOp.MAX, np.logical_or), (ReduceOp.BOR, np.logical_or),
                   (ReduceOp.PRODUCT, np.logical_and), (ReduceOp.MIN, np.logical_and), (ReduceOp.BAND, np.logical_and),
                   (ReduceOp.BXOR, np.logical_xor)]:  # fmt: skip
        x = tensor(me(), (64,), fb.bool)
        dist.all_reduce(x, op)
        equal(x, fn.reduce(parts))


def case_averages() -> None:
    for dtype in (fb.float32, fb.float64, fb.bfloat16, fb.complex64):
        x = tensor(me(), (9,), dtype)
        dist.all_reduce(x, ReduceOp.AVG)
        whole = folded(ReduceOp.SUM, [values(r, (9,), dtype).astype(np.complex128) for r in ranks()])
        np.testing.assert_allclose(
            x.numpy().astype(np.complex128), whole / size(), rtol=4e-3 if dtype.itemsize == 2 else 1e-6
        )
    x = fb.tensor([-3 - me(), 7 + me()])
    dist.all_reduce(x, ReduceOp.AVG)
    equal(x, np.trunc(np.array([sum(-3 - r for r in ranks()), sum(7 + r for r in ranks())]) / size()).astype(np.int64))
    x = fb.ones(3) * (me() + 1)
    dist.all_reduce(x, dist.premul_sum(0.5))
    equal(x, np.full(3, sum(r + 1 for r in ranks()) / 2, np.float32))


def case_sums_of_16_bits_are_rounded_once() -> None:
    for dtype, kind in ((fb.bfloat16, ml_dtypes.bfloat16), (fb.float16, np.float16)):
        for count in (100, 20_001):
            parts = [np.random.default_rng(r).normal(size=count).astype(kind) for r in ranks()]
            x = fb.from_numpy(parts[me()].copy())
            assert x.dtype is dtype
            dist.all_reduce(x)
            equal(x, np.add.reduce([p.astype(np.float32) for p in parts]).astype(kind))


def case_ops_that_a_dtype_has_not() -> None:
    for x, op, error, text in [
        (fb.ones(2), ReduceOp.BAND, ValueError, "BAND works on bits"),
        (fb.ones(2, dtype=fb.complex64), ReduceOp.MAX, ValueError, "MAX is no op for complex"),
        (fb.ones(2, dtype=fb.bool), ReduceOp.AVG, ValueError, "AVG is no op for bools"),
        (fb.ones(2), ReduceOp.PREMUL_SUM, ValueError, "needs its factor"),
        (fb.ones(2), "sum", TypeError, "op must be a ReduceOp"),
        (fb.ones(2).to(fb.float8_e5m2), ReduceOp.SUM, TypeError, "no numbers are added in float8_e5m2"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            dist.all_reduce(x, op)  # type: ignore[arg-type]


def case_strided_tensors() -> None:
    base = tensor(me(), (6, 8))
    whole = folded(ReduceOp.SUM, [values(r, (6, 8)) for r in ranks()])
    wanted = base.numpy().copy()
    dist.all_reduce(base[::2, 1::3])
    wanted[::2, 1::3] = whole[::2, 1::3]
    equal(base, wanted)
    flipped = fb.from_numpy(values(me(), (6, 8))[::-1].copy()[::-1])
    dist.all_reduce(flipped.T)
    equal(flipped, whole)
    spread = fb.zeros(size() * 2, 3).T
    dist.all_gather_into_tensor(spread, fb.full((3, 2), float(me())).T)
    assert sorted(set(spread.flatten().tolist())) == [float(r) for r in ranks()]


def case_reduce() -> None:
    for dtype in (fb.float32, fb.bfloat16, fb.int16):
        for dst in ranks():
            x = tensor(me(), (5, 1000), dtype)
            dist.reduce(x, dst, ReduceOp.MAX)
            parts = [values(r, (5, 1000), dtype) for r in ranks()]
            equal(x, folded(ReduceOp.MAX, parts) if me() == dst else parts[me()])


def case_reduce_scatter() -> None:
    for dtype in (fb.float32, fb.float16, fb.int64):
        parts = [[tensor(r, (i + 1, 3), dtype, i) for i in ranks()] for r in ranks()]
        out = fb.zeros(me() + 1, 3, dtype=dtype)
        dist.reduce_scatter(out, parts[me()])
        equal(out, folded(ReduceOp.SUM, [parts[r][me()].numpy() for r in ranks()]))
        out = fb.zeros(2, 5, dtype=dtype)
        dist.reduce_scatter_tensor(out, tensor(me(), (2 * size(), 5), dtype))
        whole = folded(ReduceOp.SUM, [values(r, (2 * size(), 5), dtype) for r in ranks()])
        equal(out, whole[2 * me() : 2 * me() + 2])
    out = fb.zeros(4)
    x = fb.arange(4.0 * size())
    dist.reduce_scatter_tensor(out, x, dist.premul_sum(2.0))
    equal(out, 2 * size() * np.arange(4.0 * me(), 4 * me() + 4, dtype=np.float32))
    equal(x, np.arange(4.0 * size(), dtype=np.float32))


# -- what travels ------------------------------------------------------------------------------------
def case_broadcast() -> None:
    for dtype in [*NUMBERS, fb.bool]:
        for src in ranks():
            x = tensor(me(), (4, 3), dtype)
            dist.broadcast(x, src)
            equal(x, values(src, (4, 3), dtype))
    x = tensor(me(), (3,)).to(fb.float8_e4m3fn)
    dist.broadcast(x, group_src=size() - 1)
    equal(x.float(), values(size() - 1, (3,)))


def case_all_gather() -> None:
    for dtype in (fb.bool, fb.bfloat16, fb.float64):
        into = [fb.zeros(r + 1, 2, dtype=dtype) for r in ranks()]
        dist.all_gather(into, tensor(me(), (me() + 1, 2), dtype))
        for r, x in enumerate(into):
            equal(x, values(r, (r + 1, 2), dtype))
    out = fb.zeros(size(), 2, 3)
    dist.all_gather_into_tensor(out, tensor(me(), (2, 3)))
    equal(out, np.stack([values(r, (2, 3)) for r in ranks()]))
    with pytest.raises(ValueError, match="equal to world_size times"):
        dist.all_gather_into_tensor(fb.zeros(5), fb.zeros(3))


def case_gather_and_scatter() -> None:
    for root in ranks():
        into = [fb.zeros(r + 1) for r in ranks()] if me() == root else None
        dist.gather(tensor(me(), (me() + 1,)), into, root)
        for r, x in enumerate(into or []):
            equal(x, values(r, (r + 1,)))
        given = [tensor(r, (r + 2,), seed=5) for r in ranks()] if me() == root else None
        out = fb.zeros(me() + 2)
        dist.scatter(out, given, root)
        equal(out, values(me(), (me() + 2,), seed=5))
    with pytest.raises(ValueError, match="gather_list"):
        dist.gather(fb.zeros(2), None if me() == 0 else [fb.zeros(2)], 0)


def case_all_to_all() -> None:
    given = [fb.full((me() + r + 1,), 10.0 * me() + r) for r in ranks()]
    into = [fb.zeros(me() + r + 1) for r in ranks()]
    dist.all_to_all(into, given)
    for r, x in enumerate(into):
        equal(x, np.full(me() + r + 1, 10 * r + me(), np.float32))
    x = fb.arange(2.0 * size()).view(size(), 2) + 100 * me()
    out = fb.empty(size(), 2)
    dist.all_to_all_single(out, x)
    equal(out, np.stack([np.arange(2 * me(), 2 * me() + 2, dtype=np.float32) + 100 * r for r in ranks()]))
    splits = [r + me() for r in ranks()]
    out = fb.empty(sum(splits), 2)
    dist.all_to_all_single(out, fb.full((sum(splits), 2), float(me())), splits, splits)
    equal(out, np.repeat(np.arange(size(), dtype=np.float32), splits)[:, None].repeat(2, 1))
    with pytest.raises(ValueError, match="input_split_sizes needs"):
        dist.all_to_all_single(out, out, splits, [1])


def case_coalesced() -> None:
    given = [tensor(me(), (3,)), tensor(me(), (2, 2), fb.int64), tensor(me(), (5,), seed=1)]
    work = dist.all_reduce_coalesced(given, async_op=True)
    assert work is not None and work.wait()
    for x, (shape, dtype, seed) in zip(
        given, [((3,), fb.float32, 0), ((2, 2), fb.int64, 0), ((5,), fb.float32, 1)], strict=True
    ):
        equal(x, folded(ReduceOp.SUM, [values(r, shape, dtype, seed) for r in ranks()]))
    lists = [[fb.zeros(2), fb.zeros(3, dtype=fb.int32)] for _ in ranks()]
    dist.all_gather_coalesced(lists, [tensor(me(), (2,)), tensor(me(), (3,), fb.int32)])
    for r, (a, b) in enumerate(lists):
        equal(a, values(r, (2,)))
        equal(b, values(r, (3,), fb.int32))
    many = [fb.full((4,), float(me() + i)) for i in range(5)]
    out = fb.zeros(size())
    with dist.coalescing_manager(async_ops=True) as block:
        for x in many:
            dist.all_reduce(x)
        dist.all_gather_into_tensor(out, fb.full((1,), float(me())))
    block.wait()
    for i, x in enumerate(many):
        equal(x, np.full(4, sum(r + i for r in ranks()), np.float32))
    equal(out, np.arange(size(), dtype=np.float32))


def case_objects() -> None:
    mine = {"rank": me(), "of": [None] * me()}
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, mine)
    assert found == [{"rank": r, "of": [None] * r} for r in ranks()]
    gathered: list[Any] | None = [None] * size() if me() == 1 else None
    dist.gather_object(mine, gathered, 1)
    assert gathered is None or gathered == found
    shared: list[Any] = ["a", {"b": 2.5}, None] if me() == 0 else [None] * 3
    dist.broadcast_object_list(shared, 0)
    assert shared == ["a", {"b": 2.5}, None]
    out: list[Any] = [None]
    dist.scatter_object_list(out, [f"to {r}" * (r + 1) for r in ranks()] if me() == 1 else None, 1)
    assert out == [f"to {me()}" * (me() + 1)]
    if me() == 0:
        dist.send_object_list(["x", (1, 2)], 1)
    elif me() == 1:
        came: list[Any] = [None, None]
        assert dist.recv_object_list(came) == 0
        assert came == ["x", (1, 2)]


# -- messages ----------------------------------------------------------------------------------------
def case_messages() -> None:
    after, before = (me() + 1) % size(), (me() - 1) % size()
    x, y = fb.full((1000, 300), float(me())), fb.zeros(300, 1000).T
    works = [dist.irecv(y, before, tag=3), dist.isend(x, after, tag=3)]
    for work in works:
        assert work is not None and work.wait() and work.is_completed() and work.is_success()
    equal(y, np.full((1000, 300), before, np.float32))
    ops = [dist.P2POp(dist.isend, fb.full((2,), float(me())), after), dist.P2POp(dist.irecv, z := fb.zeros(2), before)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    equal(z, np.full(2, before, np.float32))


def case_messages_from_any_rank_and_their_errors() -> None:
    if me():
        dist.send(fb.full((3,), float(me())), 0)
    else:
        seen = set()
        for _ in range(size() - 1):
            x = fb.zeros(3)
            source = dist.recv(x)
            equal(x, np.full(3, source, np.float32))
            seen.add(source)
        assert seen == set(range(1, size()))
    with pytest.raises(ValueError, match="should not be the rank of the current"):
        dist.send(fb.zeros(1), me())
    with pytest.raises(ValueError, match="is not a rank of group"):
        dist.recv(fb.zeros(1), 99)
    with pytest.raises(ValueError, match="P2POp"):
        dist.P2POp(dist.isend, fb.zeros(1))
    dist.barrier()
    if me() == 0:
        dist.send(fb.zeros(2), 1)
    elif me() == 1:
        with pytest.raises(dist.DistBackendError, match="has 8 bytes, the tensor 12"):
            dist.recv(fb.zeros(3), 0)


# -- work --------------------------------------------------------------------------------------------
def case_async_work_runs_in_order() -> None:
    x = fb.full((50_000,), 1.0)
    works = [dist.all_reduce(x, async_op=True) for _ in range(4)]
    total = fb.zeros(1)
    last = dist.all_reduce(total, async_op=True)
    assert last is not None and last.wait(timeout=timedelta(seconds=10))
    for work in works:
        assert work is not None and work.is_completed() and work.is_success() and work.exception() is None
        assert work.result()[0] is x
    equal(x, np.full(50_000, float(size()) ** 4, np.float32))
    work = dist.all_reduce(total.add_(1), async_op=True)
    assert work is not None
    doubled = work.get_future().then(lambda f: f.value()[0] * 2)
    equal(doubled.wait(), np.full(1, 2.0 * size(), np.float32))


def case_writes_are_counted() -> None:
    w = fb.ones(2, requires_grad=True)
    x = w * 2
    y = (x * x).sum()
    with fb.no_grad():
        dist.all_reduce(x)
    with pytest.raises(fb.core.errors.GradientError, match="all_reduce"):
        y.backward()


def case_bad_arguments() -> None:
    for call, error, text in [
        (lambda: dist.all_reduce([fb.ones(1)]), TypeError, "tensor"),
        (lambda: dist.all_reduce(fb.ones(1, device="meta")), TypeError, "meta"),
        (lambda: dist.all_gather(fb.ones(1), fb.ones(1)), TypeError, "list of tensors"),
        (lambda: dist.all_gather([fb.ones(1)], fb.ones(1)), ValueError, "for each of the"),
        (lambda: dist.broadcast(fb.ones(1)), ValueError, "src or group_src"),
        (lambda: dist.broadcast(fb.ones(1), 0, group_src=0), ValueError, "both"),
        (lambda: dist.reduce_scatter_tensor(fb.ones(1), fb.ones(1, dtype=fb.int64)), TypeError, "different dtypes"),
        (lambda: dist.init_process_group("mpi"), ValueError, "twice"),
        (lambda: dist.all_reduce(fb.ones(1), group="x"), TypeError, "group must be a ProcessGroup"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            call()


# -- groups ------------------------------------------------------------------------------------------
def case_groups() -> None:
    assert dist.get_process_group_ranks(None) == list(ranks()) and dist.get_backend() == "mpi"
    some = list(ranks())[1:]
    group = dist.new_group(some, timeout=timedelta(seconds=15))
    if me() == 0:
        assert group is dist.GroupMember.NON_GROUP_MEMBER
        assert (dist.get_rank(group), dist.get_world_size(group)) == (-1, -1)
        with pytest.warns(UserWarning, match="does not belong"):
            assert dist.all_reduce(fb.ones(1), group=group) is None
    else:
        assert (dist.get_rank(group), dist.get_world_size(group)) == (me() - 1, size() - 1)
        assert dist.get_process_group_ranks(group) == some
        assert dist.get_group_rank(group, me()) == me() - 1 and dist.get_global_rank(group, 0) == 1
        x = fb.full((2,), float(me()))
        dist.broadcast(x, 1, group)
        equal(x, np.full(2, 1, np.float32))
        with pytest.raises(ValueError, match="is not a rank of group"):
            dist.broadcast(x, 0, group)
        dist.destroy_process_group(group)
        with pytest.raises(dist.DistBackendError, match="destroyed"):
            dist.all_reduce(x, group=group)
    for bad in ([0, 0], [0, size()]):
        with pytest.raises(ValueError, match="new_group"):
            dist.new_group(bad)


def case_subgroups() -> None:
    mine, every = dist.new_subgroups(1)
    assert len(every) == size() and dist.get_process_group_ranks(mine) == [me()]
    odd, _ = dist.new_subgroups_by_enumeration([[r for r in ranks() if r % 2], [0]])
    if me() in (0, 1):
        x = fb.ones(1)
        dist.all_reduce(x, group=odd)
        assert x.item() == (1 if me() == 0 else size() // 2)
    parts = [[0], list(ranks())[1:]]
    split = dist.split_group(split_ranks=parts)
    assert dist.get_process_group_ranks(split) == parts[0 if me() == 0 else 1]
    if me():
        local = dist.new_group(parts[1], use_local_synchronization=True)
        assert dist.get_world_size(local) == size() - 1
    backwards = dist.new_group(list(ranks())[::-1], sort_ranks=False)
    assert dist.get_rank(backwards) == size() - 1 - me()
    with pytest.raises(ValueError, match="must divide"):
        dist.new_subgroups(size() + 1)


def case_two_groups_at_once() -> None:
    group = dist.new_group()
    x, y = fb.ones(100_000), fb.ones(100_000)
    works = [dist.all_reduce(x, async_op=True), dist.all_reduce(y, group=group, async_op=True)]
    for work in works[:: 1 if me() else -1]:
        assert work is not None
        work.wait()
    assert (x == size()).all() and (y == size()).all()


def case_mesh() -> None:
    mesh = dist.init_device_mesh("cpu", (1, size()), mesh_dim_names=("dp", "tp"))
    assert (mesh.shape, mesh.ndim, mesh.size(), mesh.size(1)) == ((1, size()), 2, size(), size())
    assert mesh.get_coordinate() == (0, me()) and mesh.get_local_rank("tp") == me() and mesh.get_local_rank(0) == 0
    assert mesh["tp"].get_group() is mesh.get_group("tp") and mesh["tp"].shape == (size(),)
    assert dist.get_world_size(mesh.get_group("dp")) == 1 and mesh["dp"].get_local_rank() == 0
    x = fb.ones(1)
    dist.all_reduce(x, group=mesh.get_group(1))
    assert x.item() == size() and mesh["dp", "tp"] is mesh
    assert mesh._flatten("all").size() == size() and mesh["all"].get_local_rank() == me()
    assert dist.DeviceMesh.from_group(mesh.get_group("tp"), "cpu").mesh.tolist() == list(ranks())
    for bad, error in [
        (lambda: mesh["pp"], KeyError), (lambda: mesh.get_group(), RuntimeError),
        (lambda: mesh["tp", "dp"], KeyError), (lambda: dist.init_device_mesh("cpu", (99,)), RuntimeError),
    ]:  # fmt: skip
        with pytest.raises(error):
            bad()


def case_monitored_barrier() -> None:
    dist.monitored_barrier(timeout=timedelta(seconds=10))
    if me() == 0:
        with pytest.raises(RuntimeError, match=r"rank 1 failed to pass"):
            dist.monitored_barrier(timeout=0.3)
    else:
        if me() > 1:
            with pytest.raises(RuntimeError, match="heard nothing from rank 0"):
                dist.monitored_barrier(timeout=1.0)
    dist.barrier()


# -- other devices -----------------------------------------------------------------------------------
def case_staging_through_the_host() -> None:
    """Rank 0 computes on the cpu, the others on the strict device, whose memory is not the host's."""
    device = "strict" if me() else "cpu"
    group = dist.new_group(backend="cpu:mpi,strict:mpi")
    before = fallback_counts().get(("strict:0", "all_reduce"), fallback_counts().get(("strict", "all_reduce"), (0, 0)))
    for dtype in (fb.float32, fb.bool, fb.int64):
        x = tensor(me(), (4, 3), dtype).to(device)
        dist.all_reduce(x.T, ReduceOp.MAX, group)
        equal(x.cpu(), np.maximum.reduce([values(r, (4, 3), dtype) for r in ranks()]))
    if me():
        after = next(v for k, v in fallback_counts().items() if k[1] == "all_reduce")
        assert after[0] - before[0] == 3
        with pytest.raises(MissingKernelError, match="strict:mpi"):
            dist.all_reduce(x)
    into = [fb.zeros(2, device=device) for _ in ranks()]
    dist.all_gather(into, fb.full((2,), float(me()), device=device), group)
    for r, y in enumerate(into):
        equal(y.cpu(), np.full(2, r, np.float32))
    work = dist.broadcast(x := fb.full((3,), float(me()), device=device), 1, group, async_op=True)
    assert work is not None
    work.wait()
    equal(x.cpu(), np.full(3, 1, np.float32))


def case_backend_strings() -> None:
    with pytest.raises(ValueError, match="no engine 'smoke'"):
        dist.new_group(backend="smoke")
    nccl = dist.new_group(backend="nccl")
    with pytest.raises(RuntimeError, match="No backend type associated with device type cpu"):
        dist.all_reduce(fb.ones(1), group=nccl)
    mixed = dist.new_group(backend="cpu:gloo,cuda:nccl")
    assert dist.get_backend_config(mixed) == "cpu:mpi,cuda:nccl"
    dist.all_reduce(fb.ones(1), group=mixed)


# -- gradients ---------------------------------------------------------------------------------------
def weight(rank: int, shape: tuple[int, ...], seed: int = 9) -> fb.Tensor:
    """What a rank multiplies a result by before it adds it up: the gradient of its loss."""
    return fb.from_numpy(np.random.default_rng((seed, rank)).normal(size=shape))


def check(fn: Any, inputs: list[fb.Tensor]) -> None:
    """Gradients by a second way: numerical, of the sum of the losses of all ranks."""
    fn(*inputs).backward()
    for k, x in enumerate(inputs):
        shapes: list[Any] = [None] * size()
        dist.all_gather_object(shapes, tuple(x.shape))
        for rank in ranks():
            for place in np.ndindex(*shapes[rank]):
                found = []
                for step in (1e-6, -1e-6):
                    moved = [t.detach().clone() for t in inputs]
                    if me() == rank:
                        moved[k][place] += step
                    loss = fn(*moved).detach()
                    dist.all_reduce(loss)
                    found.append(loss.item())
                if me() == rank:
                    wanted = (found[0] - found[1]) / 2e-6
                    got = 0.0 if x.grad is None else x.grad[place].item()
                    assert abs(got - wanted) < 1e-5, (fn, k, place, got, wanted)


def leaf(shape: tuple[int, ...], seed: int = 3) -> fb.Tensor:
    return fb.from_numpy(np.random.default_rng((seed, me())).normal(size=shape)).requires_grad_()


def case_gradients_of_collectives() -> None:
    f, w = dist.nn.functional, weight(me(), (2,))
    many = [weight(me(), (2,), i) for i in ranks()]
    for op in (ReduceOp.SUM, ReduceOp.AVG, ReduceOp.MAX, ReduceOp.MIN, ReduceOp.PRODUCT, dist.premul_sum(0.25)):
        check(lambda x, op=op: (f.all_reduce(x, op) * w).sum(), [leaf((2,))])
    for root in (0, size() - 1):
        here = float(me() == root)
        check(lambda x, r=root: (f.broadcast(x, r) * w).sum(), [leaf((2,))])
        check(lambda x, r=root, h=here: (f.reduce(x, r) * w * h).sum(), [leaf((2,))])
        check(
            lambda x, r=root, h=here: sum((y * m * h).sum() for y, m in zip(f.gather(x, r), many, strict=True)),
            [leaf((2,))],
        )
        check(lambda *xs, r=root: (f.scatter(xs, r) * w).sum(), [leaf((2,), i) for i in ranks()])
    check(lambda x: sum((y * m).sum() for y, m in zip(f.all_gather(x), many, strict=True)), [leaf((2,))])
    check(lambda *xs: (f.reduce_scatter(fb.zeros(2, dtype=fb.float64), xs) * w).sum(), [leaf((2,), i) for i in ranks()])
    check(
        lambda *xs: sum(
            (y * m).sum() for y, m in zip(f.all_to_all([fb.zeros(2, dtype=fb.float64)] * size(), xs), many, strict=True)
        ),
        [leaf((2,), i) for i in ranks()],
    )
    splits = [r + me() + 1 for r in ranks()]
    wide = weight(me(), (sum(splits), 2))
    out = fb.zeros(sum(splits), 2, dtype=fb.float64)
    check(lambda x: (f.all_to_all_single(out, x, splits, splits) * wide).sum(), [leaf((max(sum(splits), 1), 2))])
    rows = fb.zeros(size() * 2, dtype=fb.float64)
    check(lambda x: (f._all_gather_base(rows, x) * weight(me(), (size() * 2,))).sum(), [leaf((2,))])


def case_second_derivatives() -> None:
    x = leaf((3,))
    y = (dist.nn.functional.all_reduce(x * x) ** 2).sum()
    (grad,) = fb.autograd.grad(y, x, create_graph=True)
    (second,) = fb.autograd.grad(grad.sum(), x)
    parts = [np.random.default_rng((3, r)).normal(size=3) for r in ranks()]
    mine, total = parts[me()], np.add.reduce([p * p for p in parts])
    # the sum over ranks of sum(total^2) has the gradient 4 n x total; of the sum of these over ranks the derivative is
    wanted = 4 * size() * total + 8 * size() * mine * np.add.reduce(parts)
    np.testing.assert_allclose(second.numpy(), wanted)


# -- recordings --------------------------------------------------------------------------------------
def case_a_compiled_step_communicates() -> None:
    @fb.compile
    def step(x: fb.Tensor) -> fb.Tensor:
        y = x * 2
        work = dist.all_reduce(y, async_op=True)
        z = x + 1
        work.wait()  # type: ignore[union-attr]
        parts = fb.zeros(size(), *x.shape)
        dist.all_gather_into_tensor(parts, y + z)
        return parts.sum(0)

    for i in range(6):
        x = tensor(me(), (33,), seed=i)
        found = step(x)
        xs = [values(r, (33,), seed=i) for r in ranks()]
        whole = np.add.reduce([2 * p for p in xs])
        equal(found, np.add.reduce([whole + p + 1 for p in xs]))
    told = step.captured  # type: ignore[attr-defined]
    assert told.counts.replayed >= 2, (told.counts, told.reasons)


# -- waiting -----------------------------------------------------------------------------------------
def case_waiting_by_machine_code() -> None:
    """A request that is over ends the wait; one that is not is left after some milliseconds."""
    if sys.platform != "win32" and compiler.unavailable() is None:
        assert waiting._native() is not None
    comm, here = dist.groups.world().host.comm, np.zeros(3, np.uint8)
    if me() == 0:
        request = comm.Irecv(here, 1, 77)
        waiting.linger(request, 1.0)
        assert not request.Test()
        dist.barrier()
        start = time.monotonic()
        while not request.Test():
            waiting.linger(request, 1.0)
        assert here.tolist() == [7, 7, 7] and time.monotonic() - start < 15
    else:
        dist.barrier()
        if me() == 1:
            comm.Send(np.full(3, 7, np.uint8), 0, 77)
    dist.barrier()


def case_a_compiled_step_is_staged() -> None:
    device, group = "strict" if me() else "cpu", dist.new_group(backend="cpu:mpi,strict:mpi")

    @fb.compile
    def step(x: fb.Tensor) -> fb.Tensor:
        y = x * 2
        dist.all_reduce(y, group=group)
        return y + 1

    for i in range(6):
        found = step(fb.full((5,), float(i + me()), device=device))
        equal(found.cpu(), np.full(5, 1 + sum(2.0 * (i + r) for r in ranks()), np.float32))
    assert step.captured.counts.replayed >= 2  # type: ignore[attr-defined]
