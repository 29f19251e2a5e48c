"""The suite ``distributed``: what data parallel training over processes takes, on one thread in each.

All sides take turns in one job of two ranks. Rank 0 keeps the time, from one barrier to the next; on the sides of one
rank the other one sleeps meanwhile. Two ranks share the batch that one rank has alone, so that their losses are equal
in the mean; PyTorch's DistributedDataParallel communicates by gloo.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks import frameworks
from benchmarks.measure import LEAST, Row
from benchmarks.processes import run
from benchmarks.suite import Settings, difference
from benchmarks.workloads import WORKLOADS, Training

RANKS: Final = 2
COMPARED: Final = 3  # steps whose losses are compared
TOLERANCE: Final = 2e-3
#: What is measured: the sides whose ratio it is, on how many ranks, and the most that it may be.
BARE, ALONE, SHARED, TORCH = "one rank", "DDP on one rank", "DDP on two ranks", "PyTorch's DDP on two ranks"
COMPARISONS: Final = {
    "two ranks beside one": (SHARED, BARE, 0.65),
    "two ranks beside PyTorch": (SHARED, TORCH, 1.0),
    "DDP on one rank": (ALONE, BARE, 1.05),
}
WORKLOAD: Final = "gpt_wide"
CASES: Final = {f"{WORKLOAD}, {name}": found for name, found in COMPARISONS.items()} | {
    f"{workload}, DDP on one rank": COMPARISONS["DDP on one rank"] for workload in ("lenet", "gpt", "lstm")
}


# -- in each rank ------------------------------------------------------------------------------------
class Sides:
    """The sides of a workload on this rank: steps, or None where the rank sleeps."""

    def __init__(self, workload: str, wanted: list[str], folder: Path):
        import flambeau as fb
        import flambeau.distributed as distributed

        distributed.init_process_group()
        self.distributed, self.rank = distributed, distributed.get_rank()
        self.workload, self.steps = workload, dict[str, Callable[[], float] | None]()
        frameworks.set_threads(frameworks.modules(), 1)
        alone = [distributed.new_group([rank]) for rank in range(RANKS)][self.rank]
        wrapped = fb.nn.parallel.DistributedDataParallel
        for side in wanted:
            if side == BARE:
                self.steps[side] = self._made(fb, lambda model: model, False)
            elif side == ALONE:
                self.steps[side] = self._made(fb, lambda model: wrapped(model, process_group=alone), False)
            elif side == SHARED:
                self.steps[side] = self._made(fb, wrapped, True)
            else:
                torch = frameworks.torch_or_none()
                torch.distributed.init_process_group(
                    "gloo", init_method=f"file://{folder}/gloo", rank=self.rank, world_size=RANKS
                )
                self.steps[side] = self._made(torch, torch.nn.parallel.DistributedDataParallel, True)

    def _made(self, T: Any, wrap: Callable[[Any], Any], shared: bool) -> Callable[[], float] | None:
        if not shared and self.rank:
            return None
        training = Training(T, WORKLOADS[self.workload])
        training.model = wrap(training.model)
        if shared:
            training.x = training.x.chunk(RANKS)[self.rank]
            training.target = training.target.chunk(RANKS)[self.rank]
        return training.step

    def turn(self, side: str) -> tuple[float, float]:
        """Seconds of a step between barriers, and its loss here; 0 where this rank sleeps."""
        step, loss = self.steps[side], 0.0
        self.distributed.barrier()
        start = time.perf_counter()
        if step is not None:
            loss = step()
        taken = time.perf_counter() - start
        self.distributed.barrier()
        return taken, loss


def in_rank(workload: str, wanted: list[str], rounds: int, seconds: float, folder: str) -> None:
    """Measure in one rank; each leaves its losses, and rank 0 the times, in the folder."""
    import flambeau as fb

    sides = Sides(workload, wanted, Path(folder))
    losses = {side: [sides.turn(side)[1] for _ in range(COMPARED)] for side in wanted}
    times: dict[str, list[float]] = {side: [] for side in wanted}
    start = time.perf_counter()
    for i in range(rounds):
        late = fb.tensor([float(i >= LEAST and time.perf_counter() - start > seconds)])
        sides.distributed.broadcast(late, 0)  # whether the time is over is for one to say
        if late.item():
            break
        for side in wanted if i % 2 else reversed(wanted):
            times[side].append(sides.turn(side)[0])
    Path(folder, f"{sides.rank}.json").write_text(json.dumps({"losses": losses, "times": times}))
    sides.distributed.destroy_process_group()


# -- the rows ----------------------------------------------------------------------------------------
def turns(workload: str, wanted: list[str], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds a step of each side in each round; RuntimeError for losses that are not those of one rank."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = json.dumps([workload, wanted, rounds, seconds, folder])
        launch = "-m", "flambeau", "launch", "--nproc-per-node", str(RANKS), "-m", "benchmarks.distributed"
        run(*launch, arguments, variables={"OMP_NUM_THREADS": "1", "FLAMBEAU_NUM_THREADS": "1"})
        ranks = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(RANKS)]
    whole = ranks[0]["losses"][BARE]
    for side in wanted:
        each = [rank["losses"][side] for rank in ranks]
        mean = each[0] if side in (BARE, ALONE) else [sum(losses) / RANKS for losses in zip(*each, strict=True)]
        if difference(whole, mean, TOLERANCE):
            raise RuntimeError(f"the losses of {BARE} are {whole}, and those of {side} {mean}")
    times: dict[str, list[float]] = ranks[0]["times"]
    return times


def rows(settings: Settings) -> Iterator[Row]:
    from importlib.util import find_spec

    if find_spec("mpi4py") is None:
        settings.failures.append("distributed: needs mpi4py; pip install flambeau[distributed]")
        return
    with_torch = any(module.__name__ == "torch" for module in settings.modules)
    chosen = [name for name in settings.chosen(CASES) if with_torch or CASES[name][1] != TORCH]
    for workload in dict.fromkeys(name.partition(",")[0] for name in chosen):
        names = [name for name in chosen if name.partition(",")[0] == workload]
        wanted = list(dict.fromkeys([BARE, *(side for name in names for side in CASES[name][:2])]))
        try:
            times = turns(workload, wanted, settings.rounds, settings.seconds * len(wanted))
        except RuntimeError as error:
            settings.failures.append(f"{workload}, distributed: {str(error).splitlines()[-1]}")
            continue
        for name in names:
            side, rival, limit = CASES[name]
            peers = {rival: tuple(times[rival])}
            yield Row("distributed", name, tuple(times[side]), limit=limit, peers=peers, rival=rival)


if __name__ == "__main__":
    in_rank(*json.loads(sys.argv[1]))
