"""How the launchers of several machines agree: who takes part, which ranks each has, when all end.

One of them, the leader, serves a store and the PMI server; the others are its clients. Each start of the ranks is a
round.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from flambeau.distributed.errors import DistError, DistNetworkError
from flambeau.distributed.pmi import Server
from flambeau.distributed.ranks import Failure
from flambeau.distributed.stores import PrefixStore, Store, TCPStore
from flambeau.distributed.stores.server import StoreServer

__all__ = ["Endpoint", "Node", "Plan"]

_BEAT = 0.5  # seconds between two signs of life


@dataclass(frozen=True)
class Endpoint:
    """Where the launchers meet.

    Attributes:
        host: the address of the leader; None for a job on this machine alone.
        port: 0 takes a free one, on this machine alone.
        job: the name of the job, which keeps its keys from those of others.
        leads: this launcher leads, follows, or tries to (None): the first on the machine of that address leads.
        least, most: how many machines take part.
        join: seconds to wait until enough are there.
        last_call: seconds to wait for more when enough are there.
        silence: seconds without a sign of life after which a launcher is taken for gone.
    """

    host: str | None
    port: int
    job: str
    leads: bool | None
    least: int
    most: int
    join: float
    last_call: float
    silence: float


@dataclass(frozen=True)
class Plan:
    """What a launcher has to start: its ranks, of how many, on which of how many machines, and where they meet."""

    first: int
    size: int
    node: int
    nodes: int
    name: str
    pmi: str
    master: tuple[str, int]


class Node:
    """This launcher among the others."""

    def __init__(self, endpoint: Endpoint, ranks: int, number: int | None):
        self._at, self._ranks, self._number = endpoint, ranks, number
        self._server = self._lead()
        host = endpoint.host or "127.0.0.1"
        self._port = self._server.port if self._server is not None else endpoint.port
        tcp = TCPStore(host, self._port, timeout=timedelta(seconds=endpoint.join))
        self.store: Store = PrefixStore(f"flambeau/{endpoint.job}", tcp)
        self._round: Store = self.store
        self._pmi: Server | None = None
        self._plan: Plan | None = None
        self._arrived = 0
        self._came = 1  # launchers that the leader has seen
        self._beats: dict[int, tuple[bytes, float]] = {}
        self._beaten = 0.0

    @property
    def leader(self) -> bool:
        """Whether this launcher leads."""
        return self._server is not None

    def _lead(self) -> StoreServer | None:
        at = self._at
        if at.leads is False or (at.leads is None and at.host is not None and not _is_here(at.host)):
            return None
        try:
            return StoreServer(at.port, host="127.0.0.1" if at.host is None else "")
        except DistNetworkError:
            if at.leads is None:  # another launcher of this machine leads
                return None
            raise

    # -- a round ----------------------------------------------------------------------------------
    def begin(self, number: int, interrupted: Callable[[], Failure | None]) -> Plan | Failure:
        """Agree on round ``number``, or give up as ``interrupted`` says.

        Raises:
            DistError: too few machines are there in time, or this one came too late.
        """
        self._round = here = PrefixStore(str(number), self.store)
        self._arrived = here.add("count", 1)
        number_or_order = self._arrived if self._number is None else self._number
        here.set(f"node/{self._arrived}", json.dumps([number_or_order, self._arrived, self._ranks]))
        if self.leader and (failure := self._decide(interrupted)) is not None:
            return failure
        deadline = time.monotonic() + self._at.join + self._at.last_call
        while not here.check(["plan"]):
            if (failure := interrupted()) is not None:
                return failure
            if time.monotonic() > deadline:
                raise DistError(f"the leader made no plan within {self._at.join:g} s")
            time.sleep(0.02)
        self._plan = self._place(json.loads(here.get("plan")))
        return self._plan

    def _decide(self, interrupted: Callable[[], Failure | None]) -> Failure | None:
        """Wait for the others, and write the plan."""
        at = self._at
        deadline, closing = time.monotonic() + at.join, 0.0
        while (count := self._round.add("count", 0)) < at.most:
            self._came = max(self._came, count)
            now = time.monotonic()
            if count >= at.least:
                closing = closing or now + at.last_call
                if now > closing:
                    break
            elif now > deadline:
                text = f"{count} of at least {at.least} machines are there after {at.join:g} s"
                self._round.set("plan", json.dumps({"error": text}))
                return None
            if (failure := interrupted()) is not None:
                return failure
            time.sleep(0.02)
        self._came = max(self._came, count)
        keys = [f"node/{arrived}" for arrived in range(1, count + 1)]
        nodes = sorted(json.loads(text) for text in self._round.multi_get(keys))
        ranks = [ranks for _, _, ranks in nodes]
        of_rank = [node for node, some in enumerate(ranks) for _ in range(some)]
        self._pmi = Server(len(of_rank), of_rank, "127.0.0.1" if at.host is None else "0.0.0.0", self._lost)
        plan = {"arrived": [a for _, a, _ in nodes], "ranks": ranks, "name": self._pmi.name, "port": self._pmi.port}
        self._round.set("plan", json.dumps(plan))
        return None

    def _place(self, plan: dict[str, object]) -> Plan:
        if "error" in plan:
            raise DistError(str(plan["error"]))
        arrived, ranks = plan["arrived"], plan["ranks"]
        assert isinstance(arrived, list) and isinstance(ranks, list)
        if self._arrived not in arrived:
            raise DistError("the job began without this machine, which came too late")
        node = arrived.index(self._arrived)
        host = self._at.host or "127.0.0.1"
        return Plan(
            first=sum(ranks[:node]), size=sum(ranks), node=node, nodes=len(ranks), name=str(plan["name"]),
            pmi=f"{host}:{plan['port']}", master=(host, self._port),
        )  # fmt: skip

    def _lost(self, rank: int, why: str) -> None:
        """In the thread of the PMI server: a rank is gone, of which its own launcher may know more."""
        self._suspect = (rank, why, time.monotonic())

    _suspect: tuple[int, str, float] | None = None

    # -- while the ranks run ----------------------------------------------------------------------
    def stop(self, failure: Failure) -> Failure:
        """Say that the round ends for this reason; what was said first, here or elsewhere."""
        return Failure.from_json(self._round.compare_set("stop", "", failure.to_json()))

    def stopped(self) -> Failure | None:
        """Why the round ends, if it does: somebody said so, or is gone."""
        if self._round.check(["stop"]):
            return Failure.from_json(self._round.get("stop"))
        now = time.monotonic()
        if self._suspect is not None and now - self._suspect[2] > 0.5:
            rank, why, _ = self._suspect
            return self.stop(Failure(rank, why or "is gone: it was killed, or ended by os._exit", 1))
        if now - self._beaten > _BEAT:
            self._beaten = now
            if self._plan is not None and self._plan.nodes > 1:
                return self._beat(now)
        return None

    def _beat(self, now: float) -> Failure | None:
        assert self._plan is not None
        self._round.add(f"alive/{self._plan.node}", 1)
        if not self.leader:
            return None
        for node in range(self._plan.nodes):
            key = f"alive/{node}"
            beats = self._round.get(key) if self._round.check([key]) else b""
            if beats != self._beats.get(node, (b"", 0.0))[0] or node not in self._beats:
                self._beats[node] = beats, now
            elif now - self._beats[node][1] > self._at.silence:
                return self.stop(Failure(None, f"node {node} gave no sign of life for {self._at.silence:g} s", 1))
        return None

    def finished(self) -> bool:
        """Said once the ranks here ended well: whether all did."""
        assert self._plan is not None
        if not self._said:
            self._said = True
            self._round.add("finished", 1)
        return self._round.add("finished", 0) >= self._plan.nodes

    _said = False

    def end_round(self) -> None:
        """Forget this round."""
        if self._pmi is not None:
            self._pmi.close()
        self._pmi, self._plan, self._suspect, self._said, self._beats = None, None, None, False, {}

    def close(self) -> None:
        """Leave. The leader waits a moment until the others have left, which ask its store until then."""
        with contextlib.suppress(DistError):
            self.store.add("left", 1)
            deadline = time.monotonic() + 3
            while self.leader and self.store.add("left", 0) < self._came and time.monotonic() < deadline:
                time.sleep(0.02)
        self.end_round()
        if self._server is not None:
            self._server.close()


def _is_here(host: str) -> bool:
    """Whether an address is of this machine: one can listen there."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return True
    except OSError:
        return False
    return False
