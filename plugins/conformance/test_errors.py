"""Bad input gives core's errors, with the same words on every backend, and the device goes on."""

from __future__ import annotations

import pytest

import flambeau as fb
from flambeau.core.device import device as Device
from flambeau.core.record import Op
from flambeau.plugins.conformance import kit, opdb
from flambeau.plugins.conformance.opdb import Failure, Sample
from flambeau.plugins.conformance.opdb.run import to_tensors


def test_errors(failing: str, target: str) -> None:
    """Each error input of an op that the device can hold."""
    op = opdb.load()[failing]
    for failure in kit.failures(op, target):
        with pytest.raises(failure.error) as caught, Device(target):
            _call(op, failure, target)
        assert all(w in str(caught.value) for w in failure.words), f"{failure}: {caught.value}"
    assert (fb.ones(3, device=target) + 1).tolist() == [2, 2, 2], "the device works after the errors"


def _call(op: Op, failure: Failure, target: str) -> None:
    """Run the op and wait: errors on the device are raised at the next read."""
    backend, index = kit.backend_of(target), Device(target).number
    placed = kit.there(op, Sample(*failure.args, **failure.kwargs), target)
    args = [to_tensors(a, target) for a in placed.args]
    result = op.function(*args, **to_tensors(placed.kwargs, target))
    for t in result if isinstance(result, (tuple, list)) else (result,):
        t.cpu()
    backend.synchronize(index)
    backend.check(index)
