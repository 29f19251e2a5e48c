"""The reference's directives, and the facts of a record in the text of its op.

``.. ops:: STEM...``: the functions of the flambeau namespace that the modules ``core/ops/STEM`` define.
``.. names:: MODULE``: what a module lists in ``__all__``; ``:except:`` leaves names out.

Ops are made from records when flambeau is imported. Their signatures come from the stubs, which are printed
from the same records; what a docstring does not say (formula, gradient) is added from the record.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from ops_by_module import homes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import flambeau
from flambeau.core import methods, tensor_methods
from flambeau.core.record import SPECIAL

STUBS = {
    "flambeau": Path(flambeau.__file__).with_suffix(".pyi"),
    "flambeau.Tensor": Path(tensor_methods.__file__).with_suffix(".pyi"),
}


#: What the rules for dtypes mean.
TAKES = {
    "same": "every dtype",
    "floating": "every dtype; integers and bool become the default dtype",
    "floats": "every dtype but complex; integers and bool become the default dtype",
    "real_floating": "every dtype but complex; integers and bool become the default dtype",
    "numeric": "every dtype but bool",
    "ordered": "every dtype but complex",
    "integral": "bool and integers",
    "comparison": "every dtype; the result is bool",
    "ordering": "every dtype but complex; the result is bool",
    "inexact": "every dtype; integers and bool become the default dtype",
}

#: Ops whose expression is longer than what it means.
WORDS = {
    "acos": "the angle in [0, π] with this cosine",
    "acosh": "the inverse of cosh, at least 0",
    "asin": "the angle in [-π/2, π/2] with this sine",
    "asinh": "the inverse of sinh",
    "atan": "the angle in (-π/2, π/2) with this tangent",
    "atan2": "the angle of the point (other, input), in [-π, π]",
    "atanh": "the inverse of tanh",
    "ceil": "the next integer upwards",
    "clamp_max": "the smaller of input and the bound; nan stays",
    "copysign": "the size of input with the sign of other",
    "cosh": "hyperbolic cosine",
    "digamma": "the derivative of lgamma",
    "erf": "the error function",
    "erfc": "1 - erf(input), accurate where that is small",
    "erfinv": "the inverse of erf, on (-1, 1)",
    "exp2": "2 to the power of input",
    "expm1": "exp(input) - 1, accurate near 0",
    "fmax": "the larger of the two; a nan gives way to a number",
    "fmin": "the smaller of the two; a nan gives way to a number",
    "heaviside": "0 below zero, other at zero, 1 above",
    "hypot": "sqrt(input² + other²) without overflow on the way",
    "i0": "the modified Bessel function of the first kind, of order 0",
    "i0e": "i0(input) * exp(-abs(input))",
    "i1": "the modified Bessel function of the first kind, of order 1",
    "i1e": "i1(input) * exp(-abs(input))",
    "lgamma": "the logarithm of the absolute value of the gamma function",
    "log10": "logarithm to base 10",
    "log1p": "log(1 + input), accurate near 0",
    "log2": "logarithm to base 2",
    "logaddexp": "log(exp(input) + exp(other)) without overflow on the way",
    "logaddexp2": "log2(2**input + 2**other) without overflow on the way",
    "minimum": "the smaller of the two; nan if either is",
    "maximum": "the larger of the two; nan if either is",
    "nextafter": "the next number after input in the direction of other",
    "relu": "input above zero, else 0; nan stays",
    "remainder": "what floor division leaves, with the sign of other",
    "sign": "-1, 0 or 1",
    "signbit": "whether the sign bit is set, that of -0.0 included",
    "sinc": "sin(π input) / (π input), 1 at zero",
    "sinh": "hyperbolic sine",
    "tan": "tangent",
    "tanh": "hyperbolic tangent",
    "trunc": "the integer part",
    "xlogy": "input * log(other), 0 where input is 0",
    "zeta": "the Hurwitz zeta function",
}


@cache
def signatures(owner: str) -> dict[str, tuple[str, str]]:
    """(arguments, result) by name, from a stub."""
    if owner not in STUBS:
        return {}
    tree = ast.parse(STUBS[owner].read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    return {f.name: (f"({_plain(f.args)})", _plain(f.returns) if f.returns else "") for f in found}


def _plain(node: ast.AST) -> str:
    return re.sub(r"\bbuiltins\.|\btyping\.|\bself, |\bself\b", "", ast.unparse(node)).replace("_Number", "Number")


def stub_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, result: str | None
) -> tuple[str, str] | None:
    """autodoc-process-signature: the stub's, where there is one, else the record's."""
    owner, _, short = name.rpartition(".")
    record = getattr(obj, "op", None)
    if what not in ("function", "method"):
        return None
    if short in signatures(owner):
        return signatures(owner)[short]
    return None if record is None else (f"({', '.join(a.public for a in record.schema.operands)})", "")


def record_facts(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """autodoc-process-docstring: aliases and methods point to their function; ops without a text get the record's."""
    owner, _, short = name.rpartition(".")
    record = getattr(obj, "op", None)
    home = short if record is None or record.name not in methods.FUNCTIONS else record.name
    if owner == "flambeau.Tensor" and home in methods.FUNCTIONS and (record or obj is methods.FUNCTIONS[home]):
        inplace = record is not None and short.endswith("_")
        lines[:] = [f"{'In place: see' if inplace else 'See'} :func:`flambeau.{home}`."]
    elif record is not None and home in methods.FUNCTIONS and name != f"flambeau.{home}":
        lines[:] = [f"Another name of :func:`flambeau.{home}`."]
    elif record is not None and not "".join(lines).strip():
        lines[:] = list(_facts(record))
    # Shapes are written as in (N, *S, 2); to reStructuredText that star would begin an emphasis.
    lines[:] = [line if ">>>" in line else re.sub(r"(?<=[(\s])\*(?=\w+[,)\s]|[,)])", r"\\*", line) for line in lines]


