"""Models in ONNX files (https://onnx.ai): :func:`load` makes a module of one, :func:`export` a file of a module.

Needs the extra ``flambeau[onnx]``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flambeau.onnx.errors import OnnxError, UnsupportedOpError

if TYPE_CHECKING:
    import onnx

    from flambeau.export import ExportedProgram
    from flambeau.nn import Module
    from flambeau.onnx.module import OnnxModule
    from flambeau.onnx.onnx_program import ONNXProgram

__all__ = ["OnnxError", "UnsupportedOpError", "export", "load", "program"]


def _needed() -> None:
    """ImportError where the extra is not installed."""
    try:
        import onnx as _package  # noqa: F401  # lazy: an extra
    except ImportError as e:
        raise ImportError("flambeau.onnx needs the package onnx: pip install 'flambeau[onnx]'") from e


def load(model: str | os.PathLike[str] | bytes | onnx.ModelProto) -> OnnxModule:
    """The module of an ONNX model (a path, bytes or a ModelProto): it runs, trains, and goes to any device.

    Floating initialisers that are weights become parameters under their names, other floating ones (running
    statistics, scales of quantisation, single numbers) buffers. The module comes in evaluation mode. Tensors kept
    in files of their own are read from the model's folder, and from nowhere else.

    Raises :class:`OnnxError` for a file that is not a well-formed model, and :class:`UnsupportedOpError`, which names
    the op, its version, its domain and the node, for what has no mapping; ImportError where onnx is not installed.

    >>> from onnx import parser
    >>> text = '''<ir_version: 10, opset_import: ["": 21]> double (float[n] x) => (float[n] y)
    ... <float two = {2}> { y = Mul(x, two) }'''
    >>> model = fb.onnx.load(parser.parse_model(text).SerializeToString())
    >>> model(fb.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    _needed()
    from flambeau.onnx.reading import load_model  # lazy: it needs the extra

    return load_model(model)


def export(
    model: Module | Callable[..., Any] | ExportedProgram, args: tuple[Any, ...] = (),
    path: str | os.PathLike[str] | None = None, *, kwargs: dict[str, Any] | None = None, dynamic_shapes: Any = None,
    dynamic_axes: Mapping[str, Any] | None = None, opset_version: int = 23, input_names: Sequence[str] = (),
    output_names: Sequence[str] = (), external_data: bool | None = None, size_limit: int = 1 << 31,
    do_constant_folding: bool = True, verify: bool = False, tolerance: float = 1e-4,
) -> ONNXProgram:  # Any: the model's own arguments, and nestings of dimensions  # fmt: skip
    """Write a module, function or exported program as an ONNX model, and check it.

    The model runs on ``args`` once, or several times where sizes may change, in evaluation mode. An op of the records
    becomes the node of its kind (Conv, Gemm, LayerNormalization, LSTM, Attention), one without a node those of its
    body. Initialisers have the names of the state dict, sizes that change are computed from the inputs' shapes, and a
    batch norm behind a convolution becomes part of it.

    Args:
        model: a module, a function of tensors, or what :func:`flambeau.export.export` made.
        args: positional arguments of the example; none for an exported program.
        path: the file; None writes none.
        kwargs: keyword arguments of the example.
        dynamic_shapes: which sizes may change, as for :func:`flambeau.export.export`.
        dynamic_axes: the same by the names of inputs, ``{"x": {0: "batch"}}``; names of outputs are let be.
        opset_version: the version of ONNX's ops, 18 to 23. Gelu needs 20, GroupNormalization 21, Attention and
            RMSNormalization 23; in older ones they are written as what they consist of.
        input_names: names of the first inputs, in order; the others are called as the model's parameters.
        output_names: names of the first outputs.
        external_data: whether tensors go to a file of their own beside the model, ``path`` with ``.data`` behind it;
            None is for models above ``size_limit``.
        size_limit: that bound in bytes, at most 2 GB.
        do_constant_folding: whether what depends on no input is worked out now, and batch norms are folded.
        verify: whether onnxruntime runs the model on the example, too; ``differences`` of the result says by output
            how far it is off.
        tolerance: the largest difference that ``verify`` allows, relative to the largest element of the output.

    Returns:
        An ``ONNXProgram``: ``model_proto``, ``save(path)``, ``verify()``; calling it runs onnxruntime.

    Raises:
        UnsupportedOpError: names every op without a form in ONNX, with its line and module.
        OnnxError: for a model that writes to its buffers or inputs, one that is not well formed, and a difference
            above the tolerance.
        ValueError: for an opset that is not written, or more names than inputs or outputs.

    >>> made = fb.onnx.export(fb.nn.Linear(2, 1), (fb.ones(3, 2),), dynamic_axes={"input": {0: "batch"}})
    >>> [node.op_type for node in made.model_proto.graph.node]
    ['Gemm']
    """
    _needed()
    from flambeau.onnx.exporting import export_model  # lazy: it needs the extra

    made = export_model(model, args, kwargs, dynamic_shapes=dynamic_shapes, dynamic_axes=dynamic_axes,
                        opset_version=opset_version, input_names=input_names, output_names=output_names,
                        do_constant_folding=do_constant_folding)  # fmt: skip
    if path is None:
        made.check()
    else:
        made.save(path, external_data=external_data, size_limit=size_limit)
    if verify:
        made.verify(tolerance)
    return made


def program(
    model: Module | Callable[..., Any] | ExportedProgram, args: tuple[Any, ...] = (), **options: Any
) -> ONNXProgram:
    """The same as :func:`export` without a file: its options but ``path``.

    >>> fb.onnx.program(fb.relu, (fb.ones(2),)).model_proto.graph.node[0].op_type
    'Relu'
    """
    return export(model, args, None, **options)
