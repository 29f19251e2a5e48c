"""Optimizers and schedules in the torch API: groups, state dicts, hooks, options that are rejected."""

from __future__ import annotations

import copy
import math
import sys
from typing import Any

from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"p": lambda T: parameter(T, 2), "log": lambda T: []}

CASES: dict[str, Case] = {
    "groupkeys": lambda T: [sorted(getattr(T.optim, n)([parameter(T, 2)]).param_groups[0]) for n in _OPTIMIZERS],
    "named": lambda T: (
        T.optim.SGD(T.nn.Linear(2, 2).named_parameters(), lr=0.1).state_dict()["param_groups"][0].get("param_names")
    ),
    "repr": lambda T: repr(T.optim.SGD([parameter(T, 2)], lr=0.1)),
    "repr2": lambda T: repr(T.optim.Adam([{"params": [parameter(T, 2)]}, {"params": [parameter(T, 2)], "lr": 0.5}])),
    "complex": lambda T: descend_complex(T, "Adam"),
    "complex_sgd": lambda T: descend_complex(T, "SGD", momentum=0.9),
    "deepcopy_opt": lambda T, p: copy.deepcopy(T.optim.Adam([p])).param_groups[0]["params"][0] is p,
}

ROUNDED = {"tensorlr": 1e-7}  # the rate is a tensor in float32

case = collected(CASES)


def parameter(T: Any, *shape: int) -> Any:
    return T.nn.Parameter((T.arange(float(math.prod(shape)), dtype=T.float64).reshape(shape) * 0.7).sin())


_OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "RAdam", "Adamax", "Adagrad", "Adadelta", "Rprop", "ASGD")


@case
def schedule_state(T: Any) -> Any:
    o = T.optim.SGD([parameter(T, 2)], lr=0.1)
    s = T.optim.lr_scheduler.StepLR(o, 3)
    o.step()
    s.step()
    d = s.state_dict()
    return sorted(k for k in d if not k.startswith("_"))


@case
def schedule_last_epoch2(T: Any, p: Any) -> Any:
    o = T.optim.SGD([{"params": [p], "initial_lr": 0.1}], lr=0.1)
    s = T.optim.lr_scheduler.StepLR(o, 3, last_epoch=4)
    return [s.get_last_lr(), s.last_epoch]


@case
def schedule_baselrs(T: Any) -> Any:
    o = T.optim.SGD([parameter(T, 2)], lr=0.1)
    s = T.optim.lr_scheduler.StepLR(o, 3)
    return [s.base_lrs, s.last_epoch, o.param_groups[0]["initial_lr"], s._step_count]


@case
def groups(T: Any) -> Any:
    a, b = (parameter(T, 2), parameter(T, 3))
    o = T.optim.SGD([{"params": [a], "momentum": 0.9}, {"params": b, "lr": 0.5}], lr=0.1, weight_decay=0.2)
    return [
        [
            {k: v for k, v in g.items() if k in ("lr", "momentum", "weight_decay", "nesterov", "maximize", "dampening")}
            for g in o.param_groups
        ],
        len(o.param_groups[1]["params"]),
        sorted(o.param_groups[0]),
        sorted(o.defaults),
    ]


@case
def addgroup(T: Any) -> Any:
    a, b = (parameter(T, 2), parameter(T, 3))
    o = T.optim.Adam([a], lr=0.1)
    o.add_param_group({"params": b, "lr": 0.5})
    return [[g["lr"], g["betas"], len(g["params"])] for g in o.param_groups]


@case
def closure(T: Any, p: Any) -> Any:
    o = T.optim.SGD([p], lr=0.1)
    n = []

    def c():
        o.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        n.append(T.is_grad_enabled())
        return loss

    with T.no_grad():
        return [o.step(c), n, p]


@case
def state_dict(T: Any, p: Any) -> Any:
    o = T.optim.Adam([p], lr=0.1)
    (p * p).sum().backward()
    o.step()
    s = o.state_dict()
    return [
        sorted(s),
        list(s["state"]),
        sorted(s["state"][0]),
        s["param_groups"][0]["params"],
        s["state"][0]["step"],
        sorted(s["param_groups"][0]),
    ]


@case
def state_dict_sgd(T: Any, p: Any) -> Any:
    o = T.optim.SGD([p], lr=0.1, momentum=0.9)
    (p * p).sum().backward()
    o.step()
    s = o.state_dict()
    return [s["state"][0]]


@case
def hooks(T: Any, p: Any, log: Any) -> Any:
    o = T.optim.SGD([p], lr=0.1)
    handles = [
        o.register_step_pre_hook(lambda o, a, k: log.append("pre")),
        o.register_step_post_hook(lambda o, a, k: log.append("post")),
        o.register_state_dict_pre_hook(lambda o: log.append("sdpre")),
        o.register_state_dict_post_hook(lambda o, s: log.append("sdpost") or {**s, "more": 1}),
        o.register_load_state_dict_pre_hook(lambda o, s: log.append(s["more"]) or {k: s[k] for k in s if k != "more"}),
        o.register_load_state_dict_post_hook(lambda o: log.append("lpost")),
    ]
    p.grad = T.ones_like(p)
    for _ in range(2):
        o.step()
        state = o.state_dict()
        o.load_state_dict(state)
        while handles:
            handles.pop().remove()
    return [log, sorted(state)]


@case
def ghooks(T: Any, log: Any) -> Any:
    m = sys.modules[f"{T.__name__}.optim.optimizer"]
    h = m.register_optimizer_step_pre_hook(lambda o, a, k: log.append("g"))
    p = parameter(T, 2)
    o = T.optim.SGD([p], lr=0.1)
    p.grad = T.ones_like(p)
    o.step()
    h.remove()
    o.step()
    return log


