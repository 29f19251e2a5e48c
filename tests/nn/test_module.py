"""Module: registration, the tree, moves, modes, hooks, errors."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core import registry
from tests.errors import check_error


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(fb.tensor([1.0, 2.0]))
        self.register_buffer("count", fb.tensor([3]))
        self.register_buffer("scratch", fb.zeros(2), persistent=False)

    def forward(self, x: Any) -> Any:
        return x * self.weight


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Inner()
        self.second = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        self.tied = self.first
        self.missing = None

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x))


# -- registration --------------------------------------------------------------------------------------
def test_setattr_moves_between_registries() -> None:
    m = Inner()
    p = nn.Parameter(fb.zeros(1))
    m.other = 5
    m.other = p
    assert m._parameters["other"] is p
    assert "other" not in m.__dict__
    m.other = None
    assert m.other is None
    m.other = p
    m.count = fb.tensor([4])
    assert m._buffers["count"].item() == 4
    m.weight = nn.Linear(1, 1)
    assert "weight" not in m._parameters
    assert isinstance(m.weight, nn.Linear)
    del m.weight
    assert not hasattr(m, "weight")
    del m.other
    assert "other" not in m._parameters
    assert {"count", "scratch", "training"} <= set(dir(m))


def _early() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.p = nn.Parameter(fb.zeros(1))

    Early()


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda m: setattr(m, "weight", 3), TypeError, ["'weight'", "int", "Parameter"]),
        (lambda m: setattr(m, "count", 3), TypeError, ["buffer 'count'", "int"]),
        (lambda m: m.register_parameter("a.b", None), KeyError, ['"."']),
        (lambda m: m.register_parameter("", None), KeyError, ["empty"]),
        (lambda m: m.register_parameter("count", None), KeyError, ["'count'", "exists"]),
        (lambda m: m.register_parameter("w", fb.zeros(1)), TypeError, ["'w'", "Tensor"]),
        (lambda m: m.register_buffer("b", 3), TypeError, ["'b'", "int"]),
        (lambda m: m.add_module("c", 3), TypeError, ["int", "Module"]),
        (lambda m: m.nothing, AttributeError, ["Inner", "'nothing'"]),
        (lambda m: nn.Module()(1), NotImplementedError, ["Module", "forward"]),
        (lambda m: m.train("yes"), ValueError, ["boolean", "'yes'"]),
        (lambda m: m.to(fb.int64), TypeError, ["floating point", "int64"]),
        (lambda m: m.to(3), TypeError, ["device", "dtype", "3"]),
        (lambda m: nn.Parameter(3), TypeError, ["Parameter", "int"]),
        (lambda m: m.get_submodule("x.y"), AttributeError, ["'x.y'", "Inner", "'x'"]),
        (lambda m: m.get_parameter("x"), AttributeError, ["'x'", "Inner"]),
        (lambda m: m.get_buffer("x"), AttributeError, ["'x'", "Inner"]),
        (lambda m: _early(), AttributeError, ["super().__init__()", "'p'"]),
    ],
)
def test_errors_say_what_is_wrong(wrong: Any, error: type[Exception], words: list[str]) -> None:
    check_error(lambda: wrong(Inner()), error, words)


# -- the tree ------------------------------------------------------------------------------------------
def test_repr() -> None:
    assert repr(Outer()) == (
        "Outer(\n  (first): Inner()\n  (second): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=2, bias=True)\n    (1): ReLU()\n  )\n  (tied): Inner()\n)"
    )
    assert repr(nn.Conv2d(1, 2, 3, padding=1, bias=False)) == (
        "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)"
    )
    assert repr(nn.Parameter(fb.zeros(1))) == "Parameter containing:\ntensor([0.], requires_grad=True)"


# -- change in place -----------------------------------------------------------------------------------
def test_dtypes_move_parameters_in_place() -> None:
    m = Outer()
    p, count = m.first.weight, m.first.count
    assert m.double() is m
    assert m.first.weight is p
    assert (p.dtype, m.first.scratch.dtype, m.first.count.dtype) == (fb.float64, fb.float64, fb.int64)
    assert m.first.count is count
    for wanted, method in ((fb.float16, m.half), (fb.bfloat16, m.bfloat16), (fb.float32, m.float)):
        method()
        assert {q.dtype for q in m.parameters()} == {wanted}
    assert m.to("cpu", fb.float64).first.weight.dtype is fb.float64
    assert m.to(fb.zeros(1)).first.weight.dtype is fb.float32
    assert all(q.requires_grad and q.is_leaf for q in m.parameters())


def test_gradients_move_too() -> None:
    m = nn.Linear(2, 1)
    m(fb.ones(1, 2)).sum().backward()
    m.double()
    assert m.weight.grad is not None
    assert m.weight.grad.dtype is fb.float64
    m(fb.ones(1, 2, dtype=fb.float64)).sum().backward()
    np.testing.assert_array_equal(m.weight.grad.numpy(), [[2.0, 2.0]])


def test_meta_module_becomes_real() -> None:
    m = nn.Linear(3, 2, device="meta")
    assert str(m.weight.device) == "meta"
    m.to_empty(device="cpu")
    m.reset_parameters()
    assert m(fb.ones(1, 3)).shape == (1, 2)


def test_copies_are_independent_and_equal() -> None:
    m = Outer()
    for made in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert isinstance(made.first.weight, nn.Parameter)
        assert made.tied is made.first
        np.testing.assert_array_equal(made(fb.ones(1, 2)).detach().numpy(), m(fb.ones(1, 2)).detach().numpy())
        with fb.no_grad():
            made.first.weight.add_(1)
        assert m.first.weight.tolist() == [1.0, 2.0]


def test_a_module_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        m = Outer()
        m(fb.ones(1, 2)).sum().backward()
        alive = weakref.ref(m)
        del m
        assert alive() is None
    finally:
        gc.enable()


# -- hooks ---------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("settled")
def test_training_leaves_nothing_behind() -> None:
    """With hooks, and with the garbage collector off."""
    net = nn.Sequential(
        nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.GELU(), nn.Dropout(0.1), nn.Flatten(), nn.LayerNorm(8)
    )
    rnn = nn.GRU(1, 2, batch_first=True)
    net.register_full_backward_hook(lambda mod, gin, gout: None)
    optimizer = fb.optim.Adam([*net.parameters(), *rnn.parameters()])

    def train() -> None:
        optimizer.zero_grad()
        x = fb.randn(4, 6, 1)
        loss = nn.functional.cross_entropy(net(x.mT), fb.tensor([0, 1, 2, 3])) + rnn(x)[0].square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    for _ in range(3):
        train()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(10):
            train()
        assert len(gc.get_objects()) - before < 10
    finally:
        gc.enable()


# -- where an error was --------------------------------------------------------------------------------
def test_errors_name_the_module() -> None:
    m = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Identity(), nn.Linear(3, 1)))
    with pytest.raises(RuntimeError) as caught:
        m(fb.ones(1, 2))
    assert caught.value.__notes__ == ["in Sequential, module '1.1': Linear(in_features=3, out_features=1, bias=True)"]


def test_anomaly_mode_names_the_module() -> None:
    class Root(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.sqrt()

    m = nn.Sequential(nn.Identity(), Root())
    with fb.autograd.detect_anomaly():
        out = m(fb.tensor([-1.0], requires_grad=True) * 1.0)
        with pytest.raises(RuntimeError, match=r"Sequential\.1"):
            out.sum().backward()


def test_hasattr_asks_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    known = registry.known_types
    monkeypatch.setattr(registry, "known_types", lambda: asked.append(None) or known())
    layer = nn.Linear(2, 2)
    layer.register_buffer("mean", fb.zeros(2))
    assert not hasattr(layer, "nothing") and not hasattr(layer, "opencl") and not asked
    with pytest.raises(AttributeError, match=r"'Linear' object has no attribute 'opencl'; use \.to\(\"opencl\"\)"):
        _ = layer.opencl
    assert asked


def test_initial_values_are_one_kernel() -> None:
    with fb.profiler.profile() as p:
        fb.empty(4, 4).uniform_(-1, 1)
    assert [row.name for row in p.rows() if row.name not in ("empty", "copy_into")] == ["uniform_numbers"]


def test_options_of_a_function_are_the_constructors() -> None:
    layer = nn.CrossEntropyLoss(fb.ones(3), label_smoothing=0.1)
    assert [name for name, _ in layer.named_buffers()] == ["weight"]
    assert (layer.ignore_index, layer.reduction, layer.label_smoothing) == (-100, "mean", 0.1)
    assert list(inspect.signature(nn.Threshold).parameters) == ["threshold", "value", "inplace"]
    with pytest.raises(TypeError, match=r"ELU\(alpha=1.0, inplace=False\): .*unexpected keyword argument 'alfa'"):
        nn.ELU(alfa=1.0)


def test_a_family_is_documented_class_by_class() -> None:
    assert "nn.Conv2d(" in str(nn.Conv2d.__doc__) and "nn.Conv3d(" in str(nn.Conv3d.__doc__)
    assert "(1, 3, 8, 8, 8)" in str(nn.functional.conv3d.__doc__) and nn.functional.conv3d.__name__ == "conv3d"

    class _Own(nn.Conv2d):
        """Mine."""

    assert _Own.__doc__ == "Mine." and "padding" in inspect.signature(_Own).parameters


@pytest.mark.parametrize("name", ["softsign", "tanhshrink", "hardswish", "mish"])
def test_an_activation_stands_in_four_files(name: str) -> None:
    """Its record, its function, its layer, and its sample; nothing lists it besides, but what speaks of ONNX's ops."""
    root = Path(__file__).resolve().parents[2]
    sources = [p for h in ("core", "backends", "plugins", "nn", "optim", "flambeau") for p in (root / h).rglob("*.py")]
    sources = [p for p in sources if p.parent.parent.name != "onnx"]
    found = {str(p.relative_to(root)) for p in sources if re.search(rf"\b{name}\b", p.read_text(), re.I)}
    assert len(found) <= 4, found
