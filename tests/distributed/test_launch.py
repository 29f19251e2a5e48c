"""A program runs alike under our launcher, mpiexec, SLURM, torchrun and by hand, on one machine or several."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flambeau.distributed import options, rendezvous
from flambeau.distributed.pmi import process_mapping
from tests.distributed.jobs import ROOT, environment, reports, run_bounded, run_ranks

PROGRAM = str(Path(__file__).with_name("launched.py"))
LAUNCH = [sys.executable, "-m", "flambeau", "launch"]


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def together(
    commands: Sequence[Sequence[str]], variables: Sequence[dict[str, str]] = (), timeout: float = 60
) -> list[Any]:
    """Run commands beside each other: (status, stdout, stderr) of each."""
    processes = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment() | more, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for command, more in zip(commands, variables or [{}] * len(commands), strict=True)
    ]
    deadline = time.monotonic() + timeout
    try:
        said = [process.communicate(timeout=max(1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def check(out: str, size: int = 2) -> list[dict[str, Any]]:
    """What the ranks said of themselves, by rank: each had its place, and their sum was right."""
    ranks = reports(out)
    assert [rank["rank"] for rank in ranks] == list(range(size)), out
    assert all(rank["sum"] == [float(size)] * 3 for rank in ranks)
    return ranks


def test_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ran = run_bounded([*LAUNCH, "--nproc-per-node", "2", PROGRAM, "well"], 60)
    assert ran.returncode == 0 and ran.stderr == ""
    assert sorted(line[:9] for line in ran.stdout.splitlines()) == ["[rank 0] ", "[rank 1] "]
    first, second = check(ran.stdout)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert first["OMP_NUM_THREADS"] == str(max(1, cores // 2))
    assert (first["TQDM_DISABLE"], second["TQDM_DISABLE"]) == (None, "1")
    assert [second[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")] == [
        "1", "1", "2", "2", "0",
    ]  # fmt: skip


def test_mpiexec() -> None:
    mpiexec = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    ran = run_bounded([mpiexec, "-n", "2", sys.executable, PROGRAM, "well"], 60)
    assert ran.returncode == 0, ran.stderr
    check(ran.stdout)


def by_hand(rank: int, port: int) -> dict[str, str]:
    """What a rank needs in its environment."""
    return {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


@pytest.mark.slow
def test_by_hand() -> None:
    port = free_port()
    ran = together([[sys.executable, PROGRAM, "well"]] * 2, [by_hand(rank, port) for rank in range(2)])
    assert [status for status, _, _ in ran] == [0, 0], ran
    check(ran[0][1] + ran[1][1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"), [("raise", "as rank 1 failed: ValueError: boom at"), ("kill", "as rank 1 is gone: killed")]
)
def test_faults_by_hand(how: str, message: str) -> None:
    port = free_port()
    ran = together([[sys.executable, PROGRAM, how]] * 2, [by_hand(rank, port) for rank in range(2)])
    assert ran[0][0] == 1 and ran[1][0] != 0
    assert f"rank 0 of 2 stops at {PROGRAM}:" in ran[0][2] and message in ran[0][2]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "exit", "kill"])
def test_faults_under_mpiexec(how: str) -> None:
    mpiexec = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    ran = run_bounded([mpiexec, "-n", "2", sys.executable, PROGRAM, how], 60)
    assert ran.returncode != 0
    if how != "kill":
        assert "flambeau.distributed: rank 1 failed: " in ran.stderr


SRUN = """
import os, subprocess, sys
count = int(sys.argv[1])
common = os.environ | {
    "SLURM_NTASKS": str(count), "SLURM_JOB_ID": sys.argv[2], "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost",
}
ranks = [
    subprocess.Popen(sys.argv[3:], env=common | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})
    for rank in range(count)
]
sys.exit(max(rank.wait() for rank in ranks))
"""


def test_slurm(tmp_path: Path) -> None:
    """Under a stand-in for srun that sets what SLURM's sets."""
    (tmp_path / "srun.py").write_text(SRUN)
    job = str(os.getpid() * 7 % 100_000)
    ran = run_bounded([sys.executable, str(tmp_path / "srun.py"), "2", job, sys.executable, PROGRAM, "well"], 60)
    assert ran.returncode == 0, ran.stderr
    check(ran.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["well", "raise"])
