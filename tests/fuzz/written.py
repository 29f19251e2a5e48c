"""Valid calls of what has no example to take one from, by public path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as fb
from flambeau import nn

Call = tuple[tuple[Any, ...], dict[str, Any]]


def call(*args: Any, **kwargs: Any) -> Call:
    return args, kwargs


def x(*shape: int) -> fb.Tensor:
    return fb.ones(*(shape or (2, 3)))


def index(*values: int) -> fb.Tensor:
    return fb.tensor(values)


def square(t: fb.Tensor) -> fb.Tensor:
    return (t * t).sum()


def linear() -> nn.Linear:
    return nn.Linear(3, 2)


def layers() -> nn.Sequential:
    return nn.Sequential(linear(), nn.ReLU())


def sgd() -> fb.optim.SGD:
    return fb.optim.SGD([x(2).requires_grad_()], lr=0.1, momentum=0.9)


def step() -> fb.optim.lr_scheduler.StepLR:
    return fb.optim.lr_scheduler.StepLR(sgd(), 2)


def packed() -> Any:
    return nn.utils.rnn.pack_sequence([x(3, 2), x(2, 2)])


def hook(*args: Any) -> None:
    return None


rnn, par = nn.utils.rnn, nn.utils.parametrize
WRITTEN: dict[str, list[Callable[[], Call]]] = {
    "functional.hessian": [lambda: call(square, x(2))],
    "functional.hvp": [lambda: call(square, x(2), x(2))],
    "functional.jacobian": [lambda: call(fb.exp, x(2), vectorize=True)],
    "functional.jvp": [lambda: call(fb.exp, x(2), x(2))],
    "functional.vhp": [lambda: call(square, x(2), x(2))],
    "functional.vjp": [lambda: call(fb.exp, x(2), x(2))],
    "nn.RNNBase": [lambda: call("LSTM", 3, 4)],
    "nn.RNNBase()": [lambda: call(nn.LSTM(3, 4), x(5, 1, 3))],
    "rnn.PackedSequence": [lambda: call(x(3, 2), index(2, 1))],
    "rnn.invert_permutation": [lambda: call(index(1, 0))],
    "rnn.pack_padded_sequence": [lambda: call(x(3, 2, 2), index(3, 2), True, enforce_sorted=True)],
    "rnn.pack_sequence": [lambda: call([x(3, 2), x(2, 2)], True)],
    "rnn.pad_packed_sequence": [lambda: call(packed(), True, 0.0, None)],
    "rnn.unpack_sequence": [lambda: call(packed())],
    "rnn.unpad_sequence": [lambda: call(x(3, 2), index(3, 2), False)],
    "parametrize.is_parametrized": [lambda: call(linear(), "weight")],
    "parametrize.remove_parametrizations": [
        lambda: call(nn.utils.parametrizations.weight_norm(linear()), "weight", leave_parametrized=True)
    ],
    "lr_scheduler.ChainedScheduler": [lambda: call([step()])],
    "lr_scheduler.SequentialLR": [lambda: call((o := step()).optimizer, [o], [])],
    "data.DistributedSampler": [lambda: call([1, 2, 3], 2, 0, True, 0, False)],
    "checkpoint.checkpoint_sequential": [lambda: call(layers(), 2, x(1, 3), use_reentrant=False)],
    "Tensor.__array__": [lambda: call(x(), None)],
    "Tensor.__contains__": [lambda: call(x(), 1.0)],
    "Tensor.__deepcopy__": [lambda: call(x(), {})],
    "Tensor.__format__": [lambda: call(fb.tensor(1.5), ".2f")],
    "Tensor.__getitem__": [
        lambda: call(x(), 0),
        lambda: call(x(), (0, slice(None))),
        lambda: call(x(), index(0, 1)),
        lambda: call(x(), (slice(None), None, [0, 1])),
        lambda: call(x(), x() > 0),
    ],
    "Tensor.__setitem__": [
        lambda: call(x(), 0, 1.0),
        lambda: call(x(), (0, slice(None)), x(3)),
        lambda: call(x(), index(0, 1), x()),
        lambda: call(x(), x() > 0, 2),
    ],
    "Tensor.__rmatmul__": [lambda: call(x(), x(3, 2))],
    "Tensor.cauchy_": [lambda: call(x(), 0.0, 1.0)],
    "Tensor.exponential_": [lambda: call(x(), 1.0)],
    "Tensor.geometric_": [lambda: call(x(), 0.5)],
    "Tensor.log_normal_": [lambda: call(x(), 0.0, 1.0)],
    "Tensor.map_": [lambda: call(x(), x(), lambda a, b: a)],
    "Tensor.set_": [lambda: call(x(), x(3))],
    "Tensor.is_pinned": [lambda: call(x())],
    "Tensor.pin_memory": [lambda: call(x())],
    "Tensor.new_empty": [lambda: call(x(), (2, 3)), lambda: call(x(), 2, 3)],
    "Tensor.new_ones": [lambda: call(x(), (2, 3)), lambda: call(x(), 2, 3)],
    "Tensor.new_zeros": [lambda: call(x(), (2, 3)), lambda: call(x(), 2, 3)],
    "Tensor.new_empty_strided": [lambda: call(x(), (2, 3), (3, 1))],
    "Tensor.transpose_": [lambda: call(x(), 0, 1)],
    "Generator.manual_seed": [lambda: call(fb.Generator(), 3)],
    "Generator.set_offset": [lambda: call(fb.Generator(), 4)],
    "Generator.set_state": [lambda: call((g := fb.Generator()), g.get_state())],
    "Module.add_module": [lambda: call(linear(), "a", nn.ReLU())],
    "Module.apply": [lambda: call(layers(), hook)],
    "Module.get_buffer": [lambda: call(nn.BatchNorm1d(2), "running_mean")],
    "Module.get_parameter": [lambda: call(layers(), "0.weight")],
    "Module.get_submodule": [lambda: call(layers(), "0")],
    "Module.load_state_dict": [lambda: call((m := linear()), m.state_dict(), True)],
    "Module.named_parameters": [lambda: call(layers(), "a", True, True)],
    "Module.register_buffer": [lambda: call(linear(), "a", x(), True)],
    "Module.register_forward_hook": [lambda: call(linear(), hook, prepend=False)],
    "Module.register_forward_pre_hook": [lambda: call(linear(), hook)],
    "Module.register_full_backward_hook": [lambda: call(linear(), hook)],
    "Module.register_module": [lambda: call(linear(), "a", nn.ReLU())],
    "Module.register_parameter": [lambda: call(linear(), "a", nn.Parameter(x()))],
    "Module.requires_grad_": [lambda: call(linear(), False)],
    "Module.set_submodule": [lambda: call(layers(), "1", nn.Tanh())],
    "Module.state_dict": [lambda: call(layers(), prefix="a.", keep_vars=False)],
    "Module.to": [lambda: call(linear(), "cpu"), lambda: call(linear(), fb.float64), lambda: call(linear(), x())],
    "Module.to_empty": [lambda: call(linear(), device="cpu", recurse=True)],
    "Module.train": [lambda: call(linear(), True)],
    "Module.type": [lambda: call(linear(), fb.float64)],
    "Module.zero_grad": [lambda: call(linear(), True)],
    "Optimizer.add_param_group": [lambda: call(sgd(), {"params": [x(2)], "lr": 0.1})],
    "Optimizer.load_state_dict": [lambda: call((o := sgd()), o.state_dict())],
    "Optimizer.step": [lambda: call(sgd(), lambda: x(1))],
    "Optimizer.zero_grad": [lambda: call(sgd(), True)],
    "LRScheduler.load_state_dict": [lambda: call((s := step()), s.state_dict())],
    "LRScheduler.step": [lambda: call(step(), 3)],
    "ModuleList.__getitem__": [lambda: call(nn.ModuleList([linear()]), 0)],
    "ModuleList.__setitem__": [lambda: call(nn.ModuleList([linear()]), 0, linear())],
    "ModuleList.append": [lambda: call(nn.ModuleList([linear()]), linear())],
    "ModuleList.extend": [lambda: call(nn.ModuleList([linear()]), [linear()])],
    "ModuleList.insert": [lambda: call(nn.ModuleList([linear()]), 0, linear())],
    "ModuleList.pop": [lambda: call(nn.ModuleList([linear()]), 0)],
    "ModuleDict.__getitem__": [lambda: call(nn.ModuleDict({"a": linear()}), "a")],
    "ModuleDict.__setitem__": [lambda: call(nn.ModuleDict({"a": linear()}), "a", linear())],
    "ModuleDict.pop": [lambda: call(nn.ModuleDict({"a": linear()}), "a")],
    "ModuleDict.update": [lambda: call(nn.ModuleDict({"a": linear()}), {"a": linear()})],
    "Sequential.__getitem__": [lambda: call(layers(), 0), lambda: call(layers(), slice(1))],
    "Sequential.__setitem__": [lambda: call(layers(), 0, linear())],
    "Sequential.append": [lambda: call(layers(), linear())],
    "Sequential.extend": [lambda: call(layers(), [linear()])],
    "Sequential.insert": [lambda: call(layers(), 0, linear())],
    "Sequential.pop": [lambda: call(layers(), 0)],
    "DataLoader.load_state_dict": [lambda: call((d := fb.utils.data.DataLoader([1, 2])), d.state_dict())],
    "Size.__getitem__": [lambda: call(fb.Size([2, 3]), 0)],
    "Size.index": [lambda: call(fb.Size([2, 3]), 3)],
    "Size.count": [lambda: call(fb.Size([2, 3]), 3)],
    "nn.MaxUnpool1d()": [lambda: call(nn.MaxUnpool1d(2), *nn.MaxPool1d(2, return_indices=True)(x(1, 1, 4)))],
    "nn.MaxUnpool2d()": [lambda: call(nn.MaxUnpool2d(2), *nn.MaxPool2d(2, return_indices=True)(x(1, 1, 4, 4)))],
    "nn.Sequential()": [lambda: call(layers(), x(2, 3))],
    "nn.Sequential": [lambda: call(linear(), nn.ReLU())],
    "nn.ModuleList": [lambda: call([linear(), nn.ReLU()])],
    "nn.ModuleDict": [lambda: call({"a": linear()})],
    "nn.ParameterList": [lambda: call([x(2)])],
    "nn.ParameterDict": [lambda: call({"a": x(2)})],
    "fb.save": [lambda: call({"a": x()}, "a.fb")],
    "fb.load": [lambda: call("a.fb", map_location="cpu")],
    "Tensor.index_copy_": [lambda: call(x(), 0, index(0, 1), x())],
    "Tensor.scatter_add_": [lambda: call(x(), 0, fb.zeros(2, 3, dtype=fb.int64), x())],
    "Tensor.index_fill_": [lambda: call(x(), 0, index(0, 1), 2.0)],
    "Tensor.index_reduce_": [lambda: call(x(), 0, index(0, 1), x(), "prod")],
    "Tensor.put_": [lambda: call(x(), index(0, 1), x(2))],
    "Tensor.masked_scatter_": [lambda: call(x(), x() > 0, x())],
}
