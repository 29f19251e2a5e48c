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
