"""Texts, as arrays of objects on the host."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import numpy as np

import flambeau as fb
from flambeau import Tensor
from flambeau.core.dtype import bool_
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import Ints, Texts, Value, described

#: Outputs of a TfIdfVectorizer, at most.
LARGEST_POOL: Final = 1 << 24


def texts(value: Value) -> Texts:
    """The texts in a value."""
    if not isinstance(value, np.ndarray):
        raise OnnxError(f"texts are wanted, not {described(value)}")
    return value


def array(items: list[Any], shape: tuple[int, ...]) -> Texts:
    """Texts of a shape."""
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made.reshape(shape)


@op("StringConcat", raw=True)
def concat(call: Call, x: Value, y: Value) -> Texts:
    left, right = np.broadcast_arrays(texts(x), texts(y))
    return array([a + b for a, b in zip(left.reshape(-1), right.reshape(-1), strict=True)], left.shape)


@op("StringNormalizer", raw=True)
def normalise(call: Call, x: Value) -> Texts:
    """Without the stop words, then in one case; nothing left becomes one empty text."""
    words = texts(x)
    changes: dict[str, Callable[[str], str]] = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}
    change = changes[call["case_change_action"] or "NONE"]
    exact = bool(call["is_case_sensitive"])
    stop = {w if exact else w.lower() for w in call["stopwords"] or ()}
    kept = [change(w) for w in words.reshape(-1) if (w if exact else w.lower()) not in stop] or [""]
    return array(kept, (*words.shape[:-1], len(kept)))


@op("StringSplit", raw=True)
def split(call: Call, x: Value) -> tuple[Texts, Tensor]:
    """The parts of each text, filled up with empty ones, and how many there are."""
    words = texts(x)
    delimiter, most = call["delimiter"] or None, -1 if call["maxsplit"] is None else call["maxsplit"]
    parts = [w.split(delimiter, most) if w else [] for w in words.reshape(-1)]
    width = max((len(p) for p in parts), default=0)
    filled = [part for p in parts for part in (*p, *[""] * (width - len(p)))]
    counts = fb.tensor([len(p) for p in parts], dtype=fb.int64, device=call.device).reshape(words.shape)
    return array(filled, (*words.shape, width)), counts


@op("RegexFullMatch", raw=True)
def full_match(call: Call, x: Value) -> Tensor:
    words = texts(x)
    try:
        pattern = re.compile(call["pattern"] or "")
    except re.error as e:
        raise OnnxError(f"the pattern {call['pattern']!r}: {e}") from None
    found = [pattern.fullmatch(w) is not None for w in words.reshape(-1)]
    return fb.tensor(found, dtype=bool_, device=call.device).reshape(words.shape)


@op("TfIdfVectorizer", raw=True)
def tf_idf(call: Call, x: Value) -> Tensor:
    """How often each n-gram of the pool stands in each row, its items next to one another or some places apart."""
    if isinstance(x, Ints):
        x = x.tensor(call.device)
    values = x if isinstance(x, np.ndarray) else x.cpu().numpy() if isinstance(x, Tensor) else None
    if values is None:
        raise OnnxError(f"texts or whole numbers are wanted, not {described(x)}")
    places, width = _pool(call), max(call["ngram_indexes"], default=0) + 1
    if not 0 < width <= LARGEST_POOL or min(call["ngram_indexes"], default=0) < 0:
        raise OnnxError(f"the outputs of n-grams are numbered from 0 to {LARGEST_POOL - 1} at most")
    rows = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
    counts = [_counted(call, row.tolist(), places, width) for row in rows]
    out = fb.tensor(counts, dtype=fb.float32, device=call.device)
    if call["mode"] != "TF":
        weights = fb.ones(width, device=call.device)
        if call["weights"] is not None:
            order = fb.tensor(call["ngram_indexes"], device=call.device)
            weights = weights.scatter(0, order, fb.tensor(call["weights"], dtype=fb.float32, device=call.device))
        out = (out > 0) * weights if call["mode"] == "IDF" else out * weights
    return out.reshape((*values.shape[:-1], width))


def _pool(call: Call) -> dict[tuple[Any, ...], int]:
    """The place in the output of each n-gram."""
    items = call["pool_strings"] or call["pool_int64s"] or ()
    starts = [*call["ngram_counts"], len(items)]
    grams = []
    for n, (first, last) in enumerate(pairwise(starts), start=1):
        grams += [tuple(items[i : i + n]) for i in range(first, last, n)]
    return dict(zip(grams, call["ngram_indexes"], strict=True))


def _counted(call: Call, row: list[Any], places: dict[tuple[Any, ...], int], width: int) -> list[float]:
    counts = [0.0] * width
    for n in range(call["min_gram_length"], call["max_gram_length"] + 1):
        for gap in range(1, (call["max_skip_count"] + 1 if n > 1 else 1) + 1):
            for start in range(len(row) - (n - 1) * gap):
                place = places.get(tuple(row[start : start + (n - 1) * gap + 1 : gap]))
                if place is not None:
                    counts[place] += 1
    return counts
