"""Checkpoints of a training, one for each of some steps, in one folder: from the last whole one a job goes on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from flambeau.distributed.checkpoint.folders import existing
from flambeau.distributed.checkpoint.index import Index, read
from flambeau.distributed.checkpoint.loading import load
from flambeau.distributed.checkpoint.peers import Peers
from flambeau.distributed.checkpoint.saving import async_save, save
from flambeau.futures import Future
from flambeau.utils.safetensors import CheckpointError

_NAME: Final = re.compile(r"\.?step-(\d{8,})(?:\.[0-9a-f]{32}\.replaced)?")


def _steps(folder: Path) -> Iterator[int]:
    """The steps of which there is a folder, last ones first."""
    try:
        names = [_NAME.fullmatch(p.name) for p in folder.iterdir()]
    except FileNotFoundError:
        return
    yield from sorted({int(m[1]) for m in names if m is not None}, reverse=True)


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def _is_whole(path: Path) -> bool:
    try:
        read(existing(path))
    except CheckpointError:
        return False
    return True


def latest(folder: str | os.PathLike[str]) -> int | None:
    """The last step of which :class:`Checkpoints` has a whole checkpoint in a folder; None where there is none.

    One that is not complete, or of which a file is missing or too short, does not count.
    """
    root = Path(folder)
    return next((step for step in _steps(root) if _is_whole(_path(root, step))), None)


class Checkpoints:
    """The checkpoints of a training in a folder: ``step-00000100`` and so on, of which the last ``keep`` stay.

    Every method must be called by all ranks. A job that begins calls :meth:`restore`, and goes on where the one before
    it had saved last, on whatever number of ranks.

    >>> import flambeau.distributed.checkpoint as dcp
    >>> kept = dcp.Checkpoints("run", keep=2)
    >>> state = {"model": fb.nn.Linear(2, 1), "lr": 0.1}
    >>> kept.restore(state) is None
    True
    >>> for step in (10, 20, 30):
    ...     kept.save(step, state)
    >>> kept.steps(), kept.restore(state)
    ([20, 30], 30)
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int | None = 3, process_group: Any = None):
        if keep is not None and (type(keep) is not int or keep < 1):
            raise ValueError(f"Checkpoints: keep must be a positive int or None, got {keep!r}")
        self.folder, self.keep, self.group = Path(folder), keep, process_group

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        if type(step) is not int or step < 0:
            raise ValueError(f"Checkpoints: step must be an int of 0 or more, got {step!r}")
        return _path(self.folder, step)

    def steps(self) -> list[int]:
        """The steps of which there are whole checkpoints."""
        return sorted(s for s in _steps(self.folder) if _is_whole(_path(self.folder, s)))

    def save(self, step: int, state_dict: Mapping[str, Any]) -> None:
        """Save the state of a step, and remove checkpoints that are too many."""
        save(state_dict, checkpoint_id=self.path(step), process_group=self.group)
        self._prune()

    def async_save(self, step: int, state_dict: Mapping[str, Any]) -> Future[None]:
        """As :meth:`save`, in the background; wait for the future before the next save."""
        saved = async_save(state_dict, checkpoint_id=self.path(step), process_group=self.group)

        def end(done: Future[Index]) -> None:
            done.value()
            self._prune()

        return saved.then(end)

    def _prune(self) -> None:
        if self.keep is None or Peers(self.group).rank:
            return
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(_path(self.folder, step), ignore_errors=True)

    def restore(self, state_dict: dict[str, Any]) -> int | None:
        """Load the last whole checkpoint into a state; its step, or None where there is none.

        What the first rank finds counts for all of them.
        """
        found: int | None = Peers(self.group).gather(latest(self.folder))[0]
        if found is not None:
            load(state_dict, checkpoint_id=self.path(found), process_group=self.group)
        return found
