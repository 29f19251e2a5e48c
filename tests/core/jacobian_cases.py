"""torch.func: Jacobians, linearize, functional_call."""

from __future__ import annotations

from typing import Any

from tests.core.parts import numbers
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


@case
def jacobians(T: Any) -> Any:
    return [T.func.jacrev(lambda x: x**2)(numbers(T, 3)), T.func.jacfwd(lambda x: x**2)(numbers(T, 3))]


@case
def jacobians2(T: Any) -> Any:
    return [
        J(lambda x, y: (x * y, (x.sum(), y**2)), argnums=(0, 1))(numbers(T, 2), numbers(T, 2))
        for J in (T.func.jacrev, T.func.jacfwd)
    ]


@case
def jacobians_tuple1(T: Any) -> Any:
    return [
        J(lambda x, y: (x * y).sum(), argnums=(0,))(numbers(T, 2), numbers(T, 2))
        for J in (T.func.jacrev, T.func.jacfwd)
    ]


@case
def jacobians_dict(T: Any) -> Any:
    return [T.func.jacrev(lambda d: d["a"] ** 2)({"a": numbers(T, 2), "b": numbers(T, 1)})]


@case
def jacfwd_dict(T: Any) -> Any:
    return [T.func.jacfwd(lambda d: d["a"] ** 2)({"a": numbers(T, 2), "b": numbers(T, 1)})]


@case
def jacobians_outdict(T: Any) -> Any:
    return [J(lambda x: {"o": x**2, "p": x.sum()})(numbers(T, 2)) for J in (T.func.jacrev, T.func.jacfwd)]


@case
def jacobians_aux(T: Any) -> Any:
    return [J(lambda x: (x**2, x * 3), has_aux=True)(numbers(T, 2)) for J in (T.func.jacrev, T.func.jacfwd)]


@case
def jacobians_chunk(T: Any) -> Any:
    return [T.func.jacrev(lambda x: x**2, chunk_size=2)(numbers(T, 5))]


@case
def jacobians_mat(T: Any) -> Any:
    return T.func.jacrev(lambda x: x @ x)(numbers(T, 2, 2))


@case
def jacobians_multi(T: Any) -> Any:
    return T.func.jacrev(lambda x: x @ x)(numbers(T, 2, 2))


@case
def hessian(T: Any) -> Any:
    return T.func.hessian(lambda x: (x**3).sum())(numbers(T, 3))


@case
def hessian2(T: Any) -> Any:
    return T.func.hessian(lambda x, y: (x**2 * y).sum(), argnums=(0, 1))(numbers(T, 2), numbers(T, 2))


@case
def hessian_dict(T: Any) -> Any:
    return T.func.hessian(lambda d: (d["a"] ** 2 * d["b"]).sum())({"a": numbers(T, 2), "b": numbers(T, 2)})


@case
def hessian_batched(T: Any) -> Any:
    return T.func.vmap(T.func.hessian(lambda x: (x**3).sum()))(numbers(T, 3, 2))


@case
def jacobians_unused(T: Any) -> Any:
    return [J(lambda x: T.ones(2, dtype=T.float64))(numbers(T, 3)) for J in (T.func.jacrev, T.func.jacfwd)]


@case
def linearize(T: Any) -> Any:
    o, f = T.func.linearize(lambda x, y: x * y, numbers(T, 2), numbers(T, 2) + 1)
    return [o, f(numbers(T, 2), numbers(T, 2))]


@case
def linearize2(T: Any) -> Any:
    n = [0]

    def g(x):
        n[0] += 1
        return x.sin()

    o, f = T.func.linearize(g, numbers(T, 2))
    return [o, f(numbers(T, 2)), f(numbers(T, 2) * 2)]


@case
def functional_call(T: Any) -> Any:
    m = T.nn.Linear(2, 3).double()
    p = {k: T.ones_like(v) for k, v in m.named_parameters()}
    return T.func.functional_call(m, p, (numbers(T, 4, 2),))


@case
def functional_call_partial(T: Any) -> Any:
    m = T.nn.Sequential(T.nn.Linear(2, 2), T.nn.Linear(2, 2)).double()
    T.nn.init.ones_(m[0].weight)
    T.nn.init.zeros_(m[0].bias)
    return T.func.functional_call(
        m, {"1.weight": T.ones(2, 2, dtype=T.float64), "1.bias": T.zeros(2, dtype=T.float64)}, numbers(T, 4, 2)
    )


@case
def functional_call_strict(T: Any) -> Any:
    m = T.nn.Linear(2, 3)
    T.func.functional_call(m, {"weight": T.ones(3, 2)}, (T.ones(1, 2),), strict=True)


@case
def functional_call_unknown(T: Any) -> Any:
    m = T.nn.Linear(2, 3)
    return T.func.functional_call(m, {"weight": T.ones(3, 2), "bias": T.zeros(3), "zz": T.ones(1)}, (T.ones(1, 2),))


@case
def functional_call_unknown_strict(T: Any) -> Any:
    m = T.nn.Linear(2, 3)
    return T.func.functional_call(
        m, {"weight": T.ones(3, 2), "bias": T.zeros(3), "zz": T.ones(1)}, (T.ones(1, 2),), strict=True
    )


@case
def functional_call_tied(T: Any) -> Any:
    m = T.nn.Module()
    m.a = T.nn.Linear(2, 2, bias=False)
    m.b = T.nn.Linear(2, 2, bias=False)
    m.b.weight = m.a.weight
    m.forward = lambda x: m.b(m.a(x))
    return T.func.functional_call(m, {"a.weight": T.ones(2, 2)}, (T.ones(1, 2),))


@case
def functional_call_tied_off(T: Any) -> Any:
    m = T.nn.Module()
    m.a = T.nn.Linear(2, 2, bias=False)
    m.b = T.nn.Linear(2, 2, bias=False)
    m.b.weight = m.a.weight
    T.nn.init.ones_(m.a.weight)
    m.forward = lambda x: m.b(m.a(x))
    return T.func.functional_call(m, {"a.weight": T.zeros(2, 2)}, (T.ones(1, 2),), tie_weights=False)


@case
def functional_call_buf(T: Any) -> Any:
    m = T.nn.BatchNorm1d(2).double()
    b = {
        "running_mean": T.zeros(2, dtype=T.float64),
        "running_var": T.ones(2, dtype=T.float64),
        "num_batches_tracked": T.tensor(0),
    }
    y = T.func.functional_call(m, b, (numbers(T, 4, 2),))
    return [b["running_mean"], m.running_mean, y]


@case
def functional_call_grad(T: Any) -> Any:
    m = T.nn.Linear(2, 1).double()
    p = {k: T.ones_like(v) for k, v in m.named_parameters()}
    return T.func.grad(lambda p: T.func.functional_call(m, p, (numbers(T, 4, 2),)).sum())(p)


@case
def functional_call_perex(T: Any) -> Any:
    m = T.nn.Linear(2, 1).double()
    p = {k: T.ones_like(v).detach() for k, v in m.named_parameters()}

    def loss(p, x, t):
        return (T.func.functional_call(m, p, (x.unsqueeze(0),)).squeeze() - t) ** 2

    return T.func.vmap(T.func.grad(loss), in_dims=(None, 0, 0))(p, numbers(T, 4, 2), numbers(T, 4))


@case
def stack_module_state(T: Any) -> Any:
    ms = [T.nn.Linear(2, 3) for _ in range(3)]
    p, b = T.func.stack_module_state(ms)
    return [list(p), [list(v.shape) for v in p.values()], p["weight"].requires_grad, p["weight"].is_leaf, b]
