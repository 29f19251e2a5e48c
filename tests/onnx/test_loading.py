"""Loading: what a module has, what it takes, how files that are wrong are refused, and subgraphs and functions."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")  # an extra

from onnx import TensorProto, helper, numpy_helper, parser

import flambeau as fb
from flambeau.onnx import OnnxError, UnsupportedOpError
from flambeau.onnx.ops import control
from tests.onnx import fuzzing

DEVICES = ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))]
HEAD = '<ir_version: 10, opset_import: ["": 21]>'


def load(text, head=HEAD):
    return fb.onnx.load(parser.parse_model(f"{head} {text}").SerializeToString())


def test_weights_are_parameters_under_their_names():
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["h"], transB=1),
                helper.make_node("BatchNormalization", ["h", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["n"]),
                helper.make_node("Mul", ["n", "scale"], ["m"]),
                helper.make_node("Gather", ["m", "places"], ["y"], axis=1),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(np.ones(shape, np.float32), name)
                for name, shape in [
                    ("fc.weight", (2, 3)), ("fc.bias", (2,)), ("bn.scale", (2,)), ("bn.bias", (2,)),
                    ("bn.mean", (2,)), ("bn.var", (2,)), ("scale", ()),
                ]
            ]
            + [numpy_helper.from_array(np.zeros((1, 1), np.int64), "places")],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
    )  # fmt: skip
    module = fb.onnx.load(model)
    assert [n for n, _ in module.named_parameters()] == ["fc.weight", "fc.bias", "bn.scale", "bn.bias"]
    assert [n for n, _ in module.named_buffers()] == ["scale", "places", "bn.mean", "bn.var"]
    assert not module.training and [e.name for e in module.inputs] == ["x"]
    assert module.inputs[0].shape == ("n", 3) and module.inputs[0].dtype == "float32"
    again = fb.onnx.load(model)
    again.load_state_dict({k: v * 2 for k, v in module.state_dict().items()})
    assert again.get_parameter("fc.bias").tolist() == [2.0, 2.0]


def test_inputs_by_place_and_by_name():
    module = load("g (float[n] x, float[n] y) => (float[n] z) { z = Sub(x, y) }")
    x, y = fb.tensor([3.0]), fb.tensor([1.0])
    assert module(x, y).tolist() == module(y=y, x=x).tolist() == module(x.numpy(), y=y).tolist() == [2.0]
    for args, kwargs, text in [
        ((x,), {}, "input 'y' is missing"),
        ((x, y, y), {}, "takes 2 inputs"),
        ((x,), {"x": y}, "'x' is given twice"),
        ((x, y), {"w": y}, "no input 'w'"),
    ]:
        with pytest.raises(TypeError, match=text):
            module(*args, **kwargs)
    with pytest.raises(OnnxError, match="the input 'x' takes float32, not int64"):
        module(fb.tensor([1]), y)
    with pytest.raises(OnnxError, match=r"the input 'x' takes the shape \('n',\), not \(1, 1\)"):
        module(fb.ones(1, 1), y)


@pytest.mark.parametrize("device", DEVICES)
def test_runs_on_devices(device):
    data = fuzzing.model().SerializeToString()
    here = fb.onnx.load(data)
    there = fb.onnx.load(data).to(device)
    want = here(*fuzzing.inputs())
    got = there(*[x.to(device) for x in fuzzing.inputs()])
    for a, b in zip(got, want, strict=True):
        assert a.device.type == device
        np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_inner_graphs_see_what_is_around_them():
    module = load("""g (float[n] x, bool more) => (float[n] y) {
        two = Constant <value = float {2.0}> ()
        y = If (more) <
            then_branch = a () => (float[n] t) { s = Add(x, two)  t = Mul(s, two) },
            else_branch = b () => (float[n] e) { e = Identity(x) }>
    }""")
    assert module(fb.tensor([1.0]), fb.tensor(True)).tolist() == [6.0]
    assert module(fb.tensor([1.0]), fb.tensor(False)).tolist() == [1.0]


def test_functions_of_the_file():
    head = '<ir_version: 10, opset_import: ["": 21, "mine": 1]>'
    text = """g (float[n] x) => (float[n] y) { y = mine.outer <by = 3.0> (x) }
    <domain: "mine", opset_import: ["": 21, "mine": 1]>
    outer <by> (v) => (w) { t = mine.times <factor: float = @by> (v)  w = mine.times (t) }
    <domain: "mine", opset_import: ["": 21]>
    times <factor: float = 2.0> (v) => (w) { c = Constant <value_float: float = @factor> ()  w = Mul(v, c) }"""
    assert load(text, head)(fb.tensor([1.0])).tolist() == [6.0]
    circle = text.replace("{ c = Constant <value_float: float = @factor> ()  w = Mul(v, c) }", "{ w = mine.outer(v) }")
    with pytest.raises(OnnxError, match="calls itself"):
        load(circle.replace('["": 21]>\n    times', '["": 21, "mine": 1]>\n    times'), head)


def test_shapes_stay_on_the_host():
    """A chain from Shape to Reshape runs no kernel, and the same module takes every size."""
    module = load("""g (float[n, m, k] x) => (float[a, b] y)
        <int64[1] zero = {0}, int64[1] last = {2}, int64[1] rest = {-1}> {
        s = Shape(x)  first = Gather(s, zero)  third = Gather(s, last)  both = Mul(first, third)
        target = Concat <axis = 0> (both, rest)
        y = Reshape(x, target)
    }""")
    seen = []
    x = fb.ones(2, 3, 4)
    with fb.profiler.profile() as profile:
        seen.append(module(x).shape)
    assert seen == [(8, 3)] and module(fb.ones(1, 5, 2)).shape == (2, 5)
    assert not {"mul", "cat", "index_select"} & {event.key for event in profile.key_averages()}


def test_texts_and_numbers_of_four_bits():
    module = load("""g (string[n] x, float[n] v) => (string[m] y, int4[n] w) <int64[1] at = {1}> {
        y = Gather(x, at)  w = Cast <to = 22> (v)
    }""")
    words, small = module(np.array(["a", "é"], dtype=object), fb.tensor([1.0, -8.0]))
    assert words.tolist() == ["é"] and small.astype(np.int32).tolist() == [1, -8]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("g (float[n] x) => (float[n] y) { y = Add(x, w) }", r"\(Add of ai.onnx\): nothing .* makes its input 'w'"),
        ("g (float[n] x) => (float[n] y) { a = Neg(y)  y = Neg(a) }", "input 'y', or the graph goes in a circle"),
        ("g (float[n] x) => (float[n] y) { z = Neg(x) }", "nothing makes its output 'y'"),
        ("g (float[n] x) => (float[n] y) { y = Neg(x)  y = Abs(x) }", "the name 'y' is made twice"),
        ("g (float[n] x) => (float[n] y) { y = Neg(x, x) }", "has 2 inputs, where 1 to 1 are wanted"),
        ("g (float[n] x) => (float[n] y) { y = Neg <axis = 1> (x) }", "has no attribute 'axis'"),
        ("g (float[n] x) => (float[n] y) { y = Concat <axis = 1.5> (x) }", "the attribute 'axis' has the wrong type"),
        ("g (float[n] x) => (float[n] y) { y = Concat (x) }", "lacks the attribute 'axis'"),
    ],
)  # fmt: skip
def test_graphs_that_are_wrong(text, says):
    with pytest.raises(OnnxError, match=says):
        load(text)


def test_ops_that_are_not_supported_are_named():
    node = helper.make_node("ImageDecoder", ["x"], ["y"], name="decoder")
    io = [helper.make_tensor_value_info(n, TensorProto.UINT8, None) for n in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "g", io[:1], io[1:]), opset_imports=[helper.make_opsetid("", 20)]
    )
    with pytest.raises(
        UnsupportedOpError, match=r"node 'decoder' \(ImageDecoder, version 20 of ai.onnx\) has no mapping"
    ):
        fb.onnx.load(model)
    with pytest.raises(UnsupportedOpError, match="version 999 of the domain is not known"):
        load("g (float[n] x) => (float[n] y) { y = Neg(x) }", '<ir_version: 10, opset_import: ["": 999]>')
    with pytest.raises(UnsupportedOpError, match=r"'' \(Neg of ours\): the model imports no version"):
        load("g (float[n] x) => (float[n] y) { y = ours.Neg(x) }")


def test_errors_of_a_run_name_the_node():
    module = load("g (float[n] x, float[m] y) => (float[k] z) { z = Add(x, y) }")
    says = r"node that makes 'z' \(Add, version 14 of ai.onnx\) on float32 of shape \(2,\), float32 of shape \(3,\)"
    with pytest.raises(OnnxError, match=says):
        module(fb.ones(2), fb.ones(3))
    huge = load("g (int64[2] s) => (float[a, b] y) { y = ConstantOfShape(s) }")
    with pytest.raises(OnnxError, match=r"ConstantOfShape.*no tensor of shape \(4611686018427387904, 4\) can be made"):
        huge(fb.tensor([1 << 62, 4]))


def test_tensors_whose_bytes_do_not_fit():
    for change, says in [
        (lambda t: t.ClearField("raw_data"), "has 0 numbers|has 0"),
        (lambda t: t.dims.append(1 << 40), "cannot have the shape"),
        (lambda t: t.dims.append(-1), "cannot have the shape"),
        (lambda t: setattr(t, "data_type", 99), "element type 99"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "takes 8 bytes, and has 7"),
    ]:
        model = parser.parse_model(HEAD + " g (float[n] x) => (float[n] y) { y = Mul(x, w) }")
        tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
        change(tensor)
        model.graph.initializer.append(tensor)
        with pytest.raises(OnnxError, match="tensor 'w'.*" + f"({says})"):
            fb.onnx.load(model.SerializeToString())


def external(folder, **entries):
    model = parser.parse_model(HEAD + " g (float[n] x) => (float[n] y) { y = Mul(x, w) }")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    model.graph.initializer.append(tensor)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_tensors_in_files_of_their_own(tmp_path):
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "w.bin").write_bytes(b"skip" + np.array([2, 3], np.float32).tobytes())
    path = external(folder, location="data/w.bin", offset=4, length=8)
    assert fb.onnx.load(path)(fb.ones(2)).tolist() == [2.0, 3.0]
    with pytest.raises(OnnxError, match="load the model by its path"):
        fb.onnx.load(path.read_bytes())
    (tmp_path / "secret").write_bytes(bytes(8))
    (folder / "link").symlink_to(tmp_path / "secret")
    for entries, says in [
        ({"location": "../secret"}, "not in the model's folder"),
        ({"location": str(tmp_path / "secret")}, "not in the model's folder"),
        ({"location": "link"}, "not in the model's folder"),
        ({"location": ""}, "not in the model's folder"),
        ({"location": "data/none"}, "is not there"),
        ({"location": "data/w.bin", "offset": 8, "length": 8}, "past the end"),
        ({"location": "data/w.bin", "offset": -4, "length": 8}, "past the end"),
        ({"location": "data/w.bin", "offset": "x"}, "whole numbers"),
        ({"location": "data/w.bin"}, "takes 8 bytes, and has 12"),
    ]:
        with pytest.raises(OnnxError, match=f"tensor 'w'.*{says}"):
            fb.onnx.load(external(folder, **entries))


def changed_outcomes(count, seed):
    model = fuzzing.model()
    data = model.SerializeToString()
    rng = np.random.default_rng(seed)
    found = [fuzzing.outcome(fuzzing.mutated(data, rng)) for _ in range(count)]
    return found + [fuzzing.outcome(fuzzing.changed(model, rng).SerializeToString()) for _ in range(count)]


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that a changed file makes infinite
def test_changed_files_fail_in_one_way(count, monkeypatch):
    """Whatever bytes or fields of a model are changed: it runs, or OnnxError says why not."""
    monkeypatch.setattr(control, "MOST_ROUNDS", 50)
    assert set(changed_outcomes(count, seed=count)) == {"refused", "fails", "runs"}
    with pytest.raises(OnnxError, match="the bytes given"):
        fb.onnx.load(b"no model")
