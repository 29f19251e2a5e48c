"""`import flambeau` brings in nothing that only some programs need."""

from __future__ import annotations

import json

from tests.conftest import RunPython

LATER = (
    "llvmlite",
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


def test_what_is_imported_at_first_need_only(run_python: RunPython) -> None:
    modules = json.loads(run_python("-c", "import flambeau, json, sys; print(json.dumps(sorted(sys.modules)))").stdout)
    assert not set(LATER) & set(modules)
    backends = tuple(f"flambeau.backends.{name}" for name in ("opencl", "cuda", "llvm"))
    assert not [m for m in modules if m.startswith(backends)]


def test_work_of_any_size_on_numpy_loads_no_compiler(run_python: RunPython) -> None:
    program = (
        "import sys, flambeau as fb\n"
        "from flambeau.core import config; config.set(cpu_code='none')\n"
        "x = fb.rand(300, 300)\n"
        "(fb.nn.functional.gelu(x) @ x).softmax(-1).sum().to(fb.float16)\n"
        "fb.nn.functional.conv2d(fb.rand(4, 3, 32, 32), fb.rand(8, 3, 3, 3)), fb.exp(x).half().float().cumsum(0)\n"
        "print([m for m in sys.modules if m.startswith(('llvmlite', 'flambeau.backends.llvm'))])"
    )
    assert run_python("-c", program).stdout.strip() == "[]"


def test_small_work_loads_no_compiler(run_python: RunPython) -> None:
    program = (
        "import sys, flambeau as fb\n"
        "model = fb.nn.Sequential(fb.nn.Linear(4, 8), fb.nn.GELU(), fb.nn.Linear(8, 2))\n"
        "optimizer = fb.optim.Adam(model.parameters())\n"
        "for _ in range(3):\n"
        "    fb.nn.functional.cross_entropy(model(fb.rand(6, 4)), fb.tensor([0, 1] * 3)).backward()\n"
        "    optimizer.step()\n"
        "print([m for m in sys.modules if m.startswith('llvmlite')])"
    )
    assert run_python("-c", program).stdout.strip() == "[]"
