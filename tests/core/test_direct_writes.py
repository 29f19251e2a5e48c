"""In-place ops and ``out=`` that write straight into their destination: memory, shapes, dtypes, versions, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core.autograd import inplace
from flambeau.core.record import OPS

SIZES = (8, 1000, 300_000)
WRITES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (lambda x, a, b: x.add_(a), lambda x, a, b: x + a),
    "add of a part": (lambda x, a, b: x.add_(a, alpha=0.5), lambda x, a, b: x + np.float32(0.5) * a),
    "sub of a part": (lambda x, a, b: x.sub_(a, alpha=2), lambda x, a, b: x - 2 * a),
    "mul by an int": (lambda x, a, b: x.mul_(3), lambda x, a, b: x * 3),
    "div": (lambda x, a, b: x.div_(b), lambda x, a, b: x / b),
    "clamp": (lambda x, a, b: x.clamp_(-1, 1), lambda x, a, b: np.clip(x, -1, 1)),
    "clamp from below": (lambda x, a, b: x.clamp_(min=0), lambda x, a, b: np.maximum(x, 0)),
    "addcmul": (lambda x, a, b: x.addcmul_(a, b, value=0.5), lambda x, a, b: x + np.float32(0.5) * a * b),
    "addcdiv": (lambda x, a, b: x.addcdiv_(a, b, value=2), lambda x, a, b: x + 2 * (a / b)),
    "lerp": (lambda x, a, b: x.lerp_(a, 0.25), lambda x, a, b: x + np.float32(0.25) * (a - x)),
    "copy": (lambda x, a, b: x.copy_(a), lambda x, a, b: a),
    "zero": (lambda x, a, b: x.zero_(), lambda x, a, b: 0 * x),
    "+=": (lambda x, a, b: x.__iadd__(a), lambda x, a, b: x + a),
}


def arrays(size: int) -> list[Any]:
    rng = np.random.default_rng(size)
    return [(rng.random(size) + k).astype(np.float32) for k in (-1, 0, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WRITES)
def test_values_memory_and_version(name: str, size: int) -> None:
    write, expected = WRITES[name]
    x, a, b = map(fb.tensor, arrays(size))
    view, place, version = x[1:], x.data_ptr(), x._version
    assert write(x, a, b) is x
    np.testing.assert_allclose(x.numpy(), expected(*arrays(size)), 1e-6, 1e-6)
    np.testing.assert_array_equal(view.numpy(), x.numpy()[1:])
    assert x.data_ptr() == place and x._version == view._version == version + 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WRITES)
def test_destinations_with_gaps_and_backwards(name: str, size: int) -> None:
    write, expected = WRITES[name]
    for turn in (lambda v: v[:, 1], lambda v: v.t()[0], lambda v: v.reshape(-1)[: v.shape[0]]):
        base = fb.tensor(np.stack([arrays(size)[0]] * 3, 1))
        before, x = base.numpy().copy(), turn(base)
        _, a, b = map(fb.tensor, arrays(size))
        rest = turn(fb.ones(size, 3)).numpy()
        start = x.numpy().copy()
        write(x, a, b)
        np.testing.assert_allclose(x.numpy(), expected(start, a.numpy(), b.numpy()), 1e-6, 1e-6)
        assert (base.numpy() != before).sum() <= rest.size


def test_an_operand_that_is_the_destination() -> None:
    x = fb.tensor([1.0, 2.0, 3.0])
    assert x.mul_(x).tolist() == [1, 4, 9]
    assert x.addcmul_(x, x).tolist() == [2, 20, 90]
    assert fb.add(x, x, out=x).tolist() == [4, 40, 180]
    assert x.sub_(x, alpha=1).tolist() == [0, 0, 0]


def test_operands_that_overlap_in_part_are_refused() -> None:
    x = fb.arange(10.0)
    for call in (
        lambda: x[1:].add_(x[:-1]), lambda: x[1:].addcmul_(x[:-1], x[1:]), lambda: fb.add(x[:-1], 1.0, out=x[1:]),
        lambda: fb.mul(x[:-1], x[:-1], out=x[1:]), lambda: x[1:].copy_(x[:-1]), lambda: x[1:].add_(x[:-1], alpha=2),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="single memory location"):
            call()
    assert x.tolist() == list(range(10))
    expanded = fb.zeros(1).expand(3)
    with pytest.raises(RuntimeError, match="single memory location"):
        expanded.add_(fb.ones(3))
    with pytest.raises(RuntimeError, match="single memory location"):
        fb.add(fb.ones(3), fb.ones(3), out=expanded)


def test_memory_of_numpy_that_overlaps() -> None:
    host = np.arange(10.0, dtype=np.float32)
    x, y = fb.from_numpy(host[1:]), fb.from_numpy(host[:-1])  # two storages, as far as anyone knows
    x.add_(y)
    assert host.tolist() == [0, 1, 3, 5, 7, 9, 11, 13, 15, 17]


def test_two_halves_of_one_storage_do_not_meet() -> None:
    x = fb.arange(6.0)
    x[:3].add_(x[3:])
    fb.mul(x[:3], x[:3], out=x[3:])
    assert x.tolist() == [3, 5, 7, 9, 25, 49]


def test_shapes() -> None:
    x = fb.ones(2, 3)
    x.add_(fb.tensor([1.0, 2.0, 3.0])).mul_(fb.tensor(2.0)).addcmul_(fb.ones(2, 1), fb.ones(1, 3), value=1)
    assert x.tolist() == [[5, 7, 9]] * 2
    for call in (
        lambda: fb.ones(3).add_(fb.ones(2, 3)), lambda: fb.ones(1).mul_(fb.ones(3)),
        lambda: fb.add(fb.ones(2, 3), 1.0, out=fb.ones(3)), lambda: fb.ones(3).addcmul_(fb.ones(2, 3), fb.ones(3)),
        lambda: fb.ones(3).add_(fb.ones(2)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError):
            call()
    out = fb.empty(0)
    assert fb.add(fb.ones(3), 1.0, out=out) is out and out.tolist() == [2, 2, 2]
    wide = fb.zeros(2, 3)
    fb.add(fb.ones(2, 1), fb.ones(3), out=wide)
    assert wide.tolist() == [[2, 2, 2]] * 2
    assert fb.ones(0, 3).add_(fb.ones(3)).shape == (0, 3)
    assert fb.tensor(1.0).add_(2.0).item() == 3


def test_dtypes() -> None:
    assert fb.ones(2).add_(fb.tensor([1, 2])).tolist() == [2, 3]
    assert fb.ones(2, dtype=fb.float64).mul_(fb.tensor([0.5, 2.0])).tolist() == [0.5, 2]
    assert fb.ones(2, dtype=fb.int64).add_(2).tolist() == [3, 3]
    assert fb.tensor([True, False]).logical_or_(fb.tensor([False, True])).tolist() == [True, True]
    for call in (
        lambda: fb.ones(2, dtype=fb.int64).add_(0.5), lambda: fb.ones(2, dtype=fb.int64).mul_(fb.ones(2)),
        lambda: fb.ones(2, dtype=fb.int64).div_(2), lambda: fb.add(fb.ones(2), 1.0, out=fb.ones(2, dtype=fb.int64)),
    ):  # fmt: skip
        with pytest.raises((RuntimeError, TypeError), match="cast"):
            call()
    truth, found = fb.zeros(3, dtype=fb.bool), fb.zeros(3)
    assert fb.lt(fb.arange(3.0), 1.5, out=truth).tolist() == [True, True, False]
    assert fb.lt(fb.arange(3.0), fb.ones(3), out=found).tolist() == [1, 0, 0]


def test_gradients_see_what_was_written() -> None:
    leaf = fb.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        leaf.addcmul_(fb.ones(3), fb.ones(3))
    with pytest.raises(RuntimeError, match="leaf"):
        leaf[:2].mul_(2)
    with fb.no_grad():
        leaf.add_(fb.ones(3), alpha=2)
        leaf[:1].mul_(0)
    assert leaf.tolist() == [0, 3, 3]
    x = leaf * 1
    x.addcmul_(leaf, leaf, value=2)
    x[:2].mul_(fb.tensor(3.0))
    x.sum().backward()
    assert leaf.grad is not None and leaf.grad.tolist() == [3, 39, 13]
    plain = fb.zeros(4)
    plain[:2].add_(leaf[:2])  # a view of what has no history gets one
    assert plain.requires_grad
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        fb.add(leaf, 1.0, out=fb.zeros(3))


def test_a_saved_value_that_was_written_to_is_an_error() -> None:
    for write in (lambda v: v.mul_(2), lambda v: v[0].add_(1), lambda v: v.add_(fb.ones(3), alpha=2),
                  lambda v: fb.add(v, 1.0, out=v)):  # fmt: skip
        x, w = fb.ones(3), fb.ones(3, requires_grad=True)
        y = x * w
        write(x)
        with pytest.raises(RuntimeError, match="modified"):
            y.sum().backward()


def test_inference_tensors_and_read_only_memory() -> None:
    with fb.inference_mode():
        x = fb.ones(3)
        x.addcmul_(x, x)
        assert x.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="inference"):
        x.mul_(2)
    with pytest.raises(RuntimeError, match="inference"):
        fb.add(fb.ones(3), 1.0, out=x)


def test_what_watches_still_sees_the_write() -> None:
    from flambeau.core.state import use_slow_path

    use_slow_path(True)
    try:
        x, slow = fb.ones(3), fb.ones(3)
        assert not inplace.direct(OPS["add"], x, (x, 1.0), "add_")
        slow.addcmul_(fb.ones(3), fb.ones(3), value=2)
    finally:
        use_slow_path(False)
    assert inplace.direct(OPS["add"], x, (x, 2.0), "add_")
    assert x.tolist() == slow.tolist() == [3, 3, 3]


def test_an_item_that_is_changed_in_place_is_not_copied_onto_itself() -> None:
    x = fb.arange(6.0).reshape(2, 3)
    x[0] += fb.ones(3)
    x[:, 1] *= 2
    x[1] = x[1]
    assert x.tolist() == [[1, 4, 3], [3, 8, 5]]
