"""Graphs as Python: what ``GraphModule.code`` shows, with the objects that it names. Modules do not run it."""

from __future__ import annotations

import builtins
import enum
import math
import operator
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from flambeau.core.device import device
from flambeau.fx.node import Argument, Node, name_of, spelled

__all__ = ["PythonCode", "program"]

_BINARY: Final = {
    "add": "+", "sub": "-", "mul": "*", "floordiv": "//", "truediv": "/", "mod": "%", "pow": "**", "lshift": "<<",
    "rshift": ">>", "and_": "&", "or_": "|", "xor": "^", "matmul": "@", "eq": "==", "ne": "!=", "lt": "<", "gt": ">",
    "le": "<=", "ge": ">=",
}  # fmt: skip
_FORMS: Final[dict[Any, str]] = {
    **{getattr(operator, name): f"{{}} {sign} {{}}" for name, sign in _BINARY.items()},
    operator.neg: "-{}", operator.pos: "+{}", operator.invert: "~{}", operator.getitem: "{}[{}]",
}  # fmt: skip


@dataclass
class PythonCode:
    """A program: ``src`` is the text of a function, ``globals`` the objects that it names."""

    src: str
    globals: dict[str, Any]


class _Writer:
    """Writes the nodes of a graph, and gathers what their text names."""

    def __init__(self, root: str):
        self.root = root
        self.globals: dict[str, Any] = {"device": device, "inf": math.inf, "nan": math.nan}

    def name(self, thing: Any) -> str:  # Any: a function or type
        """What a function or type is called in the text: of flambeau's by its module, another by one word."""
        name = name_of(thing).removeprefix("builtins.")
        if getattr(builtins, name, None) is thing:
            return name
        if name.startswith("flambeau."):
            self.globals["flambeau"] = sys.modules["flambeau"]
            return name
        word = re.sub(r"\W", "_", name)
        while self.globals.setdefault(word, thing) is not thing:
            word += "_"
        return word

    def annotation(self, kind: Any) -> str:  # Any: an annotation
        """An annotation as Python."""
        if isinstance(kind, types.UnionType):
            return " | ".join(map(self.annotation, kind.__args__))
        if isinstance(kind, (tuple, list)):
            return spelled(kind, self.annotation)
        if getattr(kind, "__args__", None):
            return f"{self.name(kind.__origin__)}[{', '.join(map(self.annotation, kind.__args__))}]"
        return self.name(kind) if hasattr(kind, "__name__") else self.value(kind)

    def value(self, a: Argument) -> str:
        """An argument as Python."""
        return spelled(a, self._leaf, repr)

    def _leaf(self, a: Argument) -> str:
        if isinstance(a, enum.Enum):
            return f"{self.name(type(a))}.{a.name}"
        if isinstance(a, type) or callable(a) and hasattr(a, "__name__"):
            return self.name(a)
        text = repr(a)
        if text.startswith("flambeau."):
            self.globals["flambeau"] = sys.modules["flambeau"]
        return text

    def typed(self, node: Node) -> str:
        """The annotation of a node's variable."""
        return f" : {self.annotation(node.type)}" if node.type is not None else ""

    def parameter(self, node: Node) -> str:
        """An input in the signature."""
        return f"{node.target}{self.typed(node)}{f' = {self.value(node.args[0])}' if node.args else ''}"

    def words(self, args: Any, kwargs: Any) -> str:
        """The arguments of a call."""
        return ", ".join([*map(self.value, args), *(f"{k} = {self.value(v)}" for k, v in kwargs.items())])

    def right(self, node: Node) -> str:
        """What a node computes."""
        if node.op == "call_method":
            return f"{self.value(node.args[0])}.{node.target}({self.words(node.args[1:], node.kwargs)})"
        if node.op == "call_module":
            return f"{_path(self.root, str(node.target))}({self.words(node.args, node.kwargs)})"
        if node.op == "get_attr":
            return _path(self.root, str(node.target))
        form = None if node.kwargs or isinstance(node.target, str) else _FORMS.get(node.target)
        if form is not None and form.count("{}") == len(node.args):
            return form.format(*map(self.value, node.args))
        if node.target is getattr and len(node.args) == 2 and isinstance(node.args[1], str):
            return _path(self.value(node.args[0]), node.args[1])
        return f"{self.name(node.target)}({self.words(node.args, node.kwargs)})"

    def lines(self, nodes: list[Node]) -> Iterator[str]:
        """The lines of the body."""
        freed = _freed(nodes)
        for node in nodes:
            if node.op == "placeholder":
                plain = str(node.target).lstrip("*")
                if plain != node.name:
                    yield f"{node.name} = {plain}"
                continue
            if node.op == "output":
                yield f"return {self.value(node.args[0])}"
                continue
            done = [*freed.get(node, ()), *([] if node.users else [node])]
            ending = f";  {' = '.join(n.name for n in done)} = None" if done else ""
            yield f"{node.name}{self.typed(node)} = {self.right(node)}{ending}"


def _path(base: str, path: str) -> str:
    """An attribute at a path, whose parts may be numbers."""
    for part in path.split("."):
        base = f"{base}.{part}" if part.isidentifier() else f'getattr({base}, "{part}")'
    return base


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


def program(nodes: list[Node], root: str = "self") -> PythonCode:
    """A method ``forward`` with a line for each node, which finds parameters and modules in ``root``."""
    writer = _Writer(root)
    inputs = [writer.parameter(n) for n in nodes if n.op == "placeholder"]
    result = next((n.type for n in nodes if n.op == "output"), None)
    arrow = f" -> {writer.annotation(result)}" if result is not None else ""
    body = "".join(f"    {line}\n" for line in writer.lines(nodes)) or "    pass\n"
    return PythonCode(f"\n\n\ndef forward({', '.join(['self', *inputs])}){arrow}:\n{body}    ", writer.globals)
