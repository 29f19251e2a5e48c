"""What an op costs beside its arithmetic: flambeau and PyTorch (CPU) interleaved in one run, medians.

    python -m benchmarks.overhead [--rounds 41] [names...]

Needs ``pip install torch==2.13.0``. A ratio below 1 means that flambeau is faster. The limits are those
that the project holds itself to; the exit status is 1 when one is exceeded.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LIMITS = {"linear": 0.85}
LIMIT, MEAN_LIMIT = 0.75, 0.6


def cases(fw: Any) -> dict[str, Callable[[], Any]]:
    """The same small programs on either framework."""
    rng = np.random.default_rng(0)
    vector = lambda: fw.tensor(rng.standard_normal(8).astype("f"))  # noqa: E731
    a, b = vector(), vector()
    ga, gb = vector().requires_grad_(), vector().requires_grad_()
    x, y = vector().requires_grad_(), vector()
    target, small = vector(), fw.tensor(np.full(8, 1e-30, "f"))
    data = fw.tensor(rng.standard_normal((8, 16)).astype("f"))
    weight, bias = fw.tensor(rng.standard_normal((16, 16)).astype("f")), fw.tensor(rng.standard_normal(16).astype("f"))
    parameters = [fw.nn.Parameter(fw.tensor(rng.standard_normal((16, 16)).astype("f"))) for _ in range(20)]
    for p in parameters:
        p.grad = fw.zeros(16, 16)
    sgd = fw.optim.SGD(parameters, lr=0.1)
    linear, relu = fw.nn.functional.linear, fw.nn.functional.relu

    def backward() -> None:
        (x * y).sum().backward()

    return {
        "add": lambda: a + b,
        "add with grad": lambda: ga + gb,
        "x + 1.0": lambda: a + 1.0,
        "add_": lambda: target.add_(small),
        "(x * y).sum().backward()": backward,
        "linear": lambda: linear(data, weight, bias),
        "relu": lambda: relu(a),
        "x[1:3]": lambda: a[1:3],
        "x.reshape(2, 4)": lambda: a.reshape(2, 4),
        "SGD step, 20 parameters": sgd.step,
    }


def measure(fns: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median microseconds a call, the frameworks taking turns."""
    number = {}
    for name, fn in fns.items():
        start = time.perf_counter()
        for _ in range(50):
            fn()
        number[name] = max(20, int(0.004 / ((time.perf_counter() - start) / 50)))
    times: dict[str, list[float]] = {name: [] for name in fns}
    for _ in range(rounds):
        for name, fn in fns.items():
            n = number[name]
            start = time.perf_counter()
            for _ in range(n):
                fn()
            times[name].append((time.perf_counter() - start) / n * 1e6)
    return {name: statistics.median(ts) for name, ts in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args()
    import torch

    import flambeau

    torch.set_num_threads(1)
    ours, theirs = cases(flambeau), cases(torch)
    ratios, failed = [], False
    print(f"{'':28}{'flambeau':>10}{'torch':>10}{'ratio':>8}{'limit':>8}")
    for name in options.names or ours:
        found = measure({"ours": ours[name], "theirs": theirs[name]}, options.rounds)
        ratio = found["ours"] / found["theirs"]
        limit = LIMITS.get(name, LIMIT)
        ratios.append(ratio)
        failed |= ratio > limit
        print(
            f"{name:28}{found['ours']:8.2f}us{found['theirs']:8.2f}us{ratio:8.2f}{limit:8.2f}"
            + ("  over" if ratio > limit else "")
        )
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"{'geometric mean':28}{'':20}{mean:8.2f}{MEAN_LIMIT:8.2f}{'  over' if mean > MEAN_LIMIT else ''}")
    return int(failed or mean > MEAN_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
