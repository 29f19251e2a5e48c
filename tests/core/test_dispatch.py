"""The dispatcher: overlays, layers, the host fallback, and what the uniform path says of bad calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core import config, dispatch, registry, state
from flambeau.core.autograd.inplace import in_place
from flambeau.core.dispatch import fallback_counts
from flambeau.core.record import OPS, Op

STRICT = fb.device("strict:0")
Halved = Callable[[fb.Tensor], fb.Tensor]
Counts = Callable[[], dict[tuple[str, str], tuple[int, int]]]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for source in ("overlay", "first", "second"):
        registry.unregister_overlays(source)


@pytest.fixture
def halved() -> Iterator[Halved]:
    """An op without a body that only the CPU has a kernel for."""
    name = "test_halved"
    function = fb.library.op(
        f"{name}(x: Tensor) -> Tensor", infer=lambda x: x, vjp=dict(x=lambda g: g * 0.5), inplace=True, public=False
    )
    fb.library.register_kernel(name, "cpu", lambda below: lambda x: x * 0.5, source="halved")
    yield function
    registry.unregister_overlays("halved")
    del OPS[name]


@pytest.fixture
def counts() -> Iterator[Counts]:
    dispatch.fallbacks.clear()
    yield fallback_counts
    dispatch.fallbacks.clear()


# -- the host fallback ---------------------------------------------------------------------------------


def test_without_a_kernel_the_default_is_an_error(counts: Counts) -> None:
    x = fb.eye(3, device=STRICT)
    with pytest.raises(
        RuntimeError, match=r"cholesky: no kernel for device 'strict:0' and dtype float32.*\.to\('cpu'\)"
    ):
        fb.linalg.cholesky(x)
    assert counts() == {}


def test_bad_shapes_are_named_before_the_missing_kernel() -> None:
    with pytest.raises(RuntimeError, match="cholesky") as caught:
        fb.linalg.cholesky(fb.ones(2, 3, device=STRICT))
    assert "no kernel" not in str(caught.value)


def test_allow_counts_calls_and_bytes_in_silence(halved: Halved, counts: Counts) -> None:
    x = fb.full((2, 3), 4.0, device=STRICT)
    with config.override(fallback="allow"), warnings.catch_warnings():
        warnings.simplefilter("error")
        y = halved(x)
        halved(y)
    assert y.device is STRICT and y.cpu().tolist() == [[2.0] * 3] * 2
    assert counts() == {("strict:0", "test_halved"): (2, 2 * 2 * 24)}


def test_warn_names_the_op_once(halved: Halved, counts: Counts) -> None:
    x = fb.ones(2, device=STRICT)
    named = r"test_halved: no kernel on 'strict:0'.*16 bytes"
    with config.override(fallback="warn"), pytest.warns(RuntimeWarning, match=named) as seen:
        halved(x)
        halved(x)
    assert len(seen) == 1 and counts()["strict:0", "test_halved"] == (2, 32)


def test_every_device_counts_for_itself(halved: Halved, counts: Counts) -> None:
    with config.override(fallback="allow"):
        halved(fb.ones(2, device="strict:1"))
        y = halved(fb.ones(2, device="strict:0"))
    assert str(y.device) == "strict:0" and {d for d, _ in counts()} == {"strict:0", "strict:1"}


def test_gradients_pass_a_fallback(halved: Halved, counts: Counts) -> None:
    x = fb.ones(3, device=STRICT, requires_grad=True)
    with config.override(fallback="allow"):
        (halved(x) * 4).sum().backward()
    assert x.grad is not None and x.grad.device is STRICT and x.grad.cpu().tolist() == [2.0] * 3


@pytest.mark.parametrize("policy", ["allow", "warn"])
def test_writes_never_fall_back(halved: Halved, counts: Counts, policy: str) -> None:
    here, there = fb.full((2,), 4.0), fb.full((2,), 4.0, device=STRICT)
    in_place(halved.op, (here,), {}, None)
    assert here.tolist() == [2, 2]
    with config.override(fallback=policy), pytest.raises(RuntimeError, match="writes never fall back to the host"):
        in_place(halved.op, (there,), {}, None)
    assert there.cpu().tolist() == [4, 4] and counts() == {}


def test_views_never_fall_back(counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    x = fb.ones(2, 3, device=STRICT)
    monkeypatch.setitem(x._key.__dict__, "permute", None)
    with config.override(fallback="allow"), pytest.raises(RuntimeError, match="permute: views never fall back"):
        x.T  # noqa: B018
    assert counts() == {}


def test_the_environment_sets_the_policy(run_python: Any) -> None:
    code = "import flambeau as fb; print(fb.linalg.cholesky(fb.eye(2, device='strict')).cpu().tolist())"
    assert "no kernel" in run_python("-c", code).stderr
    assert run_python("-c", code, FLAMBEAU_FALLBACK="error").returncode == 1
    allowed = run_python("-W", "error", "-c", code, FLAMBEAU_FALLBACK="allow")
    assert allowed.stdout.strip() == "[[1.0, 0.0], [0.0, 1.0]]", allowed.stderr
    warned = run_python("-c", code, FLAMBEAU_FALLBACK="warn")
    assert warned.stdout == allowed.stdout and "RuntimeWarning: cholesky" in warned.stderr


def test_no_fallback_for_what_the_cpu_itself_lacks(halved: Halved) -> None:
    registry.unregister_overlays("halved")
    with config.override(fallback="allow"), pytest.raises(RuntimeError, match="no kernel for device 'cpu'"):
        halved(fb.ones(2))


# -- overlays ------------------------------------------------------------------------------------------
def overlay(name: str, fn: Callable[..., Any], device: str = "cpu", **options: Any) -> None:
    """``fn(below)`` over the kernel of ``name``."""
    fb.library.register_kernel(name, device, fn, **({"source": "overlay"} | options))


def negated(below: Any) -> Any:
    return lambda *arrays, **params: -below(*arrays)


def test_an_overlay_stands_over_the_kernel_at_once_and_leaves_no_trace() -> None:
    x = fb.tensor([1.0, 4.0])
    assert x.sqrt().tolist() == [1, 2]
    overlay("sqrt", negated)
    assert x.sqrt().tolist() == [-1, -2], "the kernel that the key had cached is stale"
    assert (x * 1).sqrt().tolist() == [-1, -2]
    registry.unregister_overlays("overlay")
    assert x.sqrt().tolist() == [1, 2]


def test_an_overlay_is_for_one_device_type() -> None:
    overlay("sqrt", negated, "strict")  # strict's arrays have no minus: the kernel would fail
    assert fb.tensor([4.0]).sqrt().tolist() == [2]


def test_the_highest_priority_runs_first_and_gets_the_others_below_it() -> None:
    order: list[str] = []

    def tracing(name: str) -> Callable[[Any], Any]:
        def make(below: Any) -> Any:
            def kernel(x: Any, **params: Any) -> Any:
                order.append(name)
                return below(x)

            return kernel

        return make

    overlay("sqrt", tracing("high"), priority=5, source="first")
    overlay("sqrt", tracing("low"), priority=-5, source="second")
    overlay("sqrt", tracing("middle"))
    assert fb.tensor([9.0]).sqrt().item() == 3
    assert order == ["high", "middle", "low"]


def test_an_overlay_serves_its_dtypes() -> None:
    overlay("sqrt", negated, dtypes=[fb.float64])
    assert fb.tensor([4.0], dtype=fb.float64).sqrt().item() == -2
    assert fb.tensor([4.0]).sqrt().item() == 2
    assert fb.tensor([4]).sqrt().item() == 2, "integers compute in float32"


def test_two_overlays_of_one_priority_are_an_error_that_names_both() -> None:
    overlay("sqrt", negated, dtypes=[fb.float64, fb.float32], source="first")
    with pytest.raises(ValueError, match="'sqrt' on 'cpu' have priority 0: first and second"):
        overlay("sqrt", negated, dtypes=[fb.float32], source="second")
    with pytest.raises(ValueError, match="first and second"):
        overlay("sqrt", negated, source="second")
    overlay("sqrt", negated, dtypes=[fb.float16], source="second")
    overlay("sqrt", negated, dtypes=[fb.float32], source="second", priority=1)
    assert fb.tensor([4.0]).sqrt().item() == 2, "both of float32 turn the sign"


def test_below_an_overlay_of_an_op_without_a_kernel_there_is_none(halved: Halved) -> None:
    below: list[Any] = []

    def make(next_kernel: Any) -> Any:
        below.append(next_kernel)
        return lambda x, **params: x

    overlay("test_halved", make, "strict")
    x = fb.ones(2, device=STRICT)
    assert halved(x).cpu().tolist() == [1, 1] and below == [None]


def test_an_unknown_op_has_no_overlay() -> None:
    with pytest.raises(KeyError, match="no op 'sqroot'"):
        overlay("sqroot", negated)


def test_a_fused_kernel_for_a_composite_keeps_its_gradient() -> None:
    import numpy as np

    x = fb.tensor([[0.0, 1.0, 2.0]], device=STRICT, requires_grad=True)
    (expected,) = fb.autograd.grad(x.softmax(1)[0, 0], x)
    calls: list[int] = []

    def make(below: Any) -> Any:
        assert below is None, "strict has no softmax of its own"

        def kernel(array: Any, *, axis: int, **params: Any) -> Any:
            calls.append(axis)
            backend = x._key.backend
            e = np.exp(backend.to_host(array))
            return backend.from_host((e / e.sum(axis, keepdims=True)).astype(np.float32), fb.float32, 0)

        return kernel

    overlay("softmax", make, "strict")
    (found,) = fb.autograd.grad(x.softmax(1)[0, 0], x)
    assert calls == [1]
    assert fb.allclose(found.cpu(), expected.cpu(), rtol=1e-5, atol=1e-7)


# -- layers --------------------------------------------------------------------------------------------
class Seen:
    """A layer that notes the ops it is asked about and declines them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, op: Op, args: Any, params: Any) -> Any:
        self.names.append(op.name)
        return NotImplemented


