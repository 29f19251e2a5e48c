"""Ratios and their spread, what gives none, and how programs take turns."""

from __future__ import annotations

import math

import pytest

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.measure import LEAST, Row, TooFewRounds, geometric_mean, interleaved, paired
from benchmarks.suite import Settings, difference, measured


def test_a_ratio_is_the_median_of_the_rounds_ratios_with_their_quartiles() -> None:
    theirs = [1.0, 10.0, 1.0, 10.0, 2.0]  # a slow round is slow for both
    ours = [0.5, 6.0, 0.7, 8.0, 1.8]
    assert paired(ours, theirs) == pytest.approx((0.7, 0.6, 0.8))


def test_a_row_has_the_ratio_of_its_sides_and_exceeds_its_limit() -> None:
    row = Row.of("ops", "add", [[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]], limit=1.9)
    assert row.ratio == (2.0, 2.0, 2.0) and row.exceeds
    assert not Row.of("ops", "add", [[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]], limit=2.0).exceeds
    alone = Row.of("ops", "add", [[2.0, 4.0, 6.0]], limit=0.1)
    assert alone.theirs is None and alone.ratio is None and not alone.exceeds


def test_among_peers_the_ratio_is_to_the_rival() -> None:
    peers = {"a": (1.0,) * 3, "b": (4.0,) * 3}
    row = Row("compiled", "mlp", (2.0,) * 3, limit=0.6, peers=peers, rival="b")
    assert row.ratio == (0.5, 0.5, 0.5) and not row.exceeds
    assert Row("compiled", "mlp", (2.0,) * 3, limit=0.6, peers=peers, rival="a").exceeds
    assert Row("compiled", "mlp", (2.0,) * 3, limit=0.6, peers=peers).ratio is None


def test_means_are_geometric() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([1.0, 2.0, 4.0]) == pytest.approx(2.0)
    rows = [Row.of("ops", "a", [[1.0] * 3, [4.0] * 3]), Row.of("ops", "b", [[1.0] * 3])]
    assert report.mean(rows) == pytest.approx(0.25)
    assert report.mean(rows[1:]) is None
    with pytest.raises(ValueError):
        geometric_mean([])


@pytest.mark.parametrize("rounds", range(LEAST))
def test_a_few_rounds_give_no_ratio(rounds: int) -> None:
    with pytest.raises(TooFewRounds, match=f"a ratio takes {LEAST} rounds or more.*got {rounds}"):
        paired([1.0] * rounds, [1.0] * rounds)
    with pytest.raises(TooFewRounds):
        interleaved([lambda: None], rounds)
    with pytest.raises(TooFewRounds):
        report.show(Settings(rounds=rounds, modules=[]), {})


def test_the_command_refuses_a_single_round(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["overhead", "--rounds", "1"])
    shown = capsys.readouterr()
    assert stopped.value.code == 2 and "a ratio takes 3 rounds or more" in shown.err and "ratio" not in shown.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nothing"], "there is no suite nothing"), (["--threads", "0"], "numbers of threads"),
     (["--threads", "two"], "numbers of threads"), (["--rounds", "x"], "invalid")],
)  # fmt: skip
def test_the_command_says_what_it_does_not_take(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert words in capsys.readouterr().err


def test_rounds_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="got 3 of flambeau and 4 of PyTorch"):
        paired([1.0] * 3, [1.0] * 4)


def test_programs_take_turns_and_the_order_turns_too() -> None:
    calls: list[str] = []
    times = interleaved([lambda: calls.append("a"), lambda: calls.append("b")], 4, burst=0.0)
    assert [len(side) for side in times] == [4, 4] and all(t >= 0 for side in times for t in side)
    assert "".join(calls[-8:]) == "abbaabba"


def test_after_its_seconds_a_case_ends_with_the_least_rounds() -> None:
    assert [len(side) for side in interleaved([lambda: None] * 2, 1000, seconds=0.0, burst=0.0)] == [LEAST] * 2


def test_a_case_of_many_units_is_measured_by_the_unit() -> None:
    row = measured(
        Settings(rounds=3, modules=[]), "ops", "loader", [lambda: sum(range(1000))], per=10**9, unit="sample"
    )
    assert 0 < max(row.ours) < 1e-6 and row.theirs is None


def test_different_results_are_told_apart() -> None:
    assert difference([1.0, [2.0, None]], [1.0, [2.0, None]]) is None
    assert difference([1.0, math.nan], [1.0, math.nan]) is None
    assert difference([100.0], [100.05]) is None
    assert "apart" in str(difference([100.0], [101.0]))
    assert "nan" in str(difference([math.nan], [1.0]))
    assert "nan" in str(difference([1.0], [math.inf]))
    assert "shapes" in str(difference([1.0], [1.0, 2.0]))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1.234e-6, "s", "1.23 µs"), (4.56e-4, "s", "456 µs"), (0.0123, "s", "12.3 ms"), (2.5, "s", "2.5 s"),
     (1 / 4000, "sample", "4,000/s"), (3 * 2**20, "B", "3.0 MiB")],
)  # fmt: skip
def test_values_are_shown_in_units_that_suit(value: float, unit: str, text: str) -> None:
    assert report.shown(value, unit) == text
