"""Wrong calls by the thousand: public functions with strange arguments, and what became of each call.

A call is a valid one, of an example or of the op database, with one or more arguments replaced, left out, added or
misnamed. It may return, and it may raise an error whose words are flambeau's own; what comes up from Python's or
numpy's insides instead, what takes long and what ends the process is a fault.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tests.fuzz.run import run, work


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of the public name")
    parser.add_argument("--rows", type=Path, help="a file for every call's row, as JSON lines")
    parser.add_argument("--show", type=int, default=20, help="how many kinds of faults to show")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        seed, first, last, only = given.worker
        work(int(seed), int(first), int(last), only)
        return 0
    counts: Counter[str] = Counter()
    faults: dict[str, list[str]] = {}
    with (given.rows or Path("/dev/null")).open("w") as rows:
        for row in run(given.seed, given.calls, given.only):
            counts[row["verdict"]] += 1
            rows.write(json.dumps(row) + "\n")
            if row["verdict"] not in ("returned", "clear"):
                kind = f"{row['verdict']} at {row.get('where', '').partition(' < ')[0]}"
                faults.setdefault(kind, []).append(f"{row['call']} -> {row['what']}")
    print(", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())))
    for kind, lines in sorted(faults.items(), key=lambda item: -len(item[1]))[: given.show]:
        print(f"{len(lines):5} {kind}")
        print("\n".join(f"        {line}" for line in lines[:2]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
