"""Tracers that make graphs, proxies that stand in them, and interpreters that run them, in the torch API."""

from __future__ import annotations

import operator
from typing import Any

from tests.fx.graph_cases import calling, model, names
from tests.fx.node_cases import Pair, lines, reading, text
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


def tracer(T: Any, root: Any = None) -> Any:
    """A tracer at the beginning of a graph."""
    found = T.fx.Tracer()
    found.root, found.graph, found.tensor_attrs = root or T.nn.Module(), T.fx.Graph(), {}
    found.module_stack, found.node_name_to_scope = {}, {}
    return found


@case
def run_node(T: Any) -> Any:
    module = calling(T)
    run = T.fx.Interpreter(module)
    run.args_iter = iter([T.tensor([0.5])])
    found = []
    for node in module.graph.nodes:
        run.env[node] = run.run_node(node)
        found.append([node.name, run.env[node]])
    return found


@case
def run_node_overridden(T: Any) -> Any:
    seen = []

    class Seeing(T.fx.Interpreter):
        def run_node(self, n: Any) -> Any:
            found = super().run_node(n)
            seen.append([n.name, sorted(str(k) for k in self.env)])
            return found

    one = T.ones(1)
    return Seeing(calling(T)).run(one), Seeing(calling(T), garbage_collect_values=False).run(one), seen


@case
def run_node_that_fails(T: Any) -> Any:
    graph = T.fx.Graph()
    graph.output(graph.call_function(operator.truediv, (1, 0)))
    return T.fx.Interpreter(T.fx.GraphModule(T.nn.Module(), graph)).run()


@case
def fetch_attr(T: Any) -> Any:
    run = T.fx.Interpreter(calling(T))
    return run.fetch_attr("block.scale"), type(run.fetch_attr("block.1")).__name__


@case
def fetch_attr_that_is_not_there(T: Any) -> Any:
    return T.fx.Interpreter(calling(T)).fetch_attr("block.none.scale")


@case
def fetch_args_kwargs_from_env(T: Any) -> Any:
    graph, x, y, node = reading(T)
    node.kwargs = {"dim": 0, "out": y}
    run = T.fx.Interpreter(T.fx.GraphModule(T.nn.Module(), graph))
    run.env = {x: 1, y: 2}
    args, kwargs = run.fetch_args_kwargs_from_env(node)
    return type(args).__name__, args, kwargs, run.fetch_args_kwargs_from_env(x)


@case
def map_nodes_to_values(T: Any) -> Any:
    graph, x, y, node = reading(T)
    run = T.fx.Interpreter(T.fx.GraphModule(T.nn.Module(), graph))
    run.env = {x: T.ones(1), y: 2}
    return run.map_nodes_to_values(({"a": x}, [y, Pair(y, "y")], 3), node)


@case
def map_nodes_to_values_that_are_not_there(T: Any) -> Any:
    graph, x, _, node = reading(T)
    return T.fx.Interpreter(T.fx.GraphModule(T.nn.Module(), graph)).map_nodes_to_values([x], node)


@case
def an_input_that_is_missing(T: Any) -> Any:
    return T.fx.Interpreter(T.fx.GraphModule(T.nn.Module(), reading(T)[0])).run(T.ones(1))


@case
def initial_env(T: Any) -> Any:
    graph, x, y, node = reading(T)
    run = T.fx.Interpreter(T.fx.GraphModule(T.nn.Module(), graph))
    return run.run(initial_env={x: T.ones(1), y: T.zeros(1)}), run.run(initial_env={node: 3, x: 1, y: 2})


@case
def Proxy(T: Any) -> Any:
    graph, x, _, _ = reading(T)
    p = T.fx.Proxy(x)
    made = [
        p + 1, 2 - p, p @ p, -p, ~p, abs(p), p[0], p[1:, None], p == 3, p.view(2, -1), p.T, p.T + 1, p(3), T.relu(p),
        2**p, p // 2, p >> 1, p & True, p.size(dim=0), p.keys(),
    ]  # fmt: skip
    return [repr(q) for q in made], lines(T, graph)


@case
def Proxy_of_a_call_on_more(T: Any) -> Any:
    graph, x, y, _ = reading(T)
    together = T.fx.proxy.GraphAppendingTracer(graph)
    p, q = T.fx.Proxy(x, together), T.fx.Proxy(y, together)
    T.cat([p, q], dim=1)
    T.where(p > 0, p, 0.0)
    first, second = q.chunk(2)
    p[q.size(0) - 1 : second] + first
    return lines(T, graph)


@case
def Proxy_of_two_tracers(T: Any) -> Any:
    _, x, y, _ = reading(T)
    return T.cat([T.fx.Proxy(x), T.fx.Proxy(y)])


@case
def Proxy_set_item(T: Any) -> Any:
    def program(x: Any) -> Any:
        x[0] = 1
        return x

    return lines(T, T.fx.symbolic_trace(program).graph)


for _name, _use in {
    "bool": lambda p: bool(p), "len": lambda p: len(p), "iter": lambda p: list(p), "int": lambda p: int(p),
    "index": lambda p: [1, 2][p], "contains": lambda p: 1 in p, "not": lambda p: not p, "dict": lambda p: dict(**p),
    "range": lambda p: range(p), "and": lambda p: p and 1, "unpacking": lambda p: (lambda a, b: a + b)(*p),
}.items():  # fmt: skip
    CASES[f"Proxy in {_name}"] = lambda T, _use=_use: T.fx.symbolic_trace(_use)


