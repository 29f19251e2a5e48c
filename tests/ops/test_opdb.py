"""Every op of the database on the CPU: values, dtypes, shapes, layouts, gradients, both paths, transforms, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import dtype as dt
from flambeau.core import state
from flambeau.core.ops.elementwise import elementwise
from flambeau.core.record import OPS as EVERY
from flambeau.core.record import Op
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.layouts import LAYOUTS
from flambeau.plugins.conformance.opdb import Sample
from flambeau.plugins.conformance.opdb.run import (
    as_tuple,
    assert_close,
    declared,
    dtypes_of,
    expected,
    run,
    samples_of,
    to_host,
    to_tensors,
)
from flambeau.plugins.conformance.opdb.shape import BY_STRIDES, UNDEFINED

OPS = {name: op for name, op in opdb.load().items() if "__" not in name}  # without what other tests registered

#: Ops that write to their operands and return nothing, an empty list: tests/optim has their tests.
STATEMENTS = {n for n, op in OPS.items() if op.schema.returns_list}


def with_samples(**needs: Any) -> list[str]:
    """The names of the ops that have samples and these attributes."""
    return [n for n, op in OPS.items() if op.samples is not None and all(getattr(op, k) == v for k, v in needs.items())]


def each(names: list[str]) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("name", names)


def a_dtype(op: Op) -> dt.DType:
    """The dtype for tests that take one."""
    served = dtypes_of(op)
    return next((d for d in (dt.float32, dt.int64) if d in served), served[0])


def tensor_places(op: Op, sample: Sample) -> list[int]:
    """Which operands are given as arrays."""
    return [i for i, a in enumerate(sample.args[: len(op.schema.operands)]) if isinstance(a, np.ndarray)]


def differentiable_places(op: Op, sample: Sample) -> list[int]:
    """The operands to differentiate by."""
    if not op.gradients and op.body is None:
        return []  # it raises, see test_an_op_without_a_gradient_says_so
    return [
        i
        for i in tensor_places(op, sample)
        if op.kind_of(op.schema.operands[i]) not in ("index", "bool")
        and op.schema.operands[i].name not in op.settings
        and (not op.gradients or op.gradient_of(op.schema.operands[i].name) is not None)
        and sample.args[i].dtype.kind in "fc"
    ]


# -- the database itself -----------------------------------------------------------------------------
def test_every_op_has_samples() -> None:
    assert {n for n, op in OPS.items() if op.samples is None} == STATEMENTS


def test_every_op_has_a_reference() -> None:
    assert {n for n, op in OPS.items() if op.reference is None} == STATEMENTS | UNDEFINED


# -- values ------------------------------------------------------------------------------------------
@each(with_samples())
def test_forward(name: str) -> None:
    """Against the reference, for every dtype; dtype and shape by the op's rules; inputs left as they were."""
    op = OPS[name]
    for dtype in dtypes_of(op):
        for sample in samples_of(op, dtype):
            try:
                _check_forward(op, sample)
            except Exception as error:
                error.add_note(f"{name} of {sample} ({dtype.name})")
                raise


def _check_forward(op: Op, sample: Sample) -> None:
    inputs = [to_tensors(a) for a in sample.args]
    results = as_tuple(op.function(*inputs, **to_tensors(sample.kwargs)))
    for before, after in zip(sample.args, inputs, strict=True):
        _assert_same(before, after)
    dtypes, shapes = declared(op, sample)
    if op.schema.returns_list:
        dtypes = dtypes * len(results)
    assert [r.dtype for r in results] == dtypes
    if shapes is not None:
        wanted_shapes = [shapes] if op.schema.single else list(shapes)
        assert [tuple(r.shape) for r in results] == [tuple(s) for s in wanted_shapes]
    if op.reference is not None:
        for found, value in zip(results, expected(op, sample), strict=True):
            assert tuple(found.shape) == value.shape
            assert_close(op, to_host(found), value, found.dtype, "")


def _assert_same(before: Any, after: Any) -> None:
    if isinstance(before, list):
        for b, a in zip(before, after, strict=True):
            _assert_same(b, a)
    elif isinstance(before, np.ndarray):
        assert after.numpy().tobytes() == before.tobytes(), "it changed an input"


# -- layouts -----------------------------------------------------------------------------------------
@each(with_samples())
def test_layouts(name: str) -> None:
    """The same values with other strides give the same result, and so does an expanded tensor as its copy."""
    op = OPS[name]
    if name in BY_STRIDES:
        pytest.skip("what these may do depends on the strides")
    for sample in samples_of(op, a_dtype(op)):
        whole = [to_host(r) for r in run(op, sample)]
        for i in tensor_places(op, sample):
            x = sample.args[i]
            if not x.ndim:
                continue
            for layout, make in LAYOUTS.items():
                args = [make(to_tensors(x)) if j == i else to_tensors(a) for j, a in enumerate(sample.args)]
                _compare(op, args, sample, whole, f"{name} of {sample}, operand {i} {layout}")
            if x.shape[0] > 1:
                repeated = np.ascontiguousarray(np.broadcast_to(x[:1], x.shape))
                args = [to_tensors(repeated if j == i else a) for j, a in enumerate(sample.args)]
                copied = [to_host(r) for r in as_tuple(op.function(*args, **to_tensors(sample.kwargs)))]
                args[i] = to_tensors(x[:1]).expand(x.shape)
                _compare(op, args, sample, copied, f"{name} of {sample}, operand {i} expanded")