@case
def zero(T: Any, p: Any) -> Any:
    o = T.optim.SGD([p], lr=0.1)
    p.grad = T.ones_like(p)
    o.zero_grad(set_to_none=False)
    a = p.grad
    o.zero_grad()
    return [a, p.grad is None]


@case
def tensorlr(T: Any, p: Any) -> Any:
    o = T.optim.Adam([p], lr=T.tensor(0.1))
    p.grad = T.ones_like(p)
    o.step()
    return p


@case
def nograd_param(T: Any, p: Any) -> Any:
    q = parameter(T, 2)
    o = T.optim.SGD([p, q], lr=0.1)
    p.grad = T.ones_like(p)
    o.step()
    return [p, q]


@case
def float32_parameters(T: Any) -> Any:
    r = []
    for n in ("SGD", "Adam", "AdamW", "RMSprop"):
        p = T.nn.Parameter(T.arange(6.0).reshape(2, 3) / 7)
        o = getattr(T.optim, n)([p], lr=0.01)
        for _ in range(50):
            o.zero_grad()
            (p**3).sum().backward()
            o.step()
        r.append(p)
    return r


@case
def bfloat16_parameters(T: Any) -> Any:
    r = []
    for n in ("SGD", "Adam"):
        p = T.nn.Parameter((T.arange(6.0).reshape(2, 3) / 7).bfloat16())
        o = getattr(T.optim, n)([p], lr=0.01)
        for _ in range(3):
            o.zero_grad()
            (p * p).sum().backward()
            o.step()
        r.append([p.dtype, p.float()])
    return r


def descend_complex(T: Any, name: str, **options: Any) -> Any:
    p = T.nn.Parameter(T.tensor([1 + 2j, 2 - 1j], dtype=T.complex128))
    o = getattr(T.optim, name)([p], lr=0.1, **options)
    for _ in range(5):
        o.zero_grad()
        (p * p.conj()).real.sum().backward()
        o.step()
    return p


@case
def noncontig(T: Any) -> Any:
    p = T.nn.Parameter((T.arange(6.0, dtype=T.float64).reshape(2, 3) / 7).T)
    o = T.optim.Adam([p], lr=0.1)
    for _ in range(5):
        o.zero_grad()
        (p**2).sum().backward()
        o.step()
    return p


@case
def custom_opt(T: Any, log: Any) -> Any:
    class Plain(T.optim.Optimizer):
        def __init__(s, ps, lr):
            super().__init__(ps, dict(lr=lr))

        def step(s, closure=None):
            with T.no_grad():
                for g in s.param_groups:
                    for p in g["params"]:
                        s.state[p]["n"] = 1
                        p.add_(p.grad, alpha=-g["lr"])

    p = parameter(T, 2)
    o = Plain([p], 0.1)
    p.grad = T.ones_like(p)
    o.register_step_post_hook(lambda *a: log.append(1))
    o.step()
    return [p, o.state_dict()["state"], log]


@case
def adafactor_state(T: Any) -> Any:
    """A mean square for each row and column of matrices and stacks of them, for each element of vectors."""
    ps = [parameter(T, 3, 4), parameter(T, 2, 3, 2), parameter(T, 3), parameter(T)]
    o = T.optim.Adafactor(ps, lr=0.1)
    for i, p in enumerate(ps):
        p.grad = p.detach() + i
    o.step()
    state = o.state_dict()
    other = T.optim.Adafactor([T.nn.Parameter(p.detach().clone()) for p in ps], lr=0.5)
    other.load_state_dict(state)
    return [ps, [{k: v for k, v in of.items() if k != "step"} for of in state["state"].values()],
            [sorted(of) for of in state["state"].values()], other.param_groups[0]["lr"], repr(o)]  # fmt: skip


@case
def adafactor_of_a_rate_in_a_tensor(T: Any) -> Any:
    p = parameter(T, 2, 3)
    p.grad = T.ones_like(p)
    o = T.optim.Adafactor([p], lr=T.tensor(0.1, dtype=T.float64))
    o.step()
    return [p, o.step(lambda: 7.0)]


@case
def undone_schedules(T: Any) -> Any:
    """recursive_undo takes one epoch from every schedule below."""
    s = T.optim.lr_scheduler
    o = T.optim.SGD([parameter(T, 2)], lr=0.1)
    inner = s.ChainedScheduler([s.ConstantLR(o, 0.5, 3), s.StepLR(o, 2)])
    last, alone = s.ExponentialLR(o, 0.9), s.StepLR(o, 1)
    whole = s.SequentialLR(o, [inner, last], [2])
    parts = [*inner._schedulers, last, alone]
    found = [[part.last_epoch for part in parts]]
    for asked in ((), (None,), (inner,), (alone,)):
        whole.recursive_undo(*asked)
        found.append([part.last_epoch for part in parts])
    return [*found, whole.last_epoch, o.param_groups[0]["lr"]]


def _complex_matrix(T: Any) -> Any:
    p = T.nn.Parameter(T.ones(2, 2, dtype=T.complex64))
    p.grad = T.ones_like(p)
    return p


CASES |= {
    f"adafactor {options}": lambda T, p, options=options: T.optim.Adafactor([p], **options)
    for options in (
        {"lr": -1.0}, {"beta2_decay": 0.1}, {"eps": (-1.0, 1e-3)}, {"eps": (None, -1.0)}, {"d": 0.5},
        {"weight_decay": -1.0},
    )
}  # fmt: skip
CASES["adafactor complex"] = lambda T: descend_complex(T, "Adafactor")
CASES["muon complex"] = lambda T: T.optim.Muon([_complex_matrix(T)]).step()
CASES["adafactor of a long rate"] = lambda T, p: T.optim.Adafactor([p], lr=T.ones(2))
