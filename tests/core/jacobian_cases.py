"""torch.func: Jacobians, linearize, functional_call."""

from __future__ import annotations

from typing import Any

from tests.core.leaves import numbers
from tests.recorded import Case, collected

CASES: dict[str, Case] = {
    "jacobians": lambda T: [T.func.jacrev(lambda x: x**2)(numbers(T, 3)), T.func.jacfwd(lambda x: x**2)(numbers(T, 3))],
    "jacobians2": lambda T: [
        J(lambda x, y: (x * y, (x.sum(), y**2)), argnums=(0, 1))(numbers(T, 2), numbers(T, 2))
        for J in (T.func.jacrev, T.func.jacfwd)
    ],
    "jacobians_tuple1": lambda T: [
        J(lambda x, y: (x * y).sum(), argnums=(0,))(numbers(T, 2), numbers(T, 2))
        for J in (T.func.jacrev, T.func.jacfwd)
    ],
    "jacobians_dict": lambda T: [T.func.jacrev(lambda d: d["a"] ** 2)({"a": numbers(T, 2), "b": numbers(T, 1)})],
    "jacfwd_dict": lambda T: [T.func.jacfwd(lambda d: d["a"] ** 2)({"a": numbers(T, 2), "b": numbers(T, 1)})],
    "jacobians_outdict": lambda T: [
        J(lambda x: {"o": x**2, "p": x.sum()})(numbers(T, 2)) for J in (T.func.jacrev, T.func.jacfwd)
    ],
    "jacobians_aux": lambda T: [
        J(lambda x: (x**2, x * 3), has_aux=True)(numbers(T, 2)) for J in (T.func.jacrev, T.func.jacfwd)
    ],
    "jacobians_chunk": lambda T: [T.func.jacrev(lambda x: x**2, chunk_size=2)(numbers(T, 5))],
    "jacobians_mat": lambda T: T.func.jacrev(lambda x: x @ x)(numbers(T, 2, 2)),
    "hessian": lambda T: T.func.hessian(lambda x: (x**3).sum())(numbers(T, 3)),
    "hessian2": lambda T: T.func.hessian(lambda x, y: (x**2 * y).sum(), argnums=(0, 1))(numbers(T, 2), numbers(T, 2)),
    "hessian_dict": lambda T: T.func.hessian(lambda d: (d["a"] ** 2 * d["b"]).sum())(
        {"a": numbers(T, 2), "b": numbers(T, 2)}
    ),
    "hessian_batched": lambda T: T.func.vmap(T.func.hessian(lambda x: (x**3).sum()))(numbers(T, 3, 2)),
    "jacobians_unused": lambda T: [
        J(lambda x: T.ones(2, dtype=T.float64))(numbers(T, 3)) for J in (T.func.jacrev, T.func.jacfwd)
    ],
    "functional_call_strict": lambda T: T.func.functional_call(
        T.nn.Linear(2, 3), {"weight": T.ones(3, 2)}, (T.ones(1, 2),), strict=True
    ),
    "functional_call_unknown": lambda T: T.func.functional_call(
        T.nn.Linear(2, 3), {"weight": T.ones(3, 2), "bias": T.zeros(3), "zz": T.ones(1)}, (T.ones(1, 2),)
    ),
    "functional_call_unknown_strict": lambda T: T.func.functional_call(
        T.nn.Linear(2, 3), {"weight": T.ones(3, 2), "bias": T.zeros(3), "zz": T.ones(1)}, (T.ones(1, 2),), strict=True
    ),
}
case = collected(CASES)


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
    return T.func.vmap(
        T.func.grad(lambda p, x, t: (T.func.functional_call(m, p, (x.unsqueeze(0),)).squeeze() - t) ** 2),
        in_dims=(None, 0, 0),
    )(p, numbers(T, 4, 2), numbers(T, 4))


@case
def stack_module_state(T: Any) -> Any:
    ms = [T.nn.Linear(2, 3) for _ in range(3)]
    p, b = T.func.stack_module_state(ms)
    return [list(p), [list(v.shape) for v in p.values()], p["weight"].requires_grad, p["weight"].is_leaf, b]
