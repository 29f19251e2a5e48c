"""save and load: what goes in comes out, and a bad file gives one kind of error."""

import enum
import gc
import io
import math
import os
import signal
import subprocess
import sys
import threading
from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import safetensors.numpy

import flambeau as fb
from flambeau.core import dtype as dt
from flambeau.utils import serialization
from flambeau.utils.serialization import CheckpointError, load, load_file, save, save_file

Point = namedtuple("Point", "x y")
STATE = {"model": OrderedDict(weight=fb.arange(6.0).reshape(2, 3), mask=fb.tensor([True, False])), "step": (1, 2.5)}


def round_trip(obj, **kwargs):
    file = io.BytesIO()
    save(obj, file)
    return load(file, **kwargs)


def example(dtype, shape=(2, 3)):
    return fb.from_numpy(np.asarray(np.arange(math.prod(shape)).reshape(shape) % 2).astype(dtype.numpy))


# -- what comes back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**70), 1.5, 0.1, math.inf, -math.inf, 2 - 3j, complex(0, math.inf), "", "ä\0\n", b"\0\xff",
        [], [1, [2, None]], (), (1, (2,)), {1, 2}, {}, {"a": 1, 2: "b", (1, 2): [], None: 0, 1.5: 1, "dict": {}},
        OrderedDict(b=1, a=2), fb.Size((2, 0)), fb.float32, fb.bfloat16, fb.bool, fb.device("cpu"),
        np.float32(0.1), np.int8(-3),
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values(value):
    found = round_trip(value)
    assert (type(found), found) == (type(value), value)


def test_signs_and_nan():
    zero, nan = round_trip([-0.0, math.nan])
    assert math.copysign(1, zero) == -1
    assert math.isnan(nan)


def test_order_of_dicts_stays():
    assert list(round_trip({"z": 1, "a": 2, "m": 3})) == ["z", "a", "m"]


@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)], ids=str)
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_tensors_of_every_dtype(dtype, shape):
    tensor = example(dtype, shape)
    found = round_trip(tensor)
    assert (found.dtype, tuple(found.shape), found.device, found.requires_grad) == (dtype, shape, tensor.device, False)
    assert found.tolist() == tensor.tolist()


def test_strided_tensors():
    base = fb.arange(24).reshape(2, 3, 4)
    for tensor in (base.permute(2, 0, 1), base[:, ::2], base[1, 2, 3], base[:, :1].expand(2, 5, 4)):
        found = round_trip(tensor)
        assert found.tolist() == tensor.tolist()
    assert round_trip(base[0, 0]).storage_offset() == 0


def test_requires_grad_and_parameters():
    leaf = fb.ones(2, requires_grad=True)
    found = round_trip({"leaf": leaf, "computed": leaf * 2, "p": fb.nn.Parameter(fb.ones(3)),
                        "frozen": fb.nn.Parameter(fb.ones(3), requires_grad=False)})  # fmt: skip
    assert found["leaf"].requires_grad
    assert found["leaf"].is_leaf
    assert found["computed"].tolist() == [2, 2]
    assert type(found["p"]) is fb.nn.Parameter
    assert (found["p"].requires_grad, found["frozen"].requires_grad) == (True, False)


def test_numpy_arrays_stay_numpy():
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    found = round_trip({"a": array, "b": np.array(2.5), "z": np.array([1 + 2j])})
    assert all(type(v) is np.ndarray for v in found.values())
    np.testing.assert_array_equal(found["a"], array)
    assert (found["a"].dtype, found["b"].shape, found["z"].tolist()) == (np.int16, (), [1 + 2j])


def test_loaded_tensors_can_be_written_to():
    found = round_trip([fb.zeros(2), fb.zeros(2)])
    found[0].add_(1)
    assert found[1].tolist() == [0, 0]


# -- what is shared stays shared ---------------------------------------------------------------------


def test_one_object_in_two_places_is_one():
    weight = fb.nn.Parameter(fb.ones(3))
    array = np.zeros(2)
    found = round_trip({"a": weight, "b": [weight], "c": array, "d": (array,)})
    assert found["a"] is found["b"][0]
    assert found["c"] is found["d"][0]


def test_views_of_one_storage_share_it():
    base = fb.arange(12.0).reshape(3, 4)
    row, column = base[1], base[:, 2]
    found = round_trip({"row": row, "column": column, "alone": fb.zeros(2)})
    assert (found["row"].tolist(), found["column"].tolist()) == (row.tolist(), column.tolist())
    found["row"].fill_(-1)
    assert found["column"].tolist() == [2, -1, 10]


