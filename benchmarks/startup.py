"""What it takes from a new process to the import, the first small op, and the first training step; PyTorch beside it.

    python -m benchmarks.startup [--rounds 11]

is the suite ``startup`` of ``python -m benchmarks`` alone: new processes in turns. PyTorch is measured where it is
installed. The disk is warm and bytecode is cached, as it is from the second import on, and so are kernels that were
compiled. The exit status is 1 when flambeau's import exceeds the limit that the project holds itself to.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator

from benchmarks import report
from benchmarks.measure import Row, enough
from benchmarks.processes import answer
from benchmarks.suite import Settings

LIMIT = 0.25  # seconds of flambeau's import
IMPORT = "import"
_CODE = """\
import importlib, sys, time
start = time.perf_counter()
T = importlib.import_module(sys.argv[1])
{}
print(time.perf_counter() - start)
"""
_STEP = """\
model = T.nn.Sequential(T.nn.Linear(16, 32), T.nn.ReLU(), T.nn.Linear(32, 4))
optimizer = T.optim.SGD(model.parameters(), lr=0.1)
loss = T.nn.functional.cross_entropy(model(T.ones(8, 16)), T.zeros(8, dtype=T.int64))
loss.backward()
optimizer.step()
loss.item()"""
CASES = {
    IMPORT: "",
    "import and a first small op": "(T.ones(8) + T.ones(8)).sum().item()",
    "import and a first training step": _STEP,
}
NUMPY = "import of numpy alone, which flambeau needs"


def rows(settings: Settings) -> Iterator[Row]:
    count = enough(settings.rounds)
    with tempfile.TemporaryDirectory() as cache:
        for name in settings.chosen(CASES):
            names = [module.__name__ for module in settings.modules]
            yield Row.of("startup", name, _seconds(CASES[name], names, count, cache))
        if settings.wanted(NUMPY):
            yield Row.of("startup", NUMPY, _seconds("", ["numpy"], count, cache))


def _seconds(statements: str, modules: list[str], count: int, cache: str) -> list[tuple[float, ...]]:
    """Of each module in each round."""
    code = _CODE.format(statements)
    for module in modules:
        answer(code, module, cache=cache)  # fills the cache
    rounds = [[answer(code, module, cache=cache)[0] for module in modules] for _ in range(count)]
    return list(zip(*rounds, strict=True))


def late(found: list[Row]) -> bool:
    """Whether the import takes longer than its limit: in seconds, not beside PyTorch's."""
    return any(row.name == IMPORT and report.median(row.ours) > LIMIT for row in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=report.rounds, default=11)
    settings = Settings(rounds=parser.parse_args().rounds)
    found, status = report.show(settings, {"startup": rows})
    if late(found):
        print(f"import flambeau takes more than its limit of {LIMIT} s")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
