"""grad, vjp, jvp, vmap and their compositions against plain autograd and loops."""

from __future__ import annotations

import pytest

import flambeau as fb
from flambeau.core.errors import LevelError
from flambeau.func import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, vjp, vmap


def t(*values: float) -> fb.Tensor:
    return fb.tensor(list(values), dtype=fb.float64)


W = fb.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=fb.float64)
X = fb.tensor([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.5]], dtype=fb.float64)


def close(a, b) -> None:
    assert a.shape == b.shape
    assert fb.allclose(a, b, rtol=1e-10, atol=1e-12), f"{a} != {b}"


def loss(w, x):
    return fb.tanh(w @ x).sum()


def test_grad_of_grad_and_closures():
    cube = lambda x: (x**3).sum()  # noqa: E731
    close(grad(cube)(t(2)), t(12))
    close(grad(lambda x: grad(cube)(x).sum())(t(2)), t(12))
    w = t(3).requires_grad_()
    g = grad(lambda x: (w * x * x).sum())(t(2))
    g.sum().backward()  # the outer graph goes through the inner gradient
    close(w.grad, t(4))
    assert not grad(cube)(t(2)).requires_grad


def test_nested_functions_do_not_confuse_their_variables():
    # d/dx [x * d/dy (x + y)] = 1
    f = lambda x: (x * grad(lambda y: (x + y).sum())(t(1.0))).sum()  # noqa: E731
    close(grad(f)(t(2)), t(1))
    g = lambda x: x * jvp(lambda y: x * y, (t(1.0),), (t(1.0),))[1]  # noqa: E731
    close(jvp(g, (t(3.0),), (t(1.0),))[1], t(6))


def test_grad_and_value_argnums_aux_and_structures():
    g, v = grad_and_value(lambda p, x: (p["w"] * x).sum())({"w": t(1, 2)}, t(3, 4))
    close(g["w"], t(3, 4))
    assert v.item() == 11
    (ga, gb), (value, aux) = grad_and_value(lambda a, b: ((a * b).sum(), "aux"), argnums=(0, 1), has_aux=True)(
        t(2), t(5)
    )
    assert (ga.item(), gb.item(), value.item(), aux) == (5, 2, 10, "aux")


def test_vmap_equals_the_loop_for_unbatched_and_batched_operands():
    close(vmap(lambda x: W @ x)(X), fb.stack([W @ x for x in X]))
    close(vmap(lambda x, y: x * y + 1, in_dims=(0, None))(X, t(1, 2)), X * t(1, 2) + 1)
    close(vmap(lambda x: x.sum(), in_dims=1)(X), X.sum(0))
    close(vmap(lambda x: x * 2, out_dims=1)(X), (X * 2).T)
    close(vmap(lambda x: fb.softmax(x, dim=0))(X), fb.softmax(X, dim=1))
    close(vmap(lambda x: x[fb.tensor([1, 0])])(X), X[:, [1, 0]])
    close(vmap(lambda x: x.reshape(1, 2).expand(3, 2).T)(X), X.reshape(3, 1, 2).expand(3, 3, 2).mT)


def test_per_sample_gradients_of_unbatched_weights():
    expected = fb.stack([grad(loss)(W, x) for x in X])
    close(vmap(grad(loss), in_dims=(None, 0))(W, X), expected)
    # and the other way round: the gradient of a mapped function
    close(grad(lambda w: vmap(loss, in_dims=(None, 0))(w, X).sum())(W), expected.sum(0))
    # grad over vmap over grad
    f = lambda w: vmap(lambda x: grad(loss)(w, x).sum())(X).sum()  # noqa: E731
    g = lambda w: fb.stack([grad(loss)(w, x).sum() for x in X]).sum()  # noqa: E731
    close(grad(f)(W), grad(g)(W))


def test_in_place_inside_vmap():
    def f(x):
        y = x * 1
        y[0] += 10
        y.mul_(2)
        z = fb.zeros_like(x)
        z.copy_(y)
        return z

    def reference(x):
        y = x.clone()
        y[0] += 10
        return y * 2

    close(vmap(f)(X), fb.stack([reference(x) for x in X]))
    outer = fb.zeros(2, dtype=fb.float64)
    with pytest.raises(RuntimeError, match="unbatched"):
        vmap(lambda x: outer.add_(x))(X)


def test_jvp_equals_the_jacobian_times_the_tangent():
    f = lambda x: fb.stack([(x**2).sum(), x.prod(), x.exp().sum()])  # noqa: E731
    x, v = t(1, 2), t(0.5, -1)
    value, tangent = jvp(f, (x,), (v,))
    close(value, f(x))
    close(tangent, jacrev(f)(x) @ v)
    close(jacfwd(f)(x), jacrev(f)(x))


def test_in_place_and_views_under_jvp():
    def f(x):
        y = fb.zeros(3, dtype=fb.float64)
        v = y[1:]
        v.copy_(x * x)
        y[0] = x[0] * 3
        return y

    close(jvp(f, (t(2, 3),), (t(1, 10),))[1], t(3, 4, 60))


