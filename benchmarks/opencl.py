"""OpenCL kernels against numpy in one run: the best of turns, ratios, and the limits the project holds itself to.

    python -m benchmarks.opencl [--device opencl:0] [--rounds 15]
    OPENBLAS_NUM_THREADS=1 python -m benchmarks.opencl --products

The two take turns, and the best time of each counts, since other work on the machine can only add to it. Both may use
every core: numpy's matrix product does, its other loops have one thread by nature. A ratio is the time of OpenCL over
that of the same expression in numpy, allocating its results; for the matrix product it is the speed of OpenCL over
that of numpy's BLAS. The last column is the ratio in processor time, on devices of the host what a ratio comes to
when a busy machine leaves one core to both (but a BLAS of several threads spins while it waits). The exit status is 1
when a limit is exceeded.

``--products`` gives the speed of matrix products of many shapes in processor time, which other work disturbs least.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import flambeau as fb
from flambeau.core import accelerator

#: name -> (limit, whether the ratio must be at least it)
LIMITS = {
    "add, 10 M": (0.7, False), "exp, 10 M": (0.4, False), "gelu, 10 M": (0.5, False),
    "matmul 1024^3, speed": (0.7, True),
    "sum over axis 0 of 4096^2": (1.0, False), "sum over axis 1 of 4096^2": (1.0, False),
}  # fmt: skip
SMALL_ADD_LIMIT = 6.0  # microseconds through the dispatcher


def numpy_gelu(x: Any) -> Any:
    """The tanh form as one would write it in numpy."""
    return 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)))


def cases(device: str) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """(OpenCL, numpy) for each name."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(10_000_000, dtype=np.float32) for _ in range(2))
    m, s = rng.standard_normal((1024, 1024), dtype=np.float32), rng.standard_normal((4096, 4096), dtype=np.float32)
    x, y, p, q = (fb.tensor(v, device=device) for v in (a, b, m, s))
    gelu = fb.nn.functional.gelu
    return {
        "add, 10 M": (lambda: x + y, lambda: a + b),
        "exp, 10 M": (lambda: x.exp(), lambda: np.exp(a)),
        "gelu, 10 M": (lambda: gelu(x, approximate="tanh"), lambda: numpy_gelu(a)),
        "matmul 1024^3, speed": (lambda: p @ p, lambda: m @ m),
        "sum over axis 0 of 4096^2": (lambda: q.sum(0), lambda: s.sum(0)),
        "sum over axis 1 of 4096^2": (lambda: q.sum(1), lambda: s.sum(1)),
    }


def timed(fn: Callable[[], Any], finish: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor in all threads."""
    start, used = time.perf_counter(), time.process_time()
    result = fn()
    finish()
    seconds = time.perf_counter() - start, time.process_time() - used
    del result
    return seconds


def small_add(device: str, rounds: int) -> float:
    """Microseconds of an add of 8 elements, in bursts short enough that the queue does not fill; the best burst."""
    x = fb.ones(8, device=device)
    found = []
    for _ in range(rounds * 4):
        accelerator.synchronize(device)
        start = time.perf_counter()
        for _ in range(200):
            x + x
        found.append((time.perf_counter() - start) / 200 * 1e6)
    return min(found)


#: (shape of x, shape of y); "T" marks an operand that is the transpose of one in memory.
PRODUCTS = (
    ("128", (128, 128), (128, 128)), ("256", (256, 256), (256, 256)), ("512", (512, 512), (512, 512)),
    ("1024", (1024, 1024), (1024, 1024)), ("1024, T T", (1024, 1024), (1024, 1024)),
    ("1000", (1000, 1000), (1000, 1000)), ("2048", (2048, 2048), (2048, 2048)),
    ("64 of 64", (64, 64, 64), (64, 64, 64)), ("16 of 256", (16, 256, 256), (16, 256, 256)),
    ("linear", (32, 784), (784, 128)), ("linear, T", (768, 128), (128, 512)), ("tall", (100_000, 16), (16, 16)),
    ("row by matrix", (1, 1024), (1024, 1024)), ("row by matrix, T", (1, 1024), (1024, 1024)),
    ("matrix by column", (1024, 1024), (1024, 1)),
)  # fmt: skip


def products(device: str, rounds: int) -> None:
    """Print the speed of both in GFLOP a second of processor time, the best of turns."""
    rng = np.random.default_rng(0)
    print(f"{'':20}{'x':>16}{'y':>16}{'opencl':>9}{'numpy':>9}{'speed':>8}")
    for label, left, right in PRODUCTS:
        a, b = (rng.standard_normal(s, dtype=np.float32) for s in (left, right))
        turned = [label.endswith("T T"), label.endswith("T")]
        x, y = (_laid_out(v, device, t) for v, t in zip((a, b), turned, strict=True))
        a, b = (np.ascontiguousarray(v.T).T if t else v for v, t in zip((a, b), turned, strict=True))
        operations = 2e-9 * a.size * b.shape[-1]
        repeats = max(1, int(0.3 / operations))  # small products are too short for the clock
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(_processor_time(lambda: x @ y, repeats, lambda: accelerator.synchronize(device)))  # noqa: B023
            theirs.append(_processor_time(lambda: a @ b, repeats, lambda: None))  # noqa: B023
        mine, other = operations / min(ours), operations / min(theirs)
        print(f"{label:20}{_by(left):>16}{_by(right):>16}{mine:9.1f}{other:9.1f}{mine / other:8.2f}")


def _laid_out(value: Any, device: str, turned: bool) -> Any:
    return fb.tensor(value.T.copy(), device=device).t() if turned else fb.tensor(value, device=device)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _processor_time(fn: Callable[[], Any], repeats: int, finish: Callable[[], None]) -> float:
    """Seconds of all threads for one call."""
    finish()
    start = time.process_time()
    for _ in range(repeats):
        fn()
    finish()
    return (time.process_time() - start) / repeats


def main() -> int:
    parser = argparse.ArgumentParser(description="OpenCL against numpy")
    parser.add_argument("--device", default="opencl:0")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--products", action="store_true", help="only matrix products, in processor time")
    options = parser.parse_args()
    name = fb.core.registry.get_backend("opencl").properties(fb.device(options.device).index or 0).name
    print(f"{options.device}: {name}")
    if options.products:
        products(options.device, options.rounds)
        return 0
    print(f"{'':28}{'opencl':>11}{'numpy':>11}{'ratio':>8}{'limit':>8}{'processor':>11}")
    failed = False
    for label, (ours, theirs) in cases(options.device).items():
        finish = lambda: accelerator.synchronize(options.device)  # noqa: E731
        for fn in (ours, theirs):
            timed(fn, finish)
        pairs = [(*timed(ours, finish), *timed(theirs, finish)) for _ in range(options.rounds)]
        mine, used, other, others = (min(v) * 1e3 for v in zip(*pairs, strict=True))
        limit, at_least = LIMITS[label]
        ratio, by_processor = (other / mine, others / used) if at_least else (mine / other, used / others)
        over = ratio < limit if at_least else ratio > limit
        failed |= over
        times = f"{mine:9.2f}ms{other:9.2f}ms{ratio:8.2f}{limit:8.2f}{by_processor:11.2f}"
        print(f"{label:28}{times}{'  missed' if over else ''}")
    mine = small_add(options.device, options.rounds)
    over = mine > SMALL_ADD_LIMIT
    failed |= over
    print(f"{'add of 8 elements':28}{mine:9.2f}us{'':19}{SMALL_ADD_LIMIT:6.1f}us{'  missed' if over else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
