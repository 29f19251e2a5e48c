"""A program as one HTML page: its graph drawn, with shapes, where each node came from, and the time that it took.

The page holds all that it needs; nothing is fetched when it is opened.
"""

from __future__ import annotations

import html
import json
import os
import re
import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flambeau.accelerator import synchronize
from flambeau.core.state import no_grad
from flambeau.export.drawing import drawing
from flambeau.export.exporting import export
from flambeau.export.file import load
from flambeau.export.graph import ExportError, Graph, Node, Value
from flambeau.export.module import ProgramModule
from flambeau.export.program import ExportedProgram
from flambeau.utils.files import atomic_write

_PAGE: Final = (Path(__file__).parent / "view.html").read_text
_REPEATS: Final = 5


def page(program: ExportedProgram, title: str = "program", times: Mapping[Node, float] | None = None) -> str:
    """The page of a program.

    Args:
        program: a program.
        title: the heading.
        times: seconds by node, as :func:`profile` measures them.

    >>> from flambeau.export import export
    >>> from flambeau.export.view import page
    >>> text = page(export(fb.nn.Linear(2, 1), (fb.ones(3, 2),)))
    >>> "linear" in text and "https://" not in text
    True
    """
    longest = max((times or {}).values(), default=0.0)
    heat = {node: t / longest for node, t in (times or {}).items()} if longest else {}
    details: dict[str, Any] = {}
    sections = [_section(program.graph, "program", "", heat, details, times)]
    for node in program.graph.all_nodes():
        for i, branch in enumerate(node.branches):
            name = f"{node.name}, {'true' if i == 0 else 'false'}"
            sections.append(_section(branch, name, f"{node.name}_{i}_", heat, details, times))
    facts = {
        "nodes": sum(1 for _ in program.graph.all_nodes()), "parameters": sum(p.numel() for p in program.parameters()),
        "dimensions": ", ".join(f"{n} in {r}" for n, r in program.range_constraints.items()) or "none",
    }  # fmt: skip
    if times:
        facts["time"] = _milliseconds(sum(times.values()))
    parts = {
        "TITLE": html.escape(title),
        "FACTS": "".join(f"<div><dt>{k}</dt><dd>{html.escape(str(v))}</dd></div>" for k, v in facts.items()),
        "GRAPHS": "".join(sections),
        "DETAILS": json.dumps(details).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _PAGE(encoding="utf-8"))


def _section(
    graph: Graph, name: str, prefix: str, heat: Mapping[Node, float], details: dict[str, Any],
    times: Mapping[Node, float] | None,
) -> str:  # fmt: skip
    """One graph drawn, under its name; what a click shows of its nodes goes into ``details``."""
    for value in graph.inputs:
        details[prefix + value.name] = {"op": "input", "results": [repr(value)]}
    for node in graph.nodes:
        details[prefix + node.name] = _details(node, times)
    rows = "".join(_row(n, prefix, times) for n in graph.nodes)
    last = f"<p class='fails'>raises {html.escape(graph.failure)}</p>" if graph.failure else ""
    head = "<th>op</th><th>result</th><th>module</th><th>line</th>" + ("<th>time</th>" if times else "")
    return (
        f"<section><h2>{html.escape(name)}</h2>{last}<div class='drawing'>{drawing(graph, prefix, heat)}</div>"
        f"<details><summary>{len(graph.nodes)} nodes as a table</summary><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></details></section>"
    )


def _details(node: Node, times: Mapping[Node, float] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"op": node.op, "results": [repr(v) for v in node.outs if v is not None]}
    found["operands"] = [_operand(a) for a in node.args]
    found["params"] = {k: str(p) for k, p in node.params.items()}
    found |= {"module": node.module, "line": node.place}
    if times and node in times:
        found["time"] = _milliseconds(times[node])
    return found


def _operand(arg: Any) -> str:
    if isinstance(arg, (list, tuple)):
        return f"[{', '.join(map(_operand, arg))}]"
    return repr(arg) if isinstance(arg, Value) else str(arg)


def _row(node: Node, prefix: str, times: Mapping[Node, float] | None) -> str:
    cells = [node.op, ", ".join(repr(v) for v in node.outs if v is not None), node.module, node.place]
    if times:
        cells.append(_milliseconds(times.get(node, 0.0)))
    row = "".join(f"<td>{html.escape(c)}</td>" for c in cells)
    return f"<tr data-node='{html.escape(prefix + node.name, quote=True)}'>{row}</tr>"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def profile(
    program: ExportedProgram, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> dict[Node, float]:
    """Seconds by node, the least of several calls; a device is waited for after each node.

    ExportError where the arguments are none that the program is for.
    """
    best: dict[Node, float] = {}
    module = ProgramModule(program)

    def watch(node: Node, run: Callable[[], None]) -> None:
        before = time.perf_counter()
        run()
        synchronize()
        took = time.perf_counter() - before
        best[node] = min(best.get(node, took), took)

    module.__dict__["watch"] = watch
    with no_grad():
        for _ in range(_REPEATS):
            module(*args, **(kwargs or {}))
    return best


# -- the command ---------------------------------------------------------------------------------------
def write(target: str, out: str | None = None, timed: bool = False) -> str:
    """Write the page of a target: a file of a program, or ``module.py:function``; returns where it is.

    The function gives a program, a pair of a module and a tuple of arguments, or a module that was traced.
    """
    program, name = _program(target)
    times = None
    if timed:
        if program.example_inputs is None:
            from flambeau.export.decompose import example_of  # which makes arguments of the right shapes

            args, kwargs = example_of(program)
        else:
            args, kwargs = program.example_inputs
        times = profile(program, args, kwargs)
    path = out or f"{Path(name).stem}.html"
    with atomic_write(path) as file:
        file.write(page(program, name, times).encode())
    return os.fspath(path)


def _program(target: str) -> tuple[ExportedProgram, str]:
    path, colon, function = target.rpartition(":")
    if not colon or not path.endswith(".py"):
        return load(target), Path(target).name
    scope = runpy.run_path(path)
    if not callable(scope.get(function)):
        raise ExportError(f"view: {path} has no function {function!r}")
    made = scope[function]()
    made = getattr(made, "program", made)
    if isinstance(made, tuple) and len(made) == 2:
        module, args = made
        made = export(module, args if isinstance(args, (tuple, list)) else (args,))  # type: ignore[arg-type]
    if not isinstance(made, ExportedProgram):
        raise ExportError(
            f"view: {function} of {path} must return a program, or a pair of a module and its arguments, got "
            f"{type(made).__name__}"
        )
    return made, f"{Path(path).name}:{function}"


__all__ = ["page", "profile", "write"]
