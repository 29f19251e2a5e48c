"""Clipping, vectors of parameters, padded and packed sequences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.nn import utils
from flambeau.nn.utils import rnn
from tests.errors import check_error


def parameters(*grads: Any) -> list[Any]:
    found = []
    for g in grads:
        p = nn.Parameter(fb.zeros(len(g)))
        p.grad = fb.tensor(g)
        found.append(p)
    return [*found, nn.Parameter(fb.zeros(1))]  # the last has no gradient


def test_clip_grad_norm() -> None:
    ps = parameters([3.0, 0.0], [4.0])
    first = ps[0].grad
    assert utils.clip_grad_norm_(ps, 1.0).item() == 5.0
    np.testing.assert_allclose(ps[0].grad.tolist() + ps[1].grad.tolist(), [0.6, 0.0, 0.8], rtol=1e-5)
    assert ps[0].grad is first
    assert utils.clip_grad_norm_(ps, 10.0).item() == pytest.approx(1.0)
    np.testing.assert_allclose(ps[1].grad.tolist(), [0.8], rtol=1e-5)


@pytest.mark.parametrize(("p", "total"), [(1.0, 7.0), (math.inf, 4.0), (3.0, (27 + 64) ** (1 / 3))])
def test_other_norms(p: float, total: float) -> None:
    assert utils.clip_grad_norm_(parameters([3.0, 0.0], [-4.0]), 1.0, p).item() == pytest.approx(total)


def test_norms_that_are_not_finite() -> None:
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_(parameters([math.nan]), 1.0, error_if_nonfinite=True)
    assert utils.clip_grad_norm_([], 1.0).item() == 0.0


def test_clip_grad_value() -> None:
    ps = parameters([3.0, -0.2], [-4.0])
    utils.clip_grad_value_(ps, 0.5)
    np.testing.assert_allclose(ps[0].grad.tolist() + ps[1].grad.tolist(), [0.5, -0.2, -0.5])


def test_parameters_as_one_vector() -> None:
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = utils.parameters_to_vector(net.parameters())
    assert vector.shape == (8,)
    utils.vector_to_parameters(vector, other.parameters())
    np.testing.assert_array_equal(other.weight.detach().numpy(), net.weight.detach().numpy())
    with fb.no_grad():
        other.weight.zero_()
    assert net.weight.abs().sum().item() > 0
    with pytest.raises(TypeError, match="int"):
        utils.vector_to_parameters(3, net.parameters())  # type: ignore[arg-type]


def test_pad_sequence() -> None:
    rows = [fb.tensor([[1.0], [2.0]]), fb.tensor([[3.0]])]
    assert rnn.pad_sequence(rows).shape == (2, 2, 1)
    padded = rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)
    assert padded.squeeze(-1).tolist() == [[1.0, 2.0], [3.0, -1.0]]
    assert rnn.pad_sequence(rows, True, padding_side="left").squeeze(-1).tolist() == [[1.0, 2.0], [0.0, 3.0]]
    back = rnn.unpad_sequence(padded, fb.tensor([2, 1]), batch_first=True)
    assert [r.tolist() for r in back] == [r.tolist() for r in rows]


def test_packing() -> None:
    rows = [fb.tensor([1]), fb.tensor([2, 3, 4]), fb.tensor([5, 6])]
    packed = rnn.pack_sequence(rows, enforce_sorted=False)
    assert packed.data.tolist() == [2, 5, 1, 3, 6, 4]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices.tolist() == [1, 2, 0]
    assert packed.unsorted_indices.tolist() == [2, 0, 1]
    padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True, padding_value=9, total_length=4)
    assert padded.tolist() == [[1, 9, 9, 9], [2, 3, 4, 9], [5, 6, 9, 9]]
    assert lengths.tolist() == [1, 3, 2]
    assert [r.tolist() for r in rnn.unpack_sequence(packed)] == [r.tolist() for r in rows]
    assert packed.to(fb.float64).data.dtype is fb.float64


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: rnn.pack_padded_sequence(fb.ones(3, 2, 1), [1, 3]), RuntimeError, ["[1, 3]", "enforce_sorted"]),
        (lambda: rnn.pack_padded_sequence(fb.ones(3, 2, 1), [4, 1]), ValueError, ["1 to 3", "[4, 1]"]),
        (lambda: rnn.pack_padded_sequence(fb.ones(3, 2, 1), [3]), RuntimeError, ["2 lengths", "got 1"]),
        (lambda: rnn.pad_packed_sequence(rnn.pack_sequence([fb.ones(3)]), total_length=2), ValueError,
         ["total_length=2", "3"]),
        (lambda: rnn.pad_sequence([]), TypeError, ["at least one"]),
        (lambda: rnn.pad_sequence([fb.ones(1)], padding_side="up"), ValueError, ["'up'"]),
    ],
)  # fmt: skip
def test_errors(wrong: Any, error: type[Exception], words: list[str]) -> None:
    check_error(wrong, error, words)
