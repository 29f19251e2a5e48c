"""A graph as SVG: nodes in rows by their distance from the inputs, as in Sugiyama, Tagawa and Toda (1981)."""

from __future__ import annotations

import html
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from flambeau.export.graph import Graph, Node, Value, values_of

_WIDE, _HIGH, _GAP, _STEP, _EDGE = 190, 44, 26, 84, 20  # of a box, between boxes, from row to row, around all
_SWEEPS: Final = 4  #: how often rows are put in the order of their neighbours
_SHOWN: Final = 24  #: characters of a text in a box

Box: TypeAlias = tuple[str, str, str, Any]  # its name, two lines of text, and the node or value


def drawing(graph: Graph, prefix: str, heat: Mapping[Node, float]) -> str:
    """The SVG of a graph.

    Args:
        graph: a graph, or a branch, whose outer values are drawn as inputs.
        prefix: put before the names of boxes.
        heat: between 0 and 1 by node, how strongly its box is coloured.
    """
    boxes, edges = _boxes(graph)
    rows = _rows(boxes, edges)
    _order(rows, edges)
    place = {}
    width = max((len(r) for r in rows), default=1) * (_WIDE + _GAP)
    for y, row in enumerate(rows):
        left = (width - len(row) * (_WIDE + _GAP)) / 2 + _EDGE
        for x, name in enumerate(row):
            place[name] = (left + x * (_WIDE + _GAP), y * _STEP + _EDGE)
    lines = "".join(_curve(place[a], place[b]) for a, b in dict.fromkeys(edges))
    drawn = "".join(_box(boxes[n], place[n], prefix, heat) for row in rows for n in row)
    wide, high = width + 2 * _EDGE, len(rows) * _STEP + 2 * _EDGE
    return f"<svg viewBox='0 0 {wide} {high}' width='{wide}' height='{high}'>{lines}{drawn}</svg>"


def _boxes(graph: Graph) -> tuple[dict[str, Box], list[tuple[str, str]]]:
    """The boxes by name, in the order of the graph, and which follows which; what only ops hold is no box."""
    read = {v for n in graph.nodes for v in n.inputs} | set(values_of(graph.outputs))
    inner = {v for n in graph.nodes for v in n.outs if v is not None}
    user = [v for v in (*graph.inputs, *graph.captured()) if v not in inner and not _is_held(v)]
    boxes: dict[str, Box] = {v.name: (v.name, v.name, _shape(v), v) for v in user if v in read or v in graph.inputs}
    by_value = {v: v.name for v in user}
    edges = []
    for node in graph.nodes:
        boxes[node.name] = (node.name, node.op, _shape(node.out), node)
        edges += [(by_value[v], node.name) for v in node.inputs if v in by_value]
        by_value |= {v: node.name for v in node.outs if v is not None}
    for i, out in enumerate(graph.outputs):
        if isinstance(out, Value) and out in by_value:
            name = f"output {i}"
            boxes[name] = (name, name, _shape(out), out)
            edges.append((by_value[out], name))
    return boxes, edges


def _is_held(v: Value) -> bool:
    return v.node is None and v.name.startswith(("p_", "b_", "c_"))


def _shape(v: Value) -> str:
    return f"{v.dtype.name}[{', '.join(map(str, v.shape))}]"


def _rows(boxes: Mapping[str, Box], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The names of boxes by their longest distance from a box that nothing leads to."""
    into: dict[str, list[str]] = {name: [] for name in boxes}
    for a, b in edges:
        into[b].append(a)
    depth: dict[str, int] = {}
    for name in boxes:  # the order of the graph: what leads to a box stands before it
        depth[name] = max((depth[a] + 1 for a in into[name]), default=0)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, d in depth.items():
        rows[d].append(name)
    return rows


def _order(rows: list[list[str]], edges: Sequence[tuple[str, str]]) -> None:
    """Put each row in the order of the middle of its neighbours, down and up in turn."""
    near: dict[str, list[str]] = {}
    for a, b in edges:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    at = {name: i - len(row) / 2 for row in rows for i, name in enumerate(row)}
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            middle = {n: sum(at[m] for m in near.get(n, [n])) / len(near.get(n, [n])) for n in row}
            row.sort(key=lambda n: middle[n])  # sort is done with it at once
            at |= {name: i - len(row) / 2 for i, name in enumerate(row)}


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (u, v) = (start[0] + _WIDE / 2, start[1] + _HIGH), (end[0] + _WIDE / 2, end[1])
    bend = (v - y) / 2
    return f"<path class='edge' d='M{x:g},{y:g} C{x:g},{y + bend:g} {u:g},{v - bend:g} {u:g},{v:g}'/>"


def _box(box: Box, place: tuple[float, float], prefix: str, heat: Mapping[Node, float]) -> str:
    name, first, second, of = box
    kind = "node" if isinstance(of, Node) else "value"
    hue = zlib.crc32(of.module.encode()) % 360 if isinstance(of, Node) and of.module else 210
    warm = f"<rect class='heat' width='{_WIDE * heat[of]:g}' height='5' y='{_HIGH - 5}'/>" if of in heat else ""
    full = f"{first} {second}"
    return (
        f"<g class='{kind}' transform='translate({place[0]:g},{place[1]:g})' tabindex='0' "
        f"data-node='{html.escape(prefix + name, quote=True)}' style='--hue:{hue}'><title>{html.escape(full)}</title>"
        f"<rect class='box' width='{_WIDE}' height='{_HIGH}' rx='6'/>{warm}"
        f"<text x='10' y='18' class='op'>{html.escape(_short(first))}</text>"
        f"<text x='10' y='34' class='shape'>{html.escape(_short(second))}</text></g>"
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


__all__ = ["drawing"]
