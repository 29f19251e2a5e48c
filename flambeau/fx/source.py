"""Graphs as Python, to be read: what ``GraphModule.code`` shows. It is never run."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, Final

from flambeau.fx.node import Argument, Node, name_of

__all__ = ["program"]

_BINARY: Final = {
    "add": "+", "sub": "-", "mul": "*", "floordiv": "//", "truediv": "/", "mod": "%", "pow": "**", "lshift": "<<",
    "rshift": ">>", "and_": "&", "or_": "|", "xor": "^", "matmul": "@", "eq": "==", "ne": "!=", "lt": "<", "gt": ">",
    "le": "<=", "ge": ">=",
}  # fmt: skip
_FORMS: Final[dict[Any, str]] = {
    **{getattr(operator, name): f"{{}} {sign} {{}}" for name, sign in _BINARY.items()},
    operator.neg: "-{}", operator.pos: "+{}", operator.invert: "~{}", operator.getitem: "{}[{}]",
}  # fmt: skip


def written(a: Argument) -> str:
    """An argument as Python."""
    if isinstance(a, Node):
        return a.name
    if isinstance(a, tuple) and not hasattr(a, "_fields"):
        return f"({', '.join(map(written, a))}{',' if len(a) == 1 else ''})"
    if isinstance(a, list):
        return f"[{', '.join(map(written, a))}]"
    if isinstance(a, dict):
        return "{" + ", ".join(f"{written(k)}: {written(v)}" for k, v in a.items()) + "}"
    if isinstance(a, slice):
        return f"slice({written(a.start)}, {written(a.stop)}, {written(a.step)})"
    return annotation(a) if isinstance(a, type) or callable(a) and hasattr(a, "__name__") else repr(a)


def annotation(kind: Any) -> str:
    """A type or function as it is named where it is imported."""
    return name_of(kind) if hasattr(kind, "__name__") and not hasattr(kind, "__args__") else repr(kind)


def _words(args: Any, kwargs: Any) -> str:
    return ", ".join([*map(written, args), *(f"{k} = {written(v)}" for k, v in kwargs.items())])


def _right(node: Node, root: str) -> str:
    """What a node computes."""
    if node.op == "call_method":
        return f"{written(node.args[0])}.{node.target}({_words(node.args[1:], node.kwargs)})"
    if node.op == "call_module":
        return f"{root}.{node.target}({_words(node.args, node.kwargs)})"
    if node.op == "get_attr":
        return f"{root}.{node.target}"
    form = None if node.kwargs or isinstance(node.target, str) else _FORMS.get(node.target)
    if form is not None and form.count("{}") == len(node.args):
        return form.format(*map(written, node.args))
    if node.target is getattr and len(node.args) == 2 and isinstance(node.args[1], str):
        return f"{written(node.args[0])}.{node.args[1]}"
    return f"{name_of(node.target)}({_words(node.args, node.kwargs)})"


def _parameter(node: Node) -> str:
    kind = f" : {annotation(node.type)}" if node.type is not None else ""
    return f"{node.target}{kind}{f' = {written(node.args[0])}' if node.args else ''}"


def _freed(nodes: list[Node]) -> dict[Node, list[Node]]:
    """After which node which others are not read any more."""
    freed: dict[Node, list[Node]] = {}
    seen: set[Node] = set()
    for node in reversed(nodes):
        for read in node.all_input_nodes:
            if read not in seen:
                seen.add(read)
                freed.setdefault(node, []).append(read)
    return freed


def _lines(nodes: list[Node], root: str) -> Iterator[str]:
    freed = _freed(nodes)
    for node in nodes:
        if node.op == "placeholder":
            plain = str(node.target).lstrip("*")
            if plain != node.name:
                yield f"{node.name} = {plain}"
            continue
        if node.op == "output":
            yield f"return {written(node.args[0])}"
            continue
        kind = f" : {annotation(node.type)}" if node.type is not None else ""
        done = [*freed.get(node, ()), *([] if node.users else [node])]
        ending = f";  {' = '.join(n.name for n in done)} = None" if done else ""
        yield f"{node.name}{kind} = {_right(node, root)}{ending}"


def program(nodes: list[Node], root: str = "self") -> str:
    """A function ``forward`` with a line for each node."""
    inputs = [_parameter(n) for n in nodes if n.op == "placeholder"]
    result = next((n.type for n in nodes if n.op == "output"), None)
    arrow = f" -> {annotation(result)}" if result is not None else ""
    body = "".join(f"    {line}\n" for line in _lines(nodes, root)) or "    pass\n"
    return f"\n\n\ndef forward({', '.join([root, *inputs])}){arrow}:\n{body}    "
