"""The cases that the onnx package ships, run through flambeau.onnx: what passes, what is refused, what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import flambeau as fb
from flambeau.core.errors import DTypeError
from flambeau.onnx import OnnxError, UnsupportedOpError

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
ROOT = Path(onnx.__file__).parent
DataSet = tuple[list[Any], list[Any]]


@dataclass(frozen=True)
class Outcome:
    """How a case went: "passes", "refused", "wrong" or "absent" on this device, and what was said."""

    name: str
    kind: str
    text: str = ""


def cases(kinds: tuple[str, ...] = (*KINDS, "real")) -> list[Any]:
    """The cases of these kinds. Making those of nodes draws numbers that warn of overflow."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for kind in kinds for case in load_model_tests(kind=kind)]


def model_of(case: Any) -> onnx.ModelProto:
    if case.model is not None:
        return case.model
    folder = Path(case.model_dir) if case.model_dir else None
    return onnx.load(folder / "model.onnx" if folder else ROOT.parent / case.url)


def data_of(case: Any, model: onnx.ModelProto) -> Iterator[DataSet]:
    if case.data_sets is not None:
        for inputs, outputs in case.data_sets:
            yield [_array(x) for x in inputs], [_array(x) for x in outputs]
    elif case.model_dir:
        for folder in sorted(Path(case.model_dir).glob("test_data_set*")):
            yield _read(folder, "input", model.graph.input), _read(folder, "output", model.graph.output)
    else:  # a light model: the file beside it has what it gives for the runner's own input
        given = {i.name for i in model.graph.initializer}
        inputs = [_dummy(i) for i in model.graph.input if i.name not in given]
        names = [f"{str(case.url).removesuffix('.onnx')}_output_{i}.pb" for i in range(len(model.graph.output))]
        yield inputs, [numpy_helper.to_array(onnx.load_tensor(str(ROOT.parent / n))) for n in names]


def _array(x: Any) -> Any:
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x


def _dummy(info: onnx.ValueInfoProto) -> np.ndarray:
    shape = tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
    size = int(np.prod(shape))
    return (np.arange(size).reshape(shape) / np.float32(size)).astype(np.float32)


def _read(folder: Path, what: str, infos: Any) -> list[Any]:
    found = []
    for i, info in enumerate(infos):
        path = folder / f"{what}_{i}.pb"
        if not path.exists():
            break
        data = path.read_bytes()
        kind = info.type.WhichOneof("value")
        if kind == "sequence_type":
            found.append(numpy_helper.to_list(onnx.SequenceProto.FromString(data)))
        elif kind == "optional_type":
            found.append(numpy_helper.to_optional(onnx.OptionalProto.FromString(data)))
        else:
            found.append(numpy_helper.to_array(onnx.TensorProto.FromString(data)))
    return found


def arrays(value: Any) -> Any:
    """A module's output, as arrays."""
    if isinstance(value, (list, tuple)):
        return [arrays(v) for v in value]
    if not isinstance(value, fb.Tensor):
        return value
    return value.detach().cpu().numpy()


def compare(got: Any, want: Any, rtol: float | None, atol: float) -> None:
    """Shapes and dtypes are equal, and numbers close; without ``rtol`` numbers are not compared."""
    if isinstance(want, (list, tuple)):
        assert isinstance(got, list) and len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            compare(g, w, rtol, atol)
        return
    if want is None:
        assert got is None
        return
    want = np.asarray(want)
    assert got.shape == want.shape, f"shape {got.shape}, not {want.shape}"
    if want.dtype.kind in "OUST":
        np.testing.assert_array_equal(got, want.astype(object))
        return
    assert got.dtype == want.dtype, f"dtype {got.dtype}, not {want.dtype}"
    if rtol is None:
        return
    if got.dtype.kind == "V" or got.dtype.name not in np.sctypeDict:  # of ml_dtypes
        rtol = max(rtol, 2**-6) if got.dtype.name == "bfloat16" else rtol
        got, want = got.astype(np.float32), want.astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


def run(case: Any, device: str | None = None, *, exact: bool = True, bits16: bool = False) -> Outcome:
    """Load and run one case on a device; not ``exact``, only shapes and dtypes are compared.

    With ``bits16`` numbers of float16 may differ by two of their last bits.
    """
    model = model_of(case)
    rtol = max(case.rtol, 2**-9) if bits16 else case.rtol
    try:
        module = fb.onnx.load(model.SerializeToString())
        if device is not None:
            module.to(device)
        for inputs, outputs in data_of(case, model):
            try:
                given = [placed(x, device) for x in inputs]
            except DTypeError as e:  # the device has no numbers of float64
                return Outcome(case.name, "absent", str(e))
            with fb.no_grad():
                made = module(*given)
            got = arrays(made if isinstance(made, tuple) else (made,))
            compare(got, list(outputs), rtol if exact else None, case.atol)
    except UnsupportedOpError as e:
        return Outcome(case.name, "refused", str(e))
    except (OnnxError, AssertionError) as e:
        return Outcome(case.name, "wrong", f"{type(e).__name__}: {e}")
    return Outcome(case.name, "passes")


def placed(x: Any, device: str | None) -> Any:
    """An input as a tensor of the device, where flambeau has its element type."""
    if device is None or not isinstance(x, np.ndarray) or x.dtype.kind in "OUS":
        return x
    try:
        tensor = fb.from_numpy(np.array(x, order="C"))
    except (TypeError, ValueError):
        return x
    return x if tensor.dtype.itemsize == 1 and tensor.is_floating_point() else tensor.to(device)
