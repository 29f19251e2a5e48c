"""``debug.compare``: the first op that differs, however it differs, and nothing where devices agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core import registry
from flambeau.debug import compare

Planted = Callable[..., None]


@pytest.fixture
def plant() -> Iterator[Planted]:
    """Put a kernel over one of strict's: ``plant("exp", lambda result, *operands: ...)`` changes its result."""

    def put(name: str, change: Callable[..., Any], **options: Any) -> None:
        def make(below: Any) -> Any:
            return lambda *arrays, **params: change(below(*arrays, **params), *arrays)

        fb.library.register_kernel(name, "strict", make, source="planted", **options)

    yield put
    registry.unregister_overlays("planted")


def shifted(by: float) -> Callable[..., Any]:
    """A kernel's result with ``by`` added, as strict computes it."""

    def change(result: Any, *operands: Any) -> Any:
        out = fb.core.dispatch.tensor_of(result, fb.core.keys.key_for(fb.device("strict:0"), fb.float32))
        return (out + by)._array

    return change


def train(model: nn.Module, x: fb.Tensor, target: fb.Tensor) -> None:
    loss = (model(x) - target).square().mean()
    loss.backward()


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Sigmoid(), nn.Linear(4, 2)))


def test_equal_devices_agree_through_forward_and_backward() -> None:
    report = compare(train, model(), fb.randn(5, 3), fb.randn(5, 2), devices=("cpu", "strict", "cpu"))
    assert report.ok and report.difference is None
    assert report.ops > 10 and str(report) == f"{report.ops} ops agree"


def test_a_wrong_kernel_is_named_with_module_shapes_and_size(plant: Planted) -> None:
    plant("sigmoid", shifted(0.25))
    report = compare(train, model(), fb.randn(5, 3), fb.randn(5, 2), devices=("cpu", "strict"))
    found = report.difference
    assert found is not None and not report.ok
    assert (found.op, found.module, found.shapes) == ("sigmoid", "Sequential.1.0", ((5, 4),))
    assert found.max_abs == pytest.approx(0.25, rel=1e-5) and found.max_rel > 0.2
    assert found.devices == ("cpu", "strict:0")
    assert str(report).startswith(
        f"op {found.index} `sigmoid` in module Sequential.1.0 on operands (5, 4) differs between cpu and strict:0"
    )
    assert "max abs 0.25" in str(report)


def test_a_wrong_kernel_of_the_backward_pass_is_found(plant: Planted) -> None:
    x = fb.tensor([0.5, 1.5], requires_grad=True)
    plant("cos", shifted(1.0))
    assert compare(lambda v: v.sin().sum(), x, devices=("cpu", "strict")).ok
    report = compare(lambda v: v.sin().sum().backward(), x, devices=("cpu", "strict"))
    assert report.difference is not None and report.difference.op == "cos"
    assert report.difference.shapes == ((2,),)


def test_a_difference_within_the_tolerance_is_none(plant: Planted) -> None:
    plant("exp", shifted(1e-3))
    x = fb.zeros(3)
    assert not compare(lambda v: v.exp(), x, devices=("cpu", "strict")).ok
    assert compare(lambda v: v.exp(), x, devices=("cpu", "strict"), tolerances={fb.float32: (0, 1e-2)}).ok


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_on_one_device_only(plant: Planted, bad: float) -> None:
    def f(v: fb.Tensor) -> fb.Tensor:
        return v.exp()

    x = fb.tensor([0.0, 1.0, float("inf")])
    assert compare(f, x, devices=("cpu", "strict")).ok
    plant("exp", shifted(bad))
    report = compare(f, x, devices=("cpu", "strict"))
    assert report.difference is not None and report.difference.max_abs == float("inf")


def test_an_infinity_that_the_other_device_lacks(plant: Planted) -> None:
    plant("log", shifted(float("inf")))  # -inf + inf is nan
    report = compare(lambda v: v.log(), fb.tensor([0.0]), devices=("cpu", "strict"))
    assert report.difference is not None and report.difference.reason == "values differ"


