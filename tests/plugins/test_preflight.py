"""``plugins.preflight``: what a device cannot do of a model is known before any training."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.backends.meta.backend import NoDataError
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.device import device, located
from flambeau.core.record import OPS
from flambeau.core.state import layer
from flambeau.plugins import gaps, preflight

Take = Callable[[str, dt.DType], None]


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))


@pytest.mark.parametrize("name", ["cpu", "strict", "narrow"])
def test_a_model_that_the_device_can_do(name: str) -> None:
    report = preflight(model(), fb.ones(3, 4), device=name)
    assert report.ok and report.ops > 4
    assert str(report) == f"{located(name)} can do all {report.ops} ops of the model"


def test_a_dtype_that_the_device_does_not_have() -> None:
    report = preflight(model().double(), fb.ones(3, 4, dtype=fb.float64), device="strict")
    assert not report.ok and {g.kind for g in report.gaps} == {"dtype"}
    assert "strict:0 cannot do" in str(report) and "does not support flambeau.float64" in str(report)


def test_an_op_that_is_missing_is_named_with_the_module_that_needs_it(without: Take) -> None:
    without("erf", dt.float32)
    without("exp", dt.float32)  # what erf comes down to
    report = preflight(model(), fb.ones(3, 4), device="strict")
    (found,) = (g for g in report.gaps if g.op == "exp")
    assert (found.dtype, found.kind) == ("float32", "missing")
    assert "exp (float32): missing: no kernel, and no body of other ops" in str(report)
    assert "1" in found.module  # GELU stands at 1


def test_an_op_that_only_the_gradient_needs(without: Take) -> None:
    def halves(x: fb.Tensor) -> fb.Tensor:
        return x.sqrt()

    without("div", dt.float32)
    x = fb.ones(3, requires_grad=True)
    assert {g.op for g in preflight(halves, x, device="strict").gaps} == {"div"}
    assert preflight(halves, x, device="strict", backward=False).ok


def test_the_policy_says_whether_an_op_falls_back(without: Take, settings: pytest.MonkeyPatch) -> None:
    without("sqrt", dt.float32)
    with config.override(fallback="warn"):
        (found,) = preflight(lambda x: x.sqrt(), fb.ones(2), device="strict").gaps
    assert found.kind == "fallback"


def test_a_model_that_reads_values_is_told_which() -> None:
    class Chooses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            return x if self.first(x).sum() > 0 else -x

    with pytest.raises(NoDataError, match=r"needs a value that `gt` in module Chooses gave.*where"):
        preflight(Chooses(), fb.ones(3, 4), device="strict")


def test_in_place_ops_still_write(without: Take) -> None:
    without("add", dt.float32)
    watch = gaps.Watch(device("strict:0"))
    with layer(watch):
        x = fb.ones(2)
        x.add_(1)
        x.copy_(x * 3)
    assert x.tolist() == [6, 6]
    assert set(watch.gaps) == {("add", "float32")} and ("mul", "float32") in watch.seen


def test_the_model_and_its_inputs_stay_as_they_were() -> None:
    net, x = model(), fb.ones(3, 4, requires_grad=True)
    before = [p.tolist() for p in net.parameters()]
    preflight(net, x, device="strict")
    assert [p.tolist() for p in net.parameters()] == before
    assert all(p.grad is None for p in net.parameters()) and x.grad is None and x.device == fb.device("cpu")


def test_a_composite_keeps_its_own_gradient() -> None:
    """The gradient of the device's path is looked at, not that of the cpu's kernels."""
    watch = gaps.Watch(device("strict:0"))
    assert OPS["tanh"].has_vjp
    x = fb.tensor([0.5], requires_grad=True)
    with layer(watch):
        x.tanh().sum().backward()
    assert x.grad is not None and abs(x.grad.item() - (1 - 0.46211716**2)) < 1e-6
