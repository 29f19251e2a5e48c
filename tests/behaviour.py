"""Behaviour: small programs written once in the torch API, whose answers are frozen from PyTorch.

A case is ``fn(T)`` for a module T with torch's API; it answers with tensors, numbers, texts and nestings of them, or
with an error, of which the built-in class counts. ``python -m tests.behaviour`` runs the cases on PyTorch (2.13.0
made the answers that are checked in) and writes them; the tests run them on flambeau and compare.
"""

from __future__ import annotations

import builtins
import importlib
import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Case = Callable[[Any], Any]
#: The modules that have CASES; their answers stand beside them.
SETS = (
    "tests.core.autograd_cases",
    "tests.core.mode_cases",
    "tests.core.write_cases",
    "tests.core.function_cases",
    "tests.core.function_rule_cases",
    "tests.core.func_cases",
    "tests.core.vmap_cases",
    "tests.core.jacobian_cases",
    "tests.nn.tree_cases",
    "tests.nn.hook_cases",
    "tests.nn.container_cases",
    "tests.nn.layer_cases",
    "tests.nn.sequence_cases",
    "tests.nn.training_cases",
    "tests.optim.option_cases",
    "tests.optim.trajectory_cases",
    "tests.utils.data.loader_cases",
)


def collected(cases: dict[str, Case]) -> Callable[[Case], Case]:
    """The decorator that enters a function in ``cases`` under its name."""

    def enter(fn: Case) -> Case:
        cases[fn.__name__] = fn
        return fn

    return enter


def plain(value: Any) -> Any:
    """An answer as JSON: a tensor is its dtype, its values, and whether it requires grad."""
    if hasattr(value, "requires_grad") and hasattr(value, "numpy"):
        host = value.detach()
        host = (host.float() if "bfloat16" in str(value.dtype) else host).numpy()
        parts = [host.real, host.imag] if np.iscomplexobj(host) else [host]
        values = [np.asarray(p).astype(float if p.dtype.kind == "f" else p.dtype).tolist() for p in parts]
        return {"tensor": str(value.dtype).split(".")[-1], "values": values, "requires_grad": bool(value.requires_grad)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value).split(".")[-1]


def answer(T: Any, case: Case) -> Any:
    """What a case gives on T, or the built-in classes of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(case(T))
        except Exception as error:
            kinds = [k.__name__ for k in type(error).__mro__ if getattr(builtins, k.__name__, None) is k]
            return {"raises": kinds[: kinds.index("Exception")]}


def agrees(found: Any, frozen: Any, relative: float = 1e-6) -> bool:
    """Whether an answer is the frozen one, up to rounding; an error may be of more classes."""
    if isinstance(frozen, dict) and "raises" in frozen:
        return isinstance(found, dict) and frozen["raises"][0] in found.get("raises", ())
    if isinstance(frozen, dict):
        return (
            isinstance(found, dict)
            and list(found) == list(frozen)
            and all(agrees(found[k], frozen[k], relative) for k in frozen)
        )
    if isinstance(frozen, list):
        return (
            isinstance(found, list)
            and len(found) == len(frozen)
            and all(agrees(f, w, relative) for f, w in zip(found, frozen, strict=True))
        )
    if isinstance(frozen, float) and isinstance(found, float) and found != frozen:
        return math.isclose(found, frozen, rel_tol=relative, abs_tol=1e-9) or (found != found and frozen != frozen)
    return isinstance(found, bool) is isinstance(frozen, bool) and bool(found == frozen)


def load(module: str) -> tuple[dict[str, Case], dict[str, Any]]:
    """The cases of a module, and their frozen answers by name."""
    cases: dict[str, Case] = importlib.import_module(module).CASES
    file = _file(module)
    return cases, json.loads(file.read_text()) if file.exists() else {}


def _file(module: str) -> Path:
    return Path(__file__).resolve().parents[1] / f"{module.replace('.', '/')}.json"


def freeze(module: str) -> None:
    """Write the answer of every case of a module, from PyTorch."""
    T = importlib.import_module("torch")
    rows = [f"{json.dumps(name)}: {json.dumps(answer(T, case))}" for name, case in load(module)[0].items()]
    _file(module).write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SETS:
        freeze(chosen)
