"""Programs that compute things twice, in vain, or the same in each call: their replays do less, and nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.core import config
from flambeau.core.capture.captured import Captured
from flambeau.core.capture.telling import Explanation
from flambeau.nn import functional as F
from flambeau.utils.checkpoint import checkpoint
from tests.core.capture.harness import Case, Cases, Program, numbers, program, rows, train, twins

CASES = cases = Cases()


@cases(replays=5)
def equal_results_returned_twice() -> Program:
    return program(lambda x: (x.exp(), x.exp(), x.exp().sum(), x.exp().view(-1)))


@cases(replays=5)
def results_that_are_written_to_later() -> Program:
    def after(i: int, result: Any, args: Any) -> None:
        result[0].add_(1)
        result[1].mul_(2)

    return program(lambda x: (x.sin(), x.sin(), fb.zeros(3), fb.zeros(3), fb.arange(4)), after=after)


@cases(replays=5)
def writes_between_equal_nodes() -> Program:
    state = numbers(1, 4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        a = state * 2
        state.add_(x)
        b = state * 2
        part = state[1:]
        c = part.exp()
        state.mul_(0.5)
        return a - b + (c - part.exp()).sum()

    return program(step, state)


@cases(replays=5)
def views_before_and_after_writes() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        y = x * 1.0
        a = y.view(-1)
        a += 1
        b = y.view(-1)
        b *= 2
        return a * b, y.t(), y.t()

    return program(step)


@cases(replays=5)
def constants_of_all_kinds() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        mask = fb.ones(6) * 0.5 + fb.zeros(6)
        places = fb.arange(6).to(fb.float32).view(1, 6)
        listed = fb.tensor([1.0, -0.0, 2.0, 3.0, 4.0, 5.0])
        return x * mask + places * listed

    return program(step)


@cases(replays=5)
def a_constant_that_is_written_to() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        total = fb.zeros(6)
        for row in x:
            total += row
        return total

    return program(step)


@cases(replays=5)
def transposed_parameters_that_change() -> Program:
    weight = nn.Parameter(numbers(1, 6, 6))
    return train(nn.ParameterList([weight]), loss=lambda m, x: ((x @ m[0].t()) @ m[0].t()).square().mean())  # type: ignore[arg-type, operator]


@cases(replays=4)
def a_parameter_that_gets_other_memory() -> Program:
    model = nn.Linear(6, 6)

    def before(i: int) -> None:
        if i == 5:
            model.weight.data = numbers(9, 6, 6)

    return program(lambda x: (x @ model.weight.t()).detach(), model, before=before)


@cases(replays=5)
def zeros_that_are_written_over() -> Program:
    state = numbers(1, 4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.zero_()
        state.copy_(x.exp())
        buffer = fb.full((4, 6), 3.0)
        buffer.copy_(state)
        return buffer

    return program(step, state)


@cases(replays=5)
def negative_zeros_added_to_zeros() -> Program:
    return program(lambda x: fb.zeros(4, 6).add_(x * -0.0) + fb.zeros(4, 6).copy_(x * -0.0))


@cases(replays=5)
def gradients_set_to_zeros() -> Program:
    model = nn.Linear(6, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad(set_to_none=False)
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return program(step, model, optimizer)


@cases(replays=5)
def gradients_that_pile_up() -> Program:
    model = nn.Linear(6, 3)

    def step(x: fb.Tensor) -> fb.Tensor:
        loss = model(x).square().mean() + model(x).square().mean()
        loss.backward()
        return loss.detach()

    return program(step, model)


@cases(replays=4)
def a_history_for_later() -> Program:
    model = nn.Linear(6, 3)

    def after(i: int, result: Any, args: Any) -> None:
        a, b = result
        (a * b).sum().backward(retain_graph=True)
        (a * b).sum().backward()

    return program(lambda x: (model(x).exp(), model(x).exp()), model, after=after)


@cases(replays=4)
def a_result_written_to_before_its_backward() -> Program:
    model = nn.Linear(6, 3)

    def after(i: int, result: Any, args: Any) -> None:
        a, b = result
        with fb.no_grad():
            a.detach().zero_()
        b.sum().backward()

    return program(lambda x: (model(x).detach().exp(), model(x).exp()), model, after=after)


@cases(replays=5)
def a_checkpoint_that_computes_again() -> Program:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
    return train(model, loss=lambda m, x: checkpoint(m, x, use_reentrant=False).square().mean())  # type: ignore[attr-defined]


@cases(replays=4)
def random_numbers_drawn_twice() -> Program:
    return program(lambda x: (F.dropout(x, 0.5), F.dropout(x, 0.5), fb.rand(3), fb.rand(3)))


@cases(replays=4)
def a_state_without_use() -> Program:
    model = nn.LSTM(6, 4, batch_first=True)
    return train(model, loss=lambda m, x: m(x[None])[0][:, -1].square().mean())


@cases(replays=4)
def an_answer_behind_the_gradients() -> Program:
    model = nn.Linear(6, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        if model.weight.grad.sum().item() > 0:  # type: ignore[union-attr]
            optimizer.step()
            return loss.detach()
        return model.weight.grad.clone()  # type: ignore[union-attr]

    return program(step, model, optimizer)


@cases(replays=3)
def old_gradients_that_only_one_way_reads() -> Program:
    model = nn.Linear(6, 3)

    def step(x: fb.Tensor) -> fb.Tensor:
        old = model.weight.grad
        model.weight.grad = None
        loss = model(x).square().mean()
        loss.backward()
        if old is not None and x.sum().item() > 0:
            return old.sum()
        return loss.detach()

    return program(step, model)


@cases(replays=4)
def gradients_that_somebody_keeps() -> Program:
    model = nn.Linear(6, 3)
    kept: list[Any] = []

    def after(i: int, result: Any, args: Any) -> None:
        kept.append(model.weight.grad)

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss.detach()

    return program(step, model, lambda: list(kept), after=after)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()


def test_what_was_left_out_is_told() -> None:
    def step(x: fb.Tensor) -> fb.Tensor:
        fb.ones(3)
        return x.exp() * x.exp() + fb.arange(6)

    captured = Captured(step)
    for i in range(5):
        captured(rows(i))
    (graph,) = captured.graphs
    assert graph.removed.equal == 1 and graph.removed.dead == 1 and graph.removed.once >= 1
    text = Explanation.of(captured).text()
    assert f"left out of replays: {graph.removed}" in text


def test_without_fusion_nothing_is_left_out() -> None:
    report = twins(lambda: program(lambda x: x.exp() * x.exp()), fusion=False)
    (graph,) = report.captured.graphs
    assert not report.differences and not any(graph.removed) and graph.launches == len(graph.nodes)


def _trained(width: int) -> tuple[Any, nn.Module]:
    """A step of training that lets the old gradients go, and asks for a number behind the backward pass."""
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def train_on(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        if loss.item() > 1e9:
            return loss.detach()
        optimizer.step()
        return loss.detach()

    return train_on, model


def test_a_replay_takes_no_more_memory_than_an_eager_step() -> None:
    """Nor does it hold more behind it; without machine code nothing is counted, and both are 0."""
    width, peaks, held = 256, [], []
    with config.override(cpu_code="host"):
        x = numbers(1, 64, width)
        for make in (lambda step: step, Captured):
            step, model = _trained(width)
            run = make(step)
            for _ in range(5):
                run(x)
            before = x._key.backend.memory_stats(0).allocated
            x._key.backend.reset_peak(0)
            run(x)
            stats = x._key.backend.memory_stats(0)
            peaks.append(stats.peak - before)
            held.append(stats.allocated - before)
            assert model[0].weight.grad is not None  # type: ignore[index, union-attr]
    assert peaks[1] <= peaks[0] and held[1] <= held[0] == 0


def test_gradients_of_before_go_first_where_nobody_can_read_them() -> None:
    for keeps in (False, True):
        step, model = _trained(6)
        weight = model[0].weight  # type: ignore[index]

        def kept(x: fb.Tensor, step: Any = step, weight: Any = weight) -> Any:
            old = weight.grad
            loss = step(x)
            return loss if old is None or loss.item() < 1e9 else old

        captured = Captured(kept if keeps else step)
        for i in range(5):
            captured(rows(i))
        (graph,) = captured.graphs
        found = {id(g.tensor) for g in graph.freed([graph.path()[0]])}
        assert found == {id(p) for p in model.parameters() if not (keeps and p is weight)}


def test_a_way_not_seen_before_is_taken_behind_gradients_that_are_gone() -> None:
    model = nn.Linear(6, 3)

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss.detach() if x.sum().item() < 1e3 else model.weight.grad * 2  # type: ignore[operator]

    captured = Captured(step)
    for i in range(5):
        captured(rows(i))
    assert captured.graphs[0].freed(captured.graphs[0].path())
    assert captured(rows(7) + 1e4).shape == (3, 6) and captured.counts.resumed == 1
    assert fb.equal(captured(rows(7) + 1e4), model.weight.grad * 2)  # type: ignore[operator]
