"""What users do wrong, and what they must be told: the type of the error, and the words that it contains.

One table. A text names the op, the argument, the shapes, dtypes or devices, and what would help.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.nn import functional as F


def f(*shape: int) -> fb.Tensor:
    return fb.zeros(*shape)


def leaf(*shape: int) -> fb.Tensor:
    return fb.ones(*shape, requires_grad=True)


def backward_twice():
    y = (leaf(2) * leaf(2)).sum()
    y.backward()
    y.backward()


def modified():
    y = leaf(2) * 1
    z = y.exp()
    z.mul_(2)
    z.sum().backward()


def view_without_grad():
    y = leaf(2) * 1
    with fb.no_grad():
        v = y[:1]
    v.add_(1)


def finished_level():
    kept = []
    fb.func.vmap(lambda x: kept.append(x) or x)(f(2))
    return kept[0] * 2


def load_damaged(tmp_path, data: bytes):
    path = tmp_path / "model.fb"
    path.write_bytes(data)
    return fb.load(path)


def wrong_state():
    nn.Linear(2, 3).load_state_dict({"weight": f(3, 4), "extra": f(1)})


Row = tuple[str, Callable[[], object], type[BaseException] | tuple[type[BaseException], ...], list[str]]

TABLE: list[Row] = [
    # shapes
    ("add", lambda: f(2, 3) + f(4), RuntimeError, ["add", "(2, 3)", "(4,)", "broadcast"]),
    ("where", lambda: fb.where(f(2) > 0, f(3), f(2)), RuntimeError, ["where", "(2,)", "(3,)"]),
    ("matmul", lambda: f(2, 3) @ f(4, 5), RuntimeError, ["matmul", "(2, 3)", "(4, 5)", "3", "4"]),
    ("mm rank", lambda: fb.mm(f(1, 2, 3), f(3, 2)), RuntimeError, ["mm", "(1, 2, 3)", "2"]),
    ("mv", lambda: fb.mv(f(2, 3), f(2)), RuntimeError, ["mv", "(2, 3)", "(2,)"]),
    ("dot", lambda: fb.dot(f(2), f(3)), RuntimeError, ["dot", "2", "3"]),
    ("bmm", lambda: fb.bmm(f(2, 3, 4), f(3, 4, 5)), RuntimeError, ["bmm", "(2, 3, 4)", "(3, 4, 5)"]),
    ("einsum", lambda: fb.einsum("ij,jk->ik", f(2, 3), f(4, 5)), RuntimeError, ["einsum", "j", "3", "4"]),
    ("linear", lambda: F.linear(f(8, 15), f(4, 16)), RuntimeError, ["linear", "(8, 15)", "(4, 16)"]),
    ("linear bias", lambda: F.linear(f(8, 16), f(4, 16), f(5)), RuntimeError, ["linear", "bias", "(5,)"]),
    ("reshape", lambda: f(2, 3).reshape(4, 2), RuntimeError, ["(4, 2)", "(2, 3)", "6"]),
    ("reshape twice -1", lambda: f(2, 3).reshape(-1, -1), RuntimeError, ["only one dimension"]),
    ("view of transposed", lambda: f(2, 3).T.view(6), RuntimeError, ["view", "reshape"]),
    ("expand", lambda: f(2, 3).expand(4, 3), RuntimeError, ["expand", "(2, 3)", "(4, 3)"]),
    ("cat", lambda: fb.cat([f(2, 3), f(2, 4)], 0), RuntimeError, ["cat", "(2, 3)", "(2, 4)"]),
    ("stack", lambda: fb.stack([f(2), f(3)]), RuntimeError, ["stack", "(2,)", "(3,)"]),
    ("conv channels", lambda: F.conv2d(f(1, 3, 8, 8), f(4, 2, 3, 3)), RuntimeError, ["conv2d", "3", "2", "channels"]),
    ("conv kernel too big", lambda: F.conv2d(f(1, 1, 2, 2), f(1, 1, 3, 3)), RuntimeError,
     ["conv2d", "kernel", "(1, 1, 2, 2)", "(1, 1, 3, 3)"]),
    ("layer_norm", lambda: F.layer_norm(f(2, 3), (4,)), RuntimeError, ["layer_norm", "(4,)", "(2, 3)"]),
    ("cross_entropy batch", lambda: F.cross_entropy(f(3, 5), fb.zeros(2, dtype=fb.int64)), (RuntimeError, ValueError),
     ["3", "2"]),
    ("bce sizes", lambda: nn.BCELoss()(f(2, 3), f(4, 3)), (ValueError, RuntimeError), ["(2, 3)", "(4, 3)"]),
    ("out shape", lambda: fb.add(f(2), f(2), out=f(3)), RuntimeError, ["out", "(3,)", "(2,)"]),
    ("negative size", lambda: fb.zeros(2, -1), RuntimeError, ["negative", "-1"]),
    ("squeeze dim", lambda: f(2, 3).squeeze(5), IndexError, ["5", "2 dimension"]),
    # dtypes
    ("exp of a bitwise", lambda: f(2) & f(2), RuntimeError, ["bitwise_and", "float32"]),
    ("int in place float", lambda: fb.ones(2, dtype=fb.int64).add_(0.5), RuntimeError, ["add_", "float32", "int64"]),
    ("requires_grad int", lambda: fb.zeros(2, dtype=fb.int64, requires_grad=True), RuntimeError,
     ["floating point", "int64"]),
    ("bool minus", lambda: fb.tensor([True]) - fb.tensor([True]), RuntimeError, ["sub", "bool"]),
    ("gather index", lambda: fb.gather(f(2, 2), 0, f(2, 2)), RuntimeError, ["gather", "index", "integer", "float32"]),
    ("embedding float", lambda: F.embedding(f(2), f(3, 4)), RuntimeError, ["embedding", "integer", "float32"]),
    ("cross_entropy float target", lambda: F.nll_loss(f(2, 3), f(2)), RuntimeError, ["nll_loss", "target", "float32"]),
    ("unknown dtype", lambda: fb.zeros(2, dtype="float31"), (TypeError, ValueError), ["float31", "float32"]),
    ("numpy strings", lambda: fb.from_numpy(np.array(["a"])), TypeError, ["numpy dtype"]),
    ("ragged", lambda: fb.tensor([[1, 2], [3]]), ValueError, ["tensor"]),
    ("text", lambda: fb.tensor("abc"), TypeError, ["tensor", "str"]),
    ("set_default_dtype", lambda: fb.set_default_dtype(fb.int64), TypeError, ["floating-point", "int64"]),
    ("finfo of int", lambda: fb.finfo(fb.int32), TypeError, ["finfo", "iinfo"]),
    ("add a string", lambda: f(2) + "a", TypeError, ["+"]),
    ("add a list", lambda: fb.add(f(2), [1, 2]), TypeError, ["add", "other", "list"]),
    # indices
    ("index too large", lambda: f(3)[3], IndexError, ["3", "size 3"]),
    ("index negative", lambda: f(2, 3)[0, -4], IndexError, ["-4", "size 3"]),
    ("too many indices", lambda: f(2)[0, 0], IndexError, ["too many indices", "1"]),
    ("negative step", lambda: f(3)[::-1], ValueError, ["step", "flip"]),
    ("tensor index", lambda: f(3)[fb.tensor([0, 7])], IndexError, ["7", "3"]),
    ("mask shape", lambda: f(2, 3)[fb.tensor([True, False, True])], IndexError, ["mask", "[3]", "[2, 3]"]),
    ("gather range", lambda: fb.gather(f(2, 2), 1, fb.tensor([[0, 5]])), IndexError, ["gather", "5", "2"]),
    ("embedding range", lambda: F.embedding(fb.tensor([9]), f(3, 4)), IndexError, ["9", "3"]),
    ("dim", lambda: f(2, 3).sum(dim=2), IndexError, ["sum", "2", "-2", "1"]),
    ("dim twice", lambda: f(2, 3).sum(dim=(0, 0)), RuntimeError, ["multiple times"]),
    ("target out of range", lambda: F.cross_entropy(f(1, 3), fb.tensor([3])), IndexError, ["3"]),
    ("float index", lambda: f(3)[1.5], (TypeError, IndexError), ["float"]),
    # devices and settings
    ("unknown device", lambda: fb.zeros(2, device="quantum"), RuntimeError, ["quantum", "cpu", "doctor"]),
    ("device text", lambda: fb.device("cpu:x"), ValueError, ["cpu:x", "type:index"]),
    ("no such index", lambda: fb.zeros(2, device="cpu:7"), RuntimeError, ["cpu:7", "1 device"]),
    ("mixed devices", lambda: f(2) + fb.zeros(2, device="meta"), RuntimeError, ["add", "same device", "cpu", "meta"]),
    ("meta has no data", lambda: fb.zeros(2, device="meta").tolist(), RuntimeError, ["meta"]),
    ("threads", lambda: fb.set_num_threads(0), ValueError, ["set_num_threads", "0"]),
    # autograd
    ("backward twice", backward_twice, RuntimeError, ["second time", "retain_graph"]),
    ("modified", modified, RuntimeError, ["exp", "modified by an inplace operation", "mul_"]),
    ("no grad_fn", lambda: f(1).backward(), RuntimeError, ["does not require grad"]),
    ("not a scalar", lambda: (leaf(2) * 2).backward(), RuntimeError, ["scalar", "(2,)"]),
    ("gradient shape", lambda: (leaf(2) * 2).backward(f(3)), RuntimeError, ["(3,)", "(2,)"]),
    ("leaf in place", lambda: leaf(2).mul_(2), RuntimeError, ["mul_", "leaf", "no_grad"]),
    ("view under no_grad", view_without_grad, RuntimeError, ["no_grad", "add_"]),
    ("expanded in place", lambda: f(1).expand(3).add_(1), RuntimeError, ["single memory location", "clone"]),
    ("numpy of grad", lambda: leaf(2).numpy(), RuntimeError, ["detach"]),
    ("assign grad shape", lambda: setattr(leaf(2), "grad", f(3)), RuntimeError, ["(3,)", "(2,)"]),
    ("finished level", finished_level, RuntimeError, ["finished vmap", "mul"]),
    ("vmap bool", lambda: fb.func.vmap(lambda x: bool(x > 0))(f(2)), RuntimeError, ["inside vmap"]),
    ("unused input", lambda: fb.autograd.grad(leaf(1).sum(), leaf(1)), RuntimeError,
     ["not have been used", "allow_unused"]),
    ("argmax has no gradient path", lambda: leaf(3).argmax().backward(), RuntimeError, ["does not require grad"]),
    # conversions
    ("item", lambda: f(2).item(), (RuntimeError, ValueError), ["2 elements", "(2,)"]),
    ("bool", lambda: bool(f(2)), RuntimeError, ["ambiguous"]),
    ("len", lambda: len(fb.tensor(1)), TypeError, ["0-d"]),
    ("iterate", lambda: list(fb.tensor(1)), TypeError, ["0-d"]),
    # signatures
    ("unknown keyword", lambda: fb.sum(f(2), dims=0), TypeError, ["sum", "dims", "dim"]),
    ("missing argument", lambda: fb.softmax(f(2)), TypeError, ["softmax", "dim"]),
    ("dim type", lambda: f(2).sum(dim="a"), TypeError, ["dim", "'a'"]),
    # nn and optim
    ("state_dict", wrong_state, RuntimeError, ["Linear", "bias", "extra", "(3, 4)", "(3, 2)"]),
    ("lr", lambda: fb.optim.SGD([leaf(1)], lr=-1), ValueError, ["-1"]),
    ("no parameters", lambda: fb.optim.SGD([], lr=1), ValueError, ["empty"]),
    ("heads", lambda: nn.MultiheadAttention(10, 3), (ValueError, AssertionError), ["10", "3"]),
    ("module before init", lambda: type("M", (nn.Module,), {"__init__": lambda self: setattr(self, "a", nn.ReLU())})(),
     (AttributeError, RuntimeError), ["__init__"]),
    ("dropout p", lambda: nn.Dropout(1.5), ValueError, ["1.5"]),
    ("module path", lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5))(f(1, 2)), RuntimeError,
     ["linear", "(1, 3)", "(5, 4)"]),
    # data
    ("batch_size", lambda: fb.utils.data.DataLoader([1], batch_size=0), ValueError, ["batch_size", "0"]),
    ("TensorDataset", lambda: fb.utils.data.TensorDataset(f(2), f(3)), (ValueError, AssertionError), ["2", "3"]),
]  # fmt: skip


def text_of(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


@pytest.mark.parametrize(("call", "kind", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_wrong_call(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    text = text_of(caught.value)
    assert not [w for w in words if w not in text], f"the text is: {text}"


def test_the_table_is_long_enough():
    assert len(TABLE) >= 60 and len({row[0] for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["model.fb", "empty"]),
        (b"\x80\x04K\x01.", ["model.fb", "pickle"]),
        (b"\xff" * 64, ["model.fb"]),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1', ["model.fb"]),
    ],
    ids=["empty", "pickle", "header length", "truncated"],
)
def test_damaged_file(tmp_path, data, words):
    with pytest.raises(fb.utils.serialization.CheckpointError) as caught:
        load_damaged(tmp_path, data)
    assert not [w for w in words if w not in str(caught.value)], str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FLAMBEAU_DEVICE", "quantum", ["quantum", "FLAMBEAU_DEVICE"]),
        ("FLAMBEAU_FALLBACK", "maybe", ["FLAMBEAU_FALLBACK", "maybe", "error"]),
        ("FLAMBEAU_NUM_THREADS", "many", ["FLAMBEAU_NUM_THREADS", "many"]),
    ],
)
def test_wrong_environment(variable, value, words):
    program = "import flambeau as fb; fb.get_num_threads(); fb.core.config.get('fallback'); print(fb.zeros(2))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {variable: value}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert not [w for w in words if w not in done.stderr], done.stderr[-600:]
