"""The engine: accumulation, hooks, freeing, modes, custom functions, long chains, threads, flat memory."""

from __future__ import annotations

import gc
import threading
from functools import partial

import pytest

import flambeau as fb
from flambeau import autograd
from flambeau.core.autograd.function import once_differentiable
from tests.core import leaves
from tests.core.leaves import function

leaf = partial(leaves.leaf, fb)


def save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def test_gradients_accumulate_and_are_taken_over_without_aliasing():
    x, y = leaf(1, 2), leaf(3, 4)
    (x + y).sum().backward()
    x.grad.add_(10)
    assert y.grad.tolist() == [1, 1]
    (x * 2).sum().backward()
    assert x.grad.tolist() == [13, 13]


def test_gradient_given_by_the_caller_is_not_taken_over():
    x, g = leaf(1, 2), fb.tensor([5.0, 6.0], dtype=fb.float64)
    (x * 1).backward(g)
    x.grad.zero_()
    assert g.tolist() == [5, 6]
    y = leaf(1, 2)
    y.clone().backward(g)
    y.grad.zero_()
    assert g.tolist() == [5, 6]


def test_broadcast_operands_get_summed_gradients():
    x, y = fb.ones(3, 1, requires_grad=True), fb.ones(4, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.shape == (3, 1) and y.grad.shape == (4,)
    assert x.grad.flatten().tolist() == [4, 4, 4] and y.grad.tolist() == [3, 3, 3, 3]


def test_gradient_comes_back_in_the_dtype_of_the_leaf():
    x, y = fb.ones(2, requires_grad=True), fb.ones(2, dtype=fb.float64)
    (x * y).sum().backward()
    assert x.grad.dtype is fb.float32


def test_second_backward_raises_unless_the_graph_is_kept():
    x = leaf(2)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_higher_orders():
    x = leaf(2)
    y = (x**4).sum()
    for expected in (32, 48, 48, 24):
        (y,) = autograd.grad(y.sum(), x, create_graph=True)
        assert y.tolist() == [expected]


def test_only_what_is_wanted_runs_and_is_saved():
    x, y = leaf(2), fb.tensor([3.0], dtype=fb.float64)
    z = x * y
    saved = z.grad_fn.saved
    assert saved[0] is not None and saved[1] is None  # y, for the gradient of x; x is not read
    a, b = leaf(1), leaf(1)
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        autograd.grad((a * 2).sum(), b)
    assert autograd.grad((a * 2).sum(), b, allow_unused=True) == (None,)
    assert autograd.grad((a * 2).sum(), b, materialize_grads=True)[0].tolist() == [0]


def test_hooks_on_leaf_node_and_retained():
    x, seen = leaf(1, 2), []
    handle = x.register_hook(lambda g: g * 10)
    y = x * 3
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.retain_grad()
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append((len(inputs), len(outputs))))
    y.sum().backward()
    assert x.grad.tolist() == [30, 30] and y.grad.tolist() == [1, 1]
    assert seen == [[1, 1], (2, 1)]
    handle.remove()
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_a_retained_gradient_is_that_after_the_hooks_and_kept_once():
    x = leaf(1, 1)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    y.retain_grad()
    y.sum().backward()
    assert y.grad.tolist() == [11.0, 11.0] and x.grad.tolist() == [22.0, 22.0]


def test_a_chain_of_100_000_nodes_overflows_nothing():
    x = leaf(1)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.tolist() == [1]
    del y


def test_recursion_and_control_flow():
    x = leaf(3)

    def power(t, n):
        return t if n == 1 else t * power(t, n - 1)

    y = power(x, 5) if bool(x > 2) else x
    y.backward()
    assert x.grad.tolist() == [5 * 81]


def test_threads_run_backward_on_shared_leaves():
    x = leaf(*range(10))
    errors = []

    def work():
        try:
            for _ in range(100):
                (x * 2).sum().backward()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors
    assert x.grad.tolist() == [800] * 10


