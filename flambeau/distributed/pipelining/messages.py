"""What neighbours in a pipeline send to each other: tuples of tensors, whose shapes are told where they are new.

Sends do not wait, so a rank always comes to what the other waits for; what is received comes in the order in which it
was sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import as_dtype, int64, uint8
from flambeau.core.exchange import from_numpy
from flambeau.core.tensor import Tensor
from flambeau.distributed.messages import isend, recv
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.work import Work

_FORMS, _VALUES = 1, 2  # tags


@dataclass(frozen=True)
class Form:
    """What a tensor is, without its values."""

    dtype: str
    shape: tuple[int, ...]
    requires_grad: bool

    @classmethod
    def of(cls, tensor: Tensor) -> Form:
        """That of a tensor."""
        return cls(tensor.dtype.name, tuple(tensor.shape), tensor.requires_grad)

    def empty(self, device: DeviceLike) -> Tensor:
        """A tensor of this form, whose values are still to come."""
        return empty(self.shape, dtype=as_dtype(self.dtype), device=device)


class Sender:
    """The way to a neighbour."""

    def __init__(self, group: ProcessGroup, peer: int):
        self.group, self.peer = group, peer
        self._told: dict[int, tuple[Form, ...]] = {}
        self._under_way: list[Work] = []

    def send(self, microbatch: int, tensors: Sequence[Tensor]) -> tuple[Form, ...]:
        """Send tensors, and their forms where they are others than for this microbatch the last time."""
        forms = tuple(map(Form.of, tensors))
        text = b"" if self._told.get(microbatch) == forms else json.dumps([vars(f) for f in forms]).encode()
        self._put(from_numpy(np.array([len(text)])), _FORMS)
        if text:
            self._put(from_numpy(np.frombuffer(text, "u1").copy()), _FORMS)
            self._told[microbatch] = forms
        self.send_values(tensors)
        return forms

    def send_values(self, tensors: Sequence[Tensor]) -> None:
        """Send tensors whose forms the other side knows."""
        for t in tensors:
            self._put(t.detach().contiguous(), _VALUES)

    def _put(self, tensor: Tensor, tag: int) -> None:
        work = isend(tensor, group=self.group, group_dst=self.peer, tag=tag)
        assert work is not None
        self._under_way.append(work)

    def finish(self) -> None:
        """Wait until all has been sent."""
        for work in self._under_way:
            work.wait()
        self._under_way.clear()


class Receiver:
    """The way from a neighbour."""

    def __init__(self, group: ProcessGroup, peer: int, device: DeviceLike):
        self.group, self.peer, self.device = group, peer, device
        self._known: dict[int, tuple[Form, ...]] = {}

    def receive(self, microbatch: int) -> list[Tensor]:
        """The tensors that come next, as leaves that require a gradient where they did on the other side."""
        length = self._get(empty(1, dtype=int64, device="cpu"), _FORMS).item()
        if length:
            text = self._get(empty(int(length), dtype=uint8, device="cpu"), _FORMS).numpy().tobytes()
            self._known[microbatch] = tuple(_form(entry) for entry in json.loads(text))
        forms = self._known[microbatch]
        tensors = self.receive_values(forms)
        for t, form in zip(tensors, forms, strict=True):
            t.requires_grad_(form.requires_grad)
        return tensors

    def receive_values(self, forms: Sequence[Form]) -> list[Tensor]:
        """The tensors that come next, whose forms are known here."""
        return [self._get(form.empty(self.device), _VALUES) for form in forms]

    def _get(self, tensor: Tensor, tag: int) -> Tensor:
        recv(tensor, group=self.group, group_src=self.peer, tag=tag)
        return tensor


def _form(entry: dict[str, Any]) -> Form:
    return Form(str(entry["dtype"]), tuple(entry["shape"]), bool(entry["requires_grad"]))
