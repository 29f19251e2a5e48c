"""The simulator on paper: costs, what is measured, predictions, the command."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau import nn
from flambeau.distributed import plan
from flambeau.distributed.pipelining.orders import ORDERS, Pass
from flambeau.distributed.plan import Link, PlanError, Profile, Setting, workload_of
from flambeau.distributed.plan.__main__ import amount, bandwidth, latency, main, parser, size
from flambeau.distributed.plan.across import played, stages_of
from flambeau.distributed.plan.workloads import Workload, gpt, lenet
from tests.distributed.jobs import run_ranks

LINK = Link(1e9, 1e-5)


def _small(batch: int) -> Workload:
    return Workload(gpt(16, 8, 16, 3, 2), fb.randint(16, (batch, 8)), fb.randint(16, (batch * 8,)))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return plan.measure(_small, 4, repeats=2)


# -- costs -------------------------------------------------------------------------------------------
links = st.builds(Link, st.floats(1e6, 1e12), st.floats(0, 1e-2))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(links, st.floats(0, 1e10), st.integers(2, 5000))
def test_collectives_cost_what_the_literature_says(link: Link, m: float, n: int) -> None:
    steps, rest = math.ceil(math.log2(n)), (n - 1) / n * m / link.bandwidth
    assert link.all_gather(m, n) == pytest.approx(steps * link.latency + rest)
    assert link.reduce_scatter(m, n) == link.all_gather(m, n)
    assert link.ring_all_reduce(m, n) == pytest.approx(2 * (n - 1) * link.latency + 2 * rest)
    assert link.all_reduce(m, n) <= link.ring_all_reduce(m, n)
    assert link.all_reduce(m, n) >= 2 * rest * 0.5 and link.all_reduce(m, n) >= steps * link.latency
    assert link.broadcast(m, n) <= steps * link.message(m) * (1 + 1e-12)


def test_one_rank_communicates_nothing() -> None:
    assert LINK.all_reduce(1e9, 1) == LINK.all_gather(1e9, 1) == LINK.broadcast(1e9, 1) == 0


@pytest.mark.parametrize(("bytes_per_second", "seconds"), [(0, 0), (-1, 0), (math.nan, 0), (math.inf, 0), (1, -1)])
def test_a_link_needs_sound_numbers(bytes_per_second: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="Link: "):
        Link(bytes_per_second, seconds)


# -- orders ------------------------------------------------------------------------------------------
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(ORDERS)), st.integers(1, 9), st.integers(1, 20))
def test_every_order_runs_each_microbatch_and_ends(name: str, stages: int, microbatches: int) -> None:
    orders = [ORDERS[name](i, stages, microbatches) for i in range(stages)]
    for i, order in enumerate(orders):
        assert len(order) == len(set(order)) == 2 * microbatches
        alive = most = 0
        for action in order:
            alive += 1 if action.what is Pass.FORWARD else -1
            assert alive >= 0
            most = max(most, alive)
        assert most == (microbatches if name == "GPipe" else min(stages - i, microbatches))
    ends = played(orders, [(1.0, 2.0)] * stages, [0.0] * (stages - 1))
    assert max(ends) == pytest.approx(3.0 * (microbatches + stages - 1))  # the bubble of GPipe


def test_orders_that_wait_for_each_other_are_refused() -> None:
    first, second = (ORDERS["1F1B"](i, 2, 2) for i in range(2))
    with pytest.raises(PlanError, match="wait for each other"):
        played([first[::-1], second], [(1.0, 1.0)] * 2, [0.0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.data())
def test_stages_are_cut_as_evenly_as_can_be(parts: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(parts)))
    cuts = stages_of([float(p) for p in parts], count)
    assert [i for cut in cuts for i in cut] == list(range(len(parts))) and all(len(cut) for cut in cuts)
    every = [(0, *chosen, len(parts)) for chosen in combinations(range(1, len(parts)), count - 1)]
    best = min(max(sum(parts[a:b]) for a, b in pairwise(ends)) for ends in every)
    assert max(sum(parts[i] for i in cut) for cut in cuts) == best


# -- what is measured --------------------------------------------------------------------------------
def test_a_profile_knows_the_bytes_of_the_state(profile: Profile) -> None:
    model = _small(1).model
    bytes_of_weights = sum(p.nbytes for p in model.parameters())
    assert profile.gradient_bytes == profile.parameter_bytes == bytes_of_weights
    assert profile.optimizer_bytes == 2 * bytes_of_weights
    assert {w.name for w in profile.weights} == {name for name, _ in model.named_parameters()}
    assert [w.arrived for w in profile.weights] == sorted(w.arrived for w in profile.weights)
    assert profile.weights[-1].name.startswith("0.") and profile.weights[0].name.startswith("4.")


def test_activations_grow_with_the_batch(profile: Profile) -> None:
    scores = 4 * 8 * 16 * 4  # bytes of what the model gives, which the loss keeps
    assert profile.activations(4) > scores
    assert profile.activations(8) == 2 * profile.activations(4)


def test_parts_and_pairs_of_a_decoder(profile: Profile) -> None:
    assert [profile.calls[c].name for c in profile.cuts] == ["0", "1", "2", "3", "4"]
    names = [(tuple(profile.calls[c].name for c in p.columns), profile.calls[p.row].name) for p in profile.pairs[:2]]
    assert names == [(("1.query", "1.key", "1.value"), "1.out"), (("1.up",), "1.down")]
    assert [p.row for p in profile.pairs][-1] == -1  # the head's result is gathered
    assert len(profile.divided(2)) == 7
    assert len(profile.divided(4)) == 4  # two heads do not divide among four ranks
    assert profile.divided(3) == []
    inside = profile.forward_of(profile.pairs[0])
    assert "attention" in [profile.kernels[i].ran.op for i in inside]
    assert "attention_grad" in [profile.kernels[i].ran.op for i in profile.backward_of(profile.pairs[0])]
    assert "layer_norm_grad" not in [profile.kernels[i].ran.op for i in profile.backward_of(profile.pairs[0])]


def test_all_kernels_belong_to_parts(profile: Profile) -> None:
    for phase in ("forward", "backward"):
        places = [i for part in profile.kernels_of_parts(phase) for i in part]
        assert sorted(places) == list(profile.phase(phase))
        ops = [[profile.kernels[i].ran.op for i in part] for part in profile.kernels_of_parts(phase)]
        assert all(any(op.startswith("attention") for op in part) for part in ops[1:4])
        assert not any(op.startswith("attention") for part in (ops[0], ops[4]) for op in part)


def test_a_module_list_has_parts() -> None:
    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.blocks = nn.Linear(4, 4), nn.ModuleList([nn.Linear(4, 4) for _ in range(5)])

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            x = self.first(x)
            for block in self.blocks:
                x = block(x).relu()
            return x

    made = plan.measure(lambda batch: Workload(Looped(), fb.randn(batch, 4), fb.zeros(batch).long()), 2, repeats=1)
    assert len(made.parts) == 5


def test_what_cannot_be_measured_is_told() -> None:
    flips = iter(range(100))

    class Moody(nn.Linear):
        def forward(self, input: fb.Tensor) -> fb.Tensor:
            y = super().forward(input)
            return y.exp() if next(flips) % 3 else y

    class Deep(nn.Sequential):
        def __init__(self, batch: int):
            super().__init__(*[nn.Linear(1, 1) for _ in range(batch)])

    def moody(batch: int) -> Workload:
        return Workload(Moody(2, 3), fb.randn(batch, 2), fb.zeros(batch).long())

    with pytest.raises(PlanError, match="different kernels"):
        plan.measure(moody, 2, repeats=3)
    with pytest.raises(PlanError, match="at least 1"):
        plan.measure(_small, 0)
    with pytest.raises(PlanError, match="optimizer must be one of"):
        plan.measure(_small, 1, "lion")
    with pytest.raises(PlanError, match="no parameter"):
        plan.measure(lambda batch: Workload(nn.ReLU(), fb.ones(batch, 1), fb.zeros(batch)), 1)
    with pytest.raises(PlanError, match="other kernels for 2 samples than for 4"):
        plan.measure(lambda batch: Workload(Deep(batch), fb.randn(batch, 1), fb.zeros(batch, 1), nn.MSELoss()), 1)
    with pytest.raises(PlanError, match="samples along dimension 0"):
        plan.measure(lambda batch: Workload(nn.Linear(1, 1), fb.ones(0, 1), fb.zeros(0)), 1)


# -- predictions -------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, 8, 4096])
def test_state_is_divided_as_zero_says(profile: Profile, n: int) -> None:
    s, p, k = Setting(n, LINK, 4), profile.parameter_bytes, profile.optimizer_bytes
    assert plan.ddp(profile, s).state == 2 * p + k
    assert plan.zero1(profile, s).state == pytest.approx(2 * p + k / n)
    assert plan.zero2(profile, s).state == pytest.approx(p + (p + k) / n)
    assert plan.zero3(profile, s).state == pytest.approx((2 * p + k) / n)


def test_bytes_that_are_sent(profile: Profile) -> None:
    s, part = Setting(4, LINK, 4), 3 / 4 * profile.gradient_bytes
    sent = [way(profile, s).sent for way in (plan.ddp, plan.zero1, plan.zero2, plan.zero3)]
    assert sent == pytest.approx([2 * part, 3 * part, 2 * part, 3 * part])


def test_one_rank_takes_the_step_that_was_measured(profile: Profile) -> None:
    s = Setting(1, LINK, 4)
    for way in (plan.ddp, plan.zero1, plan.zero2, plan.zero3):
        row = way(profile, s)
        assert row.seconds == pytest.approx(profile.step(4)) and row.sent == 0 and row.waiting < 1e-9


Way = Callable[[Profile, Setting], plan.Prediction]
WAYS: dict[str, Way] = {
    "DDP": plan.ddp,
    "ZeRO 1": plan.zero1,
    "ZeRO 2": plan.zero2,
    "ZeRO 3": plan.zero3,
    "tensor": lambda p, s: plan.tensor(p, s, 2),
    "pipeline": lambda p, s: plan.pipeline(p, s, 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_better_network_and_overlap_never_cost_time(profile: Profile, way: str) -> None:
    slow = WAYS[way](profile, Setting(8, Link(1e8, 1e-4), 4))
    apart = WAYS[way](profile, Setting(8, Link(1e8, 1e-4), 4, overlap=False))
    fast = WAYS[way](profile, Setting(8, Link(1e12, 0.0), 4))
    assert fast.seconds <= slow.seconds <= apart.seconds * (1 + 1e-9)
    assert fast.compute == slow.compute <= fast.seconds * (1 + 1e-9)
    assert slow.waiting > fast.waiting


def test_small_buckets_communicate_earlier(profile: Profile) -> None:
    one = plan.ddp(profile, Setting(8, Link(1e7, 0.0), 4))
    many = plan.ddp(profile, Setting(8, Link(1e7, 0.0), 4, bucket=1000))
    assert many.seconds < one.seconds


def test_tensor_parallelism_divides_layers_and_their_work(profile: Profile) -> None:
    two, s = plan.tensor(profile, Setting(2, LINK, 4), 2), Setting(2, LINK, 4)
    whole = plan.ddp(profile, s)
    assert whole.state / 2 < two.state < whole.state
    assert two.compute < profile.step(8) and two.division == "tensor 2 x data 1"
    with pytest.raises(PlanError, match="divide evenly by 3"):
        plan.tensor(profile, Setting(3, LINK, 4), 3)
    with pytest.raises(PlanError, match="multiple of them, got 3"):
        plan.tensor(profile, Setting(3, LINK, 4), 2)


def test_a_pipeline_of_one_forward_one_backward_keeps_less(profile: Profile) -> None:
    s = Setting(4, LINK, 8, microbatches=16)
    gpipe, alternating = (plan.pipeline(profile, s, 4, order) for order in ORDERS)
    assert alternating.passing < gpipe.passing / 2
    assert alternating.seconds <= gpipe.seconds * (1 + 1e-9)
    with pytest.raises(PlanError, match="5 parts in a row, too few for 6"):
        plan.pipeline(profile, Setting(6, LINK, 4), 6)
    with pytest.raises(PlanError, match="multiple of 2 ranks, got 3"):
        plan.pipeline(profile, Setting(3, LINK, 4), 2)
    with pytest.raises(PlanError, match="order must be one of"):
        plan.pipeline(profile, Setting(2, LINK, 4), 2, "zigzag")


def test_degrees_are_chosen_or_taken(profile: Profile) -> None:
    rows = {r.strategy: r for r in plan.plan(profile, Setting(8, LINK, 4), tensor_ranks=2, stages=4)}
    assert rows["tensor"].division == "tensor 2 x data 4"
    assert rows["pipeline 1F1B"].division.startswith("pipeline 4 x data 2, ")
    alone = plan.plan(profile, Setting(7, LINK, 4))  # nothing divides seven
    assert [r.strategy for r in alone] == ["DDP", "ZeRO 1", "ZeRO 2", "ZeRO 3"]
    free = plan.plan(profile, Setting(4, LINK, 4))[-1]
    tight = plan.plan(profile, Setting(4, LINK, 4), memory=free.memory - 1)[-1]
    assert tight.memory < free.memory or tight == free


@pytest.mark.parametrize("wrong", [{"ranks": 0}, {"batch": 0}, {"microbatches": 0}, {"bucket": 0}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(PlanError, match=f"{next(iter(wrong))} must be at least 1, got 0"):
        Setting(**{"ranks": 2, "link": LINK, "batch": 1, **wrong})  # type: ignore[arg-type]


# -- the command -------------------------------------------------------------------------------------
OWN = """
from dataclasses import dataclass
import flambeau as fb

