"""PyTorch's files are read, as far as they are plain, and whatever else is in one does nothing but raise."""

from __future__ import annotations

import io
import pickle
import random
import re
import subprocess
import sys
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.serialization import get_unsafe_globals_in_checkpoint, safe_globals
from flambeau.utils.pickled.machine import Machine, Wrong
from flambeau.utils.serialization import CheckpointError

FILES = Path(__file__).parent / "torch_files"
FORMS = ("zip", "protocol4", "older")


@pytest.mark.parametrize("form", FORMS)
def test_everything_plain_is_read(form: str) -> None:
    found = fb.load(FILES / f"{form}.pt")
    assert found["float"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]] and found["transposed"].stride() == (1, 3)
    assert isinstance(found["parameter"], fb.nn.Parameter) and found["parameter"].requires_grad
    assert isinstance(found["frozen"], fb.nn.Parameter) and not found["frozen"].requires_grad
    assert found["leaf"].requires_grad and found["leaf"].is_leaf
    for name, dtype, value in [
        ("bfloat16", fb.bfloat16, 1.5), ("half", fb.float16, 0.5), ("bool", fb.bool, True), ("int8", fb.int8, -3),
        ("uint16", fb.uint16, 65535), ("complex", fb.complex64, 1 + 2j), ("conjugated", fb.complex64, 1 - 2j),
    ]:  # fmt: skip
        assert found[name].dtype is dtype and found[name][0].item() == value
    assert found["empty"].shape == (0, 3) and found["scalar"].item() == 5 and found["scalar"].shape == ()
    assert found["meta"].device.type == "meta" and found["meta"].shape == (2, 3)
    assert isinstance(found["size"], fb.Size) and found["dtype"] is fb.float32 and found["device"].type == "cpu"
    assert isinstance(found["state"], OrderedDict) and found["state"]._metadata == {"": {"version": 1}}
    fb.nn.Linear(1, 1).load_state_dict(found["state"])
    assert type(found["ordered"]) is OrderedDict and found["ordered"] == {"a": 1}
    assert type(found["defaults"]) is defaultdict and found["defaults"]["b"] == []
    assert type(found["counts"]) is Counter and found["counts"]["a"] == 2
    assert found["nested"] == (1, [2.5, None, True], {"k": "text"}) and found["set"] == {1, 2}
    assert found["bytes"] == b"\x00\xff" and found["bytearray"] == b"q" and found["large"] == 1 << 70
    assert found["complex number"] == 1 - 2j and found["slice"] == slice(1, 5, 2) and found["range"] == range(3)
    assert found["array"].tolist() == [0, 1, 2] and found["number"] == np.float32(2.5)
    assert type(found["frozen set"]) is frozenset


@pytest.mark.parametrize("form", FORMS)
def test_storages_stay_shared(form: str) -> None:
    found = fb.load(FILES / f"{form}.pt")
    found["float"][1, 2] = 9
    assert found["part"].tolist() == [3, 4, 9] and found["transposed"][2, 1].item() == 9


@pytest.mark.parametrize(
    ("map_location", "where"),
    [
        ("strict", "strict:0"),
        ({"cpu": "strict"}, "strict:0"),
        (lambda storage, place: storage, "cpu"),
        (lambda storage, place: storage.to("strict"), "strict:0"),
        (lambda storage, place: None, "cpu"),
        (lambda place: "strict", "strict:0"),
        (fb.device("cpu"), "cpu"),
    ],
)
def test_map_location_in_all_forms(map_location: Any, where: str) -> None:
    for form in FORMS:
        assert str(fb.load(FILES / f"{form}.pt", map_location)["float"].device) == where
    own = io.BytesIO()
    fb.save(fb.ones(1, device="cpu"), own)
    assert str(fb.load(own, map_location).device) == where


def test_an_error_of_map_location_stays_what_it_is() -> None:
    def wrong(storage: Any, place: str) -> Any:
        raise KeyError(place)

    for form in FORMS:
        with pytest.raises(KeyError, match="cpu"):
            fb.load(FILES / f"{form}.pt", wrong)


