"""What the scripts in this folder share. A script is a program for PyTorch; its jobs are functions that answer with
tensors, numbers, texts and nestings of them, the same on every framework that is called torch.

    python scripts/einops_jobs.py [--device opencl] [job ...]

prints the answers, or the error, of each job as JSON, and the version of the package; and what a job checks, which is
the first line of its function's text.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import inspect
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

F = TypeVar("F", bound=Callable[[], Any])
JOBS: dict[str, Callable[[], Any]] = {}
#: Where the jobs compute: what ``--device`` says.
DEVICE = "cpu"


def job(fn: F) -> F:
    """Enter a function as a job, under its name."""
    JOBS[fn.__name__] = fn
    return fn


def rng(seed: int = 0) -> np.random.Generator:
    """Random numbers that no framework has a part in."""
    return np.random.default_rng(seed)


def tensor(*shape: int, seed: int = 0, grad: bool = False) -> Any:
    """Normal numbers, float32, on the device of the jobs."""
    made = torch.from_numpy(rng(seed).standard_normal(shape).astype(np.float32)).to(DEVICE)
    return made.requires_grad_() if grad else made


def whole(high: int, *shape: int, seed: int = 0) -> Any:
    """Whole numbers below ``high``, int64, on the device of the jobs."""
    return torch.from_numpy(rng(seed).integers(0, high, shape)).to(DEVICE)


def even(model: Any, seed: int = 0, scale: float = 1.0) -> Any:
    """The model on the device of the jobs, its parameters and float buffers set by numpy: matrices by 1/√fan-in."""
    numbers = rng(seed)
    for name, p in sorted(model.named_parameters(), key=lambda named: named[0]):
        shape = tuple(p.shape)
        values = numbers.standard_normal(shape) * scale
        if len(shape) > 1:
            values = values / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values = 0.01 * values
        p.data = torch.from_numpy(np.asarray(values, np.float32)).to(p.dtype).to(DEVICE)
    return model.to(DEVICE)


def gradients(model: Any) -> dict[str, float]:
    """The norm of each parameter's gradient."""
    return {n: p.grad.norm().item() for n, p in sorted(model.named_parameters()) if p.grad is not None}


def plain(value: Any) -> Any:
    """An answer as JSON holds it; a tensor as its shape, and as few of its numbers as tell it from others."""
    if isinstance(value, torch.Tensor):
        t = value.detach().cpu()
        flat = t.reshape(-1).to(torch.float64 if not t.is_complex() else torch.complex128).numpy()
        if np.iscomplexobj(flat):
            flat = np.stack([flat.real, flat.imag], -1).reshape(-1)
        picked = flat if flat.size <= 24 else flat[np.linspace(0, flat.size - 1, 24).astype(int)]
        return {
            "shape": list(t.shape),
            "dtype": str(t.dtype).split(".")[-1],
            "values": [float(f"{v:.7g}") for v in picked.tolist()],
        }
    if isinstance(value, np.ndarray | np.generic):
        return plain(torch.from_numpy(np.ascontiguousarray(value)))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, bool | int | str) or value is None:
        return value
    return float(f"{float(value):.7g}")


def checked(fn: Callable[[], Any]) -> str:
    """What a job checks: the first paragraph of its text, or of the function that it calls with a name."""
    return (inspect.getdoc(fn.func if isinstance(fn, functools.partial) else fn) or "").split("\n\n")[0]


def main(package: str, distribution: str = "") -> None:
    """Run the jobs that the command line names, or all, and print the report; ``distribution``: the name on PyPI."""
    global DEVICE
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("jobs", nargs="*", default=[])
    asked = parser.parse_args()
    DEVICE = asked.device
    report: dict[str, Any] = {"package": package, "device": DEVICE}
    report |= {"version": importlib.metadata.version(distribution or package)}
    about = (inspect.getdoc(sys.modules["__main__"]) or "").split("\n\n")[0].replace("\n", " ")
    report |= {"torch": torch.__version__, "about": about, "checks": {}}
    report |= {"answers": {}, "errors": {}, "seconds": {}}
    warnings.simplefilter("ignore")
    for name in asked.jobs or list(JOBS):
        report["checks"][name] = checked(JOBS[name])
        start = time.perf_counter()
        try:
            report["answers"][name] = plain(JOBS[name]())
        except Exception:
            report["errors"][name] = traceback.format_exc(limit=-6)
        report["seconds"][name] = round(time.perf_counter() - start, 2)
    print("\n" + json.dumps(report))
