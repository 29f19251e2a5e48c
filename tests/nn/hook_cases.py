"""Modules in the torch API: hooks, attributes, moving and copying."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from tests.nn.models import filled, model, numbers
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"m": lambda T: model(T), "log": lambda T: []}

CASES: dict[str, Case] = {
    "register_dup": lambda T: T.nn.Linear(1, 1).register_buffer("weight", T.ones(1)),
    "register_empty": lambda T: T.nn.Linear(1, 1).add_module("", None),
    "register_nonleaf": lambda T: T.nn.Module().register_parameter("a", T.ones(1, requires_grad=True) * 2),
    "type_": lambda T: T.nn.Linear(1, 1).type(T.float64).weight.dtype,
    "requires_grad": lambda T: [p.requires_grad for p in T.nn.Linear(1, 1).requires_grad_(False).parameters()],
    "get_submodule": lambda T, m: [
        type(m.get_submodule("l.0")).__name__,
        m.get_parameter("l.0.weight") is m.l[0].weight,
        m.get_buffer("bn.running_mean") is m.bn.running_mean,
        m.get_submodule("") is m,
    ],
    "set_submodule_err": lambda T, m: m.set_submodule("l.7", T.nn.ReLU(), strict=True),
    "dir_": lambda T: [x in dir(model(T)) for x in ("a", "w", "tmp", "forward")],
}
case = collected(CASES)


@case
def forward_hooks(T: Any, log: Any) -> Any:
    m = T.nn.Linear(2, 2)
    with T.no_grad():
        m.weight.fill_(1)
        m.bias.fill_(0)
    handles = [
        m.register_forward_pre_hook(lambda mod, a: log.append("pre") or (a[0] * 2,)),
        m.register_forward_hook(lambda mod, a, o: log.append("post") or o * 10),
        m.register_forward_pre_hook(lambda mod, a: log.append("pre0"), prepend=True),
        m.register_forward_hook(lambda mod, a, o: log.append("post0"), prepend=True),
    ]
    hooked = m(T.ones(1, 2))
    for handle in handles:
        handle.remove()
    return [hooked, m(T.ones(1, 2)), log]


@case
def hooks_kw(T: Any) -> Any:
    class M(T.nn.Module):
        def forward(s, x, k=1):
            return x * k

    m = M()
    m.register_forward_pre_hook(lambda mod, a, k: (a, {"k": 5}), with_kwargs=True)
    m.register_forward_hook(lambda mod, a, k, o: o + k["k"], with_kwargs=True)
    return m(T.ones(1), k=2)


@case
def hooks_always(T: Any, log: Any) -> Any:
    class M(T.nn.Module):
        def forward(s, x):
            raise ValueError("a")

    m = M()
    m.register_forward_hook(lambda mod, a, o: log.append(o), always_call=True)
    with contextlib.suppress(ValueError):
        m(T.ones(1))
    return log


@case
def backward_hooks(T: Any, log: Any) -> Any:
    m = filled(T, T.nn.Linear(2, 2))
    m.register_full_backward_hook(lambda mod, gi, go: log.append([len(gi), len(go), go[0].tolist()]) or (gi[0] * 100,))
    m.register_full_backward_pre_hook(lambda mod, go: log.append("pre") or (go[0] * 2,))
    x = numbers(T, 1, 2).requires_grad_()
    m(x).sum().backward()
    return [log, x.grad, m.weight.grad]


@case
def backward_hooks_noinput(T: Any, log: Any) -> Any:
    m = filled(T, T.nn.Linear(2, 2))
    m.register_full_backward_hook(lambda mod, gi, go: log.append([gi[0] is None, go[0].tolist()]))
    m(numbers(T, 1, 2)).sum().backward()
    return log


@case
def setattr_param(T: Any) -> Any:
    m = T.nn.Linear(2, 2)
    m.weight = T.ones(2, 2)


@case
def setattr_none(T: Any) -> Any:
    m = T.nn.Linear(2, 2)
    m.bias = None
    return [list(m.state_dict()), m.bias is None]


@case
def setattr_buf(T: Any) -> Any:
    m = T.nn.BatchNorm1d(2)
    m.running_mean = T.ones(2)
    return m.state_dict()["running_mean"]


@case
def delattr_(T: Any, m: Any) -> Any:
    del m.a
    return [n for n, _ in m.named_parameters()]


@case
def without_init(T: Any) -> Any:
    class M(T.nn.Module):
        def __init__(s):
            s.l = T.nn.Linear(1, 1)

    M()


@case
def to_dtype(T: Any) -> Any:
    m = model(T).to(T.float64)
    return [
        m.a.weight.dtype,
        m.bn.num_batches_tracked.dtype,
        m.tmp.dtype,
        m.half().w.dtype,
        m.float().w.dtype,
        m.bfloat16().w.dtype,
    ]


@case
def to_keep(T: Any) -> Any:
    m = T.nn.Linear(1, 1)
    w = m.weight
    m.double()
    return [m.weight is w, w.dtype]


@case
def to_grad(T: Any) -> Any:
    m = T.nn.Linear(1, 1)
    m(T.ones(1, 1)).sum().backward()
    m.double()
    return m.weight.grad.dtype


@case
def apply_(T: Any, log: Any) -> Any:
    model(T).apply(lambda m: log.append(type(m).__name__))
    return log


@case
def traineval(T: Any, m: Any) -> Any:
    a = [m.eval() is m, *(x.training for x in m.modules())]
    m.train()
    return a + [x.training for x in m.modules()]


@case
def zero_grad(T: Any) -> Any:
    m = T.nn.Linear(1, 1)
    m(T.ones(1, 1)).sum().backward()
    m.zero_grad(set_to_none=False)
    a = m.weight.grad
    m.zero_grad()
    return [a, m.weight.grad is None]


@case
def set_submodule(T: Any, m: Any) -> Any:
    m.set_submodule("l.0", T.nn.ReLU())
    return repr(m.l)


@case
def deepcopy(T: Any, m: Any) -> Any:
    n = copy.deepcopy(m)
    return [n.a.weight is m.a.weight, [a for a, _ in n.named_parameters()], bool((n.a.weight == m.a.weight).all())]


@case
def callable_attr(T: Any) -> Any:
    m = T.nn.Linear(1, 1)
    return [m.in_features, m.out_features, type(m).__name__, m.training]


@case
def hooks_on_every_module(T: Any) -> Any:
    log: list[Any] = []
    everywhere = T.nn.modules.module
    handles = [
        everywhere.register_module_forward_pre_hook(lambda m, args: log.append(("before", type(m).__name__))),
        everywhere.register_module_forward_hook(lambda m, args, out: log.append(("after", type(m).__name__))),
        everywhere.register_module_full_backward_hook(lambda m, gi, go: log.append(("back", type(m).__name__))),
    ]
    net = T.nn.Sequential(T.nn.ReLU())
    x = T.ones(2, requires_grad=True)
    net(x).sum().backward()
    for handle in handles:
        handle.remove()
    net(x).sum().backward()
    return [log, x.grad]


def _everywhere(T: Any) -> Any:
    """The functions that register a hook on every module; PyTorch keeps for good which kind came first."""
    found = T.nn.modules.module
    if T.__name__ == "torch":
        found._global_is_full_backward_hook = None
    return found


@case
def backward_hooks_on_every_module(T: Any) -> Any:
    """The hook of old, then that before backward, which may replace gradients."""
    found = []
    everywhere = _everywhere(T)
    for register, hook in (
        (everywhere.register_module_backward_hook, lambda log: lambda m, gi, go: log.append([len(gi), go[0].tolist()])),
        (everywhere.register_module_full_backward_pre_hook,
         lambda log: lambda m, go: log.append(type(m).__name__) or (go[0] * 2,)),
    ):  # fmt: skip
        log: list[Any] = []
        handle = register(hook(log))
        net = filled(T, T.nn.Sequential(T.nn.Linear(2, 2), T.nn.Tanh()))
        x = numbers(T, 1, 2).requires_grad_()
        net(x).sum().backward()
        found += [list(log), x.grad, net[0].weight.grad]
        handle.remove()
        net(x).sum().backward()
        found.append(len(log))
    return found


@case
def both_kinds_of_backward_hooks_on_every_module(T: Any) -> Any:
    everywhere = _everywhere(T)
    handle = everywhere.register_module_backward_hook(lambda *args: None)
    try:
        everywhere.register_module_full_backward_hook(lambda *args: None).remove()
    finally:
        handle.remove()


@case
def moved_to_what_is_not_there(T: Any) -> Any:
    T.nn.Linear(1, 1).ipu()


@case
def type_of_a_destination(T: Any) -> Any:
    kind = T.nn.Module.T_destination
    return [kind.__name__, kind is T.nn.modules.module.Module.T_destination, T.nn.Linear.T_destination is kind]
