"""GradScaler: scaling, skipped steps, growth, several optimizers and losses, state, copies."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.amp.grad_scaler import OptState
from flambeau.core.ops.nn import step


def scaler(**options: Any) -> fb.amp.GradScaler:
    return fb.amp.GradScaler("cpu", **{"init_scale": 8.0, "growth_interval": 2, **options})


def parameter(*values: float) -> tuple[fb.Tensor, fb.optim.SGD]:
    w = fb.tensor(values, requires_grad=True)
    return w, fb.optim.SGD([w], lr=1.0)


def spoil(w: fb.Tensor, value: float = math.inf) -> None:
    assert w.grad is not None
    with fb.no_grad():
        w.grad[-1] = value


def test_a_step_is_that_without_a_scaler() -> None:
    (w, optimizer), s = parameter(1.0, 2.0), scaler()
    s.scale((w * w).sum()).backward()
    assert w.grad is not None and w.grad.tolist() == [16.0, 32.0]
    s.unscale_(optimizer)
    assert w.grad.tolist() == [2.0, 4.0]
    assert s.step(optimizer) is None
    s.update()
    assert w.tolist() == [-1.0, -2.0]


def test_nestings_of_losses() -> None:
    s, x = scaler(), fb.ones(1)
    assert s.scale([x, (x * 2,)]) == [x * 8, (x * 16,)]
    assert [t.item() for t in s.scale(t for t in (x, x))] == [8.0, 8.0]
    assert s.scale(fb.ones(1, dtype=fb.float16)).dtype is fb.float16  # a scale without dimensions does not promote
    for wrong in (3.0, "loss", None):
        with pytest.raises(ValueError, match="outputs must be a tensor or an iterable of them"):
            s.scale(wrong)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("early", [False, True])
def test_a_step_with_inf_or_nan_is_skipped(value: float, early: bool) -> None:
    (w, optimizer), s = parameter(1.0, 2.0), scaler()
    s.scale((w * w).sum()).backward()
    spoil(w, value)
    if early:
        s.unscale_(optimizer)
    assert s.step(optimizer) is None
    s.update()
    assert w.tolist() == [1.0, 2.0] and s.get_scale() == 4.0


def test_it_grows_after_its_interval_and_starts_to_count_anew_after_a_skip() -> None:
    (w, optimizer), s = parameter(0.0), scaler()
    scales = []
    for spoilt in (False, False, False, True, False, False):
        optimizer.zero_grad()
        s.scale((w * w).sum()).backward()
        if spoilt:
            spoil(w)
        s.step(optimizer)
        s.update()
        scales.append(s.get_scale())
    assert scales == [8.0, 16.0, 16.0, 8.0, 8.0, 16.0]


def test_it_does_not_grow_beyond_float32() -> None:
    (w, optimizer), s = parameter(0.0), scaler(init_scale=2.0**127, growth_interval=1)
    s.scale((w * 0).sum()).backward()
    s.step(optimizer)
    s.update()
    assert s.get_scale() == 2.0**127


def test_several_optimizers_and_losses() -> None:
    (a, first), (b, second), s = parameter(1.0), parameter(1.0), scaler()
    s.scale((a * a).sum()).backward(retain_graph=True)
    s.scale((b * b + a * 0).sum()).backward()
    spoil(b)
    s.step(first)
    s.step(second)
    s.update()
    assert a.tolist() == [-1.0] and b.tolist() == [1.0] and s.get_scale() == 4.0


def test_an_optimizer_that_skips_by_itself() -> None:
    class Own(fb.optim.SGD):
        _step_supports_amp_scaling = True

        def step(self, closure: Any = None) -> Any:
            seen.append((None if self.grad_scale is None else self.grad_scale.item(), self.found_inf.item()))  # type: ignore[attr-defined]
            return "stepped"

    seen: list[Any] = []
    w, _ = parameter(1.0)
    optimizer, s = Own([w], lr=1.0), scaler()
    for early, spoilt in ((False, False), (True, False), (False, True)):
        optimizer.zero_grad()
        s.scale((w * w).sum()).backward()
        if spoilt:
            spoil(w)
        if early:
            s.unscale_(optimizer)
        assert s.step(optimizer) == "stepped" and not hasattr(optimizer, "found_inf")
        s.update(8.0)
    assert seen == [(8.0, 0.0), (None, 0.0), (8.0, 1.0)]


def test_many_gradients_are_looked_at_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    total = step.total

    def counted(tensors: Any, fold: str) -> Any:
        calls.append(len(tensors))
        return total(tensors, fold)

    monkeypatch.setattr(step, "total", counted)
    ws = [fb.rand(3, 4, requires_grad=True) for _ in range(5)]
    optimizer, s = fb.optim.SGD(ws, lr=1.0), scaler()
    s.scale(sum((w * w).sum() for w in ws)).backward()
    before = [w.grad.numpy() / 8 for w in ws if w.grad is not None]
    s.unscale_(optimizer)
    assert calls == [5]
    for w, g in zip(ws, before, strict=True):
        assert w.grad is not None
        np.testing.assert_array_equal(w.grad.numpy(), g)


def test_sparse_and_mixed_and_empty_gradients() -> None:
    table, wide = fb.nn.Embedding(4, 2, sparse=True), fb.ones(2, dtype=fb.float64, requires_grad=True)
    none, empty = fb.ones(1, requires_grad=True), fb.ones(0, requires_grad=True)
    optimizer, s = fb.optim.SGD([table.weight, wide, none, empty], lr=1.0), scaler()
    before = table.weight.detach().clone()
    s.scale(table(fb.tensor([1, 1])).sum() + (wide * 2).sum() + empty.sum()).backward()
    s.step(optimizer)
    s.update()
    np.testing.assert_allclose((before - table.weight).detach().numpy(), [[0, 0], [2, 2], [0, 0], [0, 0]], atol=1e-6)
    assert wide.tolist() == [-1.0, -1.0] and none.tolist() == [1.0]


def test_the_order_of_calls() -> None:
    (w, optimizer), s = parameter(1.0), scaler()
    for call in (lambda: s.unscale_(optimizer), lambda: s.step(optimizer), s.update):
        with pytest.raises(AssertionError, match="_scale is None"):
            call()
    s.scale((w * w).sum()).backward()
    with pytest.raises(AssertionError, match="No inf checks were recorded prior to update"):
        s.update()
    s.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called on this optimizer since the last update"):
        s.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="Closure use"):
        s.step(optimizer, closure=lambda: 1.0)
    s.step(optimizer)
    with pytest.raises(RuntimeError, match="being called after step"):
        s.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called since the last update"):
        s.step(optimizer)
    with pytest.raises(AssertionError, match="may only be pickled"):
        pickle.dumps(s)
    s.update()
    optimizer.zero_grad()
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        s.step(optimizer)


def test_parameters_of_float16_are_refused() -> None:
    w = fb.ones(2, dtype=fb.float16, requires_grad=True)
    s = scaler()
    s.scale((w * w).sum()).backward()
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        s.step(fb.optim.SGD([w], lr=1.0))


def test_factors() -> None:
    for wrong, words in (
        ({"growth_factor": 1.0}, "growth factor must be > 1"),
        ({"backoff_factor": 1.0}, "must be < 1"),
    ):
        with pytest.raises(AssertionError, match=words):
            scaler(**wrong)
    s = scaler()
    s.set_growth_factor(4.0)
    s.set_backoff_factor(0.25)
    s.set_growth_interval(1)
    assert (s.get_growth_factor(), s.get_backoff_factor(), s.get_growth_interval()) == (4.0, 0.25, 1)
    w, optimizer = parameter(0.0)
    s.scale((w * w).sum()).backward()
    s.step(optimizer)
    s.update()
    assert s.get_scale() == 32.0
    s.update(3.0)
    assert s.get_scale() == 3.0
    s.update(fb.tensor([5.0]))
    assert s.get_scale() == 5.0
    with pytest.raises(AssertionError, match="new_scale must be"):
        s.update(fb.ones(2))


def test_state_and_copies() -> None:
    (w, optimizer), s = parameter(0.0), scaler()
    s.scale((w * w).sum()).backward()
    s.step(optimizer)
    s.update()
    kept = s.state_dict()
    assert kept == {
        "scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2, "_growth_tracker": 1,
    }  # fmt: skip
    other = scaler(init_scale=2.0, growth_factor=3.0)
    other.load_state_dict(kept)
    for twin in (other, pickle.loads(pickle.dumps(s)), copy.deepcopy(s)):
        assert twin.state_dict() == kept
        optimizer.zero_grad()
        twin.scale((w * w).sum()).backward()
        twin.step(optimizer)
        twin.update()
        assert twin.get_scale() == 16.0
    assert s.get_scale() == 8.0
    s.load_state_dict({**kept, "scale": 2.0})
    assert s.get_scale() == 2.0
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        s.load_state_dict({})


def test_switched_off_it_passes_everything_on() -> None:
    (w, optimizer), s = parameter(1.0), scaler(enabled=False)
    loss = (w * w).sum()
    assert s.scale(loss) is loss and s.get_scale() == 1.0 and s.state_dict() == {} and not s.is_enabled()
    loss.backward()
    s.unscale_(optimizer)
    s.step(optimizer)
    s.update()
    s.load_state_dict({})
    assert w.tolist() == [-1.0]
    assert not pickle.loads(pickle.dumps(s)).is_enabled()
    with pytest.warns(UserWarning, match="GradScaler: there is no device of type mps.*Disabling"):
        assert not fb.amp.GradScaler("mps").is_enabled()
    assert [o.name for o in OptState] == ["READY", "UNSCALED", "STEPPED"]