@case
def Tracer_create_node(T: Any) -> Any:
    t = tracer(T)
    x = t.create_node("placeholder", "x", (), {})
    named = t.create_node("call_function", T.neg, (x,), {}, "named", int)
    return [x.name, named.name, text(T, named.type), type(named).__name__], lines(T, t.graph)


@case
def create_node_overridden(T: Any) -> Any:
    class Counting(T.fx.Tracer):
        def create_node(
            self, kind: Any, target: Any, args: Any, kwargs: Any, name: Any = None, type_expr: Any = None
        ) -> Any:
            seen.append([kind, text(T, getattr(target, "__name__", target))])
            return super().create_node(kind, target, args, kwargs, name, type_expr)

    seen: list[Any] = []
    graph = Counting().trace(lambda x, y=2: T.relu(x + y).sum())
    return seen, names(graph)


@case
def create_proxy(T: Any) -> Any:
    t = tracer(T)
    x = t.create_proxy("placeholder", "x", (), {})
    y = t.create_proxy("call_function", T.add, (x, [1, x]), {"alpha": x}, name="total", type_expr=int)
    z = t.create_proxy("call_method", "abs", (y,), {}, proxy_factory_fn=lambda node: [node.name])
    return [type(x).__name__, y.node.name, text(T, y.node.type), y.tracer is t, z], lines(T, t.graph)


@case
def create_arg(T: Any) -> Any:
    root = T.nn.Module()
    root.layer = T.nn.ReLU()
    t = tracer(T, root)
    t.submodule_paths = {root.layer: "layer"}
    x = t.create_proxy("placeholder", "x", (), {})
    given = (x, [x, 1], Pair(x, 2), slice(x, None, 2), {"a": x}, range(2), "text", T.float32, None, 1j, T.Size([1, 2]))
    made = t.create_arg(given)
    constants = [t.create_arg(T.ones(1)), t.create_arg(T.ones(1))]
    kinds = [type(one).__name__ for one in made if not isinstance(one, T.dtype)]
    layer = t.create_arg(root.layer)
    return text(T, made), kinds, constants, layer, lines(T, t.graph), sorted(t.tensor_attrs.values())


@case
def create_arg_once_for_a_tensor(T: Any) -> Any:
    t, constant = tracer(T), T.ones(2)
    made = [t.create_arg(constant), t.create_arg(constant), t.create_arg(T.nn.Parameter(T.ones(1)) * 1)]
    return [n.target for n in made], t.root._tensor_constant0


@case
def create_arg_of_what_no_graph_holds(T: Any) -> Any:
    return tracer(T).create_arg({1, 2})


@case
def create_arg_of_a_key_that_is_a_node(T: Any) -> Any:
    t = tracer(T)
    return t.create_arg({t.create_proxy("placeholder", "x", (), {}): 1})


@case
def create_arg_of_a_parameter_elsewhere(T: Any) -> Any:
    return tracer(T).create_arg(T.nn.Parameter(T.ones(1)))


@case
def create_args_for_root(T: Any) -> Any:
    def program(x: int, y: Any = 2, *rest: Any, z: Any = 3, **named: Any) -> Any:
        return x

    t = tracer(T)
    fn, args = t.create_args_for_root(program, False)
    return [repr(a) for a in args], fn(*args).node.name, lines(T, t.graph)


@case
def create_args_for_root_of_a_module(T: Any) -> Any:
    class Root(T.nn.Module):
        def forward(self, input: int) -> Any:
            return input

    root = Root()
    t = tracer(T, root)
    fn, args = t.create_args_for_root(type(root).forward, True)
    return fn is type(root).forward, args[0] is root, repr(args[1]), lines(T, t.graph)


@case
def create_args_for_root_with_values(T: Any) -> Any:
    t = tracer(T)
    _, args = t.create_args_for_root(lambda x, flag, nothing: x, False, {"flag": True, "nothing": None})
    return repr(args[0]), args[1], args[2], [[n.op, n.name] for n in t.graph.nodes]


@case
def path_of_module(T: Any) -> Any:
    root = model(T)
    found = T.fx.Tracer()
    found.trace(T.nn.Sequential(root.block, root.spare))
    return [found.path_of_module(m) for m in (root.block, root.block[1], root.spare[0])]


@case
def path_of_module_elsewhere(T: Any) -> Any:
    found = T.fx.Tracer()
    found.trace(T.nn.Sequential(T.nn.ReLU()))
    return found.path_of_module(T.nn.Tanh())


@case
def to_bool(T: Any) -> Any:
    class Yes(T.fx.Tracer):
        def to_bool(self, obj: Any) -> bool:
            asked.append(repr(obj))
            return True

    asked: list[str] = []
    graph = Yes().trace(lambda x: x + 1 if x.sum() > 0 else x - 1)
    return asked, names(graph)


@case
def to_bool_without_a_value(T: Any) -> Any:
    t = tracer(T)
    return t.to_bool(t.create_proxy("placeholder", "x", (), {}))


@case
def iter_and_keys(T: Any) -> Any:
    class Two(T.fx.Tracer):
        def iter(self, obj: Any) -> Any:
            return iter([obj[0], obj[1]])

        def keys(self, obj: Any) -> Any:
            return ["a"]

    return lines(T, Two().trace(lambda x, y: sum(x) + y[y.keys()[0]]))
