"""Stances, disable, reset, and what is told to PyTorch's tracer: what they do to compiled functions."""

from __future__ import annotations

import operator
import threading
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import compiler, nn
from flambeau.compiler import CaptureError


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    compiler.set_stance("default")


@pytest.fixture
def double() -> Any:
    """A compiled function, recorded for vectors of 2."""
    made: Any = fb.compile(lambda x: x + x, name="double")
    for _ in range(3):
        made(fb.ones(2))
    return made


def ran(made: Any) -> int:
    """How often its Python ran, beside the three calls of a recording."""
    told = made.explain()
    return int(told.eager + told.recorded - 3)


def test_the_default_replays(double: Any) -> None:
    assert fb.equal(double(fb.full((2,), 3.0)), fb.full((2,), 6.0)) and ran(double) == 0


def test_force_eager_as_a_block_a_decorator_and_for_good(double: Any) -> None:
    with compiler.set_stance("force_eager"):
        double(fb.ones(2))
    assert ran(double) == 1

    @compiler.set_stance(stance="force_eager")
    def inside() -> None:
        double(fb.ones(2))

    double(fb.ones(2))
    assert ran(double) == 1  # making the decorator left the stance as it was
    inside()
    double(fb.ones(2))
    assert ran(double) == 2
    compiler.set_stance("force_eager")
    double(fb.ones(2))
    assert ran(double) == 3
    compiler.set_stance("default")
    double(fb.ones(2))
    assert ran(double) == 3


def test_blocks_go_back_to_what_was_before_them(double: Any) -> None:
    outer = compiler.set_stance("force_eager")
    with outer, compiler.set_stance("default"):
        double(fb.ones(2))
        assert ran(double) == 0
        with outer:
            double(fb.ones(2))
        double(fb.ones(2))
        assert ran(double) == 1
    double(fb.ones(2))
    assert ran(double) == 1


def test_a_forced_backend_is_for_all(double: Any) -> None:
    with compiler.set_stance(force_backend="eager"):
        double(fb.ones(2))
    with compiler.set_stance(force_backend="inductor"):
        double(fb.ones(2))
    assert ran(double) == 1


def test_eager_on_recompile_replays_what_is_recorded_and_records_nothing(double: Any) -> None:
    with compiler.set_stance("eager_on_recompile"):
        double(fb.ones(2))
        assert ran(double) == 0
        for _ in range(5):
            assert fb.equal(double(fb.ones(3)), fb.full((3,), 2.0))
    assert ran(double) == 5 and double.explain().graph_count == 1


def test_fail_on_recompile_names_the_function(double: Any) -> None:
    with compiler.set_stance("fail_on_recompile"):
        double(fb.ones(2))
        with pytest.raises(CaptureError, match=r"double would have to be recorded"):
            double(fb.ones(3))
    assert ran(double) == 0


def test_a_compiled_function_cannot_change_the_stance() -> None:
    def fn(x: fb.Tensor) -> fb.Tensor:
        with compiler.set_stance("force_eager"):
            return x + x

    made = fb.compile(fn)
    made(fb.ones(2))
    with pytest.raises(RuntimeError, match="cannot change the stance"):
        made(fb.ones(2))


def test_reset_forgets_what_all_have_recorded(double: Any) -> None:
    other = fb.compile(nn.Linear(2, 1))
    for _ in range(4):
        other(fb.ones(2))
    compiler.reset()
    assert double.explain().graphs == [] and other.explain().graphs == []
    for _ in range(5):
        assert fb.equal(double(fb.ones(2)), fb.full((2,), 2.0))
    assert ran(double) == 0 and double.explain().replayed == 2


