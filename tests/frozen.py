"""Frozen numbers: cases written once in the torch API, their results summed up by a few numbers each.

A case is ``fn(T, a)`` for a module T with torch's API and an :class:`Inputs`. ``python -m tests.frozen`` runs the
cases on PyTorch (2.13.0 made the numbers that are checked in) and writes them; the tests run the cases on
flambeau and compare.
"""

from __future__ import annotations

import importlib
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Case = Callable[[Any, "Inputs"], Any]
#: The modules that have CASES; their numbers stand beside them.
SETS = ("tests.nn.functional_cases", "tests.nn.loss_cases", "tests.nn.module_cases", "tests.optim.cases")


class Inputs:
    """Makes the tensors of a case, in float64: those with a gradient are differentiated by."""

    def __init__(self, T: Any, name: str):
        self.T, self.rng = T, np.random.default_rng(zlib.crc32(name.encode()))
        self.leaves: list[Any] = []

    def x(self, *shape: int, low: float = -2.0, high: float = 2.0, grad: bool = True) -> Any:
        """Even numbers in [low, high)."""
        t = self.T.tensor(self.rng.uniform(low, high, shape))
        if grad:
            self.leaves.append(t.requires_grad_())
        return t

    def distinct(self, *shape: int) -> Any:
        """Numbers of which no two are near each other, for maxima."""
        n = int(np.prod(shape))
        t = self.T.tensor(self.rng.permutation(np.linspace(-2, 2, n)).reshape(shape))
        self.leaves.append(t.requires_grad_())
        return t

    def ints(self, high: int, *shape: int, low: int = 0) -> Any:
        return self.T.tensor(self.rng.integers(low, high, shape))

    def bools(self, *shape: int) -> Any:
        return self.T.tensor(self.rng.integers(0, 2, shape).astype(bool))

    def module(self, module: Any, scale: float = 1.0) -> Any:
        """The module in float64, its parameters set and to be differentiated by."""
        module = module.double()
        with self.T.no_grad():
            for _, p in sorted(module.named_parameters()):
                p.copy_(self.T.tensor(self.rng.uniform(-scale, scale, tuple(p.shape))))
                self.leaves.append(p)
        return module


def flat(value: Any) -> list[Any]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in flat(v)]
    return [] if value is None else [value]


def host(t: Any) -> Any:
    return np.asarray(t.detach().numpy()) if hasattr(t, "detach") else np.asarray(t)


def summary(value: Any) -> list[Any]:
    """The shape, the sum of absolute values, and two projections that see every element and its place."""
    v = host(value)
    k = np.arange(v.size)
    values = v.astype(float).reshape(-1)
    return [
        list(v.shape),
        float(np.abs(values).sum()),
        float(values @ np.cos(0.7 * k + 0.3)),
        float(values @ np.sin(1.3 * k * k + 0.1)),
    ]


def run(T: Any, name: str, case: Case) -> list[list[Any]]:
    """The summaries of a case's results and of the gradients of their projection."""
    inputs = Inputs(T, name)
    outs = flat(case(T, inputs))
    found = [summary(o) for o in outs]
    live = [o for o in outs if getattr(o, "requires_grad", False)]
    if live and inputs.leaves:
        weights = [T.tensor(np.cos(0.9 * np.arange(host(o).size) + 0.5).reshape(tuple(o.shape))) for o in live]
        loss = sum((o * w).sum() for o, w in zip(live, weights, strict=True))
        found += [summary(g) for g in T.autograd.grad(loss, inputs.leaves, allow_unused=True) if g is not None]
    return found


def load(module: str) -> tuple[dict[str, Case], dict[str, Any]]:
    """The cases of a module, and their frozen numbers by name."""
    cases: dict[str, Case] = importlib.import_module(module).CASES
    file = _file(module)
    return cases, json.loads(file.read_text()) if file.exists() else {}


def _file(module: str) -> Path:
    return Path(__file__).resolve().parents[1] / f"{module.replace('.', '/')}.json"


def freeze(module: str) -> None:
    """Write the numbers of every case of a module, from PyTorch."""
    T = importlib.import_module("torch")
    rows = [f"{json.dumps(name)}: {json.dumps(run(T, name, case))}" for name, case in load(module)[0].items()]
    _file(module).write_text("{\n" + ",\n".join(rows) + "\n}\n")


def check(T: Any, name: str, case: Case, frozen: Any, relative: float = 1e-9) -> None:
    """AssertionError unless the case gives the frozen numbers."""
    found = run(T, name, case)
    assert [f[0] for f in found] == [w[0] for w in frozen], f"{name}: shapes of results and gradients"
    for i, (f, w) in enumerate(zip(found, frozen, strict=True)):
        np.testing.assert_allclose(
            f[1:], w[1:], rtol=relative, atol=relative * (1 + w[1]), err_msg=f"{name}: result or gradient {i}"
        )


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SETS:
        freeze(chosen)
