"""Cases written once in the torch API, and what PyTorch answered.

A case is ``fn(T)`` for a module T with torch's API; it answers with tensors, numbers, texts and nestings of them, or
with an error, of which the built-in class counts. The cases of a folder stand in its ``*_cases.py``, the answers
beside them in JSON. ``python -m tests.recorded`` runs them on PyTorch (2.13.0 made what is checked in) and writes
the answers, all or those of the modules that it is given; ``test_recorded.py`` of each folder runs them on flambeau.
"""

from __future__ import annotations

import builtins
import importlib
import json
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb

Case = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[1]
TENSOR = re.compile(r"[a-z]+\d*\[[\d, ]*\]( requires_grad)?")
#: (relative, absolute) tolerance by dtype, and the digits that are written; Python's floats may come from float32.
TOLERANCES = {"float64": (1e-9, 1e-11, 12), "complex128": (1e-9, 1e-11, 12)}
OTHERS = (1e-6, 1e-9, 8)


# -- cases -------------------------------------------------------------------------------------------
def collected(cases: dict[str, Case]) -> Callable[[Case], Case]:
    """The decorator that enters a function in ``cases`` under its name."""

    def enter(fn: Case) -> Case:
        cases[fn.__name__] = fn
        return fn

    return enter


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


OnInputs = Callable[[Any, Inputs], Any]


def of_inputs(name: str, fn: OnInputs) -> Case:
    """The case of ``fn(T, inputs)``: its results, and the gradients of a sum of them with uneven weights."""

    def run(T: Any) -> Any:
        inputs = Inputs(T, name)
        results = _leaves(fn(T, inputs))
        answer = {"results": results}
        live = [o for o in results if getattr(o, "requires_grad", False)]
        if live and inputs.leaves:
            weights = [T.tensor(np.cos(0.9 * np.arange(o.numel()) + 0.5).reshape(tuple(o.shape))) for o in live]
            loss = sum((o * w).sum() for o, w in zip(live, weights, strict=True))
            answer["gradients"] = list(T.autograd.grad(loss, inputs.leaves, allow_unused=True))
        return answer

    return run


def on_inputs(cases: dict[str, Case]) -> Callable[[str, OnInputs], None]:
    """The function that enters :func:`of_inputs` cases by name."""

    def enter(name: str, fn: OnInputs) -> None:
        assert name not in cases, name
        cases[name] = of_inputs(name, fn)

    return enter


