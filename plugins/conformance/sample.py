"""A part of the kit for a budget of time: some tests, spread evenly, and the same ones in every run."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple


class Facts(NamedTuple):
    """What a test is about: tests of no op stand for themselves."""

    op: str
    test: str
    dtype: str
    name: str  #: as pytest calls it, ``test_values[add-float32]``


def parse(text: str) -> tuple[int, int]:
    """The number of tests and the seed of ``N`` or ``N:SEED``; ValueError for anything else.

    >>> parse("300"), parse("300:7")
    ((300, 0), (300, 7))
    """
    count, colon, seed = text.partition(":")
    if not count.isdecimal() or not int(count) or (colon and not seed.isdecimal()):
        raise ValueError(f"--flambeau-sample takes N or N:SEED, N a number of tests from 1, got {text!r}")
    return int(count), int(seed or 0)


def spread(tests: Sequence[Facts], count: int, seed: int) -> set[int]:
    """The positions of ``count`` of the tests.

    No op comes a second time before each op has come once. Among those whose turn it is, the kind of test that was
    taken least often is next, then the dtype; what is still equal is ordered by a hash of the test's name and the seed.
    """
    ops, kinds, dtypes = Counter[str](), Counter[str](), Counter[str]()

    def turn(i: int) -> tuple[int, int, int, bytes, int]:
        t = tests[i]
        lot = sha256(f"{seed} {t.name}".encode()).digest()
        return ops[t.op], kinds[t.test], dtypes[t.dtype], lot, i

    queue = [turn(i) for i in range(len(tests))]
    heapq.heapify(queue)
    taken: set[int] = set()
    while queue and len(taken) < count:
        entry = heapq.heappop(queue)
        now = turn(entry[-1])
        if queue and now > queue[0]:  # others were taken since it was queued; turns only move back
            heapq.heappush(queue, now)
            continue
        taken.add(entry[-1])
        t = tests[entry[-1]]
        ops[t.op] += 1
        kinds[t.test] += 1
        dtypes[t.dtype] += 1
    return taken
