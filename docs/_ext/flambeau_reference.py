"""The reference's directives, and where the names of an op point.

``.. ops:: STEM...``: the functions of the flambeau namespace that the modules ``core/ops/STEM`` define.
``.. names:: MODULE``: what a module lists in ``__all__``; ``:except:`` leaves names out.

Ops are made from records when flambeau is imported. Their signatures come from the stubs, which are printed
from the same records.
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
from flambeau.core.record import Op

STUBS = {
    "flambeau": Path(flambeau.__file__).with_suffix(".pyi"),
    "flambeau.Tensor": Path(tensor_methods.__file__).with_suffix(".pyi"),
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
    """autodoc-process-docstring: aliases and methods point to their function."""
    owner, _, short = name.rpartition(".")
    found = getattr(obj, "op", None)
    record = found if isinstance(found, Op) else None
    home = short if record is None or record.name not in methods.FUNCTIONS else record.name
    if owner == "flambeau.Tensor" and home in methods.FUNCTIONS and (record or obj is methods.FUNCTIONS[home]):
        inplace = record is not None and short.endswith("_")
        lines[:] = [f"{'In place: see' if inplace else 'See'} :func:`flambeau.{home}`."]
    elif record is not None and home in methods.FUNCTIONS and name != f"flambeau.{home}":
        lines[:] = [f"{'In place: see' if short == f'{home}_' else 'Another name of'} :func:`flambeau.{home}`."]
    # Shapes are written as in (N, *S, 2); to reStructuredText that star would begin an emphasis.
    lines[:] = [line if ">>>" in line else re.sub(r"(?<=[(\s])\*(?=\w+[,)\s]|[,)])", r"\\*", line) for line in lines]


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


#: Classes that a page has, and under which name.
_SHOWN: dict[type, str] = {}


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
            full = f"{self.arguments[0]}.{name}"
            if inspect.ismethod(value):  # of the one object behind a module: autodoc would take it for a class's
                parameters = inspect.signature(value).parameters.values()
                bare = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
                yield from (f".. py:function:: {full}{bare}", "")
                yield from (f"   {line}" for line in (inspect.getdoc(value) or "").splitlines())
                yield ""
                continue
            yield f".. auto{kind}:: {full}"
            if kind in ("class", "exception") and _SHOWN.setdefault(value, full) != full:
                yield "   :no-index:"  # another page has it
            if kind == "class":
                yield from ("   :show-inheritance:", *(() if "brief" in self.options else ("   :members:",)))
            yield ""


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("ops", Ops)
    app.add_directive("names", Names)
    app.connect("autodoc-process-signature", stub_signature)
    app.connect("autodoc-process-docstring", record_facts, priority=400)  # before napoleon
    return {"version": flambeau.__version__, "parallel_read_safe": True}
