"""Kernels of plugins and overlays that break their contract: the error names op, device and whose kernel it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import registry
from flambeau.core.errors import KernelError

Kernel = Callable[..., Any]


@pytest.fixture
def overlay() -> Iterator[Callable[[str, Kernel], None]]:
    """Put a kernel over one of the CPU's for a test."""

    def put(op_name: str, kernel: Kernel) -> None:
        fb.library.register_kernel(op_name, "cpu", lambda below: kernel, source="acme 1.0")

    yield put
    registry.unregister_overlays("acme 1.0")
    registry.changed()


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (lambda x, **p: None, "returned None"),
        (lambda x, **p: [1.0, 2.0], "returned a list"),
        (lambda x, **p: "text", "returned a str"),
        (lambda x, **p: np.zeros(5, np.float32), r"returned shape \(5,\), expected \(2,\)"),
        (lambda x, **p: np.zeros((2, 1), np.float32), r"returned shape \(2, 1\), expected \(2,\)"),
        (lambda x, **p: np.zeros(2, np.float64), "of dtype float64, expected float32"),
        (lambda x, **p: np.zeros(2, np.int64), "of dtype int64, expected float32"),
    ],
)
def test_a_result_that_is_no_array_of_the_right_form(overlay: Any, kernel: Kernel, words: str) -> None:
    overlay("sinh", kernel)
    with pytest.raises(KernelError, match=rf"the kernel of sinh on 'cpu' \(acme 1.0\) .*{words}"):
        fb.sinh(fb.ones(2))


def test_the_shape_of_a_reduction_and_of_several_results(overlay: Any) -> None:
    overlay("sum", lambda x, **p: np.zeros((3,), np.float32))
    with pytest.raises(KernelError, match=r"returned shape \(3,\), expected \(2,\)"):
        fb.ones(2, 3).sum(1)
    overlay("sort", lambda x, **p: np.sort(x))
    with pytest.raises(KernelError, match=r"sort.* returned a ndarray; the op has several results"):
        fb.ones(2).sort()


@pytest.mark.parametrize("write", [lambda x: x.sinh_(), lambda x: x[:1].sinh_()])
@pytest.mark.parametrize("kernel", [lambda x, out=None: np.sinh(x), lambda x, out=None: None])
def test_a_kernel_that_does_not_write_where_it_should(overlay: Any, kernel: Kernel, write: Any) -> None:
    overlay("sinh", kernel)
    with pytest.raises(KernelError, match=r"sinh on 'cpu' \(acme 1.0\) returned"):
        write(fb.ones(2))


@pytest.mark.parametrize("kernel", [lambda x, **p: x, lambda x, **p: x[:]])
def test_a_kernel_that_returns_its_operand(overlay: Any, kernel: Kernel) -> None:
    for name in ("sinh", "clone"):
        overlay(name, kernel)
        with pytest.raises(KernelError, match=rf"{name} .*returned memory of an operand"):
            getattr(fb, name)(fb.ones(2))


def test_a_right_result_passes_and_so_does_a_number_of_numpy(overlay: Any) -> None:
    overlay("sinh", lambda x, **p: np.sinh(x, **p))
    assert fb.sinh(fb.zeros(2)).tolist() == [0.0, 0.0]
    assert fb.sinh(fb.tensor(0.0)).item() == 0.0
    x = fb.zeros(2)
    x.sinh_()
    assert x.tolist() == [0.0, 0.0]


def test_what_a_kernel_raises_names_the_op_the_device_and_whose_it_is(overlay: Any) -> None:
    def failing(x: Any, **params: Any) -> Any:
        raise OSError("the driver is gone")

    overlay("sinh", failing)
    with pytest.raises(OSError, match="driver") as caught:
        fb.sinh(fb.ones(2))
    assert caught.value.__notes__ == ["in the kernel of sinh on 'cpu' (acme 1.0)"]


def test_an_overlay_that_calls_its_own_op_ends_with_a_word_on_what_to_call(overlay: Any) -> None:
    overlay("sinh", lambda x, **p: fb.sinh(fb.from_numpy(x)).numpy())
    with pytest.raises(RecursionError, match=r"sinh on 'cpu' .*calls itself without end; .*the kernel below"):
        fb.sinh(fb.ones(2))
    with pytest.raises(RecursionError, match="without end"):
        fb.ones(2).sinh_()
