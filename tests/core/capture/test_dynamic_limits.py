"""Programs that do something else at other sizes: never a replay that is not as eager, whatever they depend on."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core.capture.captured import Captured
from tests.core.capture.harness import Call, Program, numbers, train
from tests.core.capture.test_dynamic import SIZES, apart, of_sizes, shared

MANY = [4, 4, 4, 4, 6, 6, 6, 12, 12, 12, 12, 7, 7, 20, 20, 9, 9, 15, 15, 20, 6, 15, 4]


def rows(i: int, n: int) -> fb.Tensor:
    return numbers(i, n, 6)


# -- what depends on the size ------------------------------------------------------------------------
def branch(x: fb.Tensor) -> fb.Tensor:
    return x * 2 if x.shape[0] > 10 else x + 1


def branch_of_one_kernel(x: fb.Tensor) -> fb.Tensor:
    return x * (2.0 if x.shape[0] > 10 else 3.0)


def parity(x: fb.Tensor) -> fb.Tensor:
    return x + (1.0 if x.shape[0] % 2 else -1.0)


def loop(x: fb.Tensor) -> fb.Tensor:
    total = x[0]
    for row in range(1, x.shape[0]):
        total = total * 0.5 + x[row]
    return total


def table(x: fb.Tensor) -> fb.Tensor:
    return x * {4: 1.5, 6: 2.5, 12: -1.0}.get(len(x), 7.0)


def text_of_the_size(x: fb.Tensor) -> Any:
    return x * float(f"{x.shape[0]}.5"), str(x.shape)


def bits_of_the_size(x: fb.Tensor) -> fb.Tensor:
    return x * (x.shape[0] ^ 5) + hash(x.shape[0]) % 3


def squares(x: fb.Tensor) -> Any:
    n = x.shape[0]
    return x * (n * n - 3), x / (n**3), x.sum() * n**0.5, x.new_full((n * 2, 3), 1 / (n - 1))


def lists(x: fb.Tensor) -> Any:
    return fb.tensor([float(i) for i in range(len(x))]) + x[:, 0], fb.tensor(list(x.shape))


SIZED = [
    branch, branch_of_one_kernel, parity, loop, table, text_of_the_size, bits_of_the_size, squares, lists
]  # fmt: skip


@pytest.mark.parametrize(
    "dynamic", [None, pytest.param(True, marks=pytest.mark.slow), pytest.param(False, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("step", SIZED, ids=lambda f: f.__name__)
def test_what_depends_on_the_size(step: Callable[..., Any], dynamic: bool | None) -> None:
    report = of_sizes(lambda: step, rows, MANY, dynamic=dynamic)
    assert not report.differences and not report.refused, str(report)
    if dynamic is False:
        assert shared(report.captured) == 0
    elif step not in (loop, text_of_the_size):
        assert shared(report.captured) >= 3, str(report)


def test_both_sides_of_a_branch_share_recordings() -> None:
    report = of_sizes(lambda: branch, rows, MANY)
    (why,) = apart(report.captured)
    assert why.startswith("mul runs at test_dynamic_limits.py") and "add runs at another size" in why
    assert shared(report.captured) == len(set(MANY)) - 2


@pytest.mark.slow
def test_loops_are_not_tried_for_ever() -> None:
    sizes = [n for n in range(2, 14) for _ in range(5)]
    report = of_sizes(lambda: loop, rows, sizes)
    assert not report.differences
    assert report.counts.replayed >= 8, str(report)
    assert all("runs at one size, and not at another" in why for why in apart(report.captured))


# -- state that only some sizes touch ----------------------------------------------------------------
class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.scale = 2.0
        self.seen: list[int] = []

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        if x.shape[0] > 10:
            self.calls += 1
            return x * float(self.calls)
        return x * 1.0


class Remembers(Counts):
    def forward(self, x: fb.Tensor) -> fb.Tensor:
        if x.shape[0] > 10:
            self.seen.append(x.shape[0])
        return x * self.scale


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.masks: dict[int, fb.Tensor] = {}

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        n = x.shape[0]
        if n not in self.masks:
            self.masks[n] = fb.ones(n, n).tril()
        return self.masks[n] @ x


class Grows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = fb.arange(4.0)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        if x.shape[0] > self.table.shape[0]:
            self.table = fb.arange(float(x.shape[0]))
        return x * self.table[: x.shape[0], None]


class Chooses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return (self.large if x.shape[0] > 10 else self.small)(x)


@pytest.mark.parametrize("kind", [Counts, Remembers, Keeps, Grows, Chooses], ids=lambda k: k.__name__)
def test_modules_with_state_that_some_sizes_touch(kind: type[nn.Module]) -> None:
    def make() -> Program:
        module = kind()
        names = "calls", "seen", "masks", "table"
        return Program(module, (module, lambda: [getattr(module, name, None) for name in names]))

    report = of_sizes(make, rows, MANY)
    assert not report.differences, str(report)


def test_what_only_a_branch_reads_is_looked_at() -> None:
    def make() -> Program:
        settings = {"small": 2.0, "large": 2.0}

        def step(x: fb.Tensor) -> fb.Tensor:
            return x * settings["large" if x.shape[0] > 10 else "small"]

        def before(i: int) -> None:
            settings["large"] = 2.0 if i < 15 else 5.0

        return Program(step, before=before)

    assert not of_sizes(make, rows, MANY).differences


def test_a_function_that_only_a_branch_calls_is_looked_at() -> None:
    def make() -> Program:
        factor = [2.0]

        def large(x: fb.Tensor) -> fb.Tensor:
            return x * factor[0]

        def step(x: fb.Tensor) -> fb.Tensor:
            return large(x) if x.shape[0] > 10 else x * 2.0

        def before(i: int) -> None:
            factor[0] = 2.0 if i < 15 else 5.0

        return Program(step, before=before)

    report = of_sizes(make, rows, MANY)
    assert not report.differences, str(report)
    assert any("large() runs at" in why for why in apart(report.captured)), apart(report.captured)


def counter() -> Callable[..., Any]:
    numbers_ = itertools.count(1)
    return lambda x: x * float(next(numbers_) if x.shape[0] > 10 else 1)


def drawn() -> Callable[..., Any]:
    return lambda x: x * (random.random() if x.shape[0] > 10 else 0.5)


def printed() -> Callable[..., Any]:
    def step(x: fb.Tensor) -> fb.Tensor:
        if x.shape[0] > 10:
            print("large", x.shape)
        return x * 2

    return step


def arrays_of_numpy() -> Callable[..., Any]:
    import numpy as np

    draws = np.random.default_rng(3)
    return lambda x: x * (draws.random() if x.shape[0] > 10 else 0.5)


@pytest.mark.parametrize("make", [counter, drawn, printed, arrays_of_numpy], ids=lambda f: f.__name__)
def test_effects_that_only_some_sizes_have(make: Callable[[], Any]) -> None:
    assert not of_sizes(make, rows, MANY).differences


# -- looks at values ---------------------------------------------------------------------------------
def looks(x: fb.Tensor) -> Any:
    if x.sum() > 0:
        return x * x.shape[0]
    return x - x.mean()


def looks_once(x: fb.Tensor) -> Any:
    y = x * 2
    if y.sum() > 0:
        y = y.relu() * x.shape[0] - x.shape[0]
    z = (y + 1).tanh() * y
    return z if z.mean() > 0.5 else (z * 3 - x).exp()


def indices(x: fb.Tensor) -> Any:
    found = (x[:, 0] > 0).nonzero()
    return found.shape[0], x[x > 0].sum() / x.shape[0]


def item(x: fb.Tensor) -> Any:
    return x.sum().item() / x.shape[0], x.max().item() * x


@pytest.mark.parametrize(
    "step", [looks, *(pytest.param(f, marks=pytest.mark.slow) for f in (looks_once, indices, item))]
)
def test_looks_at_values(step: Callable[..., Any]) -> None:
    report = of_sizes(lambda: step, rows, [*MANY, *MANY, *MANY])
    assert not report.differences, str(report)
    assert report.counts.replayed + report.counts.resumed > 10, str(report)


# -- sizes -------------------------------------------------------------------------------------------
def test_sizes_zero_and_one_have_recordings_of_their_own() -> None:
    sizes = [4] * 4 + [1] * 4 + [0] * 4 + [6] * 3 + [1, 0, 6, 4]
    report = of_sizes(lambda: lambda x: (x * 2 + x.sum(0), x.view(-1)), rows, sizes)
    assert not report.differences
    assert shared(report.captured) == 1 and report.counts.eager == 3


def test_equal_sizes_and_others() -> None:
    pairs = [(4, 4)] * 4 + [(5, 5)] * 3 + [(4, 7)] * 5 + [(7, 4), (7, 4), (6, 6), (6, 6), (8, 3), (8, 3), (5, 6)]

    def step(x: fb.Tensor, y: fb.Tensor) -> Any:
        return x @ y.T, x.sum(0) + y.sum(0), fb.cat([x, y]), (x + y if x.shape == y.shape else x[:1] + y)

    report = of_sizes(lambda: step, lambda i, p: (numbers(i, p[0], 6), numbers(i + 1, p[1], 6)), pairs)
    assert not report.differences, str(report)
    assert shared(report.captured) >= 4, str(report)


@pytest.mark.slow
def test_many_sizes_at_once() -> None:
    sizes = [(2, 3, 4)] * 4 + [(3, 3, 4)] * 3 + [(3, 5, 4)] * 3 + [(3, 5, 6)] * 3 + [(4, 6, 7)] * 3 + [(5, 2, 3)] * 2

    def step(x: fb.Tensor) -> Any:
        b, t, d = x.shape
        return x.reshape(b * t, d), x.transpose(0, 2).reshape(-1), x.mean((0, 2)), x / (b * t * d), x.view(b, -1)

    report = of_sizes(lambda: step, lambda i, n: numbers(i, *n), sizes)
    assert not report.differences and apart(report.captured) == [], str(report)
    assert shared(report.captured) == len(set(sizes)) - 1


def test_layouts_are_families_of_their_own() -> None:
    def inputs(i: int, n: int) -> fb.Tensor:
        x = numbers(i, n, 6)
        return (x, x.T.contiguous().T, numbers(i, 2 * n, 6)[::2])[i % 3]

    report = of_sizes(lambda: lambda x: (x + 1, x.view(-1) if x.is_contiguous() else x.T), inputs, [5] * 15 + [7] * 15)
    assert not report.differences, str(report)
    assert report.counts.replayed >= 8, str(report)


def test_sizes_in_lists_and_keywords() -> None:
    def step(xs: list[fb.Tensor], *, more: dict[str, fb.Tensor]) -> Any:
        return [x * len(x) for x in xs], fb.cat(xs), more["y"].sum() / len(xs[0])

    def inputs(i: int, n: int) -> Call:
        return Call(([numbers(i, n, 2), numbers(i + 1, n + 1, 2)],), {"more": {"y": numbers(i, n)}})

    report = of_sizes(lambda: step, inputs)
    assert not report.differences and shared(report.captured) == len(set(SIZES)) - 1, str(report)


# -- the program changes meanwhile -------------------------------------------------------------------
@pytest.mark.slow
def test_modes_parameters_and_rates_that_change() -> None:
    def make() -> Program:
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
        made = train(model)

        def before(i: int) -> None:
            if i == 12:
                model.eval()
            if i == 18:
                model.train()
            if i == 24:
                model[0].weight = nn.Parameter(fb.ones(8, 6))

        return Program(made.step, made.state, before=before)

    sizes = [4, 4, 4, 4, 6, 6, 6, 7, 7, 9, 9, 9, 9, 9, 9, 9, 6, 6, 7, 9, 4, 5, 5, 7, 7, 7, 7, 7, 9, 9, 9, 4, 4, 6, 6]
    report = of_sizes(make, rows, sizes)
    assert not report.differences, str(report)
    assert report.counts.replayed >= 10, str(report)


def test_gradients_that_are_there_or_not() -> None:
    def make() -> Program:
        weight = fb.ones(6, requires_grad=True)

        def step(x: fb.Tensor) -> fb.Tensor:
            loss = (x * weight).square().mean()
            loss.backward()
            return loss.detach()

        def before(i: int) -> None:
            if i % 5 == 0:
                weight.grad = None

        return Program(step, (weight,), before=before)

    report = of_sizes(make, rows, [4] * 12 + [6] * 10 + [7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 4, 6, 7])
    assert not report.differences, str(report)


# -- how many ----------------------------------------------------------------------------------------
def test_sizes_that_come_once_run_eagerly_in_the_end(recwarn: pytest.WarningsRecorder) -> None:
    captured = Captured(lambda x: x * x.shape[0])
    for _ in range(4):
        captured(fb.ones(2))
    for n in range(3, 60):
        assert captured(fb.ones(n)).sum().item() == n * n
    assert captured.counts.eager >= 30
    assert not recwarn.list


def test_a_size_that_is_called_often_gets_recordings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flambeau.core.capture.captured.OFTEN", 5)
    report = of_sizes(lambda: lambda x: (x * x.shape[0]).tanh().exp(), rows, [4] * 4 + [6] * 15, fusion=True)
    assert not report.differences
    assert apart(report.captured) == ["it is called often"] and shared(report.captured) == 0
    report = of_sizes(lambda: lambda x: (x * x.shape[0]).tanh().exp(), rows, [4] * 4 + [6] * 15)
    assert shared(report.captured) == 1
