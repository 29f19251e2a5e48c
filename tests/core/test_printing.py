"""Tensor texts. The expected strings are PyTorch 2.13's own output, with only the dtypes' prefix changed."""

import itertools
import math
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core import printing
from flambeau.core.printing import format_tensor, get_printoptions, printoptions, set_printoptions

# values, dtype, print options, text
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    (3.14159, "float32", {}, "tensor(3.1416)"),
    (2.0, "float32", {}, "tensor(2.)"),
    (1e-5, "float32", {}, "tensor(1.0000e-05)"),
    (nan, "float32", {}, "tensor(nan)"),
    (-inf, "float64", {}, "tensor(-inf, dtype=flambeau.float64)"),
    (5, "int64", {}, "tensor(5)"),
    (True, "bool", {}, "tensor(True)"),
    (2 - 3j, "complex64", {}, "tensor(2.-3.j)"),
    ([], "float32", {}, "tensor([])"),
    ([], "int64", {}, "tensor([], dtype=flambeau.int64)"),
    (np.zeros((0, 3)), "float32", {}, "tensor([], size=(0, 3))"),
    (np.zeros((2, 0, 4)), "int64", {}, "tensor([], size=(2, 0, 4), dtype=flambeau.int64)"),
    ([1.0, 2.0, 3.0], "float32", {}, "tensor([1., 2., 3.])"),
    ([1.0, 2.5, -3.0], "float32", {}, "tensor([ 1.0000,  2.5000, -3.0000])"),
    ([0.0, -0.0], "float32", {}, "tensor([0., -0.])"),
    ([1.0, 1001.0], "float32", {}, "tensor([1.0000e+00, 1.0010e+03])"),
    ([1.0, 1000.0], "float32", {}, "tensor([   1., 1000.])"),
    ([0.5, 600.0], "float32", {}, "tensor([5.0000e-01, 6.0000e+02])"),
    ([1e8, 1e8], "float32", {}, "tensor([100000000., 100000000.])"),
    ([1e9, 1e9], "float32", {}, "tensor([1.0000e+09, 1.0000e+09])"),
    ([0.0001, 0.05], "float64", {}, "tensor([0.0001, 0.0500], dtype=flambeau.float64)"),
    ([0.00009, 0.05], "float64", {}, "tensor([9.0000e-05, 5.0000e-02], dtype=flambeau.float64)"),
    ([nan, inf, -inf, 1.0, 0.0], "float32", {}, "tensor([nan, inf, -inf, 1., 0.])"),
    ([nan, inf, -inf, 1.5], "float32", {}, "tensor([   nan,    inf,   -inf, 1.5000])"),
    ([nan, inf, 0.0], "float32", {}, "tensor([nan, inf, 0.])"),
    ([nan, inf, 1e-7, 1.0], "float32", {}, "tensor([       nan,        inf, 1.0000e-07, 1.0000e+00])"),
    ([1.0, 2.5], "float16", {}, "tensor([1.0000, 2.5000], dtype=flambeau.float16)"),
    ([1.0, 2.5, 3.140625], "bfloat16", {}, "tensor([1.0000, 2.5000, 3.1406], dtype=flambeau.bfloat16)"),
    ([1.0, 2.0], "float64", {}, "tensor([1., 2.], dtype=flambeau.float64)"),
    ([1, -20, 300], "int64", {}, "tensor([  1, -20, 300])"),
    ([1, 2], "int32", {}, "tensor([1, 2], dtype=flambeau.int32)"),
    ([1, 255], "uint8", {}, "tensor([  1, 255], dtype=flambeau.uint8)"),
    ([2**63], "uint64", {}, "tensor([9223372036854775808], dtype=flambeau.uint64)"),
    ([-128, 127], "int8", {}, "tensor([-128,  127], dtype=flambeau.int8)"),
    ([True, False], "bool", {}, "tensor([ True, False])"),
    (
        [[True, False], [False, False]],
        "bool",
        {},
        """\
tensor([[ True, False],
        [False, False]])""",
    ),
    ([1 + 2j, -1.5 - 0.25j], "complex64", {}, "tensor([ 1.0000+2.0000j, -1.5000-0.2500j])"),
    ([1 + 2j, complex(nan, inf), 1e9], "complex64", {}, "tensor([1.0000e+00+2.j,        nan+infj, 1.0000e+09+0.j])"),
    ([1 + 2j] * 3, "complex128", {}, "tensor([1.+2.j, 1.+2.j, 1.+2.j], dtype=flambeau.complex128)"),
    (
        [[1j, 1e-6], [2, 3]],
        "complex64",
        {},
        """\
tensor([[0.0000e+00+1.j, 1.0000e-06+0.j],
        [2.0000e+00+0.j, 3.0000e+00+0.j]])""",
    ),
    (
        np.arange(6.0).reshape(2, 3),
        "float32",
        {},
        """\
tensor([[0., 1., 2.],
        [3., 4., 5.]])""",
    ),
    (
        np.arange(8).reshape(2, 2, 2),
        "int64",
        {},
        """\
tensor([[[0, 1],
         [2, 3]],

        [[4, 5],
         [6, 7]]])""",
    ),
    (
        np.arange(16.0).reshape(2, 2, 2, 2) / 3,
        "float32",
        {},
        """\
tensor([[[[0.0000, 0.3333],
          [0.6667, 1.0000]],

         [[1.3333, 1.6667],
          [2.0000, 2.3333]]],


        [[[2.6667, 3.0000],
          [3.3333, 3.6667]],

         [[4.0000, 4.3333],
          [4.6667, 5.0000]]]])""",
    ),
    (
        np.arange(40),
        "int64",
        {},
        """\
tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,
        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
        36, 37, 38, 39])""",
    ),
    (
        np.arange(30.0) / 7,
        "float32",
        {},
        """\
tensor([0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000, 1.1429,
        1.2857, 1.4286, 1.5714, 1.7143, 1.8571, 2.0000, 2.1429, 2.2857, 2.4286,
        2.5714, 2.7143, 2.8571, 3.0000, 3.1429, 3.2857, 3.4286, 3.5714, 3.7143,
        3.8571, 4.0000, 4.1429])""",
    ),
    (
        np.arange(30.0).reshape(1, 30) / 7,
        "float64",
        {},
        """\
tensor([[0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000, 1.1429,
         1.2857, 1.4286, 1.5714, 1.7143, 1.8571, 2.0000, 2.1429, 2.2857, 2.4286,
         2.5714, 2.7143, 2.8571, 3.0000, 3.1429, 3.2857, 3.4286, 3.5714, 3.7143,
         3.8571, 4.0000, 4.1429]], dtype=flambeau.float64)""",
    ),
    (
        np.arange(100),
        "int64",
        {"linewidth": 110},
        """\
tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
        25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49,
        50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74,
        75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99])""",
    ),
    (np.arange(1001), "int64", {}, "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    (
        np.arange(10000.0),
        "float32",
        {},
        """\
tensor([0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 9.9970e+03, 9.9980e+03,
        9.9990e+03])""",
    ),
    (
        np.arange(10000.0).reshape(100, 100),
        "float32",
        {},
        """\
tensor([[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 9.7000e+01, 9.8000e+01,
         9.9000e+01],
        [1.0000e+02, 1.0100e+02, 1.0200e+02,  ..., 1.9700e+02, 1.9800e+02,
         1.9900e+02],
        [2.0000e+02, 2.0100e+02, 2.0200e+02,  ..., 2.9700e+02, 2.9800e+02,
         2.9900e+02],
        ...,
        [9.7000e+03, 9.7010e+03, 9.7020e+03,  ..., 9.7970e+03, 9.7980e+03,
         9.7990e+03],
        [9.8000e+03, 9.8010e+03, 9.8020e+03,  ..., 9.8970e+03, 9.8980e+03,
         9.8990e+03],
        [9.9000e+03, 9.9010e+03, 9.9020e+03,  ..., 9.9970e+03, 9.9980e+03,
         9.9990e+03]])""",
    ),
    (
        np.arange(2400).reshape(10, 4, 60),
        "int64",
        {},
        """\
tensor([[[   0,    1,    2,  ...,   57,   58,   59],
         [  60,   61,   62,  ...,  117,  118,  119],
         [ 120,  121,  122,  ...,  177,  178,  179],
         [ 180,  181,  182,  ...,  237,  238,  239]],

        [[ 240,  241,  242,  ...,  297,  298,  299],
         [ 300,  301,  302,  ...,  357,  358,  359],
         [ 360,  361,  362,  ...,  417,  418,  419],
         [ 420,  421,  422,  ...,  477,  478,  479]],

        [[ 480,  481,  482,  ...,  537,  538,  539],
         [ 540,  541,  542,  ...,  597,  598,  599],
         [ 600,  601,  602,  ...,  657,  658,  659],
         [ 660,  661,  662,  ...,  717,  718,  719]],

        ...,

        [[1680, 1681, 1682,  ..., 1737, 1738, 1739],
         [1740, 1741, 1742,  ..., 1797, 1798, 1799],
         [1800, 1801, 1802,  ..., 1857, 1858, 1859],
         [1860, 1861, 1862,  ..., 1917, 1918, 1919]],

        [[1920, 1921, 1922,  ..., 1977, 1978, 1979],
         [1980, 1981, 1982,  ..., 2037, 2038, 2039],
         [2040, 2041, 2042,  ..., 2097, 2098, 2099],
         [2100, 2101, 2102,  ..., 2157, 2158, 2159]],

        [[2160, 2161, 2162,  ..., 2217, 2218, 2219],
         [2220, 2221, 2222,  ..., 2277, 2278, 2279],
         [2280, 2281, 2282,  ..., 2337, 2338, 2339],
         [2340, 2341, 2342,  ..., 2397, 2398, 2399]]])""",
    ),
    (
        np.arange(1200.0).reshape(2, 600) / 8,
        "float32",
        {},
        """\
tensor([[0.0000e+00, 1.2500e-01, 2.5000e-01,  ..., 7.4625e+01, 7.4750e+01,
         7.4875e+01],
        [7.5000e+01, 7.5125e+01, 7.5250e+01,  ..., 1.4962e+02, 1.4975e+02,
         1.4988e+02]])""",
    ),
    (
        np.arange(1500).reshape(1500, 1),
        "int32",
        {},
        """\
tensor([[   0],
        [   1],
        [   2],
        ...,
        [1497],
        [1498],
        [1499]], dtype=flambeau.int32)""",
    ),
    (
        np.arange(1002) * 1j,
        "complex64",
        {},
        """\
tensor([0.+0.0000e+00j, 0.+1.0000e+00j, 0.+2.0000e+00j,  ..., 0.+9.9900e+02j,
        0.+1.0000e+03j, 0.+1.0010e+03j])""",
    ),
    (np.arange(1002) % 3 == 0, "bool", {}, "tensor([ True, False, False,  ...,  True, False, False])"),
    (np.zeros((1500, 0)), "float32", {}, "tensor([], size=(1500, 0))"),
    ([1.0, 2.123456789], "float64", {"precision": 7}, "tensor([1.0000000, 2.1234568], dtype=flambeau.float64)"),
    ([1.0, 2.5], "float32", {"precision": 0}, "tensor([1, 2])"),
    ([1.0, 2.5], "float32", {"sci_mode": True}, "tensor([1.0000e+00, 2.5000e+00])"),
    ([0.0, 1.0, -8.0], "float32", {"sci_mode": True}, "tensor([ 0.0000e+00,  1.0000e+00, -8.0000e+00])"),
    ([1e-9, 2.5], "float32", {"sci_mode": False}, "tensor([0.0000, 2.5000])"),
    ([0.0], "float32", {"sci_mode": True}, "tensor([0.])"),
    (np.arange(20), "int64", {"threshold": 10, "edgeitems": 2}, "tensor([ 0,  1,  ..., 18, 19])"),
    (
        np.arange(20),
        "int64",
        {"linewidth": 40},
        """\
tensor([ 0,  1,  2,  3,  4,  5,  6,  7,
         8,  9, 10, 11, 12, 13, 14, 15,
        16, 17, 18, 19])""",
    ),
    (
        np.arange(36.0).reshape(6, 6),
        "float32",
        {"threshold": 30, "edgeitems": 1},
        """\
tensor([[ 0.,  ...,  5.],
        ...,
        [30.,  ..., 35.]])""",
    ),
    (np.arange(1001.0) / 3, "float32", {"profile": "short"}, "tensor([0.00e+00, 3.33e-01,  ..., 3.33e+02, 3.33e+02])"),
]


def shown(values: Any, dtype: str = "float32", **kwargs: Any) -> str:
    chosen = dt.dtype_named(dtype)
    return format_tensor(np.asarray(values).astype(chosen.numpy), dtype=chosen, **kwargs)


@pytest.fixture(autouse=True)
def default_options():
    with printoptions(profile="default"):
        yield


@pytest.mark.parametrize(("values", "dtype", "options", "expected"), CASES, ids=itertools.count())
def test_as_pytorch_prints(values, dtype, options, expected):
    set_printoptions(**options)
    assert shown(values, dtype) == expected


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
