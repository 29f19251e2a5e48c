"""What users do wrong, and what they must be told: the type of the error, and the words that it contains.

One table. A text names the op, the argument, the shapes, dtypes or devices, and what would help.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.nn import functional as F
from tests.conftest import RunPython


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


def backward_under_no_grad():
    with fb.no_grad():
        y = leaf(2).sum()
    y.backward()


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
    ("cross_entropy float classes", lambda: F.cross_entropy(f(3, 5), f(3)), RuntimeError,
     ["cross_entropy", "target", "float32", "(3, 5)", "target.long()"]),
    ("cross_entropy column", lambda: F.cross_entropy(f(3, 5), fb.zeros(3, 1, dtype=fb.int64)), RuntimeError,
     ["cross_entropy", "(3, 1)", "(3,)", "squeeze(1)"]),
    ("cross_entropy one-hot integers", lambda: F.cross_entropy(f(3, 5), fb.zeros(3, 5, dtype=fb.int64)), RuntimeError,
     ["cross_entropy", "target.float()"]),
    ("too large for uint8", lambda: fb.tensor([300], dtype=fb.uint8), RuntimeError, ["tensor", "300", "uint8", "255"]),
    ("too large for int64", lambda: fb.tensor(2**70), ValueError, ["tensor", "int64"]),
    ("full of nothing", lambda: fb.full((2,), None), TypeError, ["full", "fill_value", "NoneType"]),
    ("mean of integers", lambda: fb.arange(3).mean(), RuntimeError, ["mean", "int64", "float32"]),
    ("numpy operand", lambda: fb.exp(np.ones(2)), TypeError, ["exp", "input", "ndarray", "from_numpy"]),
    ("numpy at the left", lambda: np.ones(2) * f(2), TypeError, ["mul", "ndarray", "from_numpy"]),
    ("numpy in a product", lambda: np.ones((2, 2)) @ f(2, 2), TypeError, ["matmul", "ndarray", "from_numpy"]),
    ("numpy into a layer", lambda: nn.Linear(2, 1)(np.ones((1, 2))), TypeError,
     ["linear", "ndarray", "in module Linear"]),
    ("list operand", lambda: fb.sum([1.0, 2.0]), TypeError, ["sum", "input", "list", "flambeau.tensor"]),
    ("list as a target", lambda: F.mse_loss(f(2), [1.0, 2.0]), TypeError, ["mse_loss", "target", "list"]),
    ("tensor for a list", lambda: fb.cat(f(2, 2)), TypeError, ["cat", "tensors", "list of tensors"]),
    ("integer division by 0", lambda: fb.arange(3) // 0, (ZeroDivisionError, RuntimeError),
     ["floor_divide", "int64", "0"]),
    ("integer to a negative power", lambda: fb.arange(3) ** -1, RuntimeError, ["pow", "negative", "-1"]),
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
    ("model elsewhere", lambda: nn.Linear(2, 3).to("strict")(f(1, 2)), RuntimeError,
     ["linear", "input 'cpu'", "weight 'strict:0'", ".to(device)", "in module Linear"]),
    ("labels elsewhere", lambda: F.cross_entropy(f(1, 3).to("strict"), fb.tensor([0])), RuntimeError,
     ["target 'cpu'", "strict:0"]),
    ("list of two devices", lambda: fb.cat([f(2), fb.zeros(2, device="strict")]), RuntimeError,
     ["cat", "'cpu'", "[1] 'strict:0'"]),
    ("numpy of a device", lambda: f(2).to("strict").numpy(), TypeError, ["strict:0", "cpu()"]),
    ("float64 where there is none", lambda: fb.zeros(2, dtype=fb.float64, device="strict"), RuntimeError,
     ["strict:0", "float64", "float32"]),
    ("opencl namespace", lambda: fb.opencl, AttributeError, ["opencl", "flambeau.accelerator"]),
    ("cuda method", lambda: f(2).cuda(), RuntimeError, ["cuda", "FLAMBEAU_DEVICE_ALIAS"]),
    # autograd
    ("backward under no_grad", backward_under_no_grad, RuntimeError, ["does not require grad", "()", "no_grad()"]),
    ("item of a leaf", lambda: leaf(2).__setitem__(0, 1.0), RuntimeError, ["leaf", "in-place", "no_grad()", "clone"]),
    ("out with grad", lambda: fb.add(f(2), f(2), out=leaf(2)), RuntimeError, ["add", "out=", "no_grad()"]),
    ("overlapping windows", lambda: f(4).unfold(0, 2, 1).add_(1), RuntimeError,
     ["add_", "(3, 2)", "single memory location", "clone"]),
    ("grad of a vector", lambda: fb.func.grad(lambda x: x * 2)(f(2)), RuntimeError,
     ["grad", "scalar", "(2,)", "jacrev"]),
    ("vmap of two sizes", lambda: fb.vmap(lambda x, y: x + y)(f(2), f(3)), ValueError, ["vmap", "2", "3"]),
    ("vmap of random numbers", lambda: fb.vmap(lambda x: x + fb.randn(1))(f(2)), RuntimeError, ["vmap", "randomness"]),
    ("tangent shape", lambda: fb.func.jvp(fb.sin, (f(2),), (f(3),)), RuntimeError, ["jvp", "(2,)", "(3,)"]),
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
    ("parameters of a module", lambda: fb.optim.SGD(nn.Linear(2, 1), lr=1), TypeError,
     ["SGD", "Linear", "parameters()"]),
    ("one parameter", lambda: fb.optim.SGD(leaf(2), lr=1), TypeError, ["SGD", "one Tensor", "list"]),
    ("computed parameter", lambda: fb.optim.SGD([leaf(2) * 2], lr=1), ValueError, ["non-leaf"]),
    ("schedule of a module", lambda: fb.optim.lr_scheduler.StepLR(nn.Linear(1, 1), 1), TypeError,
     ["StepLR", "Linear", "Optimizer"]),
    ("betas", lambda: fb.optim.Adam([leaf(2)], betas=(1.5, 0.9)), ValueError, ["Adam", "beta1", "1.5"]),
    ("list in Sequential", lambda: nn.Sequential([nn.ReLU()]), TypeError, ["Sequential", "list", "*", "ModuleList"]),
    ("function in Sequential", lambda: nn.Sequential(F.relu), TypeError, ["Sequential", "relu", "forward"]),
    ("class in Sequential", lambda: nn.Sequential(nn.ReLU), TypeError, ["Sequential", "ReLU(...)"]),
    ("no forward", lambda: type("M", (nn.Module,), {})()(f(1)), NotImplementedError, ["M", "forward"]),
    ("Parameter of a list", lambda: nn.Parameter([1.0]), TypeError, ["Parameter", "list", "flambeau.tensor"]),
    ("tensor for a parameter", lambda: setattr(nn.Linear(2, 1), "weight", f(1, 2)), TypeError,
     ["weight", "Linear", "Parameter"]),
    ("path for a state", lambda: nn.Linear(1, 1).load_state_dict("model.fb"), TypeError, ["load_state_dict", "str"]),
    ("linear size", lambda: nn.Linear(-2, 3), ValueError, ["Linear", "in_features", "-2"]),
    ("kernel size", lambda: nn.Conv2d(1, 4, 0), ValueError, ["Conv2d", "kernel_size", "0"]),
    ("kernel of another rank", lambda: nn.Conv2d(1, 4, (3, 3, 3)), RuntimeError, ["Conv2d", "kernel_size", "2 ints"]),
    ("float kernel", lambda: nn.Conv2d(1, 4, 3.0), TypeError, ["Conv2d", "kernel_size", "3.0"]),
    ("stride 0", lambda: F.conv2d(f(1, 1, 4, 4), f(1, 1, 3, 3), stride=0), RuntimeError, ["conv2d", "stride", "0"]),
    ("groups", lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, ["Conv2d", "in_channels=3", "groups=2"]),
    ("padding word", lambda: nn.Conv2d(1, 1, 3, padding="full"), ValueError, ["padding", "'same'", "'full'"]),
    ("image without channels", lambda: nn.Conv2d(1, 4, 3)(f(8, 8)), RuntimeError,
     ["conv2d", "(8, 8)", "3 dimensions", "in module Conv2d"]),
    ("channels last", lambda: nn.Conv2d(3, 4, 3)(f(1, 8, 8, 3)), RuntimeError, ["8 channels", "takes 3"]),
    ("window too big", lambda: nn.MaxPool2d(5)(f(1, 1, 3, 3)), RuntimeError, ["max_pool2d", "(5, 5)", "(1, 1, 3, 3)"]),
    ("batch norm rank", lambda: nn.BatchNorm2d(3)(f(2, 3)), ValueError, ["BatchNorm2d", "4D", "(2, 3)"]),
    ("batch norm of one", lambda: nn.BatchNorm1d(3)(f(1, 3)), ValueError,
     ["batch_norm", "more than 1 value", "(1, 3)"]),
    ("embedding padding", lambda: nn.Embedding(3, 4, padding_idx=5), ValueError, ["padding_idx=5", "num_embeddings=3"]),
    ("lstm input", lambda: nn.LSTM(3, 4)(f(5, 1, 2)), RuntimeError, ["LSTM", "Expected 3", "got 2"]),
    ("lstm state", lambda: nn.LSTM(3, 4)(f(5, 1, 3), f(1, 1, 4)), TypeError, ["LSTM", "(h_0, c_0)"]),
    ("attention mask", lambda: F.scaled_dot_product_attention(f(1, 2, 4), f(1, 2, 4), f(1, 2, 4), f(3, 3)),
     RuntimeError,
     ["scaled_dot_product_attention", "attn_mask", "(3, 3)", "(1, 2, 2)"]),
    ("reduction", lambda: F.mse_loss(f(2), f(2), reduction="avg"), ValueError, ["'avg'", "'mean'"]),
    ("cuda module", lambda: nn.Linear(1, 1).cuda(), RuntimeError, ["cuda", "FLAMBEAU_DEVICE_ALIAS"]),
    ("strict module", lambda: nn.Linear(1, 1).strict(), AttributeError, ["Linear", '.to("strict")']),
    ("strict namespace", lambda: fb.strict, AttributeError, ["strict", "flambeau.accelerator"]),
    # data
    ("no dataset", lambda: fb.utils.data.DataLoader(5), TypeError, ["DataLoader", "dataset", "int"]),
    ("samples of two shapes", lambda: list(fb.utils.data.DataLoader([f(2), f(3)], batch_size=2)), RuntimeError,
     ["(2,)", "(3,)", "collate_fn"]),
    ("lengths of a split", lambda: fb.utils.data.random_split(range(10), [5, 6]), ValueError,
     ["random_split", "10", "11"]),
    ("no folder", lambda: fb.save({"a": f(1)}, "/no/such/folder/x.fb"), FileNotFoundError,
     ["/no/such/folder/x.fb", "folder"]),
    ("no file", lambda: fb.load("/no/such/file.fb"), FileNotFoundError, ["/no/such/file.fb"]),
    ("save an optimizer", lambda: fb.save(fb.optim.SGD([leaf(2)], 0.1), "x.fb"), TypeError, ["SGD", "state_dict()"]),
    ("save an object", lambda: fb.save({"a": object()}, "x.fb"), TypeError, ["obj['a']", "object"]),
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


NUMPY = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fb.max(NUMPY),
        lambda: fb.argmax(NUMPY, dim=1),
        lambda: fb.all(NUMPY),
        lambda: fb.unsqueeze(NUMPY, 0),
        lambda: fb.squeeze(NUMPY, dim=0),
        lambda: fb.flip(NUMPY, (0,)),
        lambda: fb.roll(NUMPY, 1),
        lambda: fb.chunk(NUMPY, 2),
        lambda: fb.diag(NUMPY),
        lambda: fb.take_along_dim(f(2, 2), NUMPY, dim=0),
        lambda: fb.unique(NUMPY),
        lambda: fb.kron(f(2, 2), NUMPY),
        lambda: fb.tensordot(NUMPY, f(2, 2), dims=1),
        lambda: fb.equal(f(2, 2), NUMPY),
        lambda: fb.isfinite(NUMPY),
        lambda: fb.meshgrid(NUMPY, f(2)),
        lambda: fb.broadcast_tensors(f(2), NUMPY),
    ],
)
def test_an_array_is_named_by_the_argument_that_got_it(call):
    with pytest.raises(TypeError, match=r"argument '\w+' must be a tensor.* got ndarray; flambeau.from_numpy\(x\)"):
        call()


def test_the_table_is_long_enough():
    assert len(TABLE) >= 140 and len({row[0] for row in TABLE}) == len(TABLE)


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
        ("FLAMBEAU_DEVICE", "quantum", ["quantum", "FLAMBEAU_DEVICE", "cpu"]),
        ("FLAMBEAU_DEVICE", "cpu:9", ["cpu:9", "1 device"]),
        ("FLAMBEAU_DEVICE", "quantum,warp", ["quantum", "warp"]),
        ("FLAMBEAU_FALLBACK", "maybe", ["FLAMBEAU_FALLBACK", "maybe", "error"]),
        ("FLAMBEAU_NUM_THREADS", "many", ["FLAMBEAU_NUM_THREADS", "many"]),
        ("FLAMBEAU_NUM_THREADS", "0", ["FLAMBEAU_NUM_THREADS", "0", "at least 1"]),
        ("FLAMBEAU_MEMORY_LIMIT", "plenty", ["FLAMBEAU_MEMORY_LIMIT", "plenty", "2G"]),
    ],
)
def test_wrong_environment(variable: str, value: str, words: list[str], run_python: RunPython) -> None:
    program = (
        "import flambeau as fb; fb.get_num_threads()\n"
        "for name in ('fallback', 'memory_limit'): fb.core.config.get(name)\n"
        "fb.zeros(2)"
    )
    done = run_python("-c", program, **{variable: value})
    assert done.returncode != 0
    assert not [w for w in words if w not in done.stderr], done.stderr[-600:]


@pytest.mark.parametrize(
    ("missing", "device", "words"),
    [
        ("pyopencl", "opencl", ["opencl:0", "PyOpenCL", "flambeau[opencl]"]),
        ("cupy", "cuda", ["cuda:0", "CuPy", "flambeau[cuda12]"]),
    ],
)
def test_missing_extra(missing: str, device: str, words: list[str], run_python: RunPython) -> None:
    done = run_python(
        "-c", f"import sys; sys.modules[{missing!r}] = None\nimport flambeau as fb\nfb.zeros(1, device={device!r})"
    )
    assert done.returncode != 0
    text = done.stderr.splitlines()[-1]
    assert not [w for w in words if w not in text], text
