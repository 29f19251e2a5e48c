"""Running samples: host data to tensors of a device, the op, its reference, and the comparison."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core import from_data
from flambeau.core.arguments import bind
from flambeau.core.device import located
from flambeau.core.dispatch import compute_dtype, infer_shapes, normalise
from flambeau.core.dtype import DType
from flambeau.core.keys import key_for
from flambeau.core.record import Op
from flambeau.core.tensor import Tensor
from flambeau.plugins.conformance.opdb import Maker, Sample, slack

#: (relative, absolute) tolerance against a reference in float64, by the dtype of the result's parts.
TOLERANCES = {
    dt.float64: (1e-11, 1e-12),
    dt.float32: (1e-5, 1e-6),
    dt.float16: (2e-3, 1e-3),
    dt.bfloat16: (1.6e-2, 8e-3),
}


def dtypes_of(op: Op, device: Any = "cpu") -> list[DType]:
    """The dtypes that tensors given to the op may have; one where it takes no tensors."""
    if not any(a.type.startswith("Tensor") for a in op.schema.operands):
        return [dt.float32]
    where = located(device)
    backend = key_for(where, dt.float32).backend
    return [d for d in dt.ALL if op.dtype.compute(d) in op.dtype.accepts and backend.offers(d, where.number)]


def samples_of(op: Op, dtype: DType, variant: int = 0) -> Iterator[Sample]:
    """The op's samples with data of one dtype, the same in every run; variants differ in their values alone."""
    assert op.samples is not None
    yield from op.samples(Maker(dtype, zlib.crc32(op.name.encode()) + variant))


def to_tensors(value: Any, device: Any = "cpu") -> Any:
    """The sample's host arrays as tensors, in its lists too."""
    if isinstance(value, np.ndarray):
        return from_data.tensor(value, device=device)
    if isinstance(value, list):
        return [to_tensors(v, device) for v in value]
    if isinstance(value, Mapping):
        return {k: to_tensors(v, device) for k, v in value.items()}
    return value


def run(op: Op, sample: Sample, device: Any = "cpu") -> tuple[Any, ...]:
    """The op's results, as a tuple of tensors."""
    return as_tuple(op.function(*[to_tensors(a, device) for a in sample.args], **to_tensors(sample.kwargs, device)))


def as_tuple(out: Any) -> tuple[Any, ...]:
    return tuple(out) if isinstance(out, (tuple, list)) else (out,)


def exact(value: Any, dtype: DType | None = None) -> Any:
    """Host data as references get it, in ``dtype`` if given: floating in float64, complex in complex128."""
    if isinstance(value, list):
        return [exact(v, dtype) for v in value]
    if dtype is None and not isinstance(value, np.ndarray):
        return value
    d = dt.from_numpy(value.dtype) if dtype is None else dtype
    wide = {dt.FLOATING: np.float64, dt.COMPLEX: np.complex128}.get(d.category, d.numpy)
    return np.asarray(value).astype(wide)


def expected(op: Op, sample: Sample) -> tuple[Any, ...]:
    """What the reference makes of a sample, as a tuple of arrays: operands that promote have one dtype."""
    assert op.reference is not None
    operands = op.schema.operands
    args = [exact(a) for a in sample.args]
    promoted = [
        i
        for i, (a, o) in enumerate(zip(sample.args, operands, strict=False))
        if a is not None and o.type.startswith("Tensor") and op.kind_of(o) == "same" and op.dtype.promotes
    ]
    if promoted:
        compute = compute_dtype(op, bound(op, sample)[0])
        for i in promoted:
            args[i] = exact(sample.args[i], compute)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's of empty slices
        out = op.reference(*args, **{k: exact(v) for k, v in sample.kwargs.items()})
    return tuple(np.asarray(o) for o in as_tuple(out))


def bound(op: Op, sample: Sample, device: Any = "cpu") -> tuple[list[Any], dict[str, Any]]:
    """The sample's tensors as the op's operands, normalised as the dispatcher does, and its params."""
    args = [to_tensors(a, device) for a in sample.args]
    count = len(op.schema.operands)
    names = [p.name for p in op.schema.params]
    params = {p.name: p.default for p in op.schema.params} | dict(zip(names, args[count:], strict=False))
    operands = args[:count] + [a.default for a in op.schema.operands[len(args) :]]
    return bind(op, operands, params, to_tensors(sample.kwargs, device))


def declared(op: Op, sample: Sample, device: Any = "cpu") -> tuple[list[DType], Any]:
    """(The dtypes, the shapes) of the results by the op's own rules; the shapes are None without one."""
    operands, params = bound(op, sample, device)
    has_tensor = any(isinstance(t, Tensor) for a in operands for t in (a if isinstance(a, list) else [a]))
    compute = compute_dtype(op, operands) if has_tensor or "dtype" not in params else params["dtype"]
    outputs = len(op.schema.outputs)
    converted = normalise(op, operands, params)[0] if has_tensor else operands
    shapes = infer_shapes(op, converted, params)
    return [op.dtype.out(i, compute, params) for i in range(outputs)], shapes


def to_host(t: Any) -> Any:
    """A result's values, floating ones in float64."""
    return exact(t.detach().numpy())


def assert_close(op: Op, found: Any, wanted: Any, dtype: DType, text: str) -> None:
    """AssertionError unless a result is as close to its reference as its dtype allows."""
    real = dtype.to_real()
    if real not in TOLERANCES:
        np.testing.assert_array_equal(found, wanted, err_msg=text, strict=False)
        return
    factor = slack.get(op.name, 1.0)
    relative, absolute = TOLERANCES[real]
    largest = float(dt.finfo(real).max)
    with np.errstate(all="ignore"):
        wanted = np.where(np.abs(wanted) > largest, np.sign(wanted) * np.inf, wanted)
        if (np.abs(found - wanted) <= absolute * factor + relative * factor * np.abs(wanted)).all():
            return  # all finite and close; assert_allclose costs more, and knows the rest
    np.testing.assert_allclose(found, wanted, relative * factor, absolute * factor, err_msg=text)
