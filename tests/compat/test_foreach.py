"""``torch._foreach_*`` of several lists: each tensor gets what the op gives for it alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.compat.torch._foreach import FUNCTIONS, overloads
from flambeau.compat.torch._ops import ops
from flambeau.core import config

ROWS = [[0.1, 0.4, 0.7], [0.5, 0.2]]
OTHERS = [[0.2, 0.3, 0.6], [0.25, 0.75]]


def tensors(rows: list[list[float]] = ROWS) -> list[fb.Tensor]:
    return [fb.tensor(row, dtype=fb.float64) for row in rows]


def check(found: Any, reference: Callable[..., Any], *operands: list[Any]) -> None:
    wanted = [reference(*(np.asarray(x) for x in row)) for row in zip(*operands, strict=True)]
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f.numpy(), w, rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide), ("pow", np.power),
     ("maximum", np.maximum), ("clamp_min", np.maximum), ("minimum", np.minimum), ("clamp_max", np.minimum)],
)  # fmt: skip
def test_with_one_number_one_each_or_another_list(name: str, reference: Callable[..., Any]) -> None:
    for other, beside in ((0.3, [0.3, 0.3]), ([0.3, 0.6], [0.3, 0.6]), (tensors(OTHERS), OTHERS)):
        check(FUNCTIONS[f"_foreach_{name}"](tensors(), other), reference, ROWS, beside)
        own = tensors()
        FUNCTIONS[f"_foreach_{name}_"](own, other)
        check(own, reference, ROWS, beside)


def test_what_is_weighed() -> None:
    check(FUNCTIONS["_foreach_add"](tensors(), tensors(OTHERS), alpha=2), lambda x, y: x + 2 * y, ROWS, OTHERS)
    check(FUNCTIONS["_foreach_lerp"](tensors(), tensors(OTHERS), [0.1, 0.9]), lambda x, y, w: x + w * (y - x),
          ROWS, OTHERS, [0.1, 0.9])  # fmt: skip
    for values in ([2.0, 3.0], fb.tensor([2.0, 3.0])):
        found = FUNCTIONS["_foreach_addcdiv"](tensors(), tensors(OTHERS), tensors(), values)
        check(found, lambda x, a, b, v: x + v * a / b, ROWS, OTHERS, ROWS, [2.0, 3.0])
    check(FUNCTIONS["_foreach_pow"](2.0, tensors()), lambda x: 2**x, ROWS)


def test_of_the_rest() -> None:
    check(FUNCTIONS["_foreach_norm"](tensors()), np.linalg.norm, ROWS)
    check(FUNCTIONS["_foreach_norm"](tensors(), 1), lambda x: np.abs(x).sum(), ROWS)
    check(FUNCTIONS["_foreach_max"](tensors()), np.max, ROWS)
    own = tensors()
    assert FUNCTIONS["_foreach_copy_"](own, tensors(OTHERS)) is own
    check(own, np.asarray, OTHERS)
    check(FUNCTIONS["_foreach_zero_"](own), np.zeros_like, ROWS)


def test_lists_that_do_not_fit_are_errors() -> None:
    with pytest.raises(RuntimeError, match="_foreach_add: Tensor lists must have the same number of tensors, got 2"):
        FUNCTIONS["_foreach_add"](tensors(), tensors()[:1])
    with pytest.raises(RuntimeError, match="same number of elements as scalar list"):
        FUNCTIONS["_foreach_mul_"](tensors(), [1.0])
    with pytest.raises(RuntimeError, match="at least one tensor"):
        FUNCTIONS["_foreach_exp"]([])
    with pytest.raises(TypeError, match="argument 1 must be a list or tuple of tensors, got Tensor"):
        FUNCTIONS["_foreach_exp"](fb.ones(2))
    with pytest.raises(TypeError, match="there is no alpha"):
        FUNCTIONS["_foreach_mul"](tensors(), 2, alpha=3)


def test_they_are_ops_with_overloads() -> None:
    assert ops.aten._foreach_add_.overloads() == ["Scalar", "List", "ScalarList", "Tensor"]
    own = tensors()
    ops.aten._foreach_mul_.Scalar(own, 2.0)
    check(own, lambda x: 2 * x, ROWS)
    assert overloads("add") == []


@pytest.mark.parametrize("inplace", [True, False])
def test_long_lists_of_large_tensors_give_what_each_gives_alone(inplace: bool) -> None:
    ending = "_" if inplace else ""
    rng = np.random.default_rng(0)

    def drawn() -> list[fb.Tensor]:
        return [fb.tensor(rng.random(s) + 0.5, dtype=fb.float32) for s in ((70, 131), (3,), (), (40_000,), (0, 2))]

    x, y, z = drawn(), drawn(), drawn()
    calls: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("add", [y], {"alpha": 0.5}), ("sub", [y], {}), ("mul", [0.3], {}), ("mul", [fb.tensor(0.3)], {}),
        ("div", [y], {}),
        ("maximum", [y], {}), ("minimum", [0.9], {}), ("addcmul", [y, z], {"value": 0.5}), ("addcdiv", [y, z], {}),
        ("lerp", [y, 0.1], {}), ("lerp", [y, 0.7], {}), ("sqrt", [], {}), ("neg", [], {}), ("reciprocal", [], {}),
    ]  # fmt: skip
    with config.override(cpu_code="host"):
        for name, operands, options in calls:
            own = [t.clone() for t in x]
            found = FUNCTIONS[f"_foreach_{name}{ending}"](own, *operands, **options)
            assert (found is own) is inplace
            for i, (f, t) in enumerate(zip(found, x, strict=True)):
                beside = [v[i] if isinstance(v, list) else v for v in operands]
                wanted = getattr(fb, name)(t, *[fb.tensor(v) if name == "minimum" else v for v in beside], **options)
                np.testing.assert_allclose(f.numpy(), wanted.numpy(), rtol=1e-6)
                assert inplace or (own[i].numpy() == t.numpy()).all()
                assert own[i]._version == (1 if inplace else 0)


def test_lists_in_one_storage_and_with_gradients() -> None:
    whole = fb.arange(20_000.0)
    halves = [whole[:10_000], whole[10_000:]]
    FUNCTIONS["_foreach_add_"](halves, halves)
    assert (whole.numpy() == 2 * np.arange(20_000.0)).all()
    with pytest.raises(RuntimeError, match="single memory location"):
        FUNCTIONS["_foreach_add_"]([whole[1:]], [whole[:-1]])
    leaf = fb.ones(10_000, requires_grad=True)
    (found,) = FUNCTIONS["_foreach_mul"]([leaf], 3.0)
    found.sum().backward()
    assert leaf.grad is not None and (leaf.grad.numpy() == 3).all()