def test_a_detached_alias_of_a_parameter_shares():
    weight = fb.nn.Parameter(fb.ones(3))
    found = round_trip([weight, weight.detach()])
    assert found[0] is not found[1]
    with fb.no_grad():
        found[0].add_(1)
    assert found[1].tolist() == [2, 2, 2]
    assert (found[0].is_leaf, found[0].requires_grad, found[1].requires_grad) == (True, True, False)


def test_a_part_of_a_large_storage_is_small():
    big = fb.zeros(100_000)
    file = io.BytesIO()
    save({"a": big[:4], "b": big[2:6]}, file)
    assert len(file.getvalue()) < 2000


# -- places ------------------------------------------------------------------------------------------


def test_paths_and_files(tmp_path):
    state = {"model": {"weight": fb.ones(2)}, "epoch": 3}
    for place in (tmp_path / "a.fb", str(tmp_path / "b.fb")):
        save(state, place)
        assert load(place)["model"]["weight"].tolist() == [1, 1]
    with (tmp_path / "c.fb").open("wb") as file:
        save(state, file)
    with (tmp_path / "c.fb").open("rb") as file:
        assert load(file)["epoch"] == 3
    assert sorted(os.listdir(tmp_path)) == ["a.fb", "b.fb", "c.fb"]


def test_mmap(tmp_path):
    save(
        {"w": fb.arange(4.0), "m": fb.tensor([True, False]), "z": fb.tensor([1j], dtype=fb.complex128)}, tmp_path / "a"
    )
    found = load(tmp_path / "a", mmap=True)
    found["w"].add_(1)
    assert (found["w"].tolist(), found["m"].tolist(), found["z"].tolist()) == ([1, 2, 3, 4], [True, False], [1j])
    save({}, tmp_path / "a")  # replaces the file; the loaded tensors keep the old one
    assert found["w"].tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="load: mmap=True needs a path, got BytesIO"):
        load(io.BytesIO(), mmap=True)


@pytest.mark.parametrize(
    "where", ["cpu", fb.device("cpu"), {"cpu": "cpu"}, {"cuda:0": "cpu"}, lambda saved: "cpu", lambda saved: None]
)
def test_map_location(where):
    assert round_trip(fb.ones(2), map_location=where).device is fb.device("cpu")


def test_map_location_moves():
    assert round_trip(fb.ones(2), map_location="meta").device.type == "meta"
    assert round_trip(fb.ones(2), map_location={"cpu": "meta"}).device.type == "meta"


def test_map_location_by_names():
    """A bare type stands for all its devices that are not named themselves."""
    where = serialization._locator({"opencl": "cpu", "opencl:1": "meta", "cuda:0": "cpu"})
    assert [where(f"opencl:{i}") for i in range(3)] == ["cpu", "meta", "cpu"]
    assert where("cuda:0") == "cpu" and where("cuda:1") == "cuda:1"
    assert round_trip(fb.ones(2), map_location={"cpu:0": "meta"}).device.type == "meta"
    assert round_trip(fb.ones(2), map_location={fb.device("cpu"): fb.device("meta")}).device.type == "meta"
    assert round_trip(fb.ones(2), map_location=lambda name: {"cpu": "meta"}[name]).device.type == "meta"


