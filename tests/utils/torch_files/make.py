"""Writes the files of this folder with PyTorch (2.13.0 made what is checked in): run it as a script."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributions import constraints

HERE = Path(__file__).parent


def content() -> dict[str, Any]:
    """Something of each kind that is read."""
    base = torch.arange(6.0).reshape(2, 3)
    return {
        "float": base, "transposed": base.T, "part": base[1], "parameter": torch.nn.Parameter(torch.ones(2)),
        "frozen": torch.nn.Parameter(torch.ones(1), requires_grad=False), "leaf": torch.ones(1, requires_grad=True),
        "bfloat16": torch.tensor([1.5], dtype=torch.bfloat16), "half": torch.tensor([0.5], dtype=torch.float16),
        "bool": torch.tensor([True, False]), "int8": torch.tensor([-3], dtype=torch.int8),
        "uint16": torch.tensor([65535], dtype=torch.uint16), "complex": torch.tensor([1 + 2j]),
        "conjugated": torch.tensor([1 + 2j]).conj(), "empty": torch.ones(0, 3), "scalar": torch.tensor(5),
        "meta": torch.ones(2, 3, device="meta"), "size": torch.Size([2, 3]), "dtype": torch.float32,
        "device": torch.device("cpu"), "layout": torch.strided, "state": torch.nn.Linear(1, 1).state_dict(),
        "ordered": OrderedDict(a=1), "defaults": defaultdict(list, a=[1]), "counts": Counter("aab"),
        "nested": (1, [2.5, None, True], {"k": "text"}), "set": {1, 2}, "frozen set": frozenset({3}),
        "bytes": b"\x00\xff", "bytearray": bytearray(b"q"), "large": 1 << 70, "complex number": 1 - 2j,
        "slice": slice(1, 5, 2), "range": range(3), "array": np.arange(3.0), "number": np.float32(2.5),
    }  # fmt: skip


if __name__ == "__main__":
    torch.save(content(), HERE / "zip.pt")
    torch.save(content(), HERE / "protocol4.pt", pickle_protocol=4)
    torch.save(content(), HERE / "older.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(1, 1), HERE / "module.pt")
    torch.save(torch.eye(2).to_sparse(), HERE / "sparse.pt")
    regions = [
        constraints.real, constraints.interval(0.0, torch.ones(2)), constraints.real_vector, constraints.multinomial(3),
        constraints.cat([constraints.positive, constraints.simplex], -1, [1, 2]),
    ]  # fmt: skip
    torch.save({"regions": regions, "again": regions[1]}, HERE / "constraints.pt")
    torch.save([Fraction(1, 2)], HERE / "fraction.pt")
