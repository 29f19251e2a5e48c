"""Checkpoints of several ranks are whole or not there, load on any number of ranks, and are checked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flambeau as fb
import flambeau.distributed.checkpoint as dcp
from flambeau.distributed.checkpoint.flat import decode, encode
from flambeau.distributed.checkpoint.index import covers
from flambeau.distributed.pieces import Piece, Region, sharded
from tests.distributed import shard_programs
from tests.distributed.jobs import Cases, case_names, run_bounded, run_cases, run_ranks

PROGRAMS = "tests.distributed.checkpoint_programs"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    folder = tmp_path_factory.mktemp("checkpoints")
    return run_cases(2, PROGRAMS, environment={"CHECKPOINTS": str(folder)})


@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_case(cases: Cases, name: str) -> None:
    cases.check(name)


def check_training(name: str, sizes: tuple[int, ...], folder: Path, stage: int = 3) -> None:
    """A training that goes on with other numbers of ranks has the losses of one rank."""
    expected = shard_programs.alone(name, 2 * len(sizes))
    for i, size in enumerate(sizes):
        job = run_ranks(size, f"{PROGRAMS}:train", name, str(folder), str(2 * i + 2), str(stage)).check()
        first, losses = job.returned[0]
        assert first == 2 * i
        shard_programs.same(losses, expected[2 * i : 2 * i + 2])


@pytest.mark.slow
def test_training_goes_on_with_other_ranks(tmp_path: Path) -> None:
    check_training("lstm", (2, 1), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("name", ["gpt", "lenet", "lstm"])
def test_training_goes_on_from_4_to_2_to_1_and_back(name: str, stage: int, tmp_path: Path) -> None:
    check_training(name, (4, 2, 1, 4), tmp_path, stage)


# -- dying ---------------------------------------------------------------------------------------------
def test_killed_while_saving_leaves_the_last_one_whole(tmp_path: Path) -> None:
    job = run_ranks(2, f"{PROGRAMS}:die_while_saving", str(tmp_path))
    assert job.status != 0
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["step-00000001"]
    assert dcp.latest(tmp_path) == 1
    kept, state = dcp.Checkpoints(tmp_path), {"w": fb.zeros(4, 3)}
    assert kept.restore(state) == 1
    assert state["w"][:, 0].tolist() == [1, 1, 2, 2]
    kept.save(2, state)  # which clears away what was left
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("number", [0, 1])
def test_killed_while_renaming(number: int, tmp_path: Path) -> None:
    target = tmp_path / "last"
    program = f"from {PROGRAMS} import die_while_renaming as run; run({str(target)!r}, {number})"
    ran = run_bounded([sys.executable, "-c", program], 60)
    assert ran.returncode == 9, ran.stderr
    state = {"w": fb.zeros(2)}
    dcp.load(state, checkpoint_id=target)
    assert state["w"].tolist() == [1, 1]
    dcp.save({"w": fb.full((2,), 3.0)}, checkpoint_id=target)
    assert os.listdir(tmp_path) == ["last"]
    dcp.load(state, checkpoint_id=target)
    assert state["w"].tolist() == [3, 3]


# -- what is wrong with files ----------------------------------------------------------------------------
def edited(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change the index."""

    def edit(folder: Path) -> None:
        found = json.loads((folder / "index.json").read_text())
        change(found)
        (folder / "index.json").write_text(json.dumps(found))

    return edit


def shorten(folder: Path) -> None:
    file = folder / "rank-00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def change_header(folder: Path) -> None:
    file = folder / "rank-00000.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"w"', b'"v"'))