def _facts(record: Any) -> Iterator[str]:
    yield _formula(record)
    yield ""
    yield f"Takes {TAKES.get(record.dtype.name, 'every dtype')}. Gradient: " + (
        "no." if not record.differentiable else "yes." if record.gradients or record.decomposes else "none defined."
    )


def _formula(record: Any) -> str:
    if record.name in WORDS:
        return f"Elementwise: {WORDS[record.name]}."
    if record.expr.startswith(SPECIAL):
        return f"Elementwise: `{record.name}`."
    public = {a.name: a.public for a in record.schema.operands}
    shown = re.sub(r"\b[a-z]\w*\b", lambda m: public.get(m[0], m[0]), record.expr)
    return f"Elementwise: ``{shown}``."


class _Lines(SphinxDirective):
    """A directive that stands for lines of reStructuredText."""

    has_content = False

    def lines(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        box = nodes.section()
        box.document = self.state.document
        self.state.nested_parse(StringList(list(self.lines()), source="flambeau_reference"), self.content_offset, box)
        return box.children


class Ops(_Lines):
    """The functions of the ops' modules with the stems given."""

    required_arguments = 1
    final_argument_whitespace = True

    def lines(self) -> Iterator[str]:
        wanted = self.arguments[0].split()
        unknown = set(wanted) - set(homes().values())
        if unknown:
            raise self.error(f"ops: no public function comes from {', '.join(sorted(unknown))}")
        for name in sorted(n for n, home in homes().items() if home in wanted):
            yield from (f".. autofunction:: flambeau.{name}", "")


class Names(_Lines):
    """What a module offers: classes with their documented methods, functions, and data."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"except": str.split, "brief": directives.flag}

    def lines(self) -> Iterator[str]:
        module = importlib.import_module(self.arguments[0])
        for name in sorted(set(module.__all__) - set(self.options.get("except", ())), key=str.lower):
            value = getattr(module, name)
            if inspect.ismodule(value):
                continue
            kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
            if kind == "class" and issubclass(value, BaseException):
                kind = "exception"
            yield f".. auto{kind}:: {self.arguments[0]}.{name}"
            if kind == "class":
                yield from ("   :show-inheritance:", *(() if "brief" in self.options else ("   :members:",)))
            yield ""


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("ops", Ops)
    app.add_directive("names", Names)
    app.connect("autodoc-process-signature", stub_signature)
    app.connect("autodoc-process-docstring", record_facts, priority=400)  # before napoleon
    return {"version": flambeau.__version__, "parallel_read_safe": True}
