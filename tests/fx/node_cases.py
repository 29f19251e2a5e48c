"""Nodes of graphs: what they read, how that is changed, which stay, and their text, in the torch API."""

from __future__ import annotations

import builtins
import operator
from collections import namedtuple
from typing import Any

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)
Pair = namedtuple("Pair", "a b")


def text(T: Any, value: Any) -> str:
    """The text of something, with PyTorch's name in it."""
    return str(value).replace(T.__name__, "torch")


def lines(T: Any, graph: Any) -> list[str]:
    """What a graph looks like."""
    return text(T, graph).splitlines()


def reading(T: Any) -> tuple[Any, Any, Any, Any]:
    """A graph with two inputs that one node reads, and that node."""
    graph = T.fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    node = graph.call_function(T.cat, ([x, y, x],), {"dim": 0})
    graph.output(node)
    return graph, x, y, node


@case
def all_input_nodes(T: Any) -> Any:
    graph, x, y, node = reading(T)
    sliced = graph.call_function(operator.getitem, (y, (slice(x, None, node), {"a": x})))
    return [n.all_input_nodes for n in (x, node, sliced)], [list(n.users) for n in (x, y, node)]


@case
def update_arg(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    total = graph.call_function(T.add, (x, x))
    total.update_arg(1, y)
    before = [total.args, list(x.users), list(y.users)]
    total.update_arg(0, 3)
    return before, total.args, list(x.users), lines(T, graph)


@case
def update_arg_beyond_the_end(T: Any) -> Any:
    graph, x, _, _ = reading(T)
    total = graph.call_function(T.add, (x,))
    total.update_arg(1, x)
    return total.args


@case
def insert_arg(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    total = graph.call_function(T.add, (x,))
    found = []
    for place, argument in ((0, y), (2, 5), (1, [x, 7])):
        total.insert_arg(place, argument)
        found.append([text(T, total.args), sorted(n.name for n in total.all_input_nodes)])
    return found, list(y.users)


@case
def insert_arg_out_of_place(T: Any) -> Any:
    _, _, y, node = reading(T)
    node.insert_arg(2, y)


@case
def update_kwarg(T: Any) -> Any:
    graph, _, y, node = reading(T)
    node.update_kwarg("dim", 1)
    node.update_kwarg("out", y)
    before = [dict(node.kwargs), node.all_input_nodes]
    node.update_kwarg("out", None)
    return before, lines(T, graph)


@case
def replace_input_with(T: Any) -> Any:
    graph, x, y, node = reading(T)
    node.update_kwarg("out", x)
    node.replace_input_with(x, y)
    return lines(T, graph), list(x.users), node.all_input_nodes


@case
def replace_all_uses_with(T: Any) -> Any:
    graph, x, y, node = reading(T)
    total = graph.call_function(T.add, (x, y))
    x.meta["kept"] = 1
    some = x.replace_all_uses_with(y, lambda user: user is total, propagate_meta=True)
    return some, x.replace_all_uses_with(node), dict(y.meta), lines(T, graph)


@case
def replace_all_uses_with_meta_that_is_there(T: Any) -> Any:
    _, x, y, _ = reading(T)
    y.meta["kept"] = 1
    x.replace_all_uses_with(y, propagate_meta=True)


@case
def is_impure(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    ours = T.fx.node.has_side_effect(lambda value: value)
    called = [graph.call_function(f, (x,)) for f in (builtins.print, ours, T.relu, operator.neg, T.rand_like)]
    nodes = [*graph.nodes, *called, graph.get_attr("w"), graph.call_method("add_", (x, y))]
    return [n.is_impure() for n in nodes]


@case
def is_impure_by_chance(T: Any) -> Any:
    graph = T.fx.Graph()
    x = graph.placeholder("x")
    made = [graph.call_function(f, (2,)) for f in (T.rand, T.randn, T.randperm)]
    made += [graph.call_function(f, (x,)) for f in (T.bernoulli, T.nn.functional.dropout, T.manual_seed)]
    return [[n.is_impure(), n.is_impure(impure_random=False)] for n in made]


@case
def is_impure_of_what_writes(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    functions = [(operator.iadd, (x, y)), (operator.setitem, (x, 0, y)), (T.relu_, (x,))]
    return [graph.call_function(f, args).is_impure() for f, args in functions]


@case
def is_impure_of_modules(T: Any) -> Any:
    class Said(T.nn.Identity):
        _is_impure = True

    graph = T.fx.Graph()
    x = graph.placeholder("x")
    nodes = [graph.call_module(name, (x,)) for name in ("said", "plain")]
    graph.output(x)
    module = T.fx.GraphModule({"said": Said(), "plain": T.nn.Identity()}, graph)
    before = [n.is_impure() for n in nodes]
    changed = graph.eliminate_dead_code()
    return before, changed, lines(T, module.graph)


@case
def has_side_effect(T: Any) -> Any:
    def told(value: Any) -> Any:
        return value

    graph, x, _, _ = reading(T)
    graph.call_function(told, (x,))
    marked = T.fx.node.has_side_effect(told)
    kept = graph.eliminate_dead_code()
    return marked is told, kept, [n.name for n in graph.nodes]


@case
def format_node(T: Any) -> Any:
    graph = T.fx.Graph()
    x = graph.placeholder("x", type_expr=int)
    y = graph.placeholder("y", default_value=2)
    w = graph.get_attr("block.w", type_expr=T.Tensor)
    nodes = [
        x, y, w, graph.call_function(T.nn.functional.relu, (x,), {"inplace": True}, type_expr=T.Tensor),
        graph.call_function(operator.getitem, (x, (slice(None, y, 2), None, "a"))),
        graph.call_method("view", (x, [1, (y,)]), {"more": {"k": w}}), graph.call_module("block.0", (x, T.float32)),
    ]  # fmt: skip
    nodes.append(graph.output({"a": (x,), "b": [y, slice(1, x)]}))
    return [text(T, n.format_node()) for n in nodes], lines(T, graph)


@case
def texts_of_arguments_of_other_kinds(T: Any) -> Any:
    graph, x, _, _ = reading(T)
    shown = graph.call_function(T.add, (Pair(x, 1), range(3), 1.5, "text", T.float32, T.Tensor, True, None))
    return text(T, shown.format_node())


@case
def map_aggregate(T: Any) -> Any:
    m = T.fx.node.map_aggregate
    value = (1, [2, {"a": 3}], Pair(4, 5), slice(6, 7, 8), None)
    found = m(value, lambda leaf: leaf if leaf is None else leaf * 10)
    kinds = [type(found[i]).__name__ for i in range(4)]
    return text(T, found), kinds, type(found[1][1]).__name__, m(7, lambda leaf: leaf + 1)


@case
def map_arg(T: Any) -> Any:
    _, x, y, node = reading(T)
    seen = []

    def named(found: Any) -> Any:
        seen.append(found)
        return found.name.upper()

    mapped = T.fx.node.map_arg(([x, 1, "x"], {"b": Pair(node, y)}, slice(y, 2)), named)
    return text(T, mapped), seen, T.fx.node.map_arg("x", named)


@case
def prepend_and_append(T: Any) -> Any:
    graph, x, y, node = reading(T)
    x.prepend(y)
    y.append(node)
    order = [n.name for n in graph.nodes]
    x.prepend(node)
    return order, [n.name for n in graph.nodes], y.next.name, x.prev.name, graph.nodes.__len__()


@case
def an_op_that_is_none(T: Any) -> Any:
    return T.fx.Graph().create_node("call", T.relu)
