"""Groups of compiled functions on OpenCL: threads with queues of their own, and memory that is used again."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core.capture import verdicts

pytestmark = pytest.mark.device("opencl")


def chain(x: Any, y: Any) -> Any:
    total = (x * y + 1.5).tanh() - x
    return total, (total * y).exp()


def test_threads_replay_groups_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "worth", lambda node: True)
    made = [np.random.default_rng(i).normal(size=(60, 100)).astype("f") for i in range(6)]
    tensors = [fb.tensor(x).to("opencl:0") for x in made]
    compiled = fb.compile(chain)
    pairs = [(tensors[i], tensors[(i + 1) % 6]) for i in range(6)]
    expected = [[t.cpu().numpy() for t in chain(*pair)] for pair in pairs]
    for pair in pairs[:4]:
        compiled(*pair)
    wrong: list[Any] = []

    def work(first: int) -> None:
        for i in range(first, first + 40):
            found = compiled(*pairs[i % 6])
            for a, b in zip(found, expected[i % 6], strict=True):
                if not np.array_equal(a.cpu().numpy(), b):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_chains_are_launched_as_one(opencl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "worth", lambda node: True)
    x, y = (fb.tensor(np.full(100, v, "f")).to("opencl:0") for v in (0.5, 2.0))
    compiled = fb.compile(chain)
    for _ in range(4):
        compiled(x, y)
    launches: list[Any] = []
    device = opencl.device(0)
    with monkeypatch.context() as patch:
        for queue in device.queues:
            patch.setattr(queue, "_launch", lambda *args, fn=queue._launch: launches.append(args) or fn(*args))
        found = compiled(x, y)
    assert len(launches) == 1
    for a, b in zip(found, chain(x, y), strict=True):
        np.testing.assert_array_equal(a.cpu().numpy(), b.cpu().numpy())
