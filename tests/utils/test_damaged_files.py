"""Files that are damaged, forged or made to take long: one kind of error, soon."""

import io
import json
import math
import random
import time
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau import nn
from flambeau.utils import safetensors as fst
from flambeau.utils import serialization
from flambeau.utils.serialization import CheckpointError, load, load_file, save
from flambeau.utils.structure import Encoder
from tests.utils.test_serialization import STATE, round_trip


def saved():
    file = io.BytesIO()
    save(STATE, file)
    return file.getvalue()


def forged(structure, arrays=None):
    """A file with a right checksum and this structure."""
    arrays = {"a": np.arange(4, dtype=np.float32)} if arrays is None else arrays
    metadata = {serialization._VERSION: "1", serialization._STRUCTURE: structure}
    header = fst.plan(arrays, metadata)
    header["__metadata__"][serialization._CHECKSUM] = serialization._fingerprint(sorted(header.items()))
    file = io.BytesIO()
    fst.write(file, arrays, header)
    return io.BytesIO(file.getvalue())


def test_every_changed_byte_is_found():
    data = saved()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x15
        with pytest.raises(CheckpointError, match=r"^<BytesIO>: "):
            load(io.BytesIO(changed))


def test_every_truncation_is_found():
    data = saved()
    for end in range(0, len(data), 7):
        with pytest.raises(CheckpointError):
            load(io.BytesIO(data[:end]))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_random_damage(data):
    changed = bytearray(saved())
    start = data.draw(st.integers(0, len(changed)))
    changed[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    try:
        load(io.BytesIO(changed))
    except CheckpointError:
        return
    assert bytes(changed) == saved()


ARRAY = {
    "kind": "tensor",
    "dtype": "float32",
    "device": "cpu",
    "requires_grad": False,
    "array": "a",
    "crc32": fst.checksum(np.arange(4, dtype=np.float32)),
}
TEXTS = ["", "[", "[]", "{}", '{"root": 1}', '{"root": 1, "arrays": [], "more": 1}', '{"root": NaN, "arrays": []}',
         '{"root": ' + "[" * 3000 + "]" * 3000 + ', "arrays": []}']  # fmt: skip
ROOTS = [
    {}, {"a": 1, "b": 2}, {"unknown": 1}, {"array": 0}, {"array": -1}, {"array": "x"}, {"array": [0]}, {"float": "x"},
    {"bytes": "&"}, {"bytes": 1}, {"dtype": "x"}, {"dtype": 1}, {"device": "a b"}, {"device": 1}, {"size": ["x"]},
    {"size": 1}, {"complex": [1]}, {"complex": ["a", "b"]}, {"tuple": 1}, {"dict": [[1]]}, {"dict": [[[1], 2]]},
    {"dict": {"a": 1}}, {"ordered_dict": 1}, {"set": [[]]},
]  # fmt: skip
DESCRIPTIONS = [
    None, {}, 5,
    *(
        ARRAY | change
        for change in (
            {"kind": "module"}, {"kind": 1}, {"dtype": "float64"}, {"dtype": "complex128"}, {"dtype": 3},
            {"device": "a b"}, {"device": 4}, {"array": "none"}, {"array": []}, {"crc32": 1}, {"view": 3},
            {"view": [[2], [1]]}, {"view": [[5], [1], 0]}, {"view": [[2], [1], 3]}, {"view": [[2], [-1], 0]},
            {"view": [[2, 2], [1], 0]}, {"view": [[-2], [1], 0]}, {"view": [["a"], [1], 0]},
            {"view": [[2], [2**80], 0]}, {"view": [[1.5], [1], 0]}, {"view": [[2], [1], 0.5]},
        )
    ),
]  # fmt: skip
NONSENSE = [
    *TEXTS,
    *(json.dumps({"root": root, "arrays": []}) for root in ROOTS),
    *(json.dumps({"root": {"array": 0}, "arrays": [d]}) for d in DESCRIPTIONS),
    json.dumps({"root": {"array": 0}, "arrays": 5}),
]


def test_damage_that_would_raise_something_else():
    boolean = {
        "kind": "tensor",
        "dtype": "bool",
        "device": "cpu",
        "array": "a",
        "crc32": fst.checksum(np.ones(2, bool)),
    }
    descriptions = {
        "a bool that requires grad": [boolean | {"requires_grad": True}],
        "a parameter of bools": [boolean | {"kind": "parameter", "requires_grad": True}],
        "requires_grad is no bool": [boolean | {"requires_grad": "yes"}],
        "an array taken twice": [boolean | {"requires_grad": False}] * 2,
        "a scalar of two elements": [boolean | {"kind": "scalar"}],
    }
    for what, each in descriptions.items():
        root = [{"array": n} for n in range(len(each))]
        file = forged(json.dumps({"root": root, "arrays": each}), {"a": np.ones(2, bool)})
        with pytest.raises(CheckpointError, match="damaged"):
            pytest.fail(f"{what}: {load(file)}")


def test_errors_of_the_callers_function_stay_what_they_are():
    def choose(saved):
        raise ZeroDivisionError(saved)

    file = io.BytesIO()
    save(fb.ones(2), file)
    with pytest.raises(ZeroDivisionError, match="cpu"):
        load(file, choose)


MANY = ",".join(f'"a{n}":1' for n in range(30_000)) + ',"a0":1'
ENTRY = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
HOSTILE = {
    "equal names": lambda: "{" + ",".join(f'"a{n}":{ENTRY}' for n in range(20_000)) + f',"a0":{ENTRY}' + "}",
    "equal keys of an entry": lambda: f'{{"a":{{{MANY}}}}}',
    "equal names of metadata": lambda: '{"__metadata__":{' + MANY.replace("1", '""') + "}}",
    "many texts": lambda: '{"__metadata__":{' + ",".join(f'"{n}":""' for n in range(200_000)) + "}}",
    "a list of lists": lambda: "[" + "[]," * 5_000_000 + "[]]",
    "lists in a member": lambda: '{"a":[' + "[]," * 5_000_000 + "[]]}",
    "lists in metadata": lambda: '{"__metadata__":[' + "[]," * 5_000_000 + "[]]}",
    "a long number": lambda: '{"a":' + "1" * 5_000_000 + "}",
    "open brackets": lambda: '{"a":' * 2_000_000,
    "quotes": lambda: '{"' + "\\" * 5_000_001,
    "spaces": lambda: "{" + " " * 5_000_000,
    "equal keys in the structure": lambda: forged(f"{{{MANY}}}"),
    "lists in the structure": lambda: forged('{"root":[' + "[]," * 4_000_001 + '[]],"arrays":[]}'),
    "open brackets in the structure": lambda: forged('{"root":' + "[" * 2_000_000),
    "keys of one hash": lambda: forged(json.dumps({"root": {"set": [n * (2**61 - 1) for n in range(50_000)]},
                                                   "arrays": []})),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_neither_long_nor_much_memory(name):
    made = HOSTILE[name]()
    data = made.getvalue() if isinstance(made, io.BytesIO) else len(made).to_bytes(8, "little") + made.encode()
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"^<BytesIO>: ") as caught:
            load(io.BytesIO(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 15
    assert peak < 8 * len(data) + 50_000_000
    assert len(str(caught.value)) < 400


def test_files_that_say_more_than_memory_holds(tmp_path):
    path = tmp_path / "sparse"
    size = 1 << 42
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        try:
            file.truncate(8 + len(header) + size)
        except OSError:
            pytest.skip("this file system has no sparse files of 4 TiB")
    with pytest.raises(CheckpointError, match="'a' takes 4398046511104 bytes, for which there is no memory; mmap=True"):
        load_file(path)
    with path.open("rb") as file, pytest.raises(CheckpointError, match="longer than this machine has memory for"):
        load_file(file)


def test_too_many_lists_are_not_saved(monkeypatch):
    monkeypatch.setattr(serialization, "_MAX_CONTAINERS", 100)
    with pytest.raises(ValueError, match="save: obj has more than 100 lists"):
        save([[]] * 100, io.BytesIO())
    assert round_trip(["[{" * 1000] * 10) == ["[{" * 1000] * 10  # brackets in texts do not count


def test_the_forger_can_forge():
    found = load(forged(json.dumps({"root": {"array": 0}, "arrays": [ARRAY]})))
    assert found.tolist() == [0, 1, 2, 3]
    found = load(forged(json.dumps({"root": {"array": 0}, "arrays": [ARRAY | {"view": [[2], [2], 1]}]})))
    assert found.tolist() == [1, 3]


@pytest.mark.parametrize("structure", NONSENSE, ids=lambda s: s[:60])
def test_nonsense_with_a_right_checksum(structure):
    with pytest.raises(CheckpointError, match=r"^<BytesIO>: "):
        load(forged(structure))


ODD = [
    None,
    True,
    -1,
    0,
    7,
    2**63,
    10**30,
    1.5,
    -0.0,
    "",
    "x",
    "F32",
    chr(0xD800),
    [],
    {},
    [[]],
    {"tuple": []},
    {"x": 1},
]


def mutated(node, rng):
    """``node`` with something in it replaced, removed, doubled, moved or nested."""
    holders = []

    def walk(value):
        if isinstance(value, (list, dict)) and value:
            holders.append(value)
            for member in value.values() if isinstance(value, dict) else value:
                walk(member)

    node = json.loads(json.dumps(node))
    walk(node)
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    change = rng.randrange(6)
    if change == 0:
        del holder[key]
    elif change == 1:
        holder[key] = [holder[key]] * 2
    elif change == 2:
        for _ in range(rng.choice([1, 5, 200])):
            holder[key] = {rng.choice(["tuple", "dict", "set", "array", "size"]): holder[key]}
    elif change == 3 and isinstance(holder, dict):
        holder[rng.choice(["root", "kind", "dtype", "view", "array", "x"])] = holder.pop(key)
    else:
        holder[key] = rng.choice(ODD)
    return node


@pytest.mark.parametrize("seed", range(4))
def test_mutated_structures_and_headers_raise_nothing_else(seed):
    """With right checksums, so that what is wrong is found where it is read."""
    rng = random.Random(seed)
    state = {**STATE, "p": nn.Parameter(fb.ones(3)), "n": np.arange(3), "s": {1, 2}, "z": 1j, "f": math.nan, "b": b"x"}
    state["views"] = [state["p"].detach()[1:], fb.Size((1, 2)), fb.float32, fb.device("cpu"), 10**400]
    encoder = Encoder()
    root = encoder.encode(state)
    arrays, described = encoder.finish()
    for each in described:
        each["crc32"] = fst.checksum(arrays[each["array"]])
    structure = {"root": root, "arrays": described}
    assert list(load(forged(json.dumps(structure), arrays))) == list(state)
    for _ in range(150):
        changed = structure
        for _ in range(rng.choice([1, 1, 2, 4])):
            changed = mutated(changed, rng)
        try:
            load(forged(json.dumps(changed), arrays))
        except CheckpointError as error:
            assert str(error).startswith("<BytesIO>: ") and len(str(error)) < 2000
        plain = fst.plan(arrays, {"a": "b"})
        text = json.dumps(mutated(plain, rng)).encode()
        data = len(text).to_bytes(8, "little") + text + bytes(sum(a.nbytes for a in arrays.values()))
        try:
            load_file(io.BytesIO(data))
        except CheckpointError as error:
            assert str(error).startswith("<BytesIO>: ") and len(str(error)) < 2000


def test_other_files(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(1))
    with pytest.raises(CheckpointError, match=r"a\.npz: cannot be read: it is a numpy \.npz file"):
        load(tmp_path / "a.npz")
    plain = safetensors.numpy.save({"a": np.zeros(2)})
    with pytest.raises(CheckpointError, match=r"not written by flambeau\.save: read it with .*load_file"):
        load(io.BytesIO(plain))
    newer = saved().replace(b'"flambeau.format":"1"', b'"flambeau.format":"2"')
    with pytest.raises(CheckpointError, match="has format '2', this flambeau reads 1"):
        load(io.BytesIO(newer))
