"""The number of threads is no part of a result: a program and a seed make the same bits with 1, 2, 3 and 8 of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
import flambeau.nn.functional as F
from flambeau.core import dtype as dt

Tensors = dict[str, Any]


def _x(*shape: int, dtype: Any = fb.float32) -> Any:
    return fb.randn(*shape, dtype=fb.float32).to(dtype)


def _conv(dim: int, **options: Any) -> Callable[[Any], Tensors]:
    def make(dtype: Any) -> Tensors:
        groups, sizes = options.get("groups", 1), {1: (700,), 2: (29, 31), 3: (9, 10, 11)}[dim]
        ins = {"x": _x(11, 16, *sizes, dtype=dtype), "w": _x(24, 16 // groups, *(3,) * dim, dtype=dtype)}
        ins["b"] = _x(24, dtype=dtype)
        return ins

    return make


def _wide(dtype: Any) -> Tensors:
    return {"x": _x(301, 1201, dtype=dtype)}


def _recurrent(gates: int, hidden: int, dtype: Any) -> Tensors:
    weights = {"w_ih": _x(gates * hidden, 31, dtype=dtype), "w_hh": _x(gates * hidden, hidden, dtype=dtype)}
    states = {name: _x(1, 70, hidden, dtype=dtype) for name in "hc"}
    return {"x": _x(4, 70, 31, dtype=dtype), **states, **weights}


#: Operands, and what is computed of them; every kernel that the threads share, and those around it.
CASES: dict[str, tuple[Callable[[Any], Tensors], Callable[..., Any]]] = {
    "conv1d": (_conv(1), lambda x, w, b: F.conv1d(x, w, b, padding=1)),
    "conv2d": (_conv(2), lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1)),
    "conv2d_plain": (_conv(2), lambda x, w, b: F.conv2d(x, w, b)),
    "conv2d_groups": (_conv(2, groups=4), lambda x, w, b: F.conv2d(x, w, b, groups=4)),
    "conv3d": (_conv(3), lambda x, w, b: F.conv3d(x, w, b, padding=1)),
    "conv_transpose2d": (
        lambda d: {"x": _x(11, 16, 20, 21, dtype=d), "w": _x(16, 24, 3, 3, dtype=d)},
        lambda x, w: F.conv_transpose2d(x, w, stride=2),
    ),
    "matmul": (
        lambda d: {"x": _x(513, 301, dtype=d), "y": _x(301, 517, dtype=d)},
        lambda x, y: x @ y,
    ),
    "matmul_many_terms": (
        lambda d: {"x": _x(9, 150_001, dtype=d), "y": _x(150_001, 11, dtype=d)},
        lambda x, y: x @ y,
    ),
    "matmul_vector": (
        lambda d: {"x": _x(2001, 801, dtype=d), "y": _x(801, dtype=d)},
        lambda x, y: x @ y,
    ),
    "dot": (lambda d: {"x": _x(200_001, dtype=d), "y": _x(200_001, dtype=d)}, lambda x, y: x @ y),
    "bmm": (lambda d: {"x": _x(19, 93, 71, dtype=d), "y": _x(19, 71, 97, dtype=d)}, lambda x, y: x @ y),
    "bmm_large": (lambda d: {"x": _x(2, 311, 203, dtype=d), "y": _x(2, 203, 257, dtype=d)}, lambda x, y: x @ y),
    "linear": (
        lambda d: {"x": _x(3001, 211, dtype=d), "w": _x(97, 211, dtype=d), "b": _x(97, dtype=d)},
        lambda x, w, b: F.linear(x, w, b),
    ),
    "einsum": (
        lambda d: {"x": _x(31, 57, 91, dtype=d), "y": _x(31, 91, 53, dtype=d)},
        lambda x, y: fb.einsum("bij,bjk->ik", x, y),
    ),
    "lstm_wide": (
        lambda d: _recurrent(4, 300, d),
        lambda x, h, c, w_ih, w_hh: fb.lstm(x, (h, c), [w_ih, w_hh], False, 1, 0.0, False, False, False)[0],
    ),
    "gru": (
        lambda d: _recurrent(3, 90, d),
        lambda x, h, c, w_ih, w_hh: fb.gru(x, h, [w_ih, w_hh], False, 1, 0.0, False, False, False)[0],
    ),
    "layer_norm": (
        lambda d: {"x": _x(5001, 63, dtype=d), "w": _x(63, dtype=d), "b": _x(63, dtype=d)},
        lambda x, w, b: F.layer_norm(x, (63,), w, b),
    ),
    "rms_norm": (
        lambda d: {"x": _x(5001, 63, dtype=d), "w": _x(63, dtype=d)},
        lambda x, w: F.rms_norm(x, (63,), w),
    ),
    "batch_norm": (
        lambda d: {"x": _x(17, 13, 33, 35, dtype=d), "w": _x(13, dtype=d), "b": _x(13, dtype=d)},
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    ),
    "batch_norm_flat": (
        lambda d: {"x": _x(20_003, 13, dtype=d), "w": _x(13, dtype=d), "b": _x(13, dtype=d)},
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    ),
    "group_norm": (
        lambda d: {"x": _x(17, 12, 33, 35, dtype=d), "w": _x(12, dtype=d), "b": _x(12, dtype=d)},
        lambda x, w, b: F.group_norm(x, 3, w, b),
    ),
    "instance_norm": (lambda d: {"x": _x(17, 12, 33, 35, dtype=d)}, lambda x: F.instance_norm(x)),
    "softmax": (_wide, lambda x: F.softmax(x, 1)),
    "softmax_0": (_wide, lambda x: F.softmax(x, 0)),
    "log_softmax": (_wide, lambda x: F.log_softmax(x, 1)),
    "gelu": (_wide, lambda x: F.gelu(x)),
    "silu": (_wide, lambda x: F.silu(x)),
    "tanh": (_wide, lambda x: fb.tanh(x)),
    "sigmoid": (_wide, lambda x: fb.sigmoid(x)),
    "erfinv": (_wide, lambda x: fb.erfinv(x)),
    "frexp": (_wide, lambda x: fb.frexp(x)[0]),
    "exp": (_wide, lambda x: fb.exp(x)),
    "log": (_wide, lambda x: fb.log(x.abs() + 1)),
    "sin": (_wide, lambda x: fb.sin(x)),
    "pow": (_wide, lambda x: (x.abs() + 1) ** 1.7),
    "div": (_wide, lambda x: 1 / (x.abs() + 1)),
    "exp_of_a_view": (_wide, lambda x: fb.exp(x.t()[::3])),
    "where": (_wide, lambda x: fb.where(x > 0, x, -2 * x)),
    "sum": (lambda d: {"x": _x(1101, 1201, dtype=d)}, lambda x: x.sum(0)),
    "sum_1": (lambda d: {"x": _x(1101, 1201, dtype=d)}, lambda x: x.sum(1)),
    "sum_all": (lambda d: {"x": _x(1101, 1201, dtype=d)}, lambda x: x.sum()),
    "sum_middle": (lambda d: {"x": _x(13, 20_001, 5, dtype=d)}, lambda x: x.mean((0, 2))),
    "sum_of_few": (lambda d: {"x": _x(400_001, 3, dtype=d)}, lambda x: x.sum(0)),
    "var": (lambda d: {"x": _x(1101, 1201, dtype=d)}, lambda x: x.var(0)),
    "logsumexp": (lambda d: {"x": _x(1101, 1201, dtype=d)}, lambda x: x.logsumexp(0)),
    "cumsum": (_wide, lambda x: x.cumsum(0)),
    "cumprod": (_wide, lambda x: (1 + x / 1000).cumprod(1)),
    "sort": (_wide, lambda x: x.sort(1)[0]),
    "max_pool": (lambda d: {"x": _x(13, 7, 65, 67, dtype=d)}, lambda x: F.max_pool2d(x, 3, 2)),
    "avg_pool": (lambda d: {"x": _x(13, 7, 65, 67, dtype=d)}, lambda x: F.avg_pool2d(x, 3, 2)),
    "embedding": (
        lambda d: {"w": _x(301, 57, dtype=d)},
        lambda w: F.embedding(fb.arange(7001) * 31 % 301, w),
    ),
    "index_add": (
        lambda d: {"x": _x(31, 57, dtype=d), "y": _x(7001, 57, dtype=d)},
        lambda x, y: x.index_add(0, fb.arange(7001) % 31, y),
    ),
    "attention": (
        lambda d: {"q": _x(4, 4, 129, 32, dtype=d), "k": _x(4, 4, 129, 32, dtype=d)},
        lambda q, k: F.scaled_dot_product_attention(q, k, k),
    ),
    "cross_entropy": (
        lambda d: {"x": _x(5001, 57, dtype=d)},
        lambda x: F.cross_entropy(x, fb.arange(5001) % 57),
    ),
    "svd": (lambda d: {"x": _x(230, 210, dtype=d)}, lambda x: fb.linalg.svdvals(x)),
    "eigh": (lambda d: {"x": _x(230, 230, dtype=d)}, lambda x: fb.linalg.eigvalsh(x @ x.t())),
    "inv": (lambda d: {"x": _x(230, 230, dtype=d)}, lambda x: fb.linalg.inv(x)),
    "solve": (
        lambda d: {"x": _x(230, 230, dtype=d), "y": _x(230, 97, dtype=d)},
        lambda x, y: fb.linalg.solve(x, y),
    ),
    "cholesky": (
        lambda d: {"x": _x(230, 230, dtype=d)},
        lambda x: fb.linalg.cholesky(x @ x.t() / 230 + fb.eye(230, dtype=x.dtype)),
    ),
    "uniform": (lambda d: {"x": _x(3, dtype=d)}, lambda x: fb.rand(301, 1201, dtype=x.dtype) + x.sum()),
    "normal": (lambda d: {"x": _x(3, dtype=d)}, lambda x: fb.randn(301, 1201, dtype=x.dtype) + x.sum()),
    "dropout": (_wide, lambda x: F.dropout(x, 0.3)),
    "lstm": (
        lambda d: {"x": _x(11, 33, 65, dtype=d)},
        lambda x: fb.nn.LSTM(65, 97).to(x.dtype)(x)[0],
    ),
}  # fmt: skip
_NO_HALF = {"svd", "eigh", "inv", "solve", "cholesky"}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = fb.get_num_threads()
    yield
    fb.set_num_threads(before)


def _bits(name: str, dtype: Any, count: int) -> dict[str, bytes]:
    """The result, and the gradients of the operands."""
    fb.set_num_threads(count)
    fb.manual_seed(5)
    make, run = CASES[name]
    ins = make(dtype)
    for x in ins.values():
        x.requires_grad_()
    out = run(**ins)
    grad = fb.randn(*out.shape).to(out.dtype)
    found = {"out": out}
    if out.requires_grad:
        out.backward(grad)
        found |= {f"gradient of {k}": x.grad for k, x in ins.items() if x.grad is not None}
    return {k: np.ascontiguousarray(v.detach().numpy()).tobytes() for k, v in found.items()}


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_threads_makes_the_same_bits(name: str, dtype: Any) -> None:
    if dtype is dt.bfloat16 and name in _NO_HALF:
        pytest.skip("decompositions are of float32 and up")
    wanted = _bits(name, dtype, 1)
    for count in (2, 3, 8):
        found = _bits(name, dtype, count)
        assert [k for k in wanted if wanted[k] != found[k]] == [], f"{name} with {count} threads"


@pytest.mark.parametrize("make", [fb.optim.SGD, fb.optim.Adam, fb.optim.AdamW], ids=lambda m: m.__name__)
def test_steps_of_optimizers_too(make: Any) -> None:
    found = []
    for count in (1, 2, 3, 8):
        fb.set_num_threads(count)
        fb.manual_seed(3)
        p = fb.nn.Parameter(fb.randn(601, 701))
        optimizer = make([p], lr=0.1)
        for _ in range(3):
            p.grad = fb.randn(601, 701)
            optimizer.step()
        found.append(p.detach().numpy().tobytes())
    assert found == [found[0]] * 4
