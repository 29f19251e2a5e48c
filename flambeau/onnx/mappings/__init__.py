"""How ops become nodes of ONNX, by family; importing this package fills the table of :mod:`flambeau.onnx.table`."""

from flambeau.onnx.mappings import bits, elementwise, indexing, learning, matrices, recurrent, reduction, shape  # noqa: F401
