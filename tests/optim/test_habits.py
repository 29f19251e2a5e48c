"""Optimizers as packages wrap, subclass, hook and differentiate them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import optim
from flambeau.optim import lr_scheduler
from flambeau.optim import optimizer as names
from flambeau.optim.sparse import by_rows, rows_of


def _with_gradient() -> fb.Tensor:
    w = fb.ones(2, requires_grad=True)
    (w * w).sum().backward()
    return w


class Wrapped(optim.Optimizer):
    """What accelerate and others make: super().__init__ is never called."""

    def __init__(self, inner: optim.Optimizer):
        self.optimizer = inner

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self.optimizer.state

    @property
    def param_groups(self) -> Any:  # type: ignore[override]
        return self.optimizer.param_groups

    @property
    def defaults(self) -> Any:  # type: ignore[override]
        return self.optimizer.defaults

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)


def test_a_wrapper_has_no_init_of_its_own() -> None:
    w = _with_gradient()
    wrapped = Wrapped(optim.SGD([w], lr=0.1))
    schedule = lr_scheduler.StepLR(wrapped, 1)
    with warnings.catch_warnings(action="error"):
        wrapped.step()
        schedule.step()
    np.testing.assert_allclose(w.detach().numpy(), [0.8, 0.8], 1e-6)
    assert schedule.get_last_lr() == pytest.approx([0.01]) and wrapped._opt_called
    wrapped.zero_grad()
    assert w.grad is None and repr(wrapped).startswith("Wrapped (")


def test_hooks_on_every_optimizer() -> None:
    log: list[str] = []
    w = _with_gradient()
    one = optim.SGD([w], lr=0.1)
    one.register_step_pre_hook(lambda *args: log.append("own before"))
    one.register_step_post_hook(lambda *args: log.append("own after"))
    with (
        names.register_optimizer_step_pre_hook(lambda *args: log.append("before")),
        names.register_optimizer_step_post_hook(lambda *args: log.append("after")),
    ):
        one.step()
        Wrapped(one).step()
    one.step()
    inner = ["own before", "before", "own after", "after"]
    assert log == [*inner, "before", *inner, "after", "own before", "own after"]


@pytest.mark.parametrize(
    "kind",
    [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.NAdam, optim.Adagrad, optim.Adamax, optim.RAdam,
     optim.Adadelta],
)  # fmt: skip
def test_differentiable_steps_are_recorded(kind: Any) -> None:
    start = fb.tensor([1.0, 2.0], dtype=fb.float64, requires_grad=True)
    grads = [fb.tensor([0.5, -0.3], dtype=fb.float64, requires_grad=True) for _ in range(2)]

    def two_steps(x: fb.Tensor, *gs: fb.Tensor) -> fb.Tensor:
        made = kind([fb.nn.Parameter(x.detach())], lr=0.1, differentiable=True)
        p = made.param_groups[0]["params"][0] = x.clone()
        for g in gs:
            p.grad = g
            made.step()
        found: fb.Tensor = p
        return found

    assert fb.autograd.gradcheck(two_steps, (start, *grads))


def test_a_schedule_knows_when_it_is_asked() -> None:
    asked: list[bool] = []

    class Old(lr_scheduler._LRScheduler):
        def get_lr(self) -> list[float]:
            asked.append(self._get_lr_called_within_step)
            return list(self.base_lrs)

        def _get_closed_form_lr(self) -> list[float]:
            return [7.0 for _ in self.base_lrs]

    schedule = Old(optim.SGD([_with_gradient()], lr=0.1))
    schedule.get_lr()
    schedule.optimizer.step()
    assert asked == [True, False] and schedule._step_count == 1
    schedule.step(3)
    assert schedule.get_last_lr() == [7.0] and "_get_lr_called_within_step" not in schedule.state_dict()
    assert lr_scheduler.StepLR(optim.SGD([_with_gradient()], lr=0.5), 2)._get_closed_form_lr() == [0.5]


def test_names_that_optimizers_import() -> None:
    @names._use_grad_for_differentiable
    def recorded(self: Any) -> bool:
        return fb.is_grad_enabled()

    assert not recorded(optim.SGD([_with_gradient()], lr=0.1))
    assert recorded(optim.SGD([_with_gradient()], lr=0.1, differentiable=True))
    assert names._get_value(fb.tensor(2.0)) == 2.0 and names._dispatch_sqrt(4.0) == 2.0
    assert names._dispatch_sqrt(fb.tensor(4.0)).item() == 2.0 and names._to_scalar(fb.tensor([3.0])).ndim == 0
    assert names._get_scalar_dtype() is fb.float32 and names._stack_if_compiling(1) == 1
    parts, others = [fb.tensor([1 + 2j])], [fb.tensor([3 + 4j])]
    names._view_as_real(parts, others)
    assert parts[0].tolist() == [[1.0, 2.0]] and others[0].tolist() == [[3.0, 4.0]]


def test_what_a_gradient_may_not_be() -> None:
    w = _with_gradient()
    with pytest.raises(RuntimeError, match="SparseAdam does not support dense gradients"):
        optim.SparseAdam([w]).step()
    with pytest.raises(ValueError, match="2D parameters, got one of shape"):
        optim.Muon([w])
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        optim.Adam([w], foreach=True, fused=True)


class Sparse:
    """A gradient that has a few rows, with the methods that an optimizer asks of it."""

    is_sparse = True

    def __init__(self, rows: list[int], values: fb.Tensor, shape: tuple[int, ...]):
        self.rows, self.values, self.shape = fb.tensor([rows]), values, shape

    def coalesce(self) -> Sparse:
        return self

    def _indices(self) -> fb.Tensor:
        return self.rows

    def _values(self) -> fb.Tensor:
        return self.values


def test_rows_of_a_sparse_gradient() -> None:
    p = fb.zeros(4, 2)
    where, values, axes = rows_of(Sparse([1, 3], fb.ones(2, 2), (4, 2)))
    by_rows(p, axes).index_add_(0, where, values, alpha=-1)
    assert p.tolist() == [[0.0, 0.0], [-1.0, -1.0], [0.0, 0.0], [-1.0, -1.0]]
