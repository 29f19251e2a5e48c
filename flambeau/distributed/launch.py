"""``python -m flambeau launch``: start the ranks of a job, on one machine or many, watch them, end and restart them.

The options are torchrun's. No ``mpiexec`` is needed: this process serves what MPI asks of a launcher
(:mod:`flambeau.distributed.pmi`). The ranks find each other by what torchrun sets too, so it starts programs for
torch.distributed as well.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from flambeau.distributed.errors import DistError
from flambeau.distributed.nodes import Node, Plan
from flambeau.distributed.options import Job, parse
from flambeau.distributed.pmi import remove_shared_memory
from flambeau.distributed.ranks import Failure, Ranks, threads

__all__ = ["main", "torchrun"]

_LOOK = 0.02  # seconds between two looks at the ranks here
_ASK = 0.1  # seconds between two questions to the leader
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
_FOREIGN = ("PMI_", "PMIX_", "MPI_LOCAL", "OMPI_", "HYDI_", "HYDRA_", "TORCHELASTIC_", "LAUNCHED_BY_FLAMBEAU")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a job as the options say; its exit status is that of the first rank that failed, 0 where none did."""
    launcher = _Launcher(parse(sys.argv[1:] if arguments is None else arguments))
    before = {number: signal.signal(number, launcher.interrupt) for number in _SIGNALS}
    try:
        return launcher.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def torchrun() -> None:
    """The command ``torchrun``."""
    sys.exit(main())


def _say(text: str) -> None:
    sys.stdout.flush()
    print(f"flambeau launch: {text}", file=sys.stderr, flush=True)


class _Launcher:
    """The launcher of one machine."""

    def __init__(self, job: Job):
        self.job = job
        self.signal: int | None = None

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Note a signal, which the next look finds."""
        self.signal = number

    def _interrupted(self) -> Failure | None:
        if self.signal is None:
            return None
        return Failure(None, f"the launcher got {signal.Signals(self.signal).name}", 128 + self.signal, final=True)

    def run(self) -> int:
        """Start the ranks, and again after failures as often as the job allows; the exit status."""
        try:
            node = Node(self.job.endpoint, self.job.ranks, self.job.node_rank)
        except (DistError, OSError) as error:
            _say(str(error))
            return 1
        try:
            attempt = 0
            while (failure := self._round(node, attempt)) is not None:
                left = 0 if failure.final else self.job.restarts - attempt
                _say(f"{failure}; the job is {'started again, ' + _times(left) if left else 'stopped'}")
                if not left:
                    return failure.status
                attempt += 1
            return 0
        except DistError as error:
            _say(f"{error}; the job is stopped")
            return 1
        finally:
            node.close()

    def _round(self, node: Node, attempt: int) -> Failure | None:
        """One start of all ranks until they end: why they failed."""
        plan = node.begin(attempt, self._interrupted)
        if isinstance(plan, Failure):
            return plan
        ranks = None
        try:
            ranks = Ranks(self.job.command, _environments(self.job, plan, attempt), self.job.output(attempt))
            return self._watch(ranks, node)
        finally:
            if ranks is not None:
                ranks.end(self.job.grace) if ranks.running() else ranks.close()
            node.end_round()
            remove_shared_memory(plan.name)

    def _watch(self, ranks: Ranks, node: Node) -> Failure | None:
        """Wait until all ranks of all machines ended well, or one failed: why."""
        asked = 0.0
        while True:
            failure = self._interrupted() or ranks.failure()
            if failure is not None:
                return node.stop(failure)
            now = time.monotonic()
            if now - asked > _ASK:
                asked = now
                failure = node.stopped()
                if failure is not None:
                    return failure
            if not ranks.running() and node.finished():
                return None
            time.sleep(_LOOK)


def _times(left: int) -> str:
    return "for the last time" if left == 1 else f"{left - 1} more restarts are left"


def _environments(job: Job, plan: Plan, attempt: int) -> list[dict[str, str]]:
    """What each rank of this machine finds in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    count = str(threads(job.ranks))
    kept.setdefault("OMP_NUM_THREADS", count)
    kept.setdefault("FLAMBEAU_NUM_THREADS", kept["OMP_NUM_THREADS"])
    host, port = plan.master
    common = {
        "WORLD_SIZE": str(plan.size), "LOCAL_WORLD_SIZE": str(job.ranks),
        "GROUP_RANK": str(plan.node), "GROUP_WORLD_SIZE": str(plan.nodes),
        "ROLE_NAME": job.role, "ROLE_WORLD_SIZE": str(plan.size),
        "MASTER_ADDR": host, "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": job.endpoint.job, "TORCHELASTIC_RESTART_COUNT": str(attempt),
        "TORCHELASTIC_MAX_RESTARTS": str(job.restarts),
        "LAUNCHED_BY_FLAMBEAU": plan.name, "PMI_PORT": plan.pmi,
    }  # fmt: skip
    made = []
    for local in range(job.ranks):
        rank = str(plan.first + local)
        own = {"RANK": rank, "ROLE_RANK": rank, "LOCAL_RANK": str(local), "PMI_ID": rank}
        if job.one_device_each:
            seen = kept.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(job.ranks)))).split(",")
            own |= {"LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": seen[local % len(seen)]}
        if rank != "0":
            own["TQDM_DISABLE"] = kept.get("TQDM_DISABLE", "1")  # progress bars on rank 0 only
        made.append(kept | common | own)
    return made
