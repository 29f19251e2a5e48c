"""The op database on ``cuda:0`` of the pretend machine: the backend's own Python, its kernels' own texts.

What is compared is the CPU backend, which has tests of its own against independent references. The texts
that ran are then compiled for a GPU.
"""

from __future__ import annotations

import gc
import re
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.cuda.build import OPTIONS
from flambeau.core import dtype as dt
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb.run import assert_close, dtypes_of, samples_of, to_host
from flambeau.plugins.conformance.opdb.shape import UNDEFINED
from tests.backends.cuda import nvrtc
from tests.backends.elsewhere import run_on

OPS = opdb.load()
ALL = sorted(name for name, op in OPS.items() if op.samples is not None)
#: Ops of each family, and those that go through CuPy, with the dtypes of the default run.
SAMPLE = {
    "add": (dt.float32, dt.bfloat16), "gelu": (dt.float32,), "where": (dt.float32,), "idiv": (dt.int64,),
    "sum": (dt.float32, dt.bfloat16), "argmax": (dt.float32,), "cumsum": (dt.float32,), "softmax": (dt.float16,),
    "matmul": (dt.float32, dt.bfloat16, dt.int32), "gather": (dt.float32,), "scatter": (dt.float32, dt.float16),
    "argsort": (dt.float32, dt.bfloat16), "topk": (dt.float32,), "random_bits": (dt.uint32,), "cholesky": (dt.float32,),
    "solve": (dt.complex64,), "svd": (dt.float32,), "nonzero": (dt.float32,),
    "cat": (dt.float32,), "pad": (dt.int64,), "conv": (dt.float32,), "embedding": (dt.float32,),
}  # fmt: skip
EXPRESSION = re.compile(r"^KERNEL (flat|rows)\(", re.MULTILINE)
#: Of each kind those that differ; the texts of the others differ from theirs in a type's name.
DTYPES = (
    dt.bool_, dt.int32, dt.int64, dt.float16, dt.bfloat16, dt.float32, dt.complex64,
)  # fmt: skip


def compare(machine: Any, name: str, dtype: dt.DType) -> None:
    op = OPS[name]
    for sample in samples_of(op, dtype):
        wanted, found = run_on(op, sample, "cpu"), run_on(op, sample, "cuda")
        assert wanted
        for w, f in zip(wanted, found, strict=True):
            if isinstance(w, fb.Tensor):
                assert f.device.type == ("cuda" if w.device.type == "cpu" else w.device.type)
                assert (f.shape, f.dtype) == (w.shape, w.dtype)
                if name not in UNDEFINED:
                    assert_close(op, to_host(f.cpu()), to_host(w), w.dtype, f"{name} {dtype} {sample}")


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n, ds in SAMPLE.items() for d in ds if n in OPS], ids=str)
def test_a_sample(shared: Any, name: str, dtype: dt.DType) -> None:
    compare(shared, name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_op(shared: Any, name: str) -> None:
    for dtype in dtypes_of(OPS[name]):
        if dtype in DTYPES:
            compare(shared, name, dtype)
    compile_for_a_gpu(shared)


def compile_for_a_gpu(machine: Any, at_most: int | None = None) -> int:
    """Compile the texts that ran and were not compiled yet, but for expressions (:mod:`test_compile`); how many.

    No text asks for the architecture: each is compiled for one, and half of them for the other.
    """
    if nvrtc.library() is None:
        pytest.skip("the wheel nvidia-cuda-nvrtc-cu12 is not installed")
    new = sorted(t for t in machine.fake.texts - machine.fake.compiled if not EXPRESSION.search(t))[:at_most]
    for text in new:
        assert ".visible .entry" in nvrtc.compile_ptx(text, ("80", "90")[crc32(text.encode()) % 2], OPTIONS)
        machine.fake.compiled.add(text)
    return len(new)


def test_what_ran_compiles_for_a_gpu(shared: Any) -> None:
    for name in ("add", "sum", "argsort", "scatter", "softmax", "random_bits", "max_pool", "layer_norm", "cumsum"):
        compare(shared, name, dtypes_of(OPS[name])[0])
    assert compile_for_a_gpu(shared, at_most=40)


# -- training ------------------------------------------------------------------------------------------
def train(device: str) -> tuple[list[float], dict[str, Any]]:
    """A few steps of a small convolutional network on fixed data."""
    fb.manual_seed(1)
    model = fb.nn.Sequential(
        fb.nn.Conv2d(1, 4, 3, padding=1, bias=False), fb.nn.BatchNorm2d(4), fb.nn.ReLU(), fb.nn.MaxPool2d(2),
        fb.nn.Flatten(), fb.nn.Linear(64, 16), fb.nn.GELU(), fb.nn.LayerNorm(16), fb.nn.Linear(16, 3),
    ).to(device)  # fmt: skip
    x, y = fb.randn(12, 1, 8, 8).to(device), fb.randint(0, 3, (12,)).to(device)
    optimizer = fb.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = fb.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {k: v.cpu() for k, v in model.state_dict().items()}


def test_training_is_that_of_the_cpu(shared: Any) -> None:
    wanted, here = train("cpu")
    found, there = train("cuda")
    assert found == pytest.approx(wanted, rel=1e-4)
    assert found[-1] < found[0]
    for name, value in here.items():
        np.testing.assert_allclose(there[name].numpy(), value.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)


def test_nothing_of_the_training_stays_in_memory(machine: Any) -> None:
    train("cuda")
    gc.collect()
    kept = machine.backend.memory_stats(0).allocated
    train("cuda")
    gc.collect()
    assert machine.backend.memory_stats(0).allocated <= kept + 4096
