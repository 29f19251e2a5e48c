"""Every op of the database with its float32 samples, exported and run in onnxruntime.

    python -m tests.onnx.exported_ops [--all] [NAME ...]

prints how many agree, and which are refused or wrong, by their first sample or by all.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from itertools import islice
from typing import Any

import numpy as np

import flambeau as fb
from flambeau.core.record import Op
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb.run import as_tuple, dtypes_of, samples_of, to_tensors
from flambeau.utils import _pytree as pytree


def table(names: Collection[str] = (), count: int | None = 1) -> dict[str, dict[str, str]]:
    """By "agree", "refused" and "wrong": the ops with what was said of them; of more than one sample by number."""
    found: dict[str, dict[str, str]] = {"agree": {}, "refused": {}, "wrong": {}}
    for name, op in sorted(opdb.load().items()):
        if "__" in name or (names and name not in names):
            continue
        if op.samples is None or op.schema.returns_list or fb.float32 not in dtypes_of(op):
            continue
        for i, sample in enumerate(islice(samples_of(op, fb.float32), count)):
            verdict, text = judged(op, sample)
            found[verdict][f"{name} {i}" if i else name] = text
    return found


def judged(op: Op, sample: Any) -> tuple[str, str]:
    """What becomes of one sample."""
    given = ([to_tensors(a) for a in sample.args], to_tensors(sample.kwargs))
    leaves, spec = pytree.tree_flatten(given)
    tensors = [v for v in leaves if isinstance(v, fb.Tensor)]

    def call(*inputs: fb.Tensor) -> Any:
        rest = iter(inputs)
        args, kwargs = spec.unflatten([next(rest) if isinstance(v, fb.Tensor) else v for v in leaves])
        return op.function(*args, **kwargs)

    try:
        found = fb.onnx.program(call, tuple(tensors))(*tensors)
    except fb.onnx.UnsupportedOpError as error:
        return "refused", " ".join(str(error).split())
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    wanted = as_tuple(call(*tensors))
    for a, b in zip(found, wanted, strict=True):
        same = a.shape == b.shape and a.dtype is b.dtype
        if same and op.name == "empty":
            continue  # whatever was there
        if not same or not np.allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5, equal_nan=True):
            return "wrong", f"{a} instead of {b}"
    return "agree", ""


if __name__ == "__main__":
    rows = table([a for a in sys.argv[1:] if a != "--all"], None if "--all" in sys.argv else 1)
    for kind, ops in rows.items():
        print(kind, len(ops))
        for which, said in ops.items():
            if said:
                print(f"    {which}: {said}")
