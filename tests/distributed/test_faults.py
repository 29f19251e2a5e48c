"""However a rank fails, the job ends everywhere and says which rank, which call and where; nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambeau.distributed.pmi import segments
from tests.distributed.jobs import ROOT, environment, reports, run_bounded

pytest.importorskip("mpi4py")

PROGRAM = str(Path(__file__).with_name("launched.py"))
LAUNCH = [sys.executable, "-m", "flambeau", "launch", "--nproc-per-node", "2"]


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


FAULTS = {
    "raise": (1, "rank 1 failed: ValueError: boom at {program}:"),
    "exit": (3, "rank 1 failed: exited with status 3"),
    "message": (1, "rank 1 failed: exited with status 1"),
    "kill": (137, "rank 1 was killed by SIGKILL"),
    "_exit": (5, "rank 1 ended with exit code 5 and said nothing (os._exit)"),
    "_exit well": (1, "rank 1 is gone"),
    "straggle": (1, "rank 0 failed: flambeau.distributed.errors.DistBackendError: rank 0 of 2: all_reduce(float32 [3]"),
    "interrupt": (130, "rank 1 failed: KeyboardInterrupt"),
}


#: Those that are tried in every run, as a job takes a second; the others are alike.
OFTEN = ("raise", "kill", "straggle")


@pytest.mark.parametrize("how", [pytest.param(how, marks=() if how in OFTEN else pytest.mark.slow) for how in FAULTS])
def test_a_fault_ends_the_job(how: str) -> None:
    ran = run_bounded([*LAUNCH, PROGRAM, how, "1" if how == "straggle" else "20"], 60)
    status, message = FAULTS[how]
    assert ran.returncode == status, ran.stderr
    assert message.format(program=PROGRAM) in ran.stderr and "the job is stopped" in ran.stderr
    ranks = reports(ran.stdout)
    assert len(ranks) == 2 and not any(alive(rank["pid"]) for rank in ranks)
    if how == "raise":
        assert "[rank 1] Traceback" in ran.stderr and "launched.py" in ran.stderr and "guard.py" not in ran.stderr


@pytest.mark.parametrize("how", ["mismatch", pytest.param("order", marks=pytest.mark.slow)])
def test_calls_that_do_not_match_are_named(how: str) -> None:
    ran = run_bounded([*LAUNCH, PROGRAM, how], 60, {"TORCH_DISTRIBUTED_DEBUG": "DETAIL"})
    assert ran.returncode == 1, ran.stderr
    assert "all_reduce" in ran.stderr and "rank 1" in ran.stderr


@pytest.mark.slow
def test_a_caught_exit_is_none() -> None:
    ran = run_bounded([*LAUNCH, PROGRAM, "caught"], 60)
    assert ran.returncode == 0, ran.stderr
    assert "[rank 1] went on" in ran.stdout


LATE = """
import os, time
from datetime import timedelta
import flambeau.distributed as dist
if os.environ["RANK"] == "1":
    time.sleep(60)
dist.init_process_group(timeout=timedelta(seconds=1))
"""


@pytest.mark.slow
def test_a_rank_that_does_not_begin_is_named(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(LATE)
    ran = run_bounded([*LAUNCH, str(tmp_path / "program.py")], 60)
    assert ran.returncode == 1
    assert "init_process_group: of 2 ranks [1] did not come within 1 s" in ran.stderr


# -- the launcher ----------------------------------------------------------------------------------------
@pytest.fixture
def straggling() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A launcher whose rank 1 sleeps, and the ids of the ranks."""
    process = subprocess.Popen(
        [*LAUNCH, PROGRAM, "straggle", "50"], cwd=ROOT, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    ranks = reports("".join(process.stdout.readline() for _ in range(2)))
    yield process, [rank["pid"] for rank in ranks]
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_to_the_launcher_ends_all(
    straggling: tuple[subprocess.Popen[str], list[int]], number: signal.Signals
) -> None:
    process, ranks = straggling
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert f"the launcher got {number.name}; the job is stopped" in err
    assert len(ranks) == 2 and not any(map(alive, ranks))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_ranks_end_with_a_launcher_that_was_killed(straggling: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, ranks = straggling
    process.kill()
    deadline = time.monotonic() + 20
    while any(map(alive, ranks)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(ranks) == 2 and not any(map(alive, ranks))


SEGMENT = """
import os, time
import flambeau.distributed as dist
dist.init_process_group()
print(os.environ["LAUNCHED_BY_FLAMBEAU"], flush=True)
time.sleep(0.2)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for files in /dev/shm")
def test_no_shared_memory_is_left(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(SEGMENT)
    ran = run_bounded([*LAUNCH, str(tmp_path / "program.py")], 60)
    assert ran.returncode == 137, ran.stderr
    assert not list(segments(ran.stdout.split()[-1]))


# -- restarts --------------------------------------------------------------------------------------------
RESTARTED = """
import os, signal, sys
from pathlib import Path
import flambeau as fb, flambeau.distributed as dist
dist.init_process_group()
file = Path(sys.argv[1])
begin = int(file.read_text()) if file.exists() else 0
for step in range(begin, 6):
    x = fb.ones(1)
    dist.all_reduce(x)
    if dist.get_rank() == 0:
        file.with_suffix(".new").write_text(str(step + 1))
        os.replace(file.with_suffix(".new"), file)
    dist.barrier()
    if step == 2 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
print("from", begin, "to", step + 1, "of", dist.get_world_size())
"""


def test_a_job_is_started_again_from_its_last_step(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(RESTARTED)
    ran = run_bounded([*LAUNCH, "--max-restarts", "1", str(tmp_path / "program.py"), str(tmp_path / "step")], 90)
    assert ran.returncode == 0, ran.stderr
    assert "rank 1 was killed by SIGKILL" in ran.stderr and "the job is started again, for the last time" in ran.stderr
    assert sorted(ran.stdout.splitlines()) == [f"[rank {rank}] from 3 to 6 of 2" for rank in range(2)]


@pytest.mark.slow
def test_restarts_end(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys\nprint('once')\nsys.exit(4)\n")
    ran = run_bounded([*LAUNCH, "--nproc-per-node", "1", "--max-restarts", "1", str(tmp_path / "program.py")], 60)
    assert ran.returncode == 4
    assert ran.stdout.count("once") == 2 and "the job is stopped" in ran.stderr
