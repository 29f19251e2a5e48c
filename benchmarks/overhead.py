"""What an op costs beside its arithmetic: flambeau and PyTorch (CPU) interleaved in one run, medians.

    python -m benchmarks.overhead [--rounds 41] [names...]

is the suite ``overhead`` of ``python -m benchmarks`` alone. Needs ``pip install torch==2.13.0``. A ratio below 1 means
that flambeau is faster. The limits are those that the project holds itself to; the exit status is 1 when one is
exceeded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import frameworks, report
from benchmarks.measure import Program, Row
from benchmarks.suite import Settings, measured

LIMITS = {"linear": 0.85}
LIMIT = 0.75
MEAN_LIMITS = {"overhead": 0.6}  # of the geometric mean


def cases(fw: Any) -> dict[str, Program]:
    """The same small programs on either framework."""
    rng = np.random.default_rng(0)

    def vector() -> Any:
        return fw.tensor(rng.standard_normal(8).astype("f"))

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


def rows(settings: Settings) -> Iterator[Row]:
    """On one thread, whatever the settings say: none of the cases has work for two."""
    frameworks.set_threads(settings.modules, 1)
    sides = [cases(module) for module in settings.modules]
    for name in settings.chosen(sides[0]):
        programs = [side[name] for side in sides]
        yield measured(settings, "overhead", name, programs, limit=LIMITS.get(name, LIMIT))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=report.rounds, default=41)
    options = parser.parse_args()
    settings = Settings(rounds=options.rounds, wanted=lambda name: not options.names or name in options.names)
    there = cases(settings.modules[0])
    if unknown := set(options.names) - set(there):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are: {', '.join(there)}")
    return report.show(settings, {"overhead": rows}, {} if options.names else MEAN_LIMITS)[1]


if __name__ == "__main__":
    sys.exit(main())
