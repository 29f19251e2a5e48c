"""No kernel reads or writes out of range, whatever the indices; and indices are 64 bits wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Backend, OutOfMemoryError
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.plugins.conformance import kit, opdb

OPS = opdb.load()
ROWS = 5
BAD = (ROWS, -ROWS - 1, 2**31, 2**32 + 1, 2**40, -(2**62))


def _put(x: Any, index: Any) -> Any:
    x[index] = 9
    return x


#: Each takes a tensor (5, 3) and four indices along its first axis.
INDEXED: dict[str, Callable[[Any, Any], Any]] = {
    "gather": lambda x, i: OPS["gather"].function(x, i[:, None].expand(4, 3), axis=0),
    "scatter": lambda x, i: OPS["scatter"].function(x, i[:, None].expand(4, 3), x[:4], axis=0),
    "scatter_add": lambda x, i: OPS["scatter"].function(x, i[:, None].expand(4, 3), x[:4], axis=0, reduce="add"),
    "index_select": lambda x, i: OPS["index_select"].function(x, i, axis=0),
    "index_add": lambda x, i: OPS["index_add"].function(x, i, x[:4], axis=0),
    "embedding": lambda x, i: fb.nn.functional.embedding(i, x),
    "getitem": lambda x, i: x[i],
    "setitem": _put,
}

#: Several dimensions may have been made one on the way, so that the index in the text is another.
COMPOSED = ("getitem", "setitem")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", INDEXED)
def test_bad_indices_raise(name: str, bad: int, target: str, backend: Backend) -> None:
    """An IndexError that names the size; nothing around the tensor is touched, and the device goes on."""
    frame = fb.full((3 * ROWS, 3), 7.0, device=target)
    kit.skip_beyond(target, bad)
    index = fb.tensor([0, 2, bad, 1], device=target)
    with pytest.raises(IndexError) as caught:
        INDEXED[name](frame[ROWS : 2 * ROWS], index).cpu()
        backend.synchronize(Device(target).number)
        backend.check(Device(target).number)
    text = str(caught.value)
    assert "out of bounds" in text and str(ROWS) in text, text
    assert str(bad) in text or name in COMPOSED, text
    host = kit.host(frame)
    assert (host[:ROWS] == 7).all() and (host[2 * ROWS :] == 7).all(), f"{name} wrote beside its tensor"
    assert (fb.ones(3, device=target) + 1).tolist() == [2, 2, 2]


def test_views_reach_past_two_to_the_31(target: str) -> None:
    """Offsets are 64 bits wide: a view of stride 0 has many elements in no memory."""
    x = fb.arange(4, device=target, dtype=fb.float32).reshape(4, 1).expand(4, 1 << 30)
    assert x[3, (1 << 30) - 1].item() == 3
    assert x[2, 5:8].tolist() == [2, 2, 2]


def test_kernels_reach_past_two_to_the_31(target: str, small: bool, backend: Backend) -> None:
    """A kernel with that many elements, and one that finds a few at their end."""
    if small:
        pytest.skip("two gigabytes are not small")
    n = (1 << 31) + 9
    kit.skip_beyond(target, n)
    if not backend.supports(dt.int8, Device(target).number):
        pytest.skip(f"{target} has no int8, and wider elements are too many bytes")
    try:
        x = fb.empty(n, dtype=dt.int8, device=target)
        x.fill_(3)
    except OutOfMemoryError as error:
        pytest.skip(f"no room for {n} bytes: {error}")
    tail = fb.tensor([1, 2, 4], dtype=dt.int8, device=target)
    places = fb.tensor([n - 1, 0, n - 3, n - 9, (1 << 31) - 1], device=target)
    try:
        x[-3:] = tail
        assert (x[-5:] + tail[:1]).tolist() == [4, 4, 2, 3, 5]
        np.testing.assert_array_equal(kit.host(OPS["gather"].function(x, places, axis=0)), [4, 3, 1, 3, 3])
    finally:
        del x
        backend.empty_cache()  # two gigabytes, that another device or process may want
