"""Programs become graphs, which run as the programs do, and can be changed."""

from __future__ import annotations

import copy
import operator
from typing import Any

import pytest

import flambeau as fb
from flambeau import fx, nn
from flambeau.nn import functional as F


def halved(x: Any) -> Any:
    """Stays one call in graphs: see below."""
    return x / 2 if bool((x > -100).all()) else x


fx.wrap("halved")


class Program(nn.Module):
    """Layers, functions, methods, a parameter and a buffer of its own, a shape, sequences and a default."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(3, 4), nn.Parameter(fb.tensor([1.0, 2, 3, 4]))
        self.tail = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("shift", fb.ones(4))

    def forward(self, x: Any, times: int = 2) -> Any:
        x = F.relu(self.linear(x)) + self.scale.view(-1) * self.shift
        first, second = x.chunk(2, dim=1)
        x = fb.cat([second, first], dim=1)
        y = F.softmax(self.tail(halved(x)), dim=-1)
        return {"y": 1 - y, "rows": x.shape[0], "times": y * times}


@pytest.fixture
def program() -> Program:
    fb.manual_seed(0)
    return Program()


def test_a_graph_runs_as_the_module_does(program: Program) -> None:
    traced = fx.symbolic_trace(program)
    x = fb.randn(5, 3)
    wanted, found = program(x, 3), traced(x, 3)
    assert found["rows"] == 5 and fb.equal(found["y"], wanted["y"]) and fb.equal(found["times"], wanted["times"])
    assert fb.equal(traced(x)["times"], program(x)["times"]) and fb.equal(traced(x, times=4)["y"], wanted["y"])
    assert dict(traced.named_parameters()).keys() == dict(program.named_parameters()).keys()
    assert traced.scale is program.scale and traced.linear is program.linear
    traced(x)["y"].square().sum().backward()
    assert program.scale.grad is not None and bool((program.scale.grad != 0).any())


def test_nodes_say_what_is_called(program: Program) -> None:
    nodes = {n.name: n for n in fx.symbolic_trace(program).graph.nodes}
    assert list(nodes)[:6] == ["x", "times", "linear", "relu", "scale", "view"]
    kinds = {name: (node.op, node.target) for name, node in nodes.items()}
    assert kinds["linear"] == ("call_module", "linear") and kinds["tail_1"] == ("call_module", "tail.1")
    assert kinds["scale"] == ("get_attr", "scale") and kinds["view"] == ("call_method", "view")
    assert kinds["relu"] == ("call_function", F.relu) and kinds["add"] == ("call_function", operator.add)
    assert kinds["halved"] == ("call_function", halved)
    assert nodes["times"].args == (2,) and nodes["relu"].args == (nodes["linear"],)
    assert list(nodes["linear"].users) == [nodes["relu"]]


def test_a_graph_can_be_changed() -> None:
    traced = fx.symbolic_trace(lambda x: (x + 1).relu())
    add = next(n for n in traced.graph.nodes if n.target is operator.add)
    with traced.graph.inserting_after(add):
        product = traced.graph.call_function(operator.mul, (add, 10))
    add.replace_all_uses_with(product, lambda user: user is not product)
    traced.graph.lint()
    assert traced(fb.ones(1)).item() == 20
    with pytest.raises(RuntimeError, match="erase_node: add is used by mul"):
        traced.graph.erase_node(add)
    product.replace_all_uses_with(add)
    assert traced.graph.eliminate_dead_code() and traced(fb.ones(1)).item() == 2
    assert "add = " in traced.recompile().src and "mul = " not in traced.code


def test_a_copy_is_a_program_of_its_own(program: Program) -> None:
    traced = fx.symbolic_trace(program)
    x = fb.randn(2, 3)
    copied = copy.deepcopy(traced)
    assert fb.equal(copied(x)["y"], traced(x)["y"])
    with fb.no_grad():
        copied.linear.weight.zero_()
    assert not fb.equal(copied(x)["y"], traced(x)["y"])


def test_a_transformer_writes_another_graph() -> None:
    class Double(fx.Transformer):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return super().call_function(operator.mul if target is operator.add else target, args, kwargs)

    assert Double(fx.symbolic_trace(lambda x: x + 5)).transform()(fb.ones(1)).item() == 5


def test_what_needs_a_value_is_an_error() -> None:
    with pytest.raises(fx.proxy.TraceError, match="decides a condition"):
        fx.symbolic_trace(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(fx.proxy.TraceError, match="iterated over"):
        fx.symbolic_trace(lambda x: [y for y in x])  # noqa: C416
    assert not fx.tracer.is_fx_tracing()


def test_concrete_arguments_decide_and_are_checked() -> None:
    def program(x: Any, flag: bool) -> Any:
        return x + 1 if flag else x - 1

    traced = fx.symbolic_trace(program, {"flag": False})
    assert [str(n.target) for n in traced.graph.nodes if n.op == "placeholder"] == ["x", "flag_1"]
    assert traced(fb.ones(1), False).item() == 0
    with pytest.raises(AssertionError, match="flag has been specialized to have value False"):
        traced(fb.ones(1), True)
    nested = fx.symbolic_trace(lambda d: d["a"] * 2, concrete_args={"d": {"a": fx.PH}})
    assert nested({"a": fb.ones(1)}).item() == 2


def test_a_tracer_may_look_into_layers(program: Program) -> None:
    class Deep(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return False

    graph = Deep().trace(program)
    assert not graph.find_nodes(op="call_module") and graph.find_nodes(op="call_function", target=F.linear)
    x = fb.randn(2, 3)
    assert fb.equal(fx.GraphModule(program, graph)(x)["y"], program(x)["y"])


def test_tensors_in_a_program_are_attributes() -> None:
    constant = fb.tensor([2.0])
    traced = fx.symbolic_trace(lambda x: x * constant)
    assert [n.target for n in traced.graph.nodes][1] == "_tensor_constant0"
    assert traced(fb.tensor([3.0])).item() == 6


class _Small(fb.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = fb.nn.Linear(2, 3)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return fb.relu(self.linear(x))


def test_nodes_for_sizes_strides_and_offsets() -> None:
    graph = fb.fx.Graph()
    x = graph.placeholder("x")
    graph.output((graph.create_size_node(x, 1), graph.create_stride_node(x, 0), graph.create_storage_offset_node(x)))
    module = fb.fx.GraphModule(fb.nn.Module(), graph)
    assert module(fb.ones(2, 3)[1:]) == (3, 3, 3)
    assert graph.materialize_symint(3) == 3 and graph.materialize_symints([3, 4]) == [3, 4]
    assert graph.process_inputs(1, 2) == (1, 2) and graph.process_outputs(3) == 3


def test_code_goes_through_what_was_registered() -> None:
    traced = fb.fx.symbolic_trace(_Small())
    seen = []

    def make(before: Any) -> Any:
        seen.append(before)
        return lambda lines: [*lines, "    # the end\n"]

    with traced.graph.on_generate_code(make):
        assert traced.code.endswith("    # the end\n")
    assert "# the end" not in traced.code and seen == [None]


def test_inputs_in_a_list_are_taken_out_of_it() -> None:
    traced = fb.fx.symbolic_trace(_Small())
    inputs = [fb.ones(1, 2)]
    expected = traced(inputs[0])
    assert fb.equal(fb.fx.Interpreter(traced).boxed_run(inputs), expected) and inputs == []


def test_arguments_as_the_signature_has_them() -> None:
    def add(x: Any, y: int = 2, *, z: int = 3) -> Any:
        return x

    traced = fb.fx.symbolic_trace(_Small())
    x, linear = list(traced.graph.nodes)[:2]
    assert x.normalized_arguments(traced) is None
    assert linear.normalized_arguments(traced) == ((x,), {})
    assert linear.normalized_arguments(traced, normalize_to_only_use_kwargs=True) == ((), {"input": x})
    node = traced.graph.call_function(add, (x,), {"z": 4})
    assert node.normalized_arguments(traced) == ((x,), {"y": 2, "z": 4})
    assert x.stack_trace is None
    x.stack_trace = "here"
    assert x.meta["stack_trace"] == "here"


def test_fresh_names_and_types_of_values() -> None:
    tracer = fb.fx.Tracer()
    tracer.root = _Small()
    tracer.root.part0 = fb.nn.ReLU()
    assert tracer.get_fresh_qualname("part") == "part1" and tracer.get_fresh_qualname("other") == "other0"


def test_types_in_graphs() -> None:
    from flambeau.compat.torch.fx import annotate, operator_schemas, traceback

    assert operator_schemas.create_type_hint([int, bool]) == list[int]
    assert operator_schemas.create_type_hint((int, str)) == tuple[Any, ...]
    assert operator_schemas.create_type_hint([]) == list[Any] and operator_schemas.create_type_hint(3) == 3
    fits = [(int, int), (int | str, int), (list[int], int), (list[int], tuple[int, int]), (object, int), (int, bool)]
    assert all(operator_schemas.type_matches(*pair) for pair in fits)
    assert not operator_schemas.type_matches(float, int) and not operator_schemas.type_matches(list[float], int)
    with pytest.raises(RuntimeError, match="mutable operation"):
        operator_schemas.check_for_mutable_operation(fb.relu_, (fb.ones(1),), {})
    operator_schemas.check_for_mutable_operation(fb.relu, (fb.ones(1),), {})
    assert annotate.annotate(3, int) == 3
    with traceback.annotate({"a": 1}), traceback.annotate({"b": 2}):
        assert traceback.get_current_meta()["custom"] == {"a": 1, "b": 2}
    assert traceback.annotate_fn({"c": 3})(lambda: dict(traceback.get_current_meta()["custom"]))() == {"c": 3}
    assert "custom" not in traceback.get_current_meta()


def test_a_graph_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    fx.symbolic_trace(lambda x: fb.relu(x) + 1).graph.print_tabular()
    assert capsys.readouterr().out.splitlines() == [
        "opcode         name    target         args       kwargs",
        "-------------  ------  -------------  ---------  ------",
        "placeholder    x       x              ()         {}",
        "call_function  relu    flambeau.relu  (x,)       {}",
        "call_function  add     operator.add   (relu, 1)  {}",
        "output         output  output         (add,)     {}",
    ]