def _compare(op: Op, args: list[Any], sample: Sample, wanted: list[Any], text: str) -> None:
    results = as_tuple(op.function(*args, **to_tensors(sample.kwargs)))
    for found, value in zip(results, wanted, strict=True):
        assert tuple(found.shape) == value.shape, text
        assert_close(op, to_host(found), value, found.dtype, text)


# -- the fast path and the definition ----------------------------------------------------------------
@each(with_samples())
def test_fast_path_equals_the_uniform_one(name: str) -> None:
    """To the bit, gradients too."""
    op = OPS[name]
    if name in UNDEFINED:
        pytest.skip("its values are not defined")
    for sample in samples_of(op, a_dtype(op)):
        fast = _with_gradients(op, sample)
        state.use_slow_path(True)
        try:
            slow = _with_gradients(op, sample)
        finally:
            state.use_slow_path(False)
        for a, b in zip(fast, slow, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name} of {sample}")


def _with_gradients(op: Op, sample: Sample) -> list[Any]:
    args = [to_tensors(a) for a in sample.args]
    leaves = [args[i].requires_grad_() for i in differentiable_places(op, sample)] if op.differentiable else []
    results = as_tuple(op.function(*args, **to_tensors(sample.kwargs)))
    found = [to_host(r) for r in results]
    outs = [r for r in results if r.requires_grad]
    if outs and leaves:
        grads = fb.autograd.grad(outs, leaves, [fb.ones_like(o) for o in outs], allow_unused=True)
        found += [to_host(g) for g in grads if g is not None]
    return found


# -- gradients ---------------------------------------------------------------------------------------
def gradient_samples(op: Op, dtype: dt.DType) -> Iterator[tuple[Sample, list[int]]]:
    """The samples at which the op has a derivative, and the operands to differentiate by."""
    if not op.differentiable or dtype not in dtypes_of(op):
        return
    for sample in samples_of(op, dtype):
        places = differentiable_places(op, sample)
        if sample.smooth and places and all(sample.args[i].size for i in places):
            yield sample, places


def as_function(
    op: Op, sample: Sample, places: Sequence[int], every: bool = False
) -> tuple[Callable[..., Any], list[Any]]:
    """The op as a function of some operands, the others held fixed, and those operands; floating results, or all."""
    args, kwargs = [to_tensors(a) for a in sample.args], to_tensors(sample.kwargs)

    def fn(*tensors: Any) -> Any:
        given = list(args)
        for i, t in zip(places, tensors, strict=True):
            given[i] = t
        results = as_tuple(op.function(*given, **kwargs))
        kept = tuple(r for r in results if every or r.dtype.category >= dt.FLOATING)
        return kept[0] if len(kept) == 1 else kept

    return fn, [args[i] for i in places]


@each(with_samples(differentiable=True))
def test_gradients(name: str) -> None:
    """Against central differences; the gradient of the gradient too, at the first two samples.

    All but the first gradient are computed in one batch, which is much faster and compares the same numbers.
    """
    op = OPS[name]
    for dtype in (dt.float64, dt.complex128):
        for number, (sample, places) in enumerate(gradient_samples(op, dtype)):
            if number and dtype is dt.complex128:
                break  # they are slow, and their rules the same
            fn, inputs = as_function(op, sample, places)
            leaves = tuple(x.requires_grad_() for x in inputs)
            try:
                assert fb.autograd.gradcheck(fn, leaves, fast_mode=number > 0 or dtype is dt.complex128)
                if number < 2:
                    assert fb.autograd.gradgradcheck(fn, leaves, fast_mode=True)
            except Exception as error:
                error.add_note(f"{name} of {sample}")
                raise


def test_an_op_without_a_gradient_says_so() -> None:
    unruled = elementwise("unruled(x: Tensor, y: Tensor) -> Tensor", "x + y", public=False)
    try:
        with pytest.raises(RuntimeError, match="unruled: the op has no gradient rule"):
            unruled(fb.ones(2, requires_grad=True), fb.ones(2))
    finally:
        del EVERY["unruled"]  # no other test is to meet it


@each(["igamma", "igammac", "zeta"])
def test_an_operand_without_a_gradient_says_so(name: str) -> None:
    """And the other one has its."""
    x, y = (fb.tensor([2.5], dtype=fb.float64, requires_grad=True) for _ in range(2))
    with pytest.raises(RuntimeError, match=rf"{name} \(operand x\): the op has no gradient rule"):
        OPS[name].function(x, y).backward()
    assert fb.autograd.gradcheck(lambda v: OPS[name].function(x.detach(), v), (y,))


