"""What compile takes, refuses and gives: functions, decorators, classes, modules."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.compiler import CaptureError, OptimizedModule, config


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    fb.compiler.set_default_backend(None)
    fb.compiler.set_stance("default")


def times(fn: Callable[..., Any], count: int, *args: Any) -> list[Any]:
    """The results of several calls."""
    return [fn(*args) for _ in range(count)]


def square(x: fb.Tensor, factor: float = 1.0) -> fb.Tensor:
    """x * x."""
    return x * x * factor


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: fb.compile(3), TypeError, "a function or a module"),
    (lambda: fb.compile()(3), TypeError, "a function or a module"),
    (lambda: fb.compile(abs, mode="default", options={}), RuntimeError, "not both"),
    (lambda: fb.compile(mode="default", options={}), RuntimeError, "not both"),
    (lambda: fb.compile(abs, mode="fast"), RuntimeError, "'max-autotune'"),
    (lambda: fb.compile(abs, backend="nothing"), RuntimeError, "'inductor'"),
    (lambda: fb.compile(abs, options={"epilog_fusion": True}), RuntimeError, "close names: epilogue_fusion"),
    (lambda: fb.compile(abs, options={"epilogue_fusion": 3}), RuntimeError, "must be of type bool, got 3"),
    (lambda: fb.compile(abs, recompile_limit=0), ValueError, "at least 1, got 0"),
    (lambda: fb.compile(abs, fullgraph="yes"), TypeError, "fullgraph must be a bool, got str"),  # type: ignore[arg-type]
    (lambda: fb.compile(abs, dynamic=2), TypeError, "dynamic must be a bool or None"),  # type: ignore[arg-type]
    (lambda: nn.Linear(1, 1).compile(mode="fast"), RuntimeError, "'max-autotune'"),
    (lambda: nn.Linear(1, 1).compile(fast=True), TypeError, "fast"),
    (lambda: fb.compiler.set_default_backend("nothing"), RuntimeError, "'inductor'"),
    (lambda: fb.compiler.set_stance("lazy"), RuntimeError, "'force_eager'"),
    (lambda: fb.compiler.set_stance("force_eager", force_backend="eager"), RuntimeError, "'default' alone"),
    (lambda: fb.compiler.disable(3), TypeError, "got int"),
    (lambda: fb.compiler.allow_in_graph(3), TypeError, "got int"),
    (lambda: fb.compiler.load_compiled_function(io.BytesIO()), RuntimeError, "not kept in files"),
    (lambda: fb.compiler.substitute_in_graph(copy.copy)(lambda x, y: x), TypeError, "the signature of"),
    (lambda: config.patch(speed=3).__enter__(), AttributeError, "no setting 'speed'"),
]


@pytest.mark.parametrize(("call", "error", "text"), WRONG)
def test_what_is_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_options_of_pytorch_are_known() -> None:
    options = {"epilogue_fusion": True, "max-autotune": True, "triton.cudagraphs": False, "guard_filter_fn": len}
    made = fb.compile(square, options=options)
    assert fb.equal(made(fb.ones(2)), fb.ones(2))


def test_the_forms_of_the_decorator() -> None:
    @fb.compile
    def one(x: fb.Tensor) -> fb.Tensor:
        return x + 1

    @fb.compile(fullgraph=True, mode="max-autotune", name="two more")
    def two(x: fb.Tensor) -> fb.Tensor:
        return x + 2

    class Counter:
        start = 3

        @fb.compile
        def more(self, x: fb.Tensor) -> fb.Tensor:
            return x + self.start

    x = fb.zeros(2)
    counter = Counter()
    for fn, expected in ((one, 1.0), (two, 2.0), (counter.more, 3.0)):
        assert all(fb.equal(y, fb.full((2,), expected)) for y in times(fn, 5, x))
        assert fn.explain().replayed == 2
    assert two.explain().name == "two more" and one.explain().name.endswith("one")


def test_what_comes_back_looks_as_what_was_given() -> None:
    made = fb.compile(square)
    assert made.__name__ == "square" and made.__doc__ == "x * x." and made._torchdynamo_orig_callable is square
    assert list(inspect.signature(made).parameters) == ["x", "factor"]
    again = fb.compile(made, fullgraph=True)
    assert again.captured.fn is square and again.captured is not made.captured


def test_each_number_is_a_kind_of_call_and_keywords_are_arguments() -> None:
    made = fb.compile(square)
    x = fb.tensor([2.0, 3.0])
    for factor in (1.0, 2.0):
        results = [made(x, factor=factor) for _ in range(5)]
        assert all(fb.equal(y, x * x * factor) for y in results)
    assert made.explain().graph_count == 2 and made.explain().replayed == 4


def test_backends_that_run_eagerly_say_so() -> None:
    for backend in ("eager", "aot_eager", lambda graph, inputs: graph):
        made = fb.compile(square, backend=backend)
        times(made, 4, fb.ones(2))
        told = made.explain()
        assert (told.eager, told.replayed, told.graph_count) == (4, 0, 0) and "backend is" in told.break_reasons[
            0
        ].reason


def test_the_default_backend() -> None:
    assert fb.compiler.get_default_backend() == "inductor"
    fb.compiler.set_default_backend("eager")
    made = fb.compile(square)
    times(made, 4, fb.ones(2))
    assert fb.compiler.get_default_backend() == "eager" and made.explain().eager == 4
    assert fb.compiler.list_backends(None) == ["aot_eager", "cudagraphs", "eager", "flambeau", "inductor"]


def test_bodies_that_run_later_run_eagerly() -> None:
    def numbers(x: fb.Tensor) -> Iterator[fb.Tensor]:
        yield x
        yield x + 1

    made = fb.compile(numbers)
    for i in range(5):
        assert [y.item() for y in made(fb.tensor(float(i)))] == [i, i + 1]
    assert "a generator function" in str(made.explain())
    with pytest.raises(CaptureError, match="generator function"):
        fb.compile(numbers, fullgraph=True)


def test_disabled_calls_come_back_as_they_are() -> None:
    layer = nn.Linear(1, 1)
    assert fb.compile(square, disable=True) is square and fb.compile(layer, disable=True) is layer
    with config.patch("disable", True):
        assert fb.compile(square) is square
    assert fb.compile(square) is not square


def test_limits_are_settings() -> None:
    assert fb.compile(square).captured.limit == 8 and fb.compile(square, recompile_limit=3).captured.limit == 3
    with config.patch(cache_size_limit=2):
        assert config.recompile_limit == 2 and fb.compile(square).captured.limit == 2
    assert config.cache_size_limit == 8


def test_objects_of_a_class() -> None:
    @fb.compile
    class Scale:
        def __init__(self, factor: float):
            self.factor = factor

        def __call__(self, x: fb.Tensor) -> fb.Tensor:
            return x * self.factor

    scale: Any = Scale(3.0)
    assert isinstance(scale, Scale) and all(y.item() == 6 for y in times(scale, 5, fb.tensor(2.0)))
    assert Scale.__call__.explain().replayed == 2  # type: ignore[attr-defined]


# -- modules -------------------------------------------------------------------------------------------
def test_a_compiled_module_is_the_module() -> None:
    plain = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    made = fb.compile(plain, mode="max-autotune")
    assert made._orig_mod is plain and fb.compile(made) is made and isinstance(made, OptimizedModule)
    assert list(made.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    assert len(made) == 2 and made.get_submodule("_orig_mod.0") is plain[0]
    made.eval()
    assert not plain.training and not made.training
    plain.train()
    assert made.training
    made.eval()
    assert all(fb.equal(y, plain(fb.ones(2))) for y in times(made, 5, fb.ones(2)))
    assert made.explain().replayed == 2


def test_attributes_are_those_of_the_module() -> None:
    plain = nn.Linear(2, 1)
    made = fb.compile(plain)
    made.tag = "x"
    assert plain.tag == "x" and made.in_features == 2 and "in_features" in dir(made)
    del made.tag
    assert not hasattr(plain, "tag")
    made.bias = nn.Parameter(fb.zeros(1))
    assert made.bias is plain.bias
    with pytest.raises(TypeError, match="len"):
        len(made)


def test_a_compiled_module_trains() -> None:
    fb.manual_seed(0)
    made = fb.compile(nn.Linear(2, 1))
    plain = copy.deepcopy(made._orig_mod)
    x, y = fb.tensor([[1.0, 2.0], [3.0, -1.0]]), fb.tensor([[1.0], [0.0]])
    for model in (made, plain):
        optimizer = fb.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(6):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
    assert fb.equal(made.weight, plain.weight) and fb.equal(made.bias, plain.bias)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_begin_without_recordings(copied: Callable[[Any], Any]) -> None:
    made = fb.compile(nn.Linear(2, 1), fullgraph=True)
    times(made, 5, fb.ones(2))
    other = copied(made)
    assert other._orig_mod is not made._orig_mod and fb.equal(other.weight, made.weight)
    assert other.explain().graphs == [] and other._run.captured.fullgraph
    with fb.no_grad():
        other.weight.zero_()
    assert all(fb.equal(y, made.bias) for y in times(other, 5, fb.ones(2)))


def test_a_compiled_module_is_saved_and_loaded() -> None:
    file = io.BytesIO()
    made = fb.compile(nn.Linear(2, 1))
    times(made, 4, fb.ones(2))
    fb.save(made.state_dict(), file)
    file.seek(0)
    other = fb.compile(nn.Linear(2, 1))
    other.load_state_dict(fb.load(file))
    assert fb.equal(other(fb.ones(2)), made(fb.ones(2)))


def test_hooks_of_the_compiled_module_run_in_each_call() -> None:
    made, seen = fb.compile(nn.Linear(2, 1)), []
    made.register_forward_hook(lambda module, args, out: seen.append(type(module)))
    times(made, 5, fb.ones(2))
    assert seen == [OptimizedModule] * 5


def test_a_module_compiles_itself_in_place() -> None:
    layer, seen = nn.Linear(2, 1), []
    layer.compile(fullgraph=True)
    layer.register_forward_hook(lambda *args: seen.append(1))
    results = times(layer, 5, fb.ones(2))
    assert all(fb.equal(y, nn.functional.linear(fb.ones(2), layer.weight, layer.bias)) for y in results)
    assert layer.forward.explain().replayed == 2 and len(seen) == 5  # type: ignore[attr-defined]
    assert layer._compiled_call_impl is layer.forward and list(layer.state_dict()) == ["weight", "bias"]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(nn.Linear(2, 1)))):
        assert other._compiled_call_impl is None and "forward" not in vars(other)
    layer.compile(disable=True)
    assert layer._compiled_call_impl is None and not hasattr(layer.forward, "explain")


def test_a_forward_of_the_object_s_own_is_kept_by_copies() -> None:
    layer = nn.Linear(2, 1)
    layer.forward = square  # type: ignore[method-assign]
    layer.compile()
    assert all(fb.equal(y, fb.ones(2)) for y in times(layer, 5, fb.ones(2)))
    assert copy.deepcopy(layer).forward is square


def test_a_compiled_function_inside_of_one_is_a_part_of_it() -> None:
    inner = fb.compile(square)
    outer = fb.compile(lambda x: inner(x) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(y.item() == 5 for y in times(outer, 5, fb.tensor(2.0)))
    assert outer.explain().replayed == 2


def test_a_module_compiled_in_place_is_saved_without_its_recordings() -> None:
    file, layer = io.BytesIO(), nn.Linear(2, 1)
    layer.compile()
    times(layer, 4, fb.ones(2))
    fb.save(layer, file)
    file.seek(0)
    other = fb.load(file, weights_only=False)
    assert other._compiled_call_impl is None and fb.equal(other(fb.ones(2)), layer(fb.ones(2)))
