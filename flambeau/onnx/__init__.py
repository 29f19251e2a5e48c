"""Models in ONNX files (https://onnx.ai): :func:`load` makes a module of one. Needs the extra ``flambeau[onnx]``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flambeau.onnx.errors import OnnxError, UnsupportedOpError

if TYPE_CHECKING:
    import onnx

    from flambeau.onnx.module import OnnxModule

__all__ = ["OnnxError", "UnsupportedOpError", "load"]


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
    try:
        import onnx as _package  # noqa: F401  # lazy: an extra
    except ImportError as e:
        raise ImportError("flambeau.onnx needs the package onnx: pip install 'flambeau[onnx]'") from e
    from flambeau.onnx.reading import load_model  # lazy: it needs the extra

    return load_model(model)
