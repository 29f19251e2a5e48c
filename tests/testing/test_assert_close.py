"""assert_close says what PyTorch 2.13.0 says, word for word; make_tensor's values are where they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.testing import FileCheck, assert_close, make_tensor

t = fb.tensor
NOT_CLOSE = "Tensor-likes are not close!\n\n"
#: (actual, expected, options, what PyTorch raises)
DIFFERENT: list[tuple[Any, Any, dict[str, Any], str]] = [
    (t([1.0, 2.0, 3.0]), t([1.0, 2.5, 3.0]), {}, NOT_CLOSE + "Mismatched elements: 1 / 3 (33.3%)\n"
     "Greatest absolute difference: 0.5 at index (1,) (up to 1e-05 allowed)\n"
     "Greatest relative difference: 0.20000000298023224 at index (1,) (up to 1.3e-06 allowed)"),
    (t([[1.0, 2.0], [3.0, 4.0]]), t([[1.0, 2.5], [3.0, 5.0]]), {}, NOT_CLOSE + "Mismatched elements: 2 / 4 (50.0%)\n"
     "Greatest absolute difference: 1.0 at index (1, 1) (up to 1e-05 allowed)\n"
     "Greatest relative difference: 0.20000000298023224 at index (0, 1) (up to 1.3e-06 allowed)"),
    (t(1.0), t(2.0), {}, "Scalars are not close!\n\nExpected 2.0 but got 1.0.\n"
     "Absolute difference: 1.0 (up to 1e-05 allowed)\nRelative difference: 0.5 (up to 1.3e-06 allowed)"),
    (1, 2, {}, "Scalars are not equal!\n\nExpected 2 but got 1.\nAbsolute difference: 1\nRelative difference: 0.5"),
    (1 + 2j, 1 + 3j, {}, "Scalars are not close!\n\nExpected (1+3j) but got (1+2j).\n"
     "Absolute difference: 1.0 (up to 1e-07 allowed)\nRelative difference: 0.31622776601683794 (up to 1e-07 allowed)"),
    (True, False, {}, "Booleans mismatch: True is not False"),
    (1, 1.0, {}, "The (d)types do not match: <class 'int'> != <class 'float'>."),
    (None, 1, {}, "None mismatch: None is not 1"),
    (t([1, 2]), t([1, 3]), {}, "Tensor-likes are not equal!\n\nMismatched elements: 1 / 2 (50.0%)\n"
     "Greatest absolute difference: 1 at index (1,)\nGreatest relative difference: 0.3333333432674408 at index (1,)"),
    (t([True]), t([False]), {}, "Tensor-likes are not equal!\n\nMismatched elements: 1 / 1 (100.0%)\n"
     "Greatest absolute difference: 1 at index (0,)\nGreatest relative difference: inf at index (0,)"),
    (t([1.0]), t([1.0, 2.0]), {}, "The values for attribute 'shape' do not match: "
     "flambeau.Size([1]) != flambeau.Size([2])."),
    (t([1.0]), t([1.0], dtype=fb.float64), {}, "The values for attribute 'dtype' do not match: "
     "flambeau.float32 != flambeau.float64."),
    ([t(1.0)], [t(1.0), t(2.0)], {}, "The length of the sequences mismatch: 1 != 2"),
    ({"a": 1}, {"b": 1}, {}, "The keys of the mappings do not match:\n"
     "Missing keys in the actual mapping: ['b']\nAdditional keys in the actual mapping: ['a']"),
    ({"a": [1.0, 3.0]}, {"a": [1.0, 2.0]}, {}, "Scalars are not close!\n\nExpected 2.0 but got 3.0.\n"
     "Absolute difference: 1.0 (up to 1e-07 allowed)\nRelative difference: 0.5 (up to 1e-07 allowed)\n\n"
     "The failure occurred for item ['a'][1]"),
    (t([float("nan")]), t([float("nan")]), {}, NOT_CLOSE + "Mismatched elements: 1 / 1 (100.0%)\n"
     "Greatest absolute difference: nan at index (0,) (up to 1e-05 allowed)\n"
     "Greatest relative difference: nan at index (0,) (up to 1.3e-06 allowed)"),
    (t([1.0, 2.0]), t([1.0, 3.0]), {"rtol": 0.1, "atol": 0}, NOT_CLOSE + "Mismatched elements: 1 / 2 (50.0%)\n"
     "Greatest absolute difference: 1.0 at index (1,) (up to 0 allowed)\n"
     "Greatest relative difference: 0.3333333432674408 at index (1,) (up to 0.1 allowed)"),
    (np.array([1.0, 2.0]), np.array([1.0, 3.0]), {}, NOT_CLOSE + "Mismatched elements: 1 / 2 (50.0%)\n"
     "Greatest absolute difference: 1.0 at index (1,) (up to 1e-07 allowed)\n"
     "Greatest relative difference: 0.3333333333333333 at index (1,) (up to 1e-07 allowed)"),
    (fb.ones(2, 3), fb.ones(3, 2).T, {"check_stride": True}, "The values for attribute 'stride()' do not match: "
     "(3, 1) != (1, 2)."),
    (t([1.0]), t([2.0]), {"msg": "hey"}, "hey"),
    (1, 2, {"msg": lambda text: f"X {text[:7]}"}, "X Scalars"),
]  # fmt: skip


@pytest.mark.parametrize(("actual", "expected", "options", "text"), DIFFERENT)
def test_what_is_said_of_a_difference(actual: Any, expected: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_close(actual, expected, **options)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("actual", "expected", "options"),
    [
        (1.0, 1.0 + 1e-9, {}), (t([float("nan")]), t([float("nan")]), {"equal_nan": True}), ([], [], {}),
        ((1,), [1], {}), (t([float("inf")]), t([float("inf")]), {}), (None, None, {}),
        (t([1.0]), t([1.0], dtype=fb.float64), {"check_dtype": False}), (fb.nn.Parameter(fb.ones(2)), fb.ones(2), {}),
        (fb.ones(2, device="strict"), fb.ones(2, device="cpu"), {"check_device": False}),
        (t([1], dtype=fb.uint64), t([1], dtype=fb.uint64), {}), (fb.ones(2).half(), fb.ones(2).half() * 1.0005, {}),
    ],
)  # fmt: skip
def test_what_is_close(actual: Any, expected: Any, options: dict[str, Any]) -> None:
    assert_close(actual, expected, **options)


def test_what_cannot_be_compared() -> None:
    for actual, expected in [("a", "a"), (t([1.0]), [1.0]), (t(1.0), 1.0), (object(), object())]:
        with pytest.raises(TypeError, match="No comparison pair was able to handle inputs of type"):
            assert_close(actual, expected)
    with pytest.raises(TypeError, match="Parameter"):
        assert_close(fb.nn.Parameter(fb.ones(2)), fb.ones(2), allow_subclasses=False)
    with pytest.raises(ValueError, match="got no atol"):
        assert_close(1.0, 1.0, rtol=0.1)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (fb.float32, -9, 9),
        (fb.int64, -9, 10),
        (fb.uint8, 0, 10),
        (fb.bool, 0, 2),
        (fb.int8, -9, 10),
        (fb.float16, -9, 9.1),
    ],
)
def test_where_the_values_of_make_tensor_are(dtype: fb.dtype, low: float, high: float) -> None:
    values = make_tensor(5000, dtype=dtype, device="cpu").to(fb.float64)
    assert low <= values.min().item() < low + 0.1 + (high - low) / 100 and high - 1.1 < values.max().item() < high
    ones = make_tensor(500, dtype=dtype, device="cpu", exclude_zero=True)
    assert bool((ones != 0).all())


def test_how_make_tensor_makes_them() -> None:
    made = make_tensor(2, 4, dtype=fb.float32, device="cpu", noncontiguous=True, requires_grad=True)
    assert made.shape == (2, 4) and made.stride() == (8, 2) and made.requires_grad
    parts = fb.view_as_real(make_tensor(1000, dtype=fb.complex64, device="cpu", low=0, high=1))
    assert parts.min().item() >= 0 and parts.max().item() < 1
    assert make_tensor(50, dtype=fb.float32, device="cpu", low=0, high=float("inf")).isfinite().all()
    for options, text in [
        ({"low": 5, "high": 3}, "must be less than"), ({"low": float("nan")}, "cannot be NaN"),
        ({"dtype": fb.int64, "requires_grad": True}, "not supported for boolean and integral"),
        ({"dtype": fb.uint8, "low": -5, "high": -1}, r"only supports \[0, 256\)"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=text):
            make_tensor(3, **({"dtype": fb.float32, "device": "cpu"} | options))


TEXT = "graph:\n  %x = conv(%a)\n  %y = relu(%x)\n  return %y\n"


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        (FileCheck().check("conv").check("relu"), True), (FileCheck().check("relu").check("conv"), False),
        (FileCheck().check_next("%x = conv").check_next("relu"), True),
        (FileCheck().check("graph").check_next("relu"), False), (FileCheck().check("%x").check_same("conv"), True),
        (FileCheck().check("graph").check_same("conv"), False), (FileCheck().check_not("add").check("return"), True),
        (FileCheck().check_not("relu").check("return"), False), (FileCheck().check("conv").check_not("conv("), True),
        (FileCheck().check_count("%x", 2, exactly=True), True), (FileCheck().check_count("%x", 1, exactly=True), False),
        (FileCheck().check_dag("relu").check_dag("conv").check("return"), True),
        (FileCheck().check_regex(r"re\w+\(%x\)"), True), (FileCheck().check_regex("soft"), False),
    ],
)  # fmt: skip
def test_file_check(check: FileCheck, holds: bool) -> None:
    if holds:
        check.run(TEXT)
        return
    with pytest.raises(RuntimeError, match="FileCheck: CHECK"):
        check.run(TEXT)