def test_torchrun(how: str) -> None:
    pytest.importorskip("torch")
    ran = run_bounded([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", PROGRAM, how], 90)
    if how == "well":
        assert ran.returncode == 0, ran.stderr
        check(ran.stdout)
    else:
        assert ran.returncode != 0 and "rank 1 failed: ValueError: boom" in ran.stderr


GLOO = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.ones(1)
dist.all_reduce(x)
print(dist.get_rank(), x.item())
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_programs_for_torch_are_launched_too(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "program.py").write_text(GLOO)
    ran = run_bounded([*LAUNCH, "--nproc-per-node", "2", str(tmp_path / "program.py")], 90)
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == ["[rank 0] 0 2.0", "[rank 1] 1 2.0"]


TORCH = """
import torch, torch.distributed as dist
dist.init_process_group()
x = torch.ones(1)
dist.all_reduce(x)
print(dist.get_rank(), x.item(), "flambeau" in torch.__file__)
"""


@pytest.mark.slow
def test_torchrun_where_torch_is_flambeau(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TORCH)
    run = [sys.executable, "-m", "flambeau", "run", "-m", "torch.distributed.run"]
    ran = run_bounded([*run, "--nproc-per-node", "2", str(tmp_path / "program.py")], 90)
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == ["[rank 0] 0 2.0 True", "[rank 1] 1 2.0 True"]


# -- several machines ----------------------------------------------------------------------------------
def nodes(port: int, how: Sequence[str], *options: str, count: int = 2) -> list[Any]:
    """Launchers as on several machines, here on one."""
    command = [*LAUNCH, "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "test", *options, *how]
    return together([command] * count)


def test_two_machines() -> None:
    ran = nodes(free_port(), [PROGRAM, "well"], "--nnodes", "2")
    assert [status for status, _, _ in ran] == [0, 0], ran
    ranks = check(ran[0][1] + ran[1][1])
    assert [rank["GROUP_RANK"] for rank in ranks] == ["0", "1"]
    assert [rank["LOCAL_WORLD_SIZE"] for rank in ranks] == ["1", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_fault_ends_the_job_on_all_machines(how: str) -> None:
    ran = nodes(free_port(), [PROGRAM, how], "--nnodes", "2")
    assert all(status == (1 if how == "raise" else 137) for status, _, _ in ran), ran
    message = "rank 1 failed: ValueError: boom" if how == "raise" else "rank 1 was killed by SIGKILL"
    assert all(message in err and "the job is stopped" in err for _, _, err in ran)


@pytest.mark.slow
def test_too_few_machines() -> None:
    ran = nodes(free_port(), [PROGRAM, "well"], "--nnodes", "3", "--rdzv-conf", "join_timeout=2")
    assert all(status == 1 and "2 of at least 3 machines are there after 2 s" in err for status, _, err in ran), ran


ELASTIC = """
import os, signal, time
import flambeau as fb, flambeau.distributed as dist
dist.init_process_group()
x = fb.ones(1)
dist.all_reduce(x)
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if dist.get_rank() == 1:
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)
print("size", dist.get_world_size())
"""


@pytest.mark.slow
def test_a_job_goes_on_with_fewer_machines(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(ELASTIC)
    command = [
        *LAUNCH, "--nnodes", "1:2", "--max-restarts", "1", "--rdzv-conf", "last_call_timeout=3", "--rdzv-id", "test",
        "--rdzv-endpoint", f"localhost:{free_port()}",
    ]  # fmt: skip
    program = str(tmp_path / "program.py")
    ran = together([[*command, "--node-rank", str(node), program] for node in range(2)], timeout=120)
    assert ran[1][0] == -9 and ran[0][0] == 0, ran
    assert ran[0][1].splitlines() == ["[rank 0] size 1"]


# -- output ----------------------------------------------------------------------------------------------
BARS = """
import os, sys, time
from tqdm import tqdm
for i in tqdm(range(3), mininterval=0, file=sys.stderr): pass
print("a", end=""); print("b\\r\\nc")
sys.stdout.write("no end")
"""


def test_output(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(BARS)
    ran = run_bounded(
        [*LAUNCH, "--nproc-per-node", "2", "--log-dir", str(tmp_path), "--tee", "1:1", "--rdzv-id", "j",
         str(tmp_path / "program.py")], 60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == sorted(
        f"[rank {rank}] {text}" for rank in range(2) for text in ("ab", "c", "no end")
    )
    assert "3/3" in ran.stderr and "[rank 1]" not in ran.stderr
    assert (tmp_path / "j/attempt_0/1/stdout.log").read_bytes() == b"ab\r\nc\nno end\n"
    assert not (tmp_path / "j/attempt_0/0").exists()


def test_modules_arguments_and_results() -> None:
    job = run_ranks(2, "tests.distributed.jobs:case_names", "tests.distributed.launched").check()
    assert job.returned == [[], []]
    job = run_ranks(1, "import sys\nresult = sys.argv[1:]\nprint('line')\n", "--flag", "x").check()
    assert (job.returned, job.out) == ([["--flag", "x"]], [["line"]])


# -- options -----------------------------------------------------------------------------------------------
def parsed(line: str) -> options.Job:
    """The job of a command line."""
    return options.parse(line.split())


def test_torchruns_options(monkeypatch: pytest.MonkeyPatch) -> None:
    job = parsed(
        "--nnodes=1:4 --nproc_per_node=3 --max-restarts 2 --rdzv_backend c10d --rdzv_endpoint h:400 --rdzv-id x "
        "--rdzv-conf join_timeout=7 -r 0:1,1:3 -m pkg.train --nnodes 9 -m"
    )
    assert (job.ranks, job.restarts, job.command[-5:]) == (3, 2, ["-m", "pkg.train", "--nnodes", "9", "-m"])
    at = job.endpoint
    assert (at.host, at.port, at.job, at.least, at.most, at.join, at.leads) == ("h", 400, "x", 1, 4, 7, None)
    assert [(job.console(rank), job.files(rank)) for rank in range(3)] == [(2, 1), (0, 3), (3, 0)]
    static = parsed("--nnodes 2 --node-rank 1 --master-addr h --master-port 5 train.py").endpoint
    assert (static.host, static.port, static.leads) == ("h", 5, False)
    monkeypatch.setenv("PET_NPROC_PER_NODE", "4")
    assert parsed("train.py").ranks == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--nproc-per-node 0 t.py", "must be a number from 1 on, auto, cpu or gpu, got '0'"),
        ("--nnodes 3:2 t.py", "or MIN:MAX, got '3:2'"),
        ("--nnodes 2 t.py", "several machines need --rdzv-endpoint"),
        ("--nnodes 2 --rdzv-endpoint h:x t.py", "must be HOST:PORT, got 'h:x'"),
        ("--nnodes 2 --node-rank 2 --master-addr h t.py", "--node-rank must be from 0 to 1, got 2"),
        ("--redirects 5 t.py", "must be 0 to 3"),
        ("--numa-binding node t.py", "--numa-binding is torchrun's and has no meaning here"),
        ("--max-restarts -1 t.py", "--max-restarts must be at least 0"),
    ],
)
def test_wrong_options(given: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(given)
    assert ended.value.code == 2 and message in capsys.readouterr().err


# -- finding a place ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init_method": "http://x"}, "http:// needs rank and world_size"),
        ({"init_method": "http://x", "rank": 0, "world_size": 2}, "must begin with env://, tcp:// or file://"),
        ({"init_method": "tcp://x", "rank": 0, "world_size": 2}, "expected tcp://host:port"),
        ({"init_method": "file:///tmp/x?rank=2&world_size=2"}, "rank 2 of world_size 2"),
        (
            {"rank": 1},
            "WORLD_SIZE, MASTER_ADDR, MASTER_PORT are not set; start the program with `python -m flambeau launch",
        ),
        ({"store": object(), "rank": 0}, "a store needs rank and world_size"),
    ],
)
def test_places_that_cannot_be(arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=message):
        rendezvous.join(**arguments)


def test_slurms_variables() -> None:
    given = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "12", "SLURM_STEP_NODELIST": "n[07-09,12],m1"}
    found = rendezvous.slurm(given)
    assert found == {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "n07", "MASTER_PORT": "20192"}
    assert rendezvous.slurm(given | {"MASTER_PORT": "5"})["MASTER_PORT"] == "5"


def test_process_mapping() -> None:
    assert process_mapping([0] * 4) == "(vector,(0,1,4))"
    assert process_mapping([0, 0, 1, 1, 2, 2]) == "(vector,(0,3,2))"
    assert process_mapping([0, 1, 1]) == "(vector,(0,1,1),(1,1,2))"