def _objects() -> int:
    return len([o for o in gc.get_objects() if str(type(o).__module__).startswith("flambeau")])


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", ["plain", "penalty", "inplace", "vmap", "jvp"])
def test_training_leaves_no_object_behind_with_the_collector_off(kind):
    w = leaf(0.5, -0.5)
    data = fb.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=fb.float64)

    def step():
        if kind == "plain":
            ((data @ w) ** 2).sum().backward()
        elif kind == "penalty":
            (g,) = autograd.grad(((data @ w) ** 2).sum(), w, create_graph=True)
            (g * g).sum().backward()
        elif kind == "inplace":
            y = data @ w
            y.add_(y * w)
            y[0] *= 2
        elif kind == "vmap":
            fb.func.vmap(fb.func.grad(lambda v, r: ((r * v) ** 2).sum()), in_dims=(None, 0))(w.detach(), data)
        else:
            fb.func.jvp(lambda v: ((data @ v) ** 2).sum(), (w.detach(),), (fb.ones_like(w),))
        w.grad = None

    for _ in range(5):
        step()
    gc.collect()
    gc.disable()
    try:
        before = _objects()
        for _ in range(200):
            step()
        after = _objects()
    finally:
        gc.enable()
    assert after - before < 20


def test_custom_function_with_two_outputs_and_context():
    def backward(ctx, gp, gs):
        _, y = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False)
        return gp * y + gs, None

    x, y = leaf(2), fb.tensor([5.0], dtype=fb.float64)
    p, s = function(fb, forward=lambda x, y: (x * y, x + y), setup_context=save, backward=backward).apply(x, y)
    (p + 2 * s).backward()
    assert x.grad.tolist() == [7]


