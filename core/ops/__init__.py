"""The op records, by family. Importing this package declares every op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from flambeau.core.dtype import DType
from flambeau.core.ops import storage  # noqa: F401  # first: the others use its ops
from flambeau.core.ops import elementwise
import importlib, importlib.util
for _n in ("reduce", "moments", "scan", "sort", "shape", "parts", "arrange", "convert", "index", "scatter", "mask", "getitem", "search", "linalg", "products", "einsum", "arithmetic", "decompose", "solve", "norms", "special", "random", "sampling", "nn"):
    if importlib.util.find_spec(f"flambeau.core.ops.{_n}") and (_n != "nn" or importlib.util.find_spec("flambeau.core.ops.random")):
        importlib.import_module(f"flambeau.core.ops.{_n}")


@lru_cache(maxsize=None)
def expression_functions(dtype: DType) -> Mapping[str, Callable[..., Any]]:
    """The functions that an expression of a compute type is made of, on tensors: how it becomes an op's body."""
    return elementwise.expression_functions(dtype)
