"""flambeau.array_api against numpy's own namespace, which has the standard's meaning; operators under ``strict``."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from tests.core.test_standard import CREATION, DTYPES, ELEMENTWISE, LINALG, OTHERS

xp = fb.array_api
FFT = "fft ifft rfft irfft fftn ifftn rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift ifftshift"
Call = Callable[[Any, Callable[..., Any]], Any]

#: What is called with a namespace and its ``asarray``.
CALLS: dict[str, Call] = {
    "max over an axis": lambda x, a: x.max(a([[1, 5], [7, 2]]), axis=0),
    "max over none": lambda x, a: x.max(a([1.5, 2.5]), axis=()),
    "min keeps": lambda x, a: x.min(a([[1, 5], [7, 2]]), axis=(0, 1), keepdims=True),
    "sum of unsigned": lambda x, a: x.sum(a([200, 100], dtype=x.uint8)),
    "prod in a dtype": lambda x, a: x.prod(a([2, 3]), dtype=x.int16),
    "mean over none": lambda x, a: x.mean(a([1.0, 2.0]), axis=()),
    "var": lambda x, a: x.var(a([1.0, 2.0, 6.0])),
    "std corrected": lambda x, a: x.std(a([1.0, 2.0, 6.0]), correction=1.0),
    "std over none": lambda x, a: x.std(a([1.0, 2.0]), axis=()),
    "any of ints": lambda x, a: x.any(a([0, 3], dtype=x.uint8)),
    "all over none": lambda x, a: x.all(a([0, 3]), axis=()),
    "cumulative sum": lambda x, a: x.cumulative_sum(a([1, 2], dtype=x.uint8), include_initial=True),
    "diff": lambda x, a: x.diff(a([1, 4, 9, 16]), n=2),
    "sort": lambda x, a: x.sort(a([2, 3, 1])),
    "sort descending": lambda x, a: xp.sort(a([2, 3, 1]), descending=True) if x is xp else x.flip(x.sort(a([2, 3, 1]))),
    "argmax": lambda x, a: x.argmax(a([[1, 9], [9, 1]]), axis=1, keepdims=True),
    "nonzero": lambda x, a: x.nonzero(a([[0, 1], [2, 0]])),
    "searchsorted": lambda x, a: x.searchsorted(a([1.0, 3.0, 5.0]), a([3.0, 0.0]), side="right"),
    "concat flat": lambda x, a: x.concat([a([[1, 2]]), a([3])], axis=None),
    "concat promotes": lambda x, a: x.concat([a([1], dtype=x.int8), a([300], dtype=x.int16)]),
    "stack": lambda x, a: x.stack([a([1, 2]), a([3, 4])], axis=1),
    "meshgrid": lambda x, a: x.meshgrid(a([1, 2]), a([3, 4, 5])),
    "squeeze": lambda x, a: x.squeeze(a([[[1], [2]]]), axis=(0, 2)),
    "roll": lambda x, a: x.roll(a([[1, 2], [3, 4]]), 1, axis=(0, 1)),
    "flip": lambda x, a: x.flip(a([[1, 2], [3, 4]])),
    "tile": lambda x, a: x.tile(a([1, 2]), (2, 2)),
    "repeat": lambda x, a: x.repeat(a([1, 2]), a([2, 1])),
    "moveaxis": lambda x, a: x.moveaxis(a([[[1, 2], [3, 4]]]), 0, 2),
    "reshape copies": lambda x, a: x.reshape(a([1, 2, 3, 4]), (2, 2), copy=True),
    "take": lambda x, a: x.take(a([[1, 2], [3, 4]]), a([1, 0]), axis=1),
    "where promotes": lambda x, a: x.where(a([True, False]), a(1, dtype=x.int16), a([2, 3], dtype=x.int8)),
    "where of a number": lambda x, a: x.where(a([True, False]), 1.5, a([2.0, 3.0])),
    "add promotes 0-d": lambda x, a: x.add(a(300, dtype=x.int16), a([1], dtype=x.int8)),
    "greater of 0-d": lambda x, a: x.greater(a(128, dtype=x.int16), a([0], dtype=x.int8)),
    "maximum of a number": lambda x, a: x.maximum(a([1, 5]), 3),
    "equal": lambda x, a: x.equal(a([1, 2]), a([1, 3])),
    "floor_divide": lambda x, a: x.floor_divide(a([7.0, -7.0, 0.0]), 2.0),
    "sign": lambda x, a: x.sign(a([3 + 4j, 0j, -2j])),
    "sign of nan": lambda x, a: x.sign(a([np.nan, -2.0])),
    "round": lambda x, a: x.round(a([0.5 + 1.5j, 2.5 - 0.5j])),
    "expm1": lambda x, a: x.expm1(a([1e-9 + 1e-9j, 1 + 1j, -2 + 3j])),
    "clip": lambda x, a: x.clip(a([1, 5, 9]), 2, 7),
    "unique": lambda x, a: x.unique_all(a([2j, 1j, 2j, 1 + 0j])),
    "unique counts": lambda x, a: x.unique_counts(a([3, 1, 3])),
    "linspace": lambda x, a: x.linspace(0.0, 1.0, 4, endpoint=False, dtype=x.float64),
    "arange of none": lambda x, a: x.arange(3, 1),
    "arange": lambda x, a: x.arange(5, step=2),
    "eye": lambda x, a: x.eye(2, 4, k=1, dtype=x.int8),
    "eye outside": lambda x, a: x.eye(2, k=5, dtype=x.int8),
    "tril": lambda x, a: x.tril(a([[1, 2], [3, 4]]), k=-1),
    "great ints": lambda x, a: a([2**63, 0], dtype=x.uint64),
    "result_type": lambda x, a: str(x.result_type(a(1, dtype=x.int16), x.int8)).split(".")[-1],
    "can_cast": lambda x, a: [x.can_cast(x.int8, x.int32), x.can_cast(x.uint64, x.int8)],
    "finfo": lambda x, a: [float(x.finfo(x.complex64).max), x.finfo(x.float64).bits],
    "iinfo": lambda x, a: [x.iinfo(x.int8).min, x.iinfo(x.int8).max],
    "isdtype": lambda x, a: [x.isdtype(x.int8, "integral"), x.isdtype(x.float32, ("bool", x.int8))],
    "linalg.trace": lambda x, a: x.linalg.trace(a([[1, 2], [3, 4]]), offset=1),
    "linalg.solve": lambda x, a: x.linalg.solve(a([[2.0, 0.0], [0.0, 4.0]]), a([2.0, 4.0])),
    "linalg.cross": lambda x, a: x.linalg.cross(a([1, 2, 3]), a([[4, 5, 6], [7, 8, 9]])),
    "linalg.vector_norm": lambda x, a: x.linalg.vector_norm(a([[3.0, 4.0], [6.0, 8.0]]), axis=1, keepdims=True),
    "linalg.matrix_norm": lambda x, a: x.linalg.matrix_norm(a([[3.0, 4.0], [6.0, 8.0]]), ord=None),
    "linalg.pinv": lambda x, a: x.linalg.pinv(a([[2.0, 0.0], [0.0, 1e-9]]), rtol=a(1e-3)),
    "linalg.tensordot": lambda x, a: x.linalg.tensordot(a([[1, 2], [3, 4]]), a([[1, 2], [3, 4]]), axes=((0,), (1,))),
    "linalg.matmul promotes": lambda x, a: x.linalg.matmul(a([[1]], dtype=x.int8), a([[300]], dtype=x.int16)),
    "vecdot": lambda x, a: x.vecdot(a([1j, 2 + 0j]), a([1j, 1 + 0j])),
    "fft.fft": lambda x, a: x.fft.fft(a([1.0, 2.0, 3.0]), n=4, norm="ortho"),
    "fft.irfftn": lambda x, a: x.fft.irfftn(a([[1 + 0j, 2j], [3 + 0j, 4j]]), s=(2, 3), axes=(0, 1)),
    "fft.fftshift": lambda x, a: x.fft.fftshift(a([1, 2, 3])),
}  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, fb.Tensor):
        return value.numpy()
    return value


def _same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, list):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            _same(f, w)
    elif isinstance(wanted, np.ndarray | np.generic):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, 1e-9, 1e-12)
    else:
        assert found == wanted


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_as_in_numpy(call: Call) -> None:
    ours = call(xp, lambda v, dtype=None: xp.asarray(np.asarray(v), dtype=dtype))
    _same(_plain(ours), _plain(call(np, np.asarray)))


@pytest.mark.parametrize("name", [*CREATION.split(), *DTYPES.split(), *ELEMENTWISE.split(), *OTHERS.split()])
def test_names(name: str) -> None:
    assert name in dir(xp)
    assert inspect.getdoc(getattr(xp, name)) or not callable(getattr(xp, name))


@pytest.mark.parametrize("name", [*(f"linalg.{n}" for n in LINALG.split()), *(f"fft.{n}" for n in FFT.split())])
def test_names_of_extensions(name: str) -> None:
    extension, short = name.split(".")
    assert short in getattr(xp, extension).__all__ and inspect.getdoc(getattr(getattr(xp, extension), short))


def test_limits_of_the_hyperbolic_tangent() -> None:
    """The standard's table of special cases, where C and numpy let the sign of the zero turn with the angle."""
    inf = math.inf
    z = fb.tensor([complex(inf, 2), complex(inf, -2), complex(-inf, 2), complex(-inf, -2), complex(inf, 1e154)],
                  dtype=fb.complex128)  # fmt: skip
    found = fb.array_api.tanh(z)
    assert fb.array_api.real(found).tolist() == [1, 1, -1, -1, 1]
    assert fb.array_api.signbit(fb.array_api.imag(found)).tolist() == [False, True, False, True, False]
    assert fb.array_api.isnan(fb.array_api.imag(fb.array_api.tanh(fb.tensor([complex(1, inf)])))).tolist() == [True]


