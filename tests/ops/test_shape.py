"""The functions of shape: values as numpy's, what is a view and what a copy, gradients, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.padding import pad

X = np.arange(24.0).reshape(2, 3, 4)
M = np.arange(6.0).reshape(2, 3)
V = np.arange(4.0)


def t(a: Any) -> Any:
    return fb.tensor(np.asarray(a))


#: The function of a tensor, the same of an array, the array.
VIEWS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Any]] = {
    "reshape": (lambda x: x.reshape(6, 4), lambda a: a.reshape(6, 4), X),
    "reshape with -1": (lambda x: x.reshape(-1, 2), lambda a: a.reshape(-1, 2), X),
    "reshape of a tuple": (lambda x: x.reshape((4, -1)), lambda a: a.reshape(4, -1), X),
    "reshape function": (lambda x: fb.reshape(x, (24,)), lambda a: a.reshape(24), X),
    "reshape to 0-d": (lambda x: x.reshape(()), lambda a: a.reshape(()), V[:1]),
    "reshape of nothing": (lambda x: x.reshape(0, 7), lambda a: a.reshape(0, 7), X[:0]),
    "reshape by keyword-free list": (lambda x: x.reshape([3, 8]), lambda a: a.reshape(3, 8), X),
    "view": (lambda x: x.view(3, 8), lambda a: a.reshape(3, 8), X),
    "view_as": (lambda x: x.view_as(fb.zeros(8, 3)), lambda a: a.reshape(8, 3), X),
    "reshape_as": (lambda x: x.reshape_as(fb.zeros(8, 3)), lambda a: a.reshape(8, 3), X),
    "flatten": (lambda x: x.flatten(), lambda a: a.reshape(-1), X),
    "flatten part": (lambda x: x.flatten(1, -1), lambda a: a.reshape(2, 12), X),
    "flatten 0-d": (lambda x: x.flatten(), lambda a: a.reshape(1), np.array(3.0)),
    "ravel": (lambda x: fb.ravel(x), lambda a: a.ravel(), X),
    "unflatten": (lambda x: x.unflatten(-1, (2, -1)), lambda a: a.reshape(2, 3, 2, 2), X),
    "squeeze": (lambda x: x.squeeze(), lambda a: a.squeeze(), X[:1, None]),
    "squeeze one": (lambda x: x.squeeze(0), lambda a: a.squeeze(0), X[:1, None]),
    "squeeze one of another size": (lambda x: x.squeeze(1), lambda a: a, X),
    "squeeze several": (lambda x: x.squeeze((0, -1)), lambda a: a[0], X[:1]),
    "unsqueeze": (lambda x: x.unsqueeze(1), lambda a: a[:, None], X),
    "unsqueeze last": (lambda x: x.unsqueeze(-1), lambda a: a[..., None], X),
    "expand": (lambda x: x.expand(5, -1, 4), lambda a: np.broadcast_to(a, (5, 3, 4)), X[:1]),
    "expand new": (lambda x: x.expand(2, 2, 3), lambda a: np.broadcast_to(a, (2, 2, 3)), M),
    "expand_as": (lambda x: x.expand_as(fb.zeros(3, 4)), lambda a: np.broadcast_to(a, (3, 4)), V),
    "broadcast_to": (lambda x: fb.broadcast_to(x, (3, 4)), lambda a: np.broadcast_to(a, (3, 4)), V),
    "permute": (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1), X),
    "permute of negative": (lambda x: fb.permute(x, (-1, 0, 1)), lambda a: a.transpose(2, 0, 1), X),
    "transpose": (lambda x: x.transpose(0, -1), lambda a: a.swapaxes(0, -1), X),
    "swapaxes": (lambda x: fb.swapaxes(x, 1, 2), lambda a: a.swapaxes(1, 2), X),
    "swapdims": (lambda x: x.swapdims(0, 1), lambda a: a.swapaxes(0, 1), X),
    "movedim": (lambda x: x.movedim(0, -1), lambda a: np.moveaxis(a, 0, -1), X),
    "moveaxis several": (lambda x: fb.moveaxis(x, (0, 1), (2, 0)), lambda a: np.moveaxis(a, (0, 1), (2, 0)), X),
    "t": (lambda x: x.t(), lambda a: a.T, M),
    "t of a vector": (lambda x: x.t(), lambda a: a, V),
    "T": (lambda x: x.T, lambda a: a.T, M),
    "mT": (lambda x: x.mT, lambda a: a.swapaxes(-1, -2), X),
    "mH": (lambda x: x.mH, lambda a: a.swapaxes(-1, -2), X),
    "H": (lambda x: x.H, lambda a: a.T, M),
    "adjoint": (lambda x: x.adjoint(), lambda a: a.swapaxes(-1, -2), X),
    "narrow": (lambda x: x.narrow(1, 1, 2), lambda a: a[:, 1:3], X),
    "narrow from the end": (lambda x: x.narrow(-1, -2, 2), lambda a: a[..., 2:], X),
    "select": (lambda x: x.select(1, -1), lambda a: a[:, -1], X),
    "slice": (lambda x: fb.slice(x, 2, 1, None, 2), lambda a: a[..., 1::2], X),
    "diagonal": (lambda x: x.diagonal(), lambda a: a.diagonal(), M),
    "diagonal of others": (lambda x: x.diagonal(1, 0, 2), lambda a: a.diagonal(1, 0, 2), X),
    "unfold": (lambda x: x.unfold(0, 3, 1), lambda a: np.stack([a[:3], a[1:]]), V),
    "as_strided": (lambda x: x.as_strided((2, 2), (1, 2), 1), lambda a: np.array([[1.0, 3.0], [2.0, 4.0]]), X),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views(name: str) -> None:
    ours, theirs, array = VIEWS[name]
    x = t(array)
    found, wanted = ours(x), theirs(array)
    assert tuple(found.shape) == wanted.shape
    np.testing.assert_array_equal(found.numpy(), wanted)
    if found.numel():
        assert found._is_view() and np.shares_memory(found.numpy(), x.numpy())
    if x.numel():
        assert fb.autograd.gradcheck(ours, (t(array).requires_grad_(),))
        assert fb.autograd.gradgradcheck(ours, (t(array).requires_grad_(),), fast_mode=True)


COPIES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
    "cat": (lambda x, y: fb.cat([x, y], 1), lambda a, b: np.concatenate([a, b], 1), (M, M[:, :2])),
    "cat of nothing": (lambda x, y: fb.cat((x, y)), lambda a, b: b, (np.zeros(0), M)),
    "concat": (lambda x: fb.concat([x, x], dim=-1), lambda a: np.concatenate([a, a], -1), (M,)),
    "stack": (lambda x, y: fb.stack([x, y], 1), lambda a, b: np.stack([a, b], 1), (M, M)),
    "stack last": (lambda x: fb.stack((x, x), -1), lambda a: np.stack([a, a], -1), (X,)),
    "hstack": (lambda x, y: fb.hstack([x, y]), lambda a, b: np.hstack([a, b]), (V, V[:2])),
    "hstack of matrices": (lambda x: fb.hstack([x, x]), lambda a: np.hstack([a, a]), (M,)),
    "vstack": (lambda x, y: fb.vstack([x, y]), lambda a, b: np.vstack([a, b]), (V[:3], M)),
    "dstack": (lambda x: fb.dstack([x, x]), lambda a: np.dstack([a, a]), (M,)),
    "column_stack": (lambda x, y: fb.column_stack([x, y]), lambda a, b: np.column_stack([a, b]), (V[:2], M)),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda a: np.tile(a, (2, 1, 3)), (M,)),
    "repeat none": (lambda x: x.repeat(0, 1), lambda a: np.tile(a, (0, 1)), (M,)),
    "tile": (lambda x: fb.tile(x, (2,)), lambda a: np.tile(a, 2), (M,)),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), lambda a: a.repeat(2, 1), (M,)),
    "repeat_interleave flat": (lambda x: x.repeat_interleave(3), lambda a: a.repeat(3), (M,)),
    "repeat_interleave by a tensor": (
        lambda x: fb.repeat_interleave(x, fb.tensor([2, 0, 1]), 1), lambda a: a.repeat([2, 0, 1], 1), (M,)),
    "roll": (lambda x: x.roll(1), lambda a: np.roll(a, 1), (M,)),
    "roll along": (lambda x: fb.roll(x, (1, -2), (0, 1)), lambda a: np.roll(a, (1, -2), (0, 1)), (M,)),
    "flip": (lambda x: x.flip(0, 2), lambda a: np.flip(a, (0, 2)), (X,)),
    "fliplr": (lambda x: x.fliplr(), np.fliplr, (M,)),
    "flipud": (lambda x: x.flipud(), np.flipud, (M,)),
    "rot90": (lambda x: x.rot90(), np.rot90, (M,)),
    "rot90 back": (lambda x: fb.rot90(x, -1, (1, 2)), lambda a: np.rot90(a, -1, (1, 2)), (X,)),
    "rot90 twice": (lambda x: x.rot90(2), lambda a: np.rot90(a, 2), (M,)),
    "diag": (lambda x: x.diag(), lambda a: np.diag(a), (V,)),
    "diag of a matrix": (lambda x: fb.diag(x, 1), lambda a: np.diag(a, 1), (M,)),
    "diag_embed": (lambda x: x.diag_embed(-1), lambda a: np.stack([np.diag(r, -1) for r in a]), (M,)),
    "diagflat": (lambda x: x.diagflat(1), lambda a: np.diagflat(a, 1), (M,)),
    "tril": (lambda x: x.tril(-1), lambda a: np.tril(a, -1), (X,)),
    "triu": (lambda x: fb.triu(x, 1), lambda a: np.triu(a, 1), (X,)),
    "block_diag": (lambda x, y: fb.block_diag(x, y),
                   lambda a, b: np.block([[a, np.zeros((2, 4))], [np.zeros((1, 3)), b[None]]]), (M, V)),
    "cartesian_prod": (lambda x, y: fb.cartesian_prod(x, y),
                       lambda a, b: np.array(list(itertools.product(a, b))), (V, V[:2])),
    "combinations": (lambda x: fb.combinations(x, 3), lambda a: np.array(list(itertools.combinations(a, 3))), (V,)),
    "combinations with replacement": (
        lambda x: fb.combinations(x, with_replacement=True),
        lambda a: np.array(list(itertools.combinations_with_replacement(a, 2))), (V,)),
    "reshape of a transposed": (lambda x: x.T.reshape(6), lambda a: a.T.reshape(6), (M,)),
    "contiguous": (lambda x: x.T.contiguous(), lambda a: a.T, (M,)),
    "pad": (lambda x: pad(x, (1, 2, 0, 1), value=7.0), lambda a: np.pad(a, ((0, 1), (1, 2)), constant_values=7), (M,)),
    "pad cut": (lambda x: pad(x, (-1, 1)), lambda a: np.pad(a[:, 1:], ((0, 0), (0, 1))), (M,)),
    "pad reflect": (lambda x: pad(x, (2, 1), "reflect"), lambda a: np.pad(a, ((0, 0), (2, 1)), "reflect"), (M,)),
    "pad replicate": (lambda x: pad(x, (2, 1, 1, 0), "replicate"), lambda a: np.pad(a, ((1, 0), (2, 1)), "edge"), (M,)),
    "pad circular": (lambda x: pad(x, (2, 3), "circular"), lambda a: np.pad(a, ((0, 0), (2, 3)), "wrap"), (M,)),
}  # fmt: skip


@pytest.mark.parametrize("name", COPIES)
def test_copies(name: str) -> None:
    ours, theirs, arrays = COPIES[name]
    inputs = [t(a) for a in arrays]
    found, wanted = ours(*inputs), theirs(*arrays)
    assert tuple(found.shape) == wanted.shape
    np.testing.assert_array_equal(found.numpy(), wanted)
    assert not any(np.shares_memory(found.numpy(), x.numpy()) for x in inputs)
    leaves = tuple(t(a).requires_grad_() for a in arrays)
    if found.numel():
        assert fb.autograd.gradcheck(ours, leaves)


SPLITS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "split": (lambda x: x.split(3, 2), lambda a: np.split(a, [3], 2)),
    "split by sizes": (lambda x: fb.split(x, [1, 3], dim=-1), lambda a: np.split(a, [1], 2)),
    "chunk": (lambda x: x.chunk(2, 1), lambda a: np.split(a, [2], 1)),
    "chunk in fewer": (lambda x: fb.chunk(x, 3, 2), lambda a: np.split(a, [2], 2)),
    "tensor_split": (lambda x: x.tensor_split(3, 2), lambda a: np.array_split(a, 3, 2)),
    "tensor_split at": (lambda x: fb.tensor_split(x, (1, 3, 2), dim=2), lambda a: np.array_split(a, [1, 3, 2], 2)),
    "hsplit": (lambda x: x.hsplit(3), lambda a: np.hsplit(a, 3)),
    "vsplit": (lambda x: fb.vsplit(x, [1]), lambda a: np.vsplit(a, [1])),
    "dsplit": (lambda x: x.dsplit(2), lambda a: np.dsplit(a, 2)),
    "unbind": (lambda x: x.unbind(1), lambda a: [a[:, i] for i in range(3)]),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLITS)
def test_splits(name: str) -> None:
    ours, theirs = SPLITS[name]
    x = t(X)
    found, wanted = ours(x), theirs(X)
    assert isinstance(found, tuple) and len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(f.numpy(), w)
        assert f._is_view()
    assert fb.autograd.gradcheck(lambda y: [p for p in ours(y) if p.numel()], (t(X).requires_grad_(),))
    with_history = t(X).requires_grad_() * 1
    if name.partition(" ")[0] in ("split", "chunk", "unbind"):
        with pytest.raises(RuntimeError, match="multiple views"):
            ours(with_history)[0].mul_(2)
    else:
        ours(with_history)[0].mul_(2)
        assert with_history[0, 0, 0].item() == 0 and with_history.grad_fn.name() == "CopySlices"


# -- several tensors, complex numbers, bits ----------------------------------------------------------
def test_broadcasting():
    a, b = fb.broadcast_tensors(t(V), t(np.zeros((3, 1))))
    assert a.shape == b.shape == (3, 4) and a.stride() == (0, 1)
    assert fb.broadcast_shapes((2, 1), 3, (1,)) == (2, 3)
    for indexing in ("ij", "xy"):
        found = fb.meshgrid(t(V), t(V[:2]), indexing=indexing)
        for f, w in zip(found, np.meshgrid(V, V[:2], indexing=indexing), strict=True):
            np.testing.assert_array_equal(f.numpy(), w)


def test_at_least():
    shapes = [
        tuple(f(t(a)).shape) for a in (np.array(1.0), V, M, X) for f in (fb.atleast_1d, fb.atleast_2d, fb.atleast_3d)
    ]
    wanted = [f(a).shape for a in (np.array(1.0), V, M, X) for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d)]
    assert shapes == wanted
    assert [tuple(x.shape) for x in fb.atleast_2d(t(V), t(1.0))] == [(1, 4), (1, 1)]


def test_the_parts_of_complex_numbers_are_views():
    z = fb.tensor([1 + 2j, 3 - 4j])
    z.real = z.imag * 10
    z.imag.zero_()
    assert z.tolist() == [20, -40]
    pairs = fb.view_as_real(z)
    pairs[0, 1] = 5
    assert z[0].item() == 20 + 5j
    x = t(V.reshape(2, 2)).requires_grad_()
    assert fb.autograd.gradcheck(lambda v: fb.view_as_complex(v * 1), (x,))
    w = fb.tensor([1 + 2j, 3j], dtype=fb.complex128).requires_grad_()
    assert fb.autograd.gradcheck(lambda v: (v.real, v.imag, fb.view_as_real(v)), (w,))
    assert fb.real(t(V)).tolist() == V.tolist()


def test_bits_as_another_dtype():
    x = fb.tensor([1.0, -2.0])
    bits = x.view(fb.int32)
    assert bits.tolist() == [0x3F800000, -0x40000000]
    bits[0] = 0
    assert x.tolist() == [0, -2]
    assert x.view(dtype=fb.uint8).shape == (8,) and x.view(fb.float32).data_ptr() == x.data_ptr()
    assert not x.requires_grad_().view(fb.int32).requires_grad
    batch = fb.tensor([[1.0], [-2.0]])
    assert fb.func.vmap(lambda v: v.view(fb.int32))(batch).tolist() == [[0x3F800000], [-0x40000000]]


# -- memory ------------------------------------------------------------------------------------------
def test_a_copy_only_where_strides_ask_for_one():
    x = t(X)
    assert x.contiguous() is x
    assert x.reshape(-1).data_ptr() == x.data_ptr()
    assert x.mT.reshape(2, 4, 3).data_ptr() == x.data_ptr()
    turned = x.mT.reshape(-1)
    assert (
        turned.data_ptr() != x.data_ptr() and turned.is_contiguous() and not turned._is_view() or turned._base is not x
    )
    assert x[:, ::2].reshape(1, 2, 2, 4).stride() == (24, 12, 8, 1)
    assert x.tile(1, 1).data_ptr() != x.data_ptr()


def test_writes_through_chains_of_views():
    base = t(np.zeros((2, 6)))
    w = fb.tensor(3.0, dtype=fb.float64, requires_grad=True)
    window = base.reshape(3, 4).T.unsqueeze(0).select(1, 2).expand(1, 3).squeeze(0)
    window[1:].mul_(0).add_(w)
    assert base.reshape(-1).tolist() == [0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0]
    (base * t(np.arange(12.0).reshape(2, 6))).sum().backward()
    assert w.grad.item() == 6 + 10


def test_copies_with_a_part_written():
    x, row = t(M), t([7.0, 8.0, 9.0])
    assert x.select_scatter(row, 0, 1).tolist() == [[0, 1, 2], [7, 8, 9]]
    assert fb.slice_scatter(x, row[:2].unsqueeze(1), 1, 0, None, 3).tolist() == [[7, 1, 2], [8, 4, 5]]
    assert fb.diagonal_scatter(x, row[:2], 1).tolist() == [[0, 7, 2], [3, 4, 8]]
    assert x.tolist() == M.tolist()
    leaves = (t(M).requires_grad_(), t(V[:3]).requires_grad_())
    assert fb.autograd.gradcheck(lambda a, b: a.select_scatter(b, 0, 1), leaves)
    with pytest.raises(RuntimeError, match=r"src of shape \(2,\) must have the shape \(3,\)"):
        x.select_scatter(row[:2], 0, 1)
    tall = np.zeros((7, 2))
    np.fill_diagonal(tall, 5, wrap=True)
    assert fb.zeros(7, 2).fill_diagonal_(5, wrap=True).tolist() == tall.tolist()
    assert fb.zeros(2, 2, 2).fill_diagonal_(1).nonzero().tolist() == [[0, 0, 0], [1, 1, 1]]


def test_in_place_triangles():
    x = fb.ones(3, 3)
    x.tril_().triu_()
    assert x.tolist() == np.eye(3).tolist()


# -- conversions -------------------------------------------------------------------------------------
def test_to_in_every_form():
    x = fb.tensor([1.5, 2.5])
    like = fb.zeros(1, dtype=fb.int16)
    assert x.to(fb.float32) is x and x.to("cpu") is x and x.to(x) is x and x.float() is x and x.cpu() is x
    assert x.to(fb.float64).dtype is fb.float64
    assert x.to("cpu", fb.int32).dtype is fb.int32
    assert x.to(fb.device("cpu"), dtype=fb.int8, non_blocking=True).dtype is fb.int8
    assert x.to(like).dtype is fb.int16 and x.to(other=like).dtype is fb.int16 and x.type_as(like).dtype is fb.int16
    assert x.to(device="cpu", dtype=float).dtype is fb.float32 and x.to(int).dtype is fb.int64
    copied = x.to(fb.float32, copy=True)
    assert copied is not x and copied.data_ptr() != x.data_ptr()
    assert x.to(fb.float32, False, True).data_ptr() != x.data_ptr()
    assert x.to("meta", fb.float16).device.type == "meta"
    assert x.type_as(fb.zeros(1, dtype=fb.int8, device="meta")).device.type == "meta" and x.type_as(x) is x


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("double", fb.float64), ("half", fb.float16), ("bfloat16", fb.bfloat16), ("int", fb.int32), ("long", fb.int64),
     ("short", fb.int16), ("char", fb.int8), ("byte", fb.uint8), ("bool", fb.bool), ("cfloat", fb.complex64)],
)  # fmt: skip
def test_conversions_by_name(name: str, dtype: Any) -> None:
    found = getattr(fb.tensor([1.0, 0.0]), name)()
    assert found.dtype is dtype and found.tolist() == [1, 0]


def test_type_names():
    x = fb.tensor([1.5])
    assert x.type() == "flambeau.FloatTensor" and x.type("flambeau.LongTensor").dtype is fb.int64
    assert x.type(fb.float16).type() == "flambeau.HalfTensor"


def test_a_cast_passes_gradients_back_in_their_own_dtype():
    x = fb.tensor([1.5, 2.5], requires_grad=True)
    (x.double() ** 2).sum().backward()
    assert x.grad.dtype is fb.float32 and x.grad.tolist() == [3, 5]


# -- transforms --------------------------------------------------------------------------------------
PER_EXAMPLE: list[Callable[[Any], Any]] = [
    lambda x: x.reshape(-1), lambda x: x.mT.reshape(2, 6), lambda x: x.squeeze().unsqueeze(-1),
    lambda x: x.permute(1, 0), lambda x: x.expand(2, 3, 4), lambda x: x.diagonal(1), lambda x: x.unfold(1, 2, 1),
    lambda x: x.flip(0), lambda x: x.roll(1, 1), lambda x: x.tril(), lambda x: x.diag_embed(), lambda x: x.diag(),
    lambda x: fb.cat([x, x * 2], 1), lambda x: fb.stack([x, x], -1), lambda x: x.repeat(2, 1),
    lambda x: x.repeat_interleave(2, 0), lambda x: pad(x, (1, 1), "reflect"), lambda x: x.split(1, 0)[1],
    lambda x: x.narrow(1, 1, 2), lambda x: x.rot90(), lambda x: x.flatten(), lambda x: x.double(),
    lambda x: x.contiguous(),
]  # fmt: skip


@pytest.mark.parametrize("i", range(len(PER_EXAMPLE)))
def test_under_vmap_and_forward_mode(i: int) -> None:
    f, batch = PER_EXAMPLE[i], t(np.random.default_rng(0).standard_normal((2, 3, 4)))
    together = fb.func.vmap(f)(batch)
    for k in range(2):
        np.testing.assert_array_equal(together[k].numpy(), f(batch[k]).numpy())
    _, moved = fb.func.jvp(f, (batch[0],), (batch[1],))
    np.testing.assert_array_equal(moved.numpy(), f(batch[1]).numpy())  # all of them are linear


# -- errors ------------------------------------------------------------------------------------------
WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "reshape": (lambda x: x.reshape(5), RuntimeError, r"reshape: shape \(5,\).*\(2, 3, 4\) \(24 elements\)"),
    "reshape twice -1": (lambda x: x.reshape(-1, -1), RuntimeError, "only one dimension can be inferred"),
    "reshape by a float": (lambda x: x.reshape(2.0, 12), TypeError, "reshape: shape must be ints"),
    "reshape of a list": (lambda x: fb.reshape([1], (1,)), TypeError, "must be a tensor, got list"),
    "view": (lambda x: x.mT.view(24), RuntimeError, r"view:.*\(2, 4, 3\) with strides \(12, 1, 4\).*use reshape"),
    "view sizes": (lambda x: x.view(7), RuntimeError, r"view: shape \(7,\)"),
    "view dtype": (lambda x: x[..., 0].view(fb.int16), RuntimeError, "view: a float64 tensor of shape .* int16"),
    "expand": (lambda x: x.expand(2, 5, 4), RuntimeError, r"\(2, 3, 4\).*\(5\) must match.*\(3\).* dimension 1"),
    "expand fewer": (lambda x: x.expand(4), RuntimeError, "expand: 1 sizes .* too few"),
    "expand new -1": (lambda x: x.expand(-1, 2, 3, 4), RuntimeError, "expand: size -1 at dimension 0"),
    "permute count": (lambda x: x.permute(0, 1), RuntimeError, "permute:.*each of the 3 dimension"),
    "permute twice": (lambda x: x.permute(0, 0, 1), RuntimeError, "permute:.*twice"),
    "transpose": (lambda x: x.transpose(0, 3), IndexError, "transpose: .*dim1=3.*3 dimension"),
    "movedim": (lambda x: x.movedim((0, 1), 0), RuntimeError, "movedim: source .* destination"),
    "t": (lambda x: x.t(), RuntimeError, r"t:.*at most 2.*\(2, 3, 4\)"),
    "mT": (lambda x: x[0, 0].mT, RuntimeError, "mT:.*at least 2"),
    "squeeze": (lambda x: x.squeeze(4), IndexError, "squeeze:.*dim=4"),
    "unsqueeze": (lambda x: x.unsqueeze(5), IndexError, "unsqueeze:.*dim=5"),
    "flatten": (lambda x: x.flatten(2, 0), RuntimeError, "flatten: start_dim 2 comes after end_dim 0"),
    "unflatten": (lambda x: x.unflatten(1, (2, 2)), RuntimeError, r"unflatten: sizes \(2, 2\).*size 3"),
    "narrow": (lambda x: x.narrow(1, 2, 2), RuntimeError,
            "narrow: start 2 with length 2 exceeds dimension 1 of size 3"),
    "select": (lambda x: x.select(0, 2), IndexError, "select: index 2 is out of range for dimension 0 of size 2"),
    "slice": (lambda x: fb.slice(x, 0, 0, 1, -1), ValueError, "slice: step must be positive.*flip"),
    "split": (lambda x: x.split([1, 1], 1), RuntimeError, r"sizes \(1, 1\).*size 3"),
    "chunk": (lambda x: x.chunk(0), RuntimeError, "chunk: chunks must be greater than 0"),
    "hsplit": (lambda x: x.hsplit(2), RuntimeError, "hsplit: 2 sections do not divide dimension 1 of size 3"),
    "unbind": (lambda x: x.sum().unbind(), IndexError, "unbind: .*0-d"),
    "diagonal": (lambda x: x.diagonal(0, 1, 1), RuntimeError, "diagonal:.*two different"),
    "unfold": (lambda x: x.unfold(1, 4, 1), RuntimeError, "unfold: size 4.*size 3"),
    "as_strided": (lambda x: x.as_strided((9,), (9,)), RuntimeError, r"as_strided: size \(9,\), stride \(9,\)"),
    "cat": (lambda x: fb.cat([x, x[0]]), RuntimeError, r"cat:.*\(2, 3, 4\).*\(3, 4\)"),
    "cat of a tensor": (lambda x: fb.cat(x), TypeError, "cat: argument 'tensors' must be a tuple or list"),
    "cat of 0-d": (lambda x: fb.cat([x.sum(), x.sum()]), RuntimeError, "cat: tensor 0 is 0-d.*stack"),
    "cat of none": (lambda x: fb.cat([]), RuntimeError, "cat: .*non-empty"),
    "stack": (lambda x: fb.stack([x, x[0]]), RuntimeError,
              r"stack:.*tensor 0 has \(2, 3, 4\) and tensor 1 \(3, 4\)"),
    "repeat": (lambda x: x.repeat(2), RuntimeError, r"repeat: 1 repeats \(2,\) are too few"),
    "repeat_interleave": (lambda x: x.repeat_interleave(fb.tensor([1, 2]), 1), RuntimeError,
                          r"repeats of shape \(2,\).*3 elements"),
    "roll": (lambda x: x.roll((1, 2), 0), RuntimeError, "roll: shifts .* dims .* same length"),
    "flip": (lambda x: x.flip(0, 0), RuntimeError, "flip: .*twice"),
    "rot90": (lambda x: x.rot90(1, (0, 0)), RuntimeError, "rot90: .*different"),
    "diag": (lambda x: x.diag(), RuntimeError, "diag: expects a 1-d or 2-d"),
    "pad": (lambda x: pad(x, (1,)), RuntimeError, "pad: pad .* pairs"),
    "pad mode": (lambda x: pad(x, (1, 1), "wrap"), ValueError, "pad: mode must be.*'circular', got 'wrap'"),
    "pad reflect": (lambda x: pad(x, (4, 0), "reflect"), RuntimeError, r"reflect padding \(4, 0\) must be at most 3"),
    "to": (lambda x: x.to(3), TypeError, "to: expects a dtype, a device.*got 3"),
    "to keyword": (lambda x: x.to(fb.int8, dtyp=1), TypeError, "to: expects.*dtyp=1"),
    "type": (lambda x: x.type("torch.RealTensor"), ValueError, "invalid type.*FloatTensor"),
    "imag": (lambda x: fb.imag(x), TypeError, "imag: expects a complex tensor, got flambeau.float64"),
    "view_as_complex": (lambda x: fb.view_as_complex(x), RuntimeError, r"last dimension must have size 2.*\(2, 3, 4\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_say_what_is_wrong(name: str) -> None:
    call, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        call(t(X))


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize(("mode", "numpys"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_borders_of_several_dimensions_recorded_or_not(mode: str, numpys: Any, device: str) -> None:
    for turned in (False, True):
        a = X.astype("f4")
        x = t(np.ascontiguousarray(a.swapaxes(1, 2)) if turned else a).to(device)
        x = x.transpose(1, 2) if turned else x
        for widths in itertools.product((0, 1, 2), repeat=4):
            expected = np.pad(a, ((0, 0), widths[2:], widths[:2]), numpys)
            for given in (x, x.detach().requires_grad_()):
                found = pad(given, widths, mode)
                np.testing.assert_array_equal(found.detach().cpu().numpy(), expected)
                assert found.requires_grad is given.requires_grad
                assert found.is_contiguous()


@pytest.mark.parametrize("form", ["reshape", "view"])
def test_sizes_that_were_wrong_once_are_wrong_again(form: str) -> None:
    x = fb.ones(8)
    for _ in range(3):
        assert getattr(x, form)(2, -1).shape == (2, 4)
        for sizes in ((2, -2), (-1, -1), (-2,), (3, -1), (0, -1)):
            with pytest.raises(ShapeError):
                getattr(x, form)(*sizes)
        with pytest.raises(TypeError):
            getattr(x, form)(2.0, -1)


def test_gradients_of_views_that_were_given_as_users_write_them() -> None:
    for made in (
        lambda v: v.reshape(2, -1)[-1],
        lambda v: v.view(-1, 2).permute(-1, 0)[0],
        lambda v: v[2:-1][1:],
        lambda v: v[-3],
        lambda v: v.view(4, 2).permute((1, 0))[:1],
        lambda v: v.as_strided((2, 2), (3, 1), 1),
        lambda v: v.view(2, 4).diagonal(1, -1, 0),
        lambda v: v.unfold(-1, 3, 2),
        lambda v: fb.view_as_real(fb.view_as_complex(v.view(4, 2)) * (1 + 2j)),
    ):
        for base in (False, True):  # of a leaf, and of a view in which a value was written
            x = fb.arange(8.0).requires_grad_()
            v = (x * 1).view(8) if base else x
            if base:
                v[0] = 5.0
            made(v).sum().backward()
            zero, step = np.arange(8.0), 0.5
            expected = []
            for i in range(8):
                sums = []
                for sign in (1, -1):
                    moved = zero.copy()
                    moved[i] += sign * step
                    if base:
                        moved[0] = 5.0
                    sums.append(float(made(fb.tensor(moved.astype("f"))).sum().real))
                expected.append((sums[0] - sums[1]) / (2 * step))
            np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-4)


def test_views_of_read_only_and_strided_arrays() -> None:
    x = np.arange(24.0, dtype="f").reshape(4, 6)
    for a in (x, x.T, x[::2], x[1:, 1:]):
        t = fb.from_numpy(a)
        np.testing.assert_array_equal(
            t.unfold(1, 2, 2).numpy(), np.lib.stride_tricks.sliding_window_view(a, 2, 1)[:, ::2]
        )
        np.testing.assert_array_equal(t.diagonal(-1).numpy(), a.diagonal(-1))
        t.diagonal().zero_()
        assert not a.diagonal().any()


def test_conj_and_positive_of_what_they_do_not_change_are_the_tensor_itself() -> None:
    x, z = fb.tensor([1.0, -2.0]), fb.tensor([1 + 2j])
    assert fb.conj(x) is x and x.conj() is x and fb.positive(x) is x and +z is z
    assert z.conj().tolist() == [1 - 2j]
    with pytest.raises(DTypeError):
        fb.positive(fb.tensor([True]))
    assert fb.vmap(lambda v: v.conj() * 2)(x).tolist() == [2.0, -4.0]
