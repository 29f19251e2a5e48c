"""Graphs as text, exchanged in parts, split, measured and written to folders, beside what torch.fx answers."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
from flambeau import fx, nn
from flambeau.fx.immutable_collections import immutable_dict, immutable_list
from flambeau.fx.passes.shape_prop import ShapeProp
from flambeau.fx.passes.split_module import split_module
from flambeau.fx.passes.utils.matcher_utils import SubgraphMatcher
from flambeau.fx.subgraph_rewriter import replace_pattern_with_filters


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.relu, self.w = nn.Linear(3, 3), nn.ReLU(), nn.Parameter(fb.ones(3))

    def forward(self, x: Any) -> Any:
        y = self.relu(self.linear(x))
        z = fb.cat([y, self.w.expand(2, 3)], dim=0)
        return (z + 1).sum(dim=[0, 1]) * 2


@pytest.fixture
def traced() -> Any:
    fb.manual_seed(0)
    return fx.symbolic_trace(Model())


def sums(x: Any, y: Any) -> Any:
    return fb.relu(x + y) + fb.relu(x + y * 2)


def test_the_program_as_text(traced: Any) -> None:
    assert traced.code == (
        "\n\n\ndef forward(self, x : 'Any') -> 'Any':\n    linear = self.linear(x);  x = None\n"
        "    relu = self.relu(linear);  linear = None\n    w = self.w\n    expand = w.expand(2, 3);  w = None\n"
        "    cat = flambeau.cat([relu, expand], dim = 0);  relu = expand = None\n    add = cat + 1;  cat = None\n"
        "    sum_1 = add.sum(dim = [0, 1]);  add = None\n    mul = sum_1 * 2;  sum_1 = None\n    return mul\n    "
    )
    assert (
        "%cat : [num_users=1] = call_function[target=flambeau.cat](args = ([%relu, %expand],), kwargs = {dim: 0})"
        in (str(traced.graph))
    )
    assert traced.print_readable(print_output=False).startswith("class Model(flambeau.nn.Module):\n    def forward")
    assert "x[(slice(1, None, None), None)]" in fx.symbolic_trace(lambda x: x[1:, None]).code


def test_arguments_of_nodes_cannot_be_changed_in_place(traced: Any) -> None:
    cat = next(n for n in traced.graph.nodes if n.name == "cat")
    assert type(cat.args[0]) is immutable_list and type(cat.kwargs) is immutable_dict
    for change in (lambda: cat.args[0].append(1), lambda: cat.kwargs.update(dim=1), lambda: cat.args[0].sort()):
        with pytest.raises(TypeError, match="does not support mutation"):
            change()
    assert hash(immutable_list([1])) == hash((1,)) and pickle.loads(pickle.dumps(immutable_list([1]))) == [1]
    cat.kwargs = {"dim": 1}
    assert cat.kwargs == {"dim": 1}


def test_a_pattern_is_exchanged_wherever_it_stands(traced: Any) -> None:
    matches = fx.replace_pattern(traced, lambda x, w: fb.cat([x, w], dim=0) + 1, lambda x, w: fb.stack([x, w]).sum(0))
    assert [m.anchor.name for m in matches] == ["add"]
    assert {str(k): str(v) for k, v in matches[0].nodes_map.items()} == {
        "add": "add", "cat": "cat", "x": "relu", "w": "expand"
    }  # fmt: skip
    assert "stack = flambeau.stack([relu, expand]);  relu = expand = None" in traced.code
    two = fx.symbolic_trace(sums)
    assert len(fx.replace_pattern(two, lambda a, b: fb.relu(a + b), lambda a, b: fb.sigmoid(a - b))) == 2
    one, x = fb.ones(1), fb.tensor([3.0])
    assert fb.equal(two(one, x), fb.sigmoid(one - x) + fb.sigmoid(one - x * 2))


def test_what_others_read_inside_is_no_match() -> None:
    reader = fx.symbolic_trace(lambda x: x.neg().abs() + x.neg())
    assert len(fx.replace_pattern(reader, lambda a: a.neg().abs(), lambda a: a)) == 1
    shared = fx.symbolic_trace(lambda x: (lambda n: n.abs() + n)(x.neg()))
    assert fx.replace_pattern(shared, lambda a: a.neg().abs(), lambda a: a) == []
    found = SubgraphMatcher(fx.symbolic_trace(lambda a, b: fb.relu(a + b)).graph).match(fx.symbolic_trace(sums).graph)
    assert [(str(m.returning_nodes), str(m.placeholder_nodes)) for m in found] == [
        ("[relu]", "[x, y]"), ("[relu_1]", "[x, mul]")
    ]  # fmt: skip


def test_matches_that_stand_in_each_other_and_filters() -> None:
    chain = fx.symbolic_trace(lambda x: x.abs().abs().abs())
    assert len(fx.replace_pattern(chain, lambda a: a.abs(), lambda a: a.neg())) == 3
    assert chain(fb.ones(1)).item() == -1
    literal = fx.symbolic_trace(lambda x: (x * 2 + 1) * 3)
    same = [r.anchor.name for r in replace_pattern_with_filters(
        literal, lambda a: a * 7, lambda a: -a, ignore_literals=True,
        match_filters=[lambda match, graph, pattern: match.returning_nodes[0].name == "mul_1"])]  # fmt: skip
    assert len(same) == 1 and literal(fb.ones(1)).item() == -3


def test_a_replacement_brings_its_modules() -> None:
    class New(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            return self.scale(x)

    old = fx.symbolic_trace(Model())
    fx.replace_pattern(old, fx.symbolic_trace(nn.Sequential(nn.ReLU())), fx.symbolic_trace(New()))
    assert [n for n, _ in old.named_children()] == ["linear", "scale"] and old(fb.ones(2, 3)).ndim == 0


def test_shapes_are_found(traced: Any) -> None:
    ShapeProp(traced).propagate(fb.ones(2, 3))
    found = {n.name: n.meta["tensor_meta"] for n in traced.graph.nodes}
    assert found["cat"].shape == (4, 3) and found["cat"].memory_format is fb.contiguous_format
    assert found["expand"].stride == (0, 1) and found["expand"].memory_format is None
    assert found["output"].dtype is fb.float32 and not found["x"].requires_grad and found["mul"].requires_grad
    with pytest.raises(RuntimeError, match="node=%linear"):
        ShapeProp(traced).propagate(fb.ones(2, 4))


def test_a_module_in_parts(traced: Any) -> None:
    names: dict[str, str] = {}
    parts = split_module(traced, traced, lambda n: 0 if n.name in ("linear", "relu") else 1, names)
    assert [n for n, _ in parts.named_children()] == ["submod_0", "submod_1"]
    assert names == {"submod_0.linear": "linear", "submod_0.relu": "relu"}
    assert "submod_1 = self.submod_1(w, submod_0);  w = submod_0 = None" in parts.code
    x = fb.randn(2, 3)
    assert fb.equal(parts(x), traced(x))
    with pytest.raises(RuntimeError, match="cycle"):
        split_module(traced, traced, lambda n: n.name == "cat")


def test_written_to_a_folder_and_imported(traced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced.to_folder(tmp_path / "written_program", "Program")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = importlib.import_module("written_program").Program()
    sys.modules.pop("written_program")
    x = fb.randn(2, 3)
    assert fb.equal(made(x), traced(x))


def test_functions_of_other_modules_are_imported_by_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = fx.Tracer(autowrap_functions=(sums,)).trace(lambda x: sums(x, x) + 1)
    fx.GraphModule(nn.Module(), graph).to_folder(tmp_path / "written_call")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = importlib.import_module("written_call").FxModule()
    sys.modules.pop("written_call")
    x = fb.randn(2, 3)
    assert fb.equal(made(x), sums(x, x) + 1)


def test_functions_that_stay_one_call() -> None:
    graph = fx.Tracer(autowrap_functions=(sums,)).trace(lambda x: sums(x, x) + 1)
    assert next(n.target for n in graph.nodes if n.op == "call_function") is sums