def test_wide_integers_compare_exactly(plant: Planted) -> None:
    big = 2**60

    def change(result: Any, *operands: Any) -> Any:
        out = fb.core.dispatch.tensor_of(result, fb.core.keys.key_for(fb.device("strict:0"), fb.int64))
        return (out + 1)._array if out.shape == (1,) else result

    plant("mul", change, dtypes=[fb.int64])
    report = compare(lambda v: v * 1, fb.tensor([big]), devices=("cpu", "strict"))
    assert report.difference is not None and report.difference.op == "mul"


def test_wrong_shapes_and_dtypes_are_differences() -> None:
    strict = fb.device("strict:0")

    def narrow_there(v: fb.Tensor) -> fb.Tensor:
        return v[: 3 if v.device.type == "cpu" else 1]

    report = compare(narrow_there, fb.ones(3), devices=("cpu", strict))
    assert report.difference is not None and report.difference.reason == "shapes (3,) and (1,)"

    def cast_there(v: fb.Tensor) -> fb.Tensor:
        return v.to(fb.float64 if v.device.type == "cpu" else fb.float16)

    report = compare(cast_there, fb.ones(3), devices=("cpu", strict))
    assert report.difference is not None and report.difference.reason == "dtypes float64 and float16"


def test_devices_that_run_other_ops() -> None:
    report = compare(lambda v: v.exp() if v.device.type == "cpu" else v.sin(), fb.ones(2), devices=("cpu", "strict"))
    assert report.difference is not None and report.difference.reason == "the other device ran `sin` here"
    report = compare(
        lambda v: v.exp() if v.device.type == "cpu" else v.exp().neg(), fb.ones(2), devices=("cpu", "strict")
    )
    assert report.difference is not None
    assert (report.difference.op, report.difference.reason) == ("neg", "only one device ran this op")


def test_random_numbers_start_alike_and_the_state_returns() -> None:
    net = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5))
    fb.manual_seed(7)
    before = fb.get_rng_state()
    report = compare(lambda m, x: m(x) * fb.rand(64, device=x.device), net, fb.ones(4, 3), devices=("cpu", "strict"))
    assert report.ok and report.ops > 2
    found = fb.rand(4).tolist()
    fb.set_rng_state(before)
    assert fb.rand(4).tolist() == found


def test_callers_tensors_and_modules_stay_as_they_are() -> None:
    net, x = model(), fb.ones(2, 3)
    weight = next(net.parameters())
    target = fb.zeros(2, 2)

    def spoil(m: nn.Module, v: fb.Tensor, t: fb.Tensor) -> None:
        train(m, v, t)
        v.mul_(5)
        with fb.no_grad():
            for p in m.parameters():
                p.zero_()

    assert compare(spoil, net, x, target, devices=("cpu", "strict")).ok
    assert x.tolist() == [[1.0] * 3] * 2
    assert weight.grad is None and weight.device.type == "cpu" and weight.abs().sum().item() > 0


def test_arguments_in_containers_move() -> None:
    seen: list[str] = []

    def f(batch: dict[str, Any]) -> fb.Tensor:
        seen.append(str(batch["x"][0].device))
        return batch["x"][0] * batch["scale"]

    assert compare(f, {"x": [fb.ones(2)], "scale": 3}, devices=("cpu", "strict:1")).ok
    assert seen == ["cpu", "strict:1"]


def test_a_module_is_a_function_too() -> None:
    assert compare(model(), fb.ones(2, 3), devices=("cpu", "strict")).ok


def test_under_transforms() -> None:
    x = fb.randn(3, 4)

    def f(v: fb.Tensor) -> fb.Tensor:
        return fb.func.vmap(lambda row: row.exp() / row.exp().sum())(v)

    assert compare(f, x, devices=("cpu", "strict")).ok
    assert compare(fb.func.grad(lambda v: v.sin().sum()), x, devices=("cpu", "strict")).ok
    pushed = compare(lambda v: fb.func.jvp(fb.sin, (v,), (v,)), x, devices=("cpu", "strict"))
    assert pushed.ok and pushed.ops >= 1


def test_one_device_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two devices, got 1"):
        compare(lambda x: x, fb.ones(1), devices=("cpu",))
