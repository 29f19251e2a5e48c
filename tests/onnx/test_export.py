"""What ``flambeau.onnx.export`` writes: right in onnxruntime, and again in flambeau; names, folding, files, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.export import Dim
from flambeau.utils import _pytree as pytree
from tests.onnx.exported_models import MODELS, images, numbers
from tests.onnx.exported_ops import table

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def off(found: Any, wanted: Any) -> float:
    """The largest difference, relative to the largest element."""
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(wanted), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def kinds(made: Any) -> list[str]:
    return [node.op_type for node in made.model_proto.graph.node]


def at(x: fb.Tensor, batch: int) -> fb.Tensor:
    """The rows of an example over and over, and not the same in each."""
    rows = np.resize(x.numpy(), (batch, *x.shape[1:]))
    return fb.tensor(rows[::-1].copy())


@pytest.mark.parametrize("name", MODELS)
def test_models_agree_at_three_batch_sizes_there_and_back(name: str) -> None:
    """In onnxruntime, and in flambeau after it read the model that it wrote."""
    make, example, opset = MODELS[name]
    fb.manual_seed(3)
    model, x = make().eval(), example()
    made = fb.onnx.export(model, (x,), dynamic_shapes=({0: Dim("batch", min=1)},), opset_version=opset, verify=True,
                          tolerance=1e-5)  # fmt: skip
    back = fb.onnx.load(made.model_proto)
    with fb.no_grad():
        for batch in (1, 3, 7):
            given = at(x, batch)
            wanted = model(given)
            assert off(made(given), wanted) <= 1e-5
            assert off(back(given), wanted) <= 1e-5


def test_single_nodes_stand_for_layers() -> None:
    """What ONNX has a node for is one."""
    make, example, _ = MODELS["gpt"]
    found = kinds(fb.onnx.program(make(), (example(),)))
    assert {"Attention", "LayerNormalization", "Gelu", "Gather"} <= set(found)
    for kind in ("LSTM", "GRU", "RNN"):
        layer = getattr(nn, kind)(2, 3)
        assert kinds(fb.onnx.program(layer, (numbers(4, 1, 2),))).count(kind) == 1


def test_batch_norm_is_folded_into_the_convolution() -> None:
    """And stays where folding is off, or where something else reads the convolution."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval()
    net[1].running_mean.uniform_(-1, 1), net[1].running_var.uniform_(0.5, 2), net[1].weight.data.uniform_(0.5, 2)
    made = fb.onnx.export(net, (images(3, 6),), verify=True, tolerance=1e-5)
    assert kinds(made) == ["Conv"]
    assert kinds(fb.onnx.program(net, (images(3, 6),), do_constant_folding=False)) == ["Conv", "BatchNormalization"]

    def both(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        y = net[0](x)
        return y, net[1](y)

    assert "BatchNormalization" in kinds(fb.onnx.export(both, (images(3, 6),), verify=True, tolerance=1e-5))


def test_a_convolution_used_twice_keeps_its_weight() -> None:
    """Folding one use would change the other."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
            self.norm.running_var.fill_(4.0)

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            return self.norm(self.conv(x)) + self.conv(x * 2)

    fb.onnx.export(Twice().eval(), (images(2, 4),), verify=True, tolerance=1e-5)


def test_names_and_modes() -> None:
    """Initialisers are called as in the state dict; the model is afterwards as it was."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    made = fb.onnx.export(net, (numbers(2, 3),), input_names=["data"], output_names=["scores"],
                          dynamic_axes={"data": {0: "batch"}, "scores": {0: "batch"}})  # fmt: skip
    graph = made.model_proto.graph
    assert {t.name for t in graph.initializer} == set(net.state_dict())
    assert [v.name for v in (*graph.input, *graph.output)] == ["data", "scores"]
    for value in (graph.input[0], graph.output[0]):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert all(m.training for m in net.modules())