def test_custom_function_wrong_count_and_once_differentiable():
    wrong = function(fb, forward=lambda ctx, x, y: x * y, backward=lambda ctx, g: g)
    with pytest.raises(RuntimeError, match="expected 2, got 1"):
        wrong.apply(leaf(1), leaf(1)).backward()
    once = function(fb, forward=lambda ctx, x: x * 3, backward=once_differentiable(lambda ctx, g: g * 3))
    x = leaf(1)
    (g,) = autograd.grad(once.apply(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


def test_saved_tensor_hooks_pack_and_unpack():
    x, log = leaf(2, 3), []

    def pack(t):
        log.append("pack")
        return t.detach().numpy().copy()

    with autograd.saved_tensors_hooks(pack, lambda a: fb.tensor(a)):
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [4, 6] and log == ["pack", "pack"]


def test_anomaly_mode_names_the_forward_line():
    x = leaf(0.0)
    with autograd.detect_anomaly():
        y = fb.sqrt(x) * 0  # the culprit
        with pytest.raises(RuntimeError, match=r"sqrt(.|\n)*the culprit"):
            y.sum().backward()


def test_gradcheck_catches_a_wrong_gradient():
    off = function(fb, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 2.5)
    with pytest.raises(autograd.GradcheckError, match="output 0"):
        autograd.gradcheck(off.apply, (leaf(1, 2),))


def _step(ctx, x):
    ctx.save_for_backward(x)
    return (x > 0) * 1.0


#: A step whose gradient is that of the identity, not what its ops would give; and with one forward that gets the
#: context.
THROUGH = (
    function(fb, forward=lambda x: (x > 0) * 1.0, setup_context=save, backward=lambda ctx, g: g),
    function(fb, forward=_step, backward=lambda ctx, g: g + 0 * ctx.saved_tensors[0]),
)


@pytest.mark.parametrize("fn", [f.apply for f in THROUGH], ids=["setup_context", "forward"])
def test_the_gradient_of_a_custom_function_holds_at_every_level(fn):
    vmap, grad, jvp = fb.func.vmap, fb.func.grad, fb.func.jvp
    x = fb.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=fb.float64)
    ones = fb.ones_like(x)
    assert vmap(fn)(x).tolist() == [[1, 0], [1, 1]]
    assert grad(lambda v: vmap(fn)(v).sum())(x).equal(ones)
    assert grad(lambda v: vmap(vmap(fn))(v).sum())(x).equal(ones)
    assert vmap(grad(lambda v: fn(v).sum()))(x).equal(ones)
    assert jvp(fn, (x,), (3 * ones,))[1].equal(3 * ones)
    assert vmap(lambda v, t: jvp(fn, (v,), (t,))[1])(x, x).equal(x)
    assert jvp(vmap(fn), (x,), (x,))[1].equal(x)
    w = fb.ones(2, dtype=fb.float64)  # the same for all: its gradient is the sum
    assert grad(lambda v: vmap(lambda r: fn(v) * r)(x).sum())(w).equal(x.sum(0))
    assert grad(lambda v: vmap(lambda r: fn(v * r))(x).sum())(w).equal(x.sum(0))
    assert grad(lambda v: (vmap(grad(lambda r: fn(r * v).sum()))(x) * x).sum())(w).equal(x.sum(0))


def test_custom_vmap_rule_is_told_the_axes():
    seen = []

    def batched(info, in_dims, x, k):
        seen.append((info.batch_size, info.randomness, in_dims))
        return scaled.apply(x, k), in_dims[0]

    scaled = function(
        fb, forward=lambda x, k: x * k, setup_context=lambda ctx, inputs, output: setattr(ctx, "k", inputs[1]),
        vmap=batched, backward=lambda ctx, g: (g * ctx.k, None),
    )  # fmt: skip
    x = fb.arange(6.0).reshape(2, 3)
    assert fb.func.vmap(lambda v: scaled.apply(v, 2), in_dims=1, out_dims=1)(x).equal(x * 2)
    assert seen == [(3, "error", (0, None))]
    assert fb.func.grad(lambda v: fb.func.vmap(lambda r: scaled.apply(r, 2))(v).sum())(x).equal(fb.full((2, 3), 2.0))


def test_an_output_that_shares_memory_with_an_input_is_not_written_to():
    y = function(fb, forward=lambda ctx, x: x.view(2, 1), backward=lambda ctx, g: g.view(2)).apply(leaf(1, 2) * 1)
    with pytest.raises(RuntimeError, match="FBackward that shares memory with an input"):
        y.mul_(2)


def test_saved_tensor_hooks_keep_higher_derivatives():
    x = leaf(2, 3)
    with autograd.saved_tensors_hooks(lambda t: t.numpy().copy(), fb.from_numpy):
        y = (x**3).sum()
        z = x * 1
        z.mul_(x)  # in-place ops save too
    (g,) = autograd.grad(y, x, create_graph=True)
    (h,) = autograd.grad(g.sum(), x)
    assert h.tolist() == [12, 18]
    assert autograd.grad(z.sum(), x)[0].tolist() == [4, 6]


def test_checkpoint_repeats_random_numbers_and_refuses_other_functions():
    from flambeau.utils.checkpoint import checkpoint

    x = fb.ones(50, dtype=fb.float64).requires_grad_()
    y = checkpoint(lambda t: fb.nn.functional.dropout(t).square(), x)
    (g,) = autograd.grad(y.sum(), x)
    assert g.equal(2 * y.detach())  # the mask of the second run is that of the first
    calls = []

    def changing(t):
        calls.append(1)
        return t.sin() if len(calls) == 1 else t[:2].sin()

    with pytest.raises(RuntimeError, match="computed something else when it ran again"):
        checkpoint(changing, x).sum().backward()


def test_linearize_runs_the_function_once():
    calls = []
    fb.func.linearize(lambda x: calls.append(1) or x.sin(), leaf(0, 1).detach())[1](leaf(2, 3).detach())
    assert len(calls) == 1
