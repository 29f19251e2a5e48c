"""Switches, sizes that might be symbols, and control flow: what they answer, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    fb.use_deterministic_algorithms(False)
    fb.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(("mode", "told"), [("default", 0), ("warn", 1), ("error", 2), (1, 1), (0, 0)])
def test_determinism_by_a_word_or_number(mode: int | str, told: int) -> None:
    fb.set_deterministic_debug_mode(mode)
    assert fb.get_deterministic_debug_mode() == told
    assert fb.are_deterministic_algorithms_enabled() is (told > 0)
    assert fb.is_deterministic_algorithms_warn_only_enabled() is (told == 1)


def test_precision_is_kept_and_what_it_is_not_is_warned_of() -> None:
    fb.set_float32_matmul_precision("high")
    assert fb.get_float32_matmul_precision() == "high"
    with pytest.warns(UserWarning, match="'x' is not one of highest"):
        fb.set_float32_matmul_precision("x")
    assert fb.get_float32_matmul_precision() == "high"


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: fb.set_deterministic_debug_mode("x"), RuntimeError, "default, warn, error"),
    (lambda: fb.set_deterministic_debug_mode(3), RuntimeError, "0, 1 or 2"),
    (lambda: fb.set_num_interop_threads(0), RuntimeError, "positive"),
    (lambda: fb.sym_constrain_range(3, min=4), RuntimeError, "from 4"),
    (lambda: fb.sym_ite(1, 1, 2), TypeError, "b must be a bool"),  # type: ignore[arg-type]
    (lambda: fb.cond(fb.ones(2), abs, abs), RuntimeError, r"shape \(2,\)"),
    (lambda: fb.cond(True, 3, abs), TypeError, "true_fn"),  # type: ignore[arg-type]
    (lambda: fb.while_loop(lambda i: i < 3, lambda i: (i, i), (fb.tensor(0),)), RuntimeError, "1 values"),
    (lambda: fb.from_file("there-is-none", size=2), RuntimeError, "no file"),
]


@pytest.mark.parametrize(("call", "error", "text"), WRONG)
def test_what_is_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_numbers_stay_what_they_are() -> None:
    assert [type(v) for v in (fb.sym_max(1, 2.0), fb.sym_max(3, 2), fb.sym_min(1.0, 2), fb.sym_int(2.9))] == [
        float, int, float, int,
    ]  # fmt: skip


def test_gradients_pass_through_control_flow() -> None:
    x = fb.tensor(3.0, requires_grad=True)
    fb.cond(x > 0, lambda v: v * v, lambda v: -v, (x,)).backward()
    assert x.grad is not None and x.grad.item() == 6
    total, _ = fb.while_loop(lambda s, i: i < 3, lambda s, i: (s * x, i + 1), (x, fb.tensor(0)))
    x.grad = None
    total.backward()
    assert x.grad is not None and x.grad.item() == 4 * 27


def test_a_file_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    np.arange(4, dtype="f4").tofile(path)
    private = fb.from_file(path, size=3)
    private[0] = 9
    assert np.fromfile(path, "f4").tolist() == [0, 1, 2, 3]
    fb.from_file(str(path), shared=True, size=6, dtype=fb.float32)[5] = 7
    assert np.fromfile(path, "f4").tolist() == [0, 1, 2, 3, 0, 7]
    with pytest.raises(RuntimeError, match="has 24 bytes"):
        fb.from_file(path, size=7)
