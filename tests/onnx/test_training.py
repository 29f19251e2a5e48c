"""Models from files train as the same models in flambeau do."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")  # an extra

from onnx import TensorProto, helper, numpy_helper

import flambeau as fb
from flambeau import nn

DEVICES = ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))]


def written(nodes, module, x, y):
    """A model of these nodes, whose initialisers are the tensors of a module."""
    tensors = [numpy_helper.from_array(v.detach().numpy(), k) for k, v in module.state_dict().items() if v.ndim]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def mlp():
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    node = helper.make_node
    return net, written(
        [
            node("Gemm", ["x", "0.weight", "0.bias"], ["h"], transB=1),
            node("Tanh", ["h"], ["t"]),
            node("Gemm", ["t", "2.weight", "2.bias"], ["y"], transB=1),
        ],
        net,
        ["n", 8],
        ["n", 3],
    )


def convnet():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )  # fmt: skip
    node = helper.make_node
    return net, written(
        [
            node("Conv", ["x", "0.weight", "0.bias"], ["c"], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["c", "1.weight", "1.bias", "1.running_mean", "1.running_var"], ["b"]),
            node("Relu", ["b"], ["r"]),
            node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["m"], ["f"]),
            node("Gemm", ["f", "5.weight", "5.bias"], ["y"], transB=1),
        ],
        net,
        ["n", 2, 4, 4],
        ["n", 3],
    )


def losses(net, x, target, device):
    net = net.to(device).train()
    optimizer = fb.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    found = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x.to(device)), target.to(device))
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("made", "shape"), [(mlp, (32, 8)), (convnet, (32, 2, 4, 4))])
def test_losses_of_the_native_model(made, shape, device):
    fb.manual_seed(0)
    net, data = made()
    x, target = fb.randn(*shape), fb.randint(0, 3, (32,))
    read = fb.onnx.load(data)
    assert sum(p.numel() for p in read.parameters()) == sum(p.numel() for p in net.parameters())
    got, want = losses(read, x, target, device), losses(net, x, target, device)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert want[-1] < want[0]
    with fb.no_grad():  # the running statistics are the same too
        got, want = (m.eval()(x.to(device)).cpu().numpy() for m in (read, net))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_have_the_gates_of_flambeaus_own(kind, both):
    """ONNX has the gates in another order; with these changed back, outputs and gradients are the same."""
    fb.manual_seed(1)
    layer = getattr(nn, kind)(4, 5, bidirectional=both)
    order = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}[kind]
    ends = ("", "_reverse")[: 1 + both]

    def gathered(name):
        parts = [getattr(layer, f"{name}_l0{end}").detach().numpy() for end in ends]
        return np.stack([np.concatenate([np.split(p, len(order))[i] for i in order]) for p in parts])

    values = {
        "w": gathered("weight_ih"),
        "r": gathered("weight_hh"),
        "b": np.concatenate([gathered("bias_ih"), gathered("bias_hh")], 1),
    }
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    direction = "bidirectional" if both else "forward"
    node = helper.make_node(kind, ["x", "w", "r", "b"], ["y", "last"], hidden_size=5, direction=direction, **more)
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y", "last")]
    tensors = [numpy_helper.from_array(v, k) for k, v in values.items()]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], tensors)
    module = fb.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    x = fb.randn(6, 3, 4)
    out, state = layer(x)
    y, last = module(x)
    np.testing.assert_allclose(
        y.permute(0, 2, 1, 3).reshape(out.shape).detach().numpy(), out.detach().numpy(), rtol=1e-5, atol=1e-6
    )
    want = (state[0] if kind == "LSTM" else state).detach().numpy()
    np.testing.assert_allclose(last.detach().numpy(), want, rtol=1e-5, atol=1e-6)
    out.sum().backward()
    y.sum().backward()
    got = module.get_parameter("b").grad[0, : len(order) * 5].numpy()
    own = layer.bias_ih_l0.grad.numpy()
    np.testing.assert_allclose(got, np.concatenate([np.split(own, len(order))[i] for i in order]), rtol=1e-4, atol=1e-5)
