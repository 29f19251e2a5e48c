"""What the kit's tests share: the device under test, what it claims, the oracle, and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Backend, Limitation
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.record import Op
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb import Failure, Maker, Sample
from flambeau.plugins.conformance.opdb.run import as_tuple, declared, exact, samples_of, to_tensors
from flambeau.plugins.coverage import COMPOSITE, NATIVE, PARTIAL, lacking
from flambeau.plugins.support import served

#: The dtypes of the quick round, and of those of its tests that take longest.
FEW = (dt.float32, dt.int64, dt.bool_, dt.float64)
FEWER = (dt.float32, dt.int64)

#: (relative, absolute) by the dtype in which the device computed, against float64 on the CPU. Kernels of a
#: GPU may be a few units in the last place off, and sum in another order.
TOLERANCES = {dt.float64: (1e-10, 1e-11), dt.float32: (4e-5, 4e-6), dt.float16: (8e-3, 4e-3), dt.bfloat16: (6e-2, 3e-2)}


def backend_of(target: str) -> Backend:
    """The backend under test; it raises with the reason when it cannot run here."""
    return registry.resolve(Device(target))


# -- what the device claims ----------------------------------------------------------------------------
def chosen(dtypes: Iterable[DType], few: bool) -> list[DType]:
    """Those of the dtypes that a run is about."""
    return [d for d in dtypes if not few or d in FEW]


def is_claimed(op: Op, dtype: DType, target: str) -> bool:
    """Whether the device says that it can run the op, or some of its samples."""
    found = served(op.name, dtype, target)
    return found is not None and found.state in (NATIVE, COMPOSITE, PARTIAL)


def counts_allocations(target: str) -> bool:
    """Whether the device knows how much memory it has given out."""
    backend, index = backend_of(target), Device(target).number
    kept = fb.ones(1, device=target)
    return backend.memory_stats(index).allocations > 0 and kept.numel() == 1


def limitation(op_name: str, dtype: DType, backend: Backend) -> Limitation | None:
    """What the backend declares that it cannot do."""
    return next((x for x in backend.limitations if x.covers(op_name, dtype)), None)


def covers(choose: Callable[[Op, DType, str], bool], few: Iterable[DType] = FEW) -> Callable[[Any], Any]:
    """The decorated test is for the ops and dtypes to which ``choose(op, dtype, target)`` says yes.

    ``few`` are the dtypes of the quick round.
    """

    def mark(test: Any) -> Any:
        test.covers, test.few = choose, tuple(few)
        return test

    return mark


def every_dtype(test: Any) -> Any:
    """The decorated test is for every dtype that the device has, of ops that take no tensors."""
    test.every_dtype = True
    return test


def about(subject: Callable[[Any], tuple[str, DType]]) -> Callable[[Any], Any]:
    """``subject(params)`` gives the op and the dtype that the decorated test checks, for the support matrix."""

    def mark(test: Any) -> Any:
        test.subject = subject
        return test

    return mark


def with_errors(target: str) -> list[str]:
    """The ops some of whose error inputs the device can hold."""
    return [name for name, op in opdb.load().items() if failures(op, target)]


#: Errors that depend on integers' values: the CPU looks at these. Elsewhere a kernel cannot stop for them, and has
#: the value that the contract says.
OF_VALUES = ("divided by 0", "negative integer powers")


def failures(op: Op, target: str) -> list[Failure]:
    """The error inputs that the device can hold."""
    made = op.error_samples(Maker(dt.float32)) if op.error_samples is not None else ()
    on_cpu = Device(target).type == "cpu"
    return [f for f in made if fits(f, target) and (on_cpu or not set(f.words) & set(OF_VALUES))]


# -- samples -------------------------------------------------------------------------------------------
def samples(op: Op, dtype: DType, target: str, limit: int | None = None) -> Iterator[Sample]:
    """The op's samples in one dtype of which the device has every dtype, that of the result too.

    Of an op that the device serves in part, those that it serves. The test is skipped where there is none.
    """
    found = served(op.name, dtype, target)
    partial = found is not None and found.state == PARTIAL
    fitting = (
        s
        for s in samples_of(op, dtype)
        if fits(s, target) and _has_results(op, s, target) and not (partial and lacking(op, s, Device(target)))
    )
    empty = True
    for sample in islice(fitting, limit):
        empty = False
        yield sample
    if empty:
        pytest.skip(f"every sample of {op.name} for {dtype.name} has or gives a dtype that {target} has not")


def fits(sample: Sample | Failure, target: str) -> bool:
    """Whether the device has the dtypes that the arguments have or name."""
    backend, index = backend_of(target), Device(target).number
    return all(backend.offers(d, index) for d in _dtypes([*sample.args, *sample.kwargs.values()]))


def _dtypes(values: list[Any]) -> Iterator[DType]:
    for v in values:
        if isinstance(v, DType):
            yield v
        elif isinstance(v, np.ndarray):
            yield dt.from_numpy(v.dtype)
        elif isinstance(v, (list, tuple)):
            yield from _dtypes(list(v))


def _has_results(op: Op, sample: Sample, target: str) -> bool:
    backend, index = backend_of(target), Device(target).number
    asked = backend.supports if op.name == "view_dtype" else backend.offers  # its bytes are those of the dtype
    dtypes = [*declared(op, sample)[0], *(_dtypes([*sample.args]) if op.name == "view_dtype" else ())]
    return all(asked(d, index) for d in dtypes)


def there(op: Op, sample: Sample, target: str) -> Sample:
    """The sample with another device where it names one."""
    arguments = (*op.schema.operands, *op.schema.params)
    named = {n for a in arguments if a.type == "Device" for n in (a.name, a.public)}
    args = [Device(target) if a.type == "Device" else v for a, v in zip(arguments, sample.args, strict=False)]
    kwargs = {k: Device(target) if k in named else v for k, v in sample.kwargs.items()}
    return Sample(*args, *sample.args[len(args) :], **kwargs)


def in_float64(sample: Sample) -> Sample:
    """The sample with its floating data in float64, complex data in complex128."""
    return Sample(*map(exact, sample.args), **{k: exact(v) for k, v in sample.kwargs.items()})


# -- calls ---------------------------------------------------------------------------------------------
def call(op: Op, sample: Sample, target: str, arrange: Callable[[Any], Any] = lambda x: x) -> tuple[Any, ...]:
    """The op's results on a device; ``arrange`` changes the strides of each tensor operand."""
    placed = there(op, sample, target)
    fb.manual_seed(3)
    with Device(target), no_grad():
        args = [_placed(a, target, arrange) for a in placed.args]
        found = as_tuple(op.function(*args, **{k: _placed(v, target, arrange) for k, v in placed.kwargs.items()}))
        return opdb.settled[op.name](*found) if op.name in opdb.settled else found


def _placed(value: Any, target: str, arrange: Callable[[Any], Any]) -> Any:
    if isinstance(value, list):
        return [_placed(v, target, arrange) for v in value]
    tensor = to_tensors(value, target)
    return arrange(tensor) if isinstance(tensor, Tensor) else tensor


def oracle(op: Op, sample: Sample) -> tuple[Any, ...]:
    """The CPU's results on the same values in float64."""
    return call(op, in_float64(sample), "cpu")


def host(t: Any) -> Any:
    """A result's values on the host, floating ones in float64."""
    return exact(np.asarray(t.detach().cpu().numpy()))


def held(values: Any, dtype: DType, target: str) -> Any:
    """Exact results as the device may give them: integers modulo what holds them there."""
    stored = backend_of(target).stored(dtype, Device(target).number) or dtype
    return values if dtype.category != dt.INTEGER else values.astype(stored.numpy).astype(values.dtype)


def skip_beyond(target: str, number: int) -> None:
    """Skip the test where the device holds int64 in a dtype that has no ``number``."""
    if held(np.array(number), dt.int64, target) != number:
        pytest.skip(f"{target} holds int64 in fewer bits, and refuses {number} when it comes from the host")


# -- comparison ----------------------------------------------------------------------------------------
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
