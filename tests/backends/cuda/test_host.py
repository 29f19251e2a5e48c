"""The host's side of the CUDA backend on a pretend machine: memory, streams, pinned memory, devices, errors."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import BackendUnavailableError, DeviceLostError, OutOfMemoryError
from flambeau.core import dtype as dt


def values(t: Any) -> list[Any]:
    found: list[Any] = t.cpu().tolist()
    return found


# -- memory --------------------------------------------------------------------------------------------
def test_memory_is_counted(machine: Any) -> None:
    before = fb.accelerator.memory_allocated("cuda")
    x = fb.zeros(1000, device="cuda")
    assert fb.accelerator.memory_allocated("cuda") == before + 4000
    y = x + x
    assert fb.accelerator.max_memory_allocated("cuda") >= before + 8000
    del y
    gc.collect()
    assert fb.accelerator.memory_allocated("cuda") == before + 4000
    assert fb.accelerator.memory_reserved("cuda") >= 8000
    fb.accelerator.empty_cache("cuda")
    assert fb.accelerator.memory_reserved("cuda") < 8000
    fb.accelerator.reset_peak_memory_stats("cuda")
    assert fb.accelerator.max_memory_allocated("cuda") == before + 4000


def test_results_of_the_libraries_are_counted_too(machine: Any) -> None:
    x = fb.eye(32, device="cuda")
    before = fb.accelerator.memory_allocated("cuda")
    y = fb.linalg.cholesky(x)
    assert fb.accelerator.memory_allocated("cuda") >= before + y.nbytes
    del y
    gc.collect()
    assert fb.accelerator.memory_allocated("cuda") == before


def test_a_limit(machine: Any) -> None:
    x = fb.zeros(256, device="cuda")
    fb.accelerator.set_memory_limit(fb.accelerator.memory_allocated("cuda") + 4096, "cuda")
    with pytest.raises(OutOfMemoryError, match=r"cuda:0 .*4400 bytes asked for.*limit") as caught:
        fb.zeros(1100, device="cuda")
    assert "memory limit" in str(caught.value)
    assert values(x + 1) == [1.0] * 256
    fb.accelerator.set_memory_limit(None, "cuda")
    assert fb.zeros(1100, device="cuda").numel() == 1100
    with pytest.raises(ValueError, match="must not be negative"):
        fb.accelerator.set_memory_limit(-1, "cuda")


def test_when_the_device_is_full(machine: Any) -> None:
    """Free blocks go back first; then the error has the figures."""
    machine.fake.capacity = 1 << 20
    x = fb.zeros(150_000, device="cuda")
    del x
    gc.collect()
    y = fb.zeros(120_000, device="cuda")  # another size: only fits once the first one's block is given back
    with pytest.raises(OutOfMemoryError, match=r"600000 bytes asked for, 480\d+ in use by tensors, \d+ in the pool"):
        fb.zeros(150_000, device="cuda")
    assert values(y[:2]) == [0.0, 0.0]
    with pytest.raises(OutOfMemoryError, match="out of memory"):
        fb.linalg.inv(fb.eye(346, device="cuda"))


# -- several devices -----------------------------------------------------------------------------------
def test_each_device_computes_its_own(machine: Any) -> None:
    a, b = fb.ones(3, device="cuda:0"), fb.ones(3, device="cuda:1")
    before = [fb.accelerator.memory_allocated(f"cuda:{i}") for i in range(2)]
    c = (b * 2).softmax(0) + fb.linalg.inv(fb.eye(3, device="cuda:1")).sum(0)
    assert c.device == fb.device("cuda:1")
    assert values(c) == pytest.approx([1 / 3 + 1] * 3)
    assert fb.accelerator.memory_allocated("cuda:0") == before[0]
    assert fb.accelerator.memory_allocated("cuda:1") > before[1]
    with pytest.raises(RuntimeError, match="same device"):
        a + b
    assert machine.fake.device == 0  # what was current before still is


def test_copies_between_devices(machine: Any) -> None:
    x = fb.arange(12, device="cuda:0").reshape(3, 4)
    for view in (x, x.T, x[1:, ::2], x[0, 0]):
        there = view.to("cuda:1")
        assert there.device == fb.device("cuda:1") and values(there) == values(view)
    machine.fake.lazy = True
    y = (x * 2).to("cuda:1") + 1
    back = y.to("cuda:0") * 1
    assert values(back) == (np.arange(12).reshape(3, 4) * 2 + 1).tolist()


def test_a_device_that_is_not_there(machine: Any) -> None:
    with pytest.raises(BackendUnavailableError, match=r"'cuda:2' does not exist: cuda has 2 device"):
        fb.zeros(1, device="cuda:2")
    assert fb.accelerator.device_count() >= 0
    assert machine.backend.accelerators() == (0, 1)
    assert machine.backend.properties(1).details["compute_capability"] == "9.0"


# -- streams -------------------------------------------------------------------------------------------
def test_streams_run_apart_and_wait_for_each_other(machine: Any) -> None:
    x = fb.ones(4, device="cuda")
    fb.accelerator.synchronize("cuda")
    machine.fake.lazy = True
    side, main = fb.accelerator.Stream("cuda"), fb.accelerator.current_stream("cuda")
    with side:
        assert fb.accelerator.current_stream("cuda") == side != main
        y = x * 3
        done = side.record_event()
    assert fb.accelerator.current_stream("cuda") == main
    assert not side.query() and not done.query()
    main.wait_event(done)
    assert values(y + 1) == [4.0] * 4
    assert done.query() and side.query()


def test_without_waiting_the_other_stream_is_read_too_early(machine: Any) -> None:
    """The pretend machine shows what the waiting is for."""
    y = fb.zeros(4, device="cuda")
    fb.accelerator.synchronize("cuda")
    machine.fake.lazy = True
    side = fb.accelerator.Stream("cuda")
    with side:
        y.add_(1)
    assert values(y) == [0.0] * 4
    side.synchronize()
    assert values(y) == [1.0] * 4


def test_memory_in_use_on_another_stream_is_not_given_away(machine: Any) -> None:
    x = fb.full((512,), 7.0, device="cuda")
    fb.accelerator.synchronize("cuda")
    side = fb.accelerator.Stream("cuda")
    machine.fake.lazy = True
    with side:
        y = x + 0
    del x
    gc.collect()
    z = fb.zeros(512, device="cuda")  # takes the block of x on the main stream
    assert values(z[:1]) == [0.0]
    with side:
        assert values(y[:2]) == [7.0, 7.0]


def test_copies_beside_the_work(machine: Any) -> None:
    """As docs/tutorials/devices.md does it: the next batch is copied while the last is worked on."""
    batches = [fb.full((300,), float(i)).pin_memory() for i in range(5)]
    copies = fb.accelerator.Stream("cuda")
    fb.zeros(1, device="cuda")
    machine.fake.lazy = True
    results, current = [], None
    for batch in [*batches, None]:
        with copies:
            following = None if batch is None else batch.to("cuda", non_blocking=True)
            ready = copies.record_event()
        if current is not None:
            results.append((current * 2).sum() / 600)
        ready.wait()
        current = following
    del batches, following, current
    gc.collect()
    assert [r.item() for r in results] == [0.0, 1.0, 2.0, 3.0, 4.0]
    copies.synchronize()
    assert machine.backend.pinning.sweep() == 0


def test_events_measure_time_if_they_were_made_for_it(machine: Any) -> None:
    start, end = (fb.accelerator.Event("cuda", enable_timing=True) for _ in range(2))
    start.record()
    end.record()
    end.synchronize()
    assert start.elapsed_time(end) == 1.5
    with pytest.raises(ValueError, match="enable_timing"):
        start.elapsed_time(fb.accelerator.current_stream("cuda").record_event())
    with pytest.raises(RuntimeError, match="recorded"):
        start.elapsed_time(fb.accelerator.Event("cuda"))
    with pytest.raises(ValueError, match="the event is of 'cuda:0', the stream of 'cuda:1'"):
        start.record(fb.accelerator.Stream("cuda:1"))


def test_a_device_without_streams_is_always_done() -> None:
    s, e = fb.accelerator.Stream("cpu"), fb.accelerator.Event("cpu", enable_timing=True)
    e.record(s)
    with s:
        assert s.query() and e.query() and fb.accelerator.current_stream("cpu") == s
    s.wait_stream(fb.accelerator.Stream("cpu"))
    s.synchronize()
    assert e.elapsed_time(s.record_event()) >= 0


# -- pinned memory -------------------------------------------------------------------------------------
def test_a_pinned_tensor_is_copied_later_and_kept_until_then(machine: Any) -> None:
    plain = fb.arange(6.0).reshape(2, 3)
    x = plain.pin_memory("cuda")
    assert x.is_pinned() and x[1:].is_pinned() and not plain.is_pinned() and values(x) == values(plain)
    assert x.pin_memory() is x
    fb.zeros(1, device="cuda")
    machine.fake.lazy = True
    y = x.to("cuda", non_blocking=True)
    assert machine.backend.pinning.sweep() == 1
    del x
    gc.collect()
    machine.fake.lazy = False
    assert values(y) == values(plain)
    assert machine.backend.pinning.sweep() == 0


def test_changing_a_pinned_tensor_after_a_blocking_copy_does_no_harm(machine: Any) -> None:
    x = fb.ones(4).pin_memory()
    machine.fake.lazy = True
    y = x.to("cuda")
    x.fill_(5)
    assert values(y) == [1.0] * 4
    z = fb.ones(4).to("cuda", non_blocking=True)  # pageable memory is read at once
    assert machine.backend.pinning.sweep() == 0 and values(z) == [1.0] * 4


def test_a_part_of_a_pinned_tensor(machine: Any) -> None:
    x = fb.arange(12).reshape(3, 4).pin_memory()
    assert values(x[:, 1:3].to("cuda", non_blocking=True)) == values(x[:, 1:3])
    assert values(x[1].to("cuda", fb.float32, non_blocking=True)) == [4.0, 5.0, 6.0, 7.0]
    assert fb.zeros(0, 3).pin_memory().to("cuda", non_blocking=True).shape == (0, 3)


def test_constructors_pin(machine: Any) -> None:
    for made in (
        fb.tensor([1.0, 2.0], pin_memory=True), fb.tensor(fb.ones(2), pin_memory=True), fb.empty(3, pin_memory=True),
        fb.rand(2, pin_memory=True), fb.randn(2, pin_memory=True), fb.randperm(4, pin_memory=True),
    ):  # fmt: skip
        assert made.is_pinned() and made.is_leaf
    assert fb.rand(2, pin_memory=True, requires_grad=True).requires_grad


def test_what_cannot_be_pinned(machine: Any) -> None:
    with pytest.raises(RuntimeError, match=r"pin_memory: only tensors in host memory .*'cuda:0'"):
        fb.ones(2, device="cuda").pin_memory()
    with pytest.raises(RuntimeError, match=r"pin_memory: no device here .*'cpu' has none"):
        fb.ones(2).pin_memory("cpu")


def test_a_loader_pins_its_batches(machine: Any) -> None:
    data = fb.utils.data.TensorDataset(fb.arange(6.0), fb.arange(6))
    for x, y in fb.utils.data.DataLoader(data, 3, pin_memory=True):
        assert x.is_pinned() and y.is_pinned()
        assert values(x.to("cuda", non_blocking=True)) == values(y)


# -- other libraries -----------------------------------------------------------------------------------
class Producer:
    """Another library's array on ``cuda:0``, which notes the stream that it is asked for."""

    def __init__(self, array: Any):
        self.array = array

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, copy: Any = None) -> Any:
        return self.array.__dlpack__(max_version=max_version, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


def test_memory_of_another_library(machine: Any) -> None:
    fb.zeros(1, device="cuda")
    before = fb.accelerator.memory_allocated("cuda")
    a = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    t = fb.from_dlpack(Producer(a[1:, ::2]))
    assert t.device == fb.device("cuda:0") and values(t) == a[1:, ::2].tolist()
    a[1, 0] = 50
    assert values(t)[0][0] == 50
    t.mul_(2)
    assert a[1, 0] == 100
    assert fb.accelerator.memory_allocated("cuda") - before < 48  # constants alone
    copied = fb.from_dlpack(Producer(a), copy=True)
    a[:] = 0
    assert values(copied)[1][0] == 100
    assert fb.from_dlpack(Producer(a), device="cpu").device == fb.device("cpu")


def test_data_ptr_is_the_address_on_the_device(machine: Any) -> None:
    x = fb.arange(6.0, device="cuda").reshape(2, 3)
    seen = machine.backend.cupy.from_dlpack(x[1:, 1:])
    assert seen.data.ptr == x[1:, 1:].data_ptr() == x.data_ptr() + 16


def test_our_memory_for_another_library(machine: Any) -> None:
    t = fb.arange(6.0, device="cuda:1").reshape(2, 3)
    assert t.__dlpack_device__() == (2, 1)
    seen = machine.backend.cupy.from_dlpack(t.T)
    assert machine.fake.exports == [0]
    held = machine.backend.memory_stats(1).allocated
    assert seen.get().tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    del t
    gc.collect()
    assert machine.backend.memory_stats(1).allocated == held  # the capsule keeps it
    x = fb.ones(2, device="cuda")
    assert np.from_dlpack(x, device="cpu", copy=True).tolist() == [1.0, 1.0]
    with pytest.raises(BufferError, match=r"cannot export to the DLPack device \(2, 1\)"):
        x.__dlpack__(dl_device=(2, 1))
    with pytest.raises(BufferError, match="requires grad"):
        fb.ones(2, device="cuda", requires_grad=True).__dlpack__()


# -- dtypes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", dt.ALL, ids=str)
def test_every_dtype_goes_there_and_back(machine: Any, dtype: dt.DType) -> None:
    x = fb.tensor([[0, 1, 2], [3, 1, 0]]).to(dtype)
    y = x.to("cuda").T
    assert y.dtype is dtype
    np.testing.assert_array_equal(y.cpu().numpy(), x.numpy().T)
    np.testing.assert_array_equal((y == y).cpu().numpy(), True)
    assert fb.full((2,), 1, dtype=dtype, device="cuda").cpu().tolist() == fb.full((2,), 1, dtype=dtype).tolist()


def test_half_precision_rounds_once(machine: Any) -> None:
    x = fb.randn(40, 50)
    for dtype in (fb.float16, fb.bfloat16):
        a = x.to(dtype)
        product = (a.to("cuda") @ a.T.to("cuda")).cpu()
        exact = a.double() @ a.T.double()
        np.testing.assert_allclose(product.double().numpy(), exact.numpy(), rtol=2**-7, atol=0.05)
        total = a.to("cuda").sum().cpu().double()
        assert abs(total - a.double().sum()) <= 2**-7 * abs(a.double().sum()) + 0.02


# -- errors --------------------------------------------------------------------------------------------
def test_a_bad_index_is_told_at_the_next_read(machine: Any) -> None:
    x, index = fb.arange(5.0, device="cuda"), fb.tensor([1, 7], device="cuda")
    y = x.gather(0, index)
    with pytest.raises(IndexError, match=r"gather: index 7 is out of bounds for dimension 0 with size 5 .*cuda:0"):
        y.cpu()
    assert values(x.gather(0, fb.tensor([1, 2], device="cuda"))) == [1.0, 2.0]


def test_failures_of_the_libraries_are_told(machine: Any) -> None:
    singular = fb.tensor([[1.0, 2.0], [2.0, 4.0]], device="cuda")
    with pytest.raises(RuntimeError, match=r"inv.*singular"):
        fb.linalg.inv(singular)
    with pytest.raises(RuntimeError, match=r"cholesky.*positive"):
        fb.linalg.cholesky(-fb.eye(2, device="cuda").expand(3, 2, 2))


def test_a_lost_device_says_so(machine: Any) -> None:
    from tests.backends.cuda.fake_cupy import CUDADriverError, CUDARuntimeError

    x = fb.ones(3, device="cuda")
    machine.fake.broken = CUDADriverError(700, "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")
    with pytest.raises(DeviceLostError, match=r"cuda:0 .*stopped answering.*ILLEGAL_ADDRESS.*new process"):
        x + x
    machine.fake.broken = CUDARuntimeError(9, "cudaErrorInvalidConfiguration")
    with pytest.raises(CUDARuntimeError, match="InvalidConfiguration"):
        x + x
    machine.fake.broken = None
    assert values(x + x) == [2.0] * 3


def test_a_forked_child_is_refused(machine: Any) -> None:
    x = fb.ones(3, device="cuda")
    machine.backend.after_fork()
    with pytest.raises(DeviceLostError, match=r"forked.*spawn"):
        x + 1
    assert "forked" in machine.backend.unavailable_reason()
    machine.backend._dead = False
    machine.backend.device(0).dead = False


def test_a_fork_before_the_first_use_does_no_harm() -> None:
    from flambeau.backends.cuda.backend import CudaBackend

    backend = CudaBackend()
    backend.after_fork()
    assert "forked" not in (backend.unavailable_reason() or "")
