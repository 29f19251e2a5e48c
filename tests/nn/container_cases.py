"""Containers and parameters in the torch API."""

from __future__ import annotations

import copy
from typing import Any

from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"n": lambda T: T.nn}

CASES: dict[str, Case] = {
    "sequential_idx": lambda T: T.nn.Sequential(T.nn.ReLU())[3],
    "sequential_bad": lambda T: T.nn.Sequential(3),
    "module_list_neg": lambda T: repr(T.nn.ModuleList([T.nn.ReLU(), T.nn.Tanh()])[-1]),
    "module_list_oob": lambda T: T.nn.ModuleList([T.nn.ReLU()])[1],
    "module_list_fwd": lambda T: T.nn.ModuleList([T.nn.ReLU()])(T.ones(1)),
    "module_dict_upd": lambda T: T.nn.ModuleDict([("a", T.nn.ReLU()), ("b",)]),
    "parameter_list_any": lambda T: [repr(T.nn.ParameterList([1, "a"]))],
    "param_int": lambda T: T.nn.Parameter(T.ones(2, dtype=T.int64)),
    "param_int_ok": lambda T: T.nn.Parameter(T.ones(2, dtype=T.int64), requires_grad=False),
}
case = collected(CASES)


@case
def sequential(T: Any, n: Any) -> Any:
    s = n.Sequential(n.Linear(2, 2), n.ReLU())
    s.append(n.Tanh())
    s.insert(0, n.Identity())
    s.extend([n.Sigmoid()])
    t = s + n.Sequential(n.GELU())
    u = s * 2
    del s[0]
    return [
        len(s),
        repr(s),
        repr(s[1:]),
        len(t),
        len(u),
        [type(x).__name__ for x in s],
        type(s[-1]).__name__,
        type(s.pop(0)).__name__,
    ]


@case
def sequential_iadd(T: Any, n: Any) -> Any:
    s = n.Sequential(n.ReLU())
    s += n.Sequential(n.Tanh())
    s *= 2
    return repr(s)


@case
def sequential_od(T: Any) -> Any:
    from collections import OrderedDict

    s = T.nn.Sequential(OrderedDict([("a", T.nn.ReLU()), ("b", T.nn.Tanh())]))
    return [repr(s), type(s.a).__name__]


@case
def sequential_set(T: Any) -> Any:
    s = T.nn.Sequential(T.nn.ReLU(), T.nn.Tanh())
    s[0] = T.nn.GELU()
    return repr(s)


@case
def module_list(T: Any, n: Any) -> Any:
    ms = n.ModuleList([n.ReLU(), n.Tanh()])
    ms.append(n.GELU())
    ms.insert(1, n.Sigmoid())
    ms.extend([n.ReLU()])
    ms[0] = n.Tanh()
    del ms[1]
    more = ms + n.ModuleList([n.ELU()])
    ms += [n.CELU()]
    return [repr(ms), len(more), repr(ms[1:3]), repr(ms.pop(-1)), n.ReLU in ms]


@case
def module_dict(T: Any, n: Any) -> Any:
    d = n.ModuleDict({"a": n.ReLU()})
    d["b"] = n.Tanh()
    d.update({"c": n.GELU()})
    d.pop("a")
    return [
        list(d),
        list(d.keys()),
        [type(v).__name__ for v in d.values()],
        "b" in d,
        len(d),
        repr(d),
        [k for k, _ in d.items()],
    ]


@case
def module_dict_clear(T: Any) -> Any:
    d = T.nn.ModuleDict({"a": T.nn.ReLU()})
    d.clear()
    return len(d)


@case
def module_dict_key(T: Any) -> Any:
    T.nn.ModuleDict()[1] = T.nn.ReLU()


@case
def param(T: Any) -> Any:
    p = T.nn.Parameter(T.ones(2))
    q = T.nn.Parameter(T.ones(2), requires_grad=False)
    return [
        p.requires_grad,
        q.requires_grad,
        repr(p),
        isinstance(p, T.Tensor),
        type(p * 2).__name__,
        type(p.data).__name__,
        type(p.detach()).__name__,
        type(copy.deepcopy(p)).__name__,
    ]


@case
def buffer_(T: Any) -> Any:
    m = T.nn.Module()
    m.b = T.nn.Buffer(T.ones(2))
    m.c = T.nn.Buffer(T.ones(2), persistent=False)
    return [list(m.state_dict()), [n for n, _ in m.named_buffers()]]


@case
def parameter_dict(T: Any, n: Any) -> Any:
    d = n.ParameterDict({"a": T.ones(2), "b": n.Parameter(T.zeros(1, 3), requires_grad=False), "c": "text"})
    found = [repr(d).replace(f"{T.__name__}.", ""), d.extra_repr().replace(f"{T.__name__}.", ""), list(d.state_dict())]
    name, value = d.popitem()
    found += [name, value, len(d)]
    name, value = d.popitem()
    found += [name, value, value.requires_grad, list(d), [k for k, _ in d.named_parameters()]]
    both = d | {"z": T.ones(1)}
    d |= {"y": T.ones(1)}
    return [*found, list(both), list(d), list(reversed(d)), d.get("q"), d.get("q", 3), d.setdefault("w", T.ones(1)),
            list(d.copy().keys()), list(d.fromkeys(["k", "l"], 2.0).items())]  # fmt: skip


@case
def parameter_list(T: Any, n: Any) -> Any:
    values = n.ParameterList([T.ones(2), n.Parameter(T.zeros(2, 1, dtype=T.complex64)), 3, n.ReLU()])
    found = [values.extra_repr().replace(f"{T.__name__}.", ""), repr(values).replace(f"{T.__name__}.", "")]
    values.append(T.ones(())).extend([T.zeros(3)])
    values[0] = T.zeros(4, dtype=T.float64)
    return [
        *found,
        values.extra_repr().replace(f"{T.__name__}.", ""),
        len(values),
        [k for k, _ in values.named_parameters()],
    ]


@case
def tensors_that_are_no_parameters(T: Any, n: Any) -> Any:
    values = n.ParameterList([T.ones(2)])
    T.nn.utils.parametrize.register_parametrization(values, "0", n.ReLU())
    return values.extra_repr().replace(f"{T.__name__}.", "")


CASES["popitem_of_nothing"] = lambda T: T.nn.ParameterDict().popitem()