def test_is_compiling_while_something_records() -> None:
    seen = []

    @fb.compile
    def fn(x: fb.Tensor) -> fb.Tensor:
        seen.append((compiler.is_compiling(), compiler.is_dynamo_compiling(), compiler.is_exporting()))
        return x + x

    fn(fb.ones(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it keeps in the list makes it run eagerly
        fn(fb.ones(1))
    assert seen == [(False, False, False), (True, True, False)] and not compiler.is_compiling()


# -- disable -------------------------------------------------------------------------------------------
def test_what_calls_a_disabled_function_runs_eagerly_and_says_why() -> None:
    seen = []

    @compiler.disable(reason="it keeps a list")
    def keep(x: fb.Tensor) -> fb.Tensor:
        seen.append(x.sum().item())
        return x

    @fb.compile
    def fn(x: fb.Tensor) -> fb.Tensor:
        return keep(x) + x

    fn(fb.ones(2))
    with pytest.warns(RuntimeWarning, match=r"compiler\.disable: .*keep, it keeps a list"):
        for i in range(4):
            assert fb.equal(fn(fb.full((2,), float(i))), fb.full((2,), 2.0 * i))
    assert seen == [2.0, 0.0, 2.0, 4.0, 6.0] and fn.explain().replayed == 0
    assert "it keeps a list" in fn.explain().break_reasons[0].reason
    strict = fb.compile(lambda x: keep(x), fullgraph=True)
    strict(fb.ones(2))
    with pytest.raises(CaptureError, match=r"compiler\.disable: .*keep"):
        strict(fb.ones(2))


@pytest.mark.parametrize(("recursive", "runs"), [(True, 1), (False, 0)])
def test_compiled_functions_inside_of_a_disabled_one(double: Any, recursive: bool, runs: int) -> None:
    disabled = compiler.disable(lambda x: double(x), recursive=recursive)
    disabled(fb.ones(2))
    assert ran(double) == runs
    thread = threading.Thread(target=double, args=(fb.ones(2),))  # another thread is not disabled
    thread.start()
    thread.join()
    assert ran(double) == runs


def test_disabled_modules_and_classes() -> None:
    plain = nn.Linear(2, 1)
    made = compiler.disable(plain)
    assert made._orig_mod is plain and fb.equal(made(fb.ones(2)), plain(fb.ones(2)))

    @compiler.disable
    class Scale:
        def __call__(self, x: fb.Tensor) -> fb.Tensor:
            return x + x

    scale = Scale()
    for inner in (made, scale):
        outer = fb.compile(lambda x, inner=inner: inner(x))
        outer(fb.ones(2))
        with pytest.warns(RuntimeWarning, match=r"compiler\.disable"):
            outer(fb.ones(2))
    assert isinstance(scale, Scale)


# -- hints -----------------------------------------------------------------------------------------------
def test_hints_give_back_what_they_get() -> None:
    for hint in (compiler.allow_in_graph, compiler.nested_compile_region, compiler.nested_compile_region()):
        assert hint(len) is len
    assert compiler.allow_in_graph([len, abs]) == [len, abs]
    assert compiler.save_cache_artifacts() is None and compiler.load_cache_artifacts(b"") is None  # type: ignore[func-returns-value]
    assert compiler.set_enable_guard_collectives(True) is False


def test_numpy_is_computed_anew_in_each_call() -> None:
    turned = compiler.wrap_numpy(lambda a, by: np.roll(a, by))
    made = fb.compile(lambda x: turned(x, by=1) + x)
    made(fb.arange(3))
    with pytest.warns(RuntimeWarning, match=r"compiler\.wrap_numpy"):
        results = [made(fb.arange(3) * i).tolist() for i in range(1, 5)]
    assert results == [[2 * i, i, 3 * i] for i in range(1, 5)]


def test_a_builtin_is_called_for_what_stands_in_for_it() -> None:
    @compiler.substitute_in_graph(operator.indexOf)
    def index_of(a: Any, b: Any, /) -> int:
        raise AssertionError("the tracer's alone")

    assert index_of([5, 6], 6) == 1


def _entry(kind: str, *, value: Any = None, of_module: bool = False, everywhere: bool = False) -> Any:
    source = SimpleNamespace(
        is_unspecialized_builtin_nn_module=lambda: of_module, is_unspecialized_nn_module=lambda: of_module
    )
    return SimpleNamespace(
        guard_type=kind, value=value, is_global=everywhere, orig_guard=SimpleNamespace(source=source)
    )


FILTERS: list[tuple[Callable[[Any], list[bool]], list[bool]]] = [
    (compiler.keep_portable_guards_unsafe, [True, True, False, False]),
    (compiler.keep_tensor_guards_unsafe, [False, True, False, False]),
    (lambda entries: compiler.keep_tensor_guards_unsafe(entries, keep_parameters=True), [False, True, True, False]),
    (compiler.skip_guard_on_globals_unsafe, [True, True, False, True]),
    (compiler.skip_guard_on_all_nn_modules_unsafe, [True, True, True, False]),
    (compiler.skip_guard_on_inbuilt_nn_modules_unsafe, [True, True, True, False]),
    (compiler.skip_all_guards_unsafe, [False] * 4),
]


@pytest.mark.parametrize(("keep", "expected"), FILTERS)
def test_filters_of_guards(keep: Callable[[Any], list[bool]], expected: list[bool]) -> None:
    entries = [
        _entry("GLOBAL_STATE"), _entry("TENSOR_MATCH", value=fb.ones(1)),
        _entry("TENSOR_MATCH", value=nn.Parameter(fb.ones(1)), everywhere=True), _entry("ID_MATCH", of_module=True),
    ]  # fmt: skip
    assert keep(entries) == expected