def test_mmap_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes((FILES / "zip.pt").read_bytes())
    found = fb.load(path, mmap=True)
    assert found["float"].tolist() == [[0, 1, 2], [3, 4, 5]]
    found["float"].zero_()
    assert path.read_bytes() == (FILES / "zip.pt").read_bytes()
    with pytest.raises(CheckpointError, match="older form"):
        fb.load(FILES / "older.pt", mmap=True)


def test_what_is_not_read_is_named() -> None:
    for name, text in [
        ("module", r"whole module, torch\.nn\.modules\.linear\.Linear"),
        ("sparse", r"another layout \(sparse, by torch\._utils\._rebuild_sparse_tensor\)"),
        ("fraction", r"asks for fractions\.Fraction"),
    ]:
        with pytest.raises(CheckpointError, match=text):
            fb.load(FILES / f"{name}.pt")
    assert get_unsafe_globals_in_checkpoint(FILES / "fraction.pt") == ["fractions.Fraction"]
    with safe_globals([Fraction]):
        assert fb.load(FILES / "fraction.pt") == [Fraction(1, 2)]
    with pytest.raises(CheckpointError, match=r"none that torch\.save wrote"):
        fb.load(io.BytesIO(pickle.dumps([1])))


class Evil:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_nothing_in_a_file_runs(protocol: int, capsys: pytest.CaptureFixture[str]) -> None:
    for evil in (Evil(), {"a": [Evil()]}, (Evil(),)):
        with pytest.raises(Wrong, match=r"asks for .*print"):
            Machine(lambda name: None, lambda what: None).run(io.BytesIO(pickle.dumps(evil, protocol)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x80\x02}(]K\x01u.", "a key is a list"),
        (b"\x80\x02K\x01K\x02.", "leaves values behind"),
        (b"\x80\x02h\x05.", "asks for value"),
        (b"\x80\x02K\x01", "no whole pickle"),
        (b"\x80\x02)R.", "no whole pickle"),
        (b"\x80\x02K\x01)R.", "calls 1"),
        (b"\x80\x02]}b.", "sets the state of a list"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02Pname\n.", "opcode PERSID"),
        (b"\x80\x02(i__main__\nX\n.", "opcode INST"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said(data: bytes, text: str) -> None:
    with pytest.raises(Wrong, match=text):
        Machine(lambda name: None, lambda what: None).run(io.BytesIO(data))


def test_keys_that_would_take_for_ever() -> None:
    same = pickle.dumps({k * (2**61 - 1): 0 for k in range(1, 300)}, 2)
    with pytest.raises(Wrong, match="same hash"):
        Machine(lambda name: None, lambda what: None).run(io.BytesIO(same))
    doubled = b"\x80\x02}(K\x01" + b"2\x86" * 100 + b"K\x01u."  # a pair of pairs of pairs ...
    with pytest.raises(Wrong, match="too many members"):
        Machine(lambda name: None, lambda what: None).run(io.BytesIO(doubled))


def _changed(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        changed[rng.randrange(len(data))] = rng.choice(
            (rng.randrange(256), rng.choice(b"(.0NIKJ}])tusabehqrRQ\x86\x93c"))
        )
    return bytes(changed)


def _archive_of(original: Path, main: bytes) -> bytes:
    """The archive with another main record, whose checksum is right."""
    made = io.BytesIO()
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(made, "w") as target:
        for name in source.namelist():
            target.writestr(name, main if name.endswith("data.pkl") else source.read(name))
    return made.getvalue()


@pytest.mark.parametrize("count", [60, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_raise_one_error(form: str, count: int) -> None:
    rng = random.Random(f"{form} {count}")
    path = FILES / f"{form}.pt"
    data = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(count):
            if form != "older" and i % 2:
                with zipfile.ZipFile(path) as archive:
                    (name,) = [n for n in archive.namelist() if n.endswith("data.pkl")]
                    damaged = _archive_of(path, _changed(archive.read(name), rng))
            else:
                damaged = _changed(data, rng)
            try:
                fb.load(io.BytesIO(damaged))
            except CheckpointError as error:
                assert str(error).startswith("<BytesIO>: ") and len(str(error)) < 2000


def test_storages_are_checked_against_their_records() -> None:
    with zipfile.ZipFile(FILES / "zip.pt") as archive:
        (main,) = [n for n in archive.namelist() if n.endswith("data.pkl")]
        data = archive.read(main)
    longer = re.sub(rb"(cpuq.)K\x06t", lambda m: m[1] + b"K\x09t", data, count=1, flags=re.DOTALL)
    assert longer != data
    with pytest.raises(CheckpointError, match="takes 36 bytes, its record has 24"):
        fb.load(io.BytesIO(_archive_of(FILES / "zip.pt", longer)))


class Mine(fb.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = fb.nn.Linear(2, 1)
        self.register_buffer("count", fb.zeros(1))
        self.width = 3


def test_modules_are_saved_by_structure() -> None:
    file = io.BytesIO()
    fb.save(fb.nn.Sequential(fb.nn.Linear(2, 3), fb.nn.ReLU()).eval(), file)
    back = fb.load(file)
    assert isinstance(back, fb.nn.Sequential) and not back.training and isinstance(back[1], fb.nn.ReLU)
    assert back(fb.ones(1, 2)).shape == (1, 3)
    model = Mine()
    file = io.BytesIO()
    fb.save({"model": model}, file)
    with pytest.raises(CheckpointError, match=r"whole module, of class .*Mine.*add_safe_globals"):
        fb.load(file)
    with safe_globals([Mine]):
        mine = fb.load(file)["model"]
    assert mine.width == 3 and fb.equal(mine.inner.weight, model.inner.weight)
    assert [n for n, _ in mine.named_buffers()] == ["count"]


def test_constraints_are_read() -> None:
    own = fb.distributions.constraints
    found = fb.load(FILES / "constraints.pt")
    real, interval, vector, multinomial, cat = found["regions"]
    assert type(real) is type(own.real) and repr(vector) == repr(own.real_vector) and found["again"] is interval
    assert isinstance(interval, own.interval) and interval.upper_bound.tolist() == [1, 1]
    assert multinomial.upper_bound == 3 and [type(c) for c in cat.cseq] == [type(own.positive), type(own.simplex)]
    assert (cat.dim, cat.lengths) == (-1, [1, 2])


@pytest.mark.parametrize(
    ("name", "state", "text"),
    [
        ("_Interval", b"X\x01\x00\x00\x00aK\x01s", "cannot be made of"),
        ("_Cat", b"X\x04\x00\x00\x00cseqK\x01s", "cannot be made of"),
        ("Constraint.check", b"", "not among what is read"),
        ("_DependentProperty", b"", "not among what is read"),
        ("Callable", b"", "not among what is read"),
    ],
)
def test_a_damaged_constraint_raises(name: str, state: bytes, text: str) -> None:
    stream = b"\x80\x02ctorch.distributions.constraints\n" + name.encode() + b"\n)\x81}" + state + b"b."
    with pytest.raises(CheckpointError, match=text):
        fb.load(io.BytesIO(_archive_of(FILES / "constraints.pt", stream)))


@pytest.mark.slow
def test_safetensors_for_torch_works_under_compat(tmp_path: Path) -> None:
    program = """
import flambeau.compat.torch as compat
compat.install()
import torch
from safetensors.torch import load, load_file, load_model, save, save_file, save_model
tensors = {"a": torch.ones(2, 3), "b": torch.arange(3), "c": torch.ones(2, dtype=torch.bfloat16)}
save_file(tensors, "x.safetensors", metadata={"by": "me"})
for found in (load_file("x.safetensors"), load(save(tensors))):
    assert all(torch.equal(found[name], value) and found[name].dtype is value.dtype for name, value in tensors.items())
model, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
save_model(model, "m.safetensors")
assert load_model(other, "m.safetensors") == (set(), []) and torch.equal(model.weight, other.weight)

"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