def test_a_layer_that_declines_changes_nothing_and_sees_into_composites() -> None:
    x = fb.ones(2, 3, requires_grad=True)
    w, b = fb.ones(4, 3), fb.zeros(4)
    seen = Seen()
    with state.layer(seen):
        y = nn.functional.linear(x, w, b)
    assert y.tolist() == [[3.0] * 4] * 2 and y.requires_grad
    assert "linear" in seen.names
    assert OPS["hypot"].decomposes
    seen = Seen()
    there = fb.tensor([3.0], device=STRICT)
    with state.layer(seen):
        there.hypot(there)
    assert seen.names[0] == "hypot" and len(seen.names) > 1, "the expansion runs with the layer still on"


def test_a_layer_may_answer() -> None:
    def doubling(op: Op, args: Any, params: Any) -> Any:
        return dispatch.call(op, args, params) * 2 if op.name == "add" else NotImplemented

    x = fb.ones(2)
    with state.layer(doubling):
        assert (x + x).tolist() == [4, 4]
        assert (x * 3).tolist() == [3, 3]
    assert (x + x).tolist() == [2, 2]


def test_inside_a_layer_it_is_off_and_those_outside_it_are_on() -> None:
    order: list[str] = []

    def outer(op: Op, args: Any, params: Any) -> Any:
        order.append(f"outer {op.name}")
        return NotImplemented

    def inner(op: Op, args: Any, params: Any) -> Any:
        order.append(f"inner {op.name}")
        return dispatch.call(OPS["mul"], args, params) if op.name == "add" else NotImplemented

    x = fb.full((2,), 3.0)
    with state.layer(outer), state.layer(inner):
        assert (x + x).tolist() == [9, 9]
    assert order == ["inner add", "outer mul"]


