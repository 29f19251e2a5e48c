"""Names of torch's insides that torchaudio and torchtext borrow, and arguments that they give."""

from __future__ import annotations

import io

import pytest

import flambeau as fb
from flambeau.compat.torch.nn import functional
from flambeau.compat.torch.nn.modules import lazy, linear
from flambeau.utils.data.datapipes.utils.common import StreamWrapper


def test_attention_is_asked_whether_it_has_a_batch():
    q = fb.ones(4, 2, 6)
    assert functional._mha_shape_check(q, q, q, fb.ones(2, 4), fb.ones(4, 4), 2)
    assert not functional._mha_shape_check(q[0], q[0], q[0], None, fb.ones(2, 2, 2), 2)
    for wrong in ((q, q[0], q, None, None), (q, q, q, fb.ones(2), None), (q[0], q[0], q[0], None, fb.ones(3, 2, 2))):
        with pytest.raises(AssertionError):
            functional._mha_shape_check(*wrong, 2)


def test_a_mask_becomes_numbers_to_add():
    made = functional._canonical_mask(fb.tensor([True, False]), "mask", None, "", fb.float32, False)
    assert made is not None and made.tolist() == [-float("inf"), 0.0]
    assert functional._canonical_mask(None, "mask", None, "", fb.float32) is None
    assert functional._none_or_dtype(None) is None and functional._none_or_dtype(fb.ones(1)) == fb.float32
    with pytest.raises(AssertionError):
        functional._canonical_mask(fb.tensor([1]), "mask", None, "", fb.float32)
    with pytest.raises(RuntimeError):
        functional._none_or_dtype(3)


def test_modules_stand_where_packages_take_them_from():
    assert lazy.LazyModuleMixin is fb.nn.lazy.LazyModuleMixin
    assert linear.NonDynamicallyQuantizableLinear is fb.nn.linear.NonDynamicallyQuantizableLinear


def test_borders_take_a_value_of_0():
    x = fb.arange(3.0).reshape(1, 1, 3)
    assert fb.nn.functional.pad(x, (1, 0), "reflect", 0.0).tolist() == [[[1, 0, 1, 2]]]
    with pytest.raises(ValueError, match="doesn't take a value"):
        fb.nn.functional.pad(x, (1, 0), "reflect", 1.0)


def test_the_driver_of_full_rank_says_where_it_is_not():
    a, b = fb.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]), fb.ones(3, 1)
    assert fb.linalg.lstsq(a, b, driver="gelsy").rank.item() == 1
    for matrix, right in ((a, b), (a.T, b[:2])):
        with pytest.raises(RuntimeError, match="full rank"):
            fb.linalg.lstsq(matrix, right, driver="gels")


def test_numbers_like_a_tensor_have_a_bound():
    assert fb.randint_like(fb.ones(5), high=1).tolist() == [0.0] * 5
    assert fb.randint_like(fb.ones(2), 3, 4).tolist() == [3.0] * 2
    with pytest.raises(TypeError, match="high"):
        fb.randint_like(fb.ones(2))


def test_a_stream_closes_the_one_that_it_came_from():
    outer = StreamWrapper(io.StringIO("x"))
    inner = StreamWrapper(io.StringIO("a\nb"), outer, name="inner")
    outer.autoclose()
    assert not outer.closed and list(inner) == ["a\n", "b"] and "inner" in repr(inner)
    StreamWrapper.close_streams({"all": [inner]})
    assert outer.file_obj.closed and inner.file_obj.closed and outer.closed
