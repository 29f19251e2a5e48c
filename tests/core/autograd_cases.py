"""Leaves, hooks and gradients in the torch API."""

from __future__ import annotations

from typing import Any

from tests.core.parts import leaf
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


@case
def detach_shares(T: Any) -> Any:
    x = leaf(T, 1, 2)
    d = x.detach()
    d[0] = 5
    return [x, d, d.requires_grad, d.is_leaf]


@case
def detach_version(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 1
    z = y * y
    y.detach().mul_(2)
    z.sum().backward()
    return x.grad


@case
def data_no_version(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 1
    z = y * y
    y.data.mul_(2)
    z.sum().backward()
    return x.grad


@case
def version_err(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x.exp()
    y.add_(1)
    y.sum().backward()


@case
def version_ok(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 3
    y.add_(1)
    y.sum().backward()
    return x.grad


@case
def detach_(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    y.detach_()
    return [y.requires_grad, y.is_leaf, y.grad_fn is None]


@case
def detach_view_(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = (x * 2)[0:1]
    y.detach_()
    return y.requires_grad


@case
def requires_grad_int(T: Any) -> Any:
    return T.tensor([1, 2]).requires_grad_()


@case
def requires_grad_set_nonleaf(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    y.requires_grad = False


@case
def requires_grad_nonleaf2(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    y.requires_grad_(False)


@case
def grad_assign(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.grad = T.ones(3, dtype=T.float64)


@case
def grad_assign2(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.grad = T.ones(2)


@case
def grad_assign3(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.grad = 3


@case
def grad_nonleaf(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    y.sum().backward()
    return y.grad


@case
def backward_of_a_vector(T: Any) -> Any:
    x = leaf(T, 1, 2)
    (x * 2).backward()


@case
def backward_without_history(T: Any) -> Any:
    T.ones(1).backward()


@case
def retain_grad_leaf(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.retain_grad()
    x.sum().backward()
    return x.grad


@case
def retain_grad_noreq(T: Any) -> Any:
    T.ones(2).retain_grad()


@case
def retain_twice(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    s = (y * 3).sum()
    s.backward()
    return [y.grad, x.grad, y.retains_grad]


@case
def hooks_order(T: Any) -> Any:
    x = leaf(T, 1, 2)
    out = []
    x.register_hook(lambda g: out.append("a") or g * 2)
    x.register_hook(lambda g: out.append(g.tolist()))
    (x * 3).sum().backward()
    return [out, x.grad]


@case
def hook_noreq(T: Any) -> Any:
    T.ones(2).register_hook(lambda g: g)


@case
def hook_inplace(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 1
    out = []
    y.register_hook(lambda g: out.append(("before", g.tolist())))
    y.mul_(3)
    y.register_hook(lambda g: out.append(("after", g.tolist())))
    y.sum().backward()
    return [out, x.grad]


@case
def hook_wrong(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.register_hook(lambda g: 3)
    x.sum().backward()


@case
def hook_wrong_shape(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.register_hook(lambda g: T.ones(3))
    x.sum().backward()
    return x.grad


@case
def post_accumulate_hook(T: Any) -> Any:
    x = leaf(T, 1, 2)
    out = []
    h = x.register_post_accumulate_grad_hook(lambda p: out.append(p.grad.tolist()))
    x.sum().backward()
    h.remove()
    x.sum().backward()
    return out


@case
def post_accumulate_hook_nonleaf(T: Any) -> Any:
    x = leaf(T, 1, 2)
    (x * 2).register_post_accumulate_grad_hook(lambda p: None)


@case
def node_hook(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 3
    out = []
    y.grad_fn.register_hook(
        lambda gi, go: out.append([g.tolist() if g is not None else None for g in gi] + [g.tolist() for g in go])
    )
    y.grad_fn.register_prehook(lambda go: (go[0] * 2,))
    y.sum().backward()
    return [out[0][0], out[0][-1], x.grad]


@case
def node_hook_replace(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x.exp()
    y.grad_fn.register_hook(lambda gi, go: (gi[0] * 10,))
    y.sum().backward()
    return x.grad


@case
def accumulating_node(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    n = y.grad_fn.next_functions[0][0]
    return [n.variable is x, n.name().split("::")[-1]]


@case
def node_metadata(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    y.grad_fn.metadata["a"] = 3
    return y.grad_fn.metadata["a"]


@case
def multi_grad_hook(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = leaf(T, 3)
    out = []
    h = T.autograd.graph.register_multi_grad_hook((x, y), lambda gs: out.append([g is not None for g in gs]))
    (x.sum() + y.sum()).backward()
    h.remove()
    return out


@case
def multi_grad_hook_any(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = leaf(T, 3)
    out = []
    T.autograd.graph.register_multi_grad_hook((x, y), lambda g: out.append(1), mode="any")
    (x.sum() + y.sum()).backward()
    return out


@case
def saved_tensors_hooks(T: Any) -> Any:
    x = leaf(T, 1, 2)
    log = []
    with T.autograd.graph.saved_tensors_hooks(lambda t: log.append("p") or t * 2, lambda t: log.append("u") or t):
        y = x * x
    y.sum().backward()
    return [x.grad, log]


@case
def save_on_cpu(T: Any) -> Any:
    x = leaf(T, 1, 2)
    with T.autograd.graph.save_on_cpu():
        y = x * x
    y.sum().backward()
    return x.grad


@case
def disabled_saved_tensors_hooks(T: Any) -> Any:
    x = leaf(T, 1, 2)
    g = T.autograd.graph
    with g.disable_saved_tensors_hooks("no"), g.saved_tensors_hooks(lambda t: t, lambda t: t):
        x * x


@case
def allowed_mutation(T: Any) -> Any:
    x = leaf(T, 1, 2)
    with T.autograd.graph.allow_mutation_on_saved_tensors():
        y = x * 1
        z = y * y
        y.mul_(5)
        z.sum().backward()
    return x.grad


@case
def grad_edge(T: Any) -> Any:
    x = leaf(T, 1, 2)
    e = T.autograd.graph.get_gradient_edge(x)
    y = (x * x).sum()
    return T.autograd.grad(y, e)


@case
def grads1(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = leaf(T, 3)
    z = (x * y).sum()
    return T.autograd.grad(z, (x, y))


@case
def grad_none_req(T: Any) -> Any:
    x = T.ones(2)
    return T.autograd.grad((leaf(T, 1) * 2).sum(), x)


@case
def grad_unused(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = leaf(T, 3)
    return T.autograd.grad(x.sum(), (x, y))


@case
def grad_unused2(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = leaf(T, 3)
    g = T.autograd.grad(x.sum(), (x, y), allow_unused=True)
    return [g[0], g[1] is None]


@case
def grad_materialize(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = leaf(T, 3)
    return T.autograd.grad(x.sum(), (x, y), materialize_grads=True)


@case
def grad_materialize2(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = leaf(T, 3)
    return T.autograd.grad(x.sum(), (x, y), materialize_grads=True, allow_unused=False)


@case
def grad_interm(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 2
    z = (y * y).sum()
    return T.autograd.grad(z, (x, y))


@case
def grad_batched(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x**2
    return T.autograd.grad(y, x, T.eye(2, dtype=T.float64), is_grads_batched=True)


@case
def grad_out_itself(T: Any) -> Any:
    x = leaf(T, 1, 2)
    s = x.sum()
    return T.autograd.grad(s, s)


@case
def grad_dup(T: Any) -> Any:
    x = leaf(T, 1, 2)
    return T.autograd.grad((x * x).sum(), (x, x))


@case
def backward_inputs(T: Any) -> Any:
    x = leaf(T, 1, 2)
    w = leaf(T, 3, 4)
    y = x * w
    z = (y * 2).sum()
    z.backward(inputs=[x])
    return [x.grad, w.grad is None]


@case
def backward_inputs_nonleaf(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 3
    y.retain_grad()
    (y * 2).sum().backward(inputs=[y])
    return [x.grad is None, y.grad]


@case
def backward_inputs_nonleaf2(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = x * 3
    (y * 2).sum().backward(inputs=[y])
    return [x.grad is None, y.grad]


@case
def backward_inputs_empty(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.sum().backward(inputs=[])


@case
def backward_inputs_tensor(T: Any) -> Any:
    x = leaf(T, 1, 2)
    x.sum().backward(inputs=x)
    return x.grad


@case
def backward_create(T: Any) -> Any:
    x = leaf(T, 1, 2)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    return [g, x.grad]


@case
def backward_multi(T: Any) -> Any:
    x = leaf(T, 1, 2)
    T.autograd.backward([x * 2, x * 3], [T.ones(2, dtype=T.float64)] * 2)
    return x.grad


@case
def backward_mism(T: Any) -> Any:
    x = leaf(T, 1, 2)
    T.autograd.backward([x * 2, x * 3], [T.ones(2, dtype=T.float64)])


@case
def backward_shape(T: Any) -> Any:
    x = leaf(T, 1, 2)
    (x * 2).backward(T.ones(3, dtype=T.float64))


@case
def backward_gdtype(T: Any) -> Any:
    x = leaf(T, 1, 2)
    (x * 2).backward(T.ones(2))
    return x.grad


@case
def backward_gint(T: Any) -> Any:
    x = leaf(T, 1, 2)
    (x * 2).backward(T.ones(2, dtype=T.int64))
    return x.grad


@case
def backward_twice(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = (x * x).sum()
    y.backward()
    y.backward()


@case
def backward_twice_nosaved(T: Any) -> Any:
    x = leaf(T, 1, 2)
    y = (x + x).sum()
    y.backward()
    y.backward()
    return x.grad
