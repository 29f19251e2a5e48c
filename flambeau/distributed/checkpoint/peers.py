"""The ranks that save or load together, and what they tell each other: JSON, of which nothing is ever run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import flambeau.distributed as dist
from flambeau.core.exchange import from_numpy
from flambeau.utils.safetensors import CheckpointError
from flambeau.utils.strict_json import parse


class Peers:
    """The ranks of a group; this process alone where ``alone`` or without a process group."""

    def __init__(self, group: Any = None, alone: bool = False):
        self.alone = alone or not dist.is_initialized()
        self.group = group
        self.rank = 0 if self.alone else dist.get_rank(group)
        self.size = 1 if self.alone else dist.get_world_size(group)

    def gather(self, value: Any) -> list[Any]:
        """What each rank gave, on all of them."""
        if self.size == 1:
            return [value]
        own = np.frombuffer(json.dumps(value, allow_nan=False).encode(), np.uint8)
        lengths = np.empty(self.size, np.int64)
        self._all(lengths, np.array([own.size], np.int64))
        sent = np.zeros(int(lengths.max()), np.uint8)
        sent[: own.size] = own
        found = np.empty((self.size, sent.size), np.uint8)
        self._all(found.reshape(-1), sent)
        return [parse(row[:n].tobytes().decode()) for row, n in zip(found, lengths.tolist(), strict=True)]

    def _all(self, out: Any, own: Any) -> None:
        dist.all_gather_into_tensor(from_numpy(out), from_numpy(own), group=self.group)

    def agree(self, error: Exception | None, what: str) -> list[str | None]:
        """Whether each rank did its part: CheckpointError on all of them where one did not."""
        if self.size == 1 and error is not None:
            raise error
        said = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        wrong = [f"rank {r}: {text}" for r, text in enumerate(said) if text is not None]
        if wrong:
            raise CheckpointError(f"{what}: {'; '.join(wrong)}") from error
        return said
