"""Public functions bear the names that they are found by, and are pickled by them."""

from __future__ import annotations

import importlib
import pickle
from typing import Any

import pytest

import flambeau as fb

MODULES = ("", "linalg", "fft", "special", "nn.functional", "nn.init", "sparse", "signal.windows", "func", "masked")


@pytest.mark.parametrize("module", MODULES)
def test_functions_bear_their_names(module: str) -> None:
    home = importlib.import_module(f"flambeau.{module}".rstrip("."))
    functions = {n: getattr(home, n) for n in dir(home) if not n.startswith("_")}
    named = {n: f for n, f in functions.items() if callable(f) and hasattr(f, "__code__")}
    assert {n: f.__name__ for n, f in named.items() if f.__name__ != n} == {}


def test_methods_bear_their_names() -> None:
    methods = {n: m for n, m in vars(fb.Tensor).items() if callable(m) and not n.startswith("_")}
    assert {n: m.__name__ for n, m in methods.items() if m.__name__ != n} == {}
    assert len(methods) > 500


@pytest.mark.parametrize(
    "name", ["amax", "absolute", "concat", "true_divide", "swapaxes", "clip", "negative_", "inverse"]
)
def test_names_lead_back(name: str) -> None:
    fn = getattr(fb, name, None) or getattr(fb.Tensor, name)
    assert fn.__qualname__ == name and pickle.loads(pickle.dumps(fn)) is fn


def test_another_name_is_the_same_function() -> None:
    x = fb.tensor([-1.0, 2.0], requires_grad=True)
    y = fb.absolute(x)
    y.sum().backward()
    assert y.tolist() == fb.abs(x).tolist() and x.grad is not None and x.grad.tolist() == [-1.0, 1.0]
    assert fb.multiply(x.detach(), 2, out=fb.empty(2)).tolist() == [-2.0, 4.0]
    assert fb.tensor([1.0]).multiply_(3).tolist() == [3.0] and x.absolute().tolist() == [1.0, 2.0]
    assert fb.special.expit(fb.zeros(1)).tolist() == [0.5] and fb.linalg.inv(fb.eye(1)).tolist() == [[1.0]]


def test_classes_are_told_of_the_function_that_was_called() -> None:
    class Told(fb.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func

    x = fb.ones(1).as_subclass(Told)
    for name in ("absolute", "abs", "amax", "multiply", "clip", "concat"):
        fn = getattr(fb, name)
        args = ([x],) if name == "concat" else (x, 2) if name in ("multiply", "clip") else (x,)
        assert fn(*args) is fn


def test_sparse_tensors_answer_under_every_name() -> None:
    x = fb.eye(2).to_sparse() * -1
    assert fb.absolute(x).to_dense().tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert fb.concat([x, x]).shape == (4, 2) and fb.multiply(x, 2).to_dense()[0, 0].item() == -2.0