def _leaves(value: Any) -> list[Any]:
    """What nested tuples, lists and dicts hold."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in _leaves(v)]
    return [] if value is None else [value]


# -- answers -----------------------------------------------------------------------------------------
def plain(value: Any) -> Any:
    """An answer as JSON: of a tensor {dtype, shape and whether it requires grad: the elements}."""
    if hasattr(value, "requires_grad") and hasattr(value, "numpy"):
        host = value.detach()
        host = np.asarray((host.float() if "bfloat16" in str(value.dtype) else host).resolve_conj().numpy()).reshape(-1)
        parts = [host.real, host.imag] if host.dtype.kind == "c" else [host]
        elements = np.stack(parts, -1).reshape(-1).tolist()
        grad = " requires_grad" if value.requires_grad else ""
        return {f"{str(value.dtype).split('.')[-1]}{list(value.shape)}{grad}": elements}
    if isinstance(value, Mapping):
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
            return {"raises": kinds[: kinds.index("Exception")], "text": str(error)}


def differences(found: Any, recorded: Any, rounding: float = 0.0, where: str = "answer") -> Iterator[str]:
    """Where an answer is not the recorded one, element by element; an error may be of more classes.

    ``rounding`` is the relative tolerance where PyTorch's own numbers are less exact than their dtype.
    """
    both = f"{where}: found {found}, recorded {recorded}"
    if isinstance(recorded, dict):
        if "raises" in recorded:
            if not isinstance(found, dict) or recorded["raises"][0] not in found.get("raises", ()):
                yield both
        elif not isinstance(found, dict) or list(found) != list(recorded):
            yield both
        else:
            for key, wanted in recorded.items():
                if TENSOR.fullmatch(key):
                    yield from _elements(found[key], wanted, key, rounding, where)
                else:
                    yield from differences(found[key], wanted, rounding, f"{where} {key}")
    elif isinstance(recorded, list):
        if not isinstance(found, list) or len(found) != len(recorded):
            yield both
        else:
            for i, (f, w) in enumerate(zip(found, recorded, strict=True)):
                yield from differences(f, w, rounding, f"{where} {i}")
    elif isinstance(found, bool) is not isinstance(recorded, bool) or not _close(found, recorded, OTHERS, rounding):
        yield both


def _elements(found: list[Any], recorded: list[Any], key: str, rounding: float, where: str) -> Iterator[str]:
    dtype, shape = key.partition(" requires_grad")[0][:-1].split("[")
    sizes, tolerance = [int(n) for n in shape.split(",") if n], TOLERANCES.get(dtype, OTHERS)
    for i, (f, w) in enumerate(zip(found, recorded, strict=True)):
        if not _close(f, w, tolerance, rounding):
            place, part = divmod(i, 2) if dtype.startswith("complex") else (i, 0)
            index = [int(k) for k in np.unravel_index(place, sizes)]
            yield f"{where} {key}, element {index}{' imaginary' * part}: found {f}, recorded {w}"


def _close(found: Any, recorded: Any, tolerance: tuple[float, float, int], rounding: float) -> bool:
    if found == recorded or not isinstance(recorded, float) or not isinstance(found, (float, int)):
        return bool(found == recorded)
    if recorded != recorded:
        return found != found
    return abs(found - recorded) <= max(tolerance[0], rounding) * abs(recorded) + max(tolerance[1], rounding)


# -- files -------------------------------------------------------------------------------------------
def modules(folder: str = "tests") -> list[str]:
    """The modules of cases under a folder, by name."""
    files = sorted((ROOT / folder).rglob("*_cases.py"))
    return [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]


@cache
def cases(module: str) -> dict[str, Case]:
    """A module's cases; those that take more than T get by name what the module's ``GIVEN`` makes of T."""
    held = importlib.import_module(module)
    return {name: _given(case, getattr(held, "GIVEN", {})) for name, case in held.CASES.items()}


def _given(case: Case, makers: Mapping[str, Case]) -> Case:
    names = [name for name in signature(case).parameters if name in makers]
    return (lambda T: case(T, **{name: makers[name](T) for name in names})) if names else case


@cache
def answers(module: str) -> dict[str, Any]:
    """What was recorded of a module's cases."""
    return json.loads(_file(module).read_text())


def _file(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.json"


def tests_of(folder: str, T: Any = fb) -> Callable[[str, str], None]:
    """The test that the cases under a folder answer on flambeau, or another face of it, as they did on PyTorch."""

    @pytest.mark.parametrize(("module", "name"), [(m, name) for m in modules(folder) for name in cases(m)])
    def test(module: str, name: str) -> None:
        found = answer(T, cases(module)[name])
        rounding = getattr(importlib.import_module(module), "ROUNDED", {}).get(name, 0.0)
        differ = list(differences(found, answers(module)[name], rounding))
        assert not differ, "\n".join([f"{len(differ)} differences from PyTorch", *differ[:8]])

    return test


def record(module: str) -> None:
    """Write the answer of every case of a module, from PyTorch."""
    T = importlib.import_module("torch")
    rows = [f"{json.dumps(name)}: {_row(answer(T, case))}" for name, case in cases(module).items()]
    _file(module).write_text("{\n" + ",\n".join(rows) + "\n}\n")


def _row(value: Any, indent: str = " ") -> str:
    """JSON with every long list of numbers on a line of its own."""
    value = _rounded(value) if indent == " " else value
    whole = json.dumps(value)
    nested = isinstance(value, dict) or isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value)
    if len(whole) < 110 or not nested:
        return whole
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {_row(v, indent + ' ')}" for k, v in value.items()]
        if len(parts) == 1:
            return "{" + parts[0] + "}"
    else:
        parts = [_row(v, indent + " ") for v in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + "\n" + ",\n".join(indent + p for p in parts) + end


def _rounded(value: Any, digits: int = OTHERS[2] + 4) -> Any:
    """The answer with the digits that its dtypes' tolerances ask for, and without the texts of errors."""
    if isinstance(value, dict):
        return {k: _rounded(v, TOLERANCES.get(k.partition("[")[0], OTHERS)[2] if TENSOR.fullmatch(k) else digits)
                for k, v in value.items() if k != "text" or "raises" not in value}  # fmt: skip
    if isinstance(value, list):
        return [_rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


if __name__ == "__main__":
    for chosen in sys.argv[1:] or modules():
        record(chosen)
