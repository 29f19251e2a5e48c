"""`import flambeau` is quick and brings in nothing that only some programs need."""

from __future__ import annotations

import json

from tests.conftest import RunPython

LATER = (
    "numba",
    "scipy",
    "pluggy",
    "safetensors",
    "tqdm",
    "matplotlib",
    "pyopencl",
    "cupy",
    "torch",
    "importlib.metadata",
)

MEASURE = """
import json, sys, time
start = time.process_time()  # on a warm disk an import only computes; other work on the machine does not count
import flambeau
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules)}))
"""


def test_what_is_imported_at_first_need_only(run_python: RunPython) -> None:
    modules = json.loads(run_python("-c", MEASURE).stdout)["modules"]
    assert not set(LATER) & set(modules)
    assert not [m for m in modules if m.startswith(("flambeau.backends.opencl", "flambeau.backends.cuda"))]


def test_it_takes_at_most_a_quarter_of_a_second(run_python: RunPython) -> None:
    seconds: list[float] = []
    while len(seconds) < 15 and min(seconds, default=1.0) > 0.25:  # a busy machine slows the computing down, too
        seconds.append(json.loads(run_python("-c", MEASURE).stdout)["seconds"])
    assert min(seconds) <= 0.25, seconds
