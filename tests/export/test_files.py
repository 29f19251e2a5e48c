"""A program's file gives the program back on any backend, and no change to a file raises anything but ExportError."""

import copy
import io
import json
import random
import subprocess
import sys
import zlib
from collections import namedtuple

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.export import Dim, ExportError, export, load, save
from flambeau.utils import serialization


class Model(nn.Module):
    """Has all that a file can hold: dimensions, branches, buffers that are written, constants, nested arguments."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.lstm = nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.LSTM(4, 5)
        self.register_buffer("hidden", fb.ones(5), persistent=False)

    def forward(self, x, more, scale=2.0):
        y = self.norm(self.conv(x)).relu_()
        z, _ = self.lstm(y.permute(2, 0, 1))
        z[0] = more["b"][0]
        z = nn.functional.dropout(z * scale + self.hidden, 0.5, self.training)
        z = fb.cond(z.sum() > 0, lambda z: z + fb.arange(5), lambda z: z * 2, (z,))
        return {"out": z, "n": (x.shape[0], None)}


def arguments(n=3, length=7):
    fb.manual_seed(n)
    return (fb.randn(n, 2, length), {"a": fb.ones(1), "b": [fb.randn(5)]})


def program(train=True):
    fb.manual_seed(0)
    shapes = {"x": {0: Dim("batch", min=1, max=20), 2: Dim("length", min=4)}, "more": None}
    return export(Model().train(train), arguments(), dynamic_shapes=shapes)


def saved(made):
    file = io.BytesIO()
    save(made, file)
    return file


def test_a_loaded_program_gives_the_same_bits():
    made = program()
    back = load(saved(made))
    assert str(back.graph) == str(made.graph)
    assert (back.range_constraints, back.inputs) == (made.range_constraints, made.inputs)
    assert back.graph_signature == made.graph_signature
    assert back.constants.keys() == made.constants.keys()
    one, other = copy.deepcopy(made).module(), back.module()
    for n, length in ((3, 7), (1, 9), (20, 4)):
        results = []
        for module in (one, other):
            fb.manual_seed(7)
            results.append(module(*arguments(n, length)))
        assert results[0]["out"].numpy(force=True).tobytes() == results[1]["out"].numpy(force=True).tobytes()
        assert results[0]["n"] == results[1]["n"] == (n, None)
    assert one.state_dict().keys() == other.state_dict().keys() == Model().state_dict().keys()
    for name, value in one.state_dict().items():
        assert value.numpy(force=True).tobytes() == other.state_dict()[name].numpy(force=True).tobytes()


@pytest.mark.parametrize("device", ["strict", "opencl"])
def test_it_runs_on_any_backend(device):
    try:
        fb.ones(1, device=device)
    except RuntimeError as error:
        pytest.skip(str(error))
    made = program(train=False)
    args = arguments()
    want = made(*args)["out"]
    back = load(saved(made), device=device)
    got = back(args[0].to(device), {"a": fb.ones(1, device=device), "b": [args[1]["b"][0].to(device)]})["out"]
    assert got.device.type == device
    assert (got.cpu() - want).abs().max() <= 1e-5 * want.abs().max()


@pytest.mark.slow
def test_another_process_runs_it_without_the_class(tmp_path):
    made, path = program(train=False), tmp_path / "model.fbp"
    save(made, path)
    args = arguments()
    fb.save(args, tmp_path / "args.fbw")
    code = (
        "import flambeau as fb; from flambeau import export\n"
        f"out = export.load({str(path)!r})(*fb.load({str(tmp_path / 'args.fbw')!r}))\n"
        f"fb.save(out['out'], {str(tmp_path / 'out.fbw')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (fb.load(tmp_path / "out.fbw") == made(*args)["out"]).all()


def test_texts_are_kept_beside():
    file = io.BytesIO()
    save(program(), file, extra_files={"labels": "a b", "raw": b"c"})
    asked = {"labels": "", "other": 1}
    load(file, extra_files=asked)
    assert asked == {"labels": "a b", "other": 1}


def test_what_has_no_form_in_a_file_is_refused(tmp_path):
    Pair = namedtuple("Pair", "a b")
    made = export(lambda p: Pair(p, p), (fb.ones(1),))
    with pytest.raises(ExportError, match="has no name in a file"):
        save(made, tmp_path / "x.fbp")
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="must be an ExportedProgram, got Linear"):
        save(nn.Linear(1, 1), tmp_path / "x.fbp")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"weights": fb.ones(1)}, "holds no program"),
        ({"flambeau.program": 2}, "a newer one may have written it"),
        ({"flambeau.program": 1}, "the file must be an object of"),
        ({"flambeau.program": 1, "graph": "{", "tensors": {}, "files": {}}, "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, text):
    fb.save(content, tmp_path / "other.fbp")
    with pytest.raises(ExportError, match=text):
        load(tmp_path / "other.fbp")


# -- changed files -----------------------------------------------------------------------------------
STRANGE = [
    None,
    True,
    0,
    -1,
    3,
    2**70,
    1.5,
    1e300,
    "",
    "x",
    "relu",
    [],
    {},
    [[]],
    {"value": "x"},
    {"law": []},
    {"dict": {}},
]


def places(tree, path=()):
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(tree, rng):
    """The JSON of a program with a part of it replaced, dropped, moved or doubled."""
    tree = json.loads(json.dumps(tree))
    ways = [p for p in places(tree) if p]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        path = rng.choice(ways)
        try:
            parent = tree
            for key in path[:-1]:
                parent = parent[key]
            act = rng.randrange(4)
            if act == 0:
                parent[path[-1]] = rng.choice(STRANGE)
            elif act == 1:
                del parent[path[-1]]
            elif act == 2:
                source = tree
                for key in rng.choice(ways):
                    source = source[key]
                parent[path[-1]] = json.loads(json.dumps(source))
            elif isinstance(parent, list):
                parent.insert(path[-1], parent[path[-1]])
            elif isinstance(parent, dict):
                parent[path[-1] + "_"] = parent[path[-1]]
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    return tree


def tampered(count, seed):
    """Loads files whose checksums are right and whose program is changed; how many were refused."""
    rng = random.Random(seed)
    whole = fb.load(saved(program()))
    tree, refused = json.loads(whole["graph"]), 0
    for _ in range(count):
        found = dict(whole, graph=json.dumps(changed(tree, rng)))
        if rng.random() < 0.1:
            found["tensors"] = dict(list(whole["tensors"].items())[rng.randrange(3) :])
        file = io.BytesIO()
        serialization.save(found, file)
        try:
            load(file)
        except ExportError:
            refused += 1
    return refused


def flipped(count, seed):
    """Loads files with some bytes changed, cut or doubled; how many were refused."""
    rng = random.Random(seed)
    good, refused = saved(program()).getvalue(), 0
    for _ in range(count):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(data))
            act = rng.randrange(3)
            if act == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif act == 1:
                del data[at : at + rng.randrange(1, 9)]
            else:
                data[at:at] = data[at : at + rng.randrange(1, 9)]
        if zlib.crc32(data) == zlib.crc32(good):
            continue
        try:
            load(io.BytesIO(bytes(data)))
        except ExportError:
            refused += 1
        else:
            raise AssertionError("a damaged file was taken")
    return refused


def test_changed_files_raise_only_our_error():
    assert tampered(60, 1) > 40
    assert flipped(60, 2) > 50


@pytest.mark.slow
def test_ten_thousand_changed_files_raise_only_our_error():
    assert tampered(5000, 3) > 4000
    assert flipped(5000, 4) > 4900
