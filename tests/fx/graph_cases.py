"""Graphs: how nodes get into them, what they look like afterwards, and their program, in the torch API."""

from __future__ import annotations

import operator
from typing import Any

from tests.fx.node_cases import lines, reading, text
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


def model(T: Any) -> Any:
    """A module of blocks, with a parameter of its own."""
    block = T.nn.Sequential(T.nn.ReLU(), T.nn.Tanh())
    block.scale = T.nn.Parameter(T.tensor([2.0]))
    outer = T.nn.Module()
    outer.block, outer.spare, outer.number = block, T.nn.Sequential(T.nn.ReLU()), 3
    return outer


def calling(T: Any) -> Any:
    """A GraphModule that calls a part of that module."""
    graph = T.fx.Graph()
    x = graph.placeholder("x")
    called = graph.call_module("block.1", (x,))
    graph.output(graph.call_function(operator.mul, (called, graph.get_attr("block.scale"))))
    return T.fx.GraphModule(model(T), graph)


def names(graph: Any) -> list[str]:
    return [n.name for n in graph.nodes]


@case
def create_node(T: Any) -> Any:
    graph = T.fx.Graph()
    x = graph.create_node("placeholder", "x", type_expr=int)
    made = [
        graph.create_node("call_function", T.relu, (x,)), graph.create_node("call_function", T.relu, (x,)),
        graph.create_node("call_function", operator.add, (x, 1), {}, "total"),
        graph.create_node("call_function", operator.add, (x, 1), {}, "total"),
        graph.create_node("call_method", "__getitem__", (x, 1)), graph.create_node("call_module", "block.Layer1", (x,)),
        graph.create_node("get_attr", "block.0.weight"), graph.create_node("call_method", "size", (x,), {"dim": 1}),
    ]  # fmt: skip
    graph.create_node("output", "output", (made[-1],))
    return lines(T, graph), [[n.op, text(T, n.type), list(n.users)] for n in graph.nodes]


@case
def create_node_names(T: Any) -> Any:
    graph = T.fx.Graph()
    wanted = [
        "a", "a", "a_1", "a_5", "a_5", "print", "class", "0", "x.y", "CamelCase", "", "é", "_", "inf",
    ]  # fmt: skip
    return [graph.create_node("call_function", operator.add, (1, 2), name=name).name for name in wanted]


@case
def create_node_names_of_targets(T: Any) -> Any:
    graph = T.fx.Graph()
    F, functions = T.nn.functional, [operator.add, operator.and_, operator.matmul, getattr, print, len]
    made = [graph.call_function(f, ()).name for f in (*functions, F.gelu, T.sum, T.Tensor.add)]
    return made, [graph.call_method(name, ()).name for name in ("__add__", "sum", "requires_grad_", "T")]


@case
def graph_copy(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    other = T.fx.Graph()
    given = other.placeholder("given")
    values = {x: given}
    result = other.graph_copy(graph, values)
    again, output = other.graph_copy(graph, {x: given, y: given}, return_output_node=True)
    other.output((result, again))
    seen = [result.name, again.name, output is graph.output_node(), {str(k): str(v) for k, v in values.items()}]
    return seen, lines(T, other), lines(T, graph)


@case
def graph_copy_without_output(T: Any) -> Any:
    graph = T.fx.Graph()
    graph.placeholder("x")
    other = T.fx.Graph()
    return other.graph_copy(graph, {}), names(other)


@case
def node_copy(T: Any) -> Any:
    _, x, y, node = reading(T)
    node.meta["kept"], node.type = [1], int
    other = T.fx.Graph()
    inputs = {x: other.placeholder("x"), y: other.placeholder("cat")}
    copied = other.node_copy(node, lambda n: inputs[n])
    node.meta["later"] = 2
    return copied.name, copied.meta, text(T, copied.type), copied.graph is other, lines(T, other)


@case
def node_copy_of_an_output(T: Any) -> Any:
    graph, *_ = reading(T)
    other = T.fx.Graph()
    inputs = {n: other.placeholder(n.name) for n in graph.nodes if n.op != "output"}
    return lines(T, [other.node_copy(graph.output_node(), lambda n: inputs[n]), other][1])


@case
def inserting_before(T: Any) -> Any:
    graph, x, y, node = reading(T)
    with graph.inserting_before(node):
        graph.call_function(T.neg, (x,))
        with graph.inserting_before(y):
            graph.call_function(T.abs, (x,))
        graph.call_function(T.exp, (x,))
    graph.inserting_before(node)
    graph.call_function(T.sin, (x,))
    return names(graph)


@case
def inserting_before_nothing(T: Any) -> Any:
    graph, x, *_ = reading(T)
    with graph.inserting_before():
        graph.placeholder("z")
        graph.placeholder("v")
    graph.call_function(T.neg, (x,))
    return names(graph)


@case
def inserting_before_a_node_of_another_graph(T: Any) -> Any:
    return T.fx.Graph().inserting_before(reading(T)[3]).__enter__()


@case
def inserting_after(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    with graph.inserting_after(x):
        graph.call_function(T.neg, (x,))
        graph.call_function(T.abs, (x,))
    with graph.inserting_after():
        graph.call_function(T.exp, (y,))
    graph.inserting_after(x)
    graph.call_function(T.sin, (x,))
    return names(graph)


@case
def output_node(T: Any) -> Any:
    graph, *_ = reading(T)
    found = graph.output_node()
    return found.op, found.name, found.args, found.target, [n.name for n in graph.find_nodes(op="output")]


@case
def output_node_of_a_graph_without(T: Any) -> Any:
    graph = T.fx.Graph()
    graph.placeholder("x")
    return graph.output_node()


@case
def python_code(T: Any) -> Any:
    graph, *_ = reading(T)
    code = graph.python_code("self")
    scope: dict[str, Any] = dict(code.globals)
    exec(code.src, scope)
    one = T.ones(1)
    return text(T, code.src), code.globals[T.__name__] is T, scope["forward"](None, one, one * 2)


@case
def python_code_of_another_root(T: Any) -> Any:
    return text(T, calling(T).graph.python_code("owner").src)


@case
def python_code_of_functions_elsewhere(T: Any) -> Any:
    def twice(x: Any) -> Any:
        return x * 2

    graph = T.fx.Graph()
    x = graph.placeholder("x", type_expr=T.Tensor, default_value=float("inf"))
    y = graph.call_function(twice, (x,))
    graph.output((graph.call_function(T.nn.functional.relu, (y,)), graph.call_function(getattr, (y, "ndim"))))
    code = graph.python_code("self")
    scope: dict[str, Any] = dict(code.globals)
    exec(code.src, scope)
    return scope["forward"](None, T.tensor([-1.0, 2.0])), text(T, code.src)


@case
def python_code_of_annotations(T: Any) -> Any:
    graph, kinds = T.fx.Graph(), (list[int], dict[str, T.Tensor], int | None, "Any", tuple[int, ...], T.device, float)
    for i, kind in enumerate(kinds):
        graph.placeholder(f"x{i}", type_expr=kind)
    graph.output(1, type_expr=list[T.Tensor])
    code = graph.python_code("self")
    scope: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, "graph", "exec", dont_inherit=True), scope)  # without this file's future
    return [text(T, kind) for kind in scope["forward"].__annotations__.values()]


