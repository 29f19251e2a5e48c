"""What an export gives: a model of ONNX that can be saved, checked, run and compared."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import flambeau as fb
from flambeau.core.tensor import Tensor
from flambeau.export.decompose import example_of
from flambeau.export.program import ExportedProgram
from flambeau.onnx.errors import OnnxError
from flambeau.utils import _pytree as pytree

#: Larger models do not fit in a message of protobuf.
LIMIT = (1 << 31) - (1 << 20)
#: Tensors below this many bytes stay in the model when the others go to a file of their own.
_SMALL = 1024


class ONNXProgram:
    """A model of ONNX and the program that it was made of.

    Attributes:
        model_proto: the model.
        exported_program: the program, in ops that have nodes.
        differences: by output, what :meth:`verify` found last.
    """

    def __init__(self, model_proto: onnx.ModelProto, exported_program: ExportedProgram):
        self.model_proto, self.exported_program = model_proto, exported_program
        self.differences: dict[str, float] = {}

    def _bytes(self) -> int:
        return sum(len(t.raw_data) for t in self.model_proto.graph.initializer)

    def check(self) -> None:
        """OnnxError where the model is not well formed, or its shapes do not fit."""
        if self._bytes() > LIMIT:
            raise OnnxError("onnx.export: a model above 2 GB is checked when it is saved")
        _checked(self.model_proto)

    def save(self, path: str | os.PathLike[str], *, external_data: bool | None = None, size_limit: int = LIMIT) -> None:
        """Write the model, at once.

        Args:
            path: the file.
            external_data: whether tensors go to a file of their own, ``path`` with ``.data`` behind it; None is for
                models of more than ``size_limit`` bytes.
            size_limit: the bound for that, at most 2 GB.
        """
        target = Path(path)
        outside = self._bytes() > min(size_limit, LIMIT) if external_data is None else external_data
        if not outside and self._bytes() > LIMIT:
            raise OnnxError("onnx.export: a model above 2 GB needs external_data")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            made = Path(folder) / target.name
            if outside:
                copy = onnx.ModelProto()
                copy.CopyFrom(self.model_proto)
                onnx.save_model(copy, made, save_as_external_data=True, location=f"{target.name}.data",
                                size_threshold=_SMALL, convert_attribute=False)  # fmt: skip
            else:
                onnx.save_model(self.model_proto, made)
            _checked(str(made))
            for part in sorted(Path(folder).iterdir(), key=lambda p: p.name == target.name):
                os.replace(part, target.parent / part.name)

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:  # Any: the model's own arguments
        """The outputs for these arguments, computed by onnxruntime; ImportError where that is not installed."""
        leaves = self.exported_program.call_spec.in_spec.flatten_up_to((args, kwargs))
        tensors = [v for v in leaves if isinstance(v, Tensor)]
        names = [i.name for i in self.model_proto.graph.input]
        if self._bytes() <= LIMIT:
            found = _run(self.model_proto.SerializeToString(), names, tensors)
        else:  # which no message holds
            with tempfile.TemporaryDirectory() as folder:
                self.save(Path(folder) / "model.onnx", external_data=True)
                found = _run(str(Path(folder) / "model.onnx"), names, tensors)
        return [fb.from_numpy(np.array(a)) for a in found]

    def verify(self, tolerance: float = 1e-4) -> dict[str, float]:
        """The largest difference of each output between the program and onnxruntime, on the example's arguments.

        It is relative to the largest element of the output. OnnxError where one is above ``tolerance``.
        """
        args, kwargs = example_of(self.exported_program)
        with fb.no_grad():
            result = self.exported_program.module(check_guards=False)(*args, **kwargs)
        wanted = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
        names = [o.name for o in self.model_proto.graph.output]
        found = self(*args, **kwargs)
        self.differences = {n: _difference(a, b) for n, a, b in zip(names, wanted, found, strict=True)}
        bad = {n: d for n, d in self.differences.items() if not d <= tolerance}
        if bad:
            told = ", ".join(f"{n} by {d:.3g}" for n, d in bad.items())
            raise OnnxError(f"onnx.export: onnxruntime's results differ, relative to the largest element: {told}")
        return self.differences


def _checked(model: onnx.ModelProto | str) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxError(f"onnx.export: the model is not well formed: {error}") from error


def _run(model: bytes | str, names: list[str], tensors: list[Tensor]) -> list[Any]:
    try:
        import onnxruntime  # lazy: models are written without it
    except ImportError as error:
        raise ImportError(
            "flambeau.onnx runs models by the package onnxruntime: pip install 'flambeau[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {n: t.detach().cpu().numpy() for n, t in zip(names, tensors, strict=True)}
    return list(session.run(None, feeds))


def _difference(a: Tensor, b: Tensor) -> float:
    x, y = (np.asarray(t.detach().cpu().double().numpy()) for t in (a, b))
    if x.shape != y.shape:
        return float("inf")
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    if same.all():
        return 0.0
    with np.errstate(all="ignore"):
        gaps = np.where(same, 0.0, np.abs(x - y))
    finite = np.abs(x[np.isfinite(x)])
    scale = float(finite.max()) if finite.size else 0.0
    worst = float(gaps.max())
    return worst / scale if scale else worst
