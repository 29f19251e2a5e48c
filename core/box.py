"""What the tensors of one storage share: how often it was written."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from flambeau.core.errors import GradientError

Boxed: TypeAlias = Any  # a Tensor: its class stands above


class Box:
    """What all tensors of one storage share: how often it was written, and by whom.

    ``version`` counts writes (saved values check it), ``generation`` counts changes of the base's edge
    (views rebuild theirs), ``writer`` names the op that wrote last.
    """

    __slots__ = ("generation", "version", "writer")

    def __init__(self) -> None:
        self.version = self.generation = 0
        self.writer = ""


class _Inference(Box):
    """The box of every tensor made in inference mode: it counts nothing, so that nothing can be saved for backward."""

    __slots__ = ()

    def __init__(self) -> None:
        self.generation, self.writer = 0, ""

    @property
    def version(self) -> int:  # type: ignore[override]
        raise GradientError(
            "inference tensors cannot be saved for backward, and their writes are not counted: this one was made in "
            "inference_mode(); clone() it outside, or make it under no_grad() instead"
        )


INFERENCE: Final = _Inference()


def box_of(x: Boxed) -> Box:
    """The box of a tensor, made now if nobody needed it before."""
    box: Box | None = x._box
    if box is None:
        box = x._box = Box()
    return box


def mark_written(x: Boxed, writer: str) -> None:
    """Count a write to the storage of ``x``."""
    box = x._box
    if box is None:
        box = x._box = Box()
    if box is not INFERENCE:
        box.version += 1
        box.writer = writer


def require_tracked(x: Boxed, what: str, inference: bool) -> None:
    """GradientError where ``what`` is done outside inference mode to a tensor that was made in it."""
    if x._box is INFERENCE and not inference:
        raise GradientError(
            f"{what} an inference tensor outside inference mode is not allowed; clone() it there, which gives an "
            "ordinary tensor"
        )