def test_two_dimensions_and_sizes_that_follow_from_them() -> None:
    """Shapes are computed from those of the inputs."""

    def cut(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        n, steps = x.shape[0], x.shape[1]
        flat = (x * 2).reshape(n * steps, -1) / steps
        return flat + fb.arange(n * steps).unsqueeze(1), x[:, : (steps + 1) // 2], x[:, -1], fb.full((n, 2), 3.0)

    batch, length = Dim("batch", min=1), Dim("length", min=2)
    made = fb.onnx.export(cut, (numbers(3, 6, 2),), dynamic_shapes=({0: batch, 1: length},), verify=True)
    for shape in ((1, 2, 2), (4, 7, 2), (2, 9, 2)):
        assert off(made(numbers(*shape)), cut(numbers(*shape))) <= 1e-6


def test_branches_are_if_nodes() -> None:
    """They read the values around them, also those whose names change."""

    def choose(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        y = x * 2
        return fb.cond(x.sum() > 0, lambda x: (y + x.shape[0], x), lambda x: (y.sum(1, keepdim=True) - x, y), (x,))

    made = fb.onnx.export(choose, (numbers(3, 2),), input_names=["given"], output_names=["a", "b"],
                          dynamic_shapes=({0: Dim("batch", min=1)},), verify=True)  # fmt: skip
    assert "If" in kinds(made)
    for x in (numbers(4, 2).abs(), -numbers(5, 2).abs()):
        assert off(made(x), choose(x)) <= 1e-6
        assert off(fb.onnx.load(made.model_proto)(x), choose(x)) <= 1e-6


def test_small_matrices() -> None:
    """Elimination swaps rows where it must, and a singular matrix has the determinant zero."""
    rows = np.random.default_rng(5).standard_normal((3, 5, 5), "f")
    rows[0, 0, 0], rows[2, 1] = 0.0, 0.0
    rows[2, 3] = rows[2, 4]
    given, right = fb.tensor(rows), numbers(3, 5, 2)

    def computed(a: fb.Tensor, b: fb.Tensor) -> tuple[fb.Tensor, ...]:
        good = a[:2]
        squares = a @ a.mT + fb.eye(5)
        solved = (
            fb.linalg.solve(good, b[:2]),
            fb.linalg.inv(good),
            fb.linalg.solve_triangular(a.triu() + 3 * fb.eye(5), b, upper=True),
        )
        return *solved, fb.linalg.cholesky(squares), *fb.linalg.slogdet(good)

    made = fb.onnx.program(computed, (given, right))
    for found, wanted in zip(made(given, right), computed(given, right), strict=True):
        assert off([found], [wanted]) <= 1e-4
    sign, size = fb.onnx.program(lambda a: tuple(fb.linalg.slogdet(a)), (given,))(given)
    assert sign[2] == 0 and size[2] == -np.inf


def test_whole_numbers_round_down() -> None:
    """As torch's do, not as those of ONNX."""
    x = fb.tensor([-7, -6, 7, 6, 5])
    y = fb.tensor([2, -4, -3, 3, 2])

    def divided(x: fb.Tensor, y: fb.Tensor) -> list[fb.Tensor]:
        return [
            x // y,
            x % y,
            fb.fmod(x, y),
            x / y,
            x & y,
            x | y,
            ~x,
            x.float() // y,
            fb.div(x, y, rounding_mode="trunc"),
        ]

    made = fb.onnx.program(divided, (x, y))
    for found, wanted in zip(made(x, y), divided(x, y), strict=True):
        assert found.dtype is wanted.dtype
        assert fb.equal(found, wanted)


def test_files_of_their_own_for_tensors(tmp_path: Path) -> None:
    """Above the bound, which may be lower than that of protobuf."""
    net, x = nn.Linear(64, 64), numbers(2, 64)
    fb.onnx.export(net, (x,), tmp_path / "one.onnx")
    fb.onnx.export(net, (x,), tmp_path / "two.onnx", size_limit=1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.onnx", "two.onnx", "two.onnx.data"]
    assert (tmp_path / "two.onnx").stat().st_size < 2000
    for name in ("one.onnx", "two.onnx"):
        assert off(fb.onnx.load(tmp_path / name)(x), net(x)) <= 1e-6
    whole = fb.onnx.program(net, (x,))
    assert len(whole.model_proto.graph.initializer[0].raw_data) > 0


def test_models_that_no_message_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run from files, and are saved in two."""
    monkeypatch.setattr("flambeau.onnx.onnx_program.LIMIT", 1000)
    net, x = nn.Linear(64, 64), numbers(2, 64)
    made = fb.onnx.export(net, (x,), tmp_path / "two.onnx", verify=True)
    assert (tmp_path / "two.onnx.data").exists()
    with pytest.raises(fb.onnx.OnnxError, match="needs external_data"):
        made.save(tmp_path / "one.onnx", external_data=False)


def test_refusals_name_op_line_and_module() -> None:
    """Every op that has no form, at once."""

    class Solver(nn.Module):
        def forward(self, x: fb.Tensor) -> fb.Tensor:
            return fb.linalg.svdvals(x) + fb.linalg.eigvalsh(x)

    with pytest.raises(fb.onnx.UnsupportedOpError) as error:
        fb.onnx.program(nn.Sequential(nn.Identity(), Solver()), (numbers(3, 3),))
    assert all(word in str(error.value) for word in ("svdvals", "eigh", "test_export.py", "in 1"))
    with pytest.raises(fb.onnx.UnsupportedOpError, match="random"):
        fb.onnx.program(lambda x: fb.nn.functional.dropout(x, 0.5, True), (numbers(3),))
    with pytest.raises(ValueError, match="18 to 23"):
        fb.onnx.program(nn.Identity(), (numbers(3),), opset_version=12)
    with pytest.raises(fb.onnx.OnnxError, match="'count'"):
        fb.onnx.program(_counting(), (numbers(3),))


def _counting() -> nn.Module:
    class Counting(nn.Module):
        count: fb.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", fb.zeros(1))

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            self.count += 1
            return x + self.count

    return Counting()


def test_verify_finds_a_wrong_model() -> None:
    """A model whose weights were changed."""
    made = fb.onnx.program(nn.Linear(3, 2), (numbers(2, 3),))
    assert made.verify() == {"output": pytest.approx(0, abs=1e-6)}
    bias = made.model_proto.graph.initializer[1]
    bias.CopyFrom(onnx.numpy_helper.from_array(np.ones(2, "f") * 9, bias.name))
    with pytest.raises(fb.onnx.OnnxError, match="output by"):
        made.verify()


def test_outputs_that_are_inputs_and_parameters() -> None:
    """Each output has a name of its own."""
    weight = nn.Linear(2, 2)

    def same(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        y = x + 1
        return x, y, y, weight.weight * 1.0

    made = fb.onnx.export(same, (numbers(2, 2),), output_names=["constant", "Add"], verify=True)
    assert len({o.name for o in made.model_proto.graph.output}) == 4
    with pytest.raises(ValueError, match="one name"):
        fb.onnx.program(same, (numbers(2, 2),), input_names=["a"], output_names=["a"])


def test_torch_onnx_export(tmp_path: Path) -> None:
    """Under torch's name: a lone argument, a file, and a program with ``dynamo`` only."""
    from flambeau.compat.torch.onnx import export

    net, x = nn.Linear(3, 2), numbers(4, 3)
    assert export(net, x, tmp_path / "a.onnx", input_names=["x"], dynamic_axes={"x": [0]}, dynamo=False) is None
    made = export(net, (x,), opset_version=20, dynamo=True)
    assert made is not None and made.model_proto.opset_import[0].version == 20
    assert off(fb.onnx.load(tmp_path / "a.onnx")(x[:1]), net(x[:1])) <= 1e-6


@pytest.mark.slow
def test_every_op_agrees_or_is_refused_by_name() -> None:
    """The first float32 sample of each op of the database."""
    found = table()
    assert not found["wrong"], found["wrong"]
    assert set(found["refused"]) <= REFUSED
    assert len(found["agree"]) >= 0.9 * (len(found["agree"]) + len(found["refused"]))


#: Ops that have no form in ONNX: random and complex numbers, decompositions, what only gradients read.
REFUSED = {
    "dropout_mask", "eig", "eigh", "fft_r2c", "integer_numbers", "lstm_sequence", "lu_factor", "matrix_exp",
    "normal_numbers", "permutation", "pinv", "pinv_within", "qr", "random_bits", "svd", "svdvals", "uniform_numbers",
    "view_as_complex",
}  # fmt: skip
