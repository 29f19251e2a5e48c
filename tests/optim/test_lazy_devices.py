"""Optimizers tell devices that run work later where a step ends, and no other device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as fb
from flambeau import optim
from flambeau.core import registry
from tests.backends.flat import FlatBackend


class Noting(FlatBackend):
    """Notes where steps end."""

    device_type = "noting"
    capabilities = frozenset({"lazy", "has_fp64"})

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def mark_step(self, index: int = 0) -> None:
        self.steps.append(index)


class Eager(Noting):
    device_type = "eager"
    capabilities = frozenset({"has_fp64"})


@pytest.fixture
def noting() -> Iterator[Noting]:
    yield from _registered(Noting())


@pytest.fixture
def eager() -> Iterator[Noting]:
    yield from _registered(Eager())


def _registered(backend: Noting) -> Iterator[Noting]:
    registry.register_backend(backend, "tests")
    yield backend
    registry.unregister_backend(backend.device_type)
    assert backend not in registry.lazy


class Nothing(optim.Optimizer):
    """Changes nothing."""

    def update(self, group: dict[str, Any]) -> None:
        pass


class Twice(Nothing):
    """A step of its own around that of its base, as torch's optimizers have."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def made(cls: type[optim.Optimizer], *devices: str) -> optim.Optimizer:
    return cls([fb.full((2,), 1.0, device=d).requires_grad_() for d in devices], {})


def test_each_device_of_the_parameters_is_told_once(noting: Noting) -> None:
    optimizer = made(Nothing, "noting:1", "cpu", "noting:0", "noting:1")
    for n in range(1, 4):
        optimizer.step()
        assert sorted(noting.steps) == [0] * n + [1] * n


def test_it_is_told_after_the_step_and_its_hooks(noting: Noting) -> None:
    optimizer = made(Nothing, "noting")
    seen: list[list[int]] = []
    optimizer.register_step_post_hook(lambda *_: seen.append(list(noting.steps)))
    optimizer.step()
    assert seen == [[]] and noting.steps == [0]


def test_a_step_that_calls_its_bases_is_told_of_too(noting: Noting) -> None:
    made(Twice, "noting").step()
    assert noting.steps and set(noting.steps) == {0}


def test_other_devices_are_not_asked(noting: Noting, eager: Noting) -> None:
    made(Nothing, "eager", "cpu").step()
    assert registry.lazy == [noting] and not noting.steps and not eager.steps


def test_a_step_that_fails_ends_nothing(noting: Noting) -> None:
    optimizer = made(Nothing, "noting")
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    assert not noting.steps


def test_anybody_may_say_that_a_step_ended(noting: Noting) -> None:
    fb.accelerator.mark_step("noting:1")
    fb.accelerator.mark_step("cpu")
    assert noting.steps == [1]
