"""Tensor texts: how suffixes are put, what is read, options. tests/core/printing_cases.py has PyTorch's own."""

import math
from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core import printing
from flambeau.core.printing import format_tensor, get_printoptions, printoptions, set_printoptions


def shown(values: Any, dtype: str = "float32", **kwargs: Any) -> str:
    chosen = dt.dtype_named(dtype)
    return format_tensor(np.asarray(values).astype(chosen.numpy), dtype=chosen, **kwargs)


@pytest.fixture(autouse=True)
def default_options():
    with printoptions(profile="default"):
        yield


def test_suffixes_follow_in_order():
    text = shown([1.0], "float64", device="opencl:0", suffixes=["requires_grad=True"])
    assert text == "tensor([1.], device='opencl:0', dtype=flambeau.float64, requires_grad=True)"
    assert shown(2.0, suffixes=["grad_fn=<MulBackward>"]) == "tensor(2., grad_fn=<MulBackward>)"


def test_suffixes_wrap_at_the_line_width():
    text = shown(np.arange(10.0) / 4, suffixes=["grad_fn=<DivBackward>"])
    assert text == (
        "tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000, 1.2500, 1.5000, 1.7500, 2.0000,\n"
        "        2.2500], grad_fn=<DivBackward>)"
    )
    assert shown([1.0] * 15, suffixes=["grad_fn=<DivBackward>"]) == (
        "tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.],\n       grad_fn=<DivBackward>)"
    )


def test_without_data():
    text = format_tensor(None, dtype=dt.float64, shape=(2, 3), device="meta")
    assert text == "tensor(..., device='meta', size=(2, 3), dtype=flambeau.float64)"


def test_the_default_dtype_is_not_shown():
    dt.set_default_dtype(dt.float64)
    try:
        assert shown([1.0], "float64") == "tensor([1.])"
        assert shown([1j], "complex128") == "tensor([0.+1.j])"
        assert shown([1.0], "float32") == "tensor([1.], dtype=flambeau.float32)"
    finally:
        dt.set_default_dtype(dt.float32)


def test_summarising_reads_only_the_edges():
    huge = np.lib.stride_tricks.as_strided(np.ones(1, "f"), (2**40, 2**20), (0, 0))
    assert format_tensor(huge, dtype=dt.float32).count("1.") == 36


def test_options():
    set_printoptions(precision=2, sci_mode=True)
    assert (get_printoptions().precision, get_printoptions().sci_mode) == (2, True)
    set_printoptions(edgeitems=5)
    assert (get_printoptions().precision, get_printoptions().sci_mode) == (2, None)
    set_printoptions(profile="full", linewidth=100)
    assert get_printoptions() == printing.PrintOptions(4, math.inf, 3, 100)
    with pytest.raises(ValueError, match="profile must be one of default, short, full, got 'tiny'"):
        set_printoptions(profile="tiny")


def test_options_come_back_after_an_error():
    before = get_printoptions()
    with pytest.raises(KeyError), printoptions(precision=1):
        assert shown(0.25) == "tensor(0.2)"
        raise KeyError
    assert get_printoptions() == before
