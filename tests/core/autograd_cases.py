"""Leaves, hooks and gradients in the torch API."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tests.core.leaves import gradient, leaf
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"x": lambda T: leaf(T, 1, 2), "y": lambda T: leaf(T, 3), "out": lambda T: []}

CASES: dict[str, Case] = {
    "requires_grad_int": lambda T: T.tensor([1, 2]).requires_grad_(),
    "requires_grad_nonleaf2": lambda T, x: (x * 2).requires_grad_(False),
    "backward_of_a_vector": lambda T, x: (x * 2).backward(),
    "backward_without_history": lambda T: T.ones(1).backward(),
    "retain_grad_noreq": lambda T: T.ones(2).retain_grad(),
    "hook_noreq": lambda T: T.ones(2).register_hook(lambda g: g),
    "post_accumulate_hook_nonleaf": lambda T, x: (x * 2).register_post_accumulate_grad_hook(lambda p: None),
    "grad_edge": lambda T, x: T.autograd.grad((x * x).sum(), T.autograd.graph.get_gradient_edge(x)),
    "grads1": lambda T, x, y: T.autograd.grad((x * y).sum(), (x, y)),
    "grad_of_a_set": lambda T, x: T.autograd.grad((x * x).sum(), {x}),
    "grad_of_an_iterator": lambda T, x, y: T.autograd.grad(iter([(x * y).sum()]), (v for v in (x, y))),
    "grad_of_a_dict": lambda T, x: T.autograd.grad((x * x).sum(), {"x": x}),
    "grad_of_a_dict_unused": lambda T, x, y: T.autograd.grad(
        x.sum(), {"b": y, "a": x}, allow_unused=True, materialize_grads=True
    ),
    "grad_of_an_empty_dict": lambda T, x: T.autograd.grad(x.sum(), {}),
    "grad_of_nothing": lambda T, x: T.autograd.grad(x.sum(), ()),
    "grad_of_a_mapping": lambda T, x: T.autograd.grad(x.sum(), OrderedDict(x=x)),
    "grad_of_a_word": lambda T, x: T.autograd.grad(x.sum(), ["x"]),
    "backward_of_a_set": lambda T, x: [T.autograd.backward({(x * x).sum()}, inputs={x}), x.grad],
    "grad_none_req": lambda T: T.autograd.grad((leaf(T, 1) * 2).sum(), T.ones(2)),
    "grad_unused": lambda T, x, y: T.autograd.grad(x.sum(), (x, y)),
    "grad_materialize": lambda T, x, y: T.autograd.grad(x.sum(), (x, y), materialize_grads=True),
    "grad_materialize2": lambda T, x, y: T.autograd.grad(x.sum(), (x, y), materialize_grads=True, allow_unused=False),
    "grad_batched": lambda T, x: T.autograd.grad(x**2, x, T.eye(2, dtype=T.float64), is_grads_batched=True),
    "grad_dup": lambda T, x: T.autograd.grad((x * x).sum(), (x, x)),
    "backward_inputs_empty": lambda T, x: x.sum().backward(inputs=[]),
    "backward_mism": lambda T, x: T.autograd.backward([x * 2, x * 3], [T.ones(2, dtype=T.float64)]),
    "backward_shape": lambda T, x: (x * 2).backward(T.ones(3, dtype=T.float64)),
}
case = collected(CASES)


@case
def detach_shares(T: Any, x: Any) -> Any:
    d = x.detach()
    d[0] = 5
    return [x, d, d.requires_grad, d.is_leaf]


@case
def detach_version(T: Any, x: Any) -> Any:
    y = x * 1
    z = y * y
    y.detach().mul_(2)
    return gradient(z, x)


@case
def data_no_version(T: Any, x: Any) -> Any:
    y = x * 1
    z = y * y
    y.data.mul_(2)
    return gradient(z, x)


@case
def version_err(T: Any, x: Any) -> Any:
    y = x.exp()
    y.add_(1)
    y.sum().backward()


@case
def version_ok(T: Any, x: Any) -> Any:
    y = x * 3
    y.add_(1)
    return gradient(y, x)


@case
def detach_(T: Any, x: Any) -> Any:
    y = x * 2
    y.detach_()
    return [y.requires_grad, y.is_leaf, y.grad_fn is None]


@case
def detach_view_(T: Any, x: Any) -> Any:
    y = (x * 2)[0:1]
    y.detach_()
    return y.requires_grad


@case
def requires_grad_set_nonleaf(T: Any, x: Any) -> Any:
    y = x * 2
    y.requires_grad = False


@case
def grad_assign(T: Any, x: Any) -> Any:
    x.grad = T.ones(3, dtype=T.float64)


@case
def grad_assign2(T: Any, x: Any) -> Any:
    x.grad = T.ones(2)


@case
def grad_assign3(T: Any, x: Any) -> Any:
    x.grad = 3


@case
def grad_nonleaf(T: Any, x: Any) -> Any:
    y = x * 2
    return gradient(y, y)


@case
def retain_grad_leaf(T: Any, x: Any) -> Any:
    x.retain_grad()
    return gradient(x, x)


@case
def retain_twice(T: Any, x: Any) -> Any:
    y = x * 2
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    s = (y * 3).sum()
    s.backward()
    return [y.grad, x.grad, y.retains_grad]


@case
def hooks_order(T: Any, x: Any, out: Any) -> Any:
    x.register_hook(lambda g: out.append("a") or g * 2)
    x.register_hook(lambda g: out.append(g.tolist()))
    (x * 3).sum().backward()
    return [out, x.grad]


@case
def hook_inplace(T: Any, x: Any, out: Any) -> Any:
    y = x * 1
    y.register_hook(lambda g: out.append(("before", g.tolist())))
    y.mul_(3)
    y.register_hook(lambda g: out.append(("after", g.tolist())))
    y.sum().backward()
    return [out, x.grad]


@case
def hook_wrong(T: Any, x: Any) -> Any:
    x.register_hook(lambda g: 3)
    x.sum().backward()


@case
def hook_wrong_shape(T: Any, x: Any) -> Any:
    x.register_hook(lambda g: T.ones(3))
    return gradient(x, x)


@case
def post_accumulate_hook(T: Any, x: Any, out: Any) -> Any:
    h = x.register_post_accumulate_grad_hook(lambda p: out.append(p.grad.tolist()))
    x.sum().backward()
    h.remove()
    x.sum().backward()
    return out


@case
def node_hook(T: Any, x: Any, out: Any) -> Any:
    y = x * 3
    y.grad_fn.register_hook(
        lambda gi, go: out.append([g.tolist() if g is not None else None for g in gi] + [g.tolist() for g in go])
    )
    y.grad_fn.register_prehook(lambda go: (go[0] * 2,))
    y.sum().backward()
    return [out[0][0], out[0][-1], x.grad]


@case
def node_hook_replace(T: Any, x: Any) -> Any:
    y = x.exp()
    y.grad_fn.register_hook(lambda gi, go: (gi[0] * 10,))
    return gradient(y, x)


@case
def accumulating_node(T: Any, x: Any) -> Any:
    y = x * 2
    n = y.grad_fn.next_functions[0][0]
    return [n.variable is x, n.name().split("::")[-1]]


@case
def node_metadata(T: Any, x: Any) -> Any:
    y = x * 2
    y.grad_fn.metadata["a"] = 3
    return y.grad_fn.metadata["a"]


@case
def multi_grad_hook(T: Any, x: Any, y: Any, out: Any) -> Any:
    h = T.autograd.graph.register_multi_grad_hook((x, y), lambda gs: out.append([g is not None for g in gs]))
    (x.sum() + y.sum()).backward()
    h.remove()
    return out


@case
def multi_grad_hook_any(T: Any, x: Any, y: Any, out: Any) -> Any:
    T.autograd.graph.register_multi_grad_hook((x, y), lambda g: out.append(1), mode="any")
    (x.sum() + y.sum()).backward()
    return out


@case
def saved_tensors_hooks(T: Any, x: Any) -> Any:
    log = []
    with T.autograd.graph.saved_tensors_hooks(lambda t: log.append("p") or t * 2, lambda t: log.append("u") or t):
        y = x * x
    y.sum().backward()
    return [x.grad, log]


@case
def save_on_cpu(T: Any, x: Any) -> Any:
    with T.autograd.graph.save_on_cpu():
        y = x * x
    return gradient(y, x)


@case
def disabled_saved_tensors_hooks(T: Any, x: Any) -> Any:
    g = T.autograd.graph
    with g.disable_saved_tensors_hooks("no"), g.saved_tensors_hooks(lambda t: t, lambda t: t):
        x * x


@case
def allowed_mutation(T: Any, x: Any) -> Any:
    with T.autograd.graph.allow_mutation_on_saved_tensors():
        y = x * 1
        z = y * y
        y.mul_(5)
        z.sum().backward()
    return x.grad


@case
def grad_unused2(T: Any, x: Any, y: Any) -> Any:
    g = T.autograd.grad(x.sum(), (x, y), allow_unused=True)
    return [g[0], g[1] is None]


@case
def grad_interm(T: Any, x: Any) -> Any:
    y = x * 2
    z = (y * y).sum()
    return T.autograd.grad(z, (x, y))


@case
def grad_out_itself(T: Any, x: Any) -> Any:
    s = x.sum()
    return T.autograd.grad(s, s)


@case
def backward_inputs(T: Any, x: Any) -> Any:
    w = leaf(T, 3, 4)
    y = x * w
    z = (y * 2).sum()
    z.backward(inputs=[x])
    return [x.grad, w.grad is None]


@case
def backward_inputs_nonleaf(T: Any, x: Any) -> Any:
    y = x * 3
    y.retain_grad()
    (y * 2).sum().backward(inputs=[y])
    return [x.grad is None, y.grad]


@case
def backward_inputs_nonleaf2(T: Any, x: Any) -> Any:
    y = x * 3
    (y * 2).sum().backward(inputs=[y])
    return [x.grad is None, y.grad]


@case
def backward_inputs_tensor(T: Any, x: Any) -> Any:
    x.sum().backward(inputs=x)
    return x.grad


@case
def backward_create(T: Any, x: Any) -> Any:
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    return [g, x.grad]


@case
def backward_multi(T: Any, x: Any) -> Any:
    T.autograd.backward([x * 2, x * 3], [T.ones(2, dtype=T.float64)] * 2)
    return x.grad


@case
def backward_gdtype(T: Any, x: Any) -> Any:
    (x * 2).backward(T.ones(2))
    return x.grad


@case
def backward_gint(T: Any, x: Any) -> Any:
    (x * 2).backward(T.ones(2, dtype=T.int64))
    return x.grad


@case
def backward_twice(T: Any, x: Any) -> Any:
    y = (x * x).sum()
    y.backward()
    y.backward()


@case
def backward_twice_nosaved(T: Any, x: Any) -> Any:
    y = (x + x).sum()
    y.backward()
    y.backward()
    return x.grad
