"""Sequences, lists and dicts of modules and parameters."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn


def test_sequential() -> None:
    a, b, c = nn.Identity(), nn.ReLU(), nn.Tanh()
    s = nn.Sequential(a, b)
    assert (len(s), s[0], s[-1]) == (2, a, b)
    s.append(c)
    assert list(s) == [a, b, c]
    assert list(s[1:]) == [b, c]
    s.insert(0, c)
    assert list(s._modules) == ["0", "1", "2", "3"]
    assert s.pop(0) is c
    del s[0]
    assert list(s._modules) == ["0", "1"]
    s[0] = a
    assert list(s + nn.Sequential(b)) == [a, c, b]
    assert list(nn.Sequential(a, b) * 2) == [a, b, a, b]
    s += nn.Sequential(b)
    assert len(s) == 3
    with pytest.raises(IndexError, match=r"Sequential: index 3 is out of range for 3"):
        s[3]


def test_sequential_by_name() -> None:
    s = nn.Sequential(OrderedDict(first=nn.Identity(), act=nn.ReLU()))
    assert s.act is s[1]
    assert list(s[:1]._modules) == ["first"]
    del s[0]
    assert list(s._modules) == ["act"]


def test_module_list() -> None:
    a, b, c = nn.Identity(), nn.ReLU(), nn.Tanh()
    m = nn.ModuleList([a, b])
    m.extend([c])
    m += [a]
    assert list(m) == [a, b, c, a]
    m.insert(1, c)
    assert list(m[1:3]) == [c, b]
    del m[0:2]
    assert list(m._modules) == ["0", "1", "2"]
    assert list(m + nn.ModuleList([a])) == [b, c, a, a]
    with pytest.raises(TypeError, match=r"int is not a Module"):
        m.append(3)
    with pytest.raises(NotImplementedError, match="forward"):
        m(1)


def test_module_dict() -> None:
    m = nn.ModuleDict({"a": nn.ReLU()})
    m.update({"b": nn.Tanh()})
    m.update([("c", nn.Identity())])
    assert list(m) == ["a", "b", "c"] == list(m.keys())
    assert "a" in m
    assert isinstance(m.pop("a"), nn.ReLU)
    assert [type(v).__name__ for v in m.values()] == ["Tanh", "Identity"]
    del m["b"]
    m.clear()
    assert (len(m), list(m.items())) == (0, [])


def test_parameter_list() -> None:
    p = nn.ParameterList([fb.zeros(2), nn.Parameter(fb.ones(1)), "kept"])
    p.append(fb.ones(3))
    p += [fb.zeros(1)]
    assert [n for n, _ in p.named_parameters()] == ["0", "1", "3", "4"]
    assert p[2] == "kept"
    assert isinstance(p[0], nn.Parameter)
    p[0] = fb.ones(4)
    assert p[0].shape == (4,)
    assert len(p[1:3]) == 2
    assert repr(p).splitlines()[1].strip() == "(0): Parameter containing: [flambeau.float32 of size 4]"
    with pytest.raises(IndexError, match=r"index 5 is out of range for 5"):
        p[5]


def test_parameter_dict() -> None:
    p = nn.ParameterDict({"a": fb.zeros(2)})
    p["b"] = nn.Parameter(fb.ones(1))
    p.update({"c": fb.ones(3)})
    assert [n for n, _ in p.named_parameters()] == ["a", "b", "c"]
    assert p.get("x", 1) == 1
    assert p.pop("a").shape == (2,)
    assert list(p.keys()) == ["b", "c"]
    assert "a" not in dict(p.items())
    with pytest.raises(KeyError):
        p["a"]


@pytest.mark.parametrize("container", [nn.ParameterList(), nn.ParameterDict()])
def test_parameters_are_not_called(container: Any) -> None:
    with pytest.raises(RuntimeError, match="should not be called"):
        container(1)
