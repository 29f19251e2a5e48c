"""The sparse samples of torch's database of ops: layouts, values, gradients and errors.

``python -m tests.ops.sparse_database [NAME ...]`` prints what differs, and how many samples agree.
"""

from __future__ import annotations

import sys
import unittest
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import flambeau as fb
from tests.ops import torch_counterparts as dense
from tests.ops.op_database import attempt, called, found, leaves, said, title

LAYOUTS = ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")


def counterpart(value: Any) -> Any:
    """What flambeau is given where torch is given ``value``: of a sparse tensor one of the same parts."""
    if isinstance(value, torch.Tensor) and value.layout is not torch.strided:
        t = value.detach()
        kind = str(t.layout).removeprefix("torch.")
        if kind == "sparse_coo":
            made = fb.sparse_coo_tensor(
                dense.tensor(t._indices()), dense.tensor(t._values()), tuple(t.shape), is_coalesced=t.is_coalesced()
            )
        else:
            heads, places = (
                (t.crow_indices(), t.col_indices())
                if kind in ("sparse_csr", "sparse_bsr")
                else (t.ccol_indices(), t.row_indices())
            )
            make = getattr(fb, f"{kind}_tensor")
            made = make(*map(dense.tensor, (heads, places, t.values())), tuple(t.shape))
        return made.requires_grad_() if value.requires_grad else made
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return type(value)(counterpart(v) for v in value)
    if isinstance(value, dict):
        return {k: counterpart(v) for k, v in value.items()}
    return dense.counterpart(value)


def plain(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        x = x.detach()
        return x if x.layout is torch.strided else x.to_dense()
    if isinstance(x, fb.Tensor):
        x = x.detach()
        return x if x.layout is fb.strided else x.to_dense()
    return x


def layout_of(x: Any) -> str:
    return str(getattr(x, "layout", "")).split(".")[-1]


def difference(wanted: Any, got: Any, values: bool = True) -> str:
    for w, g in zip(leaves(wanted), leaves(got), strict=True):
        if layout_of(w) != layout_of(g):
            return f"layout {layout_of(g)}, torch {layout_of(w)}"
        if not values:  # what torch leaves undefined may be no tensor that it can convert
            if tuple(getattr(w, "shape", ())) != tuple(getattr(g, "shape", ())):
                return f"shape {tuple(g.shape)}, torch {tuple(w.shape)}"
            continue
        theirs, broken = attempt(plain, w)
        if broken is not None:  # torch's reductions of matrices with empty rows now and then hold too many values
            continue
        if text := dense.difference(theirs, plain(g)):
            return text
        if layout_of(w) not in ("", "strided"):
            theirs, ours = w._values().shape if layout_of(w) == "sparse_coo" else w.values().shape, g._values().shape
            if layout_of(w) != "sparse_coo" and tuple(theirs) != tuple(ours):
                return f"values of shape {tuple(ours)}, torch {tuple(theirs)}"
    return ""


def outcome(fn: Any, sample: Any, random: bool) -> Any:
    out = fn(sample.input, *sample.args, **sample.kwargs)
    grads: list[Any] = []
    first = leaves(out)[0]
    inputs = [x for x in leaves((sample.input, *sample.args)) if getattr(x, "requires_grad", False)]
    if not random and inputs and getattr(first, "requires_grad", False):
        for x in inputs:
            x.grad = None
        whole = first.to_dense() if layout_of(first) != "strided" else first
        (whole * whole).sum().backward()
        grads = [x.grad for x in inputs]
    return out, grads


def mean(g: Any) -> Any:
    """A gradient, at a place that is held twice the mean of both."""
    values = np.asarray(plain(g).numpy())
    if layout_of(g) != "sparse_coo":
        return values
    ones = g._values() * 0 + 1
    T = fb if isinstance(g, fb.Tensor) else torch
    counts = plain(T.sparse_coo_tensor(g._indices(), ones, tuple(g.shape))).numpy()
    return values / np.maximum(counts, 1)


class Given:
    def __init__(self, sample: Any):
        self.input, self.args, self.kwargs = map(counterpart, (sample.input, tuple(sample.args), sample.kwargs))


def compared(info: Any, layout: str, sample: Any) -> str:
    """What differs for one sample, or ""."""
    fn, random = found(info), "rand" in info.name or "empty" in info.name
    given, failed = attempt(Given, sample)
    if failed is not None:
        return f"sample: {said(failed)}"
    wanted, refused = attempt(outcome, info.op, sample, random)
    if refused is not None:
        wanted, refused = attempt(lambda: (info.op(sample.input, *sample.args, **sample.kwargs), []))
    got, failed = attempt(outcome, fn, given, random or (wanted is not None and not wanted[1]))
    if refused is not None:  # a limit, or an error
        return ""
    if failed is not None:
        return said(failed)
    if text := difference(wanted[0], got[0], not random):
        return text
    for w, g in zip(wanted[1], got[1], strict=True):
        if w is None or g is None:
            if (w is None) != (g is None):
                return "a gradient where there is none"
            continue
        a, b = mean(w), mean(g)
        if layout_of(g) != "strided":  # ours has the pattern of its tensor; theirs is whole now and then
            a = np.where(b != 0, a, 0)
        if not np.allclose(a, b, 1e-6, 1e-6, equal_nan=True):
            return "gradients"
    return ""


def samples(info: Any, layout: str, dtype: torch.dtype, largest: int) -> Iterator[Any]:
    kind = getattr(torch, layout)
    try:
        for sample in info.sample_inputs_sparse(kind, "cpu", dtype, requires_grad=dtype.is_floating_point):
            if sample.input.numel() <= largest:
                yield sample
    except (NotImplementedError, unittest.SkipTest):
        return


def run(info: Any, count: int | None, dtypes: Any, totals: Counter[str]) -> Iterator[str]:
    for layout in LAYOUTS:
        for dtype in dtypes:
            if not info.supports_dtype(dtype, "cpu"):
                continue
            for sample in islice(samples(info, layout, dtype, 10**7 if count is None else 1000), count):
                text = compared(info, layout, sample)
                totals["differ" if text else "agree"] += 1
                if text:
                    yield f"{title(info)} {layout} {called(sample)}: {text}"


def main(names: list[str]) -> None:
    totals: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in op_db:
            if not names or info.name in names:
                for line in run(info, None, (torch.float64, torch.int64), totals):
                    print(line, flush=True)
    print(f"{totals['agree']} of {totals.total()} samples agree")


if __name__ == "__main__":
    main(sys.argv[1:])