@dataclass
class Sizes:
    width: int = 6

def make(batch):
    model = fb.nn.Sequential(fb.nn.Linear(Sizes().width, 8), fb.nn.ReLU(), fb.nn.Linear(8, 1))
    return model, fb.randn(batch, 6), fb.randn(batch, 1), fb.nn.functional.mse_loss

def wrong(batch):
    return 3
"""
GIVEN = ["--ranks", "2,4", "--bandwidth", "10GB/s", "--latency", "5us", "--batch", "4", "--repeats", "1"]


def test_the_command_prints_a_table_for_each_number_of_ranks(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    told: list[str] = []
    assert main([f"{file}:make", *GIVEN, "--memory", "0.5kB"], told.append) == 0
    (text,) = told
    assert "2 ranks, 8 samples" in text and "4 ranks, 16 samples" in text
    assert text.count("| DDP | data") == 2 and text.count("| tensor |") == 2 and text.count("(too much)") >= 8


def test_the_command_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    for model, words in {
        "gpt17": "there is no workload 'gpt17': give one of mlp, lenet",
        f"{tmp_path}/none.py:make": "there is no file",
        f"{file}:none": "has no function 'none'",
        f"{file}:wrong": "must return (model, inputs, target[, loss]), got int",
        "no_such_module:make": "there is no module 'no_such_module'",
    }.items():
        assert main([model, *GIVEN]) == 2
        assert words in capsys.readouterr().err
    assert main([f"{file}:make", *GIVEN, "--tensor", "3"]) == 2
    assert "needs a multiple of them" in capsys.readouterr().err


@pytest.mark.parametrize("option", [
    ("--ranks", "0"), ("--ranks", "two"), ("--bandwidth", "fast"), ("--bandwidth", "0GB/s"), ("--latency", "5"),
    ("--latency", "-1us"), ("--memory", "80Gib/s"), ("--memory", "0"), ("--batch", "1.5"), ("--optimizer", "lion"),
])  # fmt: skip
def test_options_are_checked(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["gpt", *GIVEN, *option])
    assert ended.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_quantities() -> None:
    assert bandwidth("100Gb/s") == bandwidth("12.5GB/s") == 12.5e9
    assert latency("0us") == 0 and latency("1.5ms") == 1.5e-3
    assert size("80GiB") == 80 * 2**30 and size("16e9") == 16e9 and size("2 MB") == 2e6
    assert amount(0) == "0 B" and amount(3 * 2**40) == "3 TiB" and amount(1500 * 2**40) == "1,500 TiB"


def test_named_workloads_make_batches() -> None:
    for name in ("mlp", "lenet", "lstm", "gpt"):
        w = workload_of(name)(2)
        assert w.loss(w.model(w.inputs), w.target).ndim == 0
    assert tuple(lenet(4, 10, 16)(fb.ones(2, 1, 10, 10)).shape) == (2, 10)


# -- beside what ranks take --------------------------------------------------------------------------
TOLERANCE = 2.5  # how much longer or shorter a step may be than predicted: at each call ranks wait for the slowest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "lenet", "lstm"])
@pytest.mark.parametrize("n", [2, 4])
def test_ranks_take_what_is_predicted(n: int, name: str) -> None:
    """Bytes of the state to a thousandth, and times within the tolerance; of three tries, since machines are busy."""
    wrong: dict[str, dict[str, float]] = {}
    for _ in range(3):
        returned = run_ranks(n, "tests.distributed.plan_programs:compare", name, timeout=180).check().returned
        whole = returned[0]["DDP"]["state"]
        for strategy in ("DDP", "ZeRO 1", "ZeRO 3", "tensor"):
            row = returned[0][strategy]
            assert row["held"] == pytest.approx(row["state"], rel=2e-3), strategy
        for strategy in ("pipeline GPipe", "pipeline 1F1B"):
            assert sum(rank[strategy]["held"] for rank in returned) == whole
        wrong = {
            strategy: row
            for strategy, row in returned[0].items()
            if not row["predicted"] / TOLERANCE <= row["taken"] <= row["predicted"] * TOLERANCE
        }
        if not wrong:
            return
    raise AssertionError(f"milliseconds: {wrong}")
