"""Optimizers: groups, closures, state in torch's form, hooks, errors; steps with and without fused kernels."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.core.ops.nn import step
from flambeau.core.state import layer
from tests.errors import check_error

NAMES = ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Rprop", "ASGD"]
OPTIONS: dict[str, dict[str, Any]] = {"SGD": {"momentum": 0.9}, "Adam": {"amsgrad": True}, "RMSprop": {"momentum": 0.5}}


def parameters(dtype: Any = None) -> list[Any]:
    return [nn.Parameter(fb.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3)), nn.Parameter(fb.ones(3, dtype=dtype))]


def descend(optimizer: Any, ps: list[Any], steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        ((ps[0] * ps[1]).tanh().square().sum() + ps[1].square().sum()).backward()
        optimizer.step()


def values(ps: list[Any]) -> list[Any]:
    return [p.detach().double().numpy().copy() for p in ps]


# -- state ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_going_on_from_saved_state(name: str) -> None:
    make = lambda ps: getattr(optim, name)(ps, lr=0.05, **OPTIONS.get(name, {}))  # noqa: E731
    whole, first, second = parameters(), parameters(), parameters()
    descend(make(whole), whole, 6)
    optimizer = make(first)
    descend(optimizer, first, 3)
    with fb.no_grad():
        for p, q in zip(second, first, strict=True):
            p.copy_(q)
    resumed = make(second)
    resumed.load_state_dict(optimizer.state_dict())
    descend(resumed, second, 3)
    for a, b in zip(values(second), values(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_is_in_torchs_form() -> None:
    ps = parameters()
    optimizer = optim.Adam([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.5}])
    descend(optimizer, ps, 2)
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in state["param_groups"]] == [1e-3, 0.5]
    assert list(state["state"]) == [0, 1]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert state["state"][0]["step"].item() == 2.0
    assert state["state"][1]["exp_avg"].shape == (3,)


def test_state_takes_the_parameters_dtype() -> None:
    ps, doubles = parameters(), parameters(fb.float64)
    optimizer = optim.SGD(ps, lr=0.1, momentum=0.9)
    descend(optimizer, ps, 1)
    other = optim.SGD(doubles, lr=0.3, momentum=0.5)
    other.load_state_dict(optimizer.state_dict())
    assert other.state[doubles[0]]["momentum_buffer"].dtype is fb.float64
    assert other.param_groups[0]["lr"] == 0.1


def test_state_of_a_file_with_text_keys() -> None:
    """JSON knows no other keys."""
    ps = parameters()
    optimizer = optim.Adam(ps)
    descend(optimizer, ps, 1)
    state = optimizer.state_dict()
    state["state"] = {str(k): v for k, v in state["state"].items()}
    optimizer.load_state_dict(state)
    assert set(optimizer.state) == set(ps)


def test_copies() -> None:
    ps = parameters()
    optimizer = optim.SGD(ps, lr=0.1, momentum=0.9)
    descend(optimizer, ps, 1)
    for made in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        own = made.param_groups[0]["params"]
        descend(made, own, 1)
    assert made.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


# -- options -------------------------------------------------------------------------------------------
#: What an optimizer has beyond its own signature.
MORE: dict[str, dict[str, Any]] = {"AdamW": {"decoupled_weight_decay": True}, "LBFGS": {"max_eval": 25}}


@pytest.mark.parametrize("name", [*NAMES, "LBFGS"])
def test_the_signature_declares_the_options(name: str) -> None:
    """Defaults and groups hold what stands there, and nothing else says it again."""
    kind = getattr(optim, name)
    _, *declared = inspect.signature(kind).parameters.values()
    optimizer = kind(parameters())
    expected = {p.name: p.default for p in declared} | MORE.get(name, {})
    assert optimizer.defaults == expected
    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == expected


@pytest.mark.parametrize("name", [*NAMES, "LBFGS"])
def test_annotations_check_the_options(name: str) -> None:
    kind = getattr(optim, name)
    for option, note in inspect.get_annotations(kind.__init__).items():
        if note in ("AtLeast0", "Rate", "Share"):
            with pytest.raises(ValueError, match=f"{name}: invalid {option}: -1; it must be at least 0"):
                kind(parameters(), **{option: -1})
        elif note == "Betas":
            with pytest.raises(ValueError, match=rf"{name}: invalid beta2: 1.0; it must be in \[0, 1\)"):
                kind(parameters(), **{option: (0.9, 1.0)})


# -- steps ---------------------------------------------------------------------------------------------
def test_parameters_without_gradient_stay() -> None:
    ps = parameters()
    before = values(ps)
    for name in NAMES:
        getattr(optim, name)(ps, lr=0.1).step()
    for a, b in zip(values(ps), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_steps_count_as_writes() -> None:
    """A value that backward saved before the step is noticed."""
    p = nn.Parameter(fb.ones(3))
    loss = (p * p).sum()
    p.grad = fb.ones(3)
    version = p._version
    optim.SGD([p], lr=0.1).step()
    assert p._version > version
    with pytest.raises(RuntimeError, match="sgd_step"):
        loss.backward()


def test_learning_rate_may_be_a_tensor() -> None:
    a, b = parameters(), parameters()
    descend(optim.SGD(a, lr=fb.tensor(0.1)), a, 2)
    descend(optim.SGD(b, lr=0.1), b, 2)
    np.testing.assert_allclose(values(a)[0], values(b)[0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [fb.float16, fb.bfloat16])
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_low_precision(name: str, dtype: Any) -> None:
    low, wide = parameters(dtype), parameters()
    for ps in (low, wide):
        descend(getattr(optim, name)(ps, lr=0.1), ps, 3)
    assert low[0].dtype is dtype
    np.testing.assert_allclose(values(low)[0], values(wide)[0], atol=0.05)


def test_parameters_of_several_dtypes() -> None:
    ps = [nn.Parameter(fb.ones(2)), nn.Parameter(fb.ones(2, dtype=fb.float64)), nn.Parameter(fb.ones(2))]
    for p in ps:
        p.grad = fb.ones(2, dtype=p.dtype)
    optim.SGD(ps, lr=0.5).step()
    assert [p.tolist() for p in ps] == [[0.5, 0.5]] * 3


def test_strided_parameters() -> None:
    base = fb.zeros(4, 6)
    p = nn.Parameter(base.t()[::2])
    p.grad = fb.ones(3, 4)
    optim.Adam([p], lr=0.1).step()
    np.testing.assert_allclose(p.detach().numpy(), -0.1, rtol=1e-5)
    assert float(base.abs().sum()) == pytest.approx(1.2)


def body_of(function: Any, seen: list[str]) -> Any:
    """A layer that runs an op's body in place of its kernel."""

    def run(op: Any, args: Any, params: Any) -> Any:
        if op is not function.op:
            return NotImplemented
        seen.append(op.name)
        return op.body(*args, **params)

    return run


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("SGD", step.sgd_step_p, {}),
        ("SGD", step.sgd_step_p, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        ("SGD", step.sgd_step_p, {"momentum": 0.9, "dampening": 0.2, "maximize": True}),
        ("Adam", step.adam_step_p, {"amsgrad": True, "weight_decay": 0.1}),
        ("AdamW", step.adam_step_p, {"maximize": True}),
    ],
)
def test_the_body_does_what_the_kernel_does(name: str, function: Any, options: dict[str, Any]) -> None:
    a, b, seen = parameters(fb.float64), parameters(fb.float64), []
    descend(getattr(optim, name)(a, lr=0.05, **options), a, 4)
    with layer(body_of(function, seen)):
        descend(getattr(optim, name)(b, lr=0.05, **options), b, 4)
    assert seen
    for x, y in zip(values(a), values(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13)


def test_large_parameters_in_pieces() -> None:
    """What the threads do piece by piece is what one loop does."""
    fb.manual_seed(0)
    start, grad = fb.randn(300_001), fb.randn(300_001)
    for name, options in (("SGD", {"momentum": 0.9}), ("Adam", {"amsgrad": True})):
        whole, parts = (
            nn.Parameter(start.clone()),
            [nn.Parameter(start[i : i + 10_000].clone()) for i in range(0, 300_001, 10_000)],
        )
        whole.grad = grad
        for i, p in enumerate(parts):
            p.grad = grad[i * 10_000 : (i + 1) * 10_000]
        for ps in ([whole], parts):
            optimizer = getattr(optim, name)(ps, lr=0.1, **options)
            for _ in range(2):
                optimizer.step()
        np.testing.assert_array_equal(whole.detach().numpy(), fb.cat([p.detach() for p in parts]).numpy())


# -- groups, hooks, errors -----------------------------------------------------------------------------
def mismatched() -> None:
    optim.SGD(parameters(), lr=0.1).load_state_dict(optim.SGD(parameters()[:1], lr=0.1).state_dict())


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda p: optim.SGD(p), TypeError, ["SGD", "iterable", "list"]),
        (lambda p: optim.SGD([]), ValueError, ["SGD", "empty parameter list"]),
        (lambda p: optim.SGD([3]), TypeError, ["Tensors", "int"]),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError, ["set", "ordered"]),
        (lambda p: optim.SGD([p * 2]), ValueError, ["non-leaf"]),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError, ["more than one parameter group"]),
        (lambda p: optim.SGD([p]).add_param_group({"params": p}), ValueError, ["more than one parameter group"]),
        (lambda p: optim.SGD([p], lr=-1.0), ValueError, ["SGD", "lr", "-1.0"]),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, ["Nesterov", "momentum"]),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), ValueError, ["Adam", "beta1", "1.0"]),
        (lambda p: optim.AdamW([p], eps=-1.0), ValueError, ["AdamW", "eps"]),
        (lambda p: optim.Rprop([p], etas=(1.5, 1.2)), ValueError, ["Rprop", "eta", "1.5"]),
        (lambda p: optim.Adadelta([p], rho=2.0), ValueError, ["rho", "2.0"]),
        (lambda p: optim.LBFGS([p], line_search_fn="armijo"), RuntimeError, ["'armijo'", "strong_wolfe"]),
        (lambda p: optim.LBFGS([p]).step(), TypeError, ["closure"]),
        (lambda p: mismatched(), ValueError, ["group 0", "1 parameters", "2"]),
        (lambda p: optim.SGD([p]).load_state_dict({"state": {}, "param_groups": []}), ValueError,
         ["0 parameter groups", "1"]),
        (lambda p: optim.Optimizer([p], {}).step(), NotImplementedError, ["update"]),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(wrong: Any, error: type[Exception], words: list[str]) -> None:
    check_error(lambda: wrong(nn.Parameter(fb.ones(2))), error, words)


