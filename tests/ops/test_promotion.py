"""Mixed dtypes, 0-d tensors and Python numbers in every op: dtypes, values and refusals are PyTorch's."""

from __future__ import annotations

import pytest

import flambeau as fb
from tests.ops.recorded_promotion import differences, recorded

#: Devices, and one cell in so many of the table; on the CPU the whole of it with ``-m slow``.
OPENCL = pytest.mark.device("opencl")
SAMPLES = [("cpu", 23), ("strict", 211)]
GREATER = [("cpu", 1), ("strict", 7), pytest.param("opencl", 2003, marks=OPENCL)]


def check(device: str, step: int) -> None:
    found = list(differences(fb, device, step))
    assert not found, "\n".join([f"{len(found)} cells differ from PyTorch", *found[:12]])


@pytest.mark.parametrize(("device", "step"), SAMPLES)
def test_mixed_calls(device: str, step: int) -> None:
    check(device, step)


@pytest.mark.slow
@pytest.mark.parametrize(("device", "step"), GREATER)
def test_more_mixed_calls(device: str, step: int) -> None:
    check(device, step)


def test_the_table_is_whole():
    letters, _ = recorded()
    assert sum(map(len, letters.values())) > 350_000
    assert set("!.v*bBcsilehfdFD") <= set("".join(letters.values()))


def test_refusals_say_what_is_wrong():
    x, y = fb.tensor([1, 2], dtype=fb.uint8), fb.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match="pow: other=300 cannot be converted to uint8 without overflow"):
        x**300
    with pytest.raises(OverflowError, match=r"add: other 1180591620717411303424 is too big"):
        x + 2**70
    with pytest.raises(RuntimeError, match="lerp: the tensors must be of the same dtype, got float32 and float64"):
        fb.lerp(y, y.double(), 0.5)
    with pytest.raises(RuntimeError, match="sub: a bool has no difference"):
        y - True
    with pytest.raises(RuntimeError, match=r"alpha=2\.5: for integral tensors alpha must not be"):
        fb.add(x, x, alpha=2.5)
    with pytest.raises(RuntimeError, match="fill_: value 256 cannot be converted to uint8 without overflow"):
        x.fill_(256)
    assert x.tolist() == [1, 2] and (x < 300).tolist() == [True, True]  # 300 wraps around, as in PyTorch
    with pytest.raises(
        TypeError, match="max: got an unexpected keyword argument 'foo'; its arguments are input, dim=None"
    ):
        fb.max(y, foo=2)
    with pytest.raises(IndexError, match=r"^amax: input of shape \(0, 3\) has size 0 along dim 0"):
        fb.amax(fb.zeros(0, 3), dim=0)
    with pytest.raises(IndexError, match=r"^max: input of shape \(0, 3\) has size 0 along dim 0"):
        fb.max(fb.zeros(0, 3), dim=0)