def test_map_location_of_a_device_that_is_not_there():
    with pytest.raises(CheckpointError, match=r"<BytesIO>: .*device 'nowhere.*map_location='cpu'"):
        round_trip(fb.ones(2), map_location="nowhere")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path):
    save({"epoch": 1}, tmp_path / "a")
    program = (
        "import os, signal, sys, flambeau as fb\n"
        "from flambeau.utils import safetensors\n"
        "whole = safetensors.little_endian\n"
        "def interrupted(raw, dtype):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "safetensors.little_endian = interrupted\n"
        "fb.save({'epoch': 2, 'w': fb.ones(1000)}, sys.argv[1])\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ended = subprocess.run([sys.executable, "-c", program, tmp_path / "a"], env=env, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert load(tmp_path / "a") == {"epoch": 1}


class Colour(enum.Enum):
    RED = 1


class Settings:
    def __init__(self) -> None:
        self.rate, self.colour, self.weight = 0.5, Colour.RED, fb.ones(2)


def test_an_object_of_attributes_comes_back_where_its_class_is_trusted(tmp_path):
    save({"settings": Settings()}, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"holds an object of class .*Settings"):
        load(tmp_path / "a")
    with fb.serialization.safe_globals([Settings]), pytest.raises(CheckpointError, match=r"of class .*Colour"):
        load(tmp_path / "a")
    with fb.serialization.safe_globals([Settings, Colour]):
        back = load(tmp_path / "a")["settings"]
    assert type(back) is Settings and back.rate == 0.5 and back.colour is Colour.RED and back.weight.tolist() == [1, 1]


def test_constraints_of_distributions_come_back():
    own = fb.distributions.constraints
    regions = [own.real, own.interval(0, fb.ones(2)), own.cat([own.real, own.simplex], -1, [1, 2]), own.real_vector]
    back = round_trip(regions)
    assert list(map(type, back)) == list(map(type, regions)) and back[1].upper_bound.tolist() == [1, 1]
    assert back[2].lengths == [1, 2] and list(map(repr, back[2].cseq)) == ["Real()", "Simplex()"]
    assert list(map(repr, back)) == list(map(repr, regions))


class Half(type(fb.distributions.constraints.real)):
    pass


def test_a_constraint_of_another_class_needs_trust():
    with pytest.raises(CheckpointError, match=r"of class .*Half"):
        round_trip(Half())
    with fb.serialization.safe_globals([Half]):
        assert type(round_trip(Half())) is Half


class Mine(fb.nn.Module):
    def __init__(self, wide: int):
        super().__init__()
        self.layer = fb.nn.Linear(wide, 2)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return self.layer(x)


def test_without_weights_only_classes_of_this_program_come_back(tmp_path):
    own = fb.distributions
    normal = own.Independent(own.LogNormal(fb.zeros(3), fb.ones(3)), 1)
    mapped = own.TransformedDistribution(own.Gamma(2.0, 3.0), [own.PowerTransform(fb.tensor(2.0)), own.ExpTransform()])
    model = Mine(3)
    save([model, normal, mapped], tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"class .*Mine.*weights_only=False"):
        load(tmp_path / "a")
    back = load(tmp_path / "a", weights_only=False)
    assert [type(b) for b in back] == [Mine, own.Independent, own.TransformedDistribution]
    x = fb.rand(2, 3)
    assert back[0](x).equal(model(x)) and back[1].log_prob(x).equal(normal.log_prob(x))
    assert back[2].log_prob(x + 2).equal(mapped.log_prob(x + 2)) and back[2].sample((4,)).shape == (4,)


def test_other_objects_need_trust_without_weights_only_too(tmp_path):
    save(Settings(), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"holds an object of class .*Settings"):
        load(tmp_path / "a", weights_only=False)


def test_a_class_that_is_gone_is_named(tmp_path):
    gone = type("Gone", (fb.nn.Module,), {"__module__": __name__})
    save(gone(), tmp_path / "a")
    del gone
    gc.collect()
    with pytest.raises(CheckpointError, match=r"class .*Gone"):
        load(tmp_path / "a", weights_only=False)


# -- what cannot be saved ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [1, object()]}, r"obj\['a'\]\[1\] is a object"),
        ({"f": print}, r"obj\['f'\] is a builtin_function_or_method"),
        (fb.optim.SGD([fb.ones(1)], lr=0.1), r"obj is a SGD.*save its state_dict\(\) instead"),
        ([Point(1, 2)], r"obj\[0\] is a Point.*tuple\(value\) or value._asdict\(\)"),
        (defaultdict(int), r"obj is a defaultdict.*dict\(value\)"),
        ({"a": np.array(["x"])}, r"obj\['a'\] cannot be saved: numpy dtype <U1 has no flambeau dtype"),
        ({"a": fb.ones(2, device="meta")}, r"obj\['a'\] is a tensor on the meta device"),
    ],
)
def test_what_cannot_be_saved(value, words, tmp_path):
    with pytest.raises(TypeError, match=f"save: {words}"):
        save(value, tmp_path / "a")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000, -(1 << 40_000)], ids=int.bit_length)
def test_numbers_of_any_length(value):
    """As decimals Python neither writes nor reads the longer ones."""
    assert round_trip({"a": value, value: fb.ones(1)}) == {"a": value, value: fb.ones(1)}


def test_keys_and_texts_with_half_of_a_surrogate_pair():
    halves = [chr(0xD800), chr(0xDFFF)]
    state = {halves[0]: fb.ones(1), halves[1]: fb.zeros(1), "a": chr(0xDC80), "b": {"?": fb.ones(2)}}
    back = round_trip(state)
    assert list(back) == list(state) and back["a"] == state["a"]
    assert [back[half].item() for half in halves] == [1, 0]


def test_many_names_that_look_alike():
    halves = [chr(0xD800 + n) + chr(0xD800 + m) for n in range(32) for m in range(64)]
    state = {half: fb.tensor(n) for n, half in enumerate(halves)}
    assert [t.item() for t in round_trip(state).values()] == list(range(2048))


