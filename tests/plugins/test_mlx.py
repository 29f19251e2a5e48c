"""The package for MLX: what is its own beside the conformance kit, which its ``test_conformance.py`` runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.backends.base import OutOfMemoryError
from flambeau.core import dtype as dt
from flambeau.core import registry

PACKAGE = Path(__file__).resolve().parents[2] / "flambeau" / "plugins" / "mlx"
HELD = (
    "bool_",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
)


@pytest.fixture(scope="module")
def backend() -> Iterator[Any]:
    """The backend, registered as if the package were installed."""
    pytest.importorskip("mlx.core")
    sys.path.insert(0, str(PACKAGE))
    try:
        import flambeau_mlx

        fresh = "mlx" not in registry.backends
        if fresh:
            registry.register_backend(flambeau_mlx.flambeau_backends(), "tests")
        yield registry.backends["mlx"]
        if fresh:
            registry.unregister_backend("mlx")
    finally:
        sys.path.remove(str(PACKAGE))


@pytest.fixture
def idle(backend: Any) -> Any:
    """The backend, with nothing to do."""
    backend.synchronize()
    return backend


# -- cells -------------------------------------------------------------------------------------------
VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x, "rows": lambda x: x[1:3], "column": lambda x: x[:, 2], "steps": lambda x: x[::2, 1::2],
    "transposed": lambda x: x.T, "part of it": lambda x: x.T[1:4, 2:], "element": lambda x: x[2:3, 3:4],
    "diagonal": lambda x: x.reshape(-1)[::7], "crooked": lambda x: x.reshape(-1)[1:21].reshape(4, 5),
    "other shape": lambda x: x.reshape(3, 2, 4), "none": lambda x: x[2:2], "tail": lambda x: x.reshape(-1)[-5:],
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views_read_and_write_what_numpys_do(backend: Any, name: str) -> None:
    host = np.arange(24, dtype=np.float32).reshape(4, 6)
    x, view = fb.tensor(host, device="mlx"), VIEWS[name]
    np.testing.assert_array_equal(view(x).cpu().numpy(), view(host))
    view(x).mul_(10)
    there = view(host)
    there *= 10
    view(x)[:0].add_(1)  # writes nothing
    np.testing.assert_array_equal(x.cpu().numpy(), host)


def test_views_of_what_has_gaps_are_read(backend: Any) -> None:
    """MLX reads strides of row-contiguous arrays alone; what stands in a cell here is a transposition."""
    host = np.arange(24, dtype=np.float32).reshape(4, 6)
    x = fb.tensor(host, device="mlx").T.contiguous()
    assert x[1:, ::2].tolist() == host.T[1:, ::2].tolist() and x.view(fb.int32)[2].shape == (4,)
    x[:, 1] = 0
    assert x.tolist() == np.where(np.arange(4) == 1, 0, host.T).tolist()


def test_what_is_read_is_read_before_it_is_written(backend: Any) -> None:
    host = np.arange(600, dtype=np.float32).reshape(20, 30) % 97
    x, flat = fb.tensor(host, device="mlx"), lambda x: x.reshape(-1)[1:581].reshape(20, 29)
    x[1:] = x[1:] + x[:-1]
    x.T[3:] = x.T[3:] + x.T[:-3]
    flat(x)[1:] = flat(x)[1:] + flat(x)[:-1]
    host[1:] += host[:-1].copy()
    host.T[3:] += host.T[:-3].copy()
    flat(host)[1:] += flat(host)[:-1].copy()
    np.testing.assert_array_equal(x.cpu().numpy(), host)


@pytest.mark.parametrize("name", HELD)
def test_bytes_are_kept_as_every_dtype(backend: Any, name: str) -> None:
    dtype = getattr(dt, name)
    size = dtype.itemsize
    raw = np.arange(5 * size, dtype=np.uint8) % 2 if dtype is dt.bool_ else np.arange(5 * size, dtype=np.uint8)
    host = raw.view(dtype.numpy)
    x = fb.tensor(host, device="mlx")
    np.testing.assert_array_equal(x.view(fb.uint8).cpu().numpy(), raw)
    back = fb.tensor(raw, device="mlx").view(dtype)
    np.testing.assert_array_equal(back.cpu().numpy().view(np.uint8), raw)
    x.view(fb.uint8)[:size] = 1
    assert x.view(fb.uint8)[:size].tolist() == [1] * size and x[1:].cpu().numpy().tobytes() == raw[size:].tobytes()


def test_float64_is_held_as_float32(backend: Any) -> None:
    """MLX computes float64 to float32's accuracy, on processors alone."""
    assert not backend.supports(dt.float64) and not backend.has("has_fp64")
    assert backend.stored(dt.float64) is dt.float32


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_no_division_of_integers_traps(backend: Any, dtype: dt.DType) -> None:
    """The least number over -1 is a trap of processors, which MLX does not look at."""
    info = fb.iinfo(dtype)
    x = np.array([info.min, info.max, 7, 1, 100], dtype.numpy)
    y = np.array([-1, -1, 2, -3, 7] if dtype.is_signed else [info.max, 1, 2, 3, 7], dtype.numpy)
    for fn in (fb.floor_divide, fb.fmod, fb.remainder):
        wanted, found = (fn(fb.tensor(x, device=d), fb.tensor(y, device=d)) for d in ("cpu", "mlx"))
        assert found.tolist() == wanted.tolist()