@each(with_samples(differentiable=True))
def test_forward_mode(name: str) -> None:
    """A directional derivative is the gradient's product with the direction."""
    op = OPS[name]
    for sample, places in gradient_samples(op, dt.float64):
        fn, inputs = as_function(op, sample, places)
        tangents = tuple(fb.tensor(np.random.default_rng(i).standard_normal(x.shape)) for i, x in enumerate(inputs))
        values, moved = fb.func.jvp(fn, tuple(inputs), tangents)
        leaves = [x.clone().requires_grad_() for x in inputs]
        outs = as_tuple(fn(*leaves))
        weights = [_weight(np.random.default_rng(9 + i), o) for i, o in enumerate(outs)]
        live = [(o, w) for o, w in zip(outs, weights, strict=True) if o.requires_grad]
        grads = fb.autograd.grad([o for o, _ in live], leaves, [w for _, w in live], allow_unused=True)
        along = sum(float((g * t).sum()) for g, t in zip(grads, tangents, strict=True) if g is not None)
        found = sum(float((d * w.conj()).sum().real) for d, w in zip(as_tuple(moved), weights, strict=True))
        np.testing.assert_allclose(found, along, 1e-9, 1e-10, err_msg=f"{name} of {sample}")
        for a, b in zip(as_tuple(values), outs, strict=True):
            np.testing.assert_allclose(to_host(a), to_host(b), 1e-12, 1e-14, err_msg=f"{name} of {sample}")


def _weight(rng: np.random.Generator, out: fb.Tensor) -> fb.Tensor:
    made = rng.standard_normal(out.shape)
    return fb.tensor(made + 1j * rng.standard_normal(out.shape) if out.is_complex() else made)


# -- vmap --------------------------------------------------------------------------------------------
BATCH = 3


@each([n for n in with_samples() if OPS[n].infer is not None or OPS[n].body is None])
def test_vmap(name: str) -> None:
    """Against a loop: all operands mapped over, then the first alone.

    A body for which no rule tells the shape has one that depends on the values: there is nothing to stack.
    """
    op = OPS[name]
    variants = [list(samples_of(op, a_dtype(op), variant)) for variant in range(BATCH)]
    for several in zip(*variants, strict=True):
        sample = several[0]
        places = tensor_places(op, sample)
        if not places:
            continue
        for mapped in {tuple(places), (places[0],)}:
            stacked = [fb.tensor(np.stack([s.args[i] for s in several])) for i in mapped]
            fn, _ = as_function(op, sample, mapped, every=True)
            out = as_tuple(fb.func.vmap(fn)(*stacked))
            loop = [as_tuple(fn(*[t[b].clone() for t in stacked])) for b in range(BATCH)]  # as_strided sees the storage
            for i, found in enumerate(out):
                wanted = np.stack([to_host(one[i]) for one in loop])
                text = f"vmap of {name} of {sample} over operands {mapped}"
                assert tuple(found.shape) == wanted.shape, text
                assert found.dtype is loop[0][i].dtype, text
                assert_close(op, to_host(found), wanted, found.dtype, text)


@each([n for n in with_samples() if (OPS[n].infer is not None or OPS[n].body is None) and crc32(n.encode()) % 8 == 0])
def test_vmap_at_other_axes(name: str) -> None:
    """One operand alone, the batch behind, of one op in eight; beside it a batch of batches."""
    op = OPS[name]
    if name == "as_strided":  # it sees the storage
        return
    sample = next(samples_of(op, a_dtype(op)))
    for place in tensor_places(op, sample):
        fn, (x,) = as_function(op, sample, [place], every=True)
        stacked = fb.stack(
            [x, x.flip(tuple(range(x.ndim))) if op.kind_of(op.schema.operands[place]) == "same" else x], -1
        )
        loop = [as_tuple(fn(stacked[..., b].clone())) for b in range(2)]
        outs = as_tuple(fb.func.vmap(fn, in_dims=-1, out_dims=-1)(stacked))
        nested = as_tuple(fb.func.vmap(fb.func.vmap(fn, in_dims=-1))(fb.stack([stacked, stacked])))
        for i, (out, deep) in enumerate(zip(outs, nested, strict=True)):
            wanted = np.stack([to_host(one[i]) for one in loop])
            text = f"vmap of {name} of {sample} over operand {place}"
            assert_close(op, np.moveaxis(to_host(out), -1, 0), wanted, out.dtype, text)
            assert_close(op, to_host(deep), np.stack([wanted, wanted]), out.dtype, f"vmap of {text}")


# -- errors ------------------------------------------------------------------------------------------
@each([n for n, op in OPS.items() if op.error_samples is not None])
def test_errors(name: str) -> None:
    """Wrong arguments raise the stated error, whose text has the stated words; on the uniform path too."""
    op = OPS[name]
    assert op.error_samples is not None
    for failure in op.error_samples(opdb.Maker(a_dtype(op))):
        args, kwargs = [to_tensors(a) for a in failure.args], to_tensors(failure.kwargs)
        for slow in (False, True):
            state.use_slow_path(slow)
            try:
                with pytest.raises(failure.error) as caught:
                    op.function(*args, **kwargs)
            finally:
                state.use_slow_path(False)
            missing = [w for w in failure.words if w not in str(caught.value)]
            assert not missing, f"{failure}: {missing} not in the text {str(caught.value)!r}"
