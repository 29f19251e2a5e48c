"""What a traceback shows of a wrong call: the caller's own lines, and few of flambeau's."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn


def _frames(call: Callable[[], Any]) -> list[traceback.FrameSummary]:
    """The frames below this test's own, of the second call: the first one writes the op out."""
    for _ in range(2):
        with pytest.raises(Exception) as caught:
            call()
        hidden = caught.value.__suppress_context__ or caught.value.__context__ is None
        assert hidden, "a second traceback would stand above"
    return list(traceback.extract_tb(caught.value.__traceback__))[1:]


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (lambda: fb.ones(2, 3) + fb.ones(4), 3),
        (lambda: fb.sin("a"), 3),  # type: ignore[arg-type]
        (lambda: fb.ones(2, 3) @ fb.ones(2, 3), 5),
        (lambda: nn.Linear(3, 4)(fb.ones(2, 5)), 5),
        (lambda: fb.ones(2).add_(fb.ones(3)), 4),
        (lambda: fb.tensor([[1, 2], [3]]), 4),
    ],
)
def test_a_wrong_call_shows_few_frames(call: Callable[[], Any], most: int) -> None:
    frames = _frames(call)
    most += 2 * sum(f.filename.endswith("overrides.py") for f in frames)  # where a class overrides functions
    assert len(frames) <= most, "\n".join(f"{f.filename}:{f.lineno} {f.name}" for f in frames)


def test_a_wrong_layer_in_a_model_shows_each_layer_once() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2))
    frames = _frames(lambda: model(fb.ones(2, 3)))
    assert len(frames) <= 8
    assert [f.name for f in frames].count("forward") == 2


def test_a_fault_inside_keeps_all_of_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    from flambeau.core import dispatch

    def broken(*args: Any) -> Any:
        raise AssertionError("inside")

    monkeypatch.setattr(dispatch, "infer_shapes", broken)
    with pytest.raises(AssertionError) as caught:
        fb.ones(2, 3) + fb.ones(4)
    assert "broken" in [f.name for f in traceback.extract_tb(caught.value.__traceback__)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([[1, 2], [3]], r"data\[0\] has 2 element\(s\) and data\[1\] has 1 element\(s\)"),
        ([[1, 2], 3], r"data\[0\] has 2 element\(s\) and data\[1\] is a number"),
        ([[[1], [2]], [[3], [4, 5]]], r"data\[0\]\[0\] has 1 element\(s\) and data\[1\]\[1\] has 2 element\(s\)"),
    ],
)
def test_a_ragged_list_is_explained_by_its_places(data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"tensor: {words}; at one depth all must be lists of one length, or numbers"):
        fb.tensor(data)