def test_in_place_ops_reach_layers_as_derived_records() -> None:
    asked: list[tuple[str, str]] = []

    def note(op: Op, args: Any, params: Any) -> Any:
        asked.append((op.name, op.functional.name if op.functional is not None else ""))
        return NotImplemented

    x = fb.ones(2)
    with state.layer(note):
        x.add_(1)
        x += 1
    assert asked == [("add_", "add")] * 2 and x.tolist() == [3, 3]


def test_a_layer_may_call_a_derived_record_on() -> None:
    x = fb.ones(2)
    with state.layer(lambda op, args, params: dispatch.call(op, args, params)):
        result = x.mul_(5)
    assert result is x and x.tolist() == [5, 5]


def test_a_layer_sees_the_backward_pass_and_leaves_after_an_error() -> None:
    x = fb.ones(3, requires_grad=True)
    y = x.sin().sum()
    seen = Seen()
    with state.layer(seen):
        y.backward()
    assert "cos" in seen.names

    def failing(op: Op, args: Any, params: Any) -> Any:
        raise LookupError(op.name)

    with pytest.raises(LookupError, match="mul"), state.layer(failing):
        x * 2
    assert not state.current().layers and (x * 2).tolist() == [2, 2, 2]


def test_a_layer_is_a_decorator_and_of_one_thread() -> None:
    import threading

    seen = Seen()

    @state.layer(seen)
    def work(x: fb.Tensor) -> fb.Tensor:
        other = threading.Thread(target=lambda: x * 2)
        other.start()
        other.join()
        return x + 1

    work(fb.ones(2))
    assert seen.names == ["add"]


# -- normalisation -------------------------------------------------------------------------------------
def test_two_devices_are_an_error_that_names_the_operands() -> None:
    with pytest.raises(RuntimeError, match=r"add: .*same device, got input 'cpu', other 'strict:0'; move one with"):
        fb.ones(2) + fb.ones(2, device=STRICT)


def test_a_number_on_the_host_goes_along() -> None:
    y = fb.ones(2, device=STRICT) * fb.tensor(3.0)
    assert y.device is STRICT and y.cpu().tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="same device"):
        fb.ones(2) * fb.tensor(3.0, device=STRICT)


def test_keys_are_interned_and_forget_what_registration_made_stale() -> None:
    x, y = fb.ones(2), fb.zeros(3)
    assert x._key is y._key and x._key is not fb.ones(2, device=STRICT)._key
    assert x._key.sibling(fb.float32) is x._key and x._key.boolean is (x > 0)._key
    kernel = x._key.sqrt
    overlay("sqrt", negated)
    assert x._key.sqrt is not kernel


def test_the_slow_path_defines_the_fast_one() -> None:
    x = fb.randn(3, 4)

    def work() -> list[Any]:
        v = x.clone().requires_grad_()
        y = ((v + 1) * v.sigmoid()).sum(1).exp()
        (g,) = fb.autograd.grad(y.sum(), v)
        return [y.tolist(), g.tolist()]

    fast = work()
    state.use_slow_path(True)
    try:
        assert work() == fast
    finally:
        state.use_slow_path(False)
