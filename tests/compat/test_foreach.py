"""torch's operations on lists of tensors treat each tensor as its own method would, and in place keep the tensors."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb
from flambeau.compat.foreach import FUNCTIONS, UNARY


def _lists() -> list[fb.Tensor]:
    return [fb.tensor([0.25, 0.5]), fb.tensor([0.75])]


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_one_list(name: str) -> None:
    expected = [getattr(t, name)() for t in _lists()]
    result = FUNCTIONS[f"_foreach_{name}"](_lists())
    assert isinstance(result, tuple)
    tensors = _lists()
    assert FUNCTIONS[f"_foreach_{name}_"](tensors) is tensors
    for got, changed, wanted in zip(result, tensors, expected, strict=True):
        fb.testing.assert_close(got, wanted, equal_nan=True)
        fb.testing.assert_close(changed, wanted, equal_nan=True)


def _close(result: Any, *wanted: list[float]) -> None:
    assert [t.tolist() for t in result] == [pytest.approx(w) for w in wanted]


def test_what_goes_with_a_list_is_one_number_a_tensor_or_a_list() -> None:
    add, mul = FUNCTIONS["_foreach_add"], FUNCTIONS["_foreach_mul"]
    _close(add(_lists(), 1), [1.25, 1.5], [1.75])
    _close(add(_lists(), fb.tensor(1.0)), [1.25, 1.5], [1.75])
    _close(add(_lists(), [1, 2]), [1.25, 1.5], [2.75])
    _close(add(_lists(), _lists(), alpha=2), [0.75, 1.5], [2.25])
    _close(mul(_lists(), scalars=[2, 4]), [0.5, 1.0], [3.0])
    _close(FUNCTIONS["_foreach_maximum_"](_lists(), 0.5), [0.5, 0.5], [0.75])
    _close(FUNCTIONS["_foreach_clamp_max"](_lists(), [0.25, 0.5]), [0.25, 0.25], [0.5])


def test_functions_of_three_lists() -> None:
    lists = _lists()
    _close(FUNCTIONS["_foreach_lerp"](lists, [fb.ones(2), fb.ones(1)], 0.5), [0.625, 0.75], [0.875])
    _close(FUNCTIONS["_foreach_addcmul"](lists, lists, lists, value=2), [0.375, 1.0], [1.875])
    _close(FUNCTIONS["_foreach_addcdiv"](lists, lists, lists, [1, 2]), [1.25, 1.5], [2.75])
    _close(FUNCTIONS["_foreach_addcdiv_"](_lists(), lists, lists, fb.tensor([1.0, 2.0])), [1.25, 1.5], [2.75])


def test_powers_norms_and_copies() -> None:
    _close(FUNCTIONS["_foreach_pow"](4.0, _lists()), [2**0.5, 2.0], [2**1.5])
    _close(FUNCTIONS["_foreach_pow"](_lists(), 2), [0.0625, 0.25], [0.5625])
    assert [t.item() for t in FUNCTIONS["_foreach_norm"](_lists(), 1, dtype=fb.float64)] == [0.75, 0.75]
    assert [t.item() for t in FUNCTIONS["_foreach_powsum"](_lists())] == [0.3125, 0.5625]
    assert [t.item() for t in FUNCTIONS["_foreach_max"](_lists())] == [0.5, 0.75]
    tensors = _lists()
    _close(FUNCTIONS["_foreach_zero_"](tensors), [0.0, 0.0], [0.0])
    _close(FUNCTIONS["_foreach_copy_"](tensors, _lists()), [0.25, 0.5], [0.75])
    assert FUNCTIONS["_foreach_clone"](tensors)[0] is not tensors[0]


@pytest.mark.parametrize(
    ("args", "kind", "says"),
    [
        (([],), RuntimeError, "at least one tensor"),
        ((fb.ones(2),), TypeError, "must be tuple of Tensors"),
        (([1],), TypeError, "expected Tensor as element 0"),
        (([fb.ones(1)], [1, 2]), RuntimeError, "same number of elements as scalar list"),
        (([fb.ones(1)] * 2, [fb.ones(1)]), RuntimeError, "same number of tensors, got 2 and 1"),
        (([fb.ones(1)], fb.ones(1)), RuntimeError, "expected to be 0 dim but it has 1 dimensions and 1 elements"),
    ],
)
def test_wrong_lists(args: tuple[Any, ...], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        FUNCTIONS["_foreach_mul" if len(args) > 1 else "_foreach_abs"](*args)
