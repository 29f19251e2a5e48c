"""The cases and the workloads of the benchmarks, small: their programs must be right to be worth timing."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from benchmarks import loading, ops
from benchmarks.cases import Case, Inputs
from benchmarks.workloads import WORKLOADS, Training
from tests import recorded

#: Sizes of the networks, small.
SMALL: Final = {
    "mlp": dict(features=5, hidden=4),
    "lenet": dict(width=2, side=8, hidden=4),
    "resnet18": dict(width=2, side=8),
    "gpt": dict(batch=2, vocabulary=7, length=5, width=8, layers=2, heads=2),
    "gpt_wide": dict(batch=2, vocabulary=7, length=5, width=12, layers=1, heads=3),
    "lstm": dict(features=3, length=4, hidden=5),
}


def tiny(n: int) -> int:
    """Sizes as small as they may be: unequal ones stay unequal, mostly."""
    return n if n < 4 else 12 if n > 99_999 else 2 + n.bit_length() % 3


def result(case: Case, T: Any) -> Any:
    return case.make(Inputs(T, tiny))()


def trained(name: str, T: Any) -> Any:
    """The losses of three steps, and what the network makes of the batch then."""
    training = Training(T, WORKLOADS[name], SMALL[name])
    losses = [training.step() for _ in range(3)]
    training.model.eval()
    return {"losses": losses, "result": training.infer()}


CASES: dict[str, recorded.Case] = {name: partial(result, case) for name, case in ops.CASES.items() if not case.random}
CASES |= {name: partial(result, case) for name, case in loading.CASES.items()}
CASES |= {f"train {name}": partial(trained, name) for name in WORKLOADS}
ROUNDED = dict.fromkeys(CASES, 2e-5)  # they compute in float32
