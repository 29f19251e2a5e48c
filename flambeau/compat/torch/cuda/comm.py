"""Copies and sums of tensors across the devices of one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core.device import device as Device
from flambeau.core.ops.joining import cat
from flambeau.core.tensor import Tensor

__all__ = ["broadcast", "broadcast_coalesced", "gather", "reduce_add", "reduce_add_coalesced", "scatter"]

Where = int | str | Device


def _device(where: Where) -> Device:
    found = Device("cuda", where) if isinstance(where, int) else Device(where)
    if found.type == "cpu":
        raise ValueError(f"Expected a non cpu device, but got: {where}")
    return found


def _one_of(name: str, devices: Any, out: Any) -> None:
    if (devices is None) == (out is None):
        raise RuntimeError(
            f"{name}: exactly one of 'devices' and 'out' must be given, got devices={devices}, out={out}"
        )


def broadcast(
    tensor: Tensor, devices: Sequence[Where] | None = None, *, out: Sequence[Tensor] | None = None
) -> Sequence[Tensor]:
    """A copy of the tensor on each device, the tensor itself on its own; or written into the tensors ``out``."""
    _one_of("broadcast", devices, out)
    if out is not None:
        for t in out:
            t.copy_(tensor)
        return out
    return tuple(tensor.to(_device(where)) for where in devices or ())


def broadcast_coalesced(
    tensors: Sequence[Tensor], devices: Sequence[Where], buffer_size: int = 10485760
) -> list[tuple[Tensor, ...]]:
    """Copies of all tensors, a tuple for each device."""
    return [tuple(t.to(_device(where)) for t in tensors) for where in devices]


def reduce_add(inputs: Sequence[Tensor], destination: Where | None = None) -> Tensor:
    """The sum of tensors of one shape, on a device; by default that of the first."""
    for i, t in enumerate(inputs):
        if t.device.type == "cpu":
            raise AssertionError(f"reduce_add expects all inputs to be on GPUs, but input {i} is on CPU")
        if t.shape != inputs[0].shape:
            got, expected = "x".join(map(str, t.shape)), "x".join(map(str, inputs[0].shape))
            raise ValueError(f"input {i} has invalid size: got {got}, but expected {expected}")
    where = inputs[0].device if destination is None else _device(destination)
    total = inputs[0].to(where)
    for t in inputs[1:]:
        total = total + t.to(where)
    return total


def reduce_add_coalesced(
    inputs: Sequence[Sequence[Tensor]], destination: Where | None = None, buffer_size: int = 10485760
) -> tuple[Tensor, ...]:
    """The sums of the first tensors of each list, of the second ones, and so on."""
    return tuple(reduce_add(column, destination) for column in zip(*inputs, strict=True))


def scatter(
    tensor: Tensor, devices: Sequence[Where] | None = None, chunk_sizes: Sequence[int] | None = None, dim: int = 0,
    streams: object = None, *, out: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Parts of the tensor along ``dim``, each on a device of its own, or written into the tensors ``out``."""
    if out is not None:
        _one_of("scatter", devices, out)
        parts = tensor.split([t.shape[dim] for t in out], dim)
        return tuple(t.copy_(part) for t, part in zip(out, parts, strict=True))
    _one_of("scatter", devices, out)
    places = [_device(where) for where in devices or ()]
    parts = tensor.chunk(len(places), dim) if chunk_sizes is None else tensor.split(list(chunk_sizes), dim)
    return tuple(part.to(where) for part, where in zip(parts, places, strict=False))


def gather(
    tensors: Sequence[Tensor], dim: int = 0, destination: Where | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The tensors one after the other along ``dim``, on a device (by default the first's) or in ``out``."""
    if out is not None:
        if destination is not None:
            raise RuntimeError(f"gather: 'destination' must not be given with 'out', got {destination!r}")
        return out.copy_(cat([t.to(out.device) for t in tensors], dim))
    where = tensors[0].device if destination is None else _gathered(destination)
    return cat([t.to(where) for t in tensors], dim)


def _gathered(where: Where) -> Device:
    if isinstance(where, int):
        return Device("cpu") if where < 0 else Device("cuda", where)
    return Device(where)
