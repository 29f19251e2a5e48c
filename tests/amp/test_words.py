"""Every word on a record, and of a function in Python, is met by a case of :mod:`tests.amp.dtype_cases`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import flambeau as fb
from flambeau.core import autocast
from flambeau.core.record import AUTOCAST, OPS, Op, autocast_words
from tests.amp.dtype_cases import CASES
from tests.recorded import answer

#: Records that only functions call which have a word themselves, so that autocast is off when they are called.
WITHIN = {
    "attention", "cross_entropy", "ctc", "fft_c2c", "fft_c2r", "fft_r2c", "grid_sample", "group_norm", "lstm_sequence",
    "nll_loss", "pdist", "pinv_within", "resample",
}  # fmt: skip


def test_every_word_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    met: set[str] = set()
    call, outside, call_python = autocast.Autocast.call, autocast.Autocast.from_outside, autocast._call_python

    def seen(self: Any, op: Op, args: Sequence[Any], params: dict[str, Any], state: Any) -> Any:
        met.add(op.name)
        return call(self, op, args, params, state)

    def seen_outside(self: Any, op: Op, args: Sequence[Any], params: dict[str, Any], kw: dict[str, Any]) -> Any:
        met.add(op.name)
        return outside(self, op, args, params, kw)

    def seen_python(state: Any, name: str, *rest: Any) -> Any:
        met.add(f"function {name}")
        return call_python(state, name, *rest)

    monkeypatch.setattr(autocast.Autocast, "call", seen)
    monkeypatch.setattr(autocast.Autocast, "from_outside", seen_outside)
    monkeypatch.setattr(autocast, "_call_python", seen_python)
    for name, case in CASES.items():
        if " float32: " in name:
            answer(fb, case)
    words = {op.name for op in OPS.values() if op.autocast != ("same", "same") and "__" not in op.name}
    unmet = words - met - WITHIN
    assert not unmet, f"no case calls {sorted(unmet)}"
    assert words >= WITHIN, f"no words are on {sorted(WITHIN - words)}"
    functions = {f"function {name}" for name in autocast.FUNCTIONS}
    assert len(functions) > 40 and not functions - met, f"no case calls {sorted(functions - met)}"


def test_words_are_checked() -> None:
    assert autocast_words("f", "low") == ("low", "low")
    assert autocast_words("f", "same|float32") == ("same", "float32")
    for bad in ("half", "low|low|low", "", "low|"):
        with pytest.raises(ValueError, match="op 'f': autocast="):
            autocast_words("f", bad)
    assert {w for op in OPS.values() for w in op.autocast} <= AUTOCAST
