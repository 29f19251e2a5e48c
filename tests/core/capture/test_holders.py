"""Where the tensors stand that a recording uses without being given them, and what is said when that changes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import flambeau as fb
from flambeau.core.capture.holders import Found, holders
from flambeau.core.capture.trace import External, Value
from tests.conftest import RunPython


def found(*tensors: fb.Tensor) -> Found:
    externals = [External(Value(i, storage=i), t._array) for i, t in enumerate(tensors)]
    return holders(externals, [tensors, externals])


def model() -> SimpleNamespace:
    """A program: an object, a dict in a dict, a list in an object, a closure, each with a tensor of its own."""
    inside = fb.ones(5)
    made = SimpleNamespace(weight=fb.ones(1, requires_grad=True), state={"p": {"mean": fb.ones(2)}}, rest=[fb.ones(3)])
    made.closed = lambda: inside
    return made


def tensors(m: SimpleNamespace) -> list[fb.Tensor]:
    return [m.weight, m.state["p"]["mean"], m.rest[0], m.closed.__closure__[0].cell_contents]


def _closed(m: SimpleNamespace) -> None:
    m.closed.__closure__[0].cell_contents = fb.ones(5)


CHANGES: list[tuple[Callable[[Any], object], str]] = [
    (lambda m: setattr(m, "weight", fb.ones(1)), "tensor 'weight' was 'weight' of a"),
    (lambda m: setattr(m.weight, "data", fb.zeros(1)), "has other memory"),
    (lambda m: m.weight.requires_grad_(False), "requires_grad"),
    (lambda m: m.weight.register_hook(print), "hooks on tensor 'weight'"),
    (lambda m: m.state["p"].update(mean=fb.ones(2)), "was 'mean' of a dict"),
    (lambda m: m.state["p"].clear(), "was 'mean' of a dict"),
    (lambda m: m.state.update(p={"mean": m.state["p"]["mean"]}), "what was 'p' of a dict, and has tensors"),
    (lambda m: m.rest.insert(0, fb.ones(3)), "element 0 of a list"),
    (lambda m: m.rest.clear(), "element 0 of a list"),
    (lambda m: setattr(m, "rest", list(m.rest)), "'rest' of a"),
    (_closed, "in a closure"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[said for _, said in CHANGES])
def test_what_changed_is_told(change: Callable[[Any], object], said: str) -> None:
    m = model()
    seen = found(*tensors(m))
    moved = seen.checker()
    assert not moved() and seen.changed() == ""
    change(m)
    assert moved() and said in seen.changed()


def test_other_changes_are_none() -> None:
    m = model()
    seen = found(*tensors(m))
    moved = seen.checker()
    m.more, m.state["q"] = 1, {"mean": fb.ones(2)}
    m.rest.append(fb.ones(1))
    m.weight.grad = fb.ones(1)
    m.weight.detach().mul_(2)
    assert not moved() and seen.changed() == ""


def test_a_gradient_is_asked_of_its_tensor() -> None:
    w = fb.ones(2, requires_grad=True)
    w.grad = fb.ones(2)
    external = External(Value(0, storage=0), w.grad._array)
    seen = holders([external], [])
    assert external.grad_of is w and seen.owners == []


def test_holders_that_the_collector_does_not_see_are_told(run_python: RunPython) -> None:
    program = """
import gc, warnings
import flambeau as fb
model = fb.nn.Linear(3, 2)
gc.collect()
gc.freeze()
infer = fb.compile(model)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(5):
        assert infer(fb.ones(3)).shape == (2,)
assert infer.explain().replayed == 0, infer.explain()
assert "gc.freeze() hides who holds a tensor of shape (2, 3)" in str(told[0].message), told[0]
"""
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
