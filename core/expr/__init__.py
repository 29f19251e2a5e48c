"""Scalar expressions: one language in which records say what an elementwise op computes.

``syntax`` parses it, ``lower`` types it into straight-line steps, ``evaluate`` interprets it over any values, and
``arrays``, which the kernels alone import, compiles it to numpy calls. The C dialect of OpenCL and CUDA has its
printer in :mod:`flambeau.backends.dialect`.
"""

from __future__ import annotations

# isort: off
from flambeau.core.expr.evaluate import evaluate
from flambeau.core.expr.lower import Program, Step, applies, bits_dtype, compute_dtype, lower
from flambeau.core.expr.rule import Rule
from flambeau.core.expr.syntax import (
    CONDITIONS, DERIVED, MEANINGS, PRIMITIVES, Call, Expr, ExprError, Limit, Name, Node, Number, define, definition,
    definitions, parse,
)  # fmt: skip

__all__ = [
    "CONDITIONS", "DERIVED", "MEANINGS", "PRIMITIVES", "Call", "Expr", "ExprError", "Limit", "Name", "Node", "Number",
    "Program", "Rule", "Step", "applies", "bits_dtype", "compute_dtype", "define", "definition", "definitions",
    "evaluate", "lower", "parse",
]  # fmt: skip
