"""What rows of ``ops`` and ``loading`` are made of: a program on tensors, the same for any module with torch's API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.measure import Program
from benchmarks.suite import Settings, difference


def full(n: int) -> int:
    """The sizes as they stand."""
    return n


class Inputs:
    """Makes a case's tensors on a module ``T``, from numpy's random numbers, with sizes that ``n`` maps."""

    def __init__(self, T: Any, n: Callable[[int], int] = full):
        self.T, self.F, self.n = T, T.nn.functional, n
        self.rng = np.random.default_rng(0)

    def normal(self, *shape: int, grad: bool = False) -> Any:
        """float32; the shape is taken as it is."""
        made = self.T.from_numpy(self.rng.standard_normal(shape, dtype=np.float32))
        return made.requires_grad_() if grad else made

    def below(self, high: int, *shape: int) -> Any:
        """int64 from 0 up to and without ``high``."""
        return self.T.from_numpy(self.rng.integers(0, high, shape))


Make = Callable[[Inputs], Program]
Constants = Callable[[Inputs], tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """A row of the table. ``per``: of how many units (samples of a loader) a call is; ``random``: results differ."""

    make: Make
    random: bool = False
    unit: str = "s"
    per: int = 1


def _none(inputs: Inputs) -> tuple[Any, ...]:
    return ()


def forward(
    fn: Callable[..., Any], *shapes: tuple[int, ...], constants: Constants = _none, random: bool = False
) -> Case:
    """The case of ``fn(inputs, *tensors, *constants)`` without gradients."""

    def make(m: Inputs) -> Program:
        tensors = [m.normal(*map(m.n, shape)) for shape in shapes]
        rest = constants(m)
        return lambda: fn(m, *tensors, *rest)

    return Case(make, random)


def with_gradients(
    fn: Callable[..., Any], *shapes: tuple[int, ...], constants: Constants = _none, random: bool = False
) -> Case:
    """The case of the same function and of the gradients by its tensors."""

    def make(m: Inputs) -> Program:
        tensors = [m.normal(*map(m.n, shape), grad=True) for shape in shapes]
        return differentiated(m, fn, tensors, constants(m))

    return Case(make, random)


def differentiated(m: Inputs, fn: Callable[..., Any], tensors: list[Any], rest: tuple[Any, ...] = ()) -> Program:
    """A forward and a backward pass, with the same gradient of the result every time."""
    grad = m.normal(*fn(m, *tensors, *rest).shape)

    def program() -> Any:
        out = fn(m, *tensors, *rest)
        return [out.detach(), *m.T.autograd.grad(out, tensors, grad)]

    return program


def both(name: str, fn: Callable[..., Any], *shapes: tuple[int, ...], **options: Any) -> dict[str, Case]:
    """Two rows: the function, and with its backward."""
    return {name: forward(fn, *shapes, **options), f"{name}, and backward": with_gradients(fn, *shapes, **options)}


def built(settings: Settings, name: str, case: Case) -> list[Program]:
    """The programs of a case, if their results agree; none, and a failure in words, if one raises or they differ."""
    programs, results = [], []
    for module in settings.modules:
        try:
            programs.append(case.make(Inputs(module)))
            results.append(programs[-1]())
        except Exception as error:
            settings.failures.append(f"{name} on {module.__name__}: {type(error).__name__}: {error}")
            return []
    if len(results) > 1 and not case.random and (text := difference(results[0], results[1])):
        settings.failures.append(f"{name}: {text}")
        return []
    return programs
