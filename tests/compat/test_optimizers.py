"""The steps of optimizers as functions of lists do what the optimizers do, and change the lists in place."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb
from flambeau.compat import optimizers

START, GRADS = [0.5, -1.0, 2.0], ([0.1, -0.2, 0.3], [0.3, 0.1, -0.2], [-0.1, 0.4, 0.2])
ADAM = dict(lr=0.1, weight_decay=0.01, eps=1e-8)
#: name of the class, lists with the names that the state has for them, options of the function that are not the class's
CASES: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "adadelta": ("Adadelta", ("square_avg", "acc_delta"), dict(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.1)),
    "adagrad": ("Adagrad", ("sum",), dict(lr=0.1, weight_decay=0.1, lr_decay=0.1, eps=1e-10)),
    "adam": ("Adam", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), dict(amsgrad=True, **ADAM)),
    "adamw": ("AdamW", ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), dict(amsgrad=False, **ADAM)),
    "adamax": ("Adamax", ("exp_avg", "exp_inf"), ADAM),
    "asgd": ("ASGD", ("ax", "mu", "eta"), dict(lr=0.1, lambd=1e-2, alpha=0.75, t0=1.0, weight_decay=0.1)),
    "nadam": ("NAdam", ("exp_avg", "exp_avg_sq", "mu_product"), dict(momentum_decay=4e-3, **ADAM)),
    "radam": ("RAdam", ("exp_avg", "exp_avg_sq"), ADAM),
    "rmsprop": ("RMSprop", ("square_avg", "grad_avg", "momentum_buffer"),
                dict(lr=0.1, alpha=0.9, eps=1e-8, weight_decay=0.1, momentum=0.5, centered=True)),
    "rprop": ("Rprop", ("prev", "step_size"), {}),
    "sgd": ("SGD", ("momentum_buffer",),
            dict(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.1, nesterov=False)),
}  # fmt: skip


def _first(name: str, p: fb.Tensor) -> fb.Tensor | None:
    """A running value before the first step."""
    numbers = {"mu_product": 1.0, "mu": 1.0, "eta": 0.1}
    if name == "momentum_buffer" and p is _WITHOUT:
        return None
    return fb.tensor(numbers[name]) if name in numbers else fb.full_like(p, 0.01 if name == "step_size" else 0.0)


_WITHOUT = fb.zeros(3)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_function_steps_as_its_optimizer(name: str) -> None:
    kind, names, options = CASES[name]
    betas = dict(beta1=0.9, beta2=0.999) if "exp_avg" in names else {}
    more = dict(etaminus=0.5, etaplus=1.2, step_size_min=1e-6, step_size_max=50.0) if name == "rprop" else {}
    expected = fb.nn.Parameter(fb.tensor(START))
    optimizer = getattr(fb.optim, kind)([expected], **(options or {"lr": 0.01}))
    p = fb.tensor(START, requires_grad=True)
    sgd = name == "sgd"
    lists = [[_first(n, _WITHOUT if sgd else p)] for n in names]
    steps = [fb.tensor(0.0)]
    for grad in GRADS:
        expected.grad = fb.tensor(grad)
        optimizer.step()
        with fb.no_grad():
            arguments = ([p], [fb.tensor(grad)], *lists, *([] if sgd else [steps]))
            getattr(optimizers, name)(*arguments, maximize=False, **options, **betas, **more)
    fb.testing.assert_close(p.detach(), expected.detach())
    if not sgd:
        assert steps[0].item() == 3.0
    for n, [value] in zip(names, lists, strict=True):
        if n in optimizer.state[expected]:
            assert value is not None
            fb.testing.assert_close(value, fb.as_tensor(optimizer.state[expected][n]))


def test_steps_are_tensors() -> None:
    with pytest.raises(RuntimeError, match="list of singleton tensors"):
        optimizers.adagrad(
            [fb.ones(1)], [fb.ones(1)], [fb.zeros(1)], [0.0],  # type: ignore[list-item]
            lr=0.1, weight_decay=0, lr_decay=0, eps=1e-10, maximize=False,
        )  # fmt: skip


def test_a_scale_divides_gradients_and_an_infinite_one_stops_the_step() -> None:
    options: dict[str, Any] = dict(
        weight_decay=0, momentum=0, lr=1.0, dampening=0, nesterov=False, maximize=False, grad_scale=fb.tensor(4.0)
    )
    p = fb.ones(1)
    optimizers.sgd([p], [fb.ones(1)], [None], found_inf=fb.tensor(1.0), **options)
    assert p.item() == 1.0
    optimizers.sgd([p], [fb.ones(1)], [None], found_inf=fb.tensor(0.0), **options)
    assert p.item() == 0.75
