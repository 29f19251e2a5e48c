"""The errors of models in ONNX files."""

from __future__ import annotations


class OnnxError(RuntimeError, ValueError):
    """A model that cannot be loaded or run; the text names the node where there is one."""


class UnsupportedOpError(OnnxError, NotImplementedError):
    """An op, or a form of an op, that has no mapping; the text names the op, its version, its domain and the node."""


class Unmapped(Exception):
    """A form of an op that its mapping to ONNX has no nodes for; the op's body may."""
