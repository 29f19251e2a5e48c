"""Autocast as a block and a function: nesting, islands, kept casts, threads, gradients, transforms, checkpoints."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import state
from flambeau.core.record import OPS
from flambeau.utils.checkpoint import CheckpointFunction, checkpoint

X = fb.ones(4, 4)


def count_casts(to: fb.dtype = fb.bfloat16) -> Any:
    """A block that notes each cast to a dtype."""
    found: list[str] = []

    def note(op: Any, key: Any, arrays: Any, params: Any, kernel: Callable[..., Any]) -> Any:
        if op is OPS["cast"] and params.get("dtype") is to:
            found.append(op.name)
        return kernel(*arrays, **params)

    class Block:
        def __enter__(self) -> list[str]:
            self.watch = state.watch(note)
            self.watch.__enter__()
            return found

        def __exit__(self, *exc: object) -> None:
            self.watch.__exit__(*exc)

    return Block()


# -- blocks ------------------------------------------------------------------------------------------
def test_blocks_nest_and_go_back() -> None:
    assert not fb.is_autocast_enabled("cpu")
    with fb.autocast("cpu") as outer:
        assert outer.fast_dtype is fb.bfloat16 and (X @ X).dtype is fb.bfloat16
        with fb.autocast("cpu", enabled=False):
            assert (X @ X).dtype is fb.float32 and not fb.is_autocast_enabled("cpu")
            with fb.autocast("cpu", fb.float16):
                assert (X @ X).dtype is fb.float16 and fb.get_autocast_dtype("cpu") is fb.float16
        assert (X @ X).dtype is fb.bfloat16
    assert (X @ X).dtype is fb.float32 and fb.get_autocast_dtype("cpu") is fb.bfloat16


def test_an_error_ends_the_block() -> None:
    with pytest.raises(ZeroDivisionError), fb.autocast("cpu"):
        raise ZeroDivisionError
    assert not fb.is_autocast_enabled("cpu")


def test_one_block_object_can_be_entered_again() -> None:
    block = fb.autocast("cpu")
    with block, block:
        assert (X @ X).dtype is fb.bfloat16
    with block:
        assert (X @ X).dtype is fb.bfloat16
    assert (X @ X).dtype is fb.float32


def test_other_modes_inside_and_outside() -> None:
    with fb.no_grad(), fb.autocast("cpu"):
        assert not fb.is_grad_enabled() and (X @ X).dtype is fb.bfloat16
    with fb.autocast("cpu"):
        with fb.inference_mode():
            assert (X @ X).is_inference() and (X @ X).dtype is fb.bfloat16
        previous = fb.is_grad_enabled()
        fb.set_grad_enabled(False)
    assert not fb.is_grad_enabled()
    fb.set_grad_enabled(previous)
    assert not fb.is_autocast_enabled("cpu") and (X @ X).dtype is fb.float32


def test_a_function_and_a_method() -> None:
    class Net(fb.nn.Module):
        @fb.autocast("cpu")
        def forward(self, x: fb.Tensor) -> fb.Tensor:
            """The product."""
            return x @ x

    assert Net()(X).dtype is fb.bfloat16 and Net.forward.__doc__ == "The product."
    assert (X @ X).dtype is fb.float32
    with pytest.raises(TypeError, match="expected a function to decorate, got int"):
        fb.autocast("cpu")(3)  # type: ignore[type-var]


def test_a_device_is_left_alone_by_the_autocast_of_another() -> None:
    there = X.to("strict")
    with fb.autocast("strict"):
        assert (X @ X).dtype is fb.float32 and (there @ there).dtype is fb.bfloat16
        with fb.autocast("cpu", fb.float16):
            assert (X @ X).dtype is fb.float16 and (there @ there).dtype is fb.bfloat16


def test_what_is_not_cast() -> None:
    with fb.autocast("cpu"):
        assert (X.double() @ X.double()).dtype is fb.float64
        assert (X.long() @ X.long()).dtype is fb.int64
        assert (X.to(fb.complex64) @ X.to(fb.complex64)).dtype is fb.complex64
        assert fb.nn.functional.mse_loss(X.double(), X.double()).dtype is fb.float64


def test_writes_are_not_cast() -> None:
    out, thirds = fb.empty(4, 4), fb.full((4, 4), 1 / 3)
    exact = thirds @ thirds
    with fb.autocast("cpu"):
        for product in (fb.matmul, fb.mm):
            assert product(thirds, thirds, out=out) is out
            np.testing.assert_array_equal(out.numpy(), exact.numpy())
        written = fb.zeros(4, 4).addmm_(thirds, thirds)
        assert written.dtype is fb.float32
        np.testing.assert_array_equal(written.numpy(), exact.numpy())
        fb.linalg.vecdot(thirds, thirds, out=(dots := fb.empty(4)))
    np.testing.assert_array_equal(dots.numpy(), fb.linalg.vecdot(thirds, thirds).numpy())


def test_threads_have_their_own() -> None:
    seen: list[Any] = []

    def look(inside: bool) -> None:
        if inside:
            with fb.autocast("cpu", fb.float16):
                seen.append((X @ X).dtype)
        seen.append((fb.is_autocast_enabled("cpu"), (X @ X).dtype))

    with fb.autocast("cpu"):
        for inside in (False, True):
            thread = threading.Thread(target=look, args=(inside,))
            thread.start()
            thread.join()
        assert (X @ X).dtype is fb.bfloat16
    assert seen == [(False, fb.float32), fb.float16, (False, fb.float32)]


def test_layers_see_the_casts_and_the_op_as_it_runs() -> None:
    seen: list[tuple[str, Any]] = []

    def see(op: Any, args: Any, params: Any) -> Any:
        seen.append((op.name, args[0].dtype))
        return NotImplemented

    half = X.bfloat16()
    with fb.autocast("cpu"), state.layer(see):
        assert (half @ X).dtype is fb.bfloat16
    assert seen == [("cast", fb.float32), ("matmul", fb.bfloat16)]


def test_functions_keep_their_signatures_and_names() -> None:
    import inspect
    import pickle

    with fb.autocast("cpu"):
        pass
    assert list(inspect.signature(fb.nn.functional.mse_loss).parameters)[:2] == ["input", "target"]
    assert pickle.loads(pickle.dumps(fb.nn.functional.mse_loss)) is fb.nn.functional.mse_loss
    with pytest.raises(TypeError, match="mse_loss"):
        fb.nn.functional.mse_loss(X)  # type: ignore[call-arg]


# -- kept casts ----------------------------------------------------------------------------------------
def test_a_parameter_is_cast_once() -> None:
    layer = fb.nn.Linear(4, 4, bias=False)
    with count_casts() as casts, fb.autocast("cpu"):
        layer(X), layer(X)
        with fb.autocast("cpu"):
            layer(X)
    assert len(casts) == 4  # the weight once, X each time
    with count_casts() as casts, fb.autocast("cpu", cache_enabled=False):
        layer(X), layer(X)
    assert len(casts) == 4
    with count_casts() as casts, fb.autocast("cpu"):
        layer(X)
        fb.clear_autocast_cache()
        layer(X)
    assert len(casts) == 4


def test_a_cast_made_without_gradients_is_not_used_with_them() -> None:
    layer = fb.nn.Linear(4, 4)
    for without in (fb.no_grad, fb.inference_mode):
        layer.zero_grad()
        with fb.autocast("cpu"):
            with without():
                layer(X)
            y = layer(X)
        y.float().sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.dtype is fb.float32
        assert layer.weight.grad.tolist() == [[4.0] * 4] * 4


def test_a_written_parameter_is_cast_anew() -> None:
    layer = fb.nn.Linear(4, 4, bias=False)
    with fb.autocast("cpu"), fb.no_grad():
        layer(X)
        layer.weight.fill_(2.0)
        assert layer(X).tolist() == [[8.0] * 4] * 4
        layer.weight.data = fb.full((4, 4), 3.0)
        assert layer(X).tolist() == [[12.0] * 4] * 4
    with fb.autocast("cpu"):
        layer(X)
        with fb.no_grad():
            layer.weight.fill_(1.0)
        assert layer(X).tolist() == [[4.0] * 4] * 4


def test_backward_twice_inside_one_block() -> None:
    layer = fb.nn.Linear(4, 4)
    with fb.autocast("cpu"):
        for _ in range(2):
            (layer(X) + layer(X)).float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.tolist() == [[16.0] * 4] * 4


def test_casts_are_let_go_of() -> None:
    import gc
    import weakref

    layer = fb.nn.Linear(4, 4)
    gone = weakref.ref(layer.weight)
    with fb.autocast("cpu"):
        layer(X)
    del layer
    gc.collect()
    assert gone() is None


# -- gradients -----------------------------------------------------------------------------------------
def test_gradients_have_the_dtype_of_the_parameter() -> None:
    w, half = fb.ones(4, 4, requires_grad=True), fb.ones(4, 4, dtype=fb.float16, requires_grad=True)
    with fb.autocast("cpu"):
        y = w @ half
    y.float().sum().backward()
    assert w.grad is not None and half.grad is not None
    assert w.grad.dtype is fb.float32 and half.grad.dtype is fb.float16


def test_backward_runs_in_the_dtypes_of_the_forward() -> None:
    w = fb.full((4, 4), 1 / 3, requires_grad=True)
    with fb.autocast("cpu"):
        lost = (w @ w).float().sum()
    exact = (w @ w).sum()
    outside = [*fb.autograd.grad(lost, w, retain_graph=True), *fb.autograd.grad(exact, w, retain_graph=True)]
    with fb.autocast("cpu"):
        inside = [*fb.autograd.grad(lost, w), *fb.autograd.grad(exact, w)]
    for a, b in zip(outside, inside, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_gradient_of_a_gradient() -> None:
    w = fb.rand(3, 3, requires_grad=True)
    with fb.autocast("cpu"):
        y = (w @ w).float().pow(2).sum()
    (g,) = fb.autograd.grad(y, w, create_graph=True)
    with fb.autocast("cpu"):
        penalty = (g @ g).float().sum()
    penalty.backward()
    assert g.dtype is fb.float32 and w.grad is not None and w.grad.dtype is fb.float32
    exact = w.detach().double().requires_grad_()
    (h,) = fb.autograd.grad((exact @ exact).pow(2).sum(), exact, create_graph=True)
    (h @ h).sum().backward()
    assert exact.grad is not None
    np.testing.assert_allclose(w.grad.numpy(), exact.grad.numpy(), rtol=0.1)


@pytest.mark.parametrize("again", [None, True, False])
def test_a_checkpoint_runs_again_under_the_same(again: bool | None) -> None:
    net = fb.nn.Sequential(fb.nn.Linear(4, 8), fb.nn.ReLU(), fb.nn.Linear(8, 4))
    x = fb.rand(4, 4, requires_grad=True)

    def gradients(run: Callable[[], fb.Tensor], inside: bool) -> list[Any]:
        net.zero_grad()
        with fb.autocast("cpu"):
            loss = run().float().sum()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        return [p.grad.tolist() for p in net.parameters() if p.grad is not None]

    plain = gradients(lambda: net(x), False)
    assert len(plain) == 4
    kept: Callable[[], Any] = lambda: (  # noqa: E731
        CheckpointFunction.apply(net, True, x) if again is None else checkpoint(net, x, use_reentrant=again)
    )
    assert gradients(kept, False) == plain and gradients(kept, True) == plain


def test_custom_functions() -> None:
    seen: list[Any] = []

    def product(cast: fb.dtype | None) -> type[fb.autograd.Function]:
        class Product(fb.autograd.Function):
            @staticmethod
            @fb.amp.custom_fwd(device_type="cpu", cast_inputs=cast)
            def forward(ctx: Any, a: fb.Tensor, b: fb.Tensor, names: dict[str, fb.Tensor]) -> fb.Tensor:
                seen.append((a.dtype, names["a"].dtype, fb.is_autocast_enabled("cpu")))
                ctx.save_for_backward(a, b)
                return a @ b

            @staticmethod
            @fb.amp.custom_bwd(device_type="cpu")
            def backward(ctx: Any, g: fb.Tensor) -> Any:
                seen.append((fb.is_autocast_enabled("cpu"), fb.get_autocast_dtype("cpu")))
                a, b = ctx.saved_tensors
                return g @ b.T, a.T @ g, None

        return Product

    for cast, dtype in ((None, fb.bfloat16), (fb.float32, fb.float32), (fb.float16, fb.float16)):
        seen.clear()
        a, half = fb.ones(2, 2, requires_grad=True), fb.ones(2, 2, dtype=fb.float16)
        with fb.autocast("cpu"):
            y = product(cast).apply(a, half, {"a": half})
        y.float().sum().backward()
        assert y.dtype is dtype and a.grad is not None and a.grad.dtype is fb.float32
        first = (fb.float32, fb.float16, True) if cast is None else (cast, cast, False)
        assert seen == [first, (cast is None, fb.bfloat16)]
    seen.clear()
    product(fb.float16).apply(a, fb.ones(2, 2), {"a": X}).sum().backward()
    assert seen == [(fb.float32, fb.float32, False), (False, fb.bfloat16)]
    for decorator in (fb.amp.custom_fwd, fb.amp.custom_bwd):
        with pytest.raises(ValueError, match="device_type must be a text"):
            decorator(device_type=3)


def test_transforms_inside_and_outside() -> None:
    def product(w: fb.Tensor) -> fb.Tensor:
        return X @ w

    def loss(w: fb.Tensor) -> fb.Tensor:
        with fb.autocast("cpu"):
            return product(w).float().sum()

    batch = fb.ones(2, 4, 4)
    with fb.autocast("cpu"):
        assert fb.func.vmap(product)(batch).dtype is fb.bfloat16
        assert fb.func.grad(lambda w: product(w).float().sum())(X).dtype is fb.float32
        out, tangent = fb.func.jvp(product, (X,), (X,))
        assert out.dtype is tangent.dtype is fb.bfloat16 and tangent.tolist() == [[4.0] * 4] * 4
        assert fb.func.jacrev(product)(X).shape == (4, 4, 4, 4)
        per_sample = fb.func.vmap(fb.func.grad(lambda w: product(w).float().sum()))(batch)
    assert per_sample.dtype is fb.float32 and per_sample.tolist() == [[[4.0] * 4] * 4] * 2
    assert fb.func.grad(loss)(X).tolist() == [[4.0] * 4] * 4
    assert fb.func.vmap(fb.func.grad(loss))(batch).shape == (2, 4, 4)


def test_parameters_of_a_transform_are_not_kept() -> None:
    layer = fb.nn.Linear(4, 4)
    parameters = dict(layer.named_parameters())

    def loss(p: dict[str, fb.Tensor]) -> fb.Tensor:
        return fb.func.functional_call(layer, p, (X,)).float().sum()

    with fb.autocast("cpu"):
        layer(X)
        found = fb.func.grad(loss)(parameters)
        layer(X)
    assert found["weight"].tolist() == [[4.0] * 4] * 4


# -- ops of one's own --------------------------------------------------------------------------------
@pytest.fixture
def twice() -> Iterator[Any]:
    @fb.library.custom_op("amp_tests::twice", mutates_args=())
    def op(x: fb.Tensor) -> fb.Tensor:
        return (x @ x) * 2

    yield op


def test_ops_of_ones_own(twice: Any) -> None:
    with fb.autocast("cpu"):
        assert twice(X).dtype is fb.bfloat16
    twice.register_autocast("cpu", fb.float16)
    assert twice(X).dtype is fb.float32
    with fb.autocast("cpu"):
        assert twice(X).dtype is fb.float16 and twice(X.double()).dtype is fb.float64


# -- errors and warnings -----------------------------------------------------------------------------
def test_what_cannot_be_cast_to_is_said_and_switched_off() -> None:
    for device, dtype, words in (
        ("cpu", fb.float32, "the target dtype is bfloat16 or float16, and not float32"),
        ("narrow", fb.bfloat16, "devices of type narrow have no bfloat16"),
        ("mps", None, "there is no device of type mps"),
    ):
        with pytest.warns(UserWarning, match=f"{words}.*Disabling autocast"):
            block = fb.autocast(device, dtype)
        with block:
            assert (X @ X).dtype is fb.float32
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fb.autocast(device, dtype, enabled=False)


def test_wrong_arguments() -> None:
    with pytest.raises(RuntimeError, match=r"unsupported device_type 'nope'; known: .*cpu"):
        fb.autocast("nope")
    with pytest.raises(ValueError, match="device_type must be a text such as 'cpu', got True"):
        fb.autocast(True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dtype must be a dtype"):
        fb.autocast("cpu", dtype="half")  # type: ignore[arg-type]


def test_binary_cross_entropy_is_refused_on_accelerators() -> None:
    p = fb.full((2,), 0.5, device="strict")
    with fb.autocast("strict"):
        with pytest.raises(RuntimeError, match=r"unsafe to autocast.*binary_cross_entropy_with_logits"):
            fb.nn.BCELoss()(p, p)
        with fb.autocast("strict", enabled=False):
            assert fb.nn.BCELoss()(p, p).dtype is fb.float32
    with fb.autocast("cpu"):
        assert fb.nn.BCELoss()(p.cpu(), p.cpu()).dtype is fb.float32


# -- without a block ---------------------------------------------------------------------------------
def test_switches() -> None:
    assert fb.amp.is_autocast_available("cpu") and fb.amp.is_autocast_available("strict")
    assert not fb.amp.is_autocast_available("nope")
    assert fb.get_autocast_gpu_dtype() is fb.float16 and fb.get_autocast_cpu_dtype() is fb.bfloat16
    fb.set_autocast_enabled("cpu", True)
    fb.set_autocast_cpu_dtype(fb.float16)
    fb.set_autocast_cache_enabled(False)
    try:
        assert fb.is_autocast_cpu_enabled() and (X @ X).dtype is fb.float16
        with fb.autocast("cpu", fb.bfloat16, enabled=False):
            assert (X @ X).dtype is fb.float32 and not fb.is_autocast_cache_enabled()
        assert (X @ X).dtype is fb.float16
    finally:
        fb.set_autocast_cache_enabled(True)
        fb.set_autocast_cpu_dtype(fb.bfloat16)
        fb.set_autocast_cpu_enabled(False)
    assert (X @ X).dtype is fb.float32
    fb.set_autocast_enabled(True)  # of cuda
    assert fb.is_autocast_enabled() and fb.is_autocast_enabled("cuda")
    fb.set_autocast_enabled(False)
    assert not fb.is_autocast_enabled()
    for wrong in (lambda: fb.set_autocast_enabled("cpu", 1), lambda: fb.set_autocast_enabled(True, True)):
        with pytest.raises(TypeError, match="set_autocast_enabled"):
            wrong()


def test_counted_blocks_keep_casts() -> None:
    layer = fb.nn.Linear(4, 4, bias=False)
    fb.set_autocast_enabled("cpu", True)
    assert fb.autocast_increment_nesting() == 1
    try:
        with count_casts() as casts:
            layer(X), layer(X)
        assert len(casts) == 3
    finally:
        assert fb.autocast_decrement_nesting() == 0
        fb.clear_autocast_cache()
        fb.set_autocast_enabled("cpu", False)
    assert state.current().plain
