"""Collectives of CUDA's devices over a pretend NCCL: each rank is a thread with a device of the pretend machine."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import BackendUnavailableError
from flambeau.backends.cuda import nccl
from flambeau.core.device import located
from flambeau.distributed import ReduceOp, engines, premul_sum
from flambeau.distributed.nccl import DeviceEngine
from flambeau.distributed.plans import plan
from tests.backends.cuda.fake_nccl import FOLDS, TYPES, Communicator, Nccl

SIZE = 2


@pytest.fixture
def ranks(machine: Any) -> Iterator[Callable[[Callable[[Any], Any]], list[Any]]]:
    """Runs a function in each rank, with its engine and number; with work on streams done as late as can be."""
    machine.fake.module.cuda.nccl = Nccl(machine.fake)
    shared: list[bytes] = []
    met = threading.Barrier(SIZE, timeout=20)

    def run(body: Callable[[Any], Any]) -> list[Any]:
        found: list[Any] = [None] * SIZE

        def rank(number: int) -> None:
            def share(data: bytes) -> bytes:
                if number == 0:
                    shared[:] = [data]
                met.wait()
                return shared[0]

            try:
                machine.backend.device(number)
                host: Any = SimpleNamespace(rank=number, size=SIZE, share=share)
                engine = DeviceEngine(located(f"cuda:{number}"), host)
                found[number] = body(SimpleNamespace(engine=engine, rank=number, device=f"cuda:{number}"))
                engine.close()
            except Exception as error:
                met.abort()
                found[number] = error

        threads = [threading.Thread(target=rank, args=(n,)) for n in range(SIZE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        errors = [error for error in found if isinstance(error, Exception)]
        if errors:
            raise ExceptionGroup("in ranks", errors)
        return found

    yield run


def call(here: Any, method: str, *params: Any, **tensors: Any) -> None:
    """One collective: what ProcessGroup does with a plan."""
    made, given = plan(method, method, params, **tensors)
    here.engine.mark()
    for request in made.steps(here.engine, [t._array for t in given]):
        while not request.Test():
            here.engine._stream.synchronize()


def values(rank: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    drawn = np.random.default_rng((rank, *shape)).integers(0, 4, shape)
    return np.asarray(drawn > 1 if dtype is fb.bool else drawn.astype(dtype.numpy))


def test_reductions(ranks: Any) -> None:
    dtypes = (fb.float32, fb.bfloat16, fb.float16, fb.int64, fb.uint8, fb.bool, fb.complex64)

    def body(here: Any) -> list[Any]:
        found = []
        for dtype in dtypes:
            x = fb.from_numpy(values(here.rank, (3, 4), dtype)).to(here.device)
            call(here, "all_reduce", ReduceOp.SUM, both=[x])
            found.append(x.cpu())
            y = fb.from_numpy(values(here.rank, (3, 4), dtype)).to(here.device)
            root = here.rank == 1
            call(here, "reduce", ReduceOp.SUM, 1, reads=[] if root else [y], both=[y] if root else [])
            found.append(y.cpu())
        return found

    first, second = ranks(body)
    for i, dtype in enumerate(dtypes):
        given = [values(r, (3, 4), dtype) for r in range(SIZE)]
        whole = given[0] | given[1] if dtype is fb.bool else (given[0] + given[1]).astype(dtype.numpy)
        for found in (first[2 * i], second[2 * i], second[2 * i + 1]):
            np.testing.assert_array_equal(found.numpy(), whole)
        np.testing.assert_array_equal(first[2 * i + 1].numpy(), given[0])


def test_averages_products_and_extremes(ranks: Any) -> None:
    ops = [ReduceOp.AVG, ReduceOp.PRODUCT, ReduceOp.MIN, ReduceOp.MAX, premul_sum(0.5)]

    def body(here: Any) -> list[Any]:
        found = []
        for op in ops:
            x = fb.full((4,), here.rank + 2.0, device=here.device).T
            call(here, "all_reduce", op, both=[x])
            found.append(x[0].item())
        n = fb.full((2,), -3 - here.rank * 2, device=here.device)
        call(here, "all_reduce", ReduceOp.AVG, both=[n])
        return [*found, n[0].item()]

    assert ranks(body) == [[2.5, 6.0, 2.0, 3.0, 2.5, -4]] * 2


def test_what_travels(ranks: Any) -> None:
    def body(here: Any) -> list[Any]:
        r, where = here.rank, here.device
        x = fb.full((3,), float(r), device=where)
        call(here, "broadcast", 1, **{"reads" if r == 1 else "writes": [x]})
        out = fb.zeros(2, 4, device=where)
        call(here, "all_gather", (4, 4), reads=[fb.arange(8.0, device=where)[::2] + 10 * r], writes=[out])
        parts = [fb.zeros(i + 1, device=where) for i in range(SIZE)]
        call(here, "all_gather", (1, 2), reads=[fb.full((r + 1,), r + 1.0, device=where)], writes=parts)
        split = fb.zeros(2, device=where)
        call(here, "reduce_scatter", (2, 2), ReduceOp.SUM, reads=[fb.arange(4.0, device=where)], writes=[split])
        uneven = fb.zeros(r + 1, device=where)
        call(here, "reduce_scatter", (1, 2), premul_sum(2.0), reads=[fb.arange(3.0, device=where)], writes=[uneven])
        swapped = [fb.zeros(r + i + 1, device=where) for i in range(SIZE)]
        given = [fb.full((r + i + 1,), 10.0 * r + i, device=where) for i in range(SIZE)]
        counts = tuple(r + i + 1 for i in range(SIZE))
        call(here, "all_to_all", counts, counts, reads=given, writes=swapped)
        lists = [x, out, *parts, split, uneven, *swapped]
        return [t.cpu().tolist() for t in lists]

    gathered = [[0.0, 2.0, 4.0, 6.0], [10.0, 12.0, 14.0, 16.0]]
    assert ranks(body) == [
        [[1.0] * 3, gathered, [1.0], [2.0, 2.0], [0.0, 2.0], [0.0], [0.0], [10.0, 10.0]],
        [[1.0] * 3, gathered, [1.0], [2.0, 2.0], [4.0, 6.0], [4.0, 8.0], [1.0, 1.0], [11.0] * 3],
    ]


def test_gather_scatter_and_messages(ranks: Any) -> None:
    def body(here: Any) -> list[Any]:
        r, where = here.rank, here.device
        into = [fb.zeros(i + 1, device=where) for i in range(SIZE)] if r == 0 else []
        mine = fb.full((r + 1,), r + 5.0, device=where)
        call(here, "gather", (1, 2) if r == 0 else (), 0, reads=[mine], writes=into)
        given = [fb.full((i + 1,), i + 7.0, device=where) for i in range(SIZE)] if r == 1 else []
        out = fb.zeros(r + 1, device=where)
        call(here, "scatter", (1, 2) if r == 1 else (), 1, reads=given, writes=[out])
        x, came = fb.full((2,), float(r), device=where), list[int]()
        if r == 0:
            call(here, "send", 1, 0, reads=[x])
        else:
            call(here, "recv", 0, 0, came, writes=[x])
        return [[t.cpu().tolist() for t in (*into, out, x)], came]

    assert ranks(body) == [[[[5.0], [6.0, 6.0], [7.0], [0.0, 0.0]], []], [[[8.0, 8.0], [0.0, 0.0]], [0]]]


def test_a_call_comes_behind_what_was_enqueued(machine: Any, ranks: Any) -> None:
    def body(here: Any) -> Any:
        machine.fake.lazy = True
        x = fb.ones(1000, device=here.device)
        for _ in range(3):
            x.mul_(2)
        call(here, "all_reduce", ReduceOp.SUM, both=[x])
        return (x + 1).cpu().sum().item()

    try:
        assert ranks(body) == [17_000.0, 17_000.0]
    finally:
        machine.fake.lazy = False


def test_what_it_does_not_have(ranks: Any) -> None:
    def body(here: Any) -> list[str]:
        found = []
        for x, op in ((fb.ones(2, dtype=fb.int32), ReduceOp.BXOR), (fb.ones(2, dtype=fb.int16), ReduceOp.SUM)):
            with pytest.raises(ValueError, match="backend 'mpi' has it") as raised:
                call(here, "all_reduce", op, both=[x.to(here.device)])
            found.append(str(raised.value))
        return found

    for found in ranks(body):
        assert "BXOR of int32" in found[0] and "SUM of int16" in found[1]


def test_without_the_library(machine: Any) -> None:
    assert "flambeau[nccl]" in (machine.backend.lacks_collectives() or "")
    with pytest.raises(BackendUnavailableError, match=r"flambeau\[nccl\]"):
        machine.backend.communicator(0, 1, lambda data: data)
    assert not engines.is_nccl_available() and engines.chosen(["cuda", "cuda"]).engines["cpu"] == "mpi"
    assert "cuda" not in engines.chosen(["cuda", "cuda"]).engines
    machine.fake.module.cuda.nccl = Nccl(machine.fake)
    assert engines.is_nccl_available() and engines.chosen(["cuda", "cuda"]).engines["cuda"] == "nccl"
    assert "cuda" not in engines.chosen(["cuda", "cpu"]).engines


def test_the_pretend_module_has_nothing_of_its_own(machine: Any) -> None:
    """Where the library is installed, CuPy's module has each name and takes the arguments by these names."""
    cupy = pytest.importorskip("cupy")
    real = nccl.library(cupy)
    if real is None:
        pytest.skip("NCCL is not installed")
    pretend = Nccl(machine.fake)
    for name in [*TYPES, *FOLDS, "get_unique_id", "groupStart", "groupEnd", "NcclCommunicator"]:
        assert hasattr(real, name), name
    for name, fn in vars(Communicator).items():
        if not name.startswith("_") and callable(fn):
            told = getattr(real.NcclCommunicator, name).__doc__.splitlines()[0]
            assert re.findall(r"(\w+)[,)]", told) == list(inspect.signature(fn).parameters), (name, told)
    unique, own = real.get_unique_id(), pretend.get_unique_id()
    assert type(unique) is type(own) and len(unique) == len(own)