FILE = "rank-00000.safetensors"
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (lambda f: (f / "index.json").unlink(), "not a checkpoint, or not complete: it has no index.json"),
    "no file": (lambda f: (f / FILE).unlink(), "the checkpoint's index names this file, and it is missing"),
    "short file": (shorten, "it has 71 bytes, the checkpoint's index says 72"),
    "header": (change_header, "its header is not the one that the checkpoint's index was made with"),
    "no JSON": (lambda f: (f / "index.json").write_text("{"), "damaged"),
    "other JSON": (lambda f: (f / "index.json").write_text("[]"), "it is not a flambeau.checkpoint"),
    "version": (edited(lambda i: i.update(version=2)), "its version is 2; version 1 can be read"),
    "path": (edited(lambda i: i["files"].update({"../x": i["files"][FILE]})), "leads out of the folder"),
    "file": (edited(lambda i: i["tensors"]["w"]["parts"][0].__setitem__(0, "x")), "which is not in the list"),
    "shape": (edited(lambda i: i["tensors"]["w"].update(shape=[3])), "do not make up its shape"),
    "offset": (edited(lambda i: i["tensors"]["w"]["parts"][0].__setitem__(2, [-1])), "is no size"),
    "dtype": (edited(lambda i: i["tensors"]["w"].update(dtype="int64")), "should be int64 [2], it is float32 [2]"),
    "no dtype": (edited(lambda i: i["tensors"]["w"].update(dtype="device")), "which no checkpoint has"),
    "value": (edited(lambda i: i["values"].update(n={"$": "x"})), "a saved value is damaged"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_damaged(damage: Callable[[Path], Any], words: str, tmp_path: Path) -> None:
    dcp.save({"w": fb.ones(2)}, checkpoint_id=tmp_path / "x")
    damage(tmp_path / "x")
    state = {"w": fb.zeros(2)}
    with pytest.raises(dcp.CheckpointError) as caught:
        dcp.load(state, checkpoint_id=tmp_path / "x")
    assert words in str(caught.value)
    assert state["w"].tolist() == [0, 0]


def test_what_does_not_fit(tmp_path: Path) -> None:
    dcp.save({"w": fb.ones(2), "n": 1}, checkpoint_id=tmp_path / "x")
    with pytest.raises(dcp.CheckpointError, match=r"'v' is not in it; 'w' has shape .2,. in it, and .3,. here"):
        dcp.load({"v": 1, "w": fb.ones(3)}, checkpoint_id=tmp_path / "x")
    with pytest.raises(dcp.CheckpointError, match="'w' is a tensor in it; 'n' is no tensor in it"):
        dcp.load({"w": 1, "n": fb.ones(3)}, checkpoint_id=tmp_path / "x")
    with pytest.raises(dcp.CheckpointError, match="there is no such checkpoint"):
        dcp.load({"w": fb.ones(2)}, checkpoint_id=tmp_path / "y")
    with pytest.raises(TypeError, match="'w' is a object; tensors, numbers"):
        dcp.save({"w": object()}, checkpoint_id=tmp_path / "y")
    with pytest.raises(ValueError, match=r"two entries have the path 'a.b'"):
        dcp.save({"a.b": 1, "a": {"b": 2}}, checkpoint_id=tmp_path / "y")
    with pytest.raises(FileExistsError, match="there is a checkpoint already"):
        dcp.save({"w": 1}, storage_writer=dcp.FileSystemWriter(tmp_path / "x", overwrite=False))
    assert os.listdir(tmp_path) == ["x"]


# -- pieces and values -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "x"
    dcp.save({"w": fb.arange(60).view(3, 4, 5)}, checkpoint_id=path)
    return path


@given(data=st.data())
def test_any_piece_is_loaded(saved: Path, data: Any) -> None:
    dim, parts = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 7))
    piece = Piece((3, 4, 5), dim, parts, data.draw(st.integers(0, parts - 1)))
    state = {"w": sharded(fb.zeros(*piece.region.shape), piece)}
    dcp.load(state, checkpoint_id=saved)
    assert state["w"].tolist() == piece.of(fb.arange(60).view(3, 4, 5)).tolist()


@given(st.integers(0, 9), st.integers(1, 9))
def test_pieces_cover(size: int, parts: int) -> None:
    regions = [Piece((size, 3), 0, parts, r).region for r in range(parts)]
    assert covers((size, 3), regions)
    if size:
        assert not covers((size, 3), regions[1:])
        assert not covers((size, 3), [*regions, regions[0]])


def test_pieces_that_overlap_do_not_cover() -> None:
    assert not covers((4,), [Region((0,), (2,)), Region((1,), (2,))])
    assert covers((2, 2), [Region((0, 0), (1, 1)), Region((1, 0), (1, 1)), Region((0, 1), (2, 1))])
    assert not covers((2, 2), [Region((0, 0), (1, 2)), Region((0, 0), (2, 1))])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=8,
)


@given(VALUES)
def test_values(value: Any) -> None:
    assert decode(json.loads(json.dumps(encode(value, "x"), allow_nan=False))) == value


def test_dtypes(tmp_path: Path) -> None:
    kinds = [fb.bool, fb.uint8, fb.int64, fb.float16, fb.bfloat16, fb.float64, fb.complex64, fb.complex128]
    state = {str(d): fb.tensor([[0, 1, 1]]).to(d).t() for d in kinds} | {"none": fb.ones(0, 2), "one": fb.tensor(2.0)}
    dcp.save(state, checkpoint_id=tmp_path / "x")
    found = {name: fb.zeros_like(t) for name, t in state.items()}
    dcp.load(found, checkpoint_id=tmp_path / "x")
    for name, t in state.items():
        assert found[name].tolist() == t.tolist(), name
