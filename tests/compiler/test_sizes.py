"""Which sizes share a recording: dynamic of compile, marks, settings, and what explain tells of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb
from flambeau.core.capture.template import Sized

CALLS = (2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5)


def shared(made: Any) -> int:
    return sum(isinstance(g, Sized) for g in made.explain().graphs)


def called(
    mark: Callable[[fb.Tensor], object] = lambda x: None, fn: Callable[..., Any] = lambda x: x * len(x), **how: Any
) -> Any:
    made = fb.compile(fn, **how)
    for size in CALLS:
        x = fb.ones(size, 3)
        mark(x)
        assert fb.equal(made(x), fn(x))
    return made


@pytest.mark.parametrize(("dynamic", "expected"), [(None, 3), (True, 3), (False, 0)])
def test_dynamic(dynamic: bool | None, expected: int) -> None:
    assert shared(called(dynamic=dynamic)) == expected


def test_marked_sizes_share_without_dynamic() -> None:
    assert shared(called(lambda x: fb.compiler.mark_dynamic(x, 0), dynamic=False)) == 3
    assert shared(called(lambda x: fb.compiler.mark_dynamic(x, -2), dynamic=False)) == 3
    assert shared(called(lambda x: fb.compiler.maybe_mark_dynamic(x, [0, 1]), dynamic=False)) == 3
    assert shared(called(lambda x: fb.compiler.mark_dynamic(x, 1), dynamic=False)) == 0


def test_sizes_that_are_marked_static_do_not_share() -> None:
    assert shared(called(lambda x: fb.compiler.mark_static(x, 0))) == 0
    assert shared(called(lambda x: fb.compiler.mark_static(x))) == 0
    assert shared(called(lambda x: fb.compiler.mark_static(x, 1))) == 3

    def both(x: fb.Tensor) -> None:
        fb.compiler.mark_static(x)
        fb.compiler.mark_dynamic(x, (0,))

    assert shared(called(both)) == 3


def test_a_mark_that_cannot_be_kept_is_told() -> None:
    def branch(x: fb.Tensor) -> fb.Tensor:
        return x * 2 if len(x) < 3 else x + 1

    with pytest.warns(RuntimeWarning, match="marked dynamic has recordings of its own in .*branch: add runs at"):
        called(lambda x: fb.compiler.mark_dynamic(x, 0), branch)
    called(lambda x: fb.compiler.maybe_mark_dynamic(x, 0), branch)


@pytest.mark.parametrize("mark", [fb.compiler.mark_dynamic, fb.compiler.maybe_mark_dynamic, fb.compiler.mark_static])
def test_wrong_marks(mark: Callable[..., None]) -> None:
    with pytest.raises(TypeError, match=f"{mark.__name__}: t must be a tensor, got list"):
        mark([1], 0)
    with pytest.raises(TypeError, match=f"{mark.__name__}: index must be an int or ints, got 'a'"):
        mark(fb.ones(2), ["a"])
    with pytest.raises(IndexError, match=f"{mark.__name__}: dimension 1 of a tensor of 1 dimension"):
        mark(fb.ones(2), 1)


def test_settings_of_the_tracer() -> None:
    with fb.compiler.config.patch(automatic_dynamic_shapes=False):
        assert shared(called()) == 0 and shared(called(dynamic=True)) == 3
    with fb.compiler.config.patch(assume_static_by_default=False):
        made = called()
    assert made.captured.fusion is False and shared(made) == 3


def test_what_is_told() -> None:
    text = str(called().explain())
    assert "  sizes: the function of the graph for (2, 3), with 1 other entry\n" in text
    assert "argument, float32 (5, 3) cpu" in text
    text = str(called(fn=lambda x: x * 2 if len(x) < 3 else x + 1).explain())
    assert "sizes: these alone, since add runs at test_sizes.py:" in text


def test_reset_forgets_sizes() -> None:
    made = called()
    fb.compiler.reset()
    assert made.explain().graphs == []


def test_names_of_the_tracer() -> None:
    from flambeau.compat.torch import _dynamo

    assert _dynamo.mark_dynamic is fb.compiler.mark_dynamic
    assert _dynamo.mark_static is fb.compiler.mark_static
    assert _dynamo.maybe_mark_dynamic is fb.compiler.maybe_mark_dynamic