# -- parameters without axes -----------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [fb.float32, fb.float64, fb.bfloat16, fb.complex64], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"maximize": True}, {"amsgrad": True}, {"foreach": False}]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_without_axes_steps_as_one_of_one_element(name: str, options: dict[str, Any], dtype: Any) -> None:
    kind = getattr(optim, name)
    if not set(options) <= set(inspect.signature(kind).parameters):
        pytest.skip("not an option of this one")
    found = []
    for shape in ((), (1,)):
        p = nn.Parameter(fb.full(shape, 1.5, dtype=dtype))
        optimizer = kind([p], lr=0.5, **(OPTIONS.get(name, {}) | options))
        for step_ in range(3):
            p.grad = fb.full(shape, 0.5 + step_, dtype=dtype)
            optimizer.step()
        assert p.shape == shape
        found.append(complex(p.detach().reshape(()).item()))
    assert found[0] == found[1]
    assert found[0] != 1.5 or dtype is fb.bfloat16  # where a small step rounds away


@pytest.mark.parametrize("kind", ["state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post"])
def test_hooks_that_are_prepended_run_first(kind: str) -> None:
    made, calls = optim.SGD(parameters(), lr=0.1), []
    register = getattr(made, f"register_{kind}_hook")
    register(lambda *_: calls.append("first"))
    handle = register(lambda *_: calls.append("in front"), prepend=True)
    register(lambda *_: calls.append("last"))
    made.load_state_dict(made.state_dict())
    assert calls == ["in front", "first", "last"]
    handle.remove()
    made.load_state_dict(made.state_dict())
    assert calls[3:] == ["first", "last"]