@case
def set_codegen(T: Any) -> Any:
    class Listed(T.fx.CodeGen):
        def process_inputs(self, *args: Any) -> Any:
            return tuple(args[0])

        def process_outputs(self, outputs: Any) -> Any:
            return {"out": outputs}

    graph, *_ = reading(T)
    graph.set_codegen(Listed())
    one = T.ones(1)
    run = T.fx.Interpreter(T.fx.GraphModule(T.nn.Module(), graph))
    return [run.run([one, 2 * one]), run.run(one, 2 * one, enable_io_processing=False), graph.process_inputs([1, 2])]


@case
def add_submodule(T: Any) -> Any:
    module = calling(T)
    module.number = 3
    layer = T.nn.ReLU()
    added = [module.add_submodule(path, layer) for path in ("a", "new.inner.b", "block.1", "number.c")]
    return added, [n for n, _ in module.named_modules()], module.get_submodule("new.inner.b") is layer


@case
def add_submodule_below_a_tensor(T: Any) -> Any:
    return calling(T).add_submodule("block.scale.a", T.nn.ReLU())


@case
def delete_submodule(T: Any) -> Any:
    module = calling(T)
    module.add_submodule("new.inner.b", T.nn.ReLU())
    deleted = [module.delete_submodule(path) for path in ("new.inner", "new.inner", "block.scale", "none.b", "new")]
    return deleted, [n for n, _ in module.named_modules()]


@case
def delete_all_unused_submodules(T: Any) -> Any:
    module = calling(T)
    for path in ("block.7", "new.inner.b", "spare"):
        module.add_submodule(path, T.nn.Sequential(T.nn.ReLU()))
    module.get_submodule("block.1").extra = T.nn.Tanh()
    found = module.delete_all_unused_submodules()
    return found, [n for n, _ in module.named_modules()], [n for n, _ in module.named_parameters()]


@case
def erase_node(T: Any) -> Any:
    graph, x, _, _ = reading(T)
    unused = graph.call_function(T.neg, (x,))
    graph.erase_node(unused)
    graph.erase_node(unused)
    return names(graph), list(x.users)


@case
def erase_node_of_another_graph(T: Any) -> Any:
    graph, *_ = reading(T)
    return graph.erase_node(reading(T)[0].output_node())


@case
def erase_node_that_is_read(T: Any) -> Any:
    graph, x, *_ = reading(T)
    return graph.erase_node(x)


@case
def find_nodes(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    first = graph.call_function(T.neg, (x,))
    x.prepend(first)
    graph.call_function(T.cat, ([x, y],))
    return [graph.find_nodes(op="call_function", target=T.cat), graph.find_nodes(op="placeholder", target="y"),
            graph.find_nodes(op="call_method", target="add")]  # fmt: skip


@case
def lint_of_a_wrong_order(T: Any) -> Any:
    graph, x, _, node = reading(T)
    x.prepend(node)
    return graph.lint()


@case
def lint_of_modules_that_are_not_there(T: Any) -> Any:
    module = calling(T)
    with module.graph.inserting_before(module.graph.output_node()):
        module.graph.create_node("call_module", "none.at.all", ())
    return module.graph.lint()


@case
def eliminate_dead_code(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    with graph.inserting_before(graph.output_node()):
        dead = graph.call_function(T.neg, (x,))
        graph.call_function(T.exp, (dead,))
        graph.call_function(print, (y,))
    changed = [graph.eliminate_dead_code(), graph.eliminate_dead_code()]
    before = names(graph)
    return changed, before, graph.eliminate_dead_code(lambda n: n.op == "output"), names(graph)