# -- laziness ----------------------------------------------------------------------------------------
def test_nothing_waits_that_no_tensor_holds(idle: Any) -> None:
    x = y = fb.ones(3, device="mlx")
    idle.synchronize()
    for _ in range(10):
        y = y * 2 + 1
    assert len(idle.pending) == 1  # y alone: the others are temporaries
    del y
    assert not idle.pending and x.tolist() == [1, 1, 1]


def test_work_that_piles_up_is_begun(idle: Any) -> None:
    from flambeau_mlx.backend import _WAITING

    flushes, flush = [], idle.flush
    idle.flush = lambda: (flushes.append(1), flush())
    try:
        x = fb.zeros(2, device="mlx")
        for _ in range(4 * _WAITING):
            x = x + 1
    finally:
        del idle.flush
    assert 3 <= len(flushes) <= 5 and x.tolist() == [4 * _WAITING] * 2


def test_a_step_begins_what_waits(idle: Any) -> None:
    p = nn.Parameter(fb.ones(3, device="mlx"))
    step = optim.SGD([p], lr=0.5)
    p.grad = fb.ones(3, device="mlx")
    step.step()
    assert not idle.pending and p.tolist() == [0.5] * 3


def test_threads_share_arrays(backend: Any) -> None:
    """MLX's arrays belong to the stream of their thread, all but those here."""
    x, found = fb.arange(6.0, device="mlx") + 1, []

    def work(i: int) -> None:
        found.append(((x * i).sum() + (x @ x)).item())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(found) == [91 + 21 * i for i in range(8)]


def test_a_bad_index_raises_at_the_read_and_names_the_op(backend: Any) -> None:
    """MLX reads out of range without a word."""
    x, index = fb.arange(6.0, device="mlx").reshape(2, 3), fb.tensor([[0, 7]], device="mlx")
    found = x.gather(1, index)
    with pytest.raises(IndexError, match="gather: index 7 is out of bounds for dimension 1 with size 3"):
        found.tolist()
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]  # said once
    x.scatter_(1, index, 9.0)
    with pytest.raises(IndexError, match="scatter: index 7 is out of bounds"):
        fb.accelerator.synchronize("mlx")
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_array_longer_than_mlx_counts_is_refused(backend: Any) -> None:
    with pytest.raises(OutOfMemoryError, match="2147483648 elements asked for"):
        fb.empty(1 << 31, dtype=fb.int8, device="mlx")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told(backend: Any) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import flambeau as fb\n"
        "from flambeau.backends.base import DeviceLostError\n"
        "x = fb.ones(3, device='mlx') + 1; x.tolist()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try: (x + 1).tolist()\n"
        "    except DeviceLostError: os._exit(7)\n"
        "    os._exit(1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7 and x.tolist() == [2, 2, 2]\n"
    )
    environment = {**os.environ, "FLAMBEAU_PLUGINS": "mlx=flambeau_mlx"}
    subprocess.run([sys.executable, "-c", code, str(PACKAGE)], check=True, env=environment, timeout=120)


