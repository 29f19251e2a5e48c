"""In which order a stage of a pipeline computes its microbatches, as plain data.

An order never deadlocks: between two neighbours, what one sends comes in the order in which the other waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, TypeAlias


class Pass(Enum):
    """What is done with a microbatch."""

    FORWARD = "F"
    BACKWARD = "B"


class Action(NamedTuple):
    """A pass over a microbatch, which are counted from 0."""

    what: Pass
    microbatch: int

    def __str__(self) -> str:
        return f"{self.what.value}{self.microbatch}"


Order: TypeAlias = list[Action]


def gpipe(stage: int, stages: int, microbatches: int) -> Order:
    """All forwards, then all backwards. Huang et al., "GPipe", arXiv:1811.06965.

    >>> " ".join(map(str, gpipe(0, 2, 3)))
    'F0 F1 F2 B0 B1 B2'
    """
    return [Action(what, i) for what in Pass for i in range(microbatches)]


def one_forward_one_backward(stage: int, stages: int, microbatches: int) -> Order:
    """Backwards as soon as they can run, so that a stage keeps the values of few microbatches.

    A stage begins with as many forwards as there are stages after it, then takes turns. Narayanan et al., "PipeDream",
    SOSP 2019; with the flush at the end of each batch, arXiv:2006.09503.

    >>> [" ".join(map(str, one_forward_one_backward(stage, 2, 3))) for stage in range(2)]
    ['F0 F1 B0 F2 B1 B2', 'F0 B0 F1 B1 F2 B2']
    """
    ahead = min(stages - stage, microbatches)
    order = [Action(Pass.FORWARD, i) for i in range(ahead)]
    for i in range(microbatches):
        order.append(Action(Pass.BACKWARD, i))
        if ahead + i < microbatches:
            order.append(Action(Pass.FORWARD, ahead + i))
    return order


#: By name: from the stage, the number of stages and that of microbatches to the order.
ORDERS: Final[dict[str, Callable[[int, int, int], Order]]] = {"GPipe": gpipe, "1F1B": one_forward_one_backward}
