"""Checkpointing with all its options gives the gradients of the plain call, and keeps or computes what it is told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import flambeau as fb
from flambeau.core.state import watch
from flambeau.utils.checkpoint import (
    CheckpointError,
    CheckpointFunction,
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
    detach_variable,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)  # fmt: skip


def step(x: fb.Tensor) -> fb.Tensor:
    return fb.nn.functional.dropout((x * 2).exp().sin(), 0.5)


def gradient(fn: Any, *args: Any, **options: Any) -> list[float]:
    fb.manual_seed(3)
    x = fb.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True)
    fn(x).sum().backward()
    assert x.grad is not None
    return x.grad.tolist()


@pytest.mark.parametrize(
    "options", [{"use_reentrant": True}, {"use_reentrant": False}, {"early_stop": False}, {"debug": True}]
)
def test_the_gradients_are_those_of_the_plain_call(options: dict[str, Any]) -> None:
    assert gradient(lambda x: checkpoint(step, x, **options)) == gradient(step)


def test_the_older_form() -> None:
    assert gradient(lambda x: CheckpointFunction.apply(step, True, x)) == gradient(step)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        found = checkpoint(step, fb.ones(2), use_reentrant=True)
    assert not found.requires_grad
    with pytest.raises(ValueError, match="Unexpected keyword arguments"):
        checkpoint(step, fb.ones(1), use_reentrant=True, other=1)
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(step, fb.ones(1), use_reentrant=True, debug=True)
    kept, plain = detach_variable((fb.ones(1, requires_grad=True) * 2, 3))
    assert kept.requires_grad and kept.is_leaf and plain == 3


def counted(fn: Any) -> Counter[str]:
    """How often each op ran in a forward and backward."""
    seen: Counter[str] = Counter()

    def see(op: Any, key: Any, arrays: Any, params: Any, kernel: Any) -> Any:
        seen[op.name] += 1
        return kernel(*arrays, **params)

    x = fb.ones(3, requires_grad=True)
    with watch(see):
        fn(x).sum().backward()
    return seen


def test_what_runs_again() -> None:
    def twice(x: fb.Tensor) -> fb.Tensor:
        return x.sin().tanh() + 1  # which keeps nothing

    assert counted(lambda x: checkpoint(twice, x))["add"] == 1
    with set_checkpoint_early_stop(False):
        assert counted(lambda x: checkpoint(twice, x))["add"] == 2


@pytest.mark.parametrize("kept", [[fb.exp], ["exp"], lambda ctx, op, *a, **k: op.__name__ == "exp"])
def test_selective_checkpointing(kept: Any) -> None:
    def run(x: fb.Tensor) -> fb.Tensor:
        return checkpoint(
            lambda t: t.exp().sin().cos(), x, use_reentrant=False,
            context_fn=lambda: create_selective_checkpoint_contexts(kept),
        )  # fmt: skip

    seen = counted(run)
    assert seen["exp"] == 1 and seen["sin"] > 1
    assert gradient(run) == gradient(lambda x: x.exp().sin().cos())


def test_policies() -> None:
    told = []

    def policy(ctx: Any, op: Any, *args: Any, **params: Any) -> CheckpointPolicy:
        told.append((ctx.is_recompute, op.__name__, ctx.op_output is None))
        return CheckpointPolicy.PREFER_RECOMPUTE

    counted(lambda x: checkpoint(fb.exp, x, context_fn=lambda: create_selective_checkpoint_contexts(policy)))
    assert (False, "exp", False) in told and (True, "exp", True) in told
    with pytest.raises(TypeError, match="expected a function or a list of ops"):
        create_selective_checkpoint_contexts(5)  # type: ignore[arg-type]


def test_a_function_that_does_something_else() -> None:
    state = [0]

    def changing(x: fb.Tensor) -> fb.Tensor:
        state[0] += 1
        return x.exp() if state[0] == 1 else x.exp()[:1].sin()

    with set_checkpoint_debug_enabled(True):
        y = checkpoint(changing, fb.ones(2, requires_grad=True), early_stop=False)
    with pytest.raises(CheckpointError, match=r"(?s)computed something else.*exp\(\(2,\)\)"):
        y.sum().backward()


def test_sequential() -> None:
    model = fb.nn.Sequential(fb.nn.Linear(4, 4), fb.nn.Tanh(), fb.nn.Linear(4, 4))
    assert gradient(lambda x: checkpoint_sequential(model, 2, x, use_reentrant=False)) == gradient(model)
