"""Modules in the torch API: the tree and state dicts."""

from __future__ import annotations

from typing import Any

from tests.nn.models import model
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"m": lambda T: T.nn.Linear(2, 2)}

CASES: dict[str, Case] = {
    "repr_of_a_model": lambda T: repr(model(T)),
    "state_dict_prefix": lambda T: list(model(T).state_dict(prefix="x.")),
    "load_missing": lambda T: T.nn.Linear(2, 2).load_state_dict({"weight": T.ones(2, 2)}),
    "load_nonstrict_shape": lambda T: model(T).load_state_dict({"a.weight": T.ones(9, 9)}, strict=False),
    "load_notdict": lambda T: T.nn.Linear(2, 2).load_state_dict([1]),
    "load_nontensor": lambda T: T.nn.Linear(2, 2).load_state_dict({"weight": 3, "bias": T.ones(2)}),
    "batch_norm_version": lambda T: list(T.nn.BatchNorm1d(2).state_dict()),
}
case = collected(CASES)


@case
def names(T: Any) -> Any:
    m = model(T)
    return [
        [n for n, _ in m.named_parameters()],
        [n for n, _ in m.named_buffers()],
        [n for n, _ in m.named_modules()],
        [n for n, _ in m.named_children()],
        list(m.state_dict()),
    ]


@case
def shared_members(T: Any) -> Any:
    m = T.nn.Module()
    layer = T.nn.Linear(2, 2)
    m.a = layer
    m.b = layer
    m.p = layer.weight
    return [
        [n for n, _ in m.named_parameters()],
        [n for n, _ in m.named_parameters("m", remove_duplicate=False)],
        [n for n, _ in m.named_parameters(recurse=False)],
        [n for n, _ in m.named_modules(remove_duplicate=False)],
        [n for n, _ in m.named_modules()],
        [n for n, _ in m.named_children()],
        list(m.state_dict()),
    ]


@case
def state_dict_share(T: Any, m: Any) -> Any:
    s = m.state_dict()
    s["weight"].zero_()
    return [m.weight, s["weight"].requires_grad, m.state_dict(keep_vars=True)["weight"].requires_grad]


@case
def state_dict_dest(T: Any) -> Any:
    d = {}
    model(T).state_dict(destination=d, prefix="q.")
    return list(d)


@case
def load_ok_str(T: Any) -> Any:
    m = model(T)
    r = m.load_state_dict(m.state_dict())
    return [str(r), repr(r)]


@case
def load_assign(T: Any, m: Any) -> Any:
    w = T.zeros(2, 2)
    m.load_state_dict({"weight": w, "bias": T.zeros(2)}, assign=True)
    w[0, 0] = 5
    return [m.weight, type(m.weight).__name__]


@case
def load_assign_dtype(T: Any, m: Any) -> Any:
    m.load_state_dict({"weight": T.zeros(2, 2, dtype=T.float64), "bias": T.zeros(2, dtype=T.float64)}, assign=True)
    return [m.weight]


@case
def load_dtype(T: Any, m: Any) -> Any:
    m.load_state_dict({"weight": T.zeros(2, 2, dtype=T.float64), "bias": T.zeros(2, dtype=T.float64)})
    return [m.weight]


@case
def load_0d(T: Any) -> Any:
    m = T.nn.Module()
    m.p = T.nn.Parameter(T.tensor(1.0))
    m.load_state_dict({"p": T.tensor([3.0])})
    return m.p


@case
def state_dict_lpost_change(T: Any, m: Any) -> Any:
    m.register_load_state_dict_post_hook(lambda mod, k: k.missing_keys.clear())
    return str(m.load_state_dict({"weight": T.ones(2, 2)}))


@case
def extra(T: Any) -> Any:
    class M(T.nn.Module):
        def get_extra_state(s):
            return {"n": 5}

        def set_extra_state(s, st):
            s.got = st

    m = M()
    sd = m.state_dict()
    m.load_state_dict(sd)
    return [list(sd), m.got]


@case
def extra_missing(T: Any) -> Any:
    class M(T.nn.Module):
        def get_extra_state(s):
            return {"n": 5}

        def set_extra_state(s, st):
            s.got = st

    M().load_state_dict({})