def test_save_writes_to_devices_and_pipes(tmp_path):
    fb.save([fb.ones(2)], "/dev/null")
    assert not os.path.isfile("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=fb.save, args=([fb.ones(2)], tmp_path / "pipe"))
    writer.start()
    assert fb.load(tmp_path / "pipe")[0].tolist() == [1, 1]
    writer.join()
    with pytest.raises(CheckpointError, match="0 bytes"):
        fb.load("/dev/null")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="a device that never ends")
def test_a_device_without_a_size_and_an_empty_name() -> None:
    with pytest.raises(CheckpointError, match="/dev/zero: not a safetensors file: it has no size"):
        fb.load("/dev/zero")
    with pytest.raises(FileNotFoundError, match="name is empty"):
        fb.save([], "")


def test_a_file_open_for_text_is_refused(tmp_path):
    with (tmp_path / "a").open("w") as file, pytest.raises(TypeError, match="open it with 'wb'"):
        fb.save([1], file)


def test_a_structure_in_itself():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match=r"save: obj\[0\]\[0\]\[0\]... is nested more than 100 deep"):
        save(loop, io.BytesIO())


def test_wrong_files():
    with pytest.raises(TypeError, match="save: expected a path or a file open for writing bytes, got int"):
        save(1, 7)
    with pytest.raises(TypeError, match="load: expected a path or a file open for reading bytes, got NoneType"):
        load(None)
    with pytest.raises(TypeError, match="open for reading bytes"):
        load(io.StringIO("x"))
    with pytest.raises(FileNotFoundError):
        load("no/such/file")


# -- plain safetensors -------------------------------------------------------------------------------


def test_save_file_and_load_file(tmp_path):
    tensors = {d.name: example(d) for d in dt.ALL if d is not dt.complex128}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"made": "here"})
    found = load_file(tmp_path / "a.safetensors")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].tolist()) == (tensor.dtype, tensor.tolist())
    save_file({"w": tensors["float32"]}, tmp_path / "b.safetensors", {"made": "here"})
    np.testing.assert_array_equal(
        safetensors.numpy.load_file(tmp_path / "b.safetensors")["w"], tensors["float32"].numpy()
    )


def test_load_file_reads_what_save_wrote_and_others_did(tmp_path):
    save(STATE, tmp_path / "a")
    assert load_file(tmp_path / "a")["model.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    safetensors.numpy.save_file({"x": np.arange(3)}, tmp_path / "b")
    assert load_file(tmp_path / "b", mmap=True)["x"].tolist() == [0, 1, 2]
    assert load_file(tmp_path / "b", device="meta")["x"].device.type == "meta"


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({"a": [1]}, None, "tensors must map names to tensors, got 'a': list"),
        ({1: fb.ones(1)}, None, "tensors must map names to tensors, got 1: Tensor"),
        ({"a": fb.ones(1, dtype=fb.complex128)}, None, "'a' has dtype flambeau.complex128"),
        ({"a": fb.ones(1)}, {"epoch": 3}, "metadata must map strings to strings, got 'epoch': 3"),
        ({"a": fb.ones(1)}, "text", "metadata must map strings to strings, got str"),
        ([fb.ones(1)], None, "tensors must map names to tensors, got list"),
        ({"__metadata__": fb.ones(1)}, None, "no tensor can have the name '__metadata__'"),
        ({chr(0xD800): fb.ones(1)}, None, "a tensor's name is .*surrogate"),
        ({"a": fb.ones(1)}, {chr(0xD800): "b"}, "a name of metadata is .*surrogate"),
        ({"a": fb.ones(1)}, {"b": chr(0xDFFF)}, "metadata 'b' is .*surrogate"),
    ],
)
def test_save_file_refuses(tensors, metadata, words):
    with pytest.raises((TypeError, ValueError), match=f"save_file: {words}"):
        save_file(tensors, io.BytesIO(), metadata)


# -- models ------------------------------------------------------------------------------------------


def test_training_goes_on_as_if_never_stopped(tmp_path):
    def made():
        fb.manual_seed(3)
        model = fb.nn.Sequential(fb.nn.Linear(4, 8), fb.nn.Dropout(0.5), fb.nn.Linear(8, 2))
        return model, fb.optim.Adam(model.parameters(), lr=0.01)

    def step(model, optimizer):
        optimizer.zero_grad()
        loss = model(fb.ones(16, 4)).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    model, optimizer = made()
    for _ in range(3):
        step(model, optimizer)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": fb.get_rng_state()}
    save(state, tmp_path / "a")
    expected = [step(model, optimizer) for _ in range(3)]
    model, optimizer = made()
    state = load(tmp_path / "a")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    fb.set_rng_state(state["rng"])
    assert [step(model, optimizer) for _ in range(3)] == expected
