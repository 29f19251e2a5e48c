"""Graphs of models for TensorBoard: modules, ops, shapes and edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn

pytest.importorskip("tensorboard")

from flambeau.utils.tensorboard import SummaryWriter
from flambeau.utils.tensorboard._pytorch_graph import graph


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.head = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, x: fb.Tensor, y: fb.Tensor) -> Any:
        x = self.conv(x).relu().mean((2, 3))
        return self.head(x + y), x.sum()


class Of(nn.Module):
    """A model of one function."""

    def __init__(self, fn: Callable[[fb.Tensor], Any]):
        super().__init__()
        self.fn = fn

    def forward(self, x: fb.Tensor) -> Any:
        return self.fn(x)


def nodes(model: nn.Module, *args: Any) -> dict[str, tuple[str, ...]]:
    """By name what each comes from."""
    return {n.name: tuple(n.input) for n in graph(model, args)[0].node}


def shape_of(node: Any) -> tuple[int, ...]:
    return tuple(d.size for d in node.attr["_output_shapes"].list.shape[0].dim)


def test_the_graph_has_the_modules_and_shapes_of_pytorch() -> None:
    made = graph(Net(), (fb.ones(2, 1, 5, 5), fb.ones(2, 2)))[0]
    ops = [n for n in made.node if n.op.startswith("aten::")]
    assert [(n.name.rpartition("/")[0], n.op, shape_of(n)) for n in ops[1:]] == [
        ("Net", "aten::relu", (2, 2, 3, 3)), ("Net", "aten::mean", (2, 2)), ("Net", "aten::add", (2, 2)),
        ("Net/Sequential[head]/Linear[0]", "aten::linear", (2, 4)),
        ("Net/Sequential[head]/ReLU[1]", "aten::relu", (2, 4)),
        ("Net/Sequential[head]/Linear[2]", "aten::linear", (2, 3)), ("Net", "aten::sum", ()),
    ]  # fmt: skip
    first = ops[0]
    assert (first.name.rpartition("/")[0], shape_of(first)) == ("Net/Conv2d[conv]", (2, 2, 3, 3))
    assert list(first.input) == ["input/x", "Net/Conv2d[conv]/weight", "Net/Conv2d[conv]/bias"]
    ends = [(n.name, list(n.input)) for n in made.node if n.op == "IO Node"]
    assert ends == [
        ("input/x", []), ("input/y", []), ("output/output.1", [ops[-2].name]), ("output/output.2", ["Net/sum"]),
    ]  # fmt: skip
    assert made.versions.producer == 22


def test_edges_follow_views_writes_and_memory() -> None:
    def written(x: fb.Tensor) -> fb.Tensor:
        y = x * 2
        y[0] = 1.0
        y.add_(3)
        return y.exp()

    found = nodes(Of(written), fb.ones(2, 3))
    assert found["Of/copy_"] == ("Of/basic_index", "Of/constant") and found["Of/basic_index"] == ("Of/mul",)
    assert found["Of/add_"] == ("Of/mul", "Of/copy_") and found["Of/exp"] == ("Of/add_",)

    def into(x: fb.Tensor) -> fb.Tensor:
        y = fb.empty(2, 3)
        fb.exp(x, out=y)
        return y + 1

    assert nodes(Of(into), fb.ones(2, 3))["Of/add"] == ("Of/empty", "Of/exp")
    unseen: list[Callable[[fb.Tensor], Any]] = [
        lambda x: x.exp().detach() + 1,
        lambda x: fb.from_numpy(x.exp().numpy()) + 1,
        lambda x: fb.utils.checkpoint.checkpoint(fb.exp, x, use_reentrant=False) + 1,
    ]
    for fn in unseen:
        assert nodes(Of(fn), fb.ones(2, 3))["Of/add"] == ("Of/exp",)
    mapped = nodes(Of(lambda x: fb.vmap(lambda row: row.sum() * 2)(x.exp()) + 1), fb.ones(2, 3))
    assert (mapped["Of/sum"], mapped["Of/mul"], mapped["Of/add"]) == (("Of/exp",), ("Of/sum",), ("Of/mul",))


def test_a_graph_leaves_the_model_as_it_was_and_names_what_is_used_twice() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.BatchNorm1d(2), nn.Dropout(0.5), shared)
    model[2].eval()
    state = fb.random.get_rng_state()
    found = nodes(model, fb.ones(4, 2))
    assert found["Sequential/Linear[0]/linear_1"][1:] == found["Sequential/Linear[0]/linear"][1:]
    assert "Sequential/BatchNorm1d[1]/running_mean" in found and not any("dropout" in name for name in found)
    assert [m.training for m in model] == [True, True, False, True] and model.training
    assert model[1].num_batches_tracked == 0 and (fb.random.get_rng_state() == state).all()
    assert not shared._forward_hooks and not shared._forward_pre_hooks
    with pytest.raises(RuntimeError, match="forward of Sequential fails on the inputs"):
        graph(model, fb.ones(4, 3))
    assert model.training and not shared._forward_hooks


def test_outputs_and_inputs_in_containers(capsys: pytest.CaptureFixture[str]) -> None:
    model = Of(lambda d: {"sum": d["a"] + d["b"][0], "same": [d["a"]]})  # type: ignore[index]
    made = graph(model, {"a": fb.ones(2), "b": (fb.ones(2),)}, verbose=True)[0]
    assert [(n.name, list(n.input)) for n in made.node] == [
        ("input/x.0", []), ("input/x.1", []), ("Of/add", ["input/x.0", "input/x.1"]),
        ("output/output.1", ["Of/add"]), ("output/output.2", ["input/x.0"]),
    ]  # fmt: skip
    assert "Of/add = aten::add(input/x.0, input/x.1)" in capsys.readouterr().out


BAD: list[tuple[Any, Any, type[Exception], str]] = [
    (lambda x: x, fb.ones(2), TypeError, "must be a Module, got function"),
    (nn.Linear(2, 3), None, ValueError, "input_to_model is needed"),
    (nn.Linear(2, 3), (1, 2, 3), TypeError, "does not take the inputs"),
    (Of(lambda x: x @ x), fb.ones(2, 3), RuntimeError, "forward of Of fails .* matmul"),
    (Of(lambda x: 3), fb.ones(2), ValueError, "gives no tensor, but int"),
]


@pytest.mark.parametrize(("model", "inputs", "kind", "match"), BAD)
def test_what_has_no_graph(tmp_path: Path, model: Any, inputs: Any, kind: type[Exception], match: str) -> None:
    with SummaryWriter(tmp_path) as w, pytest.raises(kind, match=match):
        w.add_graph(model, inputs)
