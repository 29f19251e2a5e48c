"""What ``python -m flambeau launch`` is told: torchrun's options, and those of the environment as ``PET_NNODES``."""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau import accelerator
from flambeau.distributed.nodes import Endpoint
from flambeau.distributed.ranks import ERR, OUT, Output, guarded, threads

__all__ = ["Job", "parse"]

_PORT = 29500  # torch's
_GRACE = 1.0  # seconds between SIGTERM and SIGKILL
_UNUSED = (  # of torchrun, for what is not here
    "--event-log-handler", "--logs-specs", "--monitor-interval", "--numa-binding", "--signals-to-handle",
    "--start-method", "--local-addr", "--duplicate-stdout-filters", "--duplicate-stderr-filters",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What a launcher starts.

    Attributes:
        command: what each rank runs.
        ranks: how many on this machine.
        restarts: how often the job is started again after a failure.
        node_rank: the number of this machine among all; None takes them as they come.
        grace: seconds between asking a rank to end and killing it.
        role: what the ranks are called in ``ROLE_NAME``.
        one_device_each: each rank sees one device of CUDA alone.
    """

    endpoint: Endpoint
    command: list[str]
    ranks: int
    restarts: int
    node_rank: int | None
    grace: float
    role: str
    one_device_each: bool
    console: Callable[[int], int]
    files: Callable[[int], int]
    folder: Path | None

    def output(self, attempt: int) -> Output:
        """Where the output of one start goes."""
        folder = None if self.folder is None else self.folder / self.endpoint.job / f"attempt_{attempt}"
        return Output(self.console, self.files, folder)


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition(":")
    try:
        found = int(least), int(most or least)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on or MIN:MAX, got {text!r}")
    return found


def _ranks(text: str) -> int:
    """How many ranks a machine has: a number, or one for each device or core."""
    devices = accelerator.device_count() if text in ("auto", "gpu", "cuda", "xpu") else 0
    if text in ("gpu", "cuda", "xpu") and not devices:
        raise argparse.ArgumentTypeError(f"{text!r}: this machine has no accelerator")
    count = (
        devices or threads(1) if text in ("auto", "cpu", "gpu", "cuda", "xpu") else int(text) if text.isdigit() else 0
    )
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, auto, cpu or gpu, got {text!r}")
    return count


def _streams(text: str) -> Callable[[int], int]:
    """torchrun's way to name streams: a sum of 1 for stdout and 2 for stderr, or such a sum for each local rank."""
    try:
        if ":" not in text:
            every = int(text)
            if 0 <= every <= OUT | ERR:
                return lambda rank: every
        table = {int(rank): int(kind) for rank, kind in (part.split(":") for part in text.split(","))}
    except ValueError:
        table = {0: -1}
    if not all(0 <= kind <= OUT | ERR for kind in table.values()) or ":" not in text:
        raise argparse.ArgumentTypeError(f"must be 0 to 3, or such as 0:1,1:2 by local rank, got {text!r}")
    return lambda rank: table.get(rank, 0)


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be local ranks such as 0,2, got {text!r}") from None


def _settings(text: str) -> dict[str, float]:
    """``a=1,b=2``."""
    try:
        return {name: float(value) for name, value in (part.split("=") for part in text.split(",") if part)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be such as join_timeout=60,last_call_timeout=5, got {text!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flambeau launch",
        description="Start a program in several processes, the ranks of a job, on this machine or on several.",
        epilog="On each of several machines, start the same command, with the same --rdzv-endpoint and --rdzv-id.",
    )

    def option(*names: str, **how: Any) -> None:  # Any: what add_argument takes
        both = [*names, *(name.replace("-", "_").replace("__", "--", 1) for name in names if "-" in name[2:])]
        if "default" in how:
            how["default"] = os.environ.get("PET_" + names[-1].lstrip("-").upper().replace("-", "_"), how["default"])
        parser.add_argument(*both, **how)

    option(
        "--nproc-per-node",
        type=_ranks,
        default="1",
        metavar="N",
        help="ranks on this machine: a number, auto, cpu, gpu",
    )
    option("--nnodes", type=_range, default="1:1", metavar="N", help="machines, or MIN:MAX: with fewer it goes on (1)")
    option("--node-rank", type=int, default=None, help="the number of this machine, from 0; 0 leads")
    option("--rdzv-backend", default="c10d", choices=("c10d", "static"), help="accepted; both meet at the endpoint")
    option("--rdzv-endpoint", default="", metavar="HOST:PORT", help="where the launchers meet: on the first machine")
    option("--rdzv-id", default=None, help="the name of the job, the same on all machines")
    option(
        "--rdzv-conf", type=_settings, default="", metavar="NAME=SECONDS,…",
        help="join_timeout (600), last_call_timeout (5), heartbeat_timeout (10)",
    )  # fmt: skip
    option("--standalone", action="store_true", help="a job on this machine alone, at a free port")
    option("--max-restarts", type=int, default="0", metavar="N", help="start the ranks again after a failure (0)")
    option("--master-addr", default=None, help="the address of the first machine, in place of --rdzv-endpoint")
    option("--master-port", type=int, default=None, help=f"its port ({_PORT})")
    option("--role", default="default", help="what the ranks are called in ROLE_NAME")
    option("-m", "--module", action="store_true", help="the program is a module, as in python -m")
    option("--no-python", action="store_true", help="the program is no Python program")
    option("--run-path", action="store_true", help="accepted: Python programs are always run so")
    option("--log-dir", type=Path, default=None, help="the folder of log files")
    option("-r", "--redirects", type=_streams, default="0", help="into log files: 1 stdout, 2 stderr, 3 both, 0:1,1:2")
    option("-t", "--tee", type=_streams, default="0", help="into log files and to the console")
    option("--local-ranks-filter", type=_numbers, default=None, help="print what these local ranks print")
    option("--shutdown-timeout", type=float, default=str(_GRACE), help="seconds between SIGTERM and SIGKILL (1)")
    option("--virtual-local-rank", action="store_true", help="each rank sees one CUDA device, and LOCAL_RANK 0")
    for name in _UNUSED:
        option(name, default=None, help=argparse.SUPPRESS)
    parser.add_argument("program", metavar="PROGRAM", help="a script, or a module with -m")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program is given")
    return parser


def parse(arguments: Sequence[str]) -> Job:
    """The job that a command line asks for; SystemExit with status 2 where it is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    for name in _UNUSED:
        if getattr(given, name.lstrip("-").replace("-", "_")) is not None:
            parser.error(f"{name} is torchrun's and has no meaning here")
    if given.max_restarts < 0:
        parser.error(f"--max-restarts must be at least 0, got {given.max_restarts}")
    redirects, tee, shown = given.redirects, given.tee, given.local_ranks_filter
    program = [given.program, *given.arguments]
    return Job(
        endpoint=_endpoint(parser, given),
        command=program if given.no_python else guarded(program, given.module),
        ranks=given.nproc_per_node,
        restarts=given.max_restarts,
        node_rank=given.node_rank,
        grace=given.shutdown_timeout,
        role=given.role,
        one_device_each=given.virtual_local_rank,
        console=lambda rank: 0 if shown is not None and rank not in shown else (OUT | ERR) & ~redirects(rank),
        files=lambda rank: redirects(rank) | tee(rank),
        folder=given.log_dir
        or (Path("flambeau-logs") if any(map(redirects, range(64))) or any(map(tee, range(64))) else None),
    )


def _endpoint(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Endpoint:
    least, most = given.nnodes
    host, port = _address(parser, given)
    alone = given.standalone or (host is None and most == 1)
    if not alone and host is None:
        parser.error("several machines need --rdzv-endpoint HOST:PORT, or --master-addr")
    if given.standalone and most > 1:
        parser.error("--standalone is for one machine")
    if given.node_rank is not None and not 0 <= given.node_rank < most:
        parser.error(f"--node-rank must be from 0 to {most - 1}, got {given.node_rank}")
    conf: dict[str, float] = given.rdzv_conf
    return Endpoint(
        host=None if alone else host,
        port=0 if alone else port,
        job=given.rdzv_id or (uuid.uuid4().hex if alone else "none"),
        leads=True if alone else None if given.node_rank is None else given.node_rank == 0,
        least=1 if alone else least,
        most=1 if alone else most,
        join=conf.get("join_timeout", conf.get("timeout", 600.0)),
        last_call=conf.get("last_call_timeout", 5.0),
        silence=conf.get("heartbeat_timeout", 10.0),
    )


def _address(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[str | None, int]:
    """Where the launchers meet, as the options say."""
    if given.rdzv_endpoint:
        host, colon, port = given.rdzv_endpoint.rpartition(":")
        if not colon:
            return given.rdzv_endpoint.strip("[]"), _PORT
        if not port.isdigit() or not host:
            parser.error(f"--rdzv-endpoint must be HOST:PORT, got {given.rdzv_endpoint!r}")
        return host.strip("[]"), int(port)
    if given.master_addr is None and given.nnodes == (1, 1):
        return (None, 0) if given.master_port is None else ("127.0.0.1", given.master_port)
    return given.master_addr, given.master_port or _PORT