# -- kernels -----------------------------------------------------------------------------------------
def losses(device: str, steps: int = 6) -> list[float]:
    """Of a model in which are a convolution, attention, norms and a recurrent layer."""
    cpu = fb.Generator().manual_seed(3)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.rnn = nn.Conv2d(1, 4, 3), nn.LayerNorm(36), nn.LSTM(36, 8, batch_first=True)
            self.attend, self.out = nn.MultiheadAttention(36, 4, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            x = self.norm(nn.functional.max_pool2d(nn.functional.gelu(self.conv(x)), 2).flatten(2))
            return self.out(self.rnn(self.attend(x, x, x, need_weights=False)[0])[0][:, -1])

    model = Model()
    with fb.no_grad():
        for p in model.parameters():
            p.copy_(fb.randn(*p.shape, generator=cpu) / 4)
    x, target = fb.randn(9, 1, 14, 14, generator=cpu).to(device), (fb.arange(9) % 3).to(device)
    step, found = optim.AdamW(model.to(device).parameters(), lr=0.01), []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), target)
        step.zero_grad()
        loss.backward()
        step.step()
        found.append(loss.item())
    return found


def test_training_has_the_cpus_losses(backend: Any) -> None:
    np.testing.assert_allclose(losses("mlx"), losses("cpu"), rtol=1e-5)


def test_training_on_mlxs_kernels_alone_has_the_cpus_losses(backend: Any) -> None:
    """As on a Mac, where nothing is borrowed from the CPU."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy as np\n"
        "from tests.plugins.test_mlx import losses\n"
        "np.testing.assert_allclose(losses('mlx'), losses('cpu'), rtol=1e-5)\n"
    )
    environment = {**os.environ, "FLAMBEAU_PLUGINS": "mlx=flambeau_mlx", "FLAMBEAUMLX_BORROW": "0"}
    root = PACKAGE.parents[2]
    subprocess.run([sys.executable, "-c", code, str(PACKAGE)], check=True, env=environment, cwd=root, timeout=300)


def test_attention_agrees_with_the_cpus(backend: Any) -> None:
    """MLX's causal mask is aligned to the last key, the record's to the first; a query that sees nothing gives 0."""
    from flambeau_mlx.kernels import attention

    host = np.random.default_rng(0).standard_normal((3, 2, 2, 5, 4)).astype(np.float32)
    import mlx.core as mx

    q, k, v = (fb.tensor(x) for x in host)
    hidden = fb.zeros(3, 5)
    hidden[1] = -fb.inf
    for causal, mask, rows in ((True, None, 5), (True, None, 3), (False, hidden, 3), (False, None, 3)):
        wanted = nn.functional.scaled_dot_product_attention(q[:, :, :rows], k, v, mask, is_causal=causal)
        given = [mx.array(x.numpy()) for x in (q[:, :, :rows], k, v)]
        found, _ = attention(*given, None if mask is None else mx.array(mask.numpy()), causal=causal, scale=0.5)
        np.testing.assert_allclose(np.array(found), wanted.numpy(), atol=1e-6)


def test_groups_of_steps_are_one_kernel(backend: Any) -> None:
    """By mx.compile, with the bits of the steps one by one."""
    from flambeau.backends.group import Group, Input, Output, Step
    from flambeau.core.expr import parse

    names = ("x", "y")
    first = Step("mul", parse("x * y", names), (0, 1), dt.float32)
    second = Step("sub", parse("exp(x) - y", names), (2, 1), dt.float32)
    inputs = (Input(dt.float32, (4, 3), (3, 1)), Input(dt.float32, (3,), (1,)))
    group = Group((4, 3), inputs, (first, second), (Output(0, (3, 1)), Output(1, None, 0)))
    x, y = fb.rand(4, 3, device="mlx"), fb.rand(3, device="mlx")
    if not backend.fuses(second, group.operands(second), group.shape):
        pytest.skip("mx.compile has no compiler here, or rounds otherwise")
    product = x * y
    wanted = (product.exp() - y).tolist()
    (found,) = backend.compile(group)(x._array, y._array)
    assert backend.to_host(found).tolist() == product.tolist() and x.tolist() == wanted


def test_a_seed_means_the_same_as_on_the_cpu(backend: Any) -> None:
    draws = []
    for where in ("mlx", "cpu"):
        generator = fb.Generator(where).manual_seed(7)
        draws.append([
            fb.randn(31, generator=generator, device=where).cpu().numpy(),
            fb.randint(0, 99, (17,), generator=generator, device=where).cpu().numpy(),
            fb.randperm(23, generator=generator, device=where).cpu().numpy(),
        ])  # fmt: skip
    for found, wanted in zip(*draws, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=3e-7)  # cosines near 0 are absolutely exact
