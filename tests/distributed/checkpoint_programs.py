"""What test_checkpoint.py runs on several ranks: trainings that save, go on and die."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import flambeau as fb
import flambeau.distributed as dist
import flambeau.distributed.checkpoint as dcp
from flambeau.distributed.checkpoint import folders, saving
from flambeau.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from flambeau.distributed.pieces import Piece, sharded
from tests.distributed import shard_programs
from tests.distributed.shard_programs import rank, ranks, replicated_training, setup, sharded_training, step


def train(name: str, folder: str, upto: str, stage: str = "3") -> list[Any]:
    """Go on from the last checkpoint up to a step and save that; the step it went on from, and the losses."""
    setup()
    training, after = replicated_training(name) if stage == "1" else (sharded_training(name)[0], lambda: None)
    optimizer = training.optimizer
    kept = dcp.Checkpoints(folder, keep=2)
    model_state, optimizer_state = get_state_dict(training.model, optimizer)
    state: dict[str, Any] = {"model": model_state, "optimizer": optimizer_state, "step": 0}
    kept.restore(state)
    first = state["step"]
    if first:
        set_state_dict(training.model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    losses = [step(training, after) for _ in range(first, int(upto))]
    model_state, optimizer_state = get_state_dict(training.model, optimizer)
    kept.save(int(upto), {"model": model_state, "optimizer": optimizer_state, "step": int(upto)})
    return [first, losses]


def die_while_saving(folder: str) -> None:
    """Save one step, and die on rank 1 in the middle of its file of the next."""
    setup()
    kept = dcp.Checkpoints(folder)
    kept.save(1, {"w": _piece(1.0)})
    written = saving.safetensors.write

    def write(file: Any, arrays: Any, header: Any) -> None:
        if rank() == 1:
            file.write(b"half")
            file.flush()
            os._exit(9)
        written(file, arrays, header)

    saving.safetensors.write = write
    kept.save(2, {"w": _piece(2.0)})


def _piece(value: float) -> Any:
    return sharded(fb.full((2, 3), value + rank()), Piece((2 * ranks(), 3), 0, ranks(), rank()))


def die_while_renaming(folder: str, number: str) -> None:
    """Save over a checkpoint in one process, and die before the rename of this number."""
    dcp.save({"w": fb.ones(2)}, checkpoint_id=folder)
    renamed, left = os.rename, [int(number)]

    def rename(*args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        renamed(*args)

    folders.os.rename = rename
    dcp.save({"w": fb.full((2,), 2.0)}, checkpoint_id=folder)


# -- cases of one job ----------------------------------------------------------------------------------
FOLDER = Path(os.environ.get("CHECKPOINTS", "."))


def _whole(first: float = 1.0) -> Any:
    return fb.cat([fb.full((2, 3), first + r) for r in range(ranks())])


def case_pieces_make_up_a_whole() -> None:
    state = {"w": _piece(1.0), "all": fb.arange(5), "nested": {"list": [fb.ones(1), 2], "name": "x"}, "rank": rank()}
    index = dcp.save(state, checkpoint_id=FOLDER / "a")
    assert len(index.tensors["w"].parts) == ranks()
    assert len(index.tensors["all"].parts) == 1
    found = {"w": fb.zeros(2 * ranks(), 3), "all": fb.zeros(5, dtype=fb.int64), "nested": {"list": [fb.zeros(1), 0]}}
    dcp.load(found, checkpoint_id=FOLDER / "a")
    assert bool((found["w"] == _whole()).all())
    assert found["nested"] == {"list": [fb.ones(1), 2]}
    other = {"w": sharded(fb.zeros(2 * ranks(), 1), Piece((2 * ranks(), 3), 1, 3, 1))}
    dcp.load(other, checkpoint_id=FOLDER / "a")
    assert bool((other["w"] == _whole()[:, 1:2]).all())


def case_pieces_that_lack_or_overlap() -> None:
    for piece in (Piece((9, 3), 0, ranks() + 1, rank()), Piece((2, 3), 0, 1, 0)):
        local = fb.zeros(*piece.region.shape) + rank()
        wrong = {"w": sharded(local, piece), **({"v": fb.ones(1)} if rank() else {})}
        try:
            dcp.save(wrong, checkpoint_id=FOLDER / "b")
        except dcp.CheckpointError as error:
            assert piece.parts > 1
            assert "the pieces of 'w' on these ranks do not make up its shape (9, 3)" in str(error)
            assert not (FOLDER / "b").exists()
        else:
            assert piece.parts == 1


def case_an_error_on_one_rank_is_raised_on_all() -> None:
    try:
        dcp.save({"w": object() if rank() == 1 else 1}, checkpoint_id=FOLDER / "c")
    except dcp.CheckpointError as error:
        assert "rank 1: TypeError: checkpoint: 'w' is a object" in str(error)
    else:
        raise AssertionError("it was saved")
    dcp.save({"w": fb.ones(2)}, checkpoint_id=FOLDER / "c")
    try:
        dcp.load({"w": fb.ones(2 + rank())}, checkpoint_id=FOLDER / "c")
    except dcp.CheckpointError as error:
        assert "rank 1: CheckpointError" in str(error)
        assert "'w' has shape (2,) in it, and (3,) here" in str(error)
    else:
        raise AssertionError("it was loaded")
    assert [p.name for p in FOLDER.iterdir() if p.name.startswith(".")] == []


def case_saved_in_the_background() -> None:
    value = _piece(1.0)
    kept = dcp.Checkpoints(FOLDER / "steps", keep=2)
    for number in (1, 2, 3):
        future = kept.async_save(number, {"w": value})
        value.add_(1)  # what is saved is what was there at the call
        total = fb.ones(1)
        for _ in range(5):
            dist.all_reduce(total)
        future.wait()
    dist.barrier()
    assert kept.steps() == [2, 3]
    found = {"w": fb.zeros(2 * ranks(), 3)}
    assert kept.restore(found) == 3
    assert bool((found["w"] == _whole(3.0)).all())
    taken = dcp.async_save({"w": object()}, checkpoint_id=FOLDER / "wrong")
    started = time.monotonic()
    try:
        taken.wait()
    except dcp.CheckpointError as error:
        assert "rank 0: TypeError" in str(error)
    else:
        raise AssertionError("it was saved")
    assert time.monotonic() - started < 30


def case_shares_of_an_optimizer() -> None:
    """State of ZeroRedundancyOptimizer, gathered on a rank, is the optimizer's own."""
    layer = fb.nn.Linear(3, 5)
    with fb.no_grad():
        for p in layer.parameters():
            p.fill_(0.5)
    zero = dist.optim.ZeroRedundancyOptimizer(layer.parameters(), fb.optim.AdamW, lr=0.1, weight_decay=0.1)
    other = fb.nn.Linear(3, 5)
    other.load_state_dict(layer.state_dict())
    plain = fb.optim.AdamW(other.parameters(), lr=0.1, weight_decay=0.1)
    x = fb.arange(6.0).view(2, 3)
    for model, optimizer in ((layer, zero), (other, plain)) * 2:
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    try:
        zero.state_dict()
    except RuntimeError as error:
        assert "call consolidate_state_dict" in str(error)
    zero.consolidate_state_dict(1)
    if rank() == 1:
        found, expected = zero.state_dict(), plain.state_dict()
        assert found["param_groups"] == expected["param_groups"]
        for number, values in expected["state"].items():
            for name, value in values.items():
                assert bool((found["state"][number][name] == value).all()), name


setup_of_shards = shard_programs.setup
