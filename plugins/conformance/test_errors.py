"""Bad input gives core's errors, with the same words on every backend, and the device goes on."""

from __future__ import annotations

import pytest

from flambeau.core import dtype as dt
from flambeau.core import opdb
from flambeau.core.device import device as Device
from flambeau.core.opdb import Maker, Sample
from flambeau.core.opdb.run import to_tensors
from flambeau.plugins.conformance import kit

WITH_ERRORS = [name for name, op in opdb.load().items() if op.error_samples is not None]


@pytest.mark.parametrize("name", WITH_ERRORS)
def test_errors(name: str, target: str) -> None:
    op = opdb.load()[name]
    assert op.error_samples is not None
    backend, index = kit.backend_of(target), Device(target).index
    for failure in op.error_samples(Maker(dt.float32)):
        if not kit.fits(failure, target):
            continue
        placed = kit.there(op, Sample(*failure.args, **failure.kwargs), target)
        with pytest.raises(failure.error) as caught, Device(target):
            args = [to_tensors(a, target) for a in placed.args]
            result = op.function(*args, **to_tensors(placed.kwargs, target))
            for t in result if isinstance(result, (tuple, list)) else (result,):
                t.cpu()  # errors on the device are raised at the next read
            backend.synchronize(index)
            backend.check(index)
        assert all(w in str(caught.value) for w in failure.words), f"{failure}: {caught.value}"