def test_strict_operators() -> None:
    """Operators follow PyTorch outside, the standard inside."""
    one, other = fb.tensor([1], dtype=fb.int8), fb.tensor(300, dtype=fb.int16)
    x, inf = fb.arange(6).reshape(2, 3), fb.tensor(np.inf)
    assert (one + other).dtype is fb.int8
    with pytest.raises(ValueError, match="step must be positive"):
        x[::-1]
    with xp.strict():
        assert (one + other).tolist() == [301]
        assert (other > one).tolist() == [True]
        assert (inf // 2).item() == np.inf and (fb.tensor(2.0) // -inf).item() == 0
        np.testing.assert_array_equal(x[::-1, None, ::-2].numpy(), x.numpy()[::-1, None, ::-2])
        np.testing.assert_array_equal(x[..., ::-1].numpy(), x.numpy()[..., ::-1])
        y = x.clone()
        y[::-1, 0] = fb.tensor([7, 8])
        assert y[:, 0].tolist() == [8, 7]
        assert x[fb.zeros(0, 3, dtype=fb.bool)].shape == (0,)
        inf //= 2
        assert inf.item() == np.inf
    assert (one + other).dtype is fb.int8
    with pytest.raises(IndexError, match="mask"):
        x[fb.zeros(0, 3, dtype=fb.bool)]


def test_errors() -> None:
    with pytest.raises(TypeError, match="at least one array or dtype"):
        xp.result_type(1, 2.0)
    with pytest.raises(RuntimeError, match=r"vecdot.*size 2.*3"):
        xp.vecdot(fb.ones(2), fb.ones(3))
    with pytest.raises(RuntimeError, match="negative"):
        xp.vecdot(fb.ones(2), fb.ones(2), axis=0)
    with pytest.raises(RuntimeError, match="not of size 1"):
        xp.squeeze(fb.ones(2), axis=0)
    with pytest.raises(RuntimeError, match="at least 1 dimension"):
        xp.nonzero(fb.tensor(1))
    with pytest.raises(RuntimeError, match="size 3"):
        xp.linalg.cross(fb.ones(2), fb.ones(2))


SCIPY = """
import numpy as np, flambeau as fb
from scipy import fft, integrate, ndimage, signal, special, stats
x = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 0.5]])
for fn in (special.gammaln, special.logsumexp, special.softmax, special.expit, stats.zscore, stats.skew, stats.gmean,
           stats.entropy, fft.fft, fft.rfftn, integrate.trapezoid, signal.detrend, ndimage.sobel):
    found = fn(fb.tensor(x))
    assert isinstance(found, fb.Tensor), fn
    np.testing.assert_allclose(found.numpy(), fn(x), 1e-9, 1e-12)
"""


@pytest.mark.slow
def test_scipy_takes_tensors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCIPY], env={**os.environ, "SCIPY_ARRAY_API": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
