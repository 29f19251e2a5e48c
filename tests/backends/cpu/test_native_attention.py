"""Attention as machine code against numpy in float64: at every width, in all layouts, with masks and shared keys."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.cpu.native import attention, attention_grad
from flambeau.backends.cpu.native.attention import KERNELS
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.core import config
from tests.backends.cpu.arrays import kernel, layouts

Array = Any
TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "float16": 4e-3, "bfloat16": 3e-2}
#: (lead, L, S, E, V): blocks and tiles that are whole and that are not, few queries, one number, cut keys.
SIZES = (
    ((2, 3), 64, 64, 32, 32), ((2, 2), 65, 70, 5, 7), ((), 1, 3, 1, 1), ((3,), 130, 300, 64, 48),
    ((2,), 300, 130, 17, 64), ((1, 2), 7, 1, 256, 3), ((), 90, 1100, 64, 20),
    ((2, 2), 4, 600, 20, 70), ((3,), 1, 1100, 64, 130),
)  # fmt: skip
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


def of(dtype: str, *shape: int, seed: int = 0) -> Array:
    rng = np.random.default_rng([seed, *shape])
    return rng.standard_normal(shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def exact(x: Array) -> Array:
    return x.astype(np.float64)


def expected(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float, grad: Array, grad_lse: Array
) -> list[Array]:
    """Both results and the three gradients, with all probabilities at once."""
    q, k, v, g = (exact(x) for x in (query, key, value, grad))
    scores = q @ k.swapaxes(-1, -2) * scale + (0.0 if mask is None else exact(mask))
    if causal:
        scores = np.where(np.arange(k.shape[-2]) > np.arange(q.shape[-2])[:, None], -np.inf, scores)
    with np.errstate(divide="ignore"):
        lse = np.logaddexp.reduce(scores, -1)
    p = np.exp(scores - np.where(lse == -np.inf, 0, lse)[..., None])
    out = p @ v
    of_scores = p * (g @ v.swapaxes(-1, -2) - (g * out).sum(-1, keepdims=True) + exact(grad_lse)[..., None])
    grads = [of_scores @ k * scale, of_scores.swapaxes(-1, -2) @ q * scale, p.swapaxes(-1, -2) @ g]
    return [out, lse, *(summed(x, like.shape) for x, like in zip(grads, (q, k, v), strict=True))]


def summed(x: Array, shape: tuple[int, ...]) -> Array:
    x = x.sum(tuple(range(x.ndim - len(shape))))
    return x.sum(tuple(i for i, n in enumerate(shape) if n != x.shape[i]), keepdims=True)


def check(
    target: Target, query: Array, key: Array, value: Array, mask: Array | None = None, causal: bool = False,
    scale: float = 0.3, dtype: str = "float32",
) -> list[Array]:  # fmt: skip
    """All results of machine code, which are near those of numpy."""
    grad = of(dtype, *query.shape[:-1], value.shape[-1], seed=7)
    grad_lse = of(dtype, *query.shape[:-1], seed=8)
    forward = KERNELS["attention"](target, query, key, value, mask, causal=causal, scale=scale)
    assert forward is not None
    out, lse = forward
    found = [out, lse, *backward(target, query, key, value, mask, grad, grad_lse, out, lse, causal, scale)]
    wanted = expected(query, key, value, mask, causal, scale, grad, grad_lse)
    for x, y in zip(found, wanted, strict=True):
        assert x.dtype == query.dtype
        assert x.shape == y.shape
        finite = np.isfinite(y)
        np.testing.assert_array_equal(exact(x)[~finite], y[~finite])
        largest = np.abs(y[finite]).max(initial=1.0)
        np.testing.assert_allclose(exact(x)[finite], y[finite], 0, TOLERANCE[dtype] * largest)
    return found


def backward(
    target: Target, query: Array, key: Array, value: Array, mask: Array | None, grad: Array, grad_lse: Array,
    out: Array, lse: Array, causal: bool, scale: float,
) -> list[Array]:  # fmt: skip
    rest = (grad, grad_lse[..., None], out, lse[..., None])
    found = KERNELS["attention_grad"](target, query, key, value, mask, *rest, causal=causal, scale=scale)
    assert found is not None
    return [summed(x, like.shape) for x, like in zip(found, (query, key, value), strict=True)]


# -- values ----------------------------------------------------------------------------------------
@every_width
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
def test_results_and_gradients(target: Target, dtype: str, causal: bool) -> None:
    for lead, queries, keys, width, depth in SIZES:
        q, k, v = of(dtype, *lead, queries, width), of(dtype, *lead, keys, width, seed=1), of(dtype, *lead, keys, depth)
        check(target, q, k, v, None, causal, dtype=dtype)


@every_width
@pytest.mark.parametrize("causal", [False, True])
def test_masks_that_are_broadcast(target: Target, causal: bool) -> None:
    q, k, v = of("float32", 2, 3, 70, 16), of("float32", 2, 3, 90, 16), of("float32", 2, 3, 90, 24)
    for shape in ((70, 90), (90,), (1,), (70, 1), (2, 1, 1, 90), (3, 70, 90), (2, 3, 70, 90)):
        mask = of("float32", *shape)
        check(target, q, k, v, np.where(mask > 1, np.float32(-np.inf), mask), causal)
    check(target, q, k, v, of("float32", 90, 70).T, causal)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_is_rounded_once(dtype: str) -> None:
    if dtype == "float16" and not host().half:
        pytest.skip("this processor converts no float16")
    q, k, v = of(dtype, 2, 70, 32), of(dtype, 2, 80, 32, seed=1), of(dtype, 2, 80, 16)
    check(host(), q, k, v, of(dtype, 70, 80), dtype=dtype)
    found = KERNELS["attention"](host(), q, k, v, None, causal=True, scale=0.2)
    wide = [x.astype("f4") for x in (q, k, v)]
    same = KERNELS["attention"](host(), *wide, None, causal=True, scale=0.2)
    assert found[0].tobytes() == same[0].astype(q.dtype).tobytes()


@pytest.mark.parametrize("scale", [0.0, -0.7, 40.0])
def test_any_scale(scale: float) -> None:
    q, k, v = of("float64", 2, 40, 8), of("float64", 2, 600, 8, seed=1), of("float64", 2, 600, 8, seed=2)
    check(host(), q, k, v, None, scale=scale, dtype="float64")


@pytest.mark.parametrize("causal", [False, True])
def test_heads_that_share_keys(causal: bool) -> None:
    q = of("float32", 2, 3, 4, 70, 16)
    for lead in ((2, 3, 1), (1, 3, 1), (2, 1, 4), (1, 1, 1), (4,), ()):
        k, v = of("float32", *lead, 80, 16, seed=1), of("float32", *lead, 80, 8, seed=2)
        check(host(), q, k, v, of("float32", 3, 1, 1, 80), causal)
    check(host(), q, of("float32", 3, 1, 80, 16), of("float32", 2, 3, 4, 80, 8), None, causal)


def test_grouped_queries_copy_no_keys() -> None:
    q, k, v = (fb.from_numpy(of("float64", *s, seed=9)) for s in ((2, 8, 70, 16), (2, 2, 80, 16), (2, 2, 80, 8)))
    for shape in ((70, 80), (2, 1, 70, 80), (8, 70, 80)):
        mask = fb.from_numpy(of("float64", *shape))

        def attend(q: fb.Tensor, k: fb.Tensor, v: fb.Tensor, gqa: bool, mask: fb.Tensor = mask) -> fb.Tensor:
            return fb.nn.functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=gqa)

        whole = [x.repeat_interleave(4, -3) for x in (k, v)]
        with fb.profiler.profile() as seen:
            found = attend(q, k, v, True)
        assert {row.key for row in seen.key_averages()} == {"aten::view", "aten::attention"}
        np.testing.assert_allclose(found.numpy(), attend(q, *whole, False).numpy(), 1e-12, 1e-12)


# -- special values --------------------------------------------------------------------------------
@every_width
def test_a_query_that_may_look_nowhere_gives_0(target: Target) -> None:
    q, k, v = of("float32", 2, 20, 16), of("float32", 2, 600, 16, seed=1), of("float32", 2, 600, 16, seed=2)
    mask = np.zeros((20, 600), "f4")
    mask[3], mask[5, :512], mask[6, 512:] = -np.inf, -np.inf, -np.inf
    out, lse, of_q, *_ = check(target, q, k, v, mask)
    assert not out[:, 3].any()
    assert not of_q[:, 3].any()
    assert (lse[:, 3] == -np.inf).all()


@every_width
def test_nan_and_infinities_stay_in_their_rows(target: Target) -> None:
    q, k, v = of("float32", 1, 40, 16), of("float32", 1, 600, 16, seed=1), of("float32", 1, 600, 16, seed=2)
    q[0, 3, 5] = np.nan
    q[0, 7] = np.inf
    mask = np.zeros((40, 600), "f4")
    mask[9, 550], mask[11, 2] = np.nan, np.inf
    out, lse = KERNELS["attention"](target, q, k, v, mask, causal=False, scale=0.3)
    wrong = [3, 7, 9, 11]
    assert np.isnan(out[0, wrong]).all()
    assert np.isfinite(np.delete(out, wrong, 1)).all()
    assert np.isfinite(np.delete(lse, wrong, 1)).all()


def test_large_scores_do_not_overflow() -> None:
    q, k, v = of("float32", 1, 70, 16) * 100, of("float32", 1, 600, 16, seed=1) * 100, of("float32", 1, 600, 16)
    out, lse = KERNELS["attention"](host(), q, k, v, None, causal=False, scale=0.3)
    wanted = expected(q, k, v, None, False, 0.3, out, lse)
    np.testing.assert_allclose(lse, wanted[1], 1e-5)
    assert np.isfinite(out).all()


# -- operands --------------------------------------------------------------------------------------
def test_all_layouts() -> None:
    for view in layouts(of("float32", 2, 3, 70, 32)):
        check(host(), view, view, view, None, True)
    gap = of("float32", 2, 70, 3, 3000)[..., :32].transpose(0, 2, 1, 3)
    check(host(), gap, gap, gap)
    line = np.broadcast_to(of("float32", 32), (2, 3, 70, 32))
    check(host(), line, line, line)
    frozen = of("float32", 2, 70, 32)
    frozen.flags.writeable = False
    check(host(), frozen, frozen, frozen)


def test_results_lie_as_the_queries_do() -> None:
    heads = of("float32", 2, 70, 3, 4, 32)
    q, k, v = (heads[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    out, _, *grads = check(host(), q, k, v, None, True)
    for x in (out, *grads):
        assert x.transpose(0, 2, 1, 3).flags.c_contiguous
    assert check(host(), *(np.ascontiguousarray(x) for x in (q, k, v)))[0].flags.c_contiguous


def test_what_is_not_served_is_left_to_numpy() -> None:
    q, k = of("float32", 2, 5, 4), of("float32", 2, 6, 4)
    options: Any = dict(causal=False, scale=0.5)
    kernels = KERNELS["attention"]
    assert kernels(host(), q, k[:, :0], k[:, :0], None, **options) is None
    assert kernels(host(), q[:, :0], k, k, None, **options) is None
    assert kernels(host(), q[..., :0], k[..., :0], k, None, **options) is None
    assert kernels(host(), q[0], k, k, None, **options) is None
    assert kernels(host(), q, k.astype("f8"), k, None, **options) is None
    assert kernels(host(), q.astype(">f4"), k.astype(">f4"), k.astype(">f4"), None, **options) is None
    assert kernels(host(), q, k, k, np.zeros((3, 5, 6), "f4"), **options) is None
    misplaced = np.frombuffer(bytearray(4 * q.size + 1), "f4", q.size, 1).reshape(q.shape)
    assert kernels(host(), misplaced, k, k, None, **options) is None
    out, lse = kernel("attention", fb.float32)(q, k[:, :0], k[:, :0], None, **options)
    assert not out.any()
    assert (lse == -np.inf).all()
    grads = kernel("attention_grad", fb.float32)(out, lse, q, k[:, :0], k[:, :0], None, out, lse, **options)
    assert [x.shape for x in grads] == [q.shape, (2, 0, 4), (2, 0, 4)]


@pytest.mark.parametrize("code", ["host", "none"])
def test_kernels_of_the_backend(code: str) -> None:
    for shape in ((2, 3, 5, 4), (2, 3, 70, 32), (3, 300, 16)):
        q, k, v = (of("float32", *shape, seed=i) for i in range(3))
        grad, grad_lse, mask = of("float32", *shape, seed=3), of("float32", *shape[:-1]), of("float32", 1, shape[-2])
        options: Any = dict(causal=True, scale=0.4)
        with config.override(cpu_code=code):
            out, lse = kernel("attention", fb.float32)(q, k, v, mask, **options)
            grads = kernel("attention_grad", fb.float32)(grad, grad_lse, q, k, v, mask, out, lse, **options)
        wanted = expected(q, k, v, mask, True, 0.4, grad, grad_lse)
        for x, y in zip((out, lse, *grads), wanted, strict=True):
            np.testing.assert_allclose(x, y, 1e-4, 1e-4)


# -- memory, threads, other processors --------------------------------------------------------------
def test_the_scores_are_never_all_in_memory() -> None:
    x = of("float32", 1, 3000, 16)
    run = KERNELS["attention"], KERNELS["attention_grad"]
    out, lse = run[0](host(), x, x, x, None, causal=False, scale=0.1)
    tracemalloc.start()
    try:
        run[0](host(), x, x, x, None, causal=False, scale=0.1)
        run[1](host(), x, x, x, None, out, lse[..., None], out, lse[..., None], causal=False, scale=0.1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3000 * 3000 * 4 / 4


def test_the_same_bits_for_any_number_of_threads() -> None:
    shapes: Any = (((4, 5), 100, 32), ((1,), 1100, 16))

    def results() -> list[bytes]:
        found: list[Array] = []
        for lead, length, width in shapes:
            q, k, v = (of("float32", *lead, length, width, seed=i) for i in range(3))
            for causal in (False, True):
                options: Any = dict(causal=causal, scale=0.4)
                out, lse = kernel("attention", fb.float32)(q, k, v, None, **options)
                found += [out, lse, *kernel("attention_grad", fb.float32)(v, lse, q, k, v, None, out, lse, **options)]
        return [x.tobytes() for x in found]

    made = []
    for count in (1, 2, 3):
        with config.override(num_threads=count, cpu_code="host"):
            made.append(results())
    assert made[0] == made[1] == made[2]
    with config.override(cpu_code="none"):
        assert results() != made[0]  # that was machine code


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target) -> None:
    for write, name, masked in ((attention.define, "float32", True), (attention_grad.define, "float64", False)):
        assert Compiler(target).compile(write(Module(target), name, masked).module.text())


def test_the_text_is_the_same_each_time() -> None:
    for write in (attention.define, attention_grad.define):
        first, second = (write(Module(host()), "float32", True).module.text() for _ in range(2))
        assert first == second
