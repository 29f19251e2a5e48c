"""Errors that say which argument was wrong: whose words they have, what they keep, and what passes as it is."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.backends.base import OutOfMemoryError
from flambeau.core import blame
from flambeau.core.annotations import fits, in_words
from flambeau.nn import functional as F
from tests.errors import Errors, check_error

HUGE = 2**40
Row = tuple[Callable[[], object], Errors, list[str]]


def x(*shape: int) -> fb.Tensor:
    return fb.ones(*(shape or (2, 3)))


RAW: list[Row] = [
    (lambda: fb.sin_(2), TypeError, ["sin_", "'input'", "a tensor", "int"]),
    (lambda: fb.sin(2.0), TypeError, ["sin", "'input'", "a tensor", "float"]),
    (lambda: fb.mul(x(), []), TypeError, ["mul", "'other'", "list"]),
    (lambda: fb.ge(x(), ()), TypeError, ["ge", "'other'", "tuple"]),
    (lambda: fb.logit_("a"), TypeError, ["logit_", "'input'", "str"]),
    (lambda: fb.sum(fb.Tensor), TypeError, ["sum", "'input'", "a tensor"]),
    (lambda: fb.detach_(fb.Tensor), TypeError, ["detach_", "'input'"]),
    (lambda: F.unfold([], 3), TypeError, ["unfold", "'input'", "list", "flambeau.tensor"]),
    (lambda: F.avg_pool2d(x()), TypeError, ["avg_pool2d", "'kernel_size'", "stride"]),
    (lambda: fb.movedim(x(), 1, 2, 3), TypeError, ["movedim", "too many", "destination"]),
    (lambda: fb.rand(2, generator=2), TypeError, ["rand", "'generator'", "Generator", "2 (int)"]),
    (lambda: fb.linalg.solve("a", x()), TypeError, ["solve", "tensor", "str"]),
    (lambda: fb.zeros(2, device=1.5), TypeError, ["device", "1.5"]),
    (lambda: fb.can_cast(x(), fb.float32), TypeError, ["dtype"]),
    (lambda: fb.func.vjp(3, x()), TypeError, ["vjp", "function", "3 (int)"]),
    (lambda: fb.Generator().set_offset("a"), TypeError, ["set_offset", "'offset'", "int"]),
    (lambda: nn.Dropout1d(1j), TypeError, ["Dropout1d", "'p'", "number", "1j"]),
    (lambda: nn.Conv2d("a", 2, 3), TypeError, ["Conv2d", "'in_channels'", "int", "'a'"]),
    (lambda: nn.LSTM(3, 4)(3), TypeError, ["LSTM", "input", "int"]),
    (lambda: nn.ModuleList()["a"], TypeError, ["ModuleList", "index", "'a'"]),
    (lambda: nn.init.xavier_normal_([1.0]), TypeError, ["xavier_normal_", "'tensor'", "list"]),
    (lambda: nn.Linear(2, 2).get_parameter(3), TypeError, ["get_parameter", "'target'", "3 (int)"]),
    (lambda: nn.utils.rnn.unpack_sequence(3), TypeError, ["unpack_sequence", "PackedSequence", "int"]),
    (lambda: fb.optim.Adam([x()], lr="a"), TypeError, ["Adam", "'lr'", "number", "'a'"]),
    (lambda: fb.optim.lr_scheduler.StepLR(3, 1), TypeError, ["StepLR", "Optimizer", "int"]),
    (lambda: fb.utils.data.DataLoader([1], timeout="a"), TypeError, ["DataLoader", "'timeout'", "'a'"]),
]  # fmt: skip

NONSENSE: list[Row] = [
    (lambda: x().float(7), TypeError, ["float", "memory_format", "7"]),
    (lambda: x().contiguous(7), TypeError, ["memory_format", "7"]),
    (lambda: x().sum(0, keepdim="no"), TypeError, ["sum", "'keepdim'", "a bool", "'no'"]),
    (lambda: fb.argmax(x(), 0, 2), TypeError, ["argmax", "'keepdim'", "a bool", "2"]),
    (lambda: fb.unique(x(), return_counts="a"), TypeError, ["unique", "'return_counts'", "a bool"]),
    (lambda: fb.where(x(), x(), 0), (TypeError, RuntimeError), ["where", "condition", "bool", "float32"]),
    (lambda: fb.masked_fill(x(), x(), 0), (TypeError, RuntimeError), ["masked_fill", "mask", "bool", "float32"]),
    (lambda: x().softmax(True), TypeError, ["softmax", "dim", "True"]),
    (lambda: x().size(slice(1)), TypeError, ["size", "'dim'", "slice"]),
    (lambda: x().type_as(np.ones(2)), TypeError, ["type_as", "'other'", "ndarray"]),
    (lambda: x().squeeze(0.0), TypeError, ["squeeze", "dim", "0.0"]),
    (lambda: fb.rot90(x(), 1.5), TypeError, ["rot90", "'k'", "1.5"]),
    (lambda: fb.mvlgamma(x() + 2, 1.5), TypeError, ["mvlgamma", "'p'", "1.5"]),
    (lambda: x().requires_grad_("yes"), TypeError, ["requires_grad", "bool"]),
    (lambda: fb.is_conj("a"), TypeError, ["is_conj", "'input'", "tensor"]),
    (lambda: x().fill_((1, 2)), TypeError, ["number", "tuple"]),
    (lambda: fb.scalar_tensor([1.5]), TypeError, ["scalar_tensor", "number", "[1.5]"]),
    (lambda: fb.set_grad_enabled("no"), TypeError, ["set_grad_enabled", "bool"]),
    (lambda: F.dropout2d(x(1, 2, 2, 2), 0.5, "train"), TypeError, ["dropout2d", "'training'", "'train'"]),
    (lambda: nn.Linear(2, 3, bias="no"), TypeError, ["Linear", "'bias'", "a bool", "'no'"]),
    (lambda: nn.Linear(2, 3).register_forward_hook(3), TypeError, ["hook", "function", "3"]),
    (lambda: nn.utils.clip_grad_norm_(x(), "a"), TypeError, ["clip_grad_norm_", "'max_norm'", "'a'"]),
    (lambda: fb.utils.data.RandomSampler([1], "meta"), TypeError, ["RandomSampler", "'replacement'", "'meta'"]),
]  # fmt: skip

TOO_LARGE: list[Row] = [
    (lambda: fb.ones(HUGE, HUGE), OutOfMemoryError, ["ones", "out of memory", str(HUGE)]),
    (lambda: fb.zeros(2**62), OutOfMemoryError, ["zeros", "out of memory", str(2**62)]),
    (lambda: fb.full((HUGE, 4), 1.5), OutOfMemoryError, ["full", "out of memory", "bytes"]),
    (lambda: fb.vander(x(2), 2**62), OutOfMemoryError, ["out of memory", str(2**62 - 1)]),
    (lambda: F.adaptive_avg_pool1d(x(1, 1, 3), HUGE), OutOfMemoryError, ["adaptive_avg_pool1d", "out of memory"]),
    (lambda: fb.tensor_split(x(), 2**31), ValueError, ["tensor_split", "sections", str(2**31)]),
    (lambda: fb.polygamma(2**31, x()), ValueError, ["polygamma", "170", str(2**31)]),
    (lambda: F.interpolate(x(1, 1, 4), scale_factor=HUGE), ValueError, ["interpolate", "size", str(4 * HUGE)]),
    (lambda: nn.LSTM(2, 2, num_layers=2**31), ValueError, ["LSTM", "num_layers", str(2**31)]),
]


@pytest.mark.parametrize(("call", "error", "words"), [*RAW, *NONSENSE, *TOO_LARGE])
def test_the_argument_is_named(call: Callable[[], object], error: type[Exception], words: list[str]) -> None:
    check_error(call, error, words)


def test_users_own_errors_pass_as_they_are() -> None:
    def broken(t: Any) -> Any:
        return t.no_such_thing

    class Broken(nn.Module):
        def forward(self, t: Any) -> Any:
            return t.no_such_thing

    for call in (
        lambda: fb.vmap(broken)(x()),
        lambda: x().apply_(broken),
        lambda: fb.utils.checkpoint.checkpoint(broken, x(), use_reentrant=False),
        lambda: Broken()(x()),
        lambda: nn.Sequential(Broken())(x()),
        lambda: nn.Linear(2, 2).apply(broken),
    ):
        check_error(call, AttributeError, ["no_such_thing"])


def test_an_error_from_the_insides_is_the_cause() -> None:
    def public(size: int) -> np.ndarray[Any, Any]:
        return np.ones(2) + np.ones(size)

    public.__code__ = public.__code__.replace(co_filename=blame.__file__)
    with pytest.raises(
        ValueError, match=r"public: it cannot work with these arguments; given size=3 \(int\)"
    ) as caught:
        blame.explaining("public", public)(3)
    assert "broadcast" in str(caught.value.__cause__)


def test_good_calls_are_not_refused() -> None:
    assert nn.Linear(np.int64(2), 3, bias=np.bool_(False)).bias is None
    assert nn.Linear(2, 3, bias=0).bias is None and nn.Linear(2, 3, dtype="float64").weight.dtype is fb.float64
    assert fb.optim.SGD([x()], lr=fb.tensor(0.5)).defaults["lr"].item() == 0.5
    assert fb.unique(fb.tensor([1, 1]), return_counts=np.True_)[1].item() == 2
    assert fb.where(fb.tensor([1, 0], dtype=fb.uint8), 1, 2).tolist() == [1, 2]


def test_what_was_written_anew_has_the_values_of_before() -> None:
    t = fb.tensor([0.0, 1.5, -2.0], dtype=fb.float64, requires_grad=True)
    powers = fb.vander(t, 4)
    assert np.allclose(powers.detach().numpy(), np.vander(t.detach().numpy(), 4))
    powers.sum().backward()
    assert np.allclose(t.grad.numpy(), [1, 1 + 3 + 3 * 2.25, 1 - 4 + 12])
    assert fb.vander(t, 0).shape == (3, 0) and fb.vander(fb.tensor([2]), 3).tolist() == [[4, 2, 1]]


def test_wrapped_functions_keep_their_names_and_are_pickled() -> None:
    for fn in (fb.linalg.solve, nn.init.xavier_normal_, fb.utils.data.default_collate, fb.zeros, F.unfold):
        assert pickle.loads(pickle.dumps(fn)) is fn
    assert nn.init.xavier_normal_.__name__ == "xavier_normal_" and "gain" in str(nn.init.xavier_normal_.__doc__)


def test_warnings_are_about_the_users_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nn.LSTM(2, 2, dropout=0.5)
        F.mse_loss(x(), x(), reduce=False)
        nn.init.kaiming_uniform_(fb.empty(0, 2))
    assert len(caught) == 3 and {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize(
    ("value", "wanted", "right", "words"),
    [
        (3, int | None, True, "an int or None"),
        ("a", int | None, False, "an int or None"),
        ([1, 2], int | Sequence[int], True, "an int or a sequence of ints"),
        ([1, "a"], Sequence[int], False, "a sequence of ints"),
        ("ab", Sequence[int], False, "a sequence of ints"),
        (np.ones(2), Sequence[fb.Tensor], False, "a sequence of tensors"),
        ((1, 2.5), tuple[float, float], True, "a tuple of numbers"),
        ((1,), tuple[float, float], False, "a tuple of numbers"),
        ("sum", Literal["mean", "sum"], True, "'mean' or 'sum'"),
        ("avg", Literal["mean", "sum"], False, "'mean' or 'sum'"),
        (len, Callable[[Any], Any], True, "a function"),
        (3, Callable[[Any], Any], False, "a function"),
        (np.float32(2), float, True, "a number"),
        (fb.tensor(2.0), float, True, "a number"),
        (fb.ones(2), float, False, "a number"),
        (fb.Tensor, fb.Tensor, False, "a tensor"),
        ({"a": 1}, dict[str, int], True, "a dict of strs and ints"),
    ],
)
def test_annotations(value: Any, wanted: Any, right: bool, words: str) -> None:
    assert fits(value, wanted) is right and in_words(wanted) == words
