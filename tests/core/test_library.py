"""Ops of one's own: records, composites and custom ops with gradients, transforms, other devices and opcheck."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import library
from flambeau.core.record import OPS


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    """What a test declares is gone after it."""
    before = set(OPS)
    yield
    for name in set(OPS) - before:
        del OPS[name]


# -- op and composite ------------------------------------------------------------------------------------
def test_an_expression_is_an_op_on_every_device() -> None:
    from flambeau.core.record import ELEMENTWISE, real_floating

    bump = library.op(
        "test_bump(x: Tensor, y: Tensor) -> Tensor",
        ELEMENTWISE,
        expr="exp(-(x * x)) * y",
        dtype=real_floating,
        vjp=dict(x=lambda g, x, y, out: g * -2 * x * out, y=lambda g, x: g * (-x * x).exp()),
    )
    x = fb.tensor([0.0, 1.0, -2.0], requires_grad=True)
    y = fb.tensor([2.0])
    expected = np.exp(-np.array([0.0, 1, 4])) * 2
    for d in ("cpu", "strict"):
        found = bump(x.to(d), y.to(d))
        assert str(found.device).startswith(d) and np.allclose(found.detach().cpu().numpy(), expected, rtol=1e-6)
    assert fb.autograd.gradcheck(bump, (x.detach().double().requires_grad_(), y.double().requires_grad_()))
    rows = fb.vmap(bump, in_dims=(0, None))(fb.ones(4, 3), fb.ones(3))
    assert rows.shape == (4, 3)
    assert bump(fb.ones(2, 3, device="meta"), fb.ones(3, device="meta")).shape == (2, 3)


def test_a_composite_differentiates_through_its_body_or_by_its_own_rule() -> None:
    @library.composite("test_swish(x: Tensor, *, beta: float = 1.0) -> Tensor")
    def swish(x: Any, *, beta: float = 1.0) -> Any:
        """x * sigmoid(beta x)"""
        return x * (x * beta).sigmoid()

    @library.composite("test_straight(x: Tensor) -> Tensor", vjp=dict(x=lambda g: g))
    def straight(x: Any) -> Any:
        return x.round()

    x = fb.tensor([-1.0, 0.3, 2.0], dtype=fb.float64, requires_grad=True)
    assert fb.autograd.gradcheck(lambda v: swish(v, beta=2.0), (x,))
    assert swish.op.doc == "x * sigmoid(beta x)"
    straight(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1, 1]
    assert fb.vmap(swish)(fb.ones(2, 3)).shape == (2, 3)
    assert swish(fb.ones(2, device="strict")).device.type == "strict"


def test_an_op_is_declared_once() -> None:
    library.op("test_once(x: Tensor) -> Tensor")
    with pytest.raises(ValueError, match="op 'test_once' is already declared"):
        library.op("test_once(x: Tensor) -> Tensor")
    with pytest.raises(TypeError, match="unknown fields colour"):
        library.op("test_twice(x: Tensor) -> Tensor", colour=1)


# -- custom_op -------------------------------------------------------------------------------------------
def cube() -> library.CustomOp:
    """x ** 3 by numpy, with a gradient."""

    @library.custom_op("test::cube", mutates_args=())
    def cube(x: fb.Tensor) -> fb.Tensor:
        return fb.from_numpy(x.detach().cpu().numpy() ** 3).to(x.device)

    def save(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    def backward(ctx: Any, g: fb.Tensor) -> fb.Tensor:
        (x,) = ctx.saved_tensors
        return g * 3 * x * x

    cube.register_autograd(backward, setup_context=save)
    cube.register_fake(lambda x: fb.empty_like(x))
    return cube


def test_a_custom_op_with_a_gradient() -> None:
    op = cube()
    x = fb.tensor([1.0, 2.0], requires_grad=True)
    y = op(x)
    y.sum().backward()
    assert y.tolist() == [1, 8] and x.grad is not None and x.grad.tolist() == [3, 12]
    assert fb.autograd.gradcheck(op, (fb.tensor([0.5, -2.0], dtype=fb.float64, requires_grad=True),))
    assert not op(x.detach()).requires_grad
    with fb.no_grad():
        assert not op(x).requires_grad
    assert repr(op) == "<custom op test::cube>" and op.record.name == "test__cube"


def test_a_custom_op_under_transforms() -> None:
    op = cube()
    x = fb.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert fb.vmap(op)(x).tolist() == (x**3).tolist()
    assert fb.func.grad(lambda v: op(v).sum())(x).tolist() == (3 * x * x).tolist()
    assert fb.vmap(fb.func.grad(lambda v: op(v).sum()))(x).tolist() == (3 * x * x).tolist()


def test_a_custom_op_without_data_and_on_other_devices() -> None:
    op = cube()
    fake = op(fb.ones(2, 3, device="meta"))
    assert fake.shape == (2, 3) and fake.device.type == "meta"
    assert op(fb.tensor([2.0], device="strict")).cpu().tolist() == [8]
    calls: list[str] = []

    @op.register_kernel("strict")
    def on_strict(x: fb.Tensor) -> fb.Tensor:
        calls.append(str(x.device))
        return x * x * x

    x = fb.tensor([3.0], device="strict", requires_grad=True)
    op(x).sum().backward()
    assert calls == ["strict:0"] and x.grad is not None and x.grad.cpu().tolist() == [27]


def test_device_types_limit_an_op() -> None:
    @library.custom_op("test::only", mutates_args=(), device_types="cpu")
    def only(x: fb.Tensor) -> fb.Tensor:
        return x + 1

    assert only(fb.ones(1)).item() == 2
    with pytest.raises(NotImplementedError, match="test::only: no kernel for device type 'strict'; it has cpu"):
        only(fb.ones(1, device="strict"))
    only.register_kernel(["strict"], lambda x: x + 2)
    assert only(fb.ones(1, device="strict")).cpu().item() == 3


def test_arguments_of_every_kind() -> None:
    @library.custom_op("test::mix", mutates_args=())
    def mix(
        xs: list[fb.Tensor], scale: float, bias: fb.Tensor | None = None, *, name: str = "n"
    ) -> tuple[fb.Tensor, fb.Tensor]:
        total = sum(xs[1:], xs[0]) * scale
        return (total if bias is None else total + bias), total * len(name)

    x = fb.ones(2)
    first, second = mix([x, x, x], 2.0)
    assert first.tolist() == [6, 6] and second.tolist() == [6, 6]
    first, second = mix([x], scale=1.0, bias=x, name="ab")
    assert first.tolist() == [2, 2] and second.tolist() == [2, 2]
    with pytest.raises(TypeError, match="scale"):
        mix([x])


def test_integer_inputs_keep_their_dtype() -> None:
    @library.custom_op("test::pick", mutates_args=())
    def pick(x: fb.Tensor, index: fb.Tensor) -> fb.Tensor:
        assert index.dtype is fb.int32 and x.dtype is fb.float16
        return x[index.long()]

    assert pick(fb.tensor([1, 2], dtype=fb.float16), fb.tensor([1, 1], dtype=fb.int32)).tolist() == [2, 2]


def test_wrong_declarations_say_what_is_wrong() -> None:
    def fine(x: fb.Tensor) -> fb.Tensor:
        return x * 1

    with pytest.raises(ValueError, match="the name must be 'namespace::name', got 'fine'"):
        library.custom_op("fine", fine)
    with pytest.raises(ValueError, match="mutates_args names y, no arguments of the function"):
        library.custom_op("test::fine", fine, mutates_args=("y",))

    def bare(x):  # type: ignore[no-untyped-def]
        return x

    with pytest.raises(ValueError, match="argument 'x' needs an annotation"):
        library.custom_op("test::bare", bare)


# -- opcheck ---------------------------------------------------------------------------------------------
PASSED = {"test_schema": "SUCCESS", "test_faketensor": "SUCCESS", "test_autograd": "SUCCESS"}


def test_opcheck_passes_a_sound_op() -> None:
    x = fb.tensor([0.5, -2.0], requires_grad=True)
    assert library.opcheck(cube(), (x,)) == PASSED


def test_opcheck_finds_a_written_input() -> None:
    @library.custom_op("test::spoil", mutates_args=())
    def spoil(x: fb.Tensor) -> fb.Tensor:
        x.add_(1)
        return x * 1

    with pytest.raises(AssertionError, match="test_schema failed for test::spoil: argument 0 was changed"):
        library.opcheck(spoil, (fb.ones(2),))
    found = library.opcheck(spoil, (fb.ones(2),), raise_exception=False)
    assert found["test_schema"].startswith("AssertionError: argument 0 was changed")


def test_opcheck_finds_a_wrong_fake() -> None:
    op = cube()
    op.register_fake(lambda x: x.new_empty((7,)))
    with pytest.raises(AssertionError, match=r"register_fake gives flambeau.float32 \(7,\), the op .* \(2,\)"):
        library.opcheck(op, (fb.ones(2),))


def test_opcheck_finds_a_wrong_gradient() -> None:
    op = cube()
    op.register_autograd(lambda ctx, g: g * 3, setup_context=None)
    with pytest.raises(AssertionError, match="test_autograd failed"):
        library.opcheck(op, (fb.tensor([0.5, 2.0], requires_grad=True),))


def test_opcheck_takes_keyword_arguments() -> None:
    @library.custom_op("test::scaled", mutates_args=())
    def scaled(x: fb.Tensor, *, by: float = 1.0) -> fb.Tensor:
        return x * by

    x = fb.ones(2, requires_grad=True)
    assert library.opcheck(scaled, (x,), {"by": 3.0}) == PASSED
    assert scaled(x, by=3.0).requires_grad, "without a rule of its own, the gradient goes through the function"


# -- schemas, Library and registrations by name ----------------------------------------------------------
@pytest.fixture
def lib() -> library.Library:
    return library.Library(f"test_{next(COUNT)}", "FRAGMENT")


COUNT = itertools.count()


def registered(lib: library.Library, name: str) -> library.CustomOp:
    found = library.registered(f"{lib.ns}::{name}")
    assert found is not None
    return found


def test_an_op_by_schema_and_device(lib: library.Library) -> None:
    assert lib.define("scale(Tensor x, float by=2.0, *, Tensor? bias=None) -> Tensor") == "scale"
    op = registered(lib, "scale")
    with pytest.raises(NotImplementedError, match=f"{lib.ns}::scale: no kernel for device type 'cpu'; it has none"):
        op(fb.ones(1))
    lib.impl("scale", lambda x, by, bias: x * by if bias is None else x * by + bias, "CPU")
    lib.impl("scale", lambda x, by, bias: x.new_empty(x.shape), "Meta")
    x = fb.ones(2, requires_grad=True)
    assert op(x).tolist() == [2, 2] and op(x, by=3.0, bias=fb.ones(2)).tolist() == [4, 4]
    assert op(fb.ones(3, device="meta")).shape == (3,)
    assert [a.default for a in op.schema.arguments][1:] == [2.0, None] and op.schema.arguments[2].keyword_only
    with pytest.raises(RuntimeError, match="has been defined already"):
        lib.define("scale(Tensor x) -> Tensor")
    with pytest.raises(RuntimeError, match="unknown type 'Tensr'"):
        lib.define("other(Tensr x) -> Tensor")
    with pytest.raises(ValueError, match="kind must be one of DEF, FRAGMENT, IMPL, got 'X'"):
        library.Library("test", "X")


def test_registrations_by_name(lib: library.Library) -> None:
    name = f"{lib.ns}::cubed"
    library.define(name, "(Tensor x) -> Tensor")
    library.impl(name, "default", lambda x: fb.from_numpy(x.detach().numpy() ** 3))
    library.register_fake(name, lambda x: fb.empty_like(x))

    def save(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    library.register_autograd(name, lambda ctx, g: g * 3 * ctx.saved_tensors[0] ** 2, setup_context=save)
    op = registered(lib, "cubed")
    x = fb.tensor([2.0], requires_grad=True)
    op(x).backward()
    assert x.grad is not None and x.grad.item() == 12
    assert library.opcheck(name, (fb.tensor([0.5, 2.0], requires_grad=True),)) == PASSED
    seen: list[Any] = []

    @library.register_vmap(name)
    def rule(info: Any, in_dims: Any, x: fb.Tensor) -> Any:
        seen.append((info.batch_size, in_dims))
        return x**3, in_dims[0]

    assert fb.vmap(op)(fb.tensor([[1.0], [2.0]])).tolist() == [[1], [8]] and seen == [(2, (0,))]
    with pytest.raises(RuntimeError, match="register_fake: operator no::such does not exist"):
        library.register_fake("no::such", lambda x: x)


def test_an_autograd_kernel_calls_the_op_below_it(lib: library.Library) -> None:
    lib.define("neg(Tensor x) -> Tensor")
    lib.impl("neg", lambda x: -x, "CompositeExplicitAutograd")
    calls: list[str] = []

    def autograd(x: fb.Tensor) -> Any:
        calls.append("above")
        return registered(lib, "neg")(x)

    lib.impl("neg", autograd, "Autograd")
    assert registered(lib, "neg")(fb.ones(1)).item() == -1 and calls == ["above"]


def test_an_op_that_writes_to_an_argument() -> None:
    @library.custom_op("test::fill", mutates_args={"x"})
    def fill(x: fb.Tensor, value: float) -> None:
        x.fill_(value)

    x = fb.zeros(2)
    assert fill(x, 3.0) is None and x.tolist() == [3, 3]
    assert str(fill.schema) == "fill(Tensor(a0!) x, float value) -> ()"
    with pytest.raises(RuntimeError, match="an op that writes to its arguments has no gradient"):
        fill.register_autograd(lambda ctx, g: g)
    assert library.opcheck(fill, (fb.zeros(2), 1.0), test_utils="test_schema") == {"test_schema": "SUCCESS"}


def test_a_schema_follows_from_annotations() -> None:
    def f(
        x: fb.Tensor, y: fb.Tensor | None, zs: list[fb.Tensor], n: int, s: float = 1.5, t: str = "a", b: bool = True,
        d: fb.dtype | None = None, w: Sequence[int] | None = None, kind: fb.dtype = fb.float32, *, q: int = 3,
    ) -> tuple[fb.Tensor, list[fb.Tensor], int]:  # fmt: skip
        raise AssertionError

    assert library.infer_schema(f, mutates_args=("x",), op_name="f") == (
        'f(Tensor(a0!) x, Tensor? y, Tensor[] zs, SymInt n, float s=1.5, str t="a", bool b=True, ScalarType? d=None, '
        "SymInt[]? w=None, ScalarType kind=float32, *, SymInt q=3) -> (Tensor, Tensor[], SymInt)"
    )


def test_get_ctx_is_for_fakes(lib: library.Library) -> None:
    with pytest.raises(RuntimeError, match="get_ctx: it is for functions given to register_fake"):
        library.get_ctx()
    lib.define("nonzero(Tensor x) -> Tensor")
    registered(lib, "nonzero").register_fake(lambda x: x.new_empty(library.get_ctx().new_dynamic_size()))
    with pytest.raises(RuntimeError, match="the size of its result depends on data"):
        registered(lib, "nonzero")(fb.ones(1, device="meta"))
