"""What the kit's tests share: the device under test, the oracle, and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flambeau.backends.base import Backend, Limitation
from flambeau.core import dtype as dt
from flambeau.core import opdb, registry
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.explain import serves
from flambeau.core.dispatch import key_for
from flambeau.core.opdb import Sample
from flambeau.core.opdb.run import as_tuple, dtypes_of, samples_of, to_tensors
from flambeau.core.record import Op
from flambeau.core.tensor import Tensor

FEW = (dt.float32, dt.int64, dt.bool_, dt.float64)

#: (relative, absolute) by the dtype in which the device computed, against float64 on the CPU. Kernels of a
#: GPU may be a few units in the last place off, and sum in another order.
TOLERANCES = {dt.float64: (1e-10, 1e-11), dt.float32: (4e-5, 4e-6), dt.float16: (8e-3, 4e-3), dt.bfloat16: (6e-2, 3e-2)}


def backend_of(target: str) -> Backend:
    """The backend under test; it raises with the reason when it cannot run here."""
    return registry.resolve(Device(target))


def claimed(op: Op, target: str, few: bool) -> list[DType]:
    """The dtypes for which the device says that it can run the op: native or composite."""
    backend, index = backend_of(target), Device(target).index
    found = []
    for d in dtypes_of(op, target):
        if few and d not in FEW:
            continue
        compute = op.dtype.compute(d)
        if not backend.supports(d, index) or not backend.supports(compute, index):
            continue
        if serves(key_for(Device(target), d), op)[0] in ("native", "composite"):
            found.append(d)
    return found


def limitation(op_name: str, dtype: DType, backend: Backend) -> Limitation | None:
    """What the backend declares that it cannot do."""
    return next((x for x in backend.limitations if x.covers(op_name, dtype)), None)


def wide(value: Any) -> Any:
    """Host data in float64 or complex128, for the oracle."""
    if isinstance(value, list):
        return [wide(v) for v in value]
    if not isinstance(value, np.ndarray):
        return value
    d = dt.from_numpy(value.dtype)
    return value.astype({dt.FLOATING: np.float64, dt.COMPLEX: np.complex128}.get(d.category, value.dtype))


def call(op: Op, sample: Sample, target: str, arrange: Callable[[Any], Any] = lambda x: x) -> tuple[Any, ...]:
    """The op's results on a device; ``arrange`` changes the strides of each tensor operand."""
    args = [_placed(a, target, arrange) for a in sample.args]
    kwargs = {k: _placed(v, target, arrange) for k, v in sample.kwargs.items()}
    if "device" in [p.name for p in op.schema.params] and op.schema.params and not _has_tensor(args):
        kwargs["device"] = target
    with Device(target):
        return as_tuple(op.function(*args, **kwargs))


def _placed(value: Any, target: str, arrange: Callable[[Any], Any]) -> Any:
    if isinstance(value, list):
        return [_placed(v, target, arrange) for v in value]
    tensor = to_tensors(value, target)
    return arrange(tensor) if isinstance(tensor, Tensor) else tensor


def _has_tensor(args: list[Any]) -> bool:
    return any(isinstance(a, Tensor) or (isinstance(a, list) and _has_tensor(a)) for a in args)


def oracle(op: Op, sample: Sample) -> tuple[Any, ...]:
    """The CPU's results on the same values in float64."""
    exact = Sample(*[wide(a) for a in sample.args], **{k: wide(v) for k, v in sample.kwargs.items()})
    if "dtype" in exact.kwargs:
        exact.kwargs["dtype"] = sample.kwargs["dtype"]
    return call(op, exact, "cpu")


def host(t: Any) -> Any:
    """A result's values on the host, floating ones in float64."""
    return wide(np.asarray(t.detach().cpu().numpy()))


def samples(op: Op, dtype: DType, limit: int | None = None) -> Iterator[Sample]:
    """The op's samples in one dtype."""
    for i, sample in enumerate(samples_of(op, dtype)):
        if limit is not None and i >= limit:
            return
        yield sample


def assert_close(found: Any, wanted: Any, dtype: DType, text: str, slack: float = 1.0) -> None:
    """AssertionError unless the values agree as far as ``dtype`` can tell them apart."""
    real = dtype.to_real()
    assert found.shape == wanted.shape, f"{text}: shape {found.shape}, expected {wanted.shape}"
    if real not in TOLERANCES:
        np.testing.assert_array_equal(found, wanted, err_msg=text)
        return
    relative, absolute = (v * slack for v in TOLERANCES[real])
    largest = float(dt.finfo(real).max)
    with np.errstate(all="ignore"):
        wanted = np.where(np.abs(wanted) > largest, np.sign(wanted) * np.inf, wanted)
        finite = np.abs(wanted[np.isfinite(wanted)])
    absolute *= max(1.0, float(finite.max(initial=0.0)))
    np.testing.assert_allclose(found, wanted, relative, absolute, err_msg=text)


def slack_of(op: Op) -> float:
    """How much wider than usual the op's tolerance is."""
    return opdb.slack.get(op.name, 1.0)