def test_hessian_and_mixed_modes():
    f = lambda x: (x[0] ** 2 * x[1]).sin()  # noqa: E731
    x = t(0.7, 1.3)
    h = hessian(f)(x)
    close(h, jacrev(jacrev(f))(x))
    close(h, jacfwd(jacfwd(f))(x))
    close(h, jacrev(jacfwd(f))(x))
    close(h, h.T)
    assert fb.autograd.functional.hessian(f, x).allclose(h)
    _, product = fb.autograd.functional.hvp(f, x, t(1, 2))
    close(product, h @ t(1, 2))


def test_vjp_gives_the_output_and_pulls_back():
    out, pull = vjp(lambda a, b: a @ b, W, X[0])
    close(out, W @ X[0])
    ga, gb = pull(t(1, 10))
    close(ga, fb.outer(t(1, 10), X[0]))
    close(gb, W.T @ t(1, 10))


def test_tensors_of_a_finished_level_raise():
    kept = []
    vmap(lambda x: kept.append(x) or x * 1)(X)
    with pytest.raises(RuntimeError, match="finished vmap"):
        kept[0] + 1
    jvp(lambda x: kept.append(x) or x, (t(1),), (t(1),))
    with pytest.raises(RuntimeError, match="finished jvp"):
        kept[1] * 2


def test_values_cannot_be_read_inside_vmap():
    with pytest.raises(RuntimeError, match=r"inside vmap"):
        vmap(lambda x: x if x.sum() > 0 else -x)(X)


def test_wrong_uses_are_named():
    with pytest.raises(RuntimeError, match="must return a scalar"):
        grad(lambda x: x * 2)(t(1, 2))
    with pytest.raises(ValueError, match="sizes differ"):
        vmap(lambda a, b: a + b)(fb.zeros(2), fb.zeros(3))
    with pytest.raises(ValueError, match="at least one"):
        vmap(lambda a: a, in_dims=None)(fb.zeros(2))
    with pytest.raises(ValueError, match="in_dim 3"):
        vmap(lambda a: a, in_dims=3)(fb.zeros(2))
    with pytest.raises(TypeError, match="tuples"):
        jvp(lambda x: x, t(1), t(1))


def test_models_ensemble_with_functional_call():
    fb.manual_seed(0)
    models = [fb.nn.Linear(2, 3) for _ in range(4)]
    params, buffers = fb.func.stack_module_state(models)
    x = fb.ones(5, 2)
    out = vmap(lambda p, b: fb.func.functional_call(models[0], (p, b), (x,)))(params, buffers)
    assert fb.allclose(out, fb.stack([m(x) for m in models]), atol=1e-6)


def test_custom_function_under_grad_of_grad():
    class Cube(fb.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x**2

    close(grad(lambda x: grad(lambda y: Cube.apply(y).sum())(x).sum())(t(2)), t(12))


def test_dropout_in_a_batch():
    """A mask for each element, which no later draw repeats."""
    ones = fb.ones(4, 64)
    fb.manual_seed(0)
    different = vmap(fb.nn.functional.dropout, randomness="different")(ones)
    assert len({tuple(row) for row in different.tolist()}) == 4
    assert fb.nn.functional.dropout(ones[0]).tolist() not in different.tolist()
    same = vmap(fb.nn.functional.dropout, randomness="same")(ones)
    assert (same == same[0]).all()
    with pytest.raises(RuntimeError, match="randomness='error'"):
        vmap(fb.nn.functional.dropout)(ones)


def test_detach_stops_the_gradients_of_every_level():
    x = t(1, 2)
    close(grad(lambda v: vmap(lambda a: a * a.detach())(v).sum())(x), x)
    close(vmap(grad(lambda a: a * a.detach()))(x), x)
    close(jvp(lambda v: vmap(lambda a: a * a.detach())(v), (x,), (t(1, 1),))[1], x)
    close(grad(lambda v: jvp(lambda a: a * a.detach(), (v,), (t(1, 1),))[1].sum())(x), t(0, 0))


@pytest.mark.parametrize("weight", [None, t(1, 2, 0.5)])
def test_a_loss_in_pieces_is_that_of_the_whole_under_every_transform(weight):
    options = fb.nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    labels = fb.tensor([0, 2, 1])

    def of(x, w, **kw):
        return fb.nn.functional.linear_cross_entropy(x, w, labels, weight=weight, **kw)

    pieces = lambda x, w: of(x, w, options=options)  # noqa: E731
    x, w = X, fb.cat([W, W[:1] * 2])
    close(vmap(pieces, (0, None))(fb.stack([x, -x]), w), fb.stack([of(x, w), of(-x, w)]))
    close(jvp(pieces, (x, w), (x * 2, w - 1))[1], jvp(of, (x, w), (x * 2, w - 1))[1])
    close(grad(pieces, 1)(x, w), grad(of, 1)(x, w))
    close(vmap(grad(pieces))(x[None], w[None])[0], grad(of)(x, w))
    close(hessian(pieces)(x, w), hessian(of)(x, w))
    double = lambda f: grad(lambda w: (grad(f)(x, w) ** 2).sum())(w)  # noqa: E731
    close(double(pieces), double(of))


def test_a_size_that_differs_in_a_batch_is_named():
    with pytest.raises(LevelError, match="repeat as often"):
        vmap(fb.repeat_interleave)(fb.zeros(2, 2), fb.tensor([[1, 2], [0, 1]]))
