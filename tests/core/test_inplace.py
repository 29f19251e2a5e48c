"""In-place ops and views: aliasing, version counting, and gradients as PyTorch gives them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import flambeau as fb
from tests.core import leaves

leaf = partial(leaves.leaf, fb)


def test_views_alias_in_both_directions():
    x = fb.zeros(2, 3)
    v = x[1]
    v += 1
    x[0, 0] = 7
    assert x.tolist() == [[7, 0, 0], [1, 1, 1]]
    t = x.T
    t[2, 0] = 5
    assert x[0, 2].item() == 5
    assert x[0]._base is x and v._base is x


def test_in_place_on_a_slice_of_a_computed_tensor():
    x = leaf(1, 2, 3, 4)
    y = x * 1
    y[1:3] *= 10
    y.sum().backward()
    assert x.grad.tolist() == [1, 10, 10, 1]


def test_in_place_through_a_chain_of_views_reaches_the_base():
    x = leaf(1, 2, 3, 4)
    y = x * 1
    y.view(2, 2).T[0].mul_(y.detach()[:2] * 0 + 3)
    (y * fb.tensor([1.0, 10.0, 100.0, 1000.0], dtype=fb.float64)).sum().backward()
    assert x.grad.tolist() == [3, 10, 300, 1000]


def test_constant_base_becomes_part_of_the_graph():
    w = leaf(2)
    out = fb.zeros(3, dtype=fb.float64)
    out[1] = w[0] * 3
    assert out.requires_grad
    out.sum().backward()
    assert w.grad.tolist() == [3]


def test_views_made_before_a_write_see_the_new_history():
    x = leaf(1, 2)
    y = x * 1
    v = y[0]
    y.mul_(5)
    v.backward()
    assert x.grad.tolist() == [5, 0]


def test_write_to_a_view_then_read_another_view():
    x = leaf(1, 2, 3)
    y = x * 1
    a, b = y[:2], y[1:]
    a.mul_(3)
    b.sum().backward()
    assert x.grad.tolist() == [0, 3, 1]


def test_in_place_on_a_view_that_stands_for_an_output_of_unbind():
    x = leaf(1, 2)
    y = (x * 1).reshape(2, 1)
    with pytest.raises(RuntimeError, match="multiple views"):
        y.unbind(0)[0].mul_(4)
    y[0].mul_(4)
    y.sum().backward()
    assert x.grad.tolist() == [4, 1]


def test_gradient_buffer_keeps_what_lies_outside_the_view():
    x, w = leaf(1, 2, 3), leaf(10)
    y = x * 2
    y[0:1].copy_(w)
    y.backward(fb.tensor([1.0, 2.0, 3.0], dtype=fb.float64))
    assert x.grad.tolist() == [0, 4, 6] and w.grad.tolist() == [1]


def test_ops_that_read_their_own_result_or_input():
    x = leaf(0.5, 1.5)
    y = x * 1
    y.exp_()
    y.sum().backward()
    assert x.grad.allclose(x.detach().exp())
    x.grad = None
    y = x * 1
    y.mul_(y)
    y.sum().backward()
    assert x.grad.allclose(2 * x.detach())
    x.grad = None
    y = x * 1
    y.pow_(3)
    y.sum().backward()
    assert x.grad.allclose(3 * x.detach() ** 2)


def test_double_backward_through_an_in_place_write():
    x = leaf(2, 3)
    y = x * 1
    y[0:1].mul_(x[1:2])
    (g,) = fb.autograd.grad((y * y).sum(), x, create_graph=True)
    assert g.allclose(fb.tensor([2 * 2 * 9.0, 2 * 3 + 2 * 4 * 3.0], dtype=fb.float64))
    (h,) = fb.autograd.grad(g.sum(), x)
    assert h.allclose(fb.tensor([18 + 24.0, 24 + 2 + 8.0], dtype=fb.float64))


def test_modified_saved_value_names_both_ops():
    x = leaf(1, 2)
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"mul.*modified by an inplace operation.*add_"):
        z.sum().backward()


def test_modification_through_a_view_or_detached_alias_is_seen():
    x = leaf(1, 2)
    y = x * 1
    z = y * y
    y.detach()[0] = 5
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        z.sum().backward()


def test_leaves_and_their_views_cannot_be_written_to():
    x = leaf(1, 2)
    with pytest.raises(RuntimeError, match="leaf Tensor that requires grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0].add_(1)
    with fb.no_grad():
        x.add_(1)
        x[0] += 1
    assert x.tolist() == [3, 3]


def test_views_made_without_grad_cannot_be_written_to_with_grad():
    x = leaf(1, 2)
    y = x * 1
    with fb.no_grad():
        v = y[0]
    with pytest.raises(RuntimeError, match="no_grad mode"):
        v.mul_(2)


def test_expanded_memory_cannot_be_written_to():
    x = fb.zeros(3).expand(2, 3)
    with pytest.raises(RuntimeError, match="single memory location"):
        x.add_(1)
    x[0].add_(1)
    assert x.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_overlapping_source_and_target():
    x = fb.arange(10000)
    with pytest.raises(RuntimeError, match=r"add_: .*single memory location; clone\(\) the input first"):
        x[1:] += x[:-1]
    assert (x == fb.arange(10000)).all()
    x[::2] += x[1::2]
    assert (x[::2] == 4 * fb.arange(5000) + 1).all()


def test_in_place_result_must_fit():
    with pytest.raises(RuntimeError, match="can't be cast"):
        fb.ones(2, dtype=fb.int64).add_(1.5)
    with pytest.raises(RuntimeError, match="broadcast shape"):
        fb.ones(2).add_(fb.ones(3, 2))
    x = fb.ones(2)
    x.add_(fb.ones(2, dtype=fb.float64))
    assert x.dtype is fb.float32 and x.tolist() == [2, 2]


def test_versions_count_writes_of_all_aliases():
    x = fb.ones(3)
    v = x[1:]
    before = x._version
    v.add_(1)
    x.detach().mul_(2)
    assert x._version == before + 2 and v._version == x._version


def test_out_argument():
    out = fb.empty(2)
    assert fb.add(fb.ones(2), fb.ones(2), out=out) is out and out.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="requires grad"):
        fb.add(leaf(1, 2), 1, out=fb.empty(2))
    with pytest.raises(RuntimeError, match="can't be cast"):
        fb.add(fb.ones(2), 0.5, out=fb.empty(2, dtype=fb.int64))
    grown = fb.empty(0)
    fb.add(fb.ones(2, 2), 1, out=grown)
    assert grown.shape == (2, 2)


def test_higher_derivatives_through_writes_to_views():
    """Once the graph of a gradient is freed too: what a write saved of its own result is not freed twice."""
    x = fb.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=fb.float64, requires_grad=True)

    def written(t):
        y = t * 1
        y.T[0].exp_()
        return y.sum()

    assert fb.autograd.gradgradcheck(written, (x,))
    (g,) = fb.autograd.grad(written(x), x, create_graph=True)
    (g * g).sum().backward()
    assert x.grad is not None


def test_writes_to_views_of_a_base_in_another_order():
    """The gradient is laid out like the base, so that its views can be taken of it."""
    x = fb.arange(12.0, dtype=fb.float64).reshape(3, 4).requires_grad_()
    base = (x * 1).permute(1, 0).clone()  # the axes in the order of their strides
    base.permute(1, 0).view(12).mul_(3)
    (base.sum() + (base.T * 1).sum()).backward()
    assert x.grad.equal(fb.full((3, 4), 6.0, dtype=fb.float64))


def test_cat_is_contiguous_whatever_its_operands():
    t = fb.arange(6.0).reshape(2, 3).T
    assert fb.cat([t, t]).is_contiguous() and fb.cat([t, t]).view(12).tolist() == [0, 3, 1, 4, 2, 5] * 2


def test_gradients_of_as_strided_follow_the_storage():
    """Of views with an offset, of permuted memory, and of what is written through it."""
    weights = fb.tensor([1.0, 10.0], dtype=fb.float64)

    def gradient(make):
        x = fb.arange(12.0, dtype=fb.float64).reshape(3, 4).requires_grad_()
        (make(x * 1) * weights).sum().backward()
        return x.grad.flatten().nonzero().flatten().tolist(), sorted(set(x.grad.flatten().tolist()))

    assert gradient(lambda t: t.as_strided((2,), (4,), 1)) == ([1, 5], [0, 1, 10])
    assert gradient(lambda t: t[1:].as_strided((2,), (1,))) == ([4, 5], [0, 1, 10])
    assert gradient(lambda t: t[1:, 2:].as_strided((2,), (4,))) == ([6, 10], [0, 1, 10])
    assert gradient(lambda t: t.T.clone().as_strided((2,), (1,), 3)) == ([3, 4], [0, 1, 10])

    def written(t):
        t[1:].as_strided((2,), (1,)).mul_(5)
        return t.view(12)[4:6]

    assert gradient(written) == ([4, 5], [0, 5, 50])


def test_an_operator_in_place_leaves_strangers_to_their_own_type() -> None:
    x = y = fb.ones(2)
    y += np.array([2.0, 3.0])  # type: ignore[arg-type]  # a new tensor, as with PyTorch
    assert y.tolist() == [3.0, 4.0] and y.dtype is fb.float64 and x.tolist() == [1.0, 1.0]
    z = fb.ones(2, dtype=fb.int64)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift"):
        for stranger in (np.ones(2), object(), "a", None, [1, 2]):
            assert getattr(z, f"__i{name}__")(stranger) is NotImplemented, name
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \*="):
        z *= "a"  # type: ignore[arg-type]


#: What PyTorch has no gradients of in place, and what is computed by several ops, which save what they read.
AS_OUT_OF_PLACE = {
    "acosh_": (), "arccosh_": (), "asinh_": (), "arcsinh_": (), "atanh_": (), "arctanh_": (), "logit_": (),
    "polygamma_": (2,), "mvlgamma_": (2,), "renorm_": (2, 0, 1.0), "heaviside_": (fb.ones(2, 2, dtype=fb.float64),),
    "nan_to_num_": (),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_OUT_OF_PLACE)
def test_gradients_in_place_are_those_out_of_place(name):
    args = AS_OUT_OF_PLACE[name]
    found = []
    for form in (name.removesuffix("_"), name):
        x = leaf(0.3, 0.8, 1.5, 2.5)
        y = (x * 1).reshape(2, 2)
        (getattr(y, form)(*args) * fb.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


def test_gradients_of_activations_in_place_are_those_out_of_place():
    def seeded(x, in_place):
        generator = fb.Generator().manual_seed(0)
        return (fb.rrelu_ if in_place else fb.rrelu)(x, 0.1, 0.9, True, generator)

    for fn in (seeded, fb.nn.functional.silu):
        found = []
        for in_place in (False, True):
            x = leaf(-1.5, 0.5)
            y = fb.complex(x, x * x) if fn is not seeded else x * 1
            out = fn(y, in_place)
            assert (out is y) is in_place
            out.abs().sum().backward()
            found.append(x.grad.tolist())
        assert found[0] == pytest.approx(found[1])
