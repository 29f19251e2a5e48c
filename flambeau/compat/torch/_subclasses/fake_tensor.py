"""The classes that packages ask of a tensor whether it is."""

from __future__ import annotations

from flambeau.core.tensor import Tensor

__all__ = ["FakeTensor", "FakeTensorMode", "is_fake"]


class FakeTensor:
    """A tensor without data that says it is on another device; no tensor is one."""


class FakeTensorMode:
    """A block in which tensors are made without data. RuntimeError: use ``with torch.device("meta")``."""

    def __init__(self, *args: object, **options: object):
        raise RuntimeError(
            'FakeTensorMode: flambeau has none; tensors without data are made in `with torch.device("meta")`'
        )


def is_fake(x: object) -> bool:
    """Whether it is a tensor without data."""
    return isinstance(x, Tensor) and x.device.type == "meta"
